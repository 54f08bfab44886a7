"""The kind and the unit of the statistics of OpenSIPS and sipmi."""

from __future__ import annotations

import functools
from typing import NamedTuple

from .._core import statistic_meaning

#: It only grows, until it is reset or the server restarts.
COUNTER = "counter"
#: It shows a state, and goes up and down.
GAUGE = "gauge"
#: Neither the table nor the server tells.
UNKNOWN = "unknown"


class Meaning(NamedTuple):
    """How to read a statistic."""

    kind: str
    """"counter", "gauge" or "unknown"."""
    unit: str
    """"bytes", "seconds", "percent", or what is counted: "requests"; "" when it is not known."""


@functools.lru_cache(maxsize=4096)
def meaning_of(full_name: str) -> Meaning:
    """Return the kind and the unit of the statistic ``group:name``.

    >>> meaning_of("shmem:used_size")
    Meaning(kind='gauge', unit='bytes')
    >>> meaning_of("billing:sub_adds")
    Meaning(kind='unknown', unit='')
    """
    found = statistic_meaning(full_name)
    return Meaning(UNKNOWN, "") if found is None else Meaning(*found)
