"""A gateway before OpenSIPS 1.11 and 2.4, whose parameters go by place: names, old names by module, lists of commands.

The upstreams answer as 1.11.11 does at /xmlrpc and 2.4.11 at /RPC2, and note what they are asked.
"""

from __future__ import annotations

import http.server
import json
import threading
import urllib.request
import warnings
import xmlrpc.client
from collections.abc import Iterator
from typing import Any, Optional
from urllib.parse import urlsplit

import pytest

import sipmi
from sipmi.gateway import make_gateway

CONTACT = {
    "table_name": "location", "aor": "alice", "contact": "sip:alice@192.0.2.1", "expires": 60, "q": "0.5", "flags": 0,
    "cflags": "0", "methods": 0,
}  # fmt: skip
NINE_PLACES = ["location", "alice", "sip:alice@192.0.2.1", "60", "0.5", "0", "0", "0", "0"]
COMMANDS = [
    "get_statistics",
    "list_statistics",
    "which",
    "version",
    "events_list",
    "ul_add",
    "ul_dump",
    "kill",
    "own_one",
]


class Upstream(http.server.ThreadingHTTPServer):
    """The module mi_xmlrpc_ng of a version."""

    def __init__(self, version: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.version = version
        self.asked: list[tuple[str, list[str]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{'xmlrpc' if self.version == '1.11' else 'RPC2'}"

    def answer(self, command: str, params: list[str]) -> Optional[str]:
        """The value of the reply to a command, as the version writes it; None when there is no such command."""
        self.asked.append((command, params))
        if command not in COMMANDS:
            return None
        nodes: list[tuple[str, str]] = []
        if command == "version":
            nodes = [("Server", f"OpenSIPS ({self.version}.11{'-notls' * (self.version == '1.11')} (x86_64/linux))")]
        elif command == "which":
            nodes = [("", name) for name in COMMANDS]
        elif command.endswith("_statistics"):
            nodes = [("core:rcv_requests", "7")]
        if self.version == "1.11":
            lines = "".join(f"{name}:: {value}\n" if name else f":: {value}\n" for name, value in nodes)
            return f"<string>{lines}</string>"
        if command == "which":
            items = "".join(f"<value>{value}</value>" for _, value in nodes)
            return f"<struct><member><name></name><value><array><data>{items}</data></array></value></member></struct>"
        members = (f"<member><name>{name}</name><value>{value}</value></member>" for name, value in nodes)
        return f"<struct>{''.join(members)}</struct>"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        params, command = xmlrpc.client.loads(self.rfile.read(int(self.headers["Content-Length"])))
        value = self.server.answer(str(command), [str(param) for param in params])
        head = '<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n'
        if value is not None:
            body = f"{head}<params>\r\n<param><value>{value}</value></param>\r\n</params>\r\n</methodResponse>\r\n"
        elif self.server.version == "1.11":
            body = "<html><body>Internal server error!</body></html>"
        else:
            fault = {"faultCode": "<int>401</int>", "faultString": "<string>Empty request</string>"}
            members = "".join(f"<member><name>{n}</name><value>{v}</value></member>" for n, v in fault.items())
            body = f"{head}<fault>\r\n<value><struct>{members}</struct></value></fault>\r\n</methodResponse>\r\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(params=["1.11", "2.4"])
def upstream(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    with Upstream(request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def base(upstream: Upstream) -> Iterator[str]:
    """Where the gateway's roots are."""
    with make_gateway(upstream.address, ["http://127.0.0.1:0"]) as gateway:
        url = urlsplit(gateway.addresses[0])
        yield f"{url.scheme}://{url.netloc}"


def asked_for(upstream: Upstream, command: str) -> list[list[str]]:
    return [params for name, params in upstream.asked if name == command]


def post(base: str, method: str, params: Any = ()) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(f"{base}/mi", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as reply:
        return json.loads(reply.read())


@pytest.mark.parametrize("root", ["/mi", "/json", "/RPC2", "/xmlrpc"])
def test_parameters_by_name_come_to_their_places(upstream: Upstream, base: str, root: str) -> None:
    with sipmi.connect(base + root) as mi, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what 1.11 answers to a success is unclear
        mi.call("ul_add", **CONTACT)
        mi.call("ul_add", *CONTACT.values())
        mi.call("ul_dump", brief=1)
        mi.call("ul_dump")
    assert asked_for(upstream, "ul_add") == [NINE_PLACES, NINE_PLACES]
    assert asked_for(upstream, "ul_dump") == [["brief"], []]


@pytest.mark.parametrize(
    ("name", "flat"),
    [
        ("statistics:list_statistics", "list_statistics"),
        ("statistics:list", "list_statistics"),
        ("evi:events_list", "events_list"),
        ("evi:list", "events_list"),
        ("usrloc:ul_dump", "ul_dump"),
    ],
)
def test_an_old_name_behind_its_module_is_the_old_name(upstream: Upstream, base: str, name: str, flat: str) -> None:
    assert "error" not in post(base, name)
    assert asked_for(upstream, flat) == [[]]
    assert asked_for(upstream, name) == []
    assert post(base, "which", [name]) == post(base, "which", [flat])


def test_an_old_name_behind_another_module_is_no_name(base: str) -> None:
    assert "error" in post(base, "usrloc:list_statistics")


def test_which_lists_the_commands_of_the_upstream_but_kill(base: str) -> None:
    listed = post(base, "which")["result"]
    assert {"events_list", "list_statistics", "ul_add", "ul_dump", "own_one"} <= set(listed)
    assert "kill" not in listed
    assert post(base, "which", ["usrloc:"])["result"] == ["ul_add", "ul_dump"]


def test_the_console_lists_the_commands_of_the_upstream_once_their_names_were_asked_for(base: str) -> None:
    def described() -> dict[str, Any]:
        with urllib.request.urlopen(f"{base}/html/commands.json", timeout=5) as reply:
            return dict(json.loads(reply.read()))

    assert described()["forwards"] is True
    post(base, "which")
    modules = {module["name"]: module["commands"] for module in described()["modules"]}
    shown = {command["method"]: command["read_only"] for command in modules["usrloc"]}
    assert shown == {"ul_add": False, "ul_dump": True}
    assert [command["name"] for command in modules["upstream"]] == ["own_one"]
    with urllib.request.urlopen(f"{base}/html/usrloc", timeout=5) as reply:
        assert b"ul_dump" in reply.read()
    assert all(command["name"] != "kill" for commands in modules.values() for command in commands)
