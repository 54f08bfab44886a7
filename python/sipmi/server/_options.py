"""The options of endpoints and commands, listed once, and how the core takes them."""

# No postponed annotations: Python 3.9 cannot resolve those of a TypedDict that another one extends.

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional, TypedDict, Union

from .._core import CpuSet
from .._numbers import BytesInAll, Count, CountFromZero, Rate, Seconds
from .._options import check_options
from ..client import Path
from ._exports import Flags


class CommandOptions(TypedDict, total=False):
    """The options of :meth:`sipmi.Server.command`, which describes them."""

    name: Optional[str]
    aliases: Iterable[str]
    help: Optional[str]
    no_input: bool
    named_only: bool
    read_only: bool
    recipes: Iterable[Iterable[str]]
    module: Optional[str]
    blocking: bool
    serial: bool
    timeout: Optional[Seconds]
    request_limit: Optional[Count]
    reply_limit: Optional[Count]
    depth_limit: Optional[Count]
    in_progress_limit: Optional[CountFromZero]
    queue_limit: Optional[CountFromZero]
    rate_limit: Optional[Rate]


class ListenOptions(TypedDict, total=False):
    """The options of :meth:`sipmi.Server.listen`, which describes them."""

    reply_dir: Path
    reply_wait: Seconds
    reply_indent: CountFromZero
    mode: CountFromZero
    owner: Union[str, CountFromZero]
    group: Union[str, CountFromZero]
    write_timeout: Seconds
    request_limit: Count
    timeout: Optional[Seconds]
    reply_limit: Optional[Count]
    depth_limit: Optional[Count]
    in_progress_limit: Optional[CountFromZero]
    queue_limit: Optional[CountFromZero]
    rate_limit: Optional[Rate]
    batch_limit: Optional[BytesInAll]
    batch_reply_limit: Optional[BytesInAll]
    unsent_limit: Optional[BytesInAll]
    pretty_printing: bool
    workers: Count
    cpus: Union[CpuSet, str, Iterable[int]]
    allow: Sequence[str]
    read_only: bool
    allow_from: Sequence[str]
    roots: Mapping[str, Optional[str]]
    xmlrpc: str
    json_get: str
    tls: Optional[Union[Path, tuple[Path, Path]]]
    client_ca: Optional[Path]
    auth: Union[Mapping[str, str], Callable[[str, str], object]]
    token: Optional[str]
    hosts: Sequence[str]
    read_timeout: Seconds
    idle_timeout: Seconds
    connections: Count
    receive_buf_size: Count
    metrics: bool


#: Options of a command that describe it; all others say how it runs.
_DESCRIBING = {"name", "aliases", "help", "no_input", "named_only", "read_only", "recipes", "module"}


def flags_of(options: CommandOptions) -> Flags:
    """Return the flags that the options of a command stand for."""
    flags = Flags.NONE
    flags |= Flags.NO_INPUT if options.get("no_input") else Flags.NONE
    flags |= Flags.NAMED_PARAMS_ONLY if options.get("named_only") else Flags.NONE
    flags |= Flags.READ_ONLY if options.get("read_only") else Flags.NONE
    return flags


def conduct_of(options: CommandOptions) -> dict[str, Any]:
    """Return the options of a command that say how it runs, as the core takes them."""
    return {name: value for name, value in options.items() if name not in _DESCRIBING}


def endpoint_options(options: ListenOptions) -> dict[str, Any]:
    """Return the options of an endpoint as the core takes them.

    :raises TypeError: an option has an unknown name, or a value of another type.
    :raises ValueError: there is no such user or group.
    """
    check_options("listen()", options, ListenOptions)
    given: dict[str, Any] = {**options}
    if "owner" in given:
        given["owner"] = _user_number(given["owner"])
    if "group" in given:
        given["group"] = _group_number(given["group"])
    for name in ("auth", "roots"):
        if isinstance(given.get(name), Mapping):
            given[name] = dict(given[name])
    for name in ("reply_dir", "client_ca"):
        if given.get(name) is not None:
            given[name] = os.fspath(given[name])
    return given


def _user_number(user: Union[str, int]) -> int:
    import pwd

    if isinstance(user, int):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"listen(): owner: there is no user {user!r}") from None


def _group_number(group: Union[str, int]) -> int:
    import grp

    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"listen(): group: there is no group {group!r}") from None
