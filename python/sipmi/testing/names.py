"""Which commands each version of OpenSIPS has, in the order in which ``which`` lists them, and what they take."""

from __future__ import annotations

from .. import _core

#: Versions whose replies are trees and whose commands have one flat name.
LEGACY = ("1.8", "1.11", "2.4")
#: Versions that speak JSON-RPC.
MODERN = ("3.2", "3.4", "3.6", "4.0", "4.1")
VERSIONS = LEGACY + MODERN
SINCE_1_11 = VERSIONS[1:]
SINCE_3_4 = ("3.4", "3.6", "4.0", "4.1")
#: Versions that call a command ``module:name``.
MODULAR = ("4.0", "4.1")

#: Modules that a configuration loads or not; what is not listed here is the core and always there.
LOADABLE = ("tm", "cfgutils", "usrloc", "dialog", "cachedb_local", "db_text", "dispatcher", "ratelimit", "httpd")

_TM = "t_uac_dlg t_uac_cancel t_hash t_reply"
_CFGUTILS = "rand_set_prob rand_reset_prob rand_get_prob get_config_hash check_config_hash shv_get shv_set"
_USRLOC = "ul_rm ul_rm_contact ul_dump ul_flush ul_add ul_show_contact ul_sync"
_DIALOG = "dlg_list dlg_list_ctx dlg_end_dlg dlg_db_sync dlg_restore_db"
_PROFILES = "profile_get_size profile_list_dlgs profile_get_values list_all_profiles"
_MEMORY = "mem_pkg_dump mem_shm_dump mem_rpm_dump"
_REPORTS = "sr_get_status sr_list_status sr_list_reports sr_list_identifiers"
_BLACKLISTS = "check_blacklists check_blacklist add_blacklist_rule del_blacklist_rule"
_RATELIMIT = "rl_list rl_reset_pipe rl_set_pid rl_get_pid"
_EVENTS = "event_subscribe events_list subscribers_list"
_CACHE = "cache_store cache_fetch cache_remove"
_BASICS = "uptime version pwd arg which ps kill"

#: The commands of each version by the names they had before 4.0, in order.
COMMANDS: dict[str, tuple[str, ...]] = {
    version: tuple(" ".join(parts).split())
    for version, parts in {
        "1.8": (
            "get_statistics reset_statistics", _BASICS, "debug", _CACHE, "event_subscribe help list_blacklists", _TM,
            _CFGUTILS, _USRLOC, "dlg_list dlg_list_ctx dlg_end_dlg dlg_db_sync",
            "profile_get_size profile_list_dlgs profile_get_values ds_set_state ds_list ds_reload", _RATELIMIT,
            "httpd_list_root_path",
        ),
        "1.11": (
            "get_statistics reset_statistics", _BASICS, "debug", _CACHE, _EVENTS, "list_tcp_conns help list_blacklists",
            _TM, _CFGUTILS, _USRLOC, _DIALOG, _PROFILES, "cache_remove_chunk dbt_dump ds_set_state ds_list ds_reload",
            _RATELIMIT, "httpd_list_root_path",
        ),
        "2.4": (
            "get_statistics list_statistics reset_statistics", _BASICS, "log_level", _CACHE, _EVENTS,
            "list_tcp_conns help list_blacklists", _TM, _CFGUTILS, _USRLOC, "ul_cluster_sync", _DIALOG,
            "dlg_cluster_sync", _PROFILES, "profile_end_dlgs dlg_set_sharing_tag_active dlg_list_sharing_tags",
            "cache_remove_chunk dbt_dump dbt_reload ds_set_state ds_list ds_reload", _RATELIMIT,
            "rl_bin_status httpd_list_root_path",
        ),
        "3.2": (
            "get_statistics list_statistics reset_statistics", _BASICS, "log_level xlog_level shm_check", _CACHE,
            _EVENTS, "raise_event list_tcp_conns", _MEMORY, "reload_routes help list_blacklists", _TM, _CFGUTILS,
            _USRLOC, "ul_cluster_sync", _DIALOG, "dlg_cluster_sync", _PROFILES,
            "profile_end_dlgs dlg_push_var dlg_send_sequential cache_remove_chunk dbt_dump dbt_reload",
            "ds_set_state ds_list ds_reload ds_push_script_attrs", _RATELIMIT, "rl_dump_pipe httpd_list_root_path",
        ),
        "3.4": (
            "get_statistics list_statistics reset_statistics reset_all_statistics", _BASICS,
            "log_level xlog_level log_level_filter log_mute_state shm_check", _CACHE, _EVENTS,
            "raise_event list_tcp_conns", _MEMORY, "reload_routes", _REPORTS, "help list_blacklists", _BLACKLISTS,
            _TM, _CFGUTILS, _USRLOC, "ul_cluster_sync", _DIALOG, "dlg_cluster_sync", _PROFILES,
            "profile_end_dlgs dlg_push_var dlg_send_sequential cache_remove_chunk dbt_dump dbt_reload",
            "ds_set_state ds_list ds_reload ds_push_script_attrs", _RATELIMIT, "rl_dump_pipe httpd_list_root_path",
        ),
        "3.6": (
            "get_statistics list_statistics reset_statistics reset_all_statistics", _BASICS,
            "log_level xlog_level log_level_filter log_mute_state shm_check", _CACHE, _EVENTS,
            "raise_event list_tcp_conns", _MEMORY, "reload_routes", _REPORTS, "help list_blacklists", _BLACKLISTS,
            _TM, _CFGUTILS, _USRLOC, "ul_cluster_sync", _DIALOG, "dlg_cluster_sync", _PROFILES,
            "profile_end_dlgs dlg_push_var dlg_send_sequential dlg_set_profile dlg_unset_profile",
            "cache_remove_chunk cache_fetch_chunk dbt_dump dbt_reload",
            "ds_set_state ds_list ds_reload ds_push_script_attrs", _RATELIMIT, "rl_dump_pipe httpd_list_root_path",
        ),
        "4.0": (
            "get_statistics list_statistics reset_statistics reset_all_statistics", _BASICS,
            "log_level xlog_level profiling_proc log_level_filter log_mute_state reload_routes help list_tcp_conns",
            "tcp:close shm_check", _MEMORY, _CACHE, _REPORTS, "event_subscribe events_list subscribers_list",
            "raise_event list_blacklists", _BLACKLISTS, _TM, _CFGUTILS, _USRLOC, "ul_cluster_sync", _DIALOG,
            "dlg_cluster_sync", _PROFILES, "profile_end_dlgs dlg_push_var dlg_send_sequential dlg_set_profile",
            "dlg_unset_profile cache_remove_chunk cache_fetch_chunk dbt_dump dbt_reload",
            "ds_set_state ds_list ds_reload ds_push_script_attrs", _RATELIMIT, "rl_dump_pipe httpd_list_root_path",
        ),
    }.items()
}  # fmt: skip
# 4.1's core has the provisioning interface of pi_http, before its other commands.
_PROVISIONING = ("pi_list", "pi_reload", "uptime")
COMMANDS["4.1"] = tuple(name for old in COMMANDS["4.0"] for name in (_PROVISIONING if old == "uptime" else (old,)))

