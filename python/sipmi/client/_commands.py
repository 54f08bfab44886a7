"""The commands of a server as functions: ``mi.cmd``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable

from .._core import flat_command_name
from ..errors import is_of_a_call
from ._base import ClientBase

if TYPE_CHECKING:
    import inspect

    from ..schema import CommandSchema

__tracebackhide__: Callable[[Any], bool] = is_of_a_call


class Commands(Mapping[str, "BoundCommand"]):
    """A server's commands as attributes and items. They complete on Tab from ``which``, which is asked once.

    As a mapping of names it asks ``which`` each time that it is iterated, counted or searched, and waits for the
    answer. An item is made without a question, so that any name has one.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     "uptime" in mi.cmd, "nosuch" in mi.cmd, len(mi.cmd) == len(list(mi.cmd))
    (True, False, True)
    """

    def __init__(self, client: ClientBase) -> None:
        self._client = client

    def __getattr__(self, name: str) -> BoundCommand:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> BoundCommand:
        if not isinstance(name, str):
            raise TypeError(f"expected the name of a command, got {type(name).__name__}")
        return BoundCommand(self._client, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            raise TypeError(f"expected the name of a command, got {type(name).__name__}")
        names = self._names()
        return name in names or name in _short_names(names)

    # Comparing asks no server.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def _names(self) -> list[str]:
        from ..schema import names_of

        return names_of(self._client._blocking, self._client._completion)

    def __dir__(self) -> list[str]:
        return sorted(name for name in _short_names(self._ipython_key_completions_()) if name.isidentifier())

    def _ipython_key_completions_(self) -> list[str]:
        """Return all names that the server knows; none when it does not answer."""
        from ..schema import names_for_completion

        return names_for_completion(self._client._blocking, self._client._completion)

    def __repr__(self) -> str:
        return f"<Commands of {self._client.address}>"


def _short_names(names: Iterable[str]) -> set[str]:
    """Return the names without module by which commands can be called."""
    # A bare name is enough where only one module has it.
    bare = [name.rpartition(":")[2] for name in names]
    local = {name for name in bare if bare.count(name) == 1}
    # A server of 4.x is called by the names of older versions, too.
    return local | {flat_command_name(name) for name in names}


class BoundCommand:
    """A command of a server as a function; the first access to its help or signature asks the server.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> @server.command
    ... def credit(user: str, amount: float = 1.0) -> dict:
    ...     '''Give a user some credit.'''
    ...     return {"user": user, "credit": amount}
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     print(mi.cmd.credit.__doc__)
    ...     mi.cmd.credit("alice")
    credit(user, amount=None)
    <BLANKLINE>
    Give a user some credit.
    <BLANKLINE>
    Module billing; may change something.
    {'user': 'alice', 'credit': 1.0}
    """

    __slots__ = ("__name__", "_client")

    def __init__(self, client: ClientBase, name: str) -> None:
        self.__name__: str = name
        self._client = client

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._client.call(self.__name__, *args, **kwargs)

    @property
    def schema(self) -> CommandSchema:
        """The description of the command by the server."""
        from ..schema import describe_for_completion

        return describe_for_completion(self._client._blocking, self._client._completion, self.__name__)

    @property
    def __signature__(self) -> inspect.Signature:
        return self.schema.signature

    def __getattribute__(self, name: str) -> Any:
        # As a property it would hide the docstring of the class.
        if name == "__doc__":
            schema = self.schema
            effect = "changes nothing" if schema.read_only else "may change something"
            last = f"Module {schema.module}; {effect}." if schema.module else f"{effect.capitalize()}."
            return "\n\n".join(part for part in (str(schema), schema.help, last) if part)
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        return f"<command {self.__name__}>"
