"""`sipmi shell` in a real terminal."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sipmi
from terminal import Terminal


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = sipmi.Server("billing", version="1.4")

    @server.command(read_only=True)
    def account_show(user: str, domain: str = "example.org") -> dict:
        """Show an account."""
        return {"aor": f"sip:{user}@{domain}"}

    @server.command
    def account_reload() -> str:
        """Read all accounts again."""
        return "42 accounts"

    server.listen("udp:127.0.0.1:0")
    with server:
        yield server.addresses[0]


@pytest.fixture
def env(tmp_path: Path, address: str) -> dict[str, str]:
    (tmp_path / "sipmi.toml").write_text(f'[servers]\nedge1 = "{address}"\nother = "{address}"\n')
    return {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}


def test_a_session_completes_explains_calls_and_remembers(env: dict[str, str], tmp_path: Path) -> None:
    with Terminal("shell", "edge1", env=env) as terminal:
        terminal.wait_for("edge1 >")
        assert "sipmi " in terminal.text
        # A part of the name is enough; the menu says what reloads.
        terminal.send("_rel")
        terminal.wait_for("account_reload")
        terminal.wait_for("reloads what the server")
        terminal.send("ctrl-u", "account_sh")
        terminal.wait_for("account_show")
        terminal.send("tab", " ")
        terminal.wait_for("account_show user [domain]")
        terminal.wait_for("Show an account.")
        terminal.send("us")
        terminal.wait_for("user::")
        terminal.send("tab", "alice\r")
        terminal.wait_for('"aor": "sip:alice@example.org"')
        # An error of the server is one line with a hint, and the prompt returns.
        terminal.send("nosuch\r")
        terminal.wait_for("Method not found")
        # Values go to other programs.
        terminal.send("account_show bob | tr a-z A-Z\r")
        terminal.wait_for("SIP:BOB@EXAMPLE.ORG")
        terminal.send("? account_show\r")
        terminal.wait_for("account_show user domain")
        terminal.send(".json\r", "account_show eve\r")
        terminal.wait_for('{"aor":"sip:eve@example.org"}')
        terminal.send(".servers\r")
        terminal.wait_for("* edge1")
        terminal.send(".use other\r")
        terminal.wait_for("other >")
        terminal.send(".nosuch\r")
        terminal.wait_for("nothing is done by .nosuch")
        # Ctrl-C begins a new line, Ctrl-D ends the session.
        terminal.send("unfinished")
        terminal.wait_for("other > unfinished")
        terminal.send("ctrl-c")
        terminal.wait_for(lambda text: re.search(r"other > unfinished\s+other >", text) is not None)
        terminal.send("ctrl-d")
        assert terminal.wait() == 0
    history = tmp_path / "sipmi" / "history"
    assert "account_show bob | tr a-z A-Z" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
    with Terminal("shell", "edge1", env=env) as terminal:
        terminal.wait_for("edge1 >")
        terminal.send("account_show b")
        terminal.wait_for("account_show bob | tr a-z A-Z")  # suggested, in grey
        terminal.send("right", "\r")
        terminal.wait_for("SIP:BOB@EXAMPLE.ORG")


def test_a_shell_asks_before_commands_that_cannot_be_undone(env: dict[str, str]) -> None:
    with Terminal("shell", "edge1", env=env) as terminal:
        terminal.wait_for("edge1 >")
        terminal.send("account_reload\r")
        terminal.wait_for("Go on? [y/N]")
        terminal.send("n\r")
        terminal.wait_for("was not sent")
        terminal.send("account_reload\r")
        terminal.wait_for(lambda text: text.count("Go on? [y/N]") == 2)
        terminal.send("y\r")
        terminal.wait_for("42 accounts")
        terminal.send(".quit\r")
        assert terminal.wait() == 0


def test_a_server_that_is_not_there_is_told_and_the_prompt_comes(env: dict[str, str]) -> None:
    with Terminal("shell", "udp:127.0.0.1:9", env=env) as terminal:
        terminal.wait_for("connection refused")
        terminal.send(".use edge1\r", "account_show alice\r")
        terminal.wait_for("sip:alice@example.org")


def test_without_a_terminal_lines_are_read(address: str) -> None:
    command = [sys.executable, "-m", "sipmi", "shell", address, "--json"]
    done = subprocess.run(
        command, input="account_show alice\n", capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"aor":"sip:alice@example.org"}\n', "")


def test_missing_packages_are_named(env: dict[str, str]) -> None:
    hide = "import sys; sys.modules['prompt_toolkit'] = None; from sipmi.cli import main; sys.exit(main())"
    for subcommand in ("shell", "top"):
        with Terminal("-c", hide, subcommand, "edge1", program=[sys.executable], env=env) as terminal:
            assert terminal.wait() == 1
            assert "needs prompt_toolkit, which is not installed" in terminal.text
            assert "hint: pip install 'sipmi[cli]'" in terminal.text
