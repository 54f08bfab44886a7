"""The options of a subscription to events, listed once."""

# No postponed annotations: Python 3.9 cannot resolve those of a TypedDict that another one extends.

from typing import Any, Optional, TypedDict

from .._numbers import Count, Interval, Seconds

#: The number of events that wait to be taken by default.
MAX_QUEUE = 10_000
#: A full queue drops its oldest event.
OVERFLOW = "drop"


class EventOptions(TypedDict, total=False):
    """The options of :func:`sipmi.events.listen`, which describes them."""

    expire: Count
    at: str
    advertise: Optional[str]
    max_queue: Count
    overflow: str
    restart_poll: Optional[Interval]
    duration: Optional[Seconds]


def subscription_options(options: EventOptions) -> dict[str, Any]:
    """Return the options of the subscription alone."""
    return {"expire": options.get("expire", 3600), "restart_poll": options.get("restart_poll", 10.0)}
