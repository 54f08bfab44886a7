"""Libraries that are installed beside the package."""

from __future__ import annotations

import importlib.util

from .ending import Failure


def need(module: str, subcommand: str, extra: str = "cli") -> None:
    """Makes sure that a subcommand has what it needs.

    :raises Failure: it has not; says what to install.
    """
    if importlib.util.find_spec(module) is None:
        raise Failure(f"{subcommand} needs {module}, which is not installed", f"pip install 'sipmi[{extra}]'")
