"""Secrets by reference: a pickle or a file names the place of a password, not the password."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Union


class Secret:
    """A password or token that is in the environment or in a file, and is read where it is used.

    A client or fleet that is sent to another process or machine may hold secrets of this kind alone.

    >>> os.environ["EDGE_TOKEN"] = "s3cret"
    >>> token = Secret.env("EDGE_TOKEN")
    >>> token, token.reveal()
    (<Secret: environment variable EDGE_TOKEN>, 's3cret')
    """

    __slots__ = ("_kind", "_place")

    def __init__(self, kind: str, place: str) -> None:
        if kind not in ("env", "file"):
            raise ValueError(f"expected a secret in an env or a file, found {kind!r}")
        self._kind = kind
        self._place = place

    @classmethod
    def env(cls, name: str) -> Secret:
        """Refer to the value of an environment variable."""
        return cls("env", name)

    @classmethod
    def file(cls, path: Union[str, os.PathLike[str]]) -> Secret:
        """Refer to the content of a file, without the newline at its end."""
        return cls("file", os.fspath(path))

    def reveal(self) -> str:
        """Return the secret itself.

        :raises LookupError: there is no such environment variable here.
        :raises OSError: the file cannot be read.
        """
        if self._kind == "file":
            with open(self._place, encoding="utf-8") as file:
                return file.read().rstrip("\r\n")
        if self._place not in os.environ:
            raise LookupError(f"the environment variable {self._place} is not set on this machine")
        return os.environ[self._place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._kind, self._place) == (other._kind, other._place)

    def __hash__(self) -> int:
        return hash((self._kind, self._place))

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (self._kind, self._place)

    def __repr__(self) -> str:
        return f"<Secret: {'environment variable' if self._kind == 'env' else 'file'} {self._place}>"


def revealed(secret: Union[str, Secret]) -> str:
    """Return the secret itself, given as a reference or literally."""
    return secret.reveal() if isinstance(secret, Secret) else secret


def check_portable(whose: str, address: str, options: Mapping[str, Any]) -> None:
    """Check that neither the address nor the options of a client hold a literal secret.

    :raises TypeError: one of them does.
    """
    where = None
    _, slashes, rest = address.partition("://")
    if slashes and ":" in rest.partition("/")[0].rpartition("@")[0]:
        where = "the address holds a password"
    elif isinstance(options.get("token"), str):
        where = "token= is a literal"
    elif options.get("auth") is not None and (isinstance(options["auth"], str) or isinstance(options["auth"][1], str)):
        where = "the password of auth= is a literal"
    if where is not None:
        raise TypeError(
            f"{whose} cannot be pickled: {where}, which would travel in clear; "
            "name it instead: sipmi.Secret.env('NAME') or sipmi.Secret.file('/path')"
        )
