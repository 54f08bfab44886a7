//! What commands are called in which version: 4.0 put them into modules, and some were renamed before.

use super::Generation;
use crate::item::Str;

/// The commands of each module in 4.0, with their names before. `new=old`; a word alone is both; after `x_+` the old
/// names have that in front of the new ones, which holds until the next such word.
const MODULES: [(&str, &str); 44] = [
    ("statistics", "get=get_statistics list=list_statistics reset=reset_statistics reset_all=reset_all_statistics"),
    (
        "core",
        "uptime version pwd arg which ps kill log_level xlog_level log_level_filter log_mute_state reload_routes profiling_proc help",
    ),
    ("tcp", "list=list_tcp_conns"),
    ("mem", "shm_check mem_+ pkg_dump shm_dump rpm_dump"),
    ("cache", "cache_+ store fetch remove"),
    ("cachedb_local", "remove_chunk=cache_remove_chunk fetch_chunk=cache_fetch_chunk"),
    (
        "status_report",
        "get=sr_get_status status=sr_list_status reports=sr_list_reports identifiers=sr_list_identifiers",
    ),
    ("evi", "subscribe=event_subscribe list=events_list subscribers=subscribers_list raise=raise_event"),
    (
        "blacklists",
        "list=list_blacklists check_all=check_blacklists check=check_blacklist add_rule=add_blacklist_rule del_rule=del_blacklist_rule",
    ),
    ("userblacklist", "reload=reload_blacklist"),
    ("tm", "t_+ uac_dlg uac_cancel hash reply"),
    ("usrloc", "ul_+ rm rm_contact dump flush add show_contact sync cluster_sync"),
    ("httpd", "httpd_+ list_root_path"),
    ("cfgutils", "rand_set_prob rand_reset_prob rand_get_prob get_config_hash check_config_hash shv_get shv_set"),
    (
        "dialog",
        "dlg_+ list list_ctx end_dlg db_sync restore_db cluster_sync push_var send_sequential set_profile unset_profile",
    ),
    ("dialog", "profile_get_size profile_list_dlgs profile_get_values list_all_profiles profile_end_dlgs"),
    ("dispatcher", "ds_+ set_state list reload push_script_attrs"),
    ("ratelimit", "rl_+ list reset_pipe set_pid get_pid dump_pipe"),
    ("db_text", "dbt_+ dump reload"),
    ("dialplan", "dp_+ reload translate show_partition"),
    ("drouting", "dr_+ reload gw_status carrier_status number_routing reload_status enable_probing"),
    ("load_balancer", "lb_+ reload resize list status"),
    ("clusterer", "send_mi=cluster_send_mi broadcast_mi=cluster_broadcast_mi"),
    ("b2b_entities", "list=b2be_list"),
    ("b2b_logic", "b2b_+ trigger_scenario bridge list terminate_call"),
    ("b2b_sca", "list=sca_list"),
    ("callops", "call_+ transfer hold unhold"),
    ("cpl_c", "LOAD_CPL REMOVE_CPL GET_CPL"),
    ("db_virtual", "db_get db_set"),
    ("fraud_detection", "show_stats=show_fraud_stats reload=fraud_reload"),
    ("freeswitch_scripting", "fs_+ subscribe unsubscribe list reload"),
    ("gflags", "set=set_gflag reset=reset_gflag check=is_gflag get=get_gflags"),
    ("event_flatstore", "rotate=evi_flat_rotate"),
    (
        "media_exchange",
        "fork_from_call_to_uri=media_fork_from_call_to_uri from_call_to_uri=media_exchange_from_call_to_uri from_call_to_uri_body=media_exchange_from_call_to_uri_body terminate=media_terminate",
    ),
    ("msrp_gateway", "msrp_gw_+ end_session list_sessions"),
    ("pi_http", "reload_tbls_and_cmds=pi_reload_tbls_and_cmds"),
    ("presence", "expose=pres_expose phtable_list=pres_phtable_list cleanup refresh_watchers subs_phtable_list"),
    ("presence_callinfo", "sca_+ list_lines release_line set_log_level"),
    ("presence_dfks", "dfks_set_feature"),
    ("pua_mi", "pua_+ publish subscribe"),
    ("sipcapture", "capture=sip_capture"),
    ("tcp_mgm", "reload=tcp_reload"),
    ("tls_mgm", "tls_+ reload list"),
    ("tracer", "trace start=trace_start stop=trace_stop"),
];

