"""The statistics of a server: readings with units, the change between two of them, and samples at an interval.

``mi.statistics(...)`` and ``mi.watch([...])`` use this package.
"""

from ._asking import Selection as Selection
from ._asking import reading_of as reading_of
from ._asking import selected as selected
from ._asking import statistics_of as statistics_of
from ._asking import statistics_of_async as statistics_of_async
from ._meanings import COUNTER, GAUGE, UNKNOWN, Meaning
from ._reading import Change, Reading, Sample, Value, to_frame, to_rows
from ._watch import SHORTEST_INTERVAL, AsyncWatch, Watch
from ._watch import plan_of as plan_of

__all__ = [
    "COUNTER",
    "GAUGE",
    "SHORTEST_INTERVAL",
    "UNKNOWN",
    "AsyncWatch",
    "Change",
    "Meaning",
    "Reading",
    "Sample",
    "Value",
    "Watch",
    "to_frame",
    "to_rows",
]