#: What 3.x calls the modules that 4.0 made of the core.
_OF_THE_CORE = {"tcp", "mem", "cache", "status_report", "evi"}


def canonical(name: str) -> tuple[str, str]:
    """The module of a command and the name that 4.0 gives it there.

    >>> canonical("ul_add"), canonical("cache_store"), canonical("profile_get_size")
    (('usrloc', 'add'), ('cache', 'store'), ('dialog', 'profile_get_size'))
    """
    known = _core.canonical_command_name(name)
    if known is not None:
        module, _, short = known.partition(":")
        return module, short
    return _core.command_module(name) or "core", name


def exporter(name: str, version: str) -> str:
    """The module that a version says exports a command."""
    module = canonical(name)[0]
    return "core" if version not in MODULAR and module in _OF_THE_CORE else module


#: What commands take that are not written out in the files of their modules: sets of names that come together, by
#: ``|``, ``+`` for one more than in the set before; 3.x and 4.x.
RECIPES = {
    "profiling_proc": "|pid", "log_level_filter": "consumer|+level_filter", "log_mute_state": "consumer|+mute_state",
    "mem_pkg_dump": "pid|pid log_level", "mem_shm_dump": "|log_level", "mem_rpm_dump": "|log_level",
    "tcp:close": "id", "sr_get_status": "group|+identifier", "sr_list_reports": "|group|+identifier",
    "sr_list_identifiers": "|group", "check_blacklists": "ip", "check_blacklist": "name ip",
    "add_blacklist_rule": "name rule", "del_blacklist_rule": "name rule", "t_uac_cancel": "callid cseq",
    "t_hash": "", "t_reply": "code reason trans_id to_tag|+new_headers|+body", "rand_set_prob": "prob_proc",
    "ul_cluster_sync": "", "dlg_db_sync": "", "dlg_restore_db": "", "dlg_cluster_sync": "",
    "profile_get_size": "profile|+value", "profile_list_dlgs": "profile|+value", "profile_get_values": "profile",
    "profile_end_dlgs": "profile|+value", "dlg_push_var": "dlg_val_name dlg_val_value DID",
    "dlg_send_sequential": "callid|method callid", "dlg_set_profile": "DID profile|+value",
    "dlg_unset_profile": "DID profile|+value", "cache_remove_chunk": "glob|glob collection",
    "cache_fetch_chunk": "glob|glob collection", "dbt_dump": "", "dbt_reload": "|db_name|+table_name",
    "ds_push_script_attrs": "attr ip port|+group", "rl_bin_status": "", "reload_routes": "", "shm_check": "",
    "dlg_set_sharing_tag_active": "tag", "dlg_list_sharing_tags": "", "pi_list": "", "pi_reload": "",
}  # fmt: skip


#: Of these, those that take parameters by name alone.
NAMED_ONLY = ("t_reply",)


def recipes(name: str) -> list[list[str]]:
    """The sets of names that a command takes.

    >>> recipes("profile_get_size")
    [['profile'], ['profile', 'value']]
    """
    sets: list[list[str]] = []
    for alternative in RECIPES.get(name, "").split("|"):
        names = alternative.lstrip("+").split()
        sets.append(sets[-1] + names if alternative.startswith("+") else names)
    return sets
