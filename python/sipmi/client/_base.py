"""The common part of the blocking and the awaited client."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional

from .._core import Reply as CoreReply
from ..errors import is_of_a_call
from ._options import DEFAULT_TIMEOUT, ConnectOptions, make_core
from ._reply import Reply
from ._secret import check_portable
from ._times import zone_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..schema import Completion

__tracebackhide__: Callable[[Any], bool] = is_of_a_call

#: Every client: closed at exit, so that no reply FIFO is left behind.
_clients: weakref.WeakSet[ClientBase] = weakref.WeakSet()


class ServerInfo(NamedTuple):
    """The facts that a client finds out about its server."""

    generation: Optional[str]
    """The generation: "1.x" to "4.x" are OpenSIPS, "sipmi" is ours; None when it is unknown."""
    version: Optional[str]
    """The version, "2.4.11"; None when it is unknown."""
    wire: str
    """The wire: "text", "jsonrpc", "mi_json" or "xmlrpc"."""


class ClientBase:
    """A client of one server: its address and its options."""

    def __init__(self, address: str, **options: Unpack[ConnectOptions]) -> None:
        self._core = make_core(address, options)
        self._made_of = (address, options)
        self._timeout = float(options.get("timeout", DEFAULT_TIMEOUT))
        self._typed = options.get("typed", False)
        self._zone = zone_of(options.get("tz"))
        self._known: Optional[Completion] = None
        _clients.add(self)

    @property
    def address(self) -> str:
        """The address of the server, as a string that :func:`connect` takes."""
        return self._core.address

    @property
    def timeout(self) -> float:
        """The default timeout of a call in seconds."""
        return self._timeout

    def call(self, command: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run a command."""
        raise NotImplementedError

    def _reply(self, core: CoreReply, typed: Optional[bool]) -> Reply:
        return Reply(core, self._zone, self._typed if typed is None else typed)

    def _heard_names(self) -> tuple[str, ...]:
        """Return the names of the server's commands, if it was asked for them already."""
        return () if self._known is None else self._known.heard

    @property
    def _blocking(self) -> BlockingCalls:
        """The same server for code that cannot await, such as completion."""
        return BlockingCalls(self)

    @property
    def _completion(self) -> Completion:
        """The memory of completion about the server."""
        if self._known is None:
            from ..schema import Completion

            self._known = Completion()
        return self._known

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the address and the options, without sockets and without literal secrets."""
        address, options = self._made_of
        check_portable(repr(self), address, options)
        return _again, (type(self), address, options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


class BlockingCalls:
    """Calls of any client that block."""

    def __init__(self, client: ClientBase) -> None:
        self._client = client
        self.address: str = client.address
        self.timeout: float = client.timeout

    def call(self, command: str, /, *args: Any, timeout: Optional[float] = None, **kwargs: Any) -> Any:
        """Run a command and return its value."""
        return self._client._core.call(command, args, kwargs, self.timeout if timeout is None else timeout)

    @property
    def generation(self) -> Optional[str]:
        """The generation of the server: "1.x" to "4.x", "sipmi", or None when it does not say."""
        return self._client._core.found(self.timeout)[0]

    @property
    def version(self) -> Optional[str]:
        """The version of the server; None when it does not say."""
        return self._client._core.found(self.timeout)[1]


def named(kwargs: dict[str, Any], params: Any) -> dict[str, Any]:
    """Return the named parameters of a call: its keyword arguments, and those of ``params``.

    >>> named({"user": "alice"}, {"timeout": 7})
    {'user': 'alice', 'timeout': 7}
    >>> named({"event": "E_X"}, ["a", "b"])
    {'event': 'E_X', 'params': ['a', 'b']}
    """
    if not isinstance(params, Mapping):
        return {**kwargs, "params": params}
    twice = sorted(kwargs.keys() & params.keys())
    if twice:
        raise TypeError(f"expected each parameter once, got {', '.join(twice)} as keyword and in params")
    return {**kwargs, **params}


def _again(kind: type[ClientBase], address: str, options: ConnectOptions) -> ClientBase:
    return kind(address, **options)


def _renew_all() -> None:
    for client in list(_clients):
        client._core = client._core.renewed()


# A child shares no socket, file or lock with its parent.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


@atexit.register
def _close_all() -> None:
    for client in list(_clients):
        client._core.close()
