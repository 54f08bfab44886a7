"""The examples in docstrings and in `docs/affinity.md` run, and the C names lead to what does them."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import sipmi
from affinity_fixtures import hosts
from sipmi import affinity

GUIDE = Path(__file__).parents[2] / "docs" / "affinity.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_the_examples_of_the_module_run() -> None:
    names = [found.name for found in pkgutil.iter_modules(affinity.__path__)]
    modules = [affinity, *(importlib.import_module(f"sipmi.affinity.{name}") for name in names)]
    results = [doctest.testmod(module, extraglobs=vars(affinity), optionflags=doctest.ELLIPSIS) for module in modules]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 10


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_the_snippets_of_the_guide_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    machine = str(hosts.build("612", tmp_path / "machine"))
    host = affinity.Host(root=machine)
    names = {
        "sipmi": sipmi,
        "host": host,
        "Host": lambda root=machine: affinity.Host(root=root),
        "CpuSet": affinity.CpuSet,
    }
    # The guide's own import would bring the live machine; the snippets are run on a captured one.
    source = SNIPPETS[number].replace("from sipmi.affinity import CpuSet, Host\n", "")
    exec(compile(source, f"{GUIDE.name} snippet {number}", "exec"), names)


@pytest.mark.parametrize(
    ("c_name", "thing"),
    [
        ("CPU_ZERO", affinity.CpuSet),
        ("CPU_SET", affinity.CpuSet),
        ("CPU_ISSET", affinity.CpuSet),
        ("sched_setaffinity", affinity.set_thread_affinity),
        ("sched_setaffinity", affinity.HostProcess.set_affinity),
        ("CPU_ZERO", affinity.HostProcess.set_affinity),
        ("sched_getaffinity", affinity.thread_affinity),
        ("sched_getaffinity", affinity.HostProcess.affinity),
        ("taskset", affinity.Host.run),
        ("smp_affinity_list", affinity.Irq.set_affinity),
        ("effective_affinity", affinity.Irq.effective),
        ("udevadm", affinity.Device.chain),
    ],
)
def test_a_c_or_kernel_name_is_in_the_docstring_of_its_function(c_name: str, thing: object) -> None:
    assert c_name in (inspect.getdoc(thing) or "")


def test_everything_public_has_a_docstring() -> None:
    for name in affinity.__all__:
        thing = getattr(affinity, name)
        assert inspect.getdoc(thing), name
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            if not member.startswith("_"):
                assert inspect.getdoc(value), f"{name}.{member}"
