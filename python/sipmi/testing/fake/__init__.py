"""FakeOpenSIPS and the modules of OpenSIPS that it imitates."""

from .opensips import FakeOpenSIPS

__all__ = ["FakeOpenSIPS"]
