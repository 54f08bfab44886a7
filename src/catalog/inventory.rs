//! The commands of each version, in the order in which `which` lists them, and their parameters in 3.x and 4.x.
//!
//! Only commands of the modules that [`LOADABLE`] names, and of the core.

/// Modules that a configuration loads or not. The commands of all others are in the core and always there.
pub const LOADABLE: [&str; 9] =
    ["tm", "cfgutils", "usrloc", "dialog", "cachedb_local", "db_text", "dispatcher", "ratelimit", "httpd"];

const TM: &str = "t_uac_dlg t_uac_cancel t_hash t_reply";
const CFGUTILS: &str =
    "rand_set_prob rand_reset_prob rand_get_prob get_config_hash check_config_hash shv_get shv_set";
const USRLOC: &str = "ul_rm ul_rm_contact ul_dump ul_flush ul_add ul_show_contact ul_sync";
const DIALOG: &str = "dlg_list dlg_list_ctx dlg_end_dlg dlg_db_sync dlg_restore_db";
const PROFILES: &str = "profile_get_size profile_list_dlgs profile_get_values list_all_profiles";
const MEMORY: &str = "mem_pkg_dump mem_shm_dump mem_rpm_dump";
const REPORTS: &str = "sr_get_status sr_list_status sr_list_reports sr_list_identifiers";
const BLACKLISTS: &str = "check_blacklists check_blacklist add_blacklist_rule del_blacklist_rule";
const RATELIMIT: &str = "rl_list rl_reset_pipe rl_set_pid rl_get_pid";
const EVENTS: &str = "event_subscribe events_list subscribers_list";
const CACHE: &str = "cache_store cache_fetch cache_remove";
const BASICS: &str = "uptime version pwd arg which ps kill";

/// The provisioning interface of `pi_http` is in the core of 4.1, before its other commands.
const PROVISIONING: [&str; 2] = ["pi_list", "pi_reload"];

