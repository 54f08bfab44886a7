"""`sipmi top` and `sipmi watch`: the statistics of a live server, on a screen and line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipmi.cli.commands._board import Board
from sipmi.statistics import Meaning, Sample, Value
from sipmi.testing import FakeOpenSIPS
from terminal import Terminal


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenSIPS]:
    with FakeOpenSIPS("3.4") as fake:
        yield fake


@pytest.fixture
def env(tmp_path: Path, fake: FakeOpenSIPS) -> dict[str, str]:
    (tmp_path / "sipmi.toml").write_text(f'[servers]\nedge1 = "{fake.address("udp")}"\n')
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sipmi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


# -- lines ----------------------------------------------------------------------------------------


def test_watch_prints_a_line_for_each_reading(fake: FakeOpenSIPS) -> None:
    address = fake.address("udp")
    done = run("watch", address, "core:rcv_requests", "shmem:total_size", "--count", "2")
    head, first, second = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert head.split() == ["time", "core:rcv_requests", "shmem:total_size"]
    assert first.split()[2:] == ["64.0", "MiB"]
    assert second.split()[1].endswith("/s")


def test_watch_prints_changed_statistics_where_they_do_not_fit(fake: FakeOpenSIPS) -> None:
    done = run("watch", fake.address("udp"), "core:", "--count", "2")
    assert "core:timestamp" in done.stdout
    assert all(len(line.split()) >= 3 for line in done.stdout.splitlines())


def test_watch_and_top_print_json_for_programs(fake: FakeOpenSIPS) -> None:
    for words in (["watch", fake.address("udp"), "core:rcv_requests"], ["top", fake.address("udp")]):
        done = run(*words, "--count", "2", "--json")
        first, second = map(json.loads, done.stdout.splitlines())
        assert first["rates"] == {}
        assert "core:rcv_requests" in second["values"]
        assert "core:rcv_requests" in second["rates"]
        assert second["error"] is None


def test_watch_reports_unknown_statistics_and_invalid_options(fake: FakeOpenSIPS) -> None:
    address = fake.address("udp")
    assert run("watch", address, "nosuch:", "--count", "1").returncode == 1
    assert run("watch", address).returncode == 2
    assert "in seconds from 1 to" in run("watch", address, "core:", "--interval", "0.1").stderr
    assert run("watch", "udp:127.0.0.1:9", "core:", "--count", "1").returncode == 3


def test_top_prints_a_table_where_there_is_no_screen(fake: FakeOpenSIPS) -> None:
    done = run("top", fake.address("udp"), "--only", "core:", "--count", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "STATISTIC" in done.stdout
    assert "core:rcv_requests" in done.stdout
    assert "shmem" not in done.stdout


# -- the screen -----------------------------------------------------------------------------------


def test_top_on_a_terminal_sorts_filters_pauses_and_quits(fake: FakeOpenSIPS, env: dict[str, str]) -> None:
    with Terminal("top", "edge1", env=env) as terminal:
        terminal.wait_for("core:rcv_requests")
        screen = terminal.wait_for("OpenSIPS 3.4")
        assert screen.startswith(" edge1")
        assert "q  quit" in screen.splitlines()[-1]
        fake.statistics["core:rcv_requests"] = int(fake.statistics["core:rcv_requests"]) + 5000
        terminal.wait_for(lambda text: "core:rcv_requests" in text.splitlines()[4] and "5,0" in text.splitlines()[4])
        terminal.send("s")
        terminal.wait_for("STATISTIC ▼")
        terminal.send("/", "shmem")
        terminal.wait_for(lambda text: "core:rcv" not in text and "shmem:used_size" in text)
        terminal.send("enter")
        terminal.wait_for("filter: shmem")
        terminal.send("down", "enter")
        terminal.wait_for(lambda text: re.search(r"^ shmem:\w+ \w+$", text, re.MULTILINE) is not None)  # its chart
        terminal.send("escape")
        terminal.wait_for("core:")
        terminal.send(" ")
        terminal.wait_for("PAUSED")
        terminal.send(" ")
        terminal.wait_for("every 1 s")
        terminal.send("+")
        terminal.wait_for("every 2 s")
        terminal.resize(60, 12)
        terminal.wait_for(lambda text: len(text.splitlines()) <= 12 and "quit" in text.splitlines()[-1])
        terminal.send("q")
        assert terminal.wait() == 0
    assert b"\x1b[?1049h" in terminal.output, "it draws on a screen of its own"
    assert b"\x1b[?1049l" in terminal.output, "and gives back the one that was there"


def test_ctrl_c_ends_top_with_130(env: dict[str, str]) -> None:
    with Terminal("top", "edge1", env=env) as terminal:
        terminal.wait_for("STATISTIC")
        terminal.send("ctrl-c")
        assert terminal.wait() == 130


def test_top_continues_while_no_server_answers() -> None:
    with Terminal("top", "udp:127.0.0.1:9") as terminal:
        terminal.wait_for("connection refused")
        terminal.send("q")
        assert terminal.wait() == 0


# -- the picture ----------------------------------------------------------------------------------


def sample(time: float, values: dict[str, int], before: Any = None, uptime: int = 0) -> Sample:
    kinds = {"a:count": "counter", "a:errors": "counter"}
    made = {name: Value(value, name, Meaning(kinds.get(name, "gauge"), "things")) for name, value in values.items()}
    reading = Sample(made, address="udp:h:1", time=time, uptime=uptime or int(time))
    reading.error = None
    reading.change = None if before is None else reading - before
    return reading


def drawn(board: Board, columns: int = 80, lines: int = 24) -> list[str]:
    return "".join(text for _, text in board.draw(columns, lines)).split("\n")


@pytest.mark.parametrize(("columns", "lines"), [(20, 5), (40, 10), (80, 24), (200, 60)])
def test_a_picture_is_as_large_as_its_screen(columns: int, lines: int) -> None:
    board = Board("edge1", 1.0)
    first = sample(100.0, {f"group:{'long' * 8}_{number}": number for number in range(100)})
    for one in (first, sample(101.0, {name: int(value) + 1 for name, value in first.items()}, first)):
        board.take(one)
    for shows_chart in (False, True):
        board.shows_chart = shows_chart
        board.move(0)
        picture = drawn(board, columns, lines)
        assert max(map(len, picture)) <= columns
        assert len(picture) <= max(lines, 12)


def test_counters_that_move_come_first_and_a_restart_is_told() -> None:
    board = Board("edge1", 1.0)
    first = sample(100.0, {"a:gauge": 5, "a:count": 10, "a:errors": 0, "a:still": 1})
    second = sample(101.0, {"a:gauge": 900, "a:count": 30, "a:errors": 40, "a:still": 1}, first)
    board.take(first)
    board.take(second)
    assert [row.name for row in board.shown()] == ["a:errors", "a:count", "a:gauge", "a:still"]
    board.hides_idle = True
    assert "a:still" not in {row.name for row in board.shown()}
    assert any(style.startswith("class:trouble") and "errors" in text for style, text in board.draw(80, 24))
    board.take(sample(102.0, {"a:count": 1}, second, uptime=1))
    assert "began again" in drawn(board, 120)[1]


def test_samples_that_arrive_during_a_pause_are_shown_afterwards() -> None:
    board = Board("edge1", 1.0)
    board.take(sample(100.0, {"a:gauge": 1}))
    board.pause()
    board.take(sample(101.0, {"a:gauge": 2}))
    assert board.rows["a:gauge"].value == 1
    board.pause()
    assert list(board.rows["a:gauge"].values) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["call", "uptime", "--timeout", "nan"],
            "expected --timeout of more than 0 seconds and at most 1e+09, got nan",
        ),
        (["call", "uptime", "--receive-buf-size", "-1"], "expected --receive-buf-size from 1 to 2147483648, got -1"),
        (["watch", "core:", "--interval", "0"], "expected --interval in seconds from 1 to 1e+09, got 0.0"),
        (["events", "E_X", "--count", "0"], "argument --count: expected a number from 1, got 0"),
        (["events", "E_X", "--duration", "-1"], "expected --duration in seconds from 0 to 1e+09, got -1.0"),
    ],
)
def test_a_refused_number_names_the_option_of_the_command_line(words: list[str], message: str) -> None:
    done = run(words[0], "http://127.0.0.1:9/mi", *words[1:])
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"sipmi: {message}")
