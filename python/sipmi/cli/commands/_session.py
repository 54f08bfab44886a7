"""The state of ``sipmi shell``: the server that is called, and the outcome of the last line."""

from __future__ import annotations

import argparse
from typing import Optional

from ...client import Client
from ..ending import OK
from ..live import Live
from ..options import client
from ..servers import Target


class Session:
    """One server at a time, and how values are shown."""

    def __init__(self, target: Target, options: argparse.Namespace) -> None:
        self.options = options
        self.target: Target = target
        self.mi: Client = client(target, options)
        self.live: Live = Live(self.mi)
        self.code: int = OK
        """The exit code of the last line."""
        self.elapsed: Optional[float] = None
        """Seconds that the last call took."""

    def use(self, target: Target) -> None:
        """Connect to another server in place of this one."""
        mi = client(target, self.options)
        self.mi.close()
        self.mi, self.live, self.target = mi, Live(mi), target
