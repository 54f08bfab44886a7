"""A cache in memory: cache_store, cache_fetch, cache_remove and those of several keys (``cachedb_local``)."""

from __future__ import annotations

import fnmatch
import time
from typing import TYPE_CHECKING, Any, Optional

from ..._core import Tree
from ...errors import Fault
from .commands import LEGACY, MODERN, MODULAR, Module, invalid_params, mi, nameless

if TYPE_CHECKING:
    from .deployment import Deployment


class Cache(Module):
    """Values by key, that expire or not; ``fake.cache.store("key", "value")``."""

    def __init__(self, fake: Deployment) -> None:
        super().__init__(fake)
        self._values: dict[str, tuple[str, float]] = {}

    def store(self, key: str, value: str, expire: float = 0) -> None:
        """Keeps a value for ``expire`` seconds, 0: for ever."""
        self._values[key] = (value, time.monotonic() + expire if expire else 0.0)

    def fetch(self, key: str) -> Optional[str]:
        """A value that has not expired."""
        value, until = self._values.get(key, (None, 0.0))
        if until and until <= time.monotonic():
            del self._values[key]
            return None
        return value

    def remove(self, key: str) -> None:
        """Forgets a value, if there is one."""
        self._values.pop(key, None)

    def keys(self) -> list[str]:
        """The keys of values that have not expired."""
        return [key for key in list(self._values) if self.fetch(key) is not None]

    # -- 1.x and 2.x count parameters themselves, and call too few 404 ------------------------------

    @mi("cache_store", LEGACY)
    def store_text(self, *given: str) -> None:
        """stores in a cache system a string value"""
        system, key, value = self._counted(given, 3, 4)[:3]
        if not value:
            raise Fault(404, "Empty value argument")
        expire = given[3] if len(given) > 3 else "0"
        if not expire.isdigit():
            raise Fault(404, "Bad format for expires argument")
        self._check_system(system, "store")
        self.store(key, value, int(expire))

    @mi("cache_fetch", LEGACY)
    def fetch_text(self, *given: str) -> Any:
        """queries for a cached value"""
        system, key = self._counted(given, 2, 2)
        self._check_system(system, "fetch")
        value = self.fetch(key)
        if value is None:
            return nameless("Value not found")
        if self.fake.version == "2.4":
            return {"key": key} if self.is_lost(value) else {"key": key, "value": value}
        shown = f"{key} = [{value}]"
        return Tree() if self.is_lost(shown) else nameless(shown)

    @mi("cache_remove", LEGACY)
    def remove_text(self, *given: str) -> None:
        """removes a record from the cache system"""
        system, key = self._counted(given, 2, 2)
        self._check_system(system, "remove")
        self.remove(key)

    # -- 3.x and 4.x ----------------------------------------------------------------------------------

    @mi("cache_store", MODERN, recipes=[["system", "attr", "value"], ["system", "attr", "value", "expire"]])
    def store_json(self, system: str, attr: str, value: str, expire: int = 0) -> None:
        """stores in a cache system a string value"""
        self._check(system, attr)
        if not value:
            raise invalid_params("Empty value")
        if expire < 0:
            raise invalid_params("Negative expire value")
        self._check_system(system, "store")
        self.store(attr, value, expire)

    @mi("cache_fetch", MODERN, read_only=True)
    def fetch_json(self, system: str, attr: str) -> dict[str, str]:
        """queries for a cached value"""
        self._check(system, attr)
        self._check_system(system, "fetch")
        value = self.fetch(attr)
        if value is None:
            raise Fault(400, "Value not found")
        return {"key": attr, "value": value}

    @mi("cache_remove", MODERN)
    def remove_json(self, system: str, attr: str) -> None:
        """removes a record from the cache system"""
        self._check(system, attr)
        self._check_system(system, "remove")
        self.remove(attr)

    @mi("cache_fetch_chunk", ("3.6", *MODULAR), recipes=[["glob"], ["glob", "collection"]], read_only=True)
    def fetch_chunk(self, glob: str, collection: str = "default") -> dict[str, Any]:
        """fetches all keys that match a pattern"""
        return {"keys": [{"name": key, "value": self.fetch(key)} for key in self._matching(glob)]}

    @mi("cache_remove_chunk")
    def remove_chunk(self, glob: str, collection: str = "default") -> None:
        """removes all keys that match a pattern"""
        for key in self._matching(glob):
            self.remove(key)

    def _matching(self, glob: str) -> list[str]:
        return [key for key in self.keys() if fnmatch.fnmatchcase(key, glob)]

    @staticmethod
    def _counted(given: tuple[str, ...], least: int, most: int) -> tuple[str, ...]:
        if len(given) < least:
            raise Fault(404, "Too few arguments")
        if len(given) > most:
            raise Fault(404, "Too many arguments")
        return given

    @staticmethod
    def _check(system: str, attr: str) -> None:
        if not system:
            raise invalid_params("Empty memory cache id")
        if not attr:
            raise invalid_params("Empty attribute name")

    def _check_system(self, system: str, what: str) -> None:
        if system.partition(":")[0] != "local" or not self.fake.loads("cachedb_local"):
            raise Fault(500, f"Cache {what} command failed")
