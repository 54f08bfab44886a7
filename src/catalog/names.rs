//! The names of commands in all versions: 4.0 put them into modules, and some were renamed before and since.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use crate::item::Str;

/// The major and the minor number of a server's version; `None` while the minor one is not known.
pub type Version = (u32, Option<u32>);

/// The commands of each module in 4.0 and 4.1, with their names before (from `mi_export_t` of 3.6, 4.0 and master).
///
/// `new=old`: 4.x takes the old name, too. `new!old`: it does not. `new=`: there was none. A word alone is both names.
/// After `x_+` the old names are the new ones with that prefix.
#[rustfmt::skip]
const MODULES: [(&str, &str); 79] = [
    ("statistics", "get=get_statistics list=list_statistics reset=reset_statistics reset_all=reset_all_statistics"),
    ("core", "uptime version pwd arg which ps kill log_level xlog_level profiling_proc log_level_filter log_mute_state reload_routes help pi_list pi_reload"),
    ("tcp", "list=list_tcp_conns close= trace=tcp_trace"),
    ("mem", "shm_check mem_+ pkg_dump shm_dump rpm_dump"),
    ("cache", "cache_+ store fetch remove"),
    ("cachedb_local", "cache_+ remove_chunk fetch_chunk"),
    ("status_report", "get=sr_get_status sr_list_+ status reports identifiers"),
    ("evi", "subscribe=event_subscribe list=events_list subscribers=subscribers_list raise=raise_event"),
    ("blacklists", "list=list_blacklists check_all=check_blacklists check=check_blacklist add_rule=add_blacklist_rule del_rule=del_blacklist_rule"),
    ("userblacklist", "reload=reload_blacklist"),
    ("tm", "t_+ uac_dlg uac_cancel hash reply"),
    ("usrloc", "ul_+ rm rm_contact dump flush add show_contact sync cluster_sync"),
    ("httpd", "list_root_path=httpd_list_root_path"),
    ("cfgutils", "rand_set_prob rand_reset_prob rand_get_prob get_config_hash check_config_hash shv_get shv_set"),
    ("dialog", "profile_get_size profile_list_dlgs profile_get_values list_all_profiles profile_end_dlgs dlg_+ list list_ctx end_dlg db_sync restore_db cluster_sync push_var send_sequential set_profile unset_profile"),
    ("dispatcher", "ds_+ set_state list reload push_script_attrs"),
    ("ratelimit", "rl_+ list reset_pipe set_pid get_pid dump_pipe"),
    ("aaa_diameter", "fd_log_level"),
    ("auth_aka", "aka_+ av_add av_drop av_drop_all av_fail"),
    ("b2b_entities", "list=b2be_list ua_session_client_start ua_session_update ua_session_reply ua_session_terminate ua_session_list"),
    ("b2b_logic", "b2b_+ trigger_scenario bridge list terminate_call"),
    ("b2b_sca", "list=sca_list"),
    ("benchmark", "bm_+ enable_global enable_timer granularity loglevel poll_results"),
    ("tls", "trace=tls_trace"),
    ("bins", "trace=tls_trace"),
    ("cachedb_redis", "redis_cluster_info redis_cluster_refresh redis_ping_nodes"),
    ("call_center", "cc_+ reload agent_login list_queue list_flows list_agents list_calls reset_stats dispatch_call_to_agent internal_call_dispatching"),
    ("callops", "call_+ transfer hold unhold"),
    ("carrierroute", "cr_+ reload_routes dump_routes replace_host deactivate_host activate_host add_host delete_host"),
    ("clusterer", "send_mi=cluster_send_mi broadcast_mi=cluster_broadcast_mi clusterer_+ reload set_status list list_topology list_cap set_cap_status list_shtags shtag_set_active remove_node"),
    ("config", "config_+ reload list push push_bulk flush"),
    ("cpl_c", "load=LOAD_CPL remove=REMOVE_CPL get=GET_CPL"),
    ("db_berkeley", "reload!bdb_reload"),
    ("db_flatstore", "rotate!flat_rotate"),
    ("db_text", "dbt_+ dump reload"),
    ("db_virtual", "db_+ get set"),
    ("dialplan", "dp_+ reload translate show_partition"),
    ("domain", "reload!domain_reload dump!domain_dump"),
    ("drouting", "dr_+ reload gw_status carrier_status number_routing reload_status enable_probing"),
    ("event_flatstore", "rotate=evi_flat_rotate"),
    ("fraud_detection", "show_stats=show_fraud_stats reload=fraud_reload"),
    ("freeswitch_scripting", "fs_+ subscribe unsubscribe list reload"),
    ("gflags", "set=set_gflag reset=reset_gflag check=is_gflag get=get_gflags"),
    ("imc", "imc_+ list_rooms list_members"),
    ("load_balancer", "lb_+ reload resize list status"),
    ("lua", "watch"),
    ("media_exchange", "from_call_to_uri=media_exchange_from_call_to_uri from_call_to_uri_body=media_exchange_from_call_to_uri_body media_+ fork_from_call_to_uri terminate"),
    ("mqueue", "mq_+ get_sizes get_size fetch"),
    ("msrp", "trace=msrp_trace"),
    ("msrp_gateway", "msrp_gw_+ end_session list_sessions"),
    ("msrp_ua", "msrp_ua_+ send_message end_session list_sessions start_session"),
    ("nathelper", "enable_ping!nh_enable_ping"),
    ("opentelemetry", "enable=otel_enable"),
    ("permissions", "address_reload address_dump subnet_dump allow_uri"),
    ("pi_http", "reload_tbls_and_cmds=pi_reload_tbls_and_cmds"),
    ("pike", "list!pike_list rm!pike_rm"),
    ("presence", "refresh_watchers cleanup subs_phtable_list pres_+ expose phtable_list"),
    ("presence_callinfo", "sca_+ list_lines release_line set_log_level"),
    ("presence_dfks", "set_feature=dfks_set_feature"),
    ("pua_mi", "pua_+ publish subscribe"),
    ("qrouting", "qr_+ status reload disable_dst enable_dst"),
    ("rate_cacher", "rc_+ addVendor deleteVendor getVendorPrice reloadVendorRate deleteVendorRate addClient deleteClient getClientPrice reloadClientRate deleteClientRate"),
    ("regex", "regex_+ reload match match_group"),
    ("rls", "update_subscriptions=rls_update_subscriptions"),
    ("rtp_relay", "rtp_relay_+ list update update_callid"),
    ("rtpengine", "enable!rtpengine_enable show!rtpengine_show reload!rtpengine_reload teardown"),
    ("rtpproxy", "enable!rtpproxy_enable show!rtpproxy_show reload!rtpproxy_reload"),
    ("sipcapture", "capture=sip_capture"),
    ("sockets_mgm", "sockets_+ reload list"),
    ("sql_cacher", "reload=sql_cacher_reload"),
    ("stir_shaken", "stir_shaken_+ ca_reload crl_reload"),
    ("tcp_mgm", "reload=tcp_reload"),
    ("tls_mgm", "tls_+ reload list"),
    ("tracer", "trace trace_+ start stop"),
    ("trie", "trie_+ reload search reload_status number_delete number_upsert"),
    ("uac_registrant", "reg_+ list reload enable disable force_register upsert delete"),
    ("ws", "trace=ws_trace"),
    ("wss", "trace=wss_trace"),
    ("xcap_client", "refreshXcapDoc"),
];