/// Each version with its commands, by their names before 4.0.
#[rustfmt::skip]
const VERSIONS: [(&str, &[&str]); 7] = [
    ("1.8", &[
        "get_statistics reset_statistics", BASICS, "debug", CACHE, "event_subscribe help list_blacklists", TM,
        CFGUTILS, USRLOC, "dlg_list dlg_list_ctx dlg_end_dlg dlg_db_sync",
        "profile_get_size profile_list_dlgs profile_get_values ds_set_state ds_list ds_reload", RATELIMIT,
        "httpd_list_root_path",
    ]),
    ("1.11", &[
        "get_statistics reset_statistics", BASICS, "debug", CACHE, EVENTS,
        "list_tcp_conns help list_blacklists", TM, CFGUTILS, USRLOC, DIALOG, PROFILES,
        "cache_remove_chunk dbt_dump ds_set_state ds_list ds_reload", RATELIMIT, "httpd_list_root_path",
    ]),
    ("2.4", &[
        "get_statistics list_statistics reset_statistics", BASICS, "log_level", CACHE, EVENTS,
        "list_tcp_conns help list_blacklists", TM, CFGUTILS, USRLOC, "ul_cluster_sync", DIALOG,
        "dlg_cluster_sync", PROFILES, "profile_end_dlgs dlg_set_sharing_tag_active dlg_list_sharing_tags",
        "cache_remove_chunk dbt_dump dbt_reload ds_set_state ds_list ds_reload", RATELIMIT,
        "rl_bin_status httpd_list_root_path",
    ]),
    ("3.2", &[
        "get_statistics list_statistics reset_statistics", BASICS, "log_level xlog_level shm_check", CACHE,
        EVENTS, "raise_event list_tcp_conns", MEMORY, "reload_routes help list_blacklists", TM, CFGUTILS,
        USRLOC, "ul_cluster_sync", DIALOG, "dlg_cluster_sync", PROFILES,
        "profile_end_dlgs dlg_push_var dlg_send_sequential cache_remove_chunk dbt_dump dbt_reload",
        "ds_set_state ds_list ds_reload ds_push_script_attrs", RATELIMIT, "rl_dump_pipe httpd_list_root_path",
    ]),
    ("3.4", &[
        "get_statistics list_statistics reset_statistics reset_all_statistics", BASICS,
        "log_level xlog_level log_level_filter log_mute_state shm_check", CACHE, EVENTS,
        "raise_event list_tcp_conns", MEMORY, "reload_routes", REPORTS, "help list_blacklists", BLACKLISTS, TM,
        CFGUTILS, USRLOC, "ul_cluster_sync", DIALOG, "dlg_cluster_sync", PROFILES,
        "profile_end_dlgs dlg_push_var dlg_send_sequential cache_remove_chunk dbt_dump dbt_reload",
        "ds_set_state ds_list ds_reload ds_push_script_attrs", RATELIMIT, "rl_dump_pipe httpd_list_root_path",
    ]),
    ("3.6", &[
        "get_statistics list_statistics reset_statistics reset_all_statistics", BASICS,
        "log_level xlog_level log_level_filter log_mute_state shm_check", CACHE, EVENTS,
        "raise_event list_tcp_conns", MEMORY, "reload_routes", REPORTS, "help list_blacklists", BLACKLISTS, TM,
        CFGUTILS, USRLOC, "ul_cluster_sync", DIALOG, "dlg_cluster_sync", PROFILES,
        "profile_end_dlgs dlg_push_var dlg_send_sequential dlg_set_profile dlg_unset_profile",
        "cache_remove_chunk cache_fetch_chunk dbt_dump dbt_reload",
        "ds_set_state ds_list ds_reload ds_push_script_attrs", RATELIMIT, "rl_dump_pipe httpd_list_root_path",
    ]),
    ("4.0", &[
        "get_statistics list_statistics reset_statistics reset_all_statistics", BASICS,
        "log_level xlog_level profiling_proc log_level_filter log_mute_state reload_routes help list_tcp_conns",
        "tcp:close shm_check", MEMORY, CACHE, REPORTS, "event_subscribe events_list subscribers_list",
        "raise_event list_blacklists", BLACKLISTS, TM, CFGUTILS, USRLOC, "ul_cluster_sync", DIALOG,
        "dlg_cluster_sync", PROFILES, "profile_end_dlgs dlg_push_var dlg_send_sequential dlg_set_profile",
        "dlg_unset_profile cache_remove_chunk cache_fetch_chunk dbt_dump dbt_reload",
        "ds_set_state ds_list ds_reload ds_push_script_attrs", RATELIMIT, "rl_dump_pipe httpd_list_root_path",
    ]),
];

/// The version that has the commands of another, and [`PROVISIONING`] besides.
const LATEST: (&str, &str) = ("4.1", "4.0");

/// The versions whose commands are known, the oldest first.
pub fn versions() -> impl Iterator<Item = &'static str> {
    VERSIONS.iter().map(|(version, _)| *version).chain([LATEST.0])
}

/// The commands of a version in order, by their names before 4.0; `None` when they are not known.
pub fn commands_of(version: &str) -> Option<Vec<&'static str>> {
    let (base, first) = if version == LATEST.0 { (LATEST.1, &PROVISIONING[..]) } else { (version, &[][..]) };
    let (_, lines) = VERSIONS.iter().find(|(known, _)| *known == base)?;
    let mut commands: Vec<_> = lines.iter().flat_map(|line| line.split(' ')).collect();
    let core = commands.iter().position(|name| *name == "uptime").unwrap_or_default();
    commands.splice(core..core, first.iter().copied());
    Some(commands)
}

