//! The effects of commands: which ones change nothing, and which ones a user should confirm.
//!
//! A read command may be retried, cached, and run for users who may only look. Nothing on the wire tells, so this is a
//! table. A command that is not in it may change something.

use super::names::flat_name;

/// The effect of a command on its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It changes nothing.
    Read,
    /// It changes something, or may.
    Write,
}

/// Commands that change nothing whatever they are given, by the names from before 4.0, a line for each module.
///
/// Not here: `log_level` and others that show without parameters and change with them; `mem_*_dump` and `dbt_dump`, which
/// write to logs and disks; `t_hash`, which holds the MI process of 3.x and 4.x for half a minute; `mq_fetch` and `bm_poll_results`, which take away what they give.
const READS: [&str; 31] = [
    "uptime version pwd arg which ps help pi_list list_tcp_conns",
    "get_statistics list_statistics",
    "cache_fetch cache_fetch_chunk",
    "events_list subscribers_list",
    "sr_get_status sr_list_status sr_list_reports sr_list_identifiers",
    "list_blacklists check_blacklists check_blacklist",
    "ul_dump ul_show_contact",
    "dlg_list dlg_list_ctx dlg_list_sharing_tags",
    "profile_get_size profile_list_dlgs profile_get_values list_all_profiles",
    "ds_list",
    "rl_list rl_get_pid rl_dump_pipe rl_bin_status",
    "rand_get_prob get_config_hash check_config_hash shv_get",
    "httpd_list_root_path",
    "dp_translate dp_show_partition",
    "dr_number_routing dr_reload_status",
    "lb_list",
    "clusterer_list clusterer_list_topology clusterer_list_cap clusterer_list_shtags",
    "address_dump subnet_dump allow_uri",
    "domain_dump pike_list",
    "rtpengine_show rtpproxy_show rtp_relay_list",
    "tls_list sockets_list",
    "cc_list_agents cc_list_queue cc_list_flows cc_list_calls",
    "b2b_list b2be_list sca_list sca_list_lines ua_session_list",
    "pres_phtable_list subs_phtable_list",
    "regex_match regex_match_group",
    "reg_list imc_list_rooms imc_list_members",
    "msrp_gw_list_sessions msrp_ua_list_sessions fs_list",
    "qr_status show_fraud_stats mq_get_size trie_search",
    "is_gflag get_gflags db_get GET_CPL",
    // Sipmi's own.
    "irq_list",
    "system.listMethods system.methodHelp system.methodSignature",
];

/// The effect of a command, by any name that a version has for it.
pub fn effect_of(command: &[u8]) -> Effect {
    let flat = flat_name(command);
    let is_read = READS.iter().any(|line| line.split(' ').any(|name| *flat == *name.as_bytes()));
    if is_read { Effect::Read } else { Effect::Write }
}

/// A consequence of a command that a user should confirm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Risk {
    /// The server exits.
    EndsServer,
    /// Calls are terminated.
    EndsCalls,
    /// Registrations are removed.
    DropsRegistrations,
    /// The server replaces data that it works with.
    Reloads,
}

impl Risk {
    /// The consequence as the rest of a sentence about the command.
    pub fn describe(self) -> &'static str {
        match self {
            Risk::EndsServer => "ends the server",
            Risk::EndsCalls => "ends calls",
            Risk::DropsRegistrations => "drops registrations",
            Risk::Reloads => "reloads what the server works with",
        }
    }
}

/// The risk of a command, by the words of its name; `None` when there is none.
///
/// The names of users' own commands follow the same conventions.
pub fn risk_of(command: &str) -> Option<Risk> {
    let words: Vec<&str> = command.split(['_', ':']).collect();
    let has = |word: &str| words.contains(&word);
    let has_pair = |first: &str, second: &str| words.windows(2).any(|pair| pair == [first, second]);
    let reloads = words.iter().enumerate().any(|(at, word)| {
        let is_status = words.get(at + 1).is_some_and(|next| next.starts_with("status"));
        *word == "reload" && !is_status
    });
    match words.last() {
        Some(&("kill" | "shutdown")) => Some(Risk::EndsServer),
        _ if has("end") || has("terminate") || has("hangup") || has_pair("uac", "cancel") => Some(Risk::EndsCalls),
        _ if command.starts_with("ul_rm") || command.starts_with("usrloc:rm") => Some(Risk::DropsRegistrations),
        _ if has("unregister") || has("deregister") || has_pair("reg", "disable") => Some(Risk::DropsRegistrations),
        _ => reloads.then_some(Risk::Reloads),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_risk_is_told_by_the_words_of_a_name() {
        for (name, risk) in [
            ("dlg_end_dlg", Some(Risk::EndsCalls)),
            ("tm:uac_cancel", Some(Risk::EndsCalls)),
            ("usrloc:rm_contact", Some(Risk::DropsRegistrations)),
            ("ul_rm", Some(Risk::DropsRegistrations)),
            ("reg_disable", Some(Risk::DropsRegistrations)),
            ("dr_reload", Some(Risk::Reloads)),
            ("reload_routes", Some(Risk::Reloads)),
            ("dr_reload_status", None),
            ("trie:reload_status", None),
            ("core:kill", Some(Risk::EndsServer)),
            ("billing:shutdown", Some(Risk::EndsServer)),
            ("kill_list", None),
            ("mq_send", None),
            ("", None),
        ] {
            assert_eq!(risk_of(name), risk, "{name}");
        }
    }

    #[test]
    fn a_command_does_the_same_by_all_its_names() {
        for name in
            ["get_statistics", "statistics:get", "ul_dump", "usrloc:dump", "core:ps", "domain_dump", "domain:dump"]
        {
            assert_eq!(effect_of(name.as_bytes()), Effect::Read, "{name}");
        }
        for name in
            ["kill", "core:kill", "reset_statistics", "statistics:reset", "debug", "log_level", "dbt_dump", "t_hash"]
        {
            assert_eq!(effect_of(name.as_bytes()), Effect::Write, "{name}");
        }
    }

    #[test]
    fn the_table_names_only_commands_that_some_version_has() {
        for name in READS.iter().flat_map(|line| line.split(' ')).filter(|name| !name.contains('.')) {
            assert!(
                crate::catalog::names::module_of(name.as_bytes()).is_some() || name.starts_with("irq_"),
                "{name}"
            );
        }
    }

    #[test]
    fn an_unknown_command_may_change_state() {
        for name in ["", "nosuch", "billing:which_one", "\u{e9}"] {
            assert_eq!(effect_of(name.as_bytes()), Effect::Write, "{name}");
        }
        assert_eq!(effect_of(b"\xff"), Effect::Write);
    }
}
