"""Answers of OpenSIPS 1.8 (by its sources), 1.11.11, 2.4.11, 3.6.8, 4.0.1 and 4.1.0-dev, which the fake gives too."""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from typing import Any, Optional
from urllib.parse import urlsplit

import pytest

import sipmi
from endpoints import DatagramPeer, FifoPeer
from sipmi.testing import FakeOpenSIPS
from waiting import eventually

MODERN = ["3.2", "3.4", "3.6", "4.0", "4.1"]


def text_of(fake: FakeOpenSIPS, command: str, *params: str, transport: str = "udp") -> str:
    """The bytes of a text reply."""
    with fake.connect(transport, wire="text") as mi:
        return mi.request(command, *params).raw.decode()


def json_of(fake: FakeOpenSIPS, method: str, params: Any = ()) -> Any:
    """The result of a reply, or the code and the message of its error."""
    with fake.connect("udp", wire="jsonrpc") as mi:
        asked = mi.request(method, **params) if isinstance(params, dict) else mi.request(method, *params)
        reply = json.loads(asked.raw)
    error = reply.get("error")
    return reply["result"] if error is None else (error["code"], error.get("data", error["message"]))


def get(fake: FakeOpenSIPS, path: str, body: Optional[str] = None) -> tuple[dict[str, str], str]:
    """Headers and body of an HTTP answer."""
    url = urlsplit(fake.address("xmlrpc" if body else "http"))
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=5)
    headers = {"Content-Type": "text/xml"} if body else {}
    connection.request("POST" if body else "GET", path, body, headers)
    answer = connection.getresponse()
    found = dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


@pytest.mark.parametrize("version", MODERN)
def test_one_subscriber_is_an_object_of_its_own_name(version: str) -> None:
    with FakeOpenSIPS(version) as fake:
        assert json_of(fake, "event_subscribe", ["E_DISPATCHER_STATUS", "udp:127.0.0.1:5999", 20]) == "OK"
        shown = {"socket": "udp:127.0.0.1:5999", "expire": 20, "ttl": 20}
        one = json_of(fake, "subscribers_list", ["E_DISPATCHER_STATUS", "udp:127.0.0.1:5999"])["Event"]
        every = json_of(fake, "subscribers_list", ["E_DISPATCHER_STATUS"])["Event"]
    assert {name: value for name, value in one.items() if name != "id"} == {
        "name": "E_DISPATCHER_STATUS",
        "Subscriber": shown,
    }
    assert every["Subscribers"] == [shown]


@pytest.mark.parametrize(("version", "end"), [("1.8", ""), ("1.11", ""), ("2.4", "\n")])
def test_ratelimit_and_cfgutils_answer_as_1_x_and_2_x_do(version: str, end: str) -> None:
    with FakeOpenSIPS(version) as fake:
        fake.others.shared_variables.update(greeting="hi", debug=1)
        asked = {
            ("rl_reset_pipe", "nosuch"): f"400 Bad parameter\n{end}",
            ("rl_set_pid", "1", "0.25", "-25"): f"200 OK\n{end}",
            ("rl_get_pid",): f"200 OK\nPID::  ki=1.000 kp=0.000 kd=-25.000\n{end}",
            ("rand_get_prob",): f"200 OK\nactual probability: 10 percent\n\n{end}",
            ("shv_get",): f"200 OK\nVAR:: greeting type=string value=hi\nVAR:: debug type=integer value=1\n{end}",
            ("shv_set", "nosuch", "int", "1"): f"404 Not found\n{end}",
            ("shv_set", "debug", "int", "xx"): f"500 bad integer value\n{end}",
            ("shv_set", "debug", "str", "abc"): f"200 OK\n{end}",
            ("shv_get", "debug"): f"200 OK\nVAR:: debug type=string value=abc\n{end}",
        }
        assert {words: text_of(fake, *words) for words in asked} == asked


