"""An OpenSIPS for tests: :class:`FakeOpenSIPS` answers as a version does, with its commands, names and errors.

>>> import sipmi
>>> from sipmi.testing import FakeOpenSIPS
>>> with FakeOpenSIPS("2.4") as opensips, sipmi.connect(opensips.address("udp")) as mi:
...     mi.call("version")
{'Server': 'OpenSIPS (2.4.11 (x86_64/linux))'}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cassette import Cassette
    from .fake import FakeOpenSIPS
    from .live import LiveServer
    from .waiting import eventually

#: Names that are imported on first use, with their modules: pytest loads the plugin beside them in every run.
_LATER = {"Cassette": "cassette", "FakeOpenSIPS": "fake", "LiveServer": "live", "eventually": "waiting"}

__all__ = ["Cassette", "FakeOpenSIPS", "LiveServer", "eventually"]


def __getattr__(name: str) -> Any:
    """Import a name of ``__all__`` on first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
