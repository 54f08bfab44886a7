"""Numbers that are given as options: refused by name, with what was expected."""

from __future__ import annotations

#: The longest time in seconds. The core keeps no longer ones.
LONGEST = 1e19


def timeout(seconds: float) -> float:
    """Seconds that something may take: more than none, and not without end."""
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"expected a timeout of more than 0 seconds and at most {LONGEST:g}, found {seconds}")
    return seconds


def pause(name: str, seconds: float) -> float:
    """Seconds to wait, 0 included."""
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"expected {name} in seconds from 0 to {LONGEST:g}, found {seconds}")
    return seconds


def duration(name: str, seconds: float, least: float) -> float:
    """Seconds that something takes, at least so many."""
    if not least <= seconds <= LONGEST:
        raise ValueError(f"expected {name} in seconds from {least:g} to {LONGEST:g}, found {seconds}")
    return seconds


def count(name: str, number: int, most: int) -> int:
    """A number of things: one or more."""
    if not 1 <= number <= most:
        raise ValueError(f"expected {name} from 1 to {most}, found {number}")
    return number