@pytest.mark.parametrize("version", MODERN)
def test_ratelimit_and_cfgutils_answer_as_3_x_and_4_x_do(version: str) -> None:
    with FakeOpenSIPS(version) as fake:
        fake.ratelimit.add("pipe1")
        assert json_of(fake, "rl_reset_pipe", ["nosuch"]) == (500, "Internal error")
        assert json_of(fake, "rl_list", {"pipe": "nosuch"}) == (404, "Pipe Not Found")
        assert json_of(fake, "rl_dump_pipe", ["nosuch"]) == (404, "Pipe not found")
        assert json_of(fake, "rl_dump_pipe", ["pipe1"]) == {
            "Pipe": "pipe1", "Algorithm": "TAILDROP", "Counter": 0, "Replication Nodes": [], "Total": 0,
        }  # fmt: skip
        assert json_of(fake, "rand_get_prob") == {"actual probability percent": 10}
        assert json_of(fake, "shv_set", ["newvar", "int", 3]) == "OK"
        assert json_of(fake, "shv_set", ["newvar", "int", "abc"]) == (-32602, "Bad type for parameter 'value'")
        assert json_of(fake, "shv_get", ["newvar"]) == {"VAR": {"type": "integer", "value": 3}}
        assert json_of(fake, "shv_set", ["newvar", "str", "abc"]) == "OK"
        assert json_of(fake, "shv_get") == [[{"name": "newvar", "type": "string", "value": "abc"}]]


@pytest.mark.parametrize(("version", "line_end"), [("1.11", "\n"), ("2.4", "\\n")])
def test_ratelimit_and_cfgutils_answer_over_mi_json(version: str, line_end: str) -> None:
    with FakeOpenSIPS(version) as fake:
        fake.ratelimit.set_pid("-25", "0", "0")
        fake.others.shared_variables["debug"] = 1
        pid = '{"PID": {"attributes":{"ki": "-25.000", "kp": "0.000", "kd": "0.000"}}}'
        assert get(fake, "/json/rl_get_pid")[1] == pid
        assert get(fake, "/json/rand_get_prob")[1] == f'{{"value":"actual probability: 10 percent{line_end}"}}'
        variable = '{"VAR": {"value":"debug", "attributes":{"type": "integer", "value": "1"}}}'
        assert get(fake, "/json/shv_get?params=debug")[1] == variable


@pytest.mark.parametrize("version", ["1.8", "1.11"])
def test_mi_xmlrpc_names_its_web_server(version: str) -> None:
    call = "<?xml version='1.0'?><methodCall><methodName>pwd</methodName><params></params></methodCall>"
    with FakeOpenSIPS(version) as fake:
        headers, body = get(fake, "/RPC2", call)
        others, _ = get(fake, "/mi")
    assert "<string>WD:: " in body
    assert headers["Server"].startswith("Xmlrpc-c_Abyss/")
    assert (headers["Connection"], headers["Keep-Alive"]) == ("Keep-Alive", "timeout=15, max=30")
    assert "Server" not in others


