"""The options of a client, listed once, and how the core takes them."""

# No postponed annotations: Python 3.9 cannot resolve those of a TypedDict that another one extends.

import os
from typing import Any, Optional, TypedDict, Union

from .._core import Client as CoreClient
from .._numbers import BufferSize, Count, CountFromZero, ReplyLimit, Timeout
from .._options import check_options
from ._secret import Secret, revealed
from ._times import Zone

#: The name of a file or directory.
Path = Union[str, os.PathLike[str]]
#: A user and a password, as a pair or as "user:password".
Auth = Union[str, tuple[str, Union[str, Secret]]]


class ClientOptions(TypedDict, total=False):
    """The options of :func:`sipmi.connect`, which describes them, without the timeout."""

    wire: str
    reply_dir: Optional[Path]
    auth: Optional[Auth]
    token: Optional[Union[str, Secret]]
    cafile: Optional[Path]
    cert: Optional[Union[Path, tuple[Path, Path]]]
    verify: bool
    max_in_flight: Optional[Count]
    retries: CountFromZero
    failure_threshold: Optional[Count]
    reply_limit: ReplyLimit
    receive_buf_size: Optional[Count]
    socket_buf_size: Optional[BufferSize]
    typed: bool
    tz: Zone


class ConnectOptions(ClientOptions, total=False):
    """The options of :func:`sipmi.connect`, which describes them."""

    timeout: Timeout


#: Seconds that a call may take by default.
DEFAULT_TIMEOUT = 5.0
#: The largest reply in bytes by default.
_REPLY_LIMIT = 1 << 28
#: Options that the core client does not know.
_OURS = ("timeout", "typed", "tz")


def make_core(address: str, options: ConnectOptions) -> CoreClient:
    """Make the core client of an address.

    :raises TypeError: an option has an unknown name, or a value of another type.
    :raises ValueError: the address or an option cannot be read, or a number is out of range.
    """
    if not isinstance(address, str):
        raise TypeError(f"connect(): expected an address of type str, got {type(address).__name__}")
    check_options("connect()", options, ConnectOptions)
    given: dict[str, Any] = {"reply_limit": _REPLY_LIMIT, **options}
    for name in _OURS:
        given.pop(name, None)
    wire, reply_dir = given.pop("wire", "auto"), given.pop("reply_dir", None)
    if given.get("auth") is not None:
        user, password = user_and_password(given["auth"])
        given["auth"] = (user, revealed(password))
    if given.get("token") is not None:
        given["token"] = revealed(given["token"])
    if given.get("cafile") is not None:
        given["cafile"] = os.fspath(given["cafile"])
    given["cert"] = _certificate_and_key(given.get("cert"))
    wire = None if wire == "auto" else wire
    return CoreClient(address, wire, None if reply_dir is None else os.fspath(reply_dir), **given)


def user_and_password(auth: Auth) -> tuple[str, Union[str, Secret]]:
    """Return the two parts of ``auth``.

    :raises ValueError: a string without a colon.

    >>> user_and_password("ann:se:cret")
    ('ann', 'se:cret')
    """
    if not isinstance(auth, str):
        user, password = auth
        return user, password
    user, colon, password = auth.partition(":")
    if not colon:
        raise ValueError("connect(): expected auth as (user, password) or 'user:password', got a str without a colon")
    return user, password


def _certificate_and_key(cert: Optional[Union[Path, tuple[Path, Path]]]) -> Optional[tuple[str, Optional[str]]]:
    """Return one file for both, or one for each."""
    if cert is None:
        return None
    if isinstance(cert, (tuple, list)):
        certificate, key = cert
        return os.fspath(certificate), os.fspath(key)
    return os.fspath(cert), None
