"""The common part of the blocking and the awaited client."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Any, Optional

from .._core import Reply as CoreReply
from ._options import DEFAULT_TIMEOUT, ConnectOptions, make_core
from ._reply import Reply
from ._secret import check_portable
from ._times import zone_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..schema import Completion

#: Every client: closed at exit, so that no reply FIFO is left behind.
_clients: weakref.WeakSet[ClientBase] = weakref.WeakSet()


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
