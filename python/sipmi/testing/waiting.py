"""eventually: ask again until the answer is the one that a test waits for."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable
from typing import Any, Callable, Optional

from .._numbers import Seconds
from .._options import check_option
from ..errors import Fault, MiError, RequestRefused

#: No value: None is an answer that may be expected.
_UNSET: Any = object()


def eventually(
    probe: Callable[[], Any],
    expected: Any = _UNSET,
    *,
    within: float = 5.0,
    every: float = 0.05,
    until: Optional[Callable[[Any], object]] = None,
) -> Any:
    """Calls ``probe`` again and again until it gives what is expected, and gives that.

    Without ``expected`` and ``until``, anything that is true will do. An AssertionError of the probe, an error answer,
    a timeout or a server that cannot be reached mean "not yet". Other exceptions, RequestRefused among them, are
    raised at once: they would be the same each time. When the probe gives an awaitable, so does this: ``await
    eventually(...)``.

    :param expected: what the probe is to give.
    :param within: seconds to go on; the probe is called at least once, and once more at the end.
    :param every: seconds between two calls.
    :param until: says whether an answer is the one.
    :raises AssertionError: it did not come in time; says what came last, and is raised from the last error.

    >>> answers = iter([0, 1, 2])
    >>> eventually(lambda: next(answers), 2)
    2
    >>> eventually(lambda: 3, until=lambda value: value > 5, within=0.1)
    Traceback (most recent call last):
    ...
    AssertionError: not within 0.1 s (3 times asked): the last answer was 3
    """
    wait = _Wait(expected, within, every, until)
    while True:
        try:
            answer = probe()
        except (MiError, AssertionError) as error:
            wait.failed(error)
        else:
            if inspect.isawaitable(answer):
                return _eventually_awaited(probe, answer, wait)
            if wait.met(answer):
                return answer
        time.sleep(wait.pause())


async def _eventually_awaited(probe: Callable[[], Any], first: Awaitable[Any], wait: _Wait) -> Any:
    """The same, awaited."""
    import asyncio

    pending: Optional[Awaitable[Any]] = first
    while True:
        try:
            answer = await (probe() if pending is None else pending)
        except (MiError, AssertionError) as error:
            wait.failed(error)
        else:
            if wait.met(answer):
                return answer
        pending = None
        await asyncio.sleep(wait.pause())


class _Wait:
    """Return the expected value, the time that is left, and the last reply."""

    def __init__(self, expected: Any, within: float, every: float, until: Optional[Callable[[Any], object]]) -> None:
        if expected is not _UNSET and until is not None:
            raise TypeError("expected either a value or until=, found both")
        check_option("eventually()", "within", within, Seconds)
        check_option("eventually()", "every", every, Seconds)
        self._expected, self._until, self._every, self._within = expected, until, every, within
        self._end = time.monotonic() + within
        self._asked = 0
        self._last: Any = None
        self._error: Optional[BaseException] = None
        self._is_last = False

    def met(self, answer: Any) -> bool:
        self._asked += 1
        self._last, self._error = answer, None
        if self._until is not None:
            return bool(self._until(answer))
        return bool(answer) if self._expected is _UNSET else bool(answer == self._expected)

    def failed(self, error: BaseException) -> None:
        if isinstance(error, RequestRefused):
            raise error
        self._asked += 1
        self._error = error

    def pause(self) -> float:
        """Seconds until the next call; the last one is at the end."""
        left = self._end - time.monotonic()
        if left <= 0 and (self._is_last or self._asked > 1):
            raise AssertionError(self._story()) from self._error
        self._is_last = left <= self._every
        return max(0.0, min(left, self._every))

    def _story(self) -> str:
        from .explain import differences

        asked = f"not within {self._within:g} s ({self._asked} times asked)"
        if isinstance(self._error, Fault):
            return f"{asked}: the last answer was the error {self._error}"
        if self._error is not None:
            return f"{asked}: the last answer was {type(self._error).__name__}: {self._error}"
        if self._expected is _UNSET or (lines := differences(self._last, self._expected)) is None:
            wanted = "" if self._expected is _UNSET else f", expected {self._expected!r}"
            return f"{asked}: the last answer was {self._last!r}{wanted}"
        return "\n".join([f"{asked}: the last answer (-) is not the expected one (+)", *lines])
