"""What clients are made of, whether they wait or await."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _core, _numbers
from ._secret import Secret, check_portable, revealed
from ._times import Zone, zone_of

if TYPE_CHECKING:
    from .client import Client, Reply
    from .schema import Completion

#: What names a file or directory.
Path = Union[str, "os.PathLike[str]"]

#: Every client: closed at exit, so that no reply FIFO is left behind.
_clients: weakref.WeakSet[ClientBase] = weakref.WeakSet()


class ClientBase:
    """A client of one server: whom it calls, and how."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 5.0,
        wire: str = "auto",
        reply_dir: Optional[Path] = None,
        auth: Optional[tuple[str, Union[str, Secret]]] = None,
        token: Optional[Union[str, Secret]] = None,
        cafile: Optional[Path] = None,
        cert: Optional[Union[Path, tuple[Path, Path]]] = None,
        verify: bool = True,
        in_flight: Optional[int] = None,
        retries: int = 0,
        breaker: Optional[int] = None,
        reply_limit: int = 1 << 28,
        receive_buf_size: Optional[int] = None,
        socket_buf_size: Optional[int] = None,
        typed: bool = False,
        tz: Zone = None,
    ) -> None:
        _numbers.timeout(timeout)
        self._core = _core.Client(
            address,
            None if wire == "auto" else wire,
            None if reply_dir is None else os.fspath(reply_dir),
            auth=None if auth is None else (auth[0], revealed(auth[1])),
            token=None if token is None else revealed(token),
            cafile=None if cafile is None else os.fspath(cafile),
            cert=_certificate_and_key(cert),
            verify=verify,
            in_flight=in_flight,
            retries=retries,
            breaker=breaker,
            reply_limit=reply_limit,
            receive_buf_size=receive_buf_size,
            socket_buf_size=socket_buf_size,
        )
        self._made_of = (
            address,
            {
                "timeout": timeout,
                "wire": wire,
                "reply_dir": reply_dir,
                "auth": auth,
                "token": token,
                "cafile": cafile,
                "cert": cert,
                "verify": verify,
                "in_flight": in_flight,
                "retries": retries,
                "breaker": breaker,
                "reply_limit": reply_limit,
                "receive_buf_size": receive_buf_size,
                "socket_buf_size": socket_buf_size,
                "typed": typed,
                "tz": tz,
            },
        )
        self._timeout = float(timeout)
        self._typed = typed
        self._zone = zone_of(tz)
        self._completion: Optional[Completion] = None
        _clients.add(self)

    @property
    def address(self) -> str:
        """Whom it calls, as a string that :func:`connect` takes."""
        return self._core.address

    @property
    def timeout(self) -> float:
        """Seconds that a call may take, unless it says otherwise."""
        return self._timeout

    def _reply(self, core: _core.Reply, typed: Optional[bool]) -> Reply:
        from .client import Reply

        return Reply(core, self._zone, self._typed if typed is None else typed)

    def call(self, command: str, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a command."""
        raise NotImplementedError

    @property
    def _waits(self) -> Client:
        """The same client, as one that waits: what completion asks with, which cannot await."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        """A client travels as its address and options, without sockets; and without secrets, or not at all."""
        address, options = self._made_of
        check_portable(repr(self), address, options)
        return _again, (type(self), address, options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


def _again(kind: type[ClientBase], address: str, options: dict[str, Any]) -> ClientBase:
    return kind(address, **options)


def _certificate_and_key(cert: Optional[Union[Path, tuple[Path, Path]]]) -> Optional[tuple[str, Optional[str]]]:
    """One file for both, or one for each."""
    if cert is None:
        return None
    if isinstance(cert, tuple):
        certificate, key = cert
        return os.fspath(certificate), os.fspath(key)
    return os.fspath(cert), None


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
