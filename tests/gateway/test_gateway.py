"""A server that passes what it does not know to an OpenSIPS of any version: every wire in, every wire out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import xmlrpc.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

import pytest
import trustme

import sipmi
from endpoints import FifoPeer
from sipmi.gateway import make_gateway
from sipmi.testing import FakeOpenSIPS
from sipmi.testing.fake.names import LEGACY, VERSIONS
from waiting import eventually

#: Ways in: the transport of the gateway, the path over HTTP, and the wire of the caller.
TYPED = [("udp", "", "jsonrpc"), ("fifo", "", "jsonrpc"), ("http", "/mi", "jsonrpc"), ("http", "/RPC2", "xmlrpc")]
TREES = [("udp", "", "text"), ("fifo", "", "text"), ("unix", "", "text"), ("http", "/json", "mi_json"),
         ("http", "/xmlrpc", "xmlrpc")]  # fmt: skip

#: Ways out.
OUT = [("fifo", ""), ("udp", ""), ("unix", ""), ("http", "/mi")]
OUT_OF_OLD = [("fifo", ""), ("udp", ""), ("unix", ""), ("http", "/json"), ("http", "/RPC2")]
WAYS_OUT = [
    (version, *out)
    for version in VERSIONS
    for out in (OUT_OF_OLD if version in LEGACY else [*OUT, ("http", "/RPC2")])
    if (version, *out) != ("1.8", "http", "/json")  # mi_json came with 1.11
]


def at(address: str, path: str) -> str:
    """An HTTP address with another path."""
    return address.rpartition("/")[0] + path if path else address


@contextlib.contextmanager
def gateway_of(upstream: Any, directory: str, **options: Any) -> Iterator[sipmi.Server]:
    """A gateway that listens everywhere."""
    server = make_gateway(
        upstream,
        [
            (f"fifo:{directory}/gateway_fifo", {"reply_dir": directory}),
            f"unix:{directory}/gateway.sock",
            "udp:127.0.0.1:0",
            "http://127.0.0.1:0",
        ],
        **options,
    )
    with server:
        yield server


def address_of(server: sipmi.Server, transport: str, path: str = "") -> str:
    return at(next(address for address in server.addresses if address.startswith(transport)), path)


def seeded(version: str, **options: Any) -> FakeOpenSIPS:
    opensips = FakeOpenSIPS(version, **options)
    opensips.usrloc.add("alice@example.org", "sip:alice@192.0.2.1", q=0.5)
    opensips.statistics["core:rcv_requests"] = 7
    return opensips


def outcome(mi: sipmi.Client, command: str, *args: Any) -> Any:
    """The value of a call, or the class and code of its fault."""
    try:
        return mi.call(command, *args)
    except sipmi.Fault as fault:
        return type(fault).__name__, fault.code if fault.code > 0 else None


CALLS: list[tuple[Any, ...]] = [
    ("get_statistics", ["rcv_requests"]),
    ("ul_show_contact", "location", "alice@example.org"),
    ("ul_show_contact", "location", "unknown@example.org"),
    ("cache_store", "local", "key", "value"),
    ("cache_fetch", "local", "key"),
    ("ps",),
    ("pwd",),
    ("nosuch",),
    ("ul_rm", "location"),
]


# -- every wire in, every wire out ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sipmi.UnclearReplyWarning")
@pytest.mark.parametrize(("version", "transport", "path"), WAYS_OUT)
def test_an_answer_is_the_same_through_the_gateway(version: str, transport: str, path: str, directory: str) -> None:
    with seeded(version) as opensips, gateway_of(at(opensips.address(transport), path), directory) as gateway:
        with sipmi.connect(at(opensips.address(transport), path)) as direct:
            expected = [outcome(direct, *call) for call in CALLS]
        for way_in, path_in, wire in TYPED:
            with sipmi.connect(address_of(gateway, way_in, path_in), wire=wire) as mi:
                found = [outcome(mi, *call) for call in CALLS]
            for call, one, other in zip(CALLS, found, expected):
                assert without_codes(one) == without_codes(other), (way_in, path_in, call)
        for way_in, path_in, wire in TREES:
            with sipmi.connect(address_of(gateway, way_in, path_in), wire=wire) as mi:
                statistics = outcome(mi, *CALLS[0])
                assert {name: int(value) for name, value in statistics.items()} == expected[0], (way_in, path_in)
                # Over HTTP, 1.11 answers nothing for success and for some errors alike, which a tree cannot say.
                if expected[2] is not None:
                    assert without_codes(outcome(mi, *CALLS[2])) == without_codes(expected[2]), (way_in, path_in)
                    assert without_codes(outcome(mi, "nosuch")) == without_codes(expected[7]), (way_in, path_in)


def without_codes(value: Any) -> Any:
    """Transports have codes of their own for what they say. The seconds that a contact has left pass."""
    if isinstance(value, dict) and "Contacts" in value:
        contacts = [{name: part for name, part in each.items() if name != "Expires"} for each in value["Contacts"]]
        return {**value, "Contacts": contacts}
    return value[0] if isinstance(value, tuple) and value[0] != "Fault" else value


def test_a_tree_stays_as_it_is_between_wires_of_trees(directory: str) -> None:
    with seeded("2.4") as opensips, gateway_of(opensips.address("fifo"), directory):
        command = opensips.address("fifo")[len("fifo:") :].partition("?")[0]
        own = FifoPeer(command, os.path.dirname(command))
        through = FifoPeer(f"{directory}/gateway_fifo", directory)
        for request in [":ul_dump:%s\n\n", ":ds_list:%s\n\n", ":ul_show_contact:%s\nlocation\nnobody\n\n", ":x:%s\n\n"]:
            asked = [peer.exchange(lambda name, r=request: (r % name).encode()) for peer in (own, through)]
            assert asked[0] == asked[1]


def test_values_keep_their_types_between_wires_that_have_them(directory: str) -> None:
    with seeded("4.0") as opensips, gateway_of(opensips.address("http"), directory) as gateway:
        opensips.server.command(name="typed", module="x")(lambda: {"a": [1], "b": None, "c": 1.5, "d": [], "e": {}})
        with sipmi.connect(address_of(gateway, "udp")) as mi:
            assert mi.call("typed") == {"a": [1], "b": None, "c": 1.5, "d": [], "e": {}}
            with pytest.raises(sipmi.InvalidParams, match="Too few or too many parameters"):
                mi.call("x:typed", 1)


def test_old_requests_reach_new_servers_by_their_places(directory: str) -> None:
    with seeded("4.0") as opensips, gateway_of(opensips.address("udp"), directory):
        peer = FifoPeer(f"{directory}/gateway_fifo", directory)

        def ask(*lines: str) -> str:
            reply = peer.exchange(lambda name: "\n".join([f":{lines[0]}:{name}", *lines[1:], "", ""]).encode())
            return (reply or b"").decode()

        add = ["location", "bob@example.org", "sip:bob@192.0.2.9", "60", "0.5", "0", "0", "0", "0"]
        assert ask("ul_add", *add).startswith("200 ")
        assert "sip:bob@192.0.2.9" in ask("ul_show_contact", "location", "bob@example.org")
        assert "Contact" not in ask("ul_dump", "brief")
        assert "core:rcv_requests:: 7" in ask("get_statistics", "rcv_requests", "shmem:")


# -- what it shows --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.11", "2.4", "3.6", "4.0"])
def test_which_help_and_list_methods_show_both(version: str, directory: str) -> None:
    with seeded(version) as opensips, gateway_of(opensips.address("udp"), directory) as gateway:

        @gateway.command
        def own(user: str) -> str:
            """Done here."""
            return f"own {user}"

        with sipmi.connect(address_of(gateway, "http")) as mi:
            assert mi.generation == "sipmi"
            names = mi.call("which")
            assert {"own", "version", "which", "help"} <= set(names)
            assert ("usrloc:show_contact" if version == "4.0" else "ul_show_contact") in names
            assert not [name for name in names if name.endswith("kill")]
            assert len(names) == len(set(names))
            assert mi.call("which", "ul_show_contact") == [["table_name", "aor"]]
            assert mi.call("which", "own") == [["user"]]
            assert mi.call("help", "own") == {"Help": "Done here.", "Exported by": "gateway"}
            assert mi.call("help", "ul_show_contact")["Exported by"] == "usrloc"
            for question in ("which", "help"):
                with pytest.raises(sipmi.Fault, match="404 unknown MI command"):
                    mi.call(question, "nosuch")
            assert mi.call("own", "ann") == "own ann"
            assert mi.call("version")["Upstream"] == [opensips.connect().call("version")["Server"]]
            schema = mi.commands("ul_*")
            assert schema["ul_rm"].recipes == (("table_name", "aor"),)
        with xmlrpc.client.ServerProxy(address_of(gateway, "http", "/RPC2")) as proxy:
            methods = proxy.system.listMethods()
            assert isinstance(methods, list)
            assert {"own", "system.multicall", *names} <= set(methods)
            assert proxy.system.methodHelp("own") == "Done here."
            assert proxy.system.methodSignature("ul_show_contact") == [["struct", "string", "string"]]


def test_kill_is_never_passed_on(directory: str) -> None:
    with seeded("4.0") as opensips, gateway_of(opensips.address("udp"), directory) as gateway:
        with sipmi.connect(address_of(gateway, "udp")) as mi:
            for name in ("kill", "core:kill"):
                with pytest.raises(sipmi.MethodNotFound):
                    mi.call(name)
        assert opensips.connect().call("pwd")


def test_each_upstream_handles_the_commands_that_match_it(directory: str) -> None:
    with seeded("2.4") as old, seeded("4.0") as new:
        server = sipmi.Server("edge")
        server.forward(old.address("udp"), only=["usrloc:*"])
        server.forward(new.address("udp"))
        server.listen("udp:127.0.0.1:0")
        new.usrloc.clear()
        with server, sipmi.connect(server.addresses[0]) as mi:
            assert mi.call("ul_show_contact", "location", "alice@example.org")["Contacts"]
            assert mi.call("core:pwd") == new.connect().call("pwd")
            names = mi.call("which")
            assert "ul_dump" in names
            assert "dispatcher:list" in names
            assert "usrloc:dump" not in names


# -- who may --------------------------------------------------------------------------------------


def test_rights_go_by_user_and_by_network() -> None:
    with seeded("2.4") as opensips:
        rights = {"ann": ["@read", "ul_add"], "127.0.0.0/8": "uptime"}
        server = make_gateway(
            opensips.address("udp"),
            [("http://127.0.0.1:0", {"auth": {"ann": "a", "bob": "b"}}), "udp:127.0.0.1:0"],
            rights=rights,
        )
        with server:
            http, udp = (address_of(server, transport) for transport in ("http", "udp"))
            with sipmi.connect(http, auth=("ann", "a")) as ann:
                assert ann.call("usrloc:dump")
                assert ann.call("ul_add", "location", "bob", "sip:bob@192.0.2.9", 60, "0.5", 0, 0, 0) == "OK"
                with pytest.raises(sipmi.Fault, match="Command not allowed"):
                    ann.call("usrloc:rm", "location", "bob")
                assert "ul_rm" not in ann.call("which")
            for client in (sipmi.connect(http, auth=("bob", "b")), sipmi.connect(udp)):
                with client:
                    assert client.call("uptime")
                    assert [name for name in client.call("which") if name.startswith("ul_")] == []
                    with pytest.raises(sipmi.Fault, match="Command not allowed"):
                        client.call("ul_dump")


def test_a_gateway_gives_an_old_server_tls_and_users(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate = (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    with seeded("1.11") as opensips:
        listen = [("https://127.0.0.1:0", {"tls": certificate, "auth": {"ann": "a"}})]
        with make_gateway(opensips.address("fifo"), listen) as server:
            (address,) = server.addresses
            with sipmi.connect(address, auth=("ann", "a"), cafile=str(tmp_path / "ca.pem")) as mi:
                assert mi.call("get_statistics", ["rcv_requests"]) == {"core:rcv_requests": 7}
            with sipmi.connect(address, cafile=str(tmp_path / "ca.pem")) as nobody, pytest.raises(sipmi.MiError):
                nobody.call("uptime")
            with sipmi.connect(address, auth=("ann", "a")) as stranger, pytest.raises(sipmi.TransportError):
                stranger.call("uptime")


def test_a_gateway_tells_a_client_that_exceeds_its_rate() -> None:
    with (
        seeded("2.4") as opensips,
        make_gateway(opensips.address("udp"), [("udp:127.0.0.1:0", {"rate_limit": 3})]) as server,
        sipmi.connect(server.addresses[0], wire="jsonrpc") as mi,
    ):
        codes = [mi.request("pwd").code for _ in range(7)]
        assert (codes[0], codes[-1]) == (200, -32000)


def test_a_listener_limits_the_commands_of_an_upstream_too() -> None:
    with seeded("4.0") as opensips:
        server = make_gateway(
            opensips.address("udp"),
            [("udp:127.0.0.1:0", {"read_only": True}), ("http://127.0.0.1:0", {"allow": ["usrloc:*"]})],
        )
        with server:
            with sipmi.connect(address_of(server, "udp")) as reader:
                assert reader.call("ul_dump")
                with pytest.raises(sipmi.Fault, match="Command not allowed"):
                    reader.call("ul_rm", "location", "alice@example.org")
            with sipmi.connect(address_of(server, "http")) as mi:
                assert mi.call("ul_rm", "location", "alice@example.org") == "OK"
                with pytest.raises(sipmi.Fault, match="Command not allowed"):
                    mi.call("pwd")
            with xmlrpc.client.ServerProxy(address_of(server, "http", "/RPC2")) as proxy:
                methods = proxy.system.listMethods()
                assert isinstance(methods, list)
                assert "usrloc:dump" in methods
                assert "core:pwd" not in methods


def test_options_that_cannot_be_meant_are_refused() -> None:
    for options, message in [
        ({"cache": {"ul_rm": 1.0}}, "ul_rm cannot be kept"),
        ({"rights": {"ann": "@write"}}, "@write"),
        ({"timeout": 0}, "more than 0 seconds"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_gateway("udp:127.0.0.1:1", **options)  # type: ignore[arg-type]


# -- the cache ------------------------------------------------------------------------------------


class Counted:
    """A server that counts the calls of its commands and answers when it is let."""

    def __init__(self) -> None:
        self.server = sipmi.Server("counted")
        self.calls: list[str] = []
        self.let = threading.Event()
        self.let.set()
        self.server.command(name="ul_dump")(self.dump)
        self.server.command(name="ul_rm")(self.remove)
        self.server.listen("udp:127.0.0.1:0")

    def dump(self, brief: str = "") -> dict[str, int]:
        self.calls.append(f"dump {brief}".strip())
        assert self.let.wait(10)
        return {"calls": len(self.calls)}

    def remove(self) -> None:
        self.calls.append("rm")


def test_answers_are_cached_and_one_call_serves_all_concurrent_requests() -> None:
    upstream = Counted()
    with upstream.server:
        server = make_gateway(upstream.server.addresses[0], ["udp:127.0.0.1:0"], cache={"usrloc:*": 60.0})
        with server, sipmi.connect(server.addresses[0], max_in_flight=20) as mi, ThreadPoolExecutor(10) as pool:
            upstream.let.clear()
            asked = [pool.submit(mi.call, name) for name in ["ul_dump"] * 10]
            eventually(lambda: upstream.calls, "the upstream is called")
            upstream.let.set()
            assert [future.result() for future in asked] == [{"calls": 1}] * 10
            assert mi.call("ul_dump") == {"calls": 1}
            assert mi.call("ul_dump", "x") == {"calls": 2}
            assert mi.call("ul_rm") == "OK"
            assert mi.call("ul_dump") == {"calls": 4}
            assert upstream.calls == ["dump", "dump x", "rm", "dump"]


def test_answers_are_good_for_their_time_only() -> None:
    upstream = Counted()
    with upstream.server:
        server = make_gateway(upstream.server.addresses[0], ["udp:127.0.0.1:0"], cache={"ul_dump": 0.05})
        with server, sipmi.connect(server.addresses[0]) as mi:
            first = mi.call("ul_dump")
            eventually(lambda: mi.call("ul_dump") != first, "the cached answer expires")


# -- trouble --------------------------------------------------------------------------------------


def test_an_upstream_that_is_not_there_is_said_to_be_so_and_found_when_it_is_back(directory: str) -> None:
    upstream = f"fifo:{directory}/mi_fifo?reply_dir={directory}"

    def run() -> sipmi.Server:
        server = sipmi.Server("late")
        server.command(name="hello")(lambda: "hello")
        server.listen(upstream.partition("?")[0], reply_dir=directory)
        return server

    with gateway_of(upstream, directory, timeout=2.0) as gateway:
        with sipmi.connect(address_of(gateway, "udp")) as mi:
            for _ in range(2):
                with pytest.raises(sipmi.Fault, match=r"upstream fifo:.*no such|upstream fifo:.*No such") as caught:
                    mi.call("hello")
                assert caught.value.code == -32000
                with run():
                    assert mi.call("hello") == "hello"
        with sipmi.connect(address_of(gateway, "udp"), wire="text") as old:
            with pytest.raises(sipmi.Fault, match="upstream fifo:") as caught:
                old.call("hello")
            assert caught.value.code == 502


def test_an_upstream_that_comes_back_as_another_version_is_recognised(directory: str) -> None:
    def run(version: str, port: str) -> sipmi.Server:
        server = sipmi.Server("opensips", emulate=version)
        server.listen(f"udp:127.0.0.1:{port}")
        return server

    old = run("2.4", "0")
    with old:
        port = old.addresses[0].rpartition(":")[2]
        gateway = make_gateway(old.addresses[0], ["udp:127.0.0.1:0"], timeout=1.0)
        gateway.start()
        mi = sipmi.connect(gateway.addresses[0])
        assert mi.call("pwd") == {"WD": os.getcwd()}
    try:
        for version in ("4.0", "1.11"):
            with run(version, port):
                outcome(mi, "pwd")
                assert mi.call("pwd") == {"WD": os.getcwd()}
    finally:
        mi.close()
        gateway.stop()


def test_callers_of_a_silent_upstream_get_an_error_at_the_deadline() -> None:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    with silent:
        address = f"udp:127.0.0.1:{silent.getsockname()[1]}"
        server = make_gateway(address, ["udp:127.0.0.1:0"], timeout=0.3, max_in_flight=1)

        @server.command
        def own() -> str:
            return "own"

        with server, sipmi.connect(server.addresses[0], max_in_flight=50) as mi, ThreadPoolExecutor(20) as pool:
            asked = [pool.submit(mi.request, "hello") for _ in range(20)]
            assert mi.call("own") == "own"
            for future in asked:
                with pytest.raises(sipmi.Fault, match=r"no answer within 0.3 s"):
                    future.result(timeout=5).value  # noqa: B018


def test_a_full_queue_is_said_to_be_busy() -> None:
    upstream = Counted()
    upstream.let.clear()
    with upstream.server:
        server = make_gateway(upstream.server.addresses[0], ["udp:127.0.0.1:0"], max_in_flight=1, queue=2)
        with server, sipmi.connect(server.addresses[0], max_in_flight=50) as mi, ThreadPoolExecutor(10) as pool:
            asked = [pool.submit(mi.request, "ul_dump") for _ in range(10)]
            done = [future for future in asked if "busy" in str(outcome_of(upstream, future))]
            assert 6 <= len(done) <= 8


def outcome_of(upstream: Counted, future: Any) -> Any:
    """Return the outcome. If there is none at once, let the upstream answer first."""
    with contextlib.suppress(FutureTimeout):  # no TimeoutError before Python 3.11
        return future.exception(timeout=1) or getattr(future.result(), "raw", b"")
    upstream.let.set()
    return future.exception(timeout=5) or future.result().raw


def test_a_loop_of_gateways_is_an_error_that_names_it() -> None:
    first, second = sipmi.Server("first"), sipmi.Server("second")
    for server in (first, second):
        server.listen("udp:127.0.0.1:0")
        server.start()
    try:
        first.forward(second.addresses[0])
        second.forward(first.addresses[0])
        with sipmi.connect(first.addresses[0]) as mi:
            for _ in range(2):
                with pytest.raises(sipmi.Fault, match="leads back to this server"):
                    mi.call("hello", timeout=20)
    finally:
        first.stop()
        second.stop()


def test_a_gateway_behind_a_gateway_serves() -> None:
    with seeded("1.11") as opensips:
        inner = make_gateway(opensips.address("fifo"), ["udp:127.0.0.1:0"])
        with inner:
            outer = make_gateway(inner.addresses[0], ["udp:127.0.0.1:0"])
            with outer, sipmi.connect(outer.addresses[0]) as mi:
                assert mi.call("get_statistics", ["rcv_requests"]) == {"core:rcv_requests": 7}
                assert "ul_show_contact" in mi.call("which")


def test_a_thousand_callers_are_served_while_one_reads_slowly(directory: str) -> None:
    opensips = seeded("2.4", transports=["fifo"])
    with (
        opensips,
        gateway_of(opensips.address("fifo"), directory, timeout=30.0) as gateway,
        contextlib.ExitStack() as callers,
    ):
        slow = FifoPeer(f"{directory}/gateway_fifo", directory)
        name = slow.make_reply()
        reader = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NONBLOCK)
        try:
            # A reply without a reader.
            slow.write(f":ul_dump:{name}\n\n".encode())
            host, port = address_of(gateway, "http").split("/")[2].split(":")
            sockets = [callers.enter_context(socket.create_connection((host, int(port)))) for _ in range(1000)]
            for number, each in enumerate(sockets):
                call = {"method": "get_statistics", "params": [["rcv_requests"]]}
                body = json.dumps({"jsonrpc": "2.0", "id": number, **call})
                head = f"POST /mi HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
                each.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                each.settimeout(20)
            for number, each in enumerate(sockets):
                answer = json.loads(each.makefile("rb").read().partition(b"\r\n\r\n")[2])
                assert answer == {"jsonrpc": "2.0", "result": {"core:rcv_requests": 7}, "id": number}
        finally:
            os.close(reader)


# -- the audit log --------------------------------------------------------------------------------


class Entries(logging.Handler):
    """Keeps entries, and says when there are enough."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []
        self.wanted = wanted
        self.complete = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(record.entry)  # type: ignore[attr-defined]
        assert json.loads(record.getMessage()) == record.entry  # type: ignore[attr-defined]
        if len(self.entries) >= self.wanted:
            self.complete.set()


