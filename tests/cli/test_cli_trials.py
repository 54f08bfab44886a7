"""The first commands of a newcomer: `fake`, `health`, `commands`, `explain`, `diff`, `uac`, `console`, `cert`; `-o`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import sipmi
from ports import free_port
from sipmi.cli import main
from sipmi.testing import FakeOpenSIPS
from waiting import eventually


@contextlib.contextmanager
def running(*words: str) -> Iterator[list[str]]:
    """Run a subcommand that serves; the words of its first line. Ctrl-C ends it with 0."""
    command = [sys.executable, "-m", "sipmi", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        try:
            yield line.split()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenSIPS]:
    with FakeOpenSIPS("4.0") as opensips:
        opensips.usrloc.add("alice@example.org", "sip:alice@192.0.2.1", q=0.5)
        opensips.tm.answers["OPTIONS"] = "200 OK"
        yield opensips


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(list(words)) == code, capsys.readouterr().err
    return capsys.readouterr().out


def test_sipmi_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys).startswith("usage: sipmi SUBCOMMAND")


@pytest.mark.parametrize("version", ["1.11", "4.0"])
def test_a_fake_serves_users_and_calls_that_come_and_go(version: str) -> None:
    port = free_port()
    address = f"udp:127.0.0.1:{port}"
    with running("fake", version, "--listen", address, "--users", "30", "--calls", "4", "--traffic") as words:
        assert words == ["serving", "opensips", "at", address]
        with sipmi.connect(address, timeout=20) as mi:
            first = mi.statistics("usrloc:registered_users", "dialog:active_dialogs", "core:rcv_requests")
            assert (first["usrloc:registered_users"], first["dialog:active_dialogs"]) == (30, 4)
            eventually(lambda: mi.statistics("core:rcv_requests")["core:rcv_requests"] > first["core:rcv_requests"])


def test_a_fake_where_another_server_is_says_so() -> None:
    with FakeOpenSIPS("4.0", listen="udp:127.0.0.1:0") as other:
        command = [sys.executable, "-m", "sipmi", "fake", "4.0", "--listen", other.addresses[0]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    assert "--listen" in done.stderr


def test_health_is_an_exit_code(fake: FakeOpenSIPS, capsys: pytest.CaptureFixture[str]) -> None:
    address = fake.address("udp")
    assert said(capsys, "health", address).startswith(f"{address}: ok, 4.0.1 over jsonrpc, ")
    healthy = json.loads(said(capsys, "health", address, "--json"))
    assert (healthy["ok"], healthy["generation"]) == (True, "4.x")
    gone = f"http://127.0.0.1:{free_port()}/mi"
    assert main(["health", gone]) == 3
    capsys.readouterr()
    assert json.loads(said(capsys, "health", gone, "--json", code=3))["ok"] is False


def test_commands_are_listed_by_any_of_their_names(fake: FakeOpenSIPS, capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(capsys, "commands", fake.address("udp"), "ul_*", "--no-help")
    assert "usrloc:show_contact(table_name, aor)" in listed
    assert "dlg_list" not in listed
    assert main(["commands", fake.address("udp"), "nosuch*"]) == 1


def test_explain_knows_a_command_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "explain", "dlg_end_dlg").splitlines() == [
        "dlg_end_dlg, dialog:end_dlg from 4.0 on (module dialog)",
        "  in OpenSIPS 1.8, 1.11, 2.4, 3.2, 3.4, 3.6, 4.0, 4.1",
        "  takes dialog_id",
        "  takes dialog_id extra_hdrs",
        "  changes something: ends calls",
    ]
    assert json.loads(said(capsys, "explain", "usrloc:dump", "--json"))["command"] == "ul_dump"
    assert main(["explain", "ul_dmp"]) == 1
    assert "did you mean ul_dump?" in capsys.readouterr().err


def test_explain_asks_a_server_too(fake: FakeOpenSIPS, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "explain", fake.address("udp"), "ul_dump")
    assert told.endswith(f"  on {fake.address('udp')} (4.0.1): usrloc:dump(brief=None)\n")


def test_diff_compares_two_servers(fake: FakeOpenSIPS, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "diff", fake.address("udp"), fake.address("http")) == "no difference\n"
    with FakeOpenSIPS("2.4") as old:
        lines = said(capsys, "diff", old.address("udp"), fake.address("udp")).splitlines()
    assert {line[0] for line in lines} == {"-", "+", "~", "="}


@pytest.mark.parametrize("version", ["1.11", "2.4", "3.4", "4.0"])
def test_uac_sends_a_request_with_its_headers(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeOpenSIPS(version) as opensips:
        opensips.tm.answers["OPTIONS"] = "200 OK"
        opensips.tm.answers["NOTIFY"] = "481 Subscription does not exist"
        address = opensips.address("udp")
        assert said(capsys, "uac", address, "options", "sip:alice@192.0.2.1:5060") == "200 OK\n"
        assert said(capsys, "uac", address, "reboot", "sip:alice@192.0.2.1", code=1).startswith("481 ")
        assert main(["uac", address, "options", "alice"]) == 2
        assert main(["uac", address, "options", "sip:a@b", "--header", "no colon"]) == 2


def test_console_serves_the_commands_of_any_server_on_loopback(fake: FakeOpenSIPS) -> None:
    with running("console", fake.address("udp"), "--no-browser") as words:
        assert words[:2] == ["console", "of"]
        with urllib.request.urlopen(words[-1], timeout=20) as page:
            assert page.status == 200
        with sipmi.connect(words[-1].replace("/html", "/mi")) as mi:
            assert mi.call("ul_show_contact", "location", "alice@example.org")["AOR"] == "alice@example.org"


@pytest.mark.parametrize("by", ["name::value", "name=value"])
def test_a_parameter_has_its_name_before_colons_or_an_equals_sign(
    fake: FakeOpenSIPS, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    between = by[4:-5]
    words = [f"{name}{between}{value}" for name, value in (("table_name", "location"), ("aor", "alice@example.org"))]
    assert "sip:alice@192.0.2.1" in said(capsys, "call", fake.address("udp"), "ul_show_contact", *words)


def test_an_equals_sign_in_a_value_is_no_name(fake: FakeOpenSIPS, capsys: pytest.CaptureFixture[str]) -> None:
    address = fake.address("udp")
    said(capsys, "call", address, "cache_store", "local", "key", "a=b")
    assert json.loads(said(capsys, "call", address, "cache_fetch", "local", "key"))["value"] == "a=b"
    said(capsys, "call", address, "cache_store", "local", "key", "::value=b")
    assert json.loads(said(capsys, "call", address, "cache_fetch", "local", "key"))["value"] == "value=b"


def test_values_have_the_form_that_is_asked_for(fake: FakeOpenSIPS, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = pytest.importorskip("yaml")
    words = ("call", fake.address("udp"), "ps", "-o")
    processes = json.loads(said(capsys, *words, "json"))["Processes"]
    assert yaml.safe_load(said(capsys, *words, "yaml"))["Processes"] == processes
    lines = said(capsys, *words, "table").splitlines()
    assert (lines[0].split(), len(lines)) == (["ID", "PID", "Type"], 1 + len(processes))
    assert said(capsys, *words, "text").startswith("200 OK\n")
    counts = said(capsys, "call", fake.address("udp"), "get_statistics", "dialog:", "-o", "table").splitlines()
    assert counts[0].split() == ["name", "value"]


def test_a_certificate_for_trials_serves_and_is_believed(
    fake: FakeOpenSIPS, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trial.pem"
    said(capsys, "cert", "localhost", "127.0.0.1", "--file", str(file))
    assert os.stat(file).st_mode & 0o777 == 0o600
    server = sipmi.Server("web")
    server.listen("https://127.0.0.1:0", tls=str(file))
    with server, sipmi.connect(server.addresses[0], cafile=str(file)) as mi:
        assert mi.call("version")
    assert main(["cert", "localhost", "--file", str(file)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["cert", "a,b"]) == 1
