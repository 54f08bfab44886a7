"""The clients that operators have, unchanged, over HTTP, and the bytes of those that cannot run here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

import httpx
import opensips.mi
import pexpect
import pytest

import sipmi
from endpoints import DatagramPeer
from http_peer import HttpPeer, ask, request

BIN = Path(sys.executable).parent


def with_commands(server: sipmi.Server) -> sipmi.Server:
    @server.command(read_only=True)
    def sub_show(user: str, limit: int = 10) -> dict:
        """Show a subscriber."""
        return {"user": user, "limit": limit, "contacts": ["sip:a@127.0.0.1", "sip:b@127.0.0.1"]}

    @server.command
    async def probe(target: str) -> str:
        """Ping it."""
        return target

    @server.command
    def sub_rm(user: str) -> None:
        """Remove a subscriber."""
        raise sipmi.Fault(404, "No such subscriber")

    @server.command
    def broken() -> str:
        return "a\x01b"

    return server


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    server = with_commands(sipmi.Server("billing"))
    server.listen("http://127.0.0.1:0")
    with server:
        yield server.addresses[0].rsplit("/", 1)[0]


# -- opensips and opensips-cli --------------------------------------------------------------------


def test_the_opensips_package_calls_over_http(root: str) -> None:
    mi = opensips.mi.OpenSIPSMI("http", url=f"{root}/mi")
    assert mi.valid()[0]
    assert mi.execute("sub_show", {"user": "alice"})["contacts"] == ["sip:a@127.0.0.1", "sip:b@127.0.0.1"]
    assert mi.execute("sub_show", ["alice", "3"])["limit"] == 3
    assert mi.execute("probe", ["x"]) == "x"
    with pytest.raises(opensips.mi.OpenSIPSMIException, match="No such subscriber"):
        mi.execute("sub_rm", ["alice"])


def cli(url: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "opensips-cli"), "-o", "communication_type=http", "-o", f"url={url}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **options)


def test_opensips_cli_runs_commands(root: str) -> None:
    shown = cli(f"{root}/mi", "-x", "mi", "sub_show", "user=alice", "limit=5")
    assert json.loads(shown.stdout)["limit"] == 5
    assert "sipmi" in json.loads(cli(f"{root}/mi", "-x", "mi", "version").stdout)["Server"]
    statistics = json.loads(cli(f"{root}/mi", "-x", "mi", "get_statistics", "mi_http:").stdout)
    assert statistics["mi_http:requests"] > 0


def test_opensips_cli_completes_names_from_the_server(root: str) -> None:
    words = ["-o", "communication_type=http", "-o", f"url={root}/mi"]
    child = pexpect.spawn(str(BIN / "opensips-cli"), words, encoding="utf-8", timeout=20, dimensions=(24, 120))
    child.expect_exact("(opensips-cli):")
    child.send("mi sub_sh\t")
    child.expect_exact("sub_show ")
    child.send("user=alice\r")
    child.expect_exact('"limit": 10')
    child.sendline("exit")
    child.expect(pexpect.EOF)


def test_opensips_cli_diagnoses_a_server_of_4_0() -> None:
    server = sipmi.Server("statistics", emulate="4.0")
    values = {"shmem:total_size": 1000, "shmem:real_used_size": 900, "shmem:max_used_size": 950}

    @server.command(name="get", aliases=["get_statistics"], read_only=True)
    def get_statistics(statistics: list[str]) -> dict:
        def is_meant(name: str) -> bool:
            return any(name.startswith(asked) or name.endswith(f":{asked}") for asked in statistics)

        return {name: value for name, value in values.items() if is_meant(name)}

    server.listen("http://127.0.0.1:0")
    with server:
        words = ["-o", "communication_type=http", "-o", f"url={server.addresses[0]}", "-x", "diagnose", "memory"]
        child = pexpect.spawn(str(BIN / "opensips-cli"), words, encoding="utf-8", timeout=20)
        child.expect("CRITICAL: Current shared memory usage > 85%")
        child.sendintr()
        child.expect(pexpect.EOF)


# -- XML-RPC --------------------------------------------------------------------------------------


def proxy(root: str, path: str = "/RPC2") -> xmlrpc.client.ServerProxy:
    return xmlrpc.client.ServerProxy(root + path, allow_none=True)


def test_xmlrpc_client_calls_commands_with_types(root: str) -> None:
    with proxy(root) as rpc:
        shown: Any = rpc.sub_show("alice", 3)
        assert shown == {"user": "alice", "limit": 3, "contacts": ["sip:a@127.0.0.1", "sip:b@127.0.0.1"]}
        assert rpc.sub_show({"user": "bob", "limit": 1}) == {**shown, "user": "bob", "limit": 1}
        assert rpc.probe("later") == "later"


def test_xmlrpc_client_is_told_of_errors(root: str) -> None:
    with proxy(root) as rpc:
        for call, code, text in [
            (lambda: rpc.sub_rm("alice"), 404, "No such subscriber"),
            (lambda: rpc.nosuch(), -32601, "method not found"),
            (lambda: rpc.sub_show(), -32602, "invalid method parameters"),
            (lambda: rpc.sub_show("alice", "x"), -32602, "invalid method parameters"),
            (lambda: rpc.broken(), -32000, "server error"),
        ]:
            with pytest.raises(xmlrpc.client.Fault) as raised:
                call()
            assert raised.value.faultCode == code
            assert text in raised.value.faultString


def test_xmlrpc_client_lists_the_methods(root: str) -> None:
    with proxy(root) as rpc:
        names: Any = rpc.system.listMethods()
        assert {"sub_show", "version", "system.multicall"} <= set(names)
        assert rpc.system.methodHelp("sub_show") == "Show a subscriber."
        assert rpc.system.methodSignature("sub_show") == [["struct", "string"], ["struct", "string", "int"]]
        assert rpc.system.methodSignature("system.listMethods") == "undef"
        with pytest.raises(xmlrpc.client.Fault):
            rpc.system.methodHelp("nosuch")


def test_a_multicall_runs_each_call_and_returns_each_outcome(root: str) -> None:
    with proxy(root) as rpc:
        calls = xmlrpc.client.MultiCall(rpc)
        calls.sub_show("alice")
        calls.probe("later")
        calls.sub_rm("alice")
        results = iter(calls())
        assert next(results)["user"] == "alice"
        assert next(results) == "later"
        with pytest.raises(xmlrpc.client.Fault, match="No such subscriber"):
            next(results)
        assert xmlrpc.client.MultiCall(rpc)().results == []  # type: ignore[attr-defined]


LINES = "user:: alice\nlimit:: 10\ncontacts:: sip:a@127.0.0.1\ncontacts:: sip:b@127.0.0.1\n"

FORMS: dict[str, Union[str, list[str], dict[str, Any]]] = {
    "string": LINES,
    "array": LINES.splitlines(keepends=True),
    "ng": LINES,
    "ng1": LINES,
    "ng2": {"user": "alice", "limit": "10", "contacts": ["sip:a@127.0.0.1", "sip:b@127.0.0.1"]},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_older_form_of_xmlrpc_is_spoken(form: str) -> None:
    server = with_commands(sipmi.Server("billing"))
    server.listen("http://127.0.0.1:0", xmlrpc=form)
    with server:
        root = server.addresses[0].rsplit("/", 1)[0]
        with proxy(root) as rpc:
            assert rpc.sub_show("alice") == FORMS[form]
            assert "sub_show" in rpc.system.listMethods()  # type: ignore[operator]
            with pytest.raises(xmlrpc.client.Fault, match="No such subscriber"):
                rpc.sub_rm("alice")
        with proxy(root, "/xmlrpc") as rpc:
            assert rpc.sub_show("alice") == LINES


# -- curl and httpx -------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="NOT RUN: curl is not installed (apt-get install curl)")
def test_curl_calls_every_wire(root: str) -> None:
    def curl(*words: str) -> str:
        return subprocess.run(["curl", "-sS", *words], capture_output=True, text=True, timeout=10, check=True).stdout

    call = '{"jsonrpc":"2.0","method":"probe","params":["x"],"id":1}'
    assert json.loads(curl("-H", "Content-Type: application/json", "-d", call, f"{root}/mi"))["result"] == "x"
    assert json.loads(curl(f"{root}/json/sub_show?params=alice,3"))["limit"] == "3"
    xml = "<methodCall><methodName>probe</methodName><params><param><value>y</value></param></params></methodCall>"
    assert "<string>y</string>" in curl("-H", "Content-Type: text/xml", "-d", xml, f"{root}/RPC2")
    assert "expected Content-Type application/json" in curl("-d", call, f"{root}/mi")


def test_httpx_keeps_its_connections(root: str) -> None:
    with httpx.Client() as client:
        for number in range(20):
            call = {"jsonrpc": "2.0", "method": "probe", "params": [str(number)], "id": number}
            assert client.post(f"{root}/mi", json=call).json()["result"] == str(number)


# -- clients by their bytes -----------------------------------------------------------------------


def test_opensips_cp_sends_an_integer_id_and_leaves_empty_params_out(root: str) -> None:
    body = b'{"jsonrpc":"2.0","id":10,"method":"version"}'
    reply = ask(root, request("POST", "/mi", body, Accept="*/*"))
    assert reply.status < 300
    assert reply.value["id"] == 10


XML_CALL = (
    b'<?xml version="1.0"?>\n<methodCall>\n<methodName>sub_show</methodName>\n<params>\n'
    b"<param><value><string>alice</string></value></param>\n</params>\n</methodCall>\n"
)


def test_old_consoles_find_their_string_in_the_answer() -> None:
    server = with_commands(sipmi.Server("billing"))
    server.listen("http://127.0.0.1:0", xmlrpc="string")
    with server, HttpPeer(server.addresses[0]) as peer:
        bare: dict[str, Any] = {"version": "1.0", "newline": "\n", "Content_Type": "text/xml"}
        reply = peer.ask(request("POST", "/RPC2", XML_CALL, **bare))
        assert reply.status == 200
        begin, end = b"<param><value><string>", b"</string></value></param>"
        found = reply.body[reply.body.index(begin) + len(begin) : reply.body.index(end)]
        assert found == LINES.encode()
        assert peer.is_closed()


def test_consoles_and_exporters_are_understood_over_datagrams(directory: str) -> None:
    server = with_commands(sipmi.Server("billing"))
    server.listen("udp:127.0.0.1:0")
    server.listen(f"unix:{directory}/mi.sock")
    with server:
        udp, unix = (DatagramPeer(address) for address in server.addresses)
        assert udp.exchange(b":sub_show:\nalice\n") == f"200 OK\n{LINES}\n".encode()
        # osipsconsole ends a parameter with a colon.
        assert udp.exchange(b":probe:\nx:\n") == b"200 OK\nx:\n\n"
        # opensips_exporter: the first line exactly, then name and value at the last `::`.
        statistics = (unix.exchange(b":get_statistics:\nmi_datagram_unix:\n") or b"").decode().split("\n")
        assert statistics[0] == "200 OK"
        values = dict(line.rsplit("::", 1) for line in statistics[1:] if line)
        assert values["mi_datagram_unix:requests"].strip().isdigit()
        udp.close()
        unix.close()


def test_all_of_them_at_once(root: str) -> None:
    wrong: list[BaseException] = []

    def run(call: Any) -> None:
        try:
            for _ in range(20):
                call()
        except BaseException as error:
            wrong.append(error)

    def package() -> None:
        assert opensips.mi.OpenSIPSMI("http", url=f"{root}/mi").execute("probe", ["x"]) == "x"

    def library() -> None:
        with proxy(root) as rpc:
            assert rpc.probe("y") == "y"

    def json_url() -> None:
        assert httpx.get(f"{root}/json/probe?params=z").json() == {"value": "z"}

    threads = [threading.Thread(target=run, args=(call,)) for call in (package, library, json_url) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