# -- 1.8, for 1.4 to 1.10 -------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["fifo", "udp", "unix", "xmlrpc"])
def test_1_8_answers_in_the_shapes_of_1_4_to_1_10(transport: str) -> None:
    with FakeOpenSIPS("1.8") as fake:
        call = fake.dialog.add("call-1")
        fake.dispatcher.add(1, "sip:192.0.2.1:5060")
        fake.dispatcher.add(1, "sip:192.0.2.2:5060", state="Inactive")
        fake.dispatcher.add(2, "sip:192.0.2.3:5060", state="Probing")
        fake.ratelimit.add("gw1", limit=20)
        fake.usrloc.add("alice", "sip:alice@192.0.2.1", q=0.5)
        fake.statistics["core:rcv_requests"] = 5
        wire = "xmlrpc" if transport == "xmlrpc" else "text"

        def lines_of(command: str, *params: Any) -> list[str]:
            with fake.connect(transport, wire=wire) as mi:
                raw = mi.request(command, *params).raw.decode()
            if transport == "xmlrpc":
                raw = raw.partition("<string>")[2].partition("</string>")[0]
                return [line.strip() for line in raw.splitlines() if line]
            return [line.strip() for line in raw.splitlines()[1:] if line]

        assert lines_of("get_statistics", ["rcv_requests"]) == ["core:rcv_requests = 5"]
        assert lines_of("rl_list") == [
            "PIPE::  id=gw1 algorithm=TAILDROP limit=20 counter=0", "DROP_RATE:: 0",
        ]  # fmt: skip
        assert lines_of("ds_list") == [
            "SET_NO:: 2", "SET:: 1", "URI:: sip:192.0.2.1:5060 flag=A", "URI:: sip:192.0.2.2:5060 flag=I",
            "SET:: 2", "URI:: sip:192.0.2.3:5060 flag=P",
        ]  # fmt: skip
        assert lines_of("ul_dump") == [
            "Domain:: location table=512 records=1", "AOR:: alice", "Contact:: sip:alice@192.0.2.1 Q=0.5",
            "Expires:: 3600", "Callid:: dfjrewr12386fd6-343@opensips.mi", "Cseq:: 1",
            "User-agent:: OpenSIPS MI Server", "State:: CS_NEW", "Flags:: 0", "Cflag:: 0", "Methods:: 0",
        ]  # fmt: skip
        dialog = lines_of("dlg_list")
        assert dialog[0] == f"dialog::  hash={call.entry}:{call.label}"
        assert [line.partition("::")[0] for line in dialog[1:]] == [
            "state", "user_flags", "timestart", "timeout", "callid", "from_uri", "to_uri", "caller_tag",
            "caller_contact", "callee_cseq", "caller_route_set", "caller_bind_addr", "callee_tag", "callee_contact",
            "caller_cseq", "callee_route_set", "callee_bind_addr",
        ]  # fmt: skip
        contact = "<sip:alice@192.0.2.1>;q=0.5;expires=3600;flags=0x0;cflags=0x0;socket=<NULL>;methods=0x0"
        # As text, an XML reply has its own names for < and >.
        [shown] = lines_of("ul_show_contact", "location", "alice")
        shown = shown.replace("&lt;", "<").replace("&gt;", ">")
        assert shown == f"Contact:: {contact};user_agent=<OpenSIPS MI Server>"


@pytest.mark.parametrize("fake", [True, False])
def test_1_8_has_neither_mi_json_nor_mi_xmlrpc_ng_and_lists_its_statistics_as_lines(fake: bool) -> None:
    server: Any
    if fake:
        server = FakeOpenSIPS("1.8", transports=["udp", "http"])
    else:
        server = sipmi.Server("opensips", emulate="1.8")
        server.listen("udp:127.0.0.1:0")
        server.listen("http://127.0.0.1:0")
    with server:
        udp, web = server.addresses[:2]
        with sipmi.connect(udp, wire="text") as mi:
            assert mi.request("version").raw == b"200 OK\nServer:: OpenSIPS (1.8.8-notls (x86_64/linux))\n"
            assert mi.request("get_statistics", ["timestamp"]).raw.startswith(b"200 OK\ncore:timestamp = ")
        peer = DatagramPeer(udp)
        assert peer.exchange(b'{"jsonrpc":"2.0","id":1,"method":"version"}') == b"500 command not available\n"
        peer.close()
        url = urlsplit(web)
        for path in ("/json/version", "/xmlrpc"):
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=5)
            connection.request("GET", path)
            assert b"Server" not in connection.getresponse().read()
            connection.close()


# -- 4.1 ------------------------------------------------------------------------------------------


