"""Completion, in the real shells: what Tab makes of a line that begins so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sipmi
from sipmi.cli.commands.completion import SCRIPTS
from terminal import Terminal


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = sipmi.Server("billing")

    @server.command
    def account_show(user: str, domain: str = "example.org") -> str:
        """Show an account."""
        return user

    server.event("E_ACCOUNT_SHOWN")
    server.listen("udp:127.0.0.1:0")
    with server:
        yield server.addresses[0]


@pytest.fixture
def env(tmp_path: Path, address: str) -> dict[str, str]:
    (tmp_path / "sipmi.toml").write_text(f'[servers]\nedge1 = "{address}"\nbackup = "udp:127.0.0.1:9"\n')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sipmi").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sipmi "$@"\n')
    (tmp_path / "bin" / "sipmi").chmod(0o755)
    (tmp_path / "application.py").write_text("")
    return {
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "ZDOTDIR": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "PS1": "$ ",
    }


#: Shells without the settings of the user who runs the tests, and the command that enables completion in each.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile"], 'eval "$(sipmi completion bash)"'),
    "zsh": (["zsh", "-f"], 'PS1="$ "; autoload -Uz compinit && compinit -u -D; eval "$(sipmi completion zsh)"'),
    "fish": (["fish", "--no-config"], "function fish_prompt; echo '$ '; end; sipmi completion fish | source"),
}

#: The text typed before Tab, and the text on the line afterwards.
LINES = {
    "a subcommand": ("sipmi comp", "sipmi completion"),
    "an option": ("sipmi call --keep", "sipmi call --keep-going"),
    "a choice": ("sipmi call --wire json", "sipmi call --wire jsonrpc"),
    "a server": ("sipmi call back", "sipmi call backup"),
    "a command of the server": ("sipmi call edge1 account_", "sipmi call edge1 account_show"),
    "a parameter of the command": ("sipmi call edge1 account_show use", "sipmi call edge1 account_show user::"),
    "a command with its module": ("sipmi call edge1 get_stat", "sipmi call edge1 get_statistics"),
    "a statistic after a colon": ("sipmi watch edge1 mi_datagram:bytes_i", "sipmi watch edge1 mi_datagram:bytes_in"),
    "a file": ("sipmi serve applica", "sipmi serve application.py"),
}


def installed(shell: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    return shell


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_in_a_real_shell(shell: str, env: dict[str, str], tmp_path: Path) -> None:
    program, set_up = SHELLS[installed(shell)]
    with Terminal(program=program, env=env, cwd=str(tmp_path), columns=120) as terminal:
        terminal.send(set_up + "\r", "echo rea''dy\r")
        terminal.wait_for("ready")
        for typed, completed in LINES.values():
            terminal.send("ctrl-u", "clear\r")
            terminal.wait_for(lambda text: text.strip() in ("$", "$ "))
            terminal.send(typed, "tab")
            terminal.wait_for(lambda text, wanted=completed: wanted in text.splitlines()[0])


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_choices_are_listed_with_their_meanings(shell: str, env: dict[str, str]) -> None:
    program, set_up = SHELLS[installed(shell)]
    with Terminal(program=program, env=env, columns=120) as terminal:
        terminal.send(set_up + "\r", "echo rea''dy\r")
        terminal.wait_for("ready")
        terminal.send("sipmi ", "tab")
        terminal.wait_for("call a command and print its value")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_free_of_mistakes(shell: str) -> None:
    script = SCRIPTS[shell]
    done = subprocess.run(
        [installed(shell), "-n"], input=script, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def complete(*words: str, **env: str) -> list[str]:
    command = [sys.executable, "-m", "sipmi", "__complete", "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=env)
    assert done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


def test_words_are_completed_where_they_stand(env: dict[str, str]) -> None:
    assert {"call", "fifo", "shell", "top"} <= set(complete("", **env))
    assert complete("call", "", **env) == ["edge1", "backup"]
    assert complete("call", "u", **env) == ["udp:", "unix:"]
    assert complete("top", "edge", **env) == ["edge1"]
    assert complete("call", "edge1", "--json", "account", **env) == ["account_show"]
    assert complete("call", "--timeout", "", **env) == []
    assert complete("call", "edge1", "account_show", "user::a", "", **env) == ["domain::"]
    assert complete("call", "account", SIPMI_ADDRESS="edge1", **env) == ["account_show"]
    # A server's own command takes names without their group; `watch` takes group:name.
    assert {"core:", "load:", "mi_datagram:"} <= set(complete("call", "edge1", "get_statistics", "", **env))
    assert complete("call", "edge1", "get_statistics", "rcv_", **env) == ["rcv_requests"]
    assert complete("watch", "edge1", "core:rcv_", **env) == ["core:rcv_requests"]
    assert complete("call", "--", "--", **env) == []
    assert complete("events", "edge1", "E_ACC", **env) == ["E_ACCOUNT_SHOWN"]
    assert complete("irq", "s", **env) == ["show", "set"]
    assert complete("irq", "top", "--device", "l", **env)[:1] == ["lo"]
    assert complete("nosuch", "", **env) == []


def test_a_server_that_is_not_there_completes_to_nothing(env: dict[str, str]) -> None:
    assert complete("call", "backup", "acc", **env) == []
    assert complete("call", "", SIPMI_CONFIG="/proc/self/mem", **env) == []


def test_the_command_line_reads_only_the_public_parts_of_argparse() -> None:
    private = re.compile(r"\bargparse\._|\bparser\._|\baction\._")
    root = Path(__file__).parent.parent.parent
    files = [*root.glob("python/sipmi/cli/**/*.py"), root / "tools" / "shipped.py"]
    assert [str(path) for path in files if private.search(path.read_text())] == []
