"""Which commands each version of OpenSIPS has, in the order in which ``which`` lists them, and what they take."""

from __future__ import annotations

from ..._core import (
    canonical_command_name,
    cataloged_commands,
    cataloged_recipes,
    cataloged_versions,
    command_module,
    loadable_modules,
)

#: Versions whose replies are trees and whose commands have one flat name.
LEGACY = ("1.8", "1.11", "2.4")
#: Versions that speak JSON-RPC.
MODERN = ("3.2", "3.4", "3.6", "4.0", "4.1")
VERSIONS = tuple(cataloged_versions())
SINCE_1_11 = VERSIONS[1:]
SINCE_3_4 = ("3.4", "3.6", "4.0", "4.1")
#: Versions that call a command ``module:name``.
MODULAR = ("4.0", "4.1")

#: Modules that a configuration loads or not; the core has all other commands.
LOADABLE = tuple(loadable_modules())

#: The commands of each version by the names they had before 4.0, in order.
COMMANDS = {version: tuple(cataloged_commands(version) or ()) for version in VERSIONS}

#: The names in 3.x of the modules that 4.0 split off the core.
_OF_THE_CORE = {"tcp", "mem", "cache", "status_report", "evi"}


def canonical(name: str) -> tuple[str, str]:
    """The module of a command and the name that 4.0 gives it there.

    >>> canonical("ul_add"), canonical("cache_store"), canonical("profile_get_size")
    (('usrloc', 'add'), ('cache', 'store'), ('dialog', 'profile_get_size'))
    """
    known = canonical_command_name(name)
    if known is not None:
        module, _, short = known.partition(":")
        return module, short
    return command_module(name) or "core", name


def exporter(name: str, version: str) -> str:
    """The module that a version says exports a command."""
    module = canonical(name)[0]
    return "core" if version not in MODULAR and module in _OF_THE_CORE else module


def recipes(name: str) -> list[list[str]]:
    """The sets of names that a command takes.

    >>> recipes("profile_get_size")
    [['profile'], ['profile', 'value']]
    """
    return cataloged_recipes(name) or [[]]
