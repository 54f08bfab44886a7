"""The same calls on every wire of a server give the same values, and the shape table holds from version to version."""

from __future__ import annotations

from collections import Counter

import calls
import pytest
from answers import answers, table
from comparison import DIFFERENT, REFUSED, compare
from outcomes import fits, shape
from servers import Endpoint, RealServer


def compared(endpoint: Endpoint, reference: Endpoint) -> tuple[Counter[str], list[str]]:
    """How the calls at an endpoint compare with those at another, and those that differ."""
    counts: Counter[str] = Counter({"calls": len(calls.all_calls())})
    differences = []
    not_stored: set[object] = set()
    for call, found, expected in zip(calls.all_calls(), answers(endpoint), answers(reference)):
        verdict = compare(call, endpoint, found, expected)
        if call.subject in not_stored:
            verdict = REFUSED
        elif verdict == REFUSED and call.subject:
            not_stored.add(call.subject)
        counts[verdict] += 1
        if verdict == DIFFERENT:
            differences.append(f"{call}\n  {reference}: {expected}\n  {endpoint}: {found}")
    return counts, differences


def test_every_wire_gives_the_values_of_the_first(real_server: RealServer) -> None:
    reference = real_server.endpoint("udp", "fifo", "unix", "http")
    assert reference is not None
    all_differences = []
    for endpoint in real_server.callable_endpoints:
        table[endpoint], differences = compared(endpoint, reference)
        all_differences += differences
    assert not all_differences, "\n" + "\n".join(all_differences)


def test_no_call_ends_without_an_answer(endpoint: Endpoint) -> None:
    errors = [
        f"{call}: {outcome}" for call, outcome in zip(calls.all_calls(), answers(endpoint)) if outcome.kind == "error"
    ]
    assert not errors, "\n".join(errors)


def test_the_server_is_alive_after_all_calls(endpoint: Endpoint) -> None:
    answers(endpoint)
    assert endpoint.is_alive()


def test_values_of_the_shape_table_have_one_shape_in_all_versions(real_servers: tuple[RealServer, ...]) -> None:
    if len(real_servers) < 2:
        pytest.skip("one version alone has nothing to be compared with")
    newest = max(real_servers, key=lambda server: (server.version[0].isdigit(), server.version))
    contradictions = []
    for server in real_servers:
        for call, older, newer in zip(calls.all_calls(), _first_answers(server), _first_answers(newest)):
            if call.is_in_table and older.kind == newer.kind == "value":
                contradiction = fits(shape(older.value), shape(newer.value))
                if contradiction:
                    contradictions.append(f"{call}{contradiction} ({server} and {newest})")
    assert not contradictions, "\n" + "\n".join(contradictions)


def _first_answers(server: RealServer) -> tuple[object, ...]:
    endpoint = server.endpoint("udp", "fifo", "unix", "http")
    assert endpoint is not None
    return answers(endpoint)
