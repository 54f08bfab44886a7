"""A server that emulates a version answers recorded requests as that version did.

``test_conformance.py`` replays everything against a fake with hazards. Here a server without them answers what has
nothing to do with them: a cache, a version, parameters, framing, sizes, errors. Requests that a real server lost,
because an earlier request put it out of step or because it crashed, are left out by the rules in ``is_hazard``.
"""

from __future__ import annotations

import re
from typing import Any, Optional

import pytest

from endpoints import SILENCE, Endpoints, recorded
from sipmi.testing import FakeOpenSIPS

#: Commands whose replies here are those of the real server, and requests that name none.
ANSWERED = {
    "version", "cache_store", "cache_fetch", "no_such_cmd", "nosuch", "nosuch:which", "VERSION", "debug",
    "version ", "dlg_list", "list_blacklists",
}  # fmt: skip


#: The log level is what the configuration said; the unbound client is a test of its own.
NOT_REPLAYED = {"log_get", "raw_unbound"}


def method_of(request: bytes) -> Optional[str]:
    """The command that a request names, in either wire; None when it cannot be told."""
    json_method = re.search(rb'"method"\s*:\s*"([^"]*)"', request, re.IGNORECASE)
    if json_method:
        return json_method[1].decode()
    text_method = re.match(rb":([^:\n]*):", request)
    return text_method[1].decode() if text_method and not re.match(rb":[^:]*:\s*[{\[]", request) else None


#: A node of 1.11 and 2.4 that is longer is lost, a JSON request on a FIFO that is longer is not served.
NODE_LIMIT, FRAME_LIMIT = 2047, 4096
LOST = re.compile("cache_fetch_long3000|raw_big_(16|60)000_fetch|value_(4096|20000)_fetch")
#: Silent about these on purpose, whatever came before.
ALWAYS_SILENT = ("raw_empty", "raw_no_lead_colon", "raw_empty_cmd", "invalid_json")


def is_hazard(pair: dict[str, Any], previous: Optional[dict[str, Any]]) -> bool:
    """Return whether the reply shows a fault of the original, not an answer."""
    case, silent = pair["case"], pair["replies"] == [b""]
    if "CRASHED" in pair["note"] or case.startswith("split_"):
        return True
    if LOST.fullmatch(case) and len(pair["replies"][0]) < NODE_LIMIT:
        return True
    if silent and pair["request"].startswith(b":") and len(pair["request"]) > FRAME_LIMIT:
        return True
    # After a parse error the C server is out of step and swallows the next request.
    after_error = previous is not None and (b"arse error" in previous["replies"][0] or previous["replies"] == [b""])
    return silent and after_error and case not in ALWAYS_SILENT


def replayable(name: str) -> list[dict[str, Any]]:
    pairs, previous, chosen = recorded(name), None, []
    for pair in pairs:
        method = method_of(pair["request"])
        known = (method is None or method in ANSWERED) and pair["case"] not in NOT_REPLAYED
        if known and pair["request"] and not is_hazard(pair, previous):
            chosen.append(pair)
        previous = pair
    return chosen


def masked(reply: bytes) -> bytes:
    """The reply without what is different every time: times, and how long a server has been up."""
    reply = re.sub(rb"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", b"TIME", reply)
    return re.sub(rb"\d+ \[sec\]", b"N [sec]", reply)


VERSIONS = ["1.11", "2.4", "3.4", "4.0"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transport", ["udp", "unix"])
def test_datagrams_are_answered_as_recorded(version: str, transport: str, directory: str) -> None:
    server = FakeOpenSIPS(version).server
    pretty = transport == "unix" and version in ("3.4", "4.0")  # as the recorded servers were set up
    endpoints = Endpoints(server, directory, pretty_printing=pretty)
    different = []
    pairs = replayable(f"{version}-datagram-{transport}")
    with server:
        peer = endpoints.peer(transport)
        for pair in pairs:
            expected = pair["replies"][0]
            reply = peer.exchange(pair["request"], silence=5.0 if expected else SILENCE) or b""
            if masked(reply) != masked(expected):
                different.append((pair["case"], pair["request"][:150], reply[:200], expected[:200]))
        peer.close()
    assert len(pairs) > 50
    assert different == [], "\n".join(map(repr, different))


@pytest.mark.parametrize("version", VERSIONS)
def test_fifo_requests_are_answered_as_recorded(version: str, directory: str) -> None:
    server = FakeOpenSIPS(version).server
    endpoints = Endpoints(server, directory)
    different = []
    files = [f"{version}-fifo"] + ([f"{version}-fifo-framing"] if version in ("3.4", "4.0") else [])
    pairs = [pair for file in files for pair in replayable(file)]
    with server:
        for pair in pairs:
            expected = pair["replies"][0]
            name = re.search(rb"lab_\d+_\d+", pair["request"])
            reply = endpoints.fifo.exchange(
                lambda _, request=pair["request"]: request,
                name=name[0].decode() if name else None,
                silence=5.0 if expected else SILENCE,
                writers=pair["request"].count(name[0]) if name else 1,
            )
            if masked(reply or b"") != masked(expected):
                different.append((pair["case"], pair["request"][:150], (reply or b"")[:200], expected[:200]))
    assert len(pairs) > 50
    assert different == [], "\n".join(map(repr, different))