/// Old names that 4.0 does not know any more.
const GONE: [(&str, &str); 15] = [
    ("bdb_reload", "db_berkeley:reload"),
    ("flat_rotate", "db_flatstore:rotate"),
    ("domain_reload", "domain:reload"),
    ("domain_dump", "domain:dump"),
    ("nh_enable_ping", "nathelper:enable_ping"),
    ("pike_list", "pike:list"),
    ("pike_rm", "pike:rm"),
    ("refreshWatchers", "presence:refresh_watchers"),
    ("rtpengine_enable", "rtpengine:enable"),
    ("rtpengine_show", "rtpengine:show"),
    ("rtpengine_reload", "rtpengine:reload"),
    ("rtpproxy_enable", "rtpproxy:enable"),
    ("rtpproxy_show", "rtpproxy:show"),
    ("rtpproxy_reload", "rtpproxy:reload"),
    // Before 2.2 there was one level for all.
    ("debug", "log_level"),
];

/// What a server of this version calls a command; `None` when it is called so there, as far as is known.
pub(super) fn on_server(command: &[u8], generation: Generation, minor: Option<u32>) -> Option<Str> {
    let command = std::str::from_utf8(command).ok()?;
    match generation {
        Generation::Sipmi => None,
        Generation::OpenSips(4..) => gone(command).map(Str::from),
        Generation::OpenSips(major) => {
            let old = old_name(command).or_else(|| before_modules(command));
            let has_debug = (major, minor.unwrap_or_default()) < (2, 2);
            match old.as_deref().unwrap_or(command) {
                "log_level" if has_debug => Some("debug".into()),
                "debug" if !has_debug => Some("log_level".into()),
                _ => old.map(Str::from),
            }
        }
    }
}

/// The one name by which a command of any version is known: the one before 4.0, and `log_level` for `debug`.
pub fn flat_name(command: &[u8]) -> Str {
    let Ok(text) = std::str::from_utf8(command) else { return command.into() };
    let flat = before_modules(text).or_else(|| old_name(text));
    match flat.as_deref().unwrap_or(text) {
        "debug" => "log_level".into(),
        flat => flat.into(),
    }
}

/// The name that 4.0 has for a command that had this one before; `None` when that is not known.
pub fn canonical_name(flat: &[u8]) -> Option<String> {
    let flat = std::str::from_utf8(flat).ok()?;
    if let Some(new) = gone(flat).filter(|new| new.contains(':')) {
        return Some(new.to_owned());
    }
    let listed = MODULES.iter().find_map(|(module, names)| {
        let (new, _) = new_and_old(names).find(|(_, old)| old == flat)?;
        Some(format!("{module}:{new}"))
    });
    let prefixed = || {
        let (module, prefix) = PREFIXES.iter().find(|(_, prefix)| flat.starts_with(prefix))?;
        Some(format!("{module}:{}", &flat[prefix.len()..]))
    };
    listed.or_else(prefixed)
}

/// The module that a command is in, by any of its names, as 4.0 has them; `None` when that is not known.
pub fn module_of(command: &[u8]) -> Option<&'static str> {
    let flat = flat_name(command);
    let flat = std::str::from_utf8(&flat).ok()?;
    let gone = || gone(flat).and_then(|new| new.split_once(':')).map(|(module, _)| module);
    let listed = MODULES.iter().find(|(_, names)| old_names(names).any(|old| old == flat)).map(|(module, _)| *module);
    listed.or_else(gone).or_else(|| PREFIXES.iter().find(|(_, prefix)| flat.starts_with(prefix)).map(|(of, _)| *of))
}

