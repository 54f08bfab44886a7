"""Runs the tests on several versions of Python, with one wheel, each in an environment of its own.

`python tools/pythons.py WHEEL [VERSION ...] [--install] [-- ARGUMENTS OF PYTEST]`. Without versions it runs on each
supported version that pyenv, uv or PATH has. With versions, a missing one is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
ENVIRONMENTS = ROOT / "target" / "pythons"
#: The classifiers of the package name the same versions.
SUPPORTED = ("3.9", "3.11", "3.13")


def candidates(version: str) -> Iterator[Path]:
    """Yield programs that may be an interpreter of a version: of pyenv, of uv, on PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted(pyenv.glob(f"versions/{version}.*"), reverse=True):
        yield folder / "bin" / "python"
    if shutil.which("uv"):
        done = subprocess.run(["uv", "python", "find", version], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            yield Path(done.stdout.strip())
    for name in (f"python{version}", "python3"):
        on_path = shutil.which(name)
        if on_path:
            yield Path(on_path)


def is_version(program: Path, version: str) -> bool:
    """Run an interpreter and compare its version; a shim of pyenv may be on PATH and not run."""
    code = "import sys, venv; print('{}.{}'.format(*sys.version_info))"
    try:
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.strip() == version


def find(version: str) -> Optional[Path]:
    """Return an interpreter of a version, or None."""
    return next((program for program in candidates(version) if is_version(program, version)), None)


def install(version: str) -> None:
    """Install a version with the first program that can; the caller looks whether it came."""
    for command in (
        ["pyenv", "install", "--skip-existing", version],
        ["uv", "python", "install", version],
        ["apt-get", "install", "-y", "-qq", f"python{version}", f"python{version}-venv"],
    ):
        if shutil.which(command[0]):
            print(f"Python {version} is missing: {' '.join(command)}", flush=True)
            if subprocess.run(command, check=False).returncode == 0 and find(version):
                return


def environment(version: str, program: Path, wheel: Path) -> Path:
    """Make or update the environment of a version, and return its interpreter."""
    home = ENVIRONMENTS / version
    python = home / "bin" / "python"
    stamp = home / "requirements"
    wanted = f"{program} {hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()}"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([program, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel]
    subprocess.run(pip, check=True)
    return python


def run(python: Path, arguments: list[str]) -> bool:
    """Run the tests with an interpreter, and return whether they passed."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--dist", "loadfile", "--ignore", "tests/real"]
    return subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Run the tests on each version, and print which ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("versions", nargs="*", help="a missing one is an error")
    parser.add_argument("--install", action="store_true", help="install a missing version with pyenv, uv or apt-get")
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, arguments = parser.parse_args(sys.argv[1:end]), sys.argv[end + 1 :]
    outcomes: dict[str, str] = {}
    for version in own.versions or SUPPORTED:
        program = find(version)
        if program is None and own.install:
            install(version)
            program = find(version)
        if program is None:
            outcomes[version] = "missing: neither pyenv, uv nor PATH has it"
            continue
        began = time.monotonic()
        print(f"== Python {version}: {program}", flush=True)
        passed = run(environment(version, program, own.wheel.resolve()), arguments)
        outcomes[version] = f"{'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s, {program}"
    for version, outcome in outcomes.items():
        print(f"Python {version}: {outcome}")
    ran = [outcome for outcome in outcomes.values() if not outcome.startswith("missing")]
    failed = not ran or any(outcome.startswith("FAILED") for outcome in ran)
    return int(failed or (bool(own.versions) and len(ran) < len(outcomes)))


if __name__ == "__main__":
    sys.exit(main())
