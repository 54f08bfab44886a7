"""Checks of numeric options, which name the option and the expected range."""

from __future__ import annotations

#: The longest time in seconds. The core keeps no longer ones.
LONGEST = 1e19


def timeout(seconds: float) -> float:
    """Check a timeout in seconds: more than 0, and finite."""
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"expected a timeout of more than 0 seconds and at most {LONGEST:g}, found {seconds}")
    return seconds


def pause(name: str, seconds: float) -> float:
    """Check a pause in seconds: 0 or more, and finite."""
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"expected {name} in seconds from 0 to {LONGEST:g}, found {seconds}")
    return seconds


def duration(name: str, seconds: float, least: float) -> float:
    """Check a duration in seconds against a minimum."""
    if not least <= seconds <= LONGEST:
        raise ValueError(f"expected {name} in seconds from {least:g} to {LONGEST:g}, found {seconds}")
    return seconds


def count(name: str, number: int, most: int) -> int:
    """Check a number from 1 to a maximum."""
    if not 1 <= number <= most:
        raise ValueError(f"expected {name} from 1 to {most}, found {number}")
    return number
