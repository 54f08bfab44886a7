"""The client against sipmi's own server, as itself and as every version it can answer as."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sipmi
from endpoints import Endpoints

TRANSPORTS = ["fifo", "udp", "unix"]
WIRES = ["text", "jsonrpc"]
VERSIONS = {
    None: ("sipmi", sipmi.__version__, "jsonrpc"),
    "1.11": ("1.x", "1.11.11", "text"),
    "2.4": ("2.x", "2.4.11", "text"),
    "3.2": ("3.x", "3.2.19", "jsonrpc"),
    "3.4": ("3.x", "3.4.18", "jsonrpc"),
    "3.6": ("3.x", "3.6.8", "jsonrpc"),
    "4.0": ("4.x", "4.0.1", "jsonrpc"),
}


def make_server(emulate: Optional[str] = None) -> sipmi.Server:
    server = sipmi.Server("billing", version="1.4", emulate=emulate)

    @server.command
    def account(user: str, domain: str = "example.org", credit: float = 0.0) -> dict:
        """Show an account."""
        return {"aor": f"sip:{user}@{domain}", "credit": credit}

    @server.command
    def echo(value: str) -> str:
        return value

    @server.command
    def count(values: list) -> int:
        return len(values)

    @server.command
    def flag(value: bool) -> str:
        return repr(value)

    @server.command
    def integer(value: int) -> str:
        return str(value)

    @server.command
    def nothing() -> None:
        pass

    @server.command
    def null() -> list:
        return [None]

    @server.command
    def fail(code: int, reason: str) -> None:
        raise sipmi.Fault(code, reason, {"why": "because"})

    @server.command
    def large(size: int) -> dict:
        return {"lines": ["x" * 1000] * (size // 1000)}

    return server


def address_of(endpoints: Endpoints, transport: str) -> str:
    return next(address for address in endpoints.server.addresses if address.startswith(transport))


@pytest.fixture
def dial(serve: Callable[..., Endpoints]) -> Iterator[Callable[..., sipmi.Client]]:
    """Clients of a server that is started for them."""
    clients: list[sipmi.Client] = []

    def connect(transport: str, emulate: Optional[str] = None, **options: Any) -> sipmi.Client:
        endpoints = serve(make_server(emulate))
        clients.append(sipmi.connect(address_of(endpoints, transport), **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


# -- who answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("emulate", VERSIONS)
def test_the_client_detects_the_server_and_its_wire(dial: Any, transport: str, emulate: Optional[str]) -> None:
    mi = dial(transport, emulate)
    assert (mi.generation, mi.version, mi.wire) == VERSIONS[emulate]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("emulate", VERSIONS)
def test_a_value_is_the_same_from_every_version(dial: Any, transport: str, emulate: Optional[str]) -> None:
    mi = dial(transport, emulate)
    credit = "2.5" if mi.wire == "text" else 2.5
    assert mi.call("account", "alice", "example.net", 2.5) == {"aor": "sip:alice@example.net", "credit": credit}
    assert mi.call("nothing") == "OK"
    assert mi.call("echo", "a value") == "a value"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wire", WIRES)
def test_a_wire_that_is_given_is_used_and_the_server_may_still_be_asked(dial: Any, transport: str, wire: str) -> None:
    mi = dial(transport, wire=wire)
    assert mi.wire == wire
    assert mi.request("nothing").wire == wire
    assert (mi.generation, mi.wire) == ("sipmi", wire)


def test_connect_touches_no_network() -> None:
    for address in ("fifo:/nowhere/fifo", "udp:nowhere.invalid:8080", "unix:/nowhere/sock"):
        sipmi.connect(address).close()


def test_connect_rejects_invalid_addresses_and_options() -> None:
    with pytest.raises(ValueError, match="expected udp:host:port"):
        sipmi.connect("udp:localhost")
    with pytest.raises(ValueError, match="speaks text or jsonrpc, not xmlrpc"):
        sipmi.connect("udp:localhost:1", wire="xmlrpc")
    with pytest.raises(ValueError, match="reply_dir"):
        sipmi.connect("udp:localhost:1", reply_dir="/tmp")
    with pytest.raises(ValueError, match="speaks jsonrpc, mi_json or xmlrpc, not text"):
        sipmi.connect("http://127.0.0.1:8888/mi", wire="text")
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            sipmi.connect("udp:localhost:1", timeout=timeout)


def test_a_host_name_that_cannot_be_resolved_is_a_transport_error() -> None:
    with sipmi.connect("udp:nowhere.invalid:8080", timeout=20) as mi, pytest.raises(sipmi.TransportError):
        mi.call("uptime")


def test_a_host_name_is_called_at_the_address_that_answers(serve: Callable[..., Endpoints]) -> None:
    port = serve(make_server()).udp_address.rpartition(":")[2]
    with sipmi.connect(f"udp:localhost:{port}") as mi:
        assert [mi.call("echo", str(i)) for i in range(3)] == ["0", "1", "2"]


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wire", WIRES)
def test_parameters_go_by_position_and_by_name(dial: Any, transport: str, wire: str) -> None:
    mi = dial(transport, wire=wire)
    expected = mi.call("account", "alice", "example.net")
    assert expected["aor"] == "sip:alice@example.net"
    assert mi.call("account", user="alice", domain="example.net") == expected
    assert mi.call("account", "alice", "example.net", None) == expected
    assert mi.call("account", user="alice", domain="example.net", credit=None) == expected


@pytest.mark.parametrize("wire", WIRES)
def test_none_between_parameters_is_invalid_and_nothing_is_sent(dial: Any, wire: str) -> None:
    mi = dial("udp", wire=wire)
    with pytest.raises(sipmi.InvalidParams, match="parameter 2 is None") as caught:
        mi.call("account", "alice", None, 1.0)
    assert caught.value.sent is None


def test_positions_and_names_mix_on_text_alone(dial: Any) -> None:
    assert dial("udp", wire="text").call("account", "alice", credit=1.5)["credit"] == "1.5"


def test_json_wires_accept_either_positions_or_names(dial: Any) -> None:
    with pytest.raises(sipmi.InvalidParams, match="not both"):
        dial("udp", wire="jsonrpc").call("account", "alice", credit=1.5)


@pytest.mark.parametrize("wire", WIRES)
def test_true_and_false_arrive_as_such(dial: Any, wire: str) -> None:
    mi = dial("udp", wire=wire)
    assert [mi.call("flag", value) for value in (True, False)] == ["True", "False"]
    assert (b":1}" in (sent := mi.request("flag", value=True).sent)) or b"value::1\n" in sent


@pytest.mark.parametrize("wire", WIRES)
def test_a_list_is_sent_as_a_list_or_as_one_parameter_for_each_element(dial: Any, wire: str) -> None:
    assert int(dial("fifo", wire=wire).call("count", ["a", "b", "c"])) == 3


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wire", WIRES)
def test_bytes_that_are_not_utf8_come_back_as_they_went(dial: Any, transport: str, wire: str) -> None:
    mi = dial(transport, wire=wire)
    value = b"caf\xe9 \xff\xfe".decode("utf-8", "surrogateescape")
    assert mi.call("echo", value) == value
    assert b"caf\xe9 \xff\xfe" in mi.request("echo", value).raw


@pytest.mark.parametrize("emulate", [None, "4.0"])
def test_an_integer_of_64_bits_arrives_whole(dial: Any, emulate: Optional[str]) -> None:
    assert dial("udp", emulate).call("integer", 2**40) == str(2**40)


TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.text(st.sampled_from('a"\\\n: \t='), max_size=12)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wire", WIRES)
def test_a_value_arrives_exactly_or_is_not_sent(dial: Any, transport: str, wire: str) -> None:
    mi = dial(transport, wire=wire)
    server_saw: list[str] = []

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(TEXT)
    def check(value: str) -> None:
        server_saw.clear()
        try:
            reply = mi.request("account", value, "d")
        except sipmi.RequestRefused:
            return
        assert reply.ok, reply
        if wire == "jsonrpc":
            assert reply.value["aor"] == f"sip:{value}@d"
        else:
            # The rule of text reads some values in another way, but the bytes are those.
            assert f"aor:: sip:{value}@d\n".encode() in reply.raw

    check()


# -- replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wire", WIRES)
def test_a_reply_has_everything_that_came(dial: Any, transport: str, wire: str) -> None:
    mi = dial(transport, wire=wire)
    reply = mi.request("account", "alice")
    assert (reply.code, reply.reason, reply.ok, reply.wire) == (200, "OK", True, wire)
    assert reply.address == mi.address
    assert reply.command == "account"
    assert reply.tree.children[0].name == "aor"
    assert reply.value["aor"] == "sip:alice@example.org"
    assert b"sip:alice@example.org" in reply.raw
    assert b"account" in reply.sent
    assert 0 < reply.elapsed < 5
    assert reply.text.startswith(b"200 OK\naor:: sip:alice@example.org\n")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wire", WIRES)
def test_request_gives_an_error_answer_and_call_raises_it(dial: Any, transport: str, wire: str) -> None:
    mi = dial(transport, wire=wire)
    reply = mi.request("fail", 404, "No such thing")
    assert (reply.ok, reply.code, reply.reason) == (False, 404, "No such thing")
    for raising in (lambda: reply.value, lambda: mi.call("fail", 404, "No such thing")):
        with pytest.raises(sipmi.Fault) as caught:
            raising()
        fault = caught.value
        assert (fault.code, fault.message) == (404, "No such thing")
        assert fault.data == {"why": "because"}
        assert (fault.address, fault.command) == (mi.address, "fail")
        assert b"fail" in (fault.sent or b"")
        assert b"No such thing" in (fault.received or b"")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wire", WIRES)
def test_each_kind_of_error_answer_has_its_class(dial: Any, transport: str, wire: str) -> None:
    mi = dial(transport, wire=wire)
    with pytest.raises(sipmi.MethodNotFound):
        mi.call("nosuch")
    with pytest.raises(sipmi.InvalidParams):
        mi.call("account")
    with pytest.raises(sipmi.InvalidParams):
        mi.call("count", ["a"], ["b"], ["c"]) if wire == "jsonrpc" else mi.call("integer", "x")


def test_a_name_of_two_modules_is_ambiguous(serve: Callable[..., Endpoints]) -> None:
    server = make_server()
    for module in ("a", "b"):
        server.command(lambda: "x", name="list", module=module)
    with sipmi.connect(serve(server).udp_address) as mi:
        with pytest.raises(sipmi.AmbiguousMethod, match="a:list, b:list"):
            mi.call("list")
        assert mi.call("a:list") == "x"
        assert {"a:list", "b:list"} <= set(mi.cmd._ipython_key_completions_())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_null_is_none_and_nothing_is_ok(dial: Any, transport: str) -> None:
    mi = dial(transport)
    assert mi.call("nothing") == "OK"
    assert mi.call("null") == [None]


@pytest.mark.parametrize("wire", WIRES)
def test_a_fifo_carries_replies_of_megabytes(dial: Any, wire: str) -> None:
    mi = dial("fifo", wire=wire, timeout=20)
    assert len(mi.call("large", 5_000_000)["lines"]) == 5000


def test_a_reply_over_the_size_of_a_datagram_is_an_error_reply(dial: Any) -> None:
    with pytest.raises(sipmi.Fault, match="Reply too large"):
        dial("udp").call("large", 100_000)


def test_parameter_values_are_in_no_message(dial: Any) -> None:
    mi = dial("fifo", "4.0")
    with pytest.raises(sipmi.RequestRefused) as refused:
        mi.call("echo", "secret" * 1000)
    with pytest.raises(sipmi.InvalidParams) as invalid:
        mi.call("echo", "secret", "secret")
    for error in (refused.value, invalid.value):
        assert "secret" not in str(error)


# -- commands as functions ------------------------------------------------------------------------


def test_commands_are_functions_that_complete(dial: Any) -> None:
    mi = dial("udp")
    assert mi.cmd.account("alice") == mi.call("account", "alice")
    assert mi.cmd["billing:account"](user="alice") == mi.call("account", "alice")
    assert {"account", "echo", "uptime", "get_statistics"} <= set(dir(mi.cmd))
    assert "account" in mi.cmd._ipython_key_completions_()
    assert mi.cmd.which(command="echo") == [["value"]]
    with pytest.raises(AttributeError):
        mi.cmd._repr_html_  # noqa: B018


def test_canonical_names_complete_by_their_last_part(dial: Any) -> None:
    mi = dial("udp", "4.0")
    assert "core:uptime" in mi.cmd._ipython_key_completions_()
    assert "uptime" in dir(mi.cmd)
    assert mi.cmd["core:uptime"]().keys() == mi.cmd.uptime().keys()


def test_a_server_that_does_not_answer_completes_nothing() -> None:
    with sipmi.connect("unix:/nowhere") as mi:
        assert dir(mi.cmd) == []


# -- many calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wire", [*WIRES, "auto"])
def test_sixteen_threads_on_one_client_get_their_own_answers(dial: Any, transport: str, wire: str) -> None:
    mi = dial(transport, wire=wire, timeout=20)
    begin = threading.Barrier(16)

    def run(thread: int) -> list[str]:
        begin.wait(10)
        return [mi.call("echo", f"{thread}/{i}") for i in range(60)]

    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(run, range(16)))
    assert results == [[f"{thread}/{i}" for i in range(60)] for thread in range(16)]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_client_outlives_a_restart_of_its_server(directory: str, transport: str) -> None:
    server = make_server()
    endpoints = Endpoints(server, directory)
    server.start()
    address = address_of(endpoints, transport)
    mi = sipmi.connect(address)
    try:
        for number in itertools.count():
            assert mi.call("echo", str(number)) == str(number)
            if number == 3:
                break
            server.stop()
            with pytest.raises(sipmi.TransportError):
                mi.call("echo", "no server reads this")
            server = make_server()
            server.listen(address.split("?")[0], **({"reply_dir": directory} if transport == "fifo" else {}))
            server.start()
    finally:
        mi.close()
        server.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_closed_client_sends_no_calls(dial: Any, transport: str) -> None:
    mi = dial(transport)
    assert mi.call("nothing") == "OK"
    mi.close()
    mi.close()
    for use in (lambda: mi.call("nothing"), lambda: mi.request("nothing")):
        with pytest.raises(sipmi.TransportError, match="closed"):
            use()


def test_reply_fifos_are_gone_when_the_call_is_over(dial: Any, directory: str) -> None:
    mi = dial("fifo")
    mi.call("nothing")
    assert reply_fifos(directory) == []
    with pytest.raises(sipmi.Fault):
        mi.call("fail", 404, "x")
    mi.call("nothing")
    assert reply_fifos(directory) == []


def test_a_tight_loop_keeps_at_most_a_few_reply_fifos_until_the_client_is_closed(dial: Any, directory: str) -> None:
    mi = dial("fifo")
    names = {mi.request("nothing").sent.split(b":")[1] for _ in range(50)}
    assert len(names) < 50
    assert len(reply_fifos(directory)) == 1
    mi.close()
    assert reply_fifos(directory) == []


def reply_fifos(directory: str) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith("sipmi_")]