def test_every_request_leaves_an_entry_without_secrets() -> None:
    log = logging.getLogger("sipmi.audit")
    entries = Entries(4)
    log.addHandler(entries)
    log.setLevel(logging.INFO)
    try:
        with seeded("4.0") as opensips:
            server = make_gateway(
                opensips.address("udp"),
                [("http://127.0.0.1:0", {"auth": {"ann": "a"}})],
                cache={"ul_dump": 60.0},
                rights={"ann": ["@read", "cache_*"]},
            )
            with server, sipmi.connect(address_of(server, "http"), auth=("ann", "a")) as mi:
                mi.call("cache_store", "local", "key", "hush")
                mi.call("ul_dump")
                mi.call("ul_dump")
                outcome(mi, "ul_rm", "location", "alice@example.org")
                assert entries.complete.wait(5)
    finally:
        log.removeHandler(entries)
        log.setLevel(logging.NOTSET)
    store, first, second, removal = entries.entries
    assert store["params"] == ["local", "key", "***"]
    assert "hush" not in json.dumps(entries.entries)
    assert (store["user"], store["wire"], store["outcome"], store["command"]) == ("ann", "jsonrpc", "ok", "cache_store")
    assert [first["cached"], second["cached"]] == [False, True]
    assert (removal["outcome"], removal["code"]) == ("refused", None)
    assert removal["peer"].startswith("127.0.0.1:")
    assert first["elapsed"] > 0
