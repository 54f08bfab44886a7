"""The calls that are made on every wire of a server, in this order. None of them harms a server.

They leave an expired subscription and, from 3.x on, a shared variable behind.

Commands have the names that 3.x has; the client knows the others. Parameters have the names of 4.0.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

#: Commands of the shape table: the value is the same, type by type, from every wire and version.
TABLE = {
    "version", "uptime", "ps", "pwd", "arg", "which", "help", "get_statistics", "list_statistics", "log_level",
    "cache_store", "cache_fetch", "cache_remove", "ul_add", "ul_rm", "ul_rm_contact", "ul_dump", "ul_show_contact",
    "ul_sync", "ul_flush", "dlg_list", "dlg_list_ctx", "ds_list", "events_list", "subscribers_list", "rl_list",
}  # fmt: skip

#: A user whom no real server has.
AOR = "sipmi-real@127.0.0.1"
CONTACT = "sip:sipmi-real@127.0.0.1:5099"
KEY = "sipmi_real_"
#: A destination of dispatcher that no real server has.
NOWHERE = "sip:192.0.2.77:5060"


@dataclasses.dataclass(frozen=True)
class Call:
    """A command with its parameters."""

    command: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        named = [f"{name}={value!r}" for name, value in self.kwargs]
        text = ", ".join([*map(repr, self.args), *named])
        return f"{self.command}({text if len(text) < 90 else text[:90] + '...'})"

    @property
    def is_in_table(self) -> bool:
        return self.command in TABLE

    @property
    def subject(self) -> Optional[str]:
        """The cache key that the call is about: later calls depend on whether it was stored."""
        return dict(self.kwargs).get("attr")


def call(command: str, *args: Any, **kwargs: Any) -> Call:
    return Call(command, args, tuple(kwargs.items()))


def _core() -> list[Call]:
    return [
        *(call(name) for name in ("version", "uptime", "pwd", "arg", "ps", "which", "help", "log_level")),
        call("which", "uptime"),
        call("which", "sipmi_no_such_command"),
        call("help", "ps"),
        call("help", "version"),
        call("help", "sipmi_no_such_command"),
        call("sipmi_no_such_command"),
        call("sipmi_no_such_command", "a", "b"),
        call("uptime", "1"),
        call("xlog_level"),
        call("list_tcp_conns"),
        call("list_blacklists"),
        call("check_blacklists", "127.0.0.1"),
        call("httpd_list_root_path"),
        call("sr_list_status"),
        call("sr_list_identifiers"),
        call("sr_get_status", "core"),
        call("sr_get_status", "sipmi_no_such_group"),
        call("log_level_filter", "stderr"),
        call("log_mute_state", "stderr"),
        call("log_mute_state", "sipmi_no_such_consumer"),
    ]


def _statistics() -> list[Call]:
    asked: list[list[str]] = [
        ["core:"], ["shmem:"], ["load:"], ["net:"], ["tm:"], ["usrloc:"], ["registrar:"], ["dialog:"], ["all"],
        ["rcv_requests"], ["rcv_requests", "fwd_requests"], ["core:", "shmem:"], ["core:rcv_requests"],
        ["sipmi_no_such_statistic"], ["sipmi_no_such_group:"], ["rcv_requests", "sipmi_no_such_statistic"],
    ]  # fmt: skip
    return [
        *(call("get_statistics", names) for names in asked),
        call("get_statistics", statistics=["core:"]),
        call("get_statistics", "core:"),
        call("get_statistics"),
        call("list_statistics"),
        call("list_statistics", ["core:"]),
        call("reset_statistics", ["sipmi_no_such_statistic"]),
    ]


def _cache() -> list[Call]:
    values = {
        "plain": "hello",
        "number": "0044123",
        "blanks": "a b  c",
        "outer_blanks": "  a  ",
        "quotes": 'say "hi" now',
        "colons": "a::b",
        "percent": "100%25",
        "equals": "a=b c=d",
        "comma": "a,b",
        "markup": "<a & b>",
        "unicode": "Grüße, 世界",
        "lines": "one\ntwo",
        "empty_line": "one\n\ntwo",
        "last_line": "one\n",
        "backslash": "a\\b",
        "tab": "a\tb",
        "long": "x" * 800,
        "longer": "x" * 1900,
        "too_long_for_a_line": "x" * 2500,
        "too_long_for_a_fifo": "x" * 5000,
    }
    stored = [
        each
        for name, value in values.items()
        for each in (
            call("cache_store", system="local", attr=KEY + name, value=value),
            call("cache_fetch", system="local", attr=KEY + name),
            call("cache_remove", system="local", attr=KEY + name),
        )
    ]
    return [
        *stored,
        call("cache_store", "local", KEY + "positional", "v"),
        call("cache_store", "local", KEY + "expires", "v", 60),
        call("cache_fetch", "local", KEY + "expires"),
        call("cache_fetch_chunk", KEY + "*"),
        call("cache_remove_chunk", KEY + "*"),
        call("cache_fetch", "local", KEY + "expires"),
        call("cache_fetch", system="local", attr=KEY + "missing"),
        call("cache_remove", system="local", attr=KEY + "missing"),
        call("cache_store", "sipmi_no_such_system", "a", "b"),
        call("cache_fetch", "local"),
    ]


def _usrloc() -> list[Call]:
    named = {"table_name": "location", "aor": AOR, "contact": CONTACT}
    rest = {"expires": 3600, "q": "0.5", "flags": 0, "cflags": "", "methods": 31}
    return [
        call("ul_add", **named, **{**rest, "cflags": "0"}),
        call("ul_show_contact", table_name="location", aor=AOR),
        call("ul_show_contact", "location", AOR),
        call("ul_dump"),
        call("ul_dump", brief=1),
        call("ul_dump", 1),
        call("ul_add", "location", AOR, CONTACT + "0", 3600, "1", 0, "0", 31),
        call("ul_add", "location", AOR, CONTACT + "1", 0, "0.25", 0, "0", 31),
        call("ul_show_contact", table_name="location", aor=AOR),
        call("ul_rm_contact", table_name="location", aor=AOR, contact=CONTACT + "0"),
        call("ul_rm_contact", table_name="location", aor=AOR, contact=CONTACT + "9"),
        call("ul_sync", table_name="location"),
        call("ul_rm", table_name="location", aor=AOR),
        call("ul_rm", table_name="location", aor=AOR),
        call("ul_show_contact", table_name="location", aor=AOR),
        call("ul_show_contact", table_name="sipmi_no_such_table", aor=AOR),
        call("ul_add", table_name="location"),
        call("ul_dump"),
        call("ul_flush"),
    ]


def _dialog() -> list[Call]:
    return [
        call("dlg_list"),
        call("dlg_list", "sipmi-no-such-call"),
        call("dlg_list", "sipmi-no-such-call", "tag"),
        call("dlg_list", callid="sipmi-no-such-call"),
        call("dlg_list_ctx"),
        call("dlg_end_dlg", dialog_id="1234.5678"),
        call("list_all_profiles"),
        call("profile_get_size", "sipmi_no_such_profile"),
        call("profile_list_dlgs", "sipmi_no_such_profile"),
        call("profile_get_values", "sipmi_no_such_profile"),
        call("t_uac_cancel", "sipmi-no-such-call", "1 INVITE"),
    ]


def _routing() -> list[Call]:
    return [
        call("ds_list"),
        call("ds_set_state", state="i", group=9999, address=NOWHERE),
        call("ds_set_state", "x", 9999, NOWHERE),
        call("ds_reload"),
        call("ds_list"),
        call("dr_gw_status"),
        call("dr_gw_status", gw_id="sipmi_no_such_gateway"),
        call("dr_carrier_status"),
        call("dr_reload_status"),
        call("dr_reload"),
        call("lb_list"),
        call("lb_status", 9999),
        call("lb_reload"),
        call("address_reload"),
        call("address_dump"),
        call("subnet_dump"),
        call("domain_reload"),
        call("domain_dump"),
        call("dp_reload"),
        call("dp_translate", dpid=9999, input="123"),
        call("dp_translate", 9999, "123"),
        call("reload_blacklist"),
        call("clusterer_list"),
        call("clusterer_list_topology"),
        call("clusterer_list_cap"),
    ]


def _calls() -> list[Call]:
    return [
        call("b2be_list"),
        call("b2b_list"),
        call("b2b_terminate_call", "sipmi_no_such_call"),
        call("cc_list_queue"),
        call("cc_list_flows"),
        call("cc_list_agents"),
        call("cc_list_calls"),
        call("cc_agent_login", "sipmi_no_such_agent", 1),
        call("reg_list"),
        call("show_fraud_stats", "sipmi", "1", 1),
        call("pike_list"),
        call("bm_poll_results"),
        call("mq_get_sizes"),
        call("mq_get_size", "sipmi_no_such_queue"),
        call("trace"),
        call("list_shtags"),
    ]


def _rates_and_variables() -> list[Call]:
    return [
        call("rl_list"),
        call("rl_list", "sipmi_no_such_pipe"),
        call("rl_reset_pipe", pipe="sipmi_no_such_pipe"),
        call("rl_dump_pipe", pipe="sipmi_no_such_pipe"),
        call("rl_get_pid"),
        call("rand_set_prob", 33),
        call("rand_get_prob"),
        call("rand_reset_prob"),
        call("rand_get_prob"),
        call("get_config_hash"),
        call("check_config_hash"),
        call("shv_set", "sipmi_real", "int", "1"),
        call("shv_get", "sipmi_real"),
        call("shv_get"),
        call("shv_get", "sipmi_no_such_variable"),
        call("set_gflag", 1),
        call("is_gflag", 1),
        call("get_gflags"),
        call("reset_gflag", 1),
        call("is_gflag", 1),
        call("is_gflag", 4),
    ]


def _events() -> list[Call]:
    #: Port 9 discards; nothing is sent there, as the subscription ends at once.
    socket = "udp:127.0.0.1:9"
    return [
        call("events_list"),
        call("event_subscribe", "E_PIKE_BLOCKED", socket, 60),
        call("subscribers_list", "E_PIKE_BLOCKED"),
        call("subscribers_list", "E_PIKE_BLOCKED", socket),
        call("event_subscribe", "E_PIKE_BLOCKED", socket, 0),
        call("event_subscribe", "E_SIPMI_NO_SUCH_EVENT", socket, 60),
        call("event_subscribe", "E_PIKE_BLOCKED", "nowhere:1", 60),
        call("raise_event", "E_SIPMI_NO_SUCH_EVENT", ["1"]),
    ]


def all_calls() -> list[Call]:
    """Every call, in the order in which it is made."""
    groups = (_core, _statistics, _cache, _usrloc, _dialog, _routing, _calls, _rates_and_variables, _events)
    return [each for group in groups for each in group()]
