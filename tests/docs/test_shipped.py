"""The files that the wheel ships beside Python are up to date and readable."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shipped import SHARE, page, shipped
from sipmi.cli import make_parser
from sipmi.cli.ending import ERROR_ANSWER, INTERRUPTED, OK, TIMEOUT, TRANSPORT, USAGE
from sipmi.cli.parser import Parser

PAGE = SHARE / "man/man1/sipmi.1"


def test_the_shipped_files_are_current() -> None:
    for path, content in shipped().items():
        assert path.read_text() == content, "run `python tools/shipped.py`"


def test_the_man_page_renders_without_warnings() -> None:
    for program in ("man", "mandoc"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True, check=False)
    assert (lint.returncode, lint.stdout) == (0, "")
    env = {**os.environ, "MANWIDTH": "90", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
    man = subprocess.run(["man", "-l", "--warnings", PAGE], capture_output=True, text=True, check=True, env=env)
    assert man.stderr == ""
    for subcommand in ("call", "fifo", "shell", "top", "watch", "serve", "irq", "pin"):
        assert f"sipmi {subcommand}" in man.stdout


def test_the_man_page_has_every_exit_code() -> None:
    section = page().partition(".SH EXIT STATUS")[2].partition(".SH")[0]
    for code in (OK, ERROR_ANSWER, USAGE, TRANSPORT, TIMEOUT, INTERRUPTED):
        assert rf"\fB{code}\fR" in section


def test_every_option_and_argument_has_a_help() -> None:
    def check(parser: Parser) -> None:
        for action in parser.actions:
            assert action.help, (parser.prog, action.dest)
        for nested in parser.subcommands.parsers.values() if parser.subcommands else ():
            assert nested.description, nested.prog
            check(nested)

    check(make_parser())


def test_the_extra_all_has_every_other_extra() -> None:
    text = (Path(__file__).parent.parent.parent / "pyproject.toml").read_text()
    section = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = dict(re.findall(r"^(\w+) = (.*)$", section, re.MULTILINE))
    everything = re.findall(r"\w+", extras.pop("all"))
    assert everything == ["sipmi", *extras]
    assert "dask" in extras