/// Commands that ended before 4.0 without another in their place, by the module that had them.
const ENDED: [(&str, &str); 6] = [
    ("dialog", "dlg_set_sharing_tag_active dlg_list_sharing_tags"),
    ("lua", "lua_reload"),
    ("pdt", "pdt_add pdt_reload pdt_delete pdt_list"),
    ("presence", "pres_set_sharing_tag_active pres_list_sharing_tags"),
    ("ratelimit", "rl_bin_status"),
    ("siptrace", "trace_to_database"),
];

/// A command that changed its name: the old name, the new one, and the first version that has the new one.
struct Rename {
    old: &'static str,
    new: &'static str,
    since: (u32, u32),
    /// True if the old command does all that the new one does. If not, only its callers are led to the new one.
    is_same: bool,
}

const RENAMES: [Rename; 11] = [
    Rename { old: "nh_enable_rtpp", new: "rtpproxy_enable", since: (1, 9), is_same: true },
    Rename { old: "nh_show_rtpp", new: "rtpproxy_show", since: (1, 9), is_same: true },
    Rename { old: "nh_reload_rtpp", new: "rtpproxy_reload", since: (1, 9), is_same: true },
    // Before 2.2 there was one level for all.
    Rename { old: "debug", new: "log_level", since: (2, 2), is_same: true },
    Rename { old: "refreshWatchers", new: "refresh_watchers", since: (3, 0), is_same: true },
    Rename { old: "sip_trace", new: "trace", since: (3, 0), is_same: true },
    // The tags of two modules became those of the cluster.
    Rename { old: "dlg_list_sharing_tags", new: "clusterer_list_shtags", since: (3, 0), is_same: false },
    Rename { old: "pres_list_sharing_tags", new: "clusterer_list_shtags", since: (3, 0), is_same: false },
    Rename { old: "dlg_set_sharing_tag_active", new: "clusterer_shtag_set_active", since: (3, 0), is_same: false },
    Rename { old: "pres_set_sharing_tag_active", new: "clusterer_shtag_set_active", since: (3, 0), is_same: false },
    Rename { old: "pi_reload_tbls_and_cmds", new: "pi_reload", since: (4, 1), is_same: true },
];

