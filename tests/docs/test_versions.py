"""The versions of Python that the package names are those that the tests run on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pythons

ROOT = Path(__file__).parent.parent.parent


def test_classifiers_name_the_tested_versions_and_no_others() -> None:
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert named == list(pythons.SUPPORTED)
    ci = (ROOT / ".ci" / "run").read_text()
    assert " ".join(pythons.SUPPORTED) in ci


def test_a_version_that_is_asked_for_and_missing_fails_with_its_name() -> None:
    command = [sys.executable, ROOT / "tools" / "pythons.py", "no.whl", "3.99"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "Python 3.99: missing: neither pyenv, uv nor PATH has it\n")


def test_an_interpreter_of_another_version_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python3.98").symlink_to(sys.executable)
    (tmp_path / "python3.97").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3.97").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pythons.find("3.98") is None
    assert pythons.find("3.97") is None
    running = "{}.{}".format(*sys.version_info)
    (tmp_path / f"python{running}").symlink_to(sys.executable)
    assert pythons.find(running) is not None
