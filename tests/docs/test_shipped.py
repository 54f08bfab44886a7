"""The files that the wheel ships beside Python are up to date and readable."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from shipped import SHARE, page, shipped
from sipmi.cli import make_parser
from sipmi.cli.ending import ERROR_ANSWER, INTERRUPTED, OK, TIMEOUT, TRANSPORT, USAGE

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
    def check(parser: object) -> None:
        for action in parser._actions:  # type: ignore[attr-defined]
            if action.choices and hasattr(action.choices, "values"):
                for nested in action.choices.values():
                    assert nested.description, nested.prog
                    check(nested)
            else:
                assert action.help, (parser.prog, action.dest)  # type: ignore[attr-defined]

    check(make_parser())