/// Sets of parameters by name, of 3.x and 4.x: `|` is between two sets, and `+` begins one that adds to the set before.
#[rustfmt::skip]
const RECIPES: [(&str, &str); 42] = [
    ("profiling_proc", "|pid"),
    ("log_level_filter", "consumer|+level_filter"),
    ("log_mute_state", "consumer|+mute_state"),
    ("mem_pkg_dump", "pid|pid log_level"),
    ("mem_shm_dump", "|log_level"),
    ("mem_rpm_dump", "|log_level"),
    ("tcp:close", "ipport"),
    ("sr_get_status", "group|+identifier"),
    ("sr_list_reports", "|group|+identifier"),
    ("sr_list_identifiers", "|group"),
    ("check_blacklists", "ip"),
    ("check_blacklist", "name ip"),
    ("add_blacklist_rule", "name rule"),
    ("del_blacklist_rule", "name rule"),
    ("t_uac_cancel", "callid cseq"),
    ("t_hash", ""),
    ("t_reply", "code reason trans_id to_tag|+new_headers|+body"),
    ("rand_set_prob", "prob_proc"),
    ("ul_cluster_sync", ""),
    ("dlg_db_sync", ""),
    ("dlg_restore_db", ""),
    ("dlg_cluster_sync", ""),
    ("profile_get_size", "profile|+value"),
    ("profile_list_dlgs", "profile|+value"),
    ("profile_get_values", "profile"),
    ("profile_end_dlgs", "profile|+value"),
    ("dlg_push_var", "dlg_val_name dlg_val_value DID"),
    ("dlg_send_sequential", "callid|method callid"),
    ("dlg_set_profile", "DID profile|+value"),
    ("dlg_unset_profile", "DID profile|+value"),
    ("cache_remove_chunk", "glob|glob collection"),
    ("cache_fetch_chunk", "glob|glob collection"),
    ("dbt_dump", ""),
    ("dbt_reload", "|db_name|+table_name"),
    ("ds_push_script_attrs", "attr ip port|+group"),
    ("rl_bin_status", ""),
    ("reload_routes", ""),
    ("shm_check", ""),
    ("dlg_set_sharing_tag_active", "tag"),
    ("dlg_list_sharing_tags", ""),
    ("pi_list", ""),
    ("pi_reload", ""),
];

/// Commands of [`RECIPES`] that take parameters by name alone.
const NAMED_ONLY: [&str; 1] = ["t_reply"];

/// The sets of parameters that a command of 3.x and 4.x takes, by its name before 4.0; `None` when they are not known.
pub fn recipes_of(flat_command: &str) -> Option<Vec<Vec<&'static str>>> {
    let (_, alternatives) = RECIPES.iter().find(|(command, _)| *command == flat_command)?;
    let mut sets: Vec<Vec<&str>> = Vec::new();
    for alternative in alternatives.split('|') {
        let added = alternative.trim_start_matches('+');
        let before = if added == alternative { &[][..] } else { sets.last().map_or(&[][..], Vec::as_slice) };
        sets.push(before.iter().copied().chain(added.split_whitespace()).collect());
    }
    Some(sets)
}

/// Returns true if a command takes parameters by name alone.
pub fn is_named_only(flat_command: &str) -> bool {
    NAMED_ONLY.contains(&flat_command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::names::module_of;

    #[test]
    fn every_command_of_a_version_has_a_module() {
        for version in versions() {
            let commands = commands_of(version).expect("a known version");
            assert!(commands.iter().all(|name| module_of(name.as_bytes()).is_some()), "{version}");
        }
        assert_eq!(commands_of("9.9"), None);
    }

    #[test]
    fn provisioning_comes_before_the_other_commands_of_the_core() {
        let commands = commands_of("4.1").expect("a known version");
        let at = commands.iter().position(|name| *name == "pi_list").expect("in the core");
        assert_eq!(commands[at..at + 3], ["pi_list", "pi_reload", "uptime"]);
        assert!(!commands_of("4.0").expect("a known version").contains(&"pi_list"));
    }

    #[test]
    fn sets_of_parameters_build_on_the_set_before() {
        assert_eq!(recipes_of("profile_get_size"), Some(vec![vec!["profile"], vec!["profile", "value"]]));
        assert_eq!(recipes_of("dbt_reload"), Some(vec![vec![], vec!["db_name"], vec!["db_name", "table_name"]]));
        assert_eq!(recipes_of("t_hash"), Some(vec![vec![]]));
        assert_eq!(recipes_of("nosuch"), None);
        assert!(is_named_only("t_reply") && !is_named_only("t_hash"));
    }
}
