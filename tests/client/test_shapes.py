"""The same value everywhere: the table's commands as 1.11, 2.4, 3.4 and 4.0 answered them, on every recorded wire."""

from __future__ import annotations

from typing import Any, Optional

import pytest

import shapes
import sipmi
from replay import Question, Recorded, outcome

OLD = [
    "1.11-fifo", "1.11-datagram-udp", "1.11-datagram-unix", "1.11-json", "1.11-xmlrpc-ro0", "1.11-xmlrpc_ng",
    "2.4-fifo", "2.4-datagram-udp", "2.4-datagram-unix", "2.4-json", "2.4-xmlrpc_ng", "2.4-xmlrpc_ng-v1",
]  # fmt: skip
NEW = ["3.4-fifo", "3.4-datagram-udp", "3.4-http", "3.4-xmlrpc", "4.0-fifo", "4.0-http", "4.0-xmlrpc"]

#: The cases of each command, in old files, in new ones and over native XML-RPC.
CASES = {
    "version": ("version", "version", "version"),
    "uptime": ("uptime", "uptime", "uptime"),
    "pwd": ("pwd", "pwd", None),
    "which": ("which", "which", "which"),
    "ps": ("ps", "ps", "ps"),
    "help": ("help", "help_noargs", None),
    "help ps": ("help_ps", "help_ps", "help"),
    "get_statistics": ("stats_core", "stats_core_positional", None),
    "log_level set": ("log_set", "log_level_set", None),
    "cache_fetch": ("cache_fetch_dcolon", "cache_fetch_dcolon", "cache_fetch_dcolon"),
    "cache_fetch nothing": ("cache_fetch_missing", "cache_fetch_missing", "cache_fetch_missing"),
    "ul_show_contact": ("ul_show_contact", "ul_show_contact", "ul_show"),
    "ul_dump": ("ul_dump", "ul_dump", "ul_dump"),
    "ul_dump brief": ("ul_dump_brief", "ul_dump_brief", None),
    "ds_list": ("ds_list", "ds_list", "ds_list"),
    "events_list": ("events_list", "events_list", "events_list"),
    "rl_list": ("rl_list", "rl_list", None),
    "dlg_list": ("dlg_list", "dlg_list", "dlg_list"),
}

#: Commands that old versions do not have, and lists of contacts as 1.x does not write them.
ABSENT = {
    "ds_list": {"resolved_addresses", "first_hit_counter"},
    "ul_show_contact": {"ContactID", "Cseq", "State"},
    "ul_dump": {"ContactID"},
}


def value_of(name: str, case: str) -> Any:
    file = Recorded(name)
    question = file.question(case)
    assert question is not None, (name, case)
    with file.answering(case) as (mi, _):
        # A recording does not say how many records its server had.
        return outcome(mi, question, force=True)


def case_of(command: str, name: str) -> Optional[str]:
    old, new, xmlrpc = CASES[command]
    if name in OLD:
        return old
    return xmlrpc if "xmlrpc" in name else new