/// 4.x leaves this out of the names of modules.
const PROTOCOL: &str = "proto_";

/// A command in all versions.
struct Entry {
    module: &'static str,
    /// `module:name`; `None` for one that ended before 4.0.
    canonical: Option<String>,
    /// The name before 4.0; the canonical one when there was none.
    flat: String,
    /// True if 4.x knows the flat name as a name of this command alone.
    is_alias: bool,
    /// True if the flat name is one of [`RENAMES`].
    is_renamed: bool,
}

/// The entries, found by each of their names.
struct Catalog {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize, BuildHasherDefault<NameHasher>>,
}

/// FNV-1a. The names are fixed at build time, so no client can choose names that collide.
struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> Self {
        NameHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::new);

impl Catalog {
    fn new() -> Self {
        let mut entries: Vec<Entry> = MODULES.iter().flat_map(|(module, names)| entries_of(module, names)).collect();
        // 4.x takes a bare name for that of any module, and refuses one that several have.
        let mut owners: HashMap<String, usize> = HashMap::new();
        for entry in &entries {
            *owners.entry(entry.local().to_owned()).or_default() += 1;
        }
        for entry in &mut entries {
            let others =
                owners.get(&entry.flat).copied().unwrap_or_default() - usize::from(entry.local() == entry.flat);
            entry.is_alias &= others == 0;
        }
        entries.extend(ENDED.iter().flat_map(|(module, names)| {
            names.split(' ').map(|name| Entry {
                module,
                canonical: None,
                flat: name.into(),
                is_alias: false,
                is_renamed: false,
            })
        }));
        for entry in &mut entries {
            entry.is_renamed = RENAMES.iter().any(|rename| [rename.old, rename.new].contains(&entry.flat.as_str()));
        }
        let mut by_name = HashMap::default();
        for (place, entry) in entries.iter().enumerate() {
            for name in entry.canonical.iter().chain([&entry.flat]) {
                by_name.entry(name.clone()).or_insert(place);
            }
        }
        for rename in RENAMES.iter().filter(|rename| rename.is_same) {
            if let Some(place) = by_name.get(rename.new).copied() {
                by_name.entry(rename.old.into()).or_insert(place);
            }
        }
        Catalog { entries, by_name }
    }

