"""The ranges of numeric options, and checks that name the option and the expected range."""

from __future__ import annotations

from typing import Annotated

#: The longest time in seconds, about 31 years, as the core has it (``number.rs``).
LONGEST = 1e9
#: The largest count of bytes or requests.
MOST = 1 << 31
#: The largest sum of bytes.
_MOST_IN_ALL = 1 << 48


class Range:
    """The numbers that an option may be: ``timeout: Annotated[float, Range(...)]``.

    - `expected`: the expectation as a message shows it, with the name of the option as ``{name}``
    - `has_least`: False if the smallest number itself is refused
    """

    # No dataclass: its module takes longer to import than all options.
    def __init__(self, least: float, most: float, expected: str, *, has_least: bool = True) -> None:
        self.least, self.most, self.expected, self.has_least = least, most, expected, has_least

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most and (self.has_least or number != self.least)

    def refusal(self, name: str, number: float) -> str:
        """Return the message about a number that is out of range."""
        return f"expected {self.expected.format(name=name)}, got {number}"


def whole(least: int, most: int) -> Range:
    """Return the range of whole numbers with these bounds."""
    return Range(least, most, f"{{name}} from {least} to {most}")


def _seconds(least: float) -> Range:
    return Range(least, LONGEST, f"{{name}} in seconds from {least:g} to {LONGEST:g}")


_TIMEOUT = Range(0, LONGEST, f"a {{name}} of more than 0 seconds and at most {LONGEST:g}", has_least=False)

#: A time in seconds, more than 0.
Timeout = Annotated[float, _TIMEOUT]
#: A time in seconds.
Seconds = Annotated[float, _seconds(0)]
#: A time after which a worker that runs no Python is replaced: ten times the interval at which it shows that it does.
Watchdog = Annotated[float, _seconds(0.1)]
#: A time of at least one second, since it is the pause between requests to a server that others need too.
Interval = Annotated[float, _seconds(1)]
#: A whole number of at least 1.
Count = Annotated[int, whole(1, MOST)]
#: A whole number that may be 0.
CountFromZero = Annotated[int, whole(0, MOST)]
#: The bytes of a buffer that each waiting call has.
BufferSize = Annotated[int, whole(1, 16 << 20)]
#: A sum of bytes.
BytesInAll = Annotated[int, whole(0, _MOST_IN_ALL)]
#: The bytes of one reply.
ReplyLimit = Annotated[int, whole(1, _MOST_IN_ALL)]
#: Calls a second.
Rate = Annotated[
    float, Range(0, LONGEST, f"{{name}} in requests a second, above 0 and at most {LONGEST:g}", has_least=False)
]
