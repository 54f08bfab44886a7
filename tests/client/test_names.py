"""Commands by the names of all versions, against servers that answer with recorded words and know one set of names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

import sipmi
from rogue import RogueDatagram
from sipmi import _core
from sipmi.cli.live import Live


class Names:
    """A server of a version that has some commands, as its ``which`` lists them, and says what each is asked for."""

    def __init__(self, version: str, *names: str) -> None:
        self.version = version
        self.names = names

    def __call__(self, request: bytes) -> Iterable[bytes]:
        asked = json.loads(request)
        params = asked.get("params") or []
        method, params = asked["method"], list(params.values()) if isinstance(params, dict) else params
        reply: dict[str, Any]
        if method == "version":
            reply = {"result": {"Server": f"OpenSIPS ({self.version} (x86_64/linux))"}}
        elif method == "which" and not params:
            reply = {"result": list(self.names)}
        elif method in ("which", "help") and params[0] not in self.names:
            reply = {"error": {"code": 404, "message": "unknown MI command"}}
        elif method == "which":
            reply = {"result": [[]]}
        elif method == "help":
            reply = {"result": {"Help": f"help of {params[0]}", "Exported by": "m"}}
        elif method in self.names:
            reply = {"result": method}
        else:
            reply = {"error": {"code": -32601, "message": "Method not found"}}
        yield json.dumps({"jsonrpc": "2.0", "id": asked["id"], **reply}).encode()


#: 3.6's names, 4.0's, and none that 4.0 takes in place of another.
OLD_AND_NEW = {
    "address_reload": "permissions:address_reload",
    "ua_session_client_start": "b2b_entities:ua_session_client_start",
    "LOAD_CPL": "cpl_c:load",
    "db_get": "db_virtual:get",
    "dfks_set_feature": "presence_dfks:set_feature",
    "teardown": "rtpengine:teardown",
    "wss_trace": "wss:trace",
    "fd_log_level": "aaa_diameter:fd_log_level",
    "redis_cluster_info": "cachedb_redis:redis_cluster_info",
    "watch": "lua:watch",
    "refreshXcapDoc": "xcap_client:refreshXcapDoc",
}
GONE = {
    "domain_reload": "domain:reload",
    "refreshWatchers": "presence:refresh_watchers",
    "trace": "tracer:trace",
    "reload_routes": "core:reload_routes",
}


def test_canonical_names_are_called_by_the_names_of_3_x() -> None:
    with RogueDatagram(Names("3.6.8", *OLD_AND_NEW)) as server, sipmi.connect(server.address) as mi:
        for old, new in OLD_AND_NEW.items():
            assert mi.call(new) == old
            assert mi.call("which", new) == [[]]
            assert mi.call("help", new)["Help"] == f"help of {old}"


def test_old_names_without_an_alias_are_called_by_the_canonical_ones() -> None:
    with RogueDatagram(Names("4.0.1", *GONE.values())) as server, sipmi.connect(server.address) as mi:
        for old, new in GONE.items():
            assert mi.call(old) == new
            assert mi.call("help", old)["Help"] == f"help of {new}"

        async def awaited() -> Any:
            async with sipmi.AsyncClient(server.address) as other:
                return await other.call("domain_reload")

        assert asyncio.run(awaited()) == "domain:reload"
        with sipmi.Fleet({"a": server.address}) as fleet:
            assert fleet.call("domain_reload").ok == {"a": "domain:reload"}


def test_provisioning_moved_into_the_core_of_4_1() -> None:
    with RogueDatagram(Names("4.1.0-dev", "core:pi_reload")) as server, sipmi.connect(server.address) as mi:
        assert mi.call("pi_http:reload_tbls_and_cmds") == "core:pi_reload"
        assert mi.call("pi_reload_tbls_and_cmds") == "core:pi_reload"


def test_completion_and_help_take_old_names_on_4_x() -> None:
    names = ("usrloc:dump", "domain:reload", "core:log_level", "tcp:list", "evi:list")
    with RogueDatagram(Names("4.0.1", *names)) as server, sipmi.connect(server.address) as mi:
        live = Live(mi)
        assert [name for name, _ in live.commands("ul_d")] == ["ul_dump"]
        assert [name for name, _ in live.commands("usrloc:")] == ["usrloc:dump"]
        assert {"ul_dump", "domain_reload", "dump", "reload"} <= set(dir(mi.cmd))
        assert "list" not in dir(mi.cmd)
        # Completion asks a server once a second at most.
        with sipmi.connect(server.address) as other:
            assert "help of domain:reload" in (other.cmd.domain_reload.__doc__ or "")
        assert [*mi.commands("debug", help=False)] == ["core:log_level"]


def test_a_gateway_passes_on_the_names_of_all_versions() -> None:
    with RogueDatagram(Names("4.0.1", *GONE.values())) as upstream:
        gateway = sipmi.Server("gateway")
        gateway.forward(upstream.address)
        gateway.listen("udp:127.0.0.1:0")
        with gateway, sipmi.connect(gateway.addresses[0]) as mi:
            assert mi.call("domain_reload") == "domain:reload"
            assert mi.call("which", "domain_reload") == [[]]
            assert mi.call("trace") == "tracer:trace"


@pytest.mark.parametrize(
    ("name", "version", "known"),
    [
        ("ul_dump", "4.0.1", "ul_dump"),
        ("usrloc:dump", "2.4.11", "ul_dump"),
        ("log_level", "1.11", "debug"),
        ("x", "", "x"),
    ],
)
def test_the_name_on_a_version_can_be_asked_without_a_server(name: str, version: str, known: str) -> None:
    assert _core.command_name_on(name, version) == known