    /// The command with this name, of whatever version the name is.
    fn find(&self, name: &str) -> Option<&Entry> {
        let exact = |name: &str| self.by_name.get(name).map(|place| &self.entries[*place]);
        exact(name).or_else(|| {
            let name = name.strip_prefix(PROTOCOL).unwrap_or(name);
            let (module, local) = name.split_once(':')?;
            // People also write `usrloc:ul_dump`, which no version takes.
            exact(name).or_else(|| exact(local).filter(|entry| entry.module == module))
        })
    }
}

impl Entry {
    fn local(&self) -> &str {
        self.canonical.as_deref().and_then(|name| name.split_once(':')).map_or("", |(_, local)| local)
    }
}

/// The commands of a line of [`MODULES`].
fn entries_of(module: &'static str, names: &'static str) -> impl Iterator<Item = Entry> {
    let mut prefix = "";
    names.split(' ').filter_map(move |word| {
        if let Some(new_prefix) = word.strip_suffix('+') {
            prefix = new_prefix;
            return None;
        }
        let (local, flat, is_alias) = match (word.split_once('='), word.split_once('!')) {
            (Some((new, "")), _) => (new, format!("{module}:{new}"), true),
            (Some((new, old)), _) => (new, old.to_owned(), true),
            (None, Some((new, old))) => (new, old.to_owned(), false),
            (None, None) => (word, format!("{prefix}{word}"), true),
        };
        Some(Entry { module, canonical: Some(format!("{module}:{local}")), flat, is_alias, is_renamed: false })
    })
}

/// Returns the name that a server of this version has for a command; `None` when the server takes the given name or
/// the catalog has no other.
pub fn name_on(command: &[u8], version: Version) -> Option<Str> {
    let given = std::str::from_utf8(command).ok()?;
    let (major, minor) = version;
    let reached = |(since_major, since_minor): (u32, u32)| match minor {
        Some(minor) => (major, minor) >= (since_major, since_minor),
        // Of a version that is not known in full, the latest is likeliest.
        None => major >= since_major,
    };
    let mut entry = CATALOG.find(given)?;
    let mut flat = entry.flat.as_str();
    if entry.is_renamed {
        flat = renamed(flat, reached);
        entry = CATALOG.find(flat).unwrap_or(entry);
    }
    let wanted = match entry.canonical.as_deref() {
        Some(canonical) if major >= 4 => {
            let is_taken = given == canonical || (given == flat && entry.is_alias);
            if is_taken { given } else { canonical }
        }
        _ => flat,
    };
    (wanted != given).then(|| wanted.into())
}

/// The flat name that a version has for a command with this flat name.
fn renamed(flat: &str, reached: impl Fn((u32, u32)) -> bool) -> &str {
    let is_due = |rename: &&Rename| {
        let is_new_there = reached(rename.since);
        (is_new_there && rename.old == flat) || (!is_new_there && rename.is_same && rename.new == flat)
    };
    RENAMES.iter().find(is_due).map_or(flat, |rename| if reached(rename.since) { rename.new } else { rename.old })
}

/// The one name by which a command of any version is known: the last one before 4.0.
pub fn flat_name(command: &[u8]) -> Str {
    let known = std::str::from_utf8(command).ok().and_then(|name| CATALOG.find(name));
    known.map_or_else(|| command.into(), |entry| entry.flat.as_str().into())
}

/// `module:name` of a command in 4.x, by any of its names; `None` when that is not known, or there is no such command.
pub fn canonical_name(command: &[u8]) -> Option<&'static str> {
    CATALOG.find(std::str::from_utf8(command).ok()?)?.canonical.as_deref()
}

