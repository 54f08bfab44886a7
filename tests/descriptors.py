"""The descriptors of this process, each by what it leads to: their number moves when an earlier test's are collected."""

from __future__ import annotations

import contextlib
import os


def descriptors() -> set[tuple[str, str]]:
    """Number and target of every descriptor that is open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found
