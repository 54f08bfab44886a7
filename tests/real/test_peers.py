"""This client gets the same replies from a real server as opensipsctl and the ``opensips`` package."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import opensips.mi
import pytest
from outcomes import steady
from servers import TIMEOUT, Endpoint

#: Commands without parameters that change nothing.
COMMANDS = ["version", "which", "ps", "ul_dump", "ds_list", "events_list"]


def path_of(endpoint: Endpoint) -> tuple[str, str]:
    """A FIFO and its directory of reply FIFOs."""
    path, _, reply_dir = endpoint.address.removeprefix("fifo:").partition("?reply_dir=")
    return path, reply_dir or "/tmp"


@pytest.mark.parametrize("command", COMMANDS)
def test_opensipsctl_prints_the_values_that_the_client_reads(
    request: pytest.FixtureRequest, text_fifo: Endpoint, command: str, tmp_path: Path
) -> None:
    script = request.config.getoption("--opensipsctl")
    if script is None:
        pytest.skip("the script is not given: --opensipsctl PATH")
    fifo, reply_dir = path_of(text_fifo)
    (tmp_path / "tmp").symlink_to(reply_dir)  # opensipsctl makes its reply FIFOs in $CHROOT_DIR/tmp
    (tmp_path / ".opensipsctlrc").write_text(f"OSIPS_FIFO={fifo}\nCHROOT_DIR={tmp_path}\nCTLENGINE=FIFO\n")
    environment = {**os.environ, "HOME": str(tmp_path)}
    printed = subprocess.run(
        [script, "fifo", command], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, timeout=30, check=True
    ).stdout
    with text_fifo.connect() as mi:
        raw: bytes = mi.request(command).raw
    assert without_volatile(printed) == without_volatile(raw.partition(b"\n")[2])


def without_volatile(text: bytes) -> list[bytes]:
    """Lines that are not empty, without those of times."""
    lines = [line.strip() for line in text.split(b"\n")]
    return [line for line in lines if line and b"200 OK" not in line and b"Expires" not in line]


def peer_of(endpoint: Endpoint) -> Any:
    """The client of the ``opensips`` package for an endpoint."""
    if endpoint.transport == "fifo":
        fifo, reply_dir = path_of(endpoint)
        return opensips.mi.OpenSIPSMI("fifo", fifo_file=fifo, fifo_file_fallback=fifo, fifo_reply_dir=reply_dir)
    if endpoint.transport == "unix":
        path = endpoint.address.removeprefix("unix:")
        return opensips.mi.OpenSIPSMI("datagram", datagram_unix_socket=path, datagram_timeout=TIMEOUT)
    if endpoint.transport == "udp":
        host, _, port = endpoint.address.removeprefix("udp:").rpartition(":")
        return opensips.mi.OpenSIPSMI(
            "datagram", datagram_ip=host, datagram_port=port, datagram_timeout=TIMEOUT, datagram_buffer_size=65_536
        )
    return opensips.mi.OpenSIPSMI("http", url=endpoint.address)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_opensips_package_reads_the_values_that_the_client_reads(jsonrpc_endpoint: Endpoint, command: str) -> None:
    with jsonrpc_endpoint.connect() as mi:
        ours = mi.request(command)
        theirs = peer_of(jsonrpc_endpoint).execute(name_on_the_wire(mi, command), [])
    assert steady(theirs) == steady(ours.value)


def name_on_the_wire(mi: Any, command: str) -> str:
    """The name that the server itself has for a command."""
    canonical = {"ul_dump": "usrloc:dump", "ds_list": "dispatcher:list", "events_list": "evi:list"}
    return canonical.get(command, command) if mi.generation == "4.x" else command
