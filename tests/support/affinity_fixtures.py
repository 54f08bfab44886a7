"""Fixtures of the affinity tests: captured machines, and the state of this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("sipmi_test_hosts", HERE / "hosts" / "build.py")
assert spec is not None
assert spec.loader is not None
hosts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hosts)

IS_ROOT = os.geteuid() == 0


def irq_state() -> dict[str, str]:
    """Where every interrupt of this machine may go, and the queues' steering."""
    found = {}
    patterns = ("irq/[0-9]*/smp_affinity_list", "irq/default_smp_affinity")
    for path in [path for pattern in patterns for path in Path("/proc").glob(pattern)]:
        found[str(path)] = path.read_text()
    for path in Path("/sys/class/net").glob("*/queues/*/?ps_cpus"):
        try:
            found[str(path)] = path.read_text()
        except OSError:
            continue  # xps_cpus of a device with one queue
    return found


@contextmanager
def machine_left_as_it_was() -> Iterator[dict[str, str]]:
    """Whatever a test does, or fails to do, interrupts end where they began; a test is told if it left a trace."""
    before = irq_state()
    try:
        yield before
    finally:
        now = irq_state()
        for path, text in before.items():
            if now.get(path, text) != text:
                Path(path).write_text(text)
        assert irq_state() == before


def movable_pci_device() -> str:
    """The PCI address of a device without traffic whose interrupts can be moved: a virtio balloon or the like."""
    from sipmi.affinity import Host

    host = Host()
    busy = {host.device(name).bus for name in host.devices()}
    for path in sorted(Path("/sys/bus/pci/devices").glob("*")):
        if path.name in busy:
            continue
        irqs = [host.irq(irq) for irq in host.device(path.name).irqs]
        if irqs and all(irq.actions and not irq.managed for irq in irqs):
            return path.name
    pytest.skip("NOT RUN: this machine has no idle PCI device with interrupts that can be moved")