/// The module that a command is in, by any of its names, as 4.0 has them; `None` when that is not known.
pub fn module_of(command: &[u8]) -> Option<&'static str> {
    CATALOG.find(std::str::from_utf8(command).ok()?).map(|entry| entry.module)
}

/// The name from before 4.0 of a command that has another in 4.x.
pub fn old_name(command: &str) -> Option<&'static str> {
    CATALOG.find(command).map(|entry| entry.flat.as_str()).filter(|flat| *flat != command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(major: u32, minor: u32, command: &str) -> String {
        let found = name_on(command.as_bytes(), (major, Some(minor)));
        found.map_or(command.to_owned(), |name| name.to_text().into_owned())
    }

    #[test]
    fn a_canonical_name_becomes_the_old_name_on_servers_before_4_0() {
        for (new, old) in [
            ("statistics:get", "get_statistics"),
            ("core:ps", "ps"),
            ("usrloc:show_contact", "ul_show_contact"),
            ("dialog:list", "dlg_list"),
            ("dialog:profile_get_size", "profile_get_size"),
            ("evi:list", "events_list"),
            ("tm:uac_dlg", "t_uac_dlg"),
            ("domain:reload", "domain_reload"),
            ("mem:shm_check", "shm_check"),
            ("permissions:address_reload", "address_reload"),
            ("permissions:allow_uri", "allow_uri"),
            ("b2b_entities:ua_session_client_start", "ua_session_client_start"),
            ("cpl_c:load", "LOAD_CPL"),
            ("db_virtual:set", "db_set"),
            ("presence_dfks:set_feature", "dfks_set_feature"),
            ("rtpengine:teardown", "teardown"),
            ("tls:trace", "tls_trace"),
            ("bins:trace", "tls_trace"),
            ("msrp:trace", "msrp_trace"),
            ("ws:trace", "ws_trace"),
            ("wss:trace", "wss_trace"),
            ("tcp:trace", "tcp_trace"),
            ("aaa_diameter:fd_log_level", "fd_log_level"),
            ("cachedb_redis:redis_ping_nodes", "redis_ping_nodes"),
            ("lua:watch", "watch"),
            ("xcap_client:refreshXcapDoc", "refreshXcapDoc"),
            ("tcp:close", "tcp:close"),
            ("unknown:command", "unknown:command"),
        ] {
            assert_eq!(on(3, 6, new), old);
            assert_eq!(on(4, 0, new), new);
        }
    }

    #[test]
    fn a_name_that_no_version_takes_becomes_one_that_the_server_takes() {
        for (given, old, new) in [
            ("usrloc:ul_dump", "ul_dump", "usrloc:dump"),
            ("proto_tls:trace", "tls_trace", "tls:trace"),
            ("statistics:list_statistics", "list_statistics", "statistics:list"),
            ("evi:events_list", "events_list", "evi:list"),
            ("dialog:ul_dump", "dialog:ul_dump", "dialog:ul_dump"),
        ] {
            assert_eq!((on(2, 4, given), on(4, 0, given)), (old.into(), new.into()), "{given}");
        }
    }

    #[test]
    fn an_old_name_that_4_x_lacks_or_finds_ambiguous_becomes_the_canonical_one() {
        for (old, new) in [
            ("domain_reload", "domain:reload"),
            ("rtpengine_show", "rtpengine:show"),
            ("refreshWatchers", "presence:refresh_watchers"),
            ("sip_trace", "tracer:trace"),
            ("debug", "core:log_level"),
            ("nh_reload_rtpp", "rtpproxy:reload"),
            ("dlg_list_sharing_tags", "clusterer:list_shtags"),
            ("pres_set_sharing_tag_active", "clusterer:shtag_set_active"),
            // Local names of other modules, too.
            ("trace", "tracer:trace"),
            ("reload_routes", "core:reload_routes"),
        ] {
            assert_eq!(on(4, 0, old), new);
        }
        for alias in ["get_statistics", "ul_dump", "tls_trace", "LOAD_CPL", "shm_check", "log_level", "teardown"] {
            assert_eq!(on(4, 0, alias), alias);
        }
    }

    #[test]
    fn a_renamed_command_has_the_name_of_the_version() {
        for name in ["debug", "log_level", "core:log_level"] {
            assert_eq!((on(1, 11, name), on(2, 1, name)), ("debug".into(), "debug".into()), "{name}");
            assert_eq!((on(2, 4, name), on(3, 6, name)), ("log_level".into(), "log_level".into()), "{name}");
        }
        assert_eq!(
            (on(2, 4, "presence:refresh_watchers"), on(1, 8, "rtpproxy:show")),
            ("refreshWatchers".into(), "nh_show_rtpp".into())
        );
        assert_eq!(
            (on(2, 4, "dlg_list_sharing_tags"), on(3, 0, "dlg_list_sharing_tags")),
            ("dlg_list_sharing_tags".into(), "clusterer_list_shtags".into())
        );
        assert_eq!(on(2, 4, "clusterer:list_shtags"), "clusterer_list_shtags");
    }

    #[test]
    fn the_provisioning_commands_move_into_the_core_in_4_1() {
        for name in ["pi_reload_tbls_and_cmds", "pi_http:reload_tbls_and_cmds", "core:pi_reload"] {
            assert_eq!(on(3, 6, name), "pi_reload_tbls_and_cmds", "{name}");
            assert_eq!(on(4, 1, name), "core:pi_reload", "{name}");
        }
        assert_eq!(on(4, 0, "core:pi_reload"), "pi_http:reload_tbls_and_cmds");
        assert_eq!(on(4, 1, "pi_list"), "pi_list");
    }

    #[test]
    fn every_name_of_a_command_leads_to_one_and_to_its_module() {
        for (name, flat, module) in [
            ("usrloc:dump", "ul_dump", Some("usrloc")),
            ("ul_dump", "ul_dump", Some("usrloc")),
            ("ps", "ps", Some("core")),
            ("domain:reload", "domain_reload", Some("domain")),
            ("domain_reload", "domain_reload", Some("domain")),
            ("debug", "log_level", Some("core")),
            ("mq_get_size", "mq_get_size", Some("mqueue")),
            ("mqueue:get_size", "mq_get_size", Some("mqueue")),
            ("tcp:close", "tcp:close", Some("tcp")),
            ("nosuch", "nosuch", None),
        ] {
            assert_eq!(flat_name(name.as_bytes()), flat, "{name}");
            assert_eq!(module_of(name.as_bytes()), module, "{name}");
            let canonical = canonical_name(name.as_bytes());
            assert_eq!(canonical.and_then(|name| name.split(':').next()), module, "{name}");
        }
        assert_eq!((module_of(b"rl_bin_status"), canonical_name(b"rl_bin_status")), (Some("ratelimit"), None));
        assert_eq!(flat_name(b"\xff"), Str::from(&b"\xff"[..]));
    }

    #[test]
    fn the_names_of_each_version_lead_back_to_their_command() {
        for entry in CATALOG.entries.iter().filter(|entry| entry.module != "bins") {
            let canonical = entry.canonical.as_deref();
            assert_eq!(canonical_name(entry.flat.as_bytes()), canonical);
            if let Some(canonical) = canonical {
                assert_eq!(flat_name(canonical.as_bytes()), entry.flat.as_str());
                let known = on(4, 0, &entry.flat);
                assert!(
                    known == canonical
                        || known == entry.flat
                        || entry.flat == "pi_reload_tbls_and_cmds"
                        || entry.flat.starts_with("pi_"),
                    "{known}"
                );
            }
        }
    }
}
