"""A gateway in front of a real server answers on every wire as the server itself does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import calls
import pytest
from answers import ask_all
from comparison import DIFFERENT, compare
from servers import TIMEOUT, Endpoint, RealServer

import sipmi
from sipmi.gateway import make_gateway

#: Commands that the gateway has itself.
OWN = {"version", "which", "help"}


@pytest.fixture
def gateway(real_server: RealServer, tmp_path: Path) -> Iterator[sipmi.Server]:
    upstream = real_server.endpoint("udp", "unix", "fifo", "http")
    assert upstream is not None
    server = make_gateway(
        upstream.address,
        [
            "udp:127.0.0.1:0",
            f"unix:{tmp_path}/gw.sock",
            "http://127.0.0.1:0",
            (f"fifo:{tmp_path}/gw", {"reply_dir": str(tmp_path)}),
        ],
        timeout=TIMEOUT,
    )
    with server:
        yield server


def test_the_gateway_answers_as_its_upstream(real_server: RealServer, gateway: sipmi.Server) -> None:
    upstream = real_server.endpoint("udp", "unix", "fifo", "http")
    assert upstream is not None
    differences = []
    expected_here = ask_all(upstream)
    for address in gateway.addresses:
        found_here = ask_all(Endpoint(real_server.version, address))
        for call, found, expected in zip(calls.all_calls(), found_here, expected_here):
            if call.command not in OWN and compare(call, upstream, found, expected) == DIFFERENT:
                differences.append(f"{call}\n  {upstream}: {expected}\n  through {address}: {found}")
    assert not differences, "\n" + "\n".join(differences)
