"""The commands of each version follow its rules for parameters, replies and errors, beyond the recorded cases."""

from __future__ import annotations

import json
from typing import Any

import pytest

import sipmi
from endpoints import DatagramPeer, FifoPeer
from sipmi.testing import FakeOpenSIPS
from waiting import eventually

MODERN = ["3.2", "3.4", "3.6", "4.0"]
STATUS = ["3.4", "3.6", "4.0"]

#: Of 3.x and 4.x: the command, its parameters, and what is the result, or the error with its data.
RULES: list[tuple[str, list[Any], Any]] = [
    ("version", ["x"], {"unknown": "unknown"}),
    ("which", ["get_statistics"], [["statistics"]]),
    ("which", ["ps"], [[]]),
    ("which", ["log_level"], [[], ["level"], ["level", "pid"]]),
    ("which", ["dlg_list"], [[], ["callid"], ["callid", "from_tag"], ["index", "counter"]]),
    ("which", ["nope"], (404, "unknown MI command")),
    ("help", ["nope"], (404, "unknown MI command")),
    ("log_level", [4, 1], (-32602, "Bad PID")),
    ("log_level", ["abc"], (-32602, "Bad type for parameter 'level'")),
    ("log_level", [1, 2, 3], (-32602, "Too few or too many parameters")),
    ("get_statistics", [], (-32602, "Too few or too many parameters")),
    ("get_statistics", [[]], (-32602, "Empty array in parameter 'statistics'")),
    ("get_statistics", [["nosuch"]], {}),
    ("reset_statistics", [["shmem:"]], (404, "Statistics Not Found")),
    ("reset_statistics", [["nosuch"]], (404, "Statistics Not Found")),
    ("cache_store", ["nosys", "k", "v"], (500, "Cache store command failed")),
    ("cache_store", ["", "k", "v"], (-32602, "Empty memory cache id")),
    ("cache_store", ["local", "", "v"], (-32602, "Empty attribute name")),
    ("cache_store", ["local", "k", ""], (-32602, "Empty value")),
    ("cache_store", ["local", "k", "v", -1], (-32602, "Negative expire value")),
    ("cache_fetch", ["local", "nokey"], (400, "Value not found")),
    ("cache_remove", ["local", "nokey"], "OK"),
    ("ul_add", ["location", "a@b", "sip:x@y", 60, "1.5", 0, "0", 0], (400, "Bad parameter value")),
    ("ul_add", ["location", "a@b", "sip:x@y", "x", "0.5", 0, "0", 0], (-32602, "Bad type for parameter 'expires'")),
    ("ul_add", ["nope", "a@b", "sip:x@y", 60, "0.5", 0, "0", 0], (404, "Table not found")),
    ("ul_rm", ["location", "unknown@x"], "OK"),
    ("ul_rm_contact", ["location", "unknown@x", "sip:x@y"], (404, "AOR not found")),
    ("ul_sync", ["location"], (200, "Contacts already synced")),
    ("dlg_list", ["call"], (-32602, "Command only supports named parameters")),
    ("dlg_end_dlg", ["nope"], (404, "Requested Dialog not found")),
    ("dlg_db_sync", [], (400, "Cannot sync in no-db mode")),
    ("profile_get_size", ["p"], (404, "Profile not found")),
    ("profile_get_values", ["p"], (404, "Profile not found")),
    ("list_all_profiles", [], {"Profiles": []}),
    ("ds_set_state", ["a", 1, "sip:x"], (404, "destination not found")),
    ("ds_set_state", ["z", 1, "sip:x"], (500, "Bad state value")),
    ("ds_list", ["default"], (-32602, "Ambiguous call, use named parameters instead")),
    ("rl_reset_pipe", ["x"], (500, "Internal error")),
    ("rl_dump_pipe", ["x"], (404, "Pipe not found")),
    ("subscribers_list", ["E_CORE_THRESHOLD"], {"Event": {}}),
    ("subscribers_list", ["E_NO_SUCH"], (404, "Event not published")),
    ("subscribers_list", ["E_CORE_THRESHOLD", "udp:192.0.2.1:5"], (404, "Subscriber does not exist")),
    ("raise_event", ["E_NO_SUCH"], (404, "Event not registered")),
    ("event_subscribe", ["E_CORE_THRESHOLD", "udp:[::1]:5"], (400, "Bad parameter value")),
    ("shv_get", [], [[]]),
    ("shv_get", ["x"], (404, "Not found")),
    ("list_tcp_conns", [], None),
    ("list_blacklists", [], {"Lists": []}),
    ("t_uac_cancel", ["a", "b"], (481, "No such transaction")),
    ("t_reply", [404, "Not Here", "1", "2"], (-32602, "Command only supports named parameters")),
    ("rand_get_prob", [], {"actual probability percent": 10}),
    ("pwd", ["x"], (-32602, "Too few or too many parameters")),
    ("nosuch", [], (-32601, "Method not found")),
]
#: Of those that have status reports.
STATUS_RULES: list[tuple[str, list[Any], Any]] = [
    ("sr_get_status", ["core"], {"Readiness": True, "Status": 1, "Details": "running"}),
    ("sr_get_status", ["nope"], (404, "Group not found")),
    ("sr_list_identifiers", ["core"], {"Group": "core", "Identifiers": ["main"]}),
    ("log_level_filter", ["x"], (404, "Unknown log consumer")),
]


