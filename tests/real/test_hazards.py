"""Requests that would harm a real server are refused, and the server answers afterwards.

With ``--harm`` they are also sent as raw bytes, to check that the servers still have these faults. That stops servers.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Callable
from urllib.parse import urlsplit

import pytest
from servers import Endpoint, RealServer

import sipmi


def is_typed_fifo(endpoint: Endpoint) -> bool:
    return endpoint.is_typed and endpoint.transport == "fifo"


def is_text_fifo(endpoint: Endpoint) -> bool:
    return not endpoint.is_typed and endpoint.transport == "fifo"


def is_mi_json(endpoint: Endpoint) -> bool:
    return endpoint.label == "http/json"


def is_datagram(endpoint: Endpoint) -> bool:
    return endpoint.transport in ("udp", "unix")


def has_body_limit(endpoint: Endpoint) -> bool:
    return endpoint.transport == "http" and endpoint.version in ("3.6", "4.0", "master")


def is_any(endpoint: Endpoint) -> bool:
    return True


#: A call, and the endpoints that it would harm or that would lose it.
REFUSED: list[tuple[str, tuple[Any, ...], Callable[[Endpoint], bool]]] = [
    ("t_hash", (), lambda endpoint: endpoint.is_typed),
    ("cache_store", ("local", "sipmi_real_harm", "x" * 5000), is_typed_fifo),
    ("cache_store", ("local", "sipmi_real_harm", "x" * 9000), is_text_fifo),
    ("cache_store", ("local", "sipmi_real_harm", "x" * 1100), has_body_limit),
    ("cache_store", ("local", "sipmi_real_harm", "x" * 70_000), is_datagram),
    ("cache_store", ("local", "", "x"), is_mi_json),
    ("cache_store", ("local", "a,b", "x"), is_mi_json),
    ("cache_store", ("local", "sipmi_real_harm", "nul\0byte"), is_any),
    ("t_uac_dlg", ("OPTIONS", "sip:127.0.0.1:9", "From: a"), is_typed_fifo),
    ("bad name", (), is_any),
]


@pytest.mark.parametrize(("command", "args", "is_harmed"), REFUSED, ids=range(len(REFUSED)))
def test_a_harmful_request_is_refused(
    endpoint: Endpoint, command: str, args: tuple[Any, ...], is_harmed: Callable[[Endpoint], bool]
) -> None:
    if is_harmed(endpoint):
        with endpoint.connect() as mi, pytest.raises(sipmi.RequestRefused):
            mi.call(command, *args)
    assert endpoint.is_alive()


# -- only with --harm ---------------------------------------------------------------------------------

#: Bytes that stop a real server: by version, transport, request.
FATAL = [
    ("3.6", "fifo", b":sipmi_real_reply:[]"),
    ("4.0", "fifo", b":sipmi_real_reply:42"),
    ("4.0", "udp", b'{"jsonrpc":"2.0","id":1}'),
    ("1.11", "http", b"GET /json/cache_fetch?params=local,,x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
]


@pytest.mark.parametrize(("version", "transport", "request_bytes"), FATAL, ids=[f"{v}-{t}" for v, t, _ in FATAL])
def test_raw_bytes_that_stop_a_server_still_do(
    request: pytest.FixtureRequest,
    real_servers: tuple[RealServer, ...],
    version: str,
    transport: str,
    request_bytes: bytes,
) -> None:
    if not request.config.getoption("--harm"):
        pytest.skip("it stops a server: only with --harm")
    server = next((each for each in real_servers if each.version == version), None)
    endpoint = server and server.endpoint(transport)
    if server is None or endpoint is None or server.restart_command is None:
        pytest.skip(f"no {version} over {transport} that can be restarted (--opensips-restart)")
    send_raw(endpoint, request_bytes)
    server.restart()


def send_raw(endpoint: Endpoint, request_bytes: bytes) -> None:
    """Sends bytes as they are and does not wait for an answer."""
    if endpoint.transport == "fifo":
        path = endpoint.address.removeprefix("fifo:").partition("?")[0]
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, request_bytes)
        finally:
            os.close(fd)
        return
    if endpoint.transport == "udp":
        host, _, port = endpoint.address.removeprefix("udp:").rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(request_bytes, (host, int(port)))
        return
    url = urlsplit(endpoint.address)
    with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
        connection.sendall(request_bytes)
