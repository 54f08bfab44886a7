"""Recorded traffic of a server, replayed or checked by tests."""

from .cassette import Cassette

__all__ = ["Cassette"]