@pytest.mark.parametrize("version", MODERN)
def test_a_version_of_json_answers_by_the_rules(version: str) -> None:
    with FakeOpenSIPS(version) as fake:
        peer = DatagramPeer(fake.address("udp"))
        rules = RULES + (STATUS_RULES if version in STATUS else [])
        for command, params, expected in rules:
            request = {"jsonrpc": "2.0", "method": command, "params": params, "id": 1}
            reply = json.loads(peer.exchange(json.dumps(request).encode()) or b"")
            if isinstance(expected, tuple):
                error = reply["error"]
                assert (error["code"], error.get("data", error["message"])) == expected, (command, params)
            elif isinstance(expected, dict) and command == "version":
                assert expected.items() <= reply["result"].items()
            else:
                assert reply["result"] == expected, (command, params)
        peer.close()


#: Of 1.x and 2.x: the request as it is, and the first line of the reply.
TEXT_RULES = [
    ("version\nx\ny", "200 OK"),
    ("help\nnope", "404 unknown MI command"),
    ("get_statistics", "400 Too few or too many arguments"),
    ("get_statistics\nnosuch", "404 Statistics Not Found"),
    ("reset_statistics\nshmem:", "404 Statistics Not Found"),
    ("cache_store\nlocal\nk", "404 Too few arguments"),
    ("cache_store\nlocal\nk\nv\nx", "404 Bad format for expires argument"),
    ("cache_store\nnosys\nk\nv", "500 Cache store command failed"),
    ("cache_fetch\nlocal\nnokey", "200 OK"),
    ("ul_add\nlocation\na\nsip:x@y\n60\n0.5\n0\n0\n0\n0", "200 OK"),
    ("ul_add\nlocation\na\nsip:x@y\n60\n1.5\n0\n0\n0\n0", "400 Bad parameter"),
    ("ul_add\nlocation\na", "400 Too few or too many arguments"),
    ("ul_show_contact\nnope\na", "404 Table not found"),
    ("ul_show_contact\nlocation\nnobody", "404 AOR not found"),
    ("ul_sync\nlocation", "200 Contacts already synced"),
    ("dlg_list\nnope", "404 No such dialog"),
    ("ds_set_state\na\n1\nsip:x", "404 destination not found"),
    ("subscribers_list\nE_NO_SUCH", "404 Event not published"),
    ("event_subscribe\nE_NO_SUCH\nudp:127.0.0.1:5", "400 Bad parameter"),
    ("rl_list\nx", "500 command failed"),
    ("t_uac_cancel\na\nb", "481 No such transaction"),
    ("profile_get_values\np", "404 Profile not found"),
    ("nosuch", "500 command not available"),
]


@pytest.mark.parametrize("version", ["1.11", "2.4"])
def test_a_version_of_text_answers_by_the_rules(version: str) -> None:
    with FakeOpenSIPS(version) as fake:
        peer = DatagramPeer(fake.address("udp"))
        for request, expected in TEXT_RULES:
            command, _, params = request.partition("\n")
            reply = peer.exchange(f":{command}:\n{params}\n".encode()) or b""
            assert reply.decode().split("\n")[0] == expected, request
        peer.close()


def test_a_dialog_is_ended_by_its_identifier_as_the_version_has_it() -> None:
    for version in ("1.11", "2.4", "3.4", "4.0"):
        with FakeOpenSIPS(version) as fake, fake.connect() as mi:
            call = fake.dialog.add("call@h")
            if version == "1.11":
                with pytest.raises(sipmi.Fault, match="Bad parameter"):
                    mi.call("dlg_end_dlg", "call@h")
                with pytest.raises(sipmi.Fault, match="not found"):
                    mi.call("dlg_end_dlg", call.entry, call.label + 1)
                mi.call("dlg_end_dlg", call.entry, call.label)
            else:
                mi.call("dlg_end_dlg", "call@h")
            assert fake.dialog.calls == []
            call = fake.dialog.add("other@h")
            mi.call("dlg_end_dlg", call.number if version in ("1.11", "2.4") else call.id)
            assert fake.dialog.calls == []


@pytest.mark.parametrize("version", MODERN)
def test_an_answer_that_comes_late_and_is_long_takes_the_server_of_a_json_fifo_down(version: str) -> None:
    asked = {"method": "OPTIONS", "ruri": "sip:h", "headers": "To: <sip:a@h>\r\nFrom: <sip:b@h>;tag=1\r\n"}
    with FakeOpenSIPS(version, hazards=True) as fake:
        fake.tm.answers["OPTIONS"] = "200 " + "x" * 5000
        with fake.connect("udp") as mi:  # a datagram carries it without harm
            assert len(mi.call("t_uac_dlg", **asked)["Status"]) > 5000
        with fake.connect("fifo") as mi, pytest.raises(sipmi.RequestRefused, match="aborts the server"):
            mi.call("t_uac_dlg", **asked)
        assert fake.server.is_running
        command, _, directory = fake.address("fifo").partition(":")[2].partition("?reply_dir=")
        request = json.dumps({"jsonrpc": "2.0", "method": "t_uac_dlg", "params": asked, "id": 1})
        FifoPeer(command, directory).exchange(lambda name: f":{name}:{request}".encode())
        eventually(lambda: not fake.server.is_running, "the server crashes")
