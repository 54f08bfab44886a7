"""Commands, handlers and endpoints of a server, as scripts use them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
import stat
import threading
import time
from typing import Any, Callable

import pytest

import sipmi
from endpoints import Endpoints
from jsonrpc_calls import error_of, result_of, rpc

TRANSPORTS = ["udp", "unix"]


@pytest.fixture
def billing() -> sipmi.Server:
    server = sipmi.Server("billing", version="1.4")

    @server.command
    def sub_add(user: str, domain: str = "example.org", credit: float = 0.0) -> dict:
        """Add a subscriber."""
        return {"aor": f"sip:{user}@{domain}", "credit": credit}

    @server.command(name="sub_dump", aliases=["subs"], no_input=True, read_only=True)
    def dump() -> sipmi.Tree:
        """Dump the subscribers."""
        tree = sipmi.Tree(200, "OK")
        domain = tree.add_child("Domain", "example.org")
        domain.add_attr("records", "1")
        domain.add_child("AOR", "alice").add_child("Contact", "sip:alice@127.0.0.1:5099").add_attr("Q", "0.5")
        return tree

    @server.command
    async def probe(target: str) -> str:
        """Send an OPTIONS ping."""
        await asyncio.sleep(0)
        return f"{target}: {type(sipmi.current_request()).__name__}"

    @server.command(read_only=True)
    def cdrs(limit: int = 1000):
        """Stream call records."""
        for i in range(limit):
            yield sipmi.Node("cdr", str(i))

    @server.command
    def sub_rm(user: str) -> None:
        """Remove a subscriber."""
        raise sipmi.Fault(404, "No such subscriber")

    return server


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_both_wires_are_answered_on_the_same_socket(
    billing: sipmi.Server, serve: Callable[..., Endpoints], transport: str
) -> None:
    endpoints = serve(billing)
    assert endpoints.ask(transport, b":sub_add:\nbob\n") == b"200 OK\naor:: sip:bob@example.org\ncredit:: 0.0\n\n"
    reply = endpoints.ask(transport, rpc("sub_add", {"user": "bob", "credit": 2}, "x"))
    assert reply == b'{"jsonrpc":"2.0","result":{"aor":"sip:bob@example.org","credit":2.0},"id":"x"}'


def test_both_wires_are_answered_on_the_same_fifo(billing: sipmi.Server, serve: Callable[..., Endpoints]) -> None:
    fifo = serve(billing).fifo
    text = fifo.exchange(lambda reply: f":sub_dump:{reply}\n\n".encode())
    assert text == (
        b"200 OK\nDomain:: example.org records=1\n\tAOR:: alice\n\t\tContact:: sip:alice@127.0.0.1:5099 Q=0.5\n\n"
    )
    json_reply = fifo.exchange(lambda reply: f":{reply}:".encode() + rpc("subs"))
    assert result_of(json_reply)["Domain"]["AOR"]["Contact"] == {"value": "sip:alice@127.0.0.1:5099", "Q": "0.5"}


def test_a_coroutine_a_generator_and_a_fault_are_answered(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    endpoints = serve(billing)
    assert result_of(endpoints.ask("udp", rpc("probe", ["sip:x"]))) == "sip:x: RequestContext"
    assert result_of(endpoints.ask("udp", rpc("cdrs", [1]))) == {"cdr": ["0"]}
    assert result_of(endpoints.ask("udp", rpc("cdrs", [2]))) == {"cdr": ["0", "1"]}
    assert endpoints.ask("udp", b":sub_rm:\nx\n") == b"404 No such subscriber\n\n"
    assert error_of(endpoints.ask("udp", rpc("sub_rm", ["x"]))) == {"code": 404, "message": "No such subscriber"}


@pytest.mark.parametrize(
    ("params", "data"),
    [
        ([], "Too few or too many parameters"),
        (["a", "b", 1, 2], "Too few or too many parameters"),
        ({"nope": "a"}, "Named parameters do not match"),
        ({"user": "a", "credit": "much"}, "Bad type for parameter 'credit'"),
        ([True], "Bad type for parameter 'user'"),
        ([None], "Bad type for parameter 'user'"),
    ],
)
def test_wrong_parameters_do_not_reach_the_handler(
    billing: sipmi.Server, serve: Callable[..., Endpoints], params: Any, data: str
) -> None:
    error = error_of(serve(billing).ask("udp", rpc("sub_add", params)))
    assert error == {"code": -32602, "message": "Invalid params", "data": data}


def test_wrong_parameters_on_text_have_its_errors(billing: sipmi.Server, serve: Callable[..., Endpoints]) -> None:
    endpoints = serve(billing)
    assert endpoints.ask("udp", b":sub_add:\n") == b"400 Too few or too many arguments\n\n"
    assert endpoints.ask("udp", b":cdrs:\n3.7\n") == b"400 Bad parameter\n\n"


def test_text_parameters_bind_by_name(billing: sipmi.Server, serve: Callable[..., Endpoints]) -> None:
    reply = serve(billing).ask("udp", b":sub_add:\nbob\ncredit::2.5\n")
    assert reply == b"200 OK\naor:: sip:bob@example.org\ncredit:: 2.5\n\n"


def test_every_kind_of_result_is_sent(serve: Callable[..., Endpoints]) -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        y: float

    results: dict[str, Any] = {
        "none": None, "text": "x", "int": 7, "float": 0.5, "bool": True, "list": [1, "a", None],
        "dict": {"a": [1], "b": {}, "c": []}, "point": Point(1, 2.0), "tuple": (1, 2), "bytes": b"raw",
        "nodes": [sipmi.Node("a", 1), sipmi.Node("a", 2)],
    }  # fmt: skip
    server = sipmi.Server("results")

    @server.command
    def give(kind: str) -> Any:
        return results[kind]

    endpoints = serve(server)
    got = {kind: result_of(endpoints.ask("udp", rpc("give", [kind]))) for kind in results}
    assert got == {
        "none": "OK", "text": "x", "int": 7, "float": 0.5, "bool": True, "list": [1, "a", None],
        "dict": {"a": [1], "b": {}, "c": []}, "point": {"x": 1, "y": 2.0}, "tuple": [1, 2], "bytes": "raw",
        "nodes": {"a": [1, 2]},
    }  # fmt: skip


def test_bytes_that_are_not_utf8_come_and_go_unchanged(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("echo")

    @server.command
    def echo(value: str) -> str:
        assert value.encode("utf-8", "surrogateescape") == b"caf\xe9"
        return value

    endpoints = serve(server)
    assert endpoints.ask("udp", b":echo:\ncaf\xe9\n") == b"200 OK\ncaf\xe9\n\n"
    request = rpc("echo", ["X"]).replace(b"X", b"caf\xe9")
    assert endpoints.ask("udp", request) == b'{"jsonrpc":"2.0","result":"caf\xe9","id":1}'


def test_a_batch_with_notifications_and_errors_is_answered_as_the_standard_says(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    endpoints = serve(billing)
    batch = b"[" + b",".join([rpc("probe", ["x"], "a"), b"1", rpc("nope", None, 2)]) + b"]"
    replies = json.loads(endpoints.ask("udp", batch) or b"")
    assert [reply.get("id") for reply in replies] == ["a", None, 2]
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, -32600, -32601]
    notifications = b'[{"jsonrpc":"2.0","method":"sub_dump"}]'
    assert endpoints.ask("udp", notifications, silence=0.3) is None


def test_names_are_found_bare_canonical_and_by_alias_and_ambiguous_ones_are_listed(
    serve: Callable[..., Endpoints],
) -> None:
    server = sipmi.Server("one")
    for module in ("tcp", "dialog"):
        server.command(lambda: "x", name="list", module=module)
    endpoints = serve(server)
    assert result_of(endpoints.ask("udp", rpc("tcp:list"))) == "x"
    error = error_of(endpoints.ask("udp", rpc("list")))
    assert error == {"code": -32001, "message": "Method ambiguous", "data": "supported names: tcp:list, dialog:list"}
    which = result_of(endpoints.ask("udp", rpc("which")))
    assert "tcp:list" in which
    assert "version" in which
    with pytest.raises(sipmi.AmbiguousMethod):
        server.lookup("list")


def test_the_c_programmers_view_has_every_name() -> None:
    def mi_get_function(root: sipmi.Tree, param: Any) -> sipmi.Tree:
        first = root.children[0].value if root.children else None
        tree = sipmi.Tree(200, "OK")
        tree.add_child("first", first)
        tree.add_child("param", param)
        return tree

    server = sipmi.Server("c")
    server.register_module(
        "mymodule", [sipmi.Export("mi_get_function", "This function does ...", mi_get_function, param=5)]
    )
    command = server.lookup("mi_get_function")
    assert command is not None
    assert (command.module, command.name, command.help) == ("mymodule", "mi_get_function", "This function does ...")
    assert (command.flags, command.param) == (sipmi.Flags.NONE, 5)
    root = sipmi.Tree()
    root.add_child("", "value")
    reply = server.run_command(command, root)
    assert [(node.name, node.value) for node in reply.children] == [("first", "value"), ("param", 5)]
    assert server.lookup("nope") is None
    assert server.call("mymodule:mi_get_function", "x") == {"first": "x", "param": 5}


def test_a_no_input_command_ignores_text_parameters_and_refuses_others(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    endpoints = serve(billing)
    assert (endpoints.ask("udp", b":sub_dump:\nx\ny\n") or b"").startswith(b"200 OK\n")
    assert error_of(endpoints.ask("udp", rpc("sub_dump", ["x"])))["code"] == -32602


def test_duplicates_and_bad_names_are_refused(billing: sipmi.Server) -> None:
    with pytest.raises(ValueError, match="'billing:sub_add' is registered already"):
        billing.command(lambda: None, name="sub_add")
    for bad in ("", "a b", "a:b", 'a"b'):
        with pytest.raises(ValueError, match="cannot name a command"):
            billing.command(lambda: None, name=bad)


def test_commands_come_and_go_while_the_server_runs(billing: sipmi.Server, serve: Callable[..., Endpoints]) -> None:
    endpoints = serve(billing)
    billing.command(lambda: "new", name="late")
    assert result_of(endpoints.ask("udp", rpc("late"))) == "new"
    billing.unregister("late")
    assert error_of(endpoints.ask("udp", rpc("late")))["code"] == -32601


def test_builtin_commands_answer_in_the_shape_of_the_wire(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    endpoints = serve(billing)
    version = f"sipmi ({sipmi.__version__}; billing 1.4)"
    assert endpoints.ask("udp", b":version:\n") == f"200 OK\nServer:: {version}\n\n".encode()
    assert result_of(endpoints.ask("udp", rpc("version"))) == {"Server": version}
    assert endpoints.ask("udp", b":ps:\n") == f"200 OK\nProcess::  ID=0 PID={os.getpid()} Type=attendant\n\n".encode()
    processes = result_of(endpoints.ask("udp", rpc("ps")))
    assert processes == {"Processes": [{"ID": 0, "PID": os.getpid(), "Type": "attendant"}]}
    assert set(result_of(endpoints.ask("udp", rpc("uptime")))) == {"Now", "Up since", "Up time"}
    assert result_of(endpoints.ask("udp", rpc("pwd"))) == {"WD": os.getcwd()}
    assert result_of(endpoints.ask("udp", rpc("help", ["sub_add"]))) == {
        "Help": "Add a subscriber.",
        "Exported by": "billing",
    }
    assert error_of(endpoints.ask("udp", rpc("help", ["nope"]))) == {"code": 404, "message": "unknown MI command"}
    assert result_of(endpoints.ask("udp", rpc("which", {"command": "sub_add"}))) == [
        ["user"],
        ["user", "domain"],
        ["user", "domain", "credit"],
    ]
    assert isinstance(result_of(endpoints.ask("udp", rpc("arg"))), list)
    assert result_of(endpoints.ask("udp", rpc("log_level", [4]))) == {"New global log level": 4}
    assert endpoints.ask("udp", b":log_level:\nabc\n") == b"400 Bad parameter\n\n"
    assert result_of(endpoints.ask("udp", rpc("log_level", [3]))) == {"New global log level": 3}


def test_statistics_count_requests_and_replies(billing: sipmi.Server, serve: Callable[..., Endpoints]) -> None:
    endpoints = serve(billing)
    billing.statistic("sub_adds").inc(2)
    endpoints.ask("udp", b":nope:\n")
    endpoints.ask("udp", b'{"jsonrpc":')
    got = result_of(endpoints.ask("udp", rpc("get_statistics", [["mi_datagram:", "billing:sub_adds"]])))
    assert got["billing:sub_adds"] == 2
    assert (got["mi_datagram:requests"], got["mi_datagram:errors"], got["mi_datagram:parse_errors"]) == (2, 2, 1)
    assert got["mi_datagram:in_progress"] == 1
    assert got["mi_datagram:bytes_in"] > 0
    assert result_of(endpoints.ask("udp", rpc("list_statistics", [["billing:"]]))) == {
        "billing:sub_adds": "incremental"
    }
    assert result_of(endpoints.ask("udp", rpc("reset_statistics", [["billing:sub_adds"]]))) == "OK"
    assert billing.statistic("sub_adds").value == 0
    assert result_of(endpoints.ask("udp", rpc("get_statistics", [["nosuch"]]))) == {}
    assert endpoints.ask("udp", b":get_statistics:\nnosuch\n") == b"404 Statistics Not Found\n\n"


def test_an_exception_is_logged_and_its_text_stays_inside(
    serve: Callable[..., Endpoints], caplog: pytest.LogCaptureFixture
) -> None:
    server = sipmi.Server("bad")

    @server.command
    def boom() -> None:
        raise RuntimeError("the secret")

    endpoints = serve(server)
    reply = endpoints.ask("udp", rpc("boom"))
    assert error_of(reply) == {"code": -32000, "message": "Server error", "data": "command 'boom' failed"}
    assert endpoints.ask("udp", b":boom:\n") == b"500 command 'boom' failed\n"
    assert "the secret" in caplog.text


def recursive() -> list:
    value: list = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "handler",
    [
        lambda: object(),
        recursive,
        lambda: {"x": {1, 2}},
        lambda: 2**70,
        lambda: exit(1),
        lambda: (_ for _ in [object()]),
    ],
    ids=["unserialisable", "recursive", "set", "huge", "exit", "generator"],
)
def test_a_result_that_cannot_be_sent_is_a_failure_and_the_next_request_is_served(
    serve: Callable[..., Endpoints], handler: Callable[[], Any]
) -> None:
    server = sipmi.Server("bad")
    server.command(handler, name="bad")
    endpoints = serve(server)
    assert error_of(endpoints.ask("udp", rpc("bad")))["code"] == -32000
    assert endpoints.fifo.exchange(lambda reply: f":bad:{reply}\n\n".encode()) == b"500 command 'bad' failed\n"
    assert "Server" in result_of(endpoints.ask("udp", rpc("version")))


def test_a_reply_over_the_datagram_limit_is_an_error_that_says_so(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("big")
    server.command(lambda size: "x" * size, name="big")
    endpoints = serve(server)
    error = error_of(endpoints.ask("udp", rpc("big", [100_000])))
    assert error["data"] == "Reply too large: 100036 bytes, limit 65457"
    assert endpoints.ask("unix", b":big:\n5\n") == b"500 command 'big' failed\n"  # "x" * "5"
    huge = endpoints.fifo.exchange(lambda reply: f":{reply}:".encode() + rpc("big", [10_000_000]))
    assert len(result_of(huge)) == 10_000_000


@pytest.mark.timeout(120)
def test_a_string_of_a_gigabyte_is_refused_or_sent_and_the_server_lives(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("big")
    server.command(lambda: "x" * (1 << 30), name="gigabyte")
    endpoints = serve(server)
    error = error_of(endpoints.ask("udp", rpc("gigabyte"), silence=60))
    assert error["data"].startswith("Reply too large: ")
    assert "Server" in result_of(endpoints.ask("udp", rpc("version")))


def test_a_handler_may_call_the_server_it_lives_in(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("nested")
    endpoints = serve(server)

    @server.command
    def outside(transport: str) -> Any:
        if transport == "fifo":
            return endpoints.fifo.exchange(lambda reply: f":version:{reply}\n\n".encode())
        return result_of(endpoints.ask(transport, rpc("version")))

    @server.command
    def inside() -> Any:
        return server.call("version")

    expected = server.call("version")
    assert result_of(endpoints.ask("udp", rpc("inside"))) == expected
    assert result_of(endpoints.ask("udp", rpc("outside", ["udp"]))) == expected
    assert result_of(endpoints.ask("unix", rpc("outside", ["unix"]))) == expected
    reply = endpoints.fifo.exchange(lambda reply: f":{reply}:".encode() + rpc("outside", ["fifo"]))
    assert expected["Server"] in result_of(reply)


def test_slow_commands_do_not_delay_fast_ones(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("slow")
    release = threading.Event()
    server.command(lambda: release.wait(20), name="slow")
    endpoints = serve(server)
    slow = [endpoints.peer("udp") for _ in range(4)]
    for peer in slow:
        peer.socket.sendto(rpc("slow"), peer.target)
    began = time.monotonic()
    for _ in range(100):
        assert endpoints.ask("udp", rpc("version")) is not None
    assert time.monotonic() - began < 10
    assert not release.is_set()
    release.set()
    for peer in slow:
        assert result_of(peer.socket.recv(1000)) is True
        peer.close()


def test_current_request_shows_the_peer(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("who")

    @server.command
    def who() -> list:
        request = sipmi.current_request()
        assert request is not None
        return [request.transport, request.wire, request.listener, request.peer]

    endpoints = serve(server)
    peer = endpoints.peer("udp")
    reply = result_of(peer.exchange(rpc("who")))
    assert reply[:3] == ["udp", "jsonrpc", endpoints.udp_address]
    assert reply[3].startswith("127.0.0.1:")
    peer.close()
    text = endpoints.fifo.exchange(lambda reply: f":who:{reply}\n\n".encode(), name="whoasks")
    assert (
        text == f"200 OK\nfifo\ntext\nfifo:{endpoints.fifo_path}?reply_dir={endpoints.directory}\nwhoasks\n\n".encode()
    )
    assert server.call("who")[:3] == ["local", "jsonrpc", "local"]
    assert sipmi.current_request() is None


def test_endpoints_have_the_permissions_asked_for_and_are_removed(directory: str) -> None:
    server = sipmi.Server("x")
    fifo, unix = os.path.join(directory, "fifo"), os.path.join(directory, "sock")
    server.listen(f"fifo:{fifo}", reply_dir=directory, mode=0o622, owner=os.getuid(), group=os.getgid())
    server.listen(f"unix:{unix}", mode=0o600)
    assert server.addresses == []
    with server:
        assert stat.S_IMODE(os.stat(fifo).st_mode) == 0o622
        assert stat.S_IMODE(os.stat(unix).st_mode) == 0o600
        assert server.addresses == [f"fifo:{fifo}?reply_dir={directory}", f"unix:{unix}"]
    assert os.listdir(directory) == []


def test_a_start_that_fails_leaves_nothing_open(directory: str) -> None:
    server = sipmi.Server("x")
    fifo = os.path.join(directory, "fifo")
    server.listen(f"fifo:{fifo}", reply_dir=directory)
    server.listen(f"unix:{directory}/no/such/dir")
    with pytest.raises(OSError, match="cannot bind"):
        server.start()
    assert os.listdir(directory) == []
    assert not server.is_running


def test_stale_files_are_used_again_and_living_ones_are_an_error(directory: str) -> None:
    fifo, unix = os.path.join(directory, "fifo"), os.path.join(directory, "sock")
    os.mkfifo(fifo)
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stale.bind(unix)
    stale.close()
    first, second = sipmi.Server("first"), sipmi.Server("second")
    for server in (first, second):
        server.listen(f"fifo:{fifo}", reply_dir=directory)
    with first:
        with pytest.raises(OSError, match=f"is served already by process {os.getpid()}"):
            second.start()
        assert os.path.exists(fifo)
    first = sipmi.Server("first")
    second = sipmi.Server("second")
    for server in (first, second):
        server.listen(f"unix:{unix}")
    with first, pytest.raises(OSError, match="is served already"):
        second.start()


def test_something_else_in_the_way_is_left_alone(directory: str) -> None:
    path = os.path.join(directory, "file")
    with open(path, "w") as file:
        file.write("precious")
    for scheme in ("fifo", "unix"):
        server = sipmi.Server("x")
        server.listen(f"{scheme}:{path}")
        with pytest.raises(OSError, match="found a regular file"):
            server.start()
    with open(path) as file:
        assert file.read() == "precious"


@pytest.mark.parametrize(
    ("address", "options", "error"),
    [
        ("nonsense", {}, "expected"),
        ("udp:host", {}, "expected udp:host:port"),
        ("udp:127.0.0.1:1", {"reply_dir": "/tmp"}, 'has no option "reply_dir"'),
        ("fifo:/x", {"reply_wait": -1}, "expected reply_wait in seconds from 0"),
    ],
)
def test_a_bad_address_or_option_says_what_was_expected(address: str, options: dict, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        sipmi.Server("x").listen(address, **options)


def test_a_server_stops_and_starts_again(billing: sipmi.Server, directory: str) -> None:
    endpoints = Endpoints(billing, directory)
    for _ in range(3):
        with billing:
            assert result_of(endpoints.ask("udp", rpc("probe", ["x"]))) == "x: RequestContext"
            with pytest.raises(RuntimeError, match="running already"):
                billing.start()
        assert billing.addresses == []


def test_async_with_starts_and_stops_a_server(billing: sipmi.Server, directory: str) -> None:
    endpoints = Endpoints(billing, directory)

    async def use() -> None:
        async with billing:
            loop = asyncio.get_running_loop()
            reply = await loop.run_in_executor(None, endpoints.ask, "udp", rpc("version"))
            assert "Server" in result_of(reply)

    asyncio.run(use())
    assert not billing.is_running


def test_the_root_of_an_ipv6_server_is_bracketed(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("six")
    server.listen("udp:[::1]:0")
    with server:
        assert server.addresses[0].startswith("udp:[::1]:")
