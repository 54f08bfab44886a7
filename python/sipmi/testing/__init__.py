"""An OpenSIPS for tests: :class:`FakeOpenSIPS` answers as a version does, with its commands, names and errors.

>>> import sipmi
>>> from sipmi.testing import FakeOpenSIPS
>>> with FakeOpenSIPS("2.4") as opensips, sipmi.connect(opensips.address("udp")) as mi:
...     mi.call("version")
{'Server': 'OpenSIPS (2.4.11 (x86_64/linux))'}
"""

from .cassette import Cassette
from .fake import FakeOpenSIPS
from .live import LiveServer
from .waiting import eventually

__all__ = ["Cassette", "FakeOpenSIPS", "LiveServer", "eventually"]
