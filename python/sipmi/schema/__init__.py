"""The commands of a server with parameters and help, and the differences between two servers.

``mi.commands()``, ``mi.diff(other)`` and completion use this package.
"""

from ._completion import Completion
from ._of_client import commands_of, commands_of_async, describe_for_completion, names_for_completion, names_of
from ._schema import CommandSchema, Schema, SchemaDiff

__all__ = [
    "CommandSchema",
    "Completion",
    "Schema",
    "SchemaDiff",
    "commands_of",
    "commands_of_async",
    "describe_for_completion",
    "names_for_completion",
    "names_of",
]
