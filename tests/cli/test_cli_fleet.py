"""`sipmi fleet`: one command, many servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sipmi
from terminal import Terminal


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    """Two servers; the second one refuses."""
    servers = [sipmi.Server("one"), sipmi.Server("two")]

    @servers[0].command
    @servers[1].command
    def hello(name: str = "world") -> str:
        return f"hello {name}"

    @servers[0].command(name="dr_reload")
    def reload_here() -> dict[str, list[str]]:
        return {"routes": ["a", "b"]}

    @servers[1].command(name="dr_reload")
    def reload_there() -> None:
        raise sipmi.Fault(500, "Failed to reload")

    for server in servers:
        server.listen("udp:127.0.0.1:0")
    with servers[0], servers[1]:
        yield [server.addresses[0] for server in servers]


@pytest.fixture
def home(tmp_path: Path, addresses: list[str]) -> Path:
    (tmp_path / "sipmi.toml").write_text(
        f'[servers.edge1]\naddress = "{addresses[0]}"\ntags = ["eu"]\n[servers.edge2]\naddress = "{addresses[1]}"\n'
        '[servers.dead]\naddress = "udp:127.0.0.1:9"\n'
    )
    return tmp_path


def fleet(home: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIPMI")}
    env = {**clean, "XDG_CONFIG_HOME": str(home), "HOME": str(home)}
    command = [sys.executable, "-m", "sipmi", "fleet", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False, env=env)


def test_a_command_goes_to_all_servers_or_to_some(home: Path) -> None:
    done = fleet(home, "--on", "edge*", "hello", "bob")
    assert done.returncode == 0
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["NODE", "VALUE", "TIME"],
        ["edge1", "hello", "bob"],
        ["edge2", "hello", "bob"],
    ]
    assert done.stderr.startswith("2 of 2 succeeded")
    assert fleet(home, "--tag", "eu", "hello", "name::-", stdin="eve\n").stdout.split()[3:6] == [
        "edge1",
        "hello",
        "eve",
    ]
    assert fleet(home, "--on", "nosuch", "hello").returncode == 2


def test_failed_nodes_are_named_and_the_exit_code_tells_the_outcome(home: Path) -> None:
    done = fleet(home, "hello")
    assert done.returncode == 1
    assert "connection refused" in done.stdout
    assert "2 of 3 succeeded" in done.stderr
    assert fleet(home, "--on", "dead", "hello").returncode == 3
    assert fleet(home, "--quorum", "0.5", "hello").returncode == 0


def test_json_has_every_server(home: Path) -> None:
    done = fleet(home, "--json", "dr_reload")
    result = json.loads(done.stdout)
    assert (done.returncode, done.stderr, result["ok"]) == (1, "", False)
    assert result["nodes"]["edge1"]["value"] == {"routes": ["a", "b"]}
    assert "Failed to reload" in result["nodes"]["edge2"]["error"]
    assert set(result["nodes"]) == {"edge1", "edge2", "dead"}
    listed = json.loads(fleet(home, "--json").stdout)
    assert listed["edge1"]["tags"] == ["eu"]
    assert "edge1" in fleet(home).stdout


def test_a_rollout_ends_where_one_fails(home: Path) -> None:
    result = json.loads(fleet(home, "--batch", "1", "--json", "dr_reload").stdout)
    assert [result["nodes"][name]["ok"] for name in ("edge1", "edge2", "dead")] == [True, False, False]
    assert result["nodes"]["dead"]["elapsed"] is None, "it was not contacted"
    dry = json.loads(fleet(home, "--batch", "2", "--dry-run", "--json", "dr_reload").stdout)
    assert dry["batches"] == [["edge1", "edge2"], ["dead"]]


def test_a_file_of_a_fleet_is_read(home: Path, addresses: list[str]) -> None:
    file = home / "fleet.json"
    file.write_text(json.dumps({"nodes": {"a": addresses[0], "b": addresses[1]}}))
    assert fleet(home, "--file", str(file), "hello").returncode == 0
    assert fleet(home, "--file", str(home / "nosuch.json"), "hello").returncode == 2


def test_a_question_tells_how_many_servers_are_meant(home: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(home), "HOME": str(home)}
    with Terminal("fleet", "--on", "edge*", "dr_reload", env=env) as terminal:
        terminal.wait_for("dr_reload reloads what the server works with, at 2 servers. Go on?")
        terminal.send("y\r")
        assert terminal.wait() == 1
        assert "1 of 2 succeeded" in terminal.text
        assert '"routes"' in terminal.text
