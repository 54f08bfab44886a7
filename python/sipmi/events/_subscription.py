"""A subscription to events: made, renewed at half of its time, and made again after a restart of the server."""

from __future__ import annotations

import fnmatch
import logging
import math
import re
import time
from typing import Callable, Optional

from .._calling import Driver
from .._uptime import Uptime, is_another, read_uptime
from ..errors import CallTimeout, Fault, MiError

log = logging.getLogger("sipmi.events")

#: A renewal that failed is tried again after this part of the time, and after this many seconds at least.
_RETRY_PART, _SHORTEST_RETRY = 0.1, 0.2
#: Seconds until a server that did not tell its uptime is asked again, since it may be restarting.
_CHECK_RETRY = 1.0

#: Seconds for ending subscriptions when a signal, a cancelled task or a silent server ends the listener.
_HURRY = 0.02

#: The first version whose module ``event_stream`` sends events over TCP.
_FIRST_WITH_TCP = (3, 1)
#: How servers answer to an address for which they have no transport.
_NO_TRANSPORT = (400, -32602)

#: Takes the error that ended the subscriptions; None when they are renewed.
Fail = Callable[[Optional[Exception]], None]


class Subscription:
    """The wanted events of a server and their expiry. It has no socket and no thread."""

    def __init__(self, events: tuple[str, ...], *, expire: int, restart_poll: Optional[float]) -> None:
        if not events:
            raise ValueError("expected the name of at least one event, found none")
        self._wanted = events
        self._expire = expire
        self._restart_poll = restart_poll
        self.names: tuple[str, ...] = tuple(name for name in events if not _is_pattern(name))
        """The subscribed events; patterns are resolved by ``begin``."""
        self.restarts = 0
        """The number of restarts of the server, each followed by a new subscription."""
        self._up: Optional[Uptime] = None
        self._socket = ""

    async def begin(self, driver: Driver, socket: str) -> None:
        """Subscribe to all events, or to none.

        :raises LookupError: no event of the server matches a pattern.
        :raises ValueError: the server has no transport for the address.
        :raises MiError: the server refuses, or does not answer.
        """
        self._socket = socket
        if socket.startswith("tcp:"):
            await self._check_tcp(driver)
        self.names = await self._resolve(driver)
        try:
            await self._subscribe(driver, self._expire)
            self._up = await self._ask_uptime(driver) if self._restart_poll is not None else None
        except BaseException as error:
            await self.end(driver, within=patience_after(error))
            if socket.startswith("tcp:") and isinstance(error, Fault) and error.code in _NO_TRANSPORT:
                what = f"the server sends no events over TCP ({error})"
                raise _no_tcp(driver, what, "load its module event_stream, or use at='udp'") from error
            raise

    async def _check_tcp(self, driver: Driver) -> None:
        """Check that the server's version can send events over TCP."""
        said = await driver.call("version", timeout=driver.timeout)
        server = str(said.get("Server", "")) if isinstance(said, dict) else ""
        version = re.match(r"OpenSIPS \((\d+)\.(\d+)", server)
        if version is not None and (int(version[1]), int(version[2])) < _FIRST_WITH_TCP:
            what = f"OpenSIPS {version[1]}.{version[2]} sends no events over TCP, which 3.1 and later do"
            raise _no_tcp(driver, what, "use at='udp' or at='unix'")

    async def end(self, driver: Driver, *, within: Optional[float] = None) -> None:
        """End the subscriptions, if the server can be reached.

        :param within: the seconds for all requests together; None gives each request the timeout of the client.
        """
        try:
            await self._subscribe(driver, 0, within=within)
        except MiError as error:
            # They expire.
            log.debug("the subscriptions at %s were not ended: %s", driver.address, error)

    async def keep(self, driver: Driver, fail: Fail) -> None:
        """Renew the subscriptions until its sleep is interrupted. A failed renewal is retried."""
        retry = max(self._expire * _RETRY_PART, _SHORTEST_RETRY)
        ends = time.monotonic() + self._expire
        renewal = time.monotonic() + self._expire / 2
        check = self._next_check()
        while True:
            await driver.sleep(max(0.0, min(renewal, check) - time.monotonic()))
            if time.monotonic() < renewal:
                is_new = await self._is_new(driver)
                check = time.monotonic() + _CHECK_RETRY if is_new is None else self._next_check()
                if not is_new:
                    continue
                log.info("%s has restarted: subscribing again", driver.address)
                self.restarts += 1
            began = time.monotonic()
            try:
                if self.restarts:
                    self.names = await self._resolve(driver)
                await self._subscribe(driver, self._expire)
            except (MiError, LookupError) as error:
                log.warning("the subscription at %s was not renewed: %s", driver.address, error)
                renewal = time.monotonic() + retry
                if time.monotonic() >= ends:
                    fail(error)
            else:
                ends, renewal = began + self._expire, began + self._expire / 2
                fail(None)

    def _next_check(self) -> float:
        """Return the time of the next question for the uptime; never, for a server that does not tell it."""
        return math.inf if self._restart_poll is None or self._up is None else time.monotonic() + self._restart_poll

    async def _is_new(self, driver: Driver) -> Optional[bool]:
        """Return whether the server has restarted since the last question; None when it does not tell."""
        try:
            up = await self._ask_uptime(driver)
        except MiError as error:
            log.debug("%s did not tell its uptime: %s", driver.address, error)
            return None
        before = self._up
        if before is None or up is None:
            return None
        self._up = up
        return is_another(before, up)

    async def _ask_uptime(self, driver: Driver) -> Optional[Uptime]:
        """Ask for the uptime; None where the server has no such command."""
        try:
            return read_uptime(await driver.call("uptime", timeout=driver.timeout))
        except Fault:
            return None

    async def _resolve(self, driver: Driver) -> tuple[str, ...]:
        """Return the wanted names, with patterns resolved."""
        if not any(_is_pattern(wanted) for wanted in self._wanted):
            return self._wanted
        listed = await driver.call("events_list", timeout=driver.timeout)
        rows = listed.get("Events", []) if isinstance(listed, dict) else []
        there = [str(row["name"]) for row in rows if isinstance(row, dict) and "name" in row]
        names: dict[str, None] = {}
        for wanted in self._wanted:
            found = [wanted] if not _is_pattern(wanted) else fnmatch.filter(there, wanted)
            if not found:
                known = ", ".join(sorted(there)) or "none"
                raise LookupError(f"{driver.address} has no event {wanted!r}; it has {known}")
            names.update(dict.fromkeys(found))
        return tuple(names)

    async def _subscribe(self, driver: Driver, expire: int, *, within: Optional[float] = None) -> None:
        deadline = math.inf if within is None else time.monotonic() + within
        for name in self.names:
            timeout = min(driver.timeout, deadline - time.monotonic())
            if timeout <= 0:
                raise CallTimeout(f"{driver.address}: event_subscribe: no time left for {name}")
            await driver.call("event_subscribe", name, self._socket, expire, timeout=timeout)


def patience_after(error: Optional[BaseException]) -> Optional[float]:
    """Return the seconds that ending subscriptions may take after an error; None for the timeouts of the client.

    A loop that is left closes its generator (GeneratorExit), which leaves time for a full request.

    >>> patience_after(ValueError()), patience_after(KeyboardInterrupt())
    (None, 0.02)
    """
    is_patient = error is None or isinstance(error, (Exception, GeneratorExit))
    return None if is_patient and not isinstance(error, CallTimeout) else _HURRY


def _no_tcp(driver: Driver, what: str, remedy: str) -> ValueError:
    return ValueError(f"{driver.address}: event_subscribe: {what}: {remedy}")


def _is_pattern(name: str) -> bool:
    return any(letter in name for letter in "*?[")
