"""Answers that leave something open, from servers that answer as OpenSIPS 1.11 and 2.4 were seen to."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Callable
from urllib.parse import unquote

import pytest

import sipmi
from rogue import RogueHttp, answering, http_reply

pytestmark = pytest.mark.filterwarnings("ignore::sipmi.UnclearReplyWarning")

#: Commands that the servers have, as `which` lists them.
LISTED = ("version", "which", "ds_set_state", "uptime")
XML = b'<?xml version="1.0" encoding="UTF-8"?>\r\n'
FAULT_401 = (
    XML + b"<methodResponse>\r\n<fault><value>\r\n<struct>\r\n"
    b"<member>\r\n<name>faultCode</name>\r\n<value><int>401</int></value>\r\n</member>\r\n"
    b"<member>\r\n<name>faultString</name>\r\n<value><string>Empty request</string></value>\r\n</member>\r\n"
    b"</struct>\r\n</value>\r\n</fault>\r\n</methodResponse>\r\n"
)


def json_1_11(command: str) -> bytes:
    """`mi_json`: a command without nodes is an empty body, be it a success or an error."""
    if command == "version":
        return b'{"Server": "OpenSIPS (1.11.11-notls (x86_64/linux))"}'
    if command == "which":
        return ('{"": [' + ", ".join(f'{{"value":"{name}"}}' for name in LISTED) + "]}").encode()
    return b"" if command in LISTED else b'{"error":"Internal server error"}'


def xml_1_11(command: str) -> bytes:
    """`/xmlrpc` of `mi_xmlrpc_ng`: one string, and a page in place of an error."""
    lines = {"version": ["Server:: OpenSIPS (1.11.11-notls (x86_64/linux))"], "which": LISTED}
    if command not in LISTED:
        return b"<html><body>Internal server error!</body></html>"
    text = "".join(f"{line}\n" for line in lines.get(command, ()))
    value = f"<param><value><string>{text}</string></value></param>\r\n"
    return XML + f"<methodResponse>\r\n<params>\r\n{value}</params>\r\n</methodResponse>\r\n".encode()


def xml_2_4(command: str) -> bytes:
    """`/RPC2` of `mi_xmlrpc_ng`, `format_version` 2."""
    if command == "version":
        members = "<member><name>Server</name><value>OpenSIPS (2.4.11 (x86_64/linux))</value></member>"
    elif command == "which":
        names = "".join(f"<value>{name}</value>" for name in LISTED)
        members = f"<member><name>name</name><value><array><data>{names}</data></array></value></member>"
    elif command in LISTED:
        members = ""
    else:
        return FAULT_401
    value = f"<value><struct>{members}</struct></value>"
    return XML + f"<methodResponse>\r\n<params><param>\r\n{value}</param></params>\r\n</methodResponse>\r\n".encode()


def command_of(request: bytes) -> str:
    """The command of a request of `mi_json` or XML-RPC."""
    found = re.search(rb"<methodName>(.*?)</methodName>", request) or re.match(rb"GET /json/([^? ]*)", request)
    assert found is not None, request
    return unquote(found[1].decode())


def server(answer: Callable[[str], bytes], path: str) -> RogueHttp:
    return RogueHttp(answering(lambda request: http_reply(answer(command_of(request)))), path=path)


@contextlib.contextmanager
def two_servers() -> Iterator[sipmi.Fleet]:
    """A fleet of a server whose answers are unclear, and one whose answers are not."""
    with contextlib.ExitStack() as entered:
        old, new = entered.enter_context(server(json_1_11, "/json")), entered.enter_context(server(xml_2_4, "/RPC2"))
        yield entered.enter_context(sipmi.Fleet({"old": old.address, "new": new.address}))


SERVERS = {"1.11 /json": (json_1_11, "/json"), "1.11 /xmlrpc": (xml_1_11, "/xmlrpc"), "2.4 /RPC2": (xml_2_4, "/RPC2")}


@pytest.mark.parametrize("name", SERVERS)
def test_an_unknown_command_is_method_not_found_where_the_wire_does_not_say_so(name: str) -> None:
    with server(*SERVERS[name]) as opensips:
        with sipmi.connect(opensips.address) as mi:
            for _ in range(2):
                with pytest.raises(sipmi.MethodNotFound, match="Command not found"):
                    mi.call("nosuch_command")
            asked = [command_of(request) for request in opensips.requests]
            assert asked == ["version", "nosuch_command", "which", "nosuch_command"], "which is asked once"

        async def awaited() -> None:
            async with sipmi.AsyncClient(opensips.address) as other:
                with pytest.raises(sipmi.MethodNotFound):
                    await other.call("nosuch_command")

        asyncio.run(awaited())
        with sipmi.Fleet({"a": opensips.address}) as fleet:
            assert isinstance(fleet.call("nosuch_command").failed["a"], sipmi.MethodNotFound)
        gateway = sipmi.Server("gateway")
        gateway.forward(opensips.address)
        gateway.listen("udp:127.0.0.1:0")
        with gateway, sipmi.connect(gateway.addresses[0]) as mi, pytest.raises(sipmi.MethodNotFound):
            mi.call("nosuch_command")


@pytest.mark.parametrize("name", ["1.11 /json", "1.11 /xmlrpc"])
def test_a_command_that_exists_stays_unclear(name: str) -> None:
    with server(*SERVERS[name]) as opensips, sipmi.connect(opensips.address) as mi:
        reply = mi.request("ds_set_state", "i", "1", "sip:192.0.2.1")
        assert (reply.code, reply.ok) == (None, False)


@pytest.mark.filterwarnings("error::sipmi.UnclearReplyWarning")
def test_a_command_of_2_4_that_answers_nothing_has_succeeded() -> None:
    with server(xml_2_4, "/RPC2") as opensips, sipmi.connect(opensips.address) as mi:
        assert mi.call("ds_set_state", "i", "1", "sip:192.0.2.1") == "OK"


def test_an_unclear_answer_is_neither_a_success_nor_a_failure_of_a_fleet() -> None:
    with two_servers() as fleet:
        result = fleet.call("ds_set_state", "i", "1", "sip:192.0.2.1")
        assert (list(result.ok), list(result.failed), result.unclear) == (["new"], [], ("old",))
        assert not result
        assert "1 ok, 1 unclear" in repr(result)
        assert "old: unclear" in str(result)
        with pytest.raises(sipmi.fleet.FleetError, match="old: unclear"):
            result.check()
        accepted = fleet.with_options(unclear="ok").call("ds_set_state", "i", "1", "sip:192.0.2.1")
        assert accepted
        assert accepted.unclear == ("old",)
        with pytest.raises(ValueError, match="'failed' or 'ok'"):
            fleet.with_options(unclear="perhaps")


def test_a_rollout_stops_at_an_unclear_answer_unless_it_counts_as_a_success() -> None:
    with two_servers() as fleet:
        rollout = fleet.with_options(batch=1)
        result = rollout.call("ds_set_state", "i", "1", "sip:192.0.2.1")
        assert result.unclear == ("old",)
        assert result.skipped == {"new": "not asked: the rollout stopped when old was unclear"}
        accepted = rollout.with_options(unclear="ok").call("ds_set_state", "i", "1", "sip:192.0.2.1")
        assert (accepted.unclear, list(accepted.ok), bool(accepted)) == (("old",), ["new"], True)


def test_an_unclear_answer_does_not_count_for_a_quorum() -> None:
    with server(json_1_11, "/json") as old, sipmi.Fleet({"a": old.address}) as fleet:
        assert not fleet.with_options(quorum=1).call("ds_set_state", "i", "1", "sip:192.0.2.1")
        assert fleet.with_options(quorum=1, unclear="ok").call("ds_set_state", "i", "1", "sip:192.0.2.1")


def test_a_table_has_a_column_for_unclear_answers() -> None:
    pytest.importorskip("pandas")
    with server(json_1_11, "/json") as old, sipmi.Fleet({"a": old.address}) as fleet:
        frame = fleet.call("ds_set_state", "i", "1", "sip:192.0.2.1").to_frame()
        assert bool(frame.loc["a", "unclear"]) is True


def test_the_exit_code_of_an_unclear_answer_is_that_of_an_error() -> None:
    with server(json_1_11, "/json") as old:
        command = [sys.executable, "-m", "sipmi", "call", old.address, "ds_set_state", "i", "1", "sip:192.0.2.1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "unclear whether it succeeded" in done.stderr
