"""The packages as their users get them: what is in the wheel, and that it works in a clean environment with each extra.

The wheel was built from the source distribution, so that is whole.

`make packages` builds them and runs this. Not a part of `make test`: it downloads what the extras need.
"""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import subprocess
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("SIPMI_PACKAGES", Path(__file__).parent.parent / "target/packages"))
[WHEEL] = FOLDER.glob("sipmi-*.whl")
[SDIST] = FOLDER.glob("sipmi-*.tar.gz")

#: A script for each extra that uses the extra's package.
USES = {
    "cli": "from sipmi.cli.commands._prompt import Prompt; from sipmi.cli.commands._screen import Live",
    "notebook": "import pandas, anywidget; from sipmi.statistics import _frames; _frames.import_pandas()",
    "metrics": "import sipmi.exporter, prometheus_client",
    "fleet": "import sipmi, yaml, dns.resolver; sipmi.Fleet",
    "dask": "import sipmi; from dask.distributed import Client; sipmi.Fleet",
    "all": "import sipmi, prompt_toolkit, pandas, prometheus_client, yaml; from dask.distributed import Client",
}

#: A program as users write it; it is checked as strictly as they may.
PROGRAM = """
import sipmi

server = sipmi.Server("billing")


@server.command(read_only=True)
def credit(user: str) -> float:
    return 2.5


def report(address: str) -> dict[str, float]:
    with sipmi.connect(address, timeout=2.0) as mi:
        reading = mi.statistics("core:")
        return {name: value / 2 for name, value in reading.items()}


print(report("udp:127.0.0.1:8080"), server.addresses)
"""


def metadata() -> email.message.Message:
    with zipfile.ZipFile(WHEEL) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(wheel.read(name).decode())


EXTRAS = metadata().get_all("Provides-Extra") or []


class Environment:
    """A virtual environment with the wheel and nothing else."""

    def __init__(self, path: Path, extra: str = "") -> None:
        venv.create(path, with_pip=True)
        self.python = path / "bin" / "python"
        self.path = path
        self.run("-m", "pip", "install", "--quiet", f"{WHEEL}[{extra}]" if extra else str(WHEEL))

    def run(self, *arguments: str, code: int = 0) -> str:
        """Return the output of a command on both streams."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SIPMI", "VIRTUAL"))
        }
        done = subprocess.run(
            [self.python, *arguments], capture_output=True, text=True, check=False, env=clean, cwd=self.path
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def serve(self) -> tuple[subprocess.Popen[str], str]:
        """A server of this environment, and its address."""
        app = self.path / "app.py"
        app.write_text("import sipmi\nserver = sipmi.Server('app')\n")
        command = [self.path / "bin" / "sipmi", "serve", app, "--listen", "udp:127.0.0.1:0"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        return child, child.stdout.readline().split()[-1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def address(plain: Environment) -> Iterator[str]:
    child, address = plain.serve()
    yield address
    child.terminate()
    child.communicate(timeout=20)
    assert child.returncode == 0


def test_the_wheel_has_what_belongs_into_it() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        names = set(wheel.namelist())
    tail = {re.sub(r"^sipmi-[^/]*\.(data|dist-info)/", "", name) for name in names}
    assert {"licenses/LICENSE-MIT", "licenses/LICENSE-APACHE", "sipmi/py.typed", "sipmi/_core.pyi"} <= tail
    shells = {"bash-completion/completions/sipmi", "zsh/site-functions/_sipmi", "fish/vendor_completions.d/sipmi.fish"}
    assert {f"data/share/{name}" for name in (*shells, "man/man1/sipmi.1")} <= tail
    assert "abi3" in WHEEL.name, "one wheel is for every Python from 3.9 on"
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]


def test_the_metadata_says_what_is_needed() -> None:
    said = metadata()
    assert said["License-Expression"] == "MIT OR Apache-2.0"
    assert said["Requires-Python"] == ">=3.9"
    assert set(said.get_all("License-File") or []) == {"LICENSE-MIT", "LICENSE-APACHE"}
    assert said["Summary"]
    assert said["Description-Content-Type"].startswith("text/markdown")
    needed = [line for line in said.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert needed == [], "nothing is needed at run time"
    assert set(EXTRAS) == set(USES)


def test_the_source_distribution_has_all_files_and_no_others() -> None:
    with tarfile.open(SDIST) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE",
            "src/lib.rs", "python/sipmi/__init__.py", "sipmi.data/data/share/man/man1/sipmi.1"} <= names  # fmt: skip
    assert not [name for name in names if name.endswith((".so", ".pyc")) or name.startswith((".", "target"))]


def test_a_plain_installation_calls_and_serves(plain: Environment, address: str) -> None:
    assert plain.run("-c", "import sipmi; print(sipmi.__version__)") == f"{metadata()['Version']}\n"
    assert "sipmi" in plain.run("-m", "sipmi", "call", address, "version")
    assert "IRQ" in plain.run("-m", "sipmi", "irq", "show")
    assert "Statistics Not Found: nosuch:" in plain.run(
        "-m", "sipmi", "watch", address, "nosuch:", "--count", "1", code=1
    )
    assert (plain.path / "share/man/man1/sipmi.1").exists()
    listed = plain.run("-m", "pip", "list", "--format", "freeze").split()
    assert {line.partition("==")[0] for line in listed} <= {"sipmi", "pip", "setuptools"}


@pytest.mark.parametrize("extra", sorted(USES))
def test_an_extra_installs_the_packages_that_its_feature_needs(extra: str, tmp_path: Path, address: str) -> None:
    environment = Environment(tmp_path / "env", extra)
    environment.run("-W", "error", "-c", USES[extra])
    assert "sipmi" in environment.run("-m", "sipmi", "call", address, "version")


def test_a_program_of_a_user_is_type_checked_strictly(plain: Environment, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    plain.run("-m", "pip", "install", "--quiet", "mypy", "basedpyright")
    assert "no issues" in plain.run("-m", "mypy", "--strict", str(program))
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    checked = plain.run(
        "-m", "basedpyright", "--project", str(tmp_path), "--pythonpath", str(plain.python), str(program)
    )
    assert "0 errors" in checked
