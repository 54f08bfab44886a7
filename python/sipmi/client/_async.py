"""The awaited client: :class:`AsyncClient`, whose methods are those of :class:`sipmi.Client`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar, Union

from .._core import Driver
from ..errors import MethodNotFound, is_of_a_call
from ._base import ClientBase, ServerInfo, named
from ._commands import Commands
from ._loops import driver_of
from ._reply import Reply
from ._times import with_times

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..events import AsyncListener, Event, EventOptions
    from ..schema import Schema, SchemaDiff
    from ..statistics import AsyncWatch, Reading
    from ._options import ConnectOptions

T = TypeVar("T")

__tracebackhide__: Callable[[Any], bool] = is_of_a_call


async def connect_async(address: str, **options: Unpack[ConnectOptions]) -> AsyncClient:
    """Make an :class:`AsyncClient` of the server at an address. The first call is the first to touch the network.

    The options are those of :func:`sipmi.connect`.

    >>> import asyncio, sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> async def main():
    ...     async with await sipmi.connect_async(server.addresses[0]) as mi:
    ...         return await mi.call("which", "uptime")
    >>> with server:
    ...     asyncio.run(main())
    [[]]
    """
    return AsyncClient(address, **options)


class AsyncClient(ClientBase):
    """A client of one server, whose calls are awaited: any number of them at a time, on any event loop of asyncio.

    Its options are those of :func:`sipmi.connect`, and its methods those of :class:`sipmi.Client`.
    A cancelled call ends at once: its socket is closed, and its reply FIFO is removed.

    >>> import asyncio, sipmi
    >>> server = sipmi.Server("billing")
    >>> @server.command
    ... def credit(user: str, amount: float) -> dict:
    ...     '''Give a user some credit.'''
    ...     return {"user": user, "credit": amount}
    >>> server.listen("udp:127.0.0.1:0")
    >>> async def main():
    ...     async with sipmi.AsyncClient(server.addresses[0]) as mi:
    ...         calls = [mi.call("credit", user, 2.5) for user in ("alice", "bob")]
    ...         return await asyncio.gather(*calls)
    >>> with server:
    ...     asyncio.run(main())
    [{'user': 'alice', 'credit': 2.5}, {'user': 'bob', 'credit': 2.5}]
    """

    @property
    def wire(self) -> Awaitable[str]:
        """Awaited: the wire of the server, "text", "jsonrpc", "mi_json" or "xmlrpc".

        The first access asks the server.
        """
        return _Later(lambda: self._wait(Driver.wire, timeout=self._timeout))

    @property
    def generation(self) -> Awaitable[Optional[str]]:
        """Awaited: the generation of the server: "1.x" to "4.x" are OpenSIPS, "sipmi" is ours; None if unknown."""
        return _Later(lambda: self._found(0))

    @property
    def version(self) -> Awaitable[Optional[str]]:
        """Awaited: the version of the server, "2.4.11"; None when it is unknown."""
        return _Later(lambda: self._found(1))

    async def server_info(self, *, timeout: Optional[float] = None) -> ServerInfo:
        """Return generation, version and wire of the server, as :meth:`sipmi.Client.server_info` does."""
        timeout = self._timeout if timeout is None else timeout
        generation, version = await self._wait(Driver.found, timeout=timeout)
        return ServerInfo(generation, version, await self._wait(Driver.wire, timeout=timeout))

    async def call(
        self,
        command: str,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        force: bool = False,
        typed: Optional[bool] = None,
        params: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Run a command and return its value, as :meth:`sipmi.Client.call` does."""
        if params is not None:
            kwargs = named(kwargs, params)
        core = await self._wait(Driver.request, command, args, kwargs, timeout=timeout, force=force)
        try:
            value = core.value
        except MethodNotFound as error:
            error.known = self._heard_names()
            raise
        return with_times(command, value, self._zone) if (self._typed if typed is None else typed) else value

    async def request(
        self,
        command: str,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        force: bool = False,
        typed: Optional[bool] = None,
        params: Any = None,
        **kwargs: Any,
    ) -> Reply:
        """As :meth:`call`, but return the whole :class:`sipmi.Reply`, also of an error answer."""
        if params is not None:
            kwargs = named(kwargs, params)
        core = await self._wait(Driver.request, command, args, kwargs, timeout=timeout, force=force)
        return self._reply(core, typed)

    async def request_strings(
        self,
        command: str,
        strings: list[tuple[str, str]],
        /,
        *,
        timeout: Optional[float] = None,
        force: bool = False,
        typed: Optional[bool] = None,
    ) -> Reply:
        """As :meth:`request`, with parameters as a shell has them: strings in order, each with a name or ""."""
        core = await self._wait(Driver.request_strings, command, strings, timeout=timeout, force=force)
        return self._reply(core, typed)

    async def statistics(self, *selectors: Union[str, Iterable[str]], timeout: Optional[float] = None) -> Reading:
        """Read the server's statistics, as :meth:`sipmi.Client.statistics` does."""
        from ..statistics import statistics_of_async

        return await statistics_of_async(self, selectors, timeout)

    def watch(
        self,
        selectors: Union[str, Iterable[str]],
        *,
        interval: float = 1.0,
        timeout: Optional[float] = None,
        count: Optional[int] = None,
    ) -> AsyncWatch:
        """Read statistics at an interval, for ``async for``, as :meth:`sipmi.Client.watch` does.

        >>> import asyncio, sipmi
        >>> server = sipmi.Server("billing")
        >>> server.listen("udp:127.0.0.1:0")
        >>> async def main():
        ...     async with sipmi.AsyncClient(server.addresses[0]) as mi:
        ...         return [sample["evi:raised"] async for sample in mi.watch(["evi:"], count=1)]
        >>> with server:
        ...     asyncio.run(main())
        [0]
        """
        from ..statistics import AsyncWatch, plan_of

        return AsyncWatch(self, plan_of(selectors, interval, timeout, count))

    def events(
        self,
        *events: str,
        callback: Optional[Callable[[Event], Any]] = None,
        **options: Unpack[EventOptions],
    ) -> AsyncListener:
        """Subscribe to events, for ``async for`` or ``async with``, as :meth:`sipmi.Client.events` does.

        :param callback: a function or coroutine function that is called with each event while the result is entered
            with ``async with``.

        >>> import asyncio, sipmi
        >>> server = sipmi.Server("billing")
        >>> server.event("E_SUB_ADDED")
        >>> server.listen("udp:127.0.0.1:0")
        >>> async def main():
        ...     async with sipmi.AsyncClient(server.addresses[0]) as mi, mi.events("E_SUB_*") as added:
        ...         server.raise_event("E_SUB_ADDED", {"user": "alice"})
        ...         async for event in added:
        ...             return event.params
        >>> with server:
        ...     asyncio.run(main())
        {'user': 'alice'}
        """
        from ..events import AsyncListener

        return AsyncListener(self, events, callback=callback, **options)

    @property
    def cmd(self) -> Commands:
        """The server's commands as functions: ``await mi.cmd.uptime()``, ``await mi.cmd["usrloc:dump"]()``."""
        return Commands(self)

    async def commands(self, pattern: str = "*", *, help: bool = True) -> Schema:
        """Ask the server for its commands, as :meth:`sipmi.Client.commands` does."""
        from ..schema import commands_of_async

        return await commands_of_async(self, self._completion, pattern, help=help)

    async def diff(self, other: Union[AsyncClient, Schema]) -> SchemaDiff:
        """Compare two servers, as :meth:`sipmi.Client.diff` does."""
        ours = await self.commands(help=False)
        return ours.diff(await other.commands(help=False) if isinstance(other, AsyncClient) else other)

    async def close(self) -> None:
        """Close its sockets and files. Calls in progress are not interrupted.

        Later calls raise TransportError.
        """
        self._core.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _found(self, place: int) -> Optional[str]:
        found: tuple[Optional[str], Optional[str]] = await self._wait(Driver.found, timeout=self._timeout)
        return found[place]

    async def _wait(self, begin: Callable[..., int], *what: Any, timeout: Optional[float], **options: bool) -> Any:
        """Start an operation on the driver of the running loop, and wait for its result."""
        loop = asyncio.get_running_loop()
        driver = driver_of(loop)
        future = loop.create_future()
        call = begin(driver, future, self._core, *what, self._timeout if timeout is None else timeout, **options)
        try:
            return await future
        except BaseException:
            # Cancelled, or the coroutine is closed. A failed call needs no cancelling, which does no harm.
            driver.cancel(call)
            raise


class _Later(Generic[T]):
    """An awaitable that, unlike a coroutine, causes no warning when it is never awaited."""

    def __init__(self, begin: Callable[[], Awaitable[T]]) -> None:
        self._begin = begin

    def __await__(self) -> Generator[Any, Any, T]:
        return self._begin().__await__()

    def __repr__(self) -> str:
        return "<to be awaited>"