def test_4_1_is_4_0_with_the_provisioning_interface_in_its_core() -> None:
    with FakeOpenSIPS("4.0") as old, FakeOpenSIPS("4.1") as new:
        before, now = json_of(old, "which"), json_of(new, "which")
        assert [name for name in now if name not in before] == ["core:pi_list", "core:pi_reload"]
        assert now.index("core:pi_list") + 2 == now.index("core:uptime")
        assert json_of(new, "which", ["core:"])[:3] == ["core:pi_list", "core:pi_reload", "core:uptime"]
        assert json_of(new, "core:pi_list") == (503, "No PI transport is available")
        assert json_of(old, "core:pi_list") == (-32601, "Method not found")
        assert json_of(new, "which", ["core:pi_reload"]) == [[]]
        helped = {"Help": "reloads the provisioning framework", "Exported by": "core"}
        assert json_of(new, "help", ["core:pi_reload"]) == helped
        assert json_of(new, "version") == {"Server": "OpenSIPS (4.1.0-dev (x86_64/linux))"}
        statistics = [list(json_of(fake, "get_statistics", [["all"]])) for fake in (old, new)]
        assert statistics[0] == statistics[1]
        with new.connect() as mi:
            assert mi.generation == "4.x"


def test_4_1_outlives_an_asynchronous_command_without_a_reply_fifo_and_4_0_does_not() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "t_uac_dlg"}
    for version, lives in (("4.0", False), ("4.1", True)):
        with FakeOpenSIPS(version, hazards=True, transports=["fifo"]) as fake:
            path, _, directory = fake.address("fifo")[len("fifo:") :].partition("?reply_dir=")
            peer = FifoPeer(path, directory)
            peer.write(b"::" + json.dumps(call).encode())
            if lives:
                answer = peer.exchange(lambda name: f':{name}:{{"jsonrpc":"2.0","id":1,"method":"pwd"}}'.encode())
                assert b'"WD"' in (answer or b"")
            else:
                eventually(lambda: not fake.server.is_running)


# -- where it listens -----------------------------------------------------------------------------


def test_a_fake_listens_where_unchanged_tools_look_for_opensips() -> None:
    """opensipsctl, osipsconsole and OpenSIPS-CP use a FIFO in /tmp and make their reply FIFOs there."""
    with tempfile.TemporaryDirectory(prefix="tools") as directory:
        path = os.path.join(directory, "opensips_fifo")
        listen = [f"fifo:{path}", f"unix:{directory}/mi.sock", "udp:127.0.0.1:0", "http://127.0.0.1:0/mi"]
        with FakeOpenSIPS("4.0", listen=listen) as fake:
            assert fake.address("fifo") == f"fifo:{path}?reply_dir=/tmp"
            assert fake.address("unix") == f"unix:{directory}/mi.sock"
            for transport in ("fifo", "unix", "udp", "http"):
                with fake.connect(transport) as mi:
                    assert mi.call("which")[0] == "statistics:get"
        with FakeOpenSIPS("2.4", listen=f"fifo:{path}", reply_dir=directory) as fake:
            assert fake.addresses == [f"fifo:{path}?reply_dir={directory}"]
            with fake.connect("fifo") as mi:
                assert mi.call("uptime")["Up time"].endswith("[sec]")
            fake.stop()
            assert not os.path.exists(path)
            fake.start()
            with fake.connect("fifo") as mi:
                assert mi.call("version")["Server"].startswith("OpenSIPS (2.4.11")


def test_1_11_listens_for_mi_xmlrpc_on_a_port_of_its_own() -> None:
    with FakeOpenSIPS("1.11", listen=["http://127.0.0.1:0", "http://127.0.0.1:0/RPC2"]) as fake:
        web, rpc = (urlsplit(address).port for address in fake.addresses)
        assert web != rpc
        with sipmi.connect(f"http://127.0.0.1:{rpc}/RPC2") as mi:
            assert mi.call("version")["Server"].startswith("OpenSIPS (1.11.11")
        with sipmi.connect(f"http://127.0.0.1:{web}/json") as mi:
            assert mi.call("version")["Server"].startswith("OpenSIPS (1.11.11")


def test_an_address_without_a_known_transport_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a transport of fifo, udp, unix, http, found 'tcp'"):
        FakeOpenSIPS("4.0", listen=["tcp:127.0.0.1:1"])
