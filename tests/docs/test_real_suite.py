"""The suite for real servers runs as it is documented. Here it gets a fake, which says nothing about real servers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sipmi.testing import FakeOpenSIPS

SUITE = Path(__file__).parents[1] / "real"


def run_suite(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SUITE), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=SUITE.parent.parent)


def test_without_a_server_every_test_is_skipped_with_the_reason() -> None:
    run = run_suite()
    assert run.returncode == 0, run.stdout
    assert "no real OpenSIPS is given" in run.stdout
    assert "passed" not in run.stdout


def test_an_address_without_a_version_is_an_error_that_says_so() -> None:
    run = run_suite("--opensips", "udp:127.0.0.1:9")
    assert run.returncode not in (0, 1)
    assert "expected VERSION=ADDRESS" in run.stderr + run.stdout


def test_every_endpoint_that_is_given_has_its_row_in_the_table() -> None:
    with FakeOpenSIPS("4.0") as opensips:
        addresses = ",".join(opensips.address(transport) for transport in ("udp", "unix", "fifo"))
        run = run_suite("--opensips", f"4.0={addresses}", "-k", "test_every_wire or test_the_client_finds")
    assert run.returncode in (0, 1), run.stdout + run.stderr
    for row in ("4.0-udp", "4.0-unix", "4.0-fifo"):
        assert f"\n{row} " in run.stdout
