//! Commands that harm servers of some versions, and commands whose replies are large.

use super::names::{Version, flat_name};

/// The module that carries a command, where it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Module {
    /// Whatever carries it.
    Any,
    /// `mi_xmlrpc_ng`.
    XmlRpcNg,
}

/// A command that harms a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Hazard {
    /// All names by which servers of these versions know the command.
    names: &'static [&'static str],
    module: Module,
    /// The first and the last version that it harms, both included.
    versions: (Full, Full),
    /// The effect on the server.
    pub effect: &'static str,
    /// The public report, or the measurement.
    pub source: &'static str,
    /// The way that does no harm.
    pub remedy: &'static str,
}

/// Major, minor and patch number of a version.
type Full = (u32, u32, u32);

const LAST: u32 = u32::MAX;

static HAZARDS: [Hazard; 4] = [
    Hazard {
        names: &["dlg_list_sharing_tags"],
        module: Module::Any,
        versions: ((2, 4, 0), (2, 4, 1)),
        effect: "it crashes the MI process where no sharing tags are configured",
        source: "OpenSIPS/opensips#1406",
        remedy: "2.4.2 has the correction",
    },
    Hazard {
        names: &["tls_list"],
        module: Module::Any,
        versions: ((2, 2, 0), (2, 2, LAST)),
        effect: "it crashes the server",
        source: "OpenSIPS/opensips#864",
        remedy: "2.3 has the correction",
    },
    Hazard {
        names: &["ul_add"],
        module: Module::XmlRpcNg,
        versions: ((2, 2, 3), (2, 2, 5)),
        effect: "it crashes the server where contacts are replicated",
        source: "OpenSIPS/opensips#1236",
        remedy: "a FIFO or a datagram carries it",
    },
    Hazard {
        names: &["t_hash", "tm:hash", "hash"],
        module: Module::Any,
        versions: ((3, 0, 0), (LAST, LAST, LAST)),
        effect: "it holds the MI process for half a minute and answers with megabytes",
        source: "measured on 3.6 and 4.0",
        remedy: "the statistics of tm: tell how many transactions there are",
    },
];

/// The hazard of a command for a server of this version, by any name of that version; of an unknown patch it counts.
pub fn hazard_of(command: &[u8], version: Version, patch: Option<u32>, module: Module) -> Option<&'static Hazard> {
    let (major, Some(minor)) = version else { return None };
    let is_hit = |hazard: &&'static Hazard| {
        let (first, last) = hazard.versions;
        let reaches = (major, minor, patch.unwrap_or(LAST)) >= first;
        let precedes = (major, minor, patch.unwrap_or_default()) <= last;
        reaches && precedes && (hazard.module == Module::Any || hazard.module == module)
    };
    let is_named = |hazard: &&Hazard| hazard.names.iter().any(|name| command.eq_ignore_ascii_case(name.as_bytes()));
    HAZARDS.iter().filter(is_named).find(is_hit)
}

/// Commands whose replies grow with the server's data, and the way to a smaller one.
const LARGE: [(&str, &str); 4] = [
    ("brief", "ul_dump"),
    ("pages", "dlg_list dlg_list_ctx"),
    ("groups", "get_statistics list_statistics"),
    (
        "",
        "ds_list lb_list rl_list address_dump subnet_dump domain_dump profile_list_dlgs profile_get_values dr_gw_status dr_carrier_status cc_list_agents cc_list_flows cc_list_queue cc_list_calls b2b_list b2be_list reg_list list_tcp_conns subscribers_list dp_show_partition pike_list sr_list_reports cr_dump_routes rtp_relay_list which ps list_blacklists cache_fetch cache_fetch_chunk t_uac_dlg pres_phtable_list subs_phtable_list rtpengine_show tls_list",
    ),
];

/// How a smaller reply to a command is asked for; `None` for a command whose replies are small. Without such a way it is
/// empty.
pub fn smaller_reply(command: &[u8]) -> Option<&'static str> {
    let flat = flat_name(command);
    let (way, _) = LARGE.iter().find(|(_, commands)| commands.split(' ').any(|name| flat == name))?;
    Some(match *way {
        "brief" => "ask for the addresses of record alone (brief), or for one (ul_show_contact)",
        "pages" => "ask for a page (index and counter), or for one dialog (its call-id)",
        "groups" => "ask for one group",
        _ => "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hazard_is_that_of_its_versions() {
        for (command, version, patch, is_one) in [
            ("dlg_list_sharing_tags", (2, 4), Some(1), true),
            ("dlg_list_sharing_tags", (2, 4), None, true),
            ("dlg_list_sharing_tags", (2, 4), Some(2), false),
            ("dlg_list_sharing_tags", (2, 4), Some(11), false),
            ("tls_list", (2, 2), Some(0), true),
            ("tls_list", (2, 2), Some(7), true),
            ("tls_list", (2, 3), Some(0), false),
            ("t_hash", (2, 4), Some(11), false),
            ("t_hash", (3, 0), Some(0), true),
            ("tm:hash", (4, 1), Some(0), true),
            ("hash", (4, 0), Some(1), true),
            ("ul_add", (2, 2), Some(5), false),
        ] {
            let (major, minor) = version;
            let found = hazard_of(command.as_bytes(), (major, Some(minor)), patch, Module::Any);
            assert_eq!(found.is_some(), is_one, "{command} on {version:?} {patch:?}");
        }
        assert!(hazard_of(b"ul_add", (2, Some(2)), Some(5), Module::XmlRpcNg).is_some());
        assert!(hazard_of(b"ul_add", (2, Some(2)), Some(2), Module::XmlRpcNg).is_none());
        assert!(hazard_of(b"ul_add", (2, Some(4)), Some(5), Module::XmlRpcNg).is_none());
    }

    #[test]
    fn commands_with_large_replies_are_known_by_all_their_names() {
        assert!(smaller_reply(b"usrloc:dump").is_some_and(|way| way.contains("brief")));
        assert!(smaller_reply(b"dlg_list").is_some_and(|way| way.contains("page")));
        assert_eq!(smaller_reply(b"ds_list"), Some(""));
        assert_eq!(smaller_reply(b"uptime"), None);
        for (_, commands) in LARGE {
            for name in commands.split(' ') {
                assert!(super::super::names::module_of(name.as_bytes()).is_some(), "{name}");
            }
        }
    }
}