/// What a command of 4.0 was called before.
pub(super) fn old_name(command: &str) -> Option<String> {
    let (module, name) = command.split_once(':')?;
    let listed = MODULES.iter().filter(|(of, _)| *of == module).find_map(|(_, names)| find(names, name));
    let prefix = || PREFIXES.iter().find(|(of, _)| *of == module).map(|(_, prefix)| *prefix);
    listed.or_else(|| prefix().map(|prefix| format!("{prefix}{name}")))
}

/// Modules whose old names are the new ones with something in front, whatever they are.
const PREFIXES: [(&str, &str); 19] = [
    ("auth_aka", "aka_"),
    ("benchmark", "bm_"),
    ("call_center", "cc_"),
    ("carrierroute", "cr_"),
    ("clusterer", "clusterer_"),
    ("config", "config_"),
    ("imc", "imc_"),
    ("mqueue", "mq_"),
    ("msrp_ua", "msrp_ua_"),
    ("qrouting", "qr_"),
    ("rate_cacher", "rc_"),
    ("regex", "regex_"),
    ("rls", "rls_"),
    ("rtp_relay", "rtp_relay_"),
    ("sockets_mgm", "sockets_"),
    ("sql_cacher", "sql_cacher_"),
    ("stir_shaken", "stir_shaken_"),
    ("trie", "trie_"),
    ("uac_registrant", "reg_"),
];

fn find(names: &str, wanted: &str) -> Option<String> {
    new_and_old(names).find(|(new, _)| *new == wanted).map(|(_, old)| old)
}

fn old_names(names: &'static str) -> impl Iterator<Item = String> {
    new_and_old(names).map(|(_, old)| old)
}

/// The names of a line of [`MODULES`], new and old.
fn new_and_old(names: &str) -> impl Iterator<Item = (&str, String)> {
    let mut prefix = "";
    names.split(' ').filter_map(move |word| {
        if let Some(new_prefix) = word.strip_suffix('+') {
            prefix = new_prefix;
            return None;
        }
        Some(match word.split_once('=') {
            Some((new, old)) => (new, old.to_owned()),
            None => (word, format!("{prefix}{word}")),
        })
    })
}

fn gone(command: &str) -> Option<&'static str> {
    GONE.iter().find(|(old, _)| *old == command).map(|(_, new)| *new)
}

/// The old name of a command that has lost it since.
fn before_modules(command: &str) -> Option<String> {
    let known = GONE.iter().find(|(_, new)| new.contains(':') && *new == command);
    known.map(|(old, _)| (*old).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(major: u32, minor: u32, command: &str) -> String {
        let found = on_server(command.as_bytes(), Generation::OpenSips(major), Some(minor));
        found.map_or(command.to_owned(), |name| name.to_text().into_owned())
    }

    #[test]
    fn a_command_of_4_0_is_asked_for_by_its_old_name_before() {
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
            ("nobody:knows", "nobody:knows"),
        ] {
            assert_eq!(on(3, 4, new), old);
            assert_eq!(on(4, 0, new), new);
        }
    }

    #[test]
    fn a_name_that_is_gone_is_asked_for_by_the_new_one() {
        assert_eq!(on(4, 0, "domain_reload"), "domain:reload");
        assert_eq!(on(4, 0, "get_statistics"), "get_statistics");
    }

    #[test]
    fn the_level_of_the_log_goes_by_the_name_that_the_version_has() {
        for name in ["debug", "log_level", "core:log_level"] {
            assert_eq!((on(1, 11, name), on(2, 1, name)), ("debug".into(), "debug".into()), "{name}");
            assert_eq!((on(2, 4, name), on(3, 6, name)), ("log_level".into(), "log_level".into()), "{name}");
        }
        assert_eq!(on(4, 0, "debug"), "log_level");
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
            ("nosuch", "nosuch", None),
        ] {
            assert_eq!(flat_name(name.as_bytes()), flat, "{name}");
            assert_eq!(module_of(name.as_bytes()), module, "{name}");
            let canonical = canonical_name(&flat_name(name.as_bytes()));
            assert_eq!(canonical.as_deref().and_then(|name| name.split(':').next()), module, "{name}");
        }
    }

    #[test]
    fn sipmis_own_server_has_names_of_its_own() {
        assert_eq!(on_server(b"core:ps", Generation::Sipmi, None), None);
    }
}
