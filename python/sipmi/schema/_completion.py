"""The memory of completion about one server."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional

from .._core import legacy_recipes
from ..errors import MiError
from ._schema import CommandSchema, Schema

#: Seconds between two questions that completion asks: a real server has one process to answer them.
PAUSE = 1.0


class Completion:
    """The memory of completion about a server. It asks at most once a second, and nothing twice."""

    def __init__(self) -> None:
        self._names: Optional[list[str]] = None
        self._commands: dict[str, CommandSchema] = {}
        self._next = 0.0
        self._lock = threading.Lock()

    def learn(self, schema: Schema) -> None:
        """Learn the commands of a schema."""
        self._names = list(schema)
        self._commands.update(schema)

    def names(self, ask: Callable[[], list[str]]) -> list[str]:
        """Return all names; none when the server does not answer, or was asked within the last second."""
        if self._names is None and self._may_ask():
            try:
                self._names = ask()
            except MiError:
                return []
        return list(self._names or ())

    def all_names(self, ask: Callable[[], list[str]]) -> list[str]:
        """Ask the server for all names, and learn them."""
        self._names = ask()
        return list(self._names)

    @property
    def heard(self) -> tuple[str, ...]:
        """The names that the server said; empty before it was asked."""
        return tuple(self._names or ())

    def command(self, name: str, ask: Callable[[], CommandSchema]) -> CommandSchema:
        """Describe a command; from tables alone when the server cannot be asked now."""
        known = self._commands.get(name)
        if known is not None:
            return known
        if self._may_ask():
            try:
                return self._commands.setdefault(name, ask())
            except MiError:
                pass
        recipes = legacy_recipes(name)
        return CommandSchema(name, recipes=None if recipes is None else tuple(tuple(recipe) for recipe in recipes))

    def _may_ask(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return False
            self._next = now + PAUSE
            return True
