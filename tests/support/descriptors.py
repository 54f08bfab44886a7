"""What this process has open, each by what it leads to: the number alone moves when old ones are collected."""

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
