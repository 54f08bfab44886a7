"""The commands of the server of a client, blocking and awaited."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Callable, Optional, Protocol

from .._calling import AsyncCaller, Caller, finish
from ..errors import is_of_a_call
from ._asking import Ask, Questions, read_names, read_schema
from ._completion import Completion
from ._schema import CommandSchema, Schema

__tracebackhide__: Callable[[Any], bool] = is_of_a_call

#: Seconds that completion waits for an answer.
_COMPLETION_TIMEOUT = 2.0


class Described(Caller, Protocol):
    """A client that knows the generation and version of its server."""

    @property
    def generation(self) -> Optional[str]:
        """The generation of the server."""

    @property
    def version(self) -> Optional[str]:
        """The version of the server."""


class AsyncDescribed(AsyncCaller, Protocol):
    """An awaited client that knows the generation and version of its server."""

    @property
    def generation(self) -> Awaitable[Optional[str]]:
        """The generation of the server."""

    @property
    def version(self) -> Awaitable[Optional[str]]:
        """The version of the server."""


def commands_of(client: Described, completion: Completion, pattern: str = "*", *, help: bool = True) -> Schema:
    """Return the commands of the server of a client.

    :param completion: learns a complete schema.
    """
    generation, version = client.generation, client.version
    tells = _tells_parameters(generation)
    listed = finish(read_schema(_asking(client, client.timeout), pattern, help=help, tells=tells))
    return _made(Schema(listed, client.address, generation, version), completion, pattern, help)


async def commands_of_async(
    client: AsyncDescribed, completion: Completion, pattern: str = "*", *, help: bool = True
) -> Schema:
    """As :func:`commands_of`, awaited."""
    generation, version = await client.generation, await client.version
    listed = await read_schema(client.call, pattern, help=help, tells=_tells_parameters(generation))
    return _made(Schema(listed, client.address, generation, version), completion, pattern, help)


def _made(schema: Schema, completion: Completion, pattern: str, help: bool) -> Schema:
    if pattern == "*" and help:
        completion.learn(schema)
    return schema


def names_for_completion(client: Caller, completion: Completion) -> list[str]:
    """Return all names that the server knows; none when it does not answer."""
    ask = _asking(client, min(client.timeout, _COMPLETION_TIMEOUT))
    return completion.names(lambda: finish(read_names(ask)))


def names_of(client: Caller, completion: Completion) -> list[str]:
    """Return all names that the server knows.

    :raises MiError: the server cannot be asked.
    """
    return completion.all_names(lambda: finish(read_names(_asking(client, client.timeout))))


def describe_for_completion(client: Described, completion: Completion, name: str) -> CommandSchema:
    """Describe a command with what the server says now, or with what is known without it."""
    ask = _asking(client, min(client.timeout, _COMPLETION_TIMEOUT))

    def describe() -> CommandSchema:
        return finish(Questions(ask, tells=_tells_parameters(client.generation)).command(name))

    return completion.command(name, describe)


def _asking(client: Caller, timeout: float) -> Ask:
    async def ask(command: str, *args: str) -> Any:
        return client.call(command, *args, timeout=timeout)

    return ask


def _tells_parameters(generation: Optional[str]) -> Optional[bool]:
    """Return whether servers of a generation tell parameters; None when they have to be asked."""
    return False if generation in ("1.x", "2.x") else None
