"""Servers by name, standard input, and questions: what a shell knows before anything is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sipmi
from sipmi.cli.ending import Usage
from sipmi.cli.servers import parse_servers
from terminal import Terminal


class Home:
    """A home directory with a file of servers, and servers in it."""

    def __init__(self, path: Path, address: str) -> None:
        self.address = address
        self.file = path / "sipmi.toml"
        self.env = {"XDG_CONFIG_HOME": str(path), "XDG_STATE_HOME": str(path), "HOME": str(path)}

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def run(self, *arguments: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SIPMI")}
        done = subprocess.run(
            [sys.executable, "-m", "sipmi", *arguments],
            input=stdin,
            capture_output=True,
            timeout=30,
            check=False,
            env={**clean, **self.env, **env},
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = sipmi.Server("billing")
    gone: list[str] = []

    @server.command
    def hello(name: str = "world") -> str:
        return f"hello {name}"

    @server.command
    def dlg_end_dlg(dialog_id: str) -> str:
        gone.append(dialog_id)
        return f"ended {len(gone)}"

    @server.command
    def nothing() -> None:
        raise sipmi.Fault(404, "Nothing here")

    server.listen("udp:127.0.0.1:0")
    with server:
        yield server.addresses[0]


@pytest.fixture
def home(tmp_path: Path, address: str) -> Home:
    home = Home(tmp_path, address)
    home.write(f'default = "edge1"\n[servers]\nedge1 = "{address}"\n[servers.dead]\naddress = "udp:127.0.0.1:9"\n')
    return home


# -- names ----------------------------------------------------------------------------------------


def test_a_server_is_called_by_its_name_by_the_variable_and_by_default(home: Home) -> None:
    assert home.run("call", "edge1", "hello", "bob").stdout == "hello bob\n"
    assert home.run("call", "hello", "bob").stdout == "hello bob\n"
    assert home.run("call", "hello", SIPMI_ADDRESS="dead").returncode == 3
    assert home.run("call", "dead", "hello").returncode == 3
    home.write("")
    assert home.run("call", "hello", SIPMI_ADDRESS=home.address).stdout == "hello world\n"


def test_an_unknown_name_gets_a_hint(home: Home) -> None:
    home.write(f'[servers]\nedge1 = "{home.address}"\n')
    done = home.run("call", "edge2", "hello")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"sipmi: 'edge2' is neither an address nor a server in {home.file}\nhint: did you mean edge1?\n"
    )
    home.file.unlink()
    assert "hint: an address begins with fifo:, udp:" in home.run("call", "edge2", "hello").stderr


def test_options_in_the_file_count_unless_the_command_line_says_otherwise(home: Home) -> None:
    home.write(f'[servers.edge1]\naddress = "{home.address}"\nwire = "text"\ntimeout = 0.5\n')
    assert home.run("call", "edge1", "hello").stdout == "hello world\n"
    home.write(f'[servers.edge1]\naddress = "{home.address}"\nwire = "xmlrpc"\n')
    assert home.run("call", "edge1", "hello").returncode == 2
    assert home.run("call", "edge1", "hello", "--wire", "text").stdout == "hello world\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("servers = 1", "expected a table of servers"),
        ("[server]", "expected default and servers, found 'server'"),
        ("[servers]\na = 1", "servers.a: expected an address"),
        ("[servers]\na = 'nowhere'", "servers.a: expected an address as udp:"),
        ("[servers.a]\naddress = 'udp:h:1'\ntimout = 1", "servers.a: nothing is called 'timout'"),
        ("[servers.a]\naddress = 'udp:h:1'\ntimeout = '1'", "servers.a.timeout: expected int or float, found str"),
        ("[servers.a]\naddress = 'udp:h:1'\ntimeout = true", "servers.a.timeout: expected int or float, found bool"),
        ("default = 'b'\n[servers]\na = 'udp:h:1'", "expected the name of one of its servers as default, found 'b'"),
        ("[servers.a]\naddress = 'http://h/mi'\ntoken = {url = 'x'}", "servers.a.token: expected a secret, or {env ="),
        ("[servers.a]\naddress = 'http://h/mi'\nauth = 'ann'", 'servers.a.auth: expected "user:password" or'),
        ("[servers.a]\naddress = 'udp:h:1'\ntags = 'eu'", "servers.a.tags: expected a list of words"),
        ("[servers\na = 1", "line 1"),
    ],
)
def test_a_file_that_says_something_else_is_told_where(text: str, complaint: str) -> None:
    with pytest.raises(Usage) as caught:
        parse_servers(text, Path("/etc/sipmi.toml"))
    assert str(caught.value).startswith("/etc/sipmi.toml: ")
    assert complaint in str(caught.value)


def test_certificates_are_looked_for_beside_the_file() -> None:
    text = "[servers.a]\naddress = 'https://h/mi'\ncafile = 'ca.pem'\ncert = '/c.pem'"
    options = parse_servers(text, Path("/etc/sipmi.toml")).targets["a"].options
    assert options == {"cafile": "/etc/ca.pem", "cert": "/c.pem"}


def test_secrets_may_be_elsewhere() -> None:
    text = (
        "[servers.a]\naddress = 'http://h/mi'\ntoken = {env = 'MI_TOKEN'}\n"
        "[servers.b]\naddress = 'http://h/mi'\nauth = ['ann', {file = '/run/secrets/mi'}]\n"
        "[servers.c]\naddress = 'http://h/mi'\nauth = 'ann:pass:word'\n"
    )
    targets = parse_servers(text, Path("/etc/sipmi.toml")).targets
    assert targets["a"].options["token"] == sipmi.Secret.env("MI_TOKEN")
    assert targets["b"].options["auth"] == ("ann", sipmi.Secret.file("/run/secrets/mi"))
    assert targets["c"].options["auth"] == ("ann", "pass:word")


# -- standard input -------------------------------------------------------------------------------


def test_a_dash_is_standard_input(home: Home) -> None:
    assert home.run("call", "hello", "-", stdin=b"a  b\n").stdout == "hello a  b\n"
    assert home.run("call", "hello", "name::-", stdin=b"x::y").stdout == "hello x::y\n"
    assert home.run("call", "hello", "-", stdin=b"x::y").stdout == "hello x::y\n"
    assert home.run("call", "hello", "::-", stdin=b"no").stdout == "hello -\n"
    assert home.run("call", "hello", "-", "-", stdin=b"no").returncode == 2


def test_lines_of_standard_input_are_calls(home: Home) -> None:
    lines = b"hello 'a b'\n\n# a remark\nnothing\nhello never\n"
    done = home.run("call", "-", "--json", stdin=lines)
    assert (done.returncode, done.stdout) == (1, '"hello a b"\n')
    assert done.stderr.count("\n") == 1
    done = home.run("call", "edge1", "-", "--keep-going", stdin=lines)
    assert (done.returncode, done.stdout) == (1, "hello a b\nhello never\n")
    assert home.run("call", "-", stdin=b"hello 'a\n").returncode == 2


# -- questions ------------------------------------------------------------------------------------


def test_a_terminal_is_asked_before_calls_are_ended(home: Home) -> None:
    with Terminal("call", "dlg_end_dlg", "1", env=home.env) as terminal:
        terminal.wait_for("dlg_end_dlg ends calls, at edge1. Go on? [y/N]")
        terminal.send("\r")
        assert terminal.wait() == 1
        assert "was not sent" in terminal.text
    with Terminal("call", "dlg_end_dlg", "1", env=home.env) as terminal:
        terminal.wait_for("Go on?")
        terminal.send("y\r")
        assert terminal.wait() == 0
        assert "ended 1" in terminal.text
    with Terminal("call", "dlg_end_dlg", "1", "--yes", env=home.env) as terminal:
        assert terminal.wait() == 0
        assert "Go on?" not in terminal.text
    assert json.loads(home.run("call", "dlg_end_dlg", "1", "--json").stdout) == "ended 3"


# -- colour ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals_that_want_it(home: Home, env: dict[str, str], coloured: bool) -> None:
    with Terminal("call", "which", "hello", env={**home.env, **env}) as terminal:
        assert terminal.wait() == 0
    assert (b"\x1b[" in terminal.output) is coloured
    with Terminal("call", "nosuch", env={**home.env, **env}) as terminal:
        assert terminal.wait() == 1
    assert (b"\x1b[1;31msipmi:" in terminal.output) is coloured
    assert "\x1b" not in home.run("call", "which", "hello", **env).stdout