def shape_of(value: Any) -> Any:
    """Names and types, without values: a list is what its elements have in common."""
    if isinstance(value, dict):
        if value and all(":" in name for name in value):
            return {"group:name": shape_of(next(iter(value.values())))}
        return {name: shape_of(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape_of(value[0])] if value else []
    return value if isinstance(value, tuple) else type(value).__name__


def without(shape: Any, names: set[str]) -> Any:
    if isinstance(shape, dict):
        return {name: without(member, names) for name, member in shape.items() if name not in names}
    return [without(each, names) for each in shape] if isinstance(shape, list) else shape


@pytest.mark.parametrize("command", CASES)
@pytest.mark.filterwarnings("ignore::sipmi.UnclearReplyWarning")
def test_every_generation_and_wire_gives_the_shape_of_4_0(command: str) -> None:
    expected = shape_of(value_of("4.0-fifo", CASES[command][1]))
    for name in OLD + NEW:
        case = case_of(command, name)
        if case is None:
            continue
        if command == "dlg_list" and name in ("1.11-json", "1.11-xmlrpc_ng"):
            continue  # nothing at all, which there may be an error
        found = shape_of(value_of(name, case))
        absent = ABSENT.get(command, set()) if name in OLD else set()
        assert without(found, absent) == without(expected, absent), (name, found)


def test_the_page_of_shapes_is_current() -> None:
    assert shapes.PAGE.read_text() == shapes.page(), "python tools/shapes.py writes it"


def contacts(name: str) -> list[dict[str, Any]]:
    case = case_of("ul_show_contact", name)
    assert case is not None
    found = value_of(name, case)["Contacts"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("name", OLD + NEW)
def test_a_contact_has_the_same_members_with_the_same_types_everywhere(name: str) -> None:
    found = contacts(name)
    assert len(found) == (1 if name in ("3.4-xmlrpc", "4.0-xmlrpc") else 2)
    for contact in found:
        assert 3500 < contact["Expires"] <= 3600
        assert (contact["Callid"], contact["User-agent"]) == ("dfjrewr12386fd6-343@opensips.mi", "OpenSIPS MI Server")
        assert (contact["Flags"], contact["Cflags"], contact["Methods"]) == (0, "", 0)
        assert contact["Q"] in ("0.7", "0.5")
        assert contact["Contact"].startswith(("sip:alice2@127.0.0.1:5098", "sip:alice@127.0.0.1:5099"))


@pytest.mark.parametrize("name", OLD)
def test_destinations_are_the_same_on_every_old_wire(name: str) -> None:
    (partition,) = value_of(name, "ds_list")["PARTITIONS"]
    (only,) = partition["SETS"]
    port = 15061 if name.startswith("1.11") else 25061
    assert (partition["name"], only["id"]) == ("default", 1)
    found = [(each["URI"], each["state"], each["attr"]) for each in only["Destinations"]]
    assert found == [(f"sip:127.0.0.1:{port}", "Active", "a=1"), (f"sip:127.0.0.1:{port + 1}", "Active", "a=b")]


@pytest.mark.parametrize("name", OLD)
def test_processes_and_statistics_are_numbers(name: str) -> None:
    processes = value_of(name, "ps")["Processes"]
    assert [process["ID"] for process in processes] == list(range(len(processes)))
    assert len(processes) > 5
    assert not any(process["Type"] != process["Type"].strip() for process in processes)
    statistics = value_of(name, "stats_several")
    assert len(statistics) > 10
    assert all(type(value) is int for value in statistics.values())
    assert statistics["shmem:total_size"] == 67108864


@pytest.mark.parametrize("name", OLD)
def test_a_missing_cached_value_is_the_error_of_4_0_and_the_reply_is_unchanged(name: str) -> None:
    file = Recorded(name)
    with file.answering("cache_fetch_missing") as (mi, _):
        reply = mi.request("cache_fetch", "local", "nokey")
        assert reply.code == 200
        assert b"Value not found" in bytes(reply.raw)
        with pytest.raises(sipmi.Fault) as caught:
            mi.call("cache_fetch", "local", "nokey")
    assert (caught.value.code, caught.value.message) == (400, "Value not found")


# -- dialogs --------------------------------------------------------------------------------------

DIALOGS = {
    "1.11-dialog": ["udp_dlg_list", "json_dlg_list", "xmlrpc_dlg_list"],
    "2.4-dialog": ["udp_dlg_list", "json_dlg_list"],
}


class Dialogs(Recorded):
    """A file that holds several transports, each named by its cases."""

    def __init__(self, name: str, case: str) -> None:
        super().__init__(name)
        prefix = case.split("_dlg")[0]
        self.transport = {"udp": "datagram", "unix": "datagram", "fifo": "fifo"}.get(prefix, prefix)
        versions = Recorded(
            {
                "datagram": f"{self.version}-datagram-udp",
                "fifo": f"{self.version}-fifo",
                "json": f"{self.version}-json",
                "http": f"{self.version}-http",
                "xmlrpc": "1.11-xmlrpc-ro0" if self.version == "1.11" else f"{self.version}-xmlrpc",
                "xmlrpc_ng": f"{self.version}-xmlrpc_ng",
            }[self.transport]
        )
        self.pairs["version"] = versions.pairs["version"]


def dialogs(name: str, case: str) -> Any:
    file = Dialogs(name, case)
    question = file.question(case)
    assert question is not None, case
    with file.answering(case) as (mi, _):
        return outcome(mi, question)


NEW_DIALOGS = dialogs("4.0-dialog", next(case for case in Recorded("4.0-dialog").pairs if case.startswith("udp_")))
OLD_DIALOG_CASES = [
    (name, case)
    for name in ("1.11-dialog", "2.4-dialog")
    for case in Recorded(name).pairs
    if "dlg_list" in case and "_ctx" not in case and "html" not in case
]


@pytest.mark.parametrize(("name", "case"), OLD_DIALOG_CASES)
def test_dialogs_have_the_shape_of_4_0(name: str, case: str) -> None:
    (expected, *_) = NEW_DIALOGS["Dialogs"]
    found = dialogs(name, case)
    if case.endswith("dlg_list_0_1"):
        assert found["count"] == 2
        (dialog,) = found["Dialogs"]
    elif case.endswith("dlg_list"):
        dialog, other = found["Dialogs"]
        assert other["callid"] == "lab-call-2@127.0.0.1"
    else:
        assert list(found) == ["Dialog"]
        dialog = found["Dialog"]
    assert list(dialog) == list(expected)
    assert shape_of(dialog) == shape_of(expected)
    assert dialog["callid"] == "lab-call-1@127.0.0.1"
    assert [callee["callee_tag"] for callee in dialog["CALLEES"]] == ["uastag1"]
    assert dialog["ID"] == dialog["db_id"]


# -- what is not in the table ---------------------------------------------------------------------


@pytest.mark.parametrize("name", OLD)
def test_other_commands_give_strings(name: str) -> None:
    found = value_of(name, "httpd_list_root_path")
    assert [set(each) for each in found["http_root"]] == [{"value", "module"}] * 3


def test_commands_go_by_the_names_of_4_0_everywhere() -> None:
    file = Recorded("2.4-datagram-udp")
    for command, case in [("core:ps", "ps"), ("usrloc:dump", "ul_dump"), ("statistics:get", "stats_core")]:
        question = file.question(case)
        assert question is not None
        with file.answering(case) as (mi, _):
            by_old_name = outcome(mi, question)
            assert outcome(mi, Question(command, question.args)) == by_old_name


def test_a_reply_that_is_not_as_expected_stays_what_the_rule_makes_of_it() -> None:
    from rogue import RogueDatagram

    replies = [b"200 OK\nHello:: world\n\n", b"200 OK\nDomain:: location x=1\n\tNew:: 2\n\n", b"200 OK\nps\n\n"]
    for reply in replies:
        with (
            RogueDatagram(lambda _, reply=reply: [reply]) as server,
            sipmi.connect(server.address, wire="text") as mi,
        ):
            for command in ("ps", "ul_dump", "ds_list", "dlg_list", "cache_fetch", "log_level", "subscribers_list"):
                found = mi.call(command)
                if command == "ul_dump" and b"Domain" in reply:
                    assert found == {"Domains": [{"name": "location", "New": "2", "AORs": []}]} or "x" in str(found)
                else:
                    assert found == mi.request("no_such_table").value, (command, reply)
