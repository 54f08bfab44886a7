"""The commands of docs/cli.md are run in a shell beside a fake OpenSIPS, and print the output shown there."""

from __future__ import annotations

import doctest
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sipmi.cli import servers
from sipmi.testing import FakeOpenSIPS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cli.md").read_text()
SESSIONS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


def commands(session: str) -> list[tuple[str, str]]:
    """The commands of a session with what they print."""
    parts = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


@pytest.mark.parametrize("number", range(len(SESSIONS)))
def test_the_sessions_of_the_page_run_as_they_stand(number: int, tmp_path: Path) -> None:
    program = tmp_path / "sipmi"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sipmi "$@"\n')
    program.chmod(0o755)
    with FakeOpenSIPS("3.4") as fake:
        udp, fifo = fake.address("udp"), fake.address("fifo")
        (tmp_path / "sipmi.toml").write_text(f'[servers]\nedge2 = "udp:127.0.0.1:9"\nedge1 = "{udp}"\n')
        # The endpoints are ones that are free here.
        moved = {"udp:127.0.0.1:8080": udp, "/run/opensips/opensips_fifo": fifo}
        for command, promised in commands(SESSIONS[number]):
            for shown, real in moved.items():
                command, promised = command.replace(shown, real), promised.replace(shown, real)
            printed = run(command, tmp_path)
            same = doctest.OutputChecker().check_output(promised, printed, doctest.ELLIPSIS)
            assert same, f"{command}\n\npromised:\n{promised}\nprinted:\n{printed}"


def run(command: str, home: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIPMI")}
    env = {**clean, "XDG_CONFIG_HOME": str(home), "PATH": f"{home}:/usr/bin:/bin"}
    child = subprocess.Popen(
        ["bash", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        return child.communicate(timeout=30)[0]
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)


def test_the_file_of_servers_is_read_as_the_page_says() -> None:
    [text] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    read = servers.parse_servers(text, Path("/home/ann/.config/sipmi.toml"))
    assert read.default == "edge1"
    assert read.targets["edge1"].options["cafile"] == "/home/ann/.config/ca.pem"
    named = re.findall(r"A server may have (.*?)\. Options", PAGE, re.DOTALL)[0]
    assert set(re.findall(r"`(\w+)`", named)) == {"address", "tags", *servers.OPTIONS}
