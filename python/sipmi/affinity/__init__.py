"""CPU and interrupt affinity: from a device and a server's name to a plan that is applied, verified and undone.

    >>> from sipmi.affinity import CpuSet, Host
    >>> CpuSet("0-3,8").mask
    '10f'
    >>> host = Host()                                   # Host(root="folder") reads a captured machine
    >>> host.interrupts().cpus == host.topology().online
    True

The rules are in the Rust core; this package adds what is easier said in Python. Linux only.
"""

from __future__ import annotations

import sys

if not sys.platform.startswith("linux"):
    raise ImportError(f"sipmi.affinity needs Linux: it reads /proc and /sys; this is {sys.platform}")

from .._core import (
    Applied,
    CounterSample,
    CpuSet,
    Device,
    HostProcess,
    InterruptRow,
    InterruptTable,
    Irq,
    Irqbalance,
    Outcome,
    Plan,
    Topology,
    set_thread_affinity,
    thread_affinity,
)
from ._drift import DriftCollector
from ._evidence import Evidence
from ._evidence import roles_of as roles_of
from ._evidence import shares as shares
from ._host import Cpus as Cpus
from ._host import Host
from ._host import Processes as Processes
from ._interrupts import InterruptSample, InterruptWatch

__all__ = [
    "Applied",
    "CounterSample",
    "CpuSet",
    "Device",
    "DriftCollector",
    "Evidence",
    "Host",
    "HostProcess",
    "InterruptRow",
    "InterruptSample",
    "InterruptTable",
    "InterruptWatch",
    "Irq",
    "Irqbalance",
    "Outcome",
    "Plan",
    "Topology",
    "set_thread_affinity",
    "thread_affinity",
]
