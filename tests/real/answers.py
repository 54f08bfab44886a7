"""The answers of every endpoint in this run, and the number of those that were as expected."""

from __future__ import annotations

import functools
from collections import Counter

import calls
from outcomes import Outcome, ask
from servers import Endpoint

#: For each endpoint, the number of calls by how they compare with the reference endpoint of the same server.
table: dict[Endpoint, Counter[str]] = {}


@functools.cache
def answers(endpoint: Endpoint) -> tuple[Outcome, ...]:
    """The outcome of every call of the list at an endpoint. The calls are made once in a run."""
    return ask_all(endpoint)


def ask_all(endpoint: Endpoint) -> tuple[Outcome, ...]:
    """Makes every call of the list at an endpoint."""
    if not endpoint.is_alive():
        return tuple(Outcome("error", "the endpoint does not answer") for _ in calls.all_calls())
    with endpoint.connect() as mi:
        return tuple(ask(mi, call) for call in calls.all_calls())
