"""Handlers that greenlets suspend: each one's request stays its own, and lives for as long as it is looked at."""

from __future__ import annotations

import threading
from typing import Any, Optional

import greenlet
import pytest

import sipmi


def transport() -> Optional[str]:
    request = sipmi.current_request()
    return None if request is None else request.transport


def overwrite_the_stack(depth: int = 50) -> int:
    """Has the interpreter use the stack on which a suspended handler was."""
    return depth and overwrite_the_stack(depth - 1) + sum(sorted(range(depth), key=lambda number: -number))


@pytest.fixture(name="server")
def a_server() -> sipmi.Server:
    return sipmi.Server("greenlets")


def test_a_handler_sees_its_own_request_while_one_from_within_is_suspended(server: sipmi.Server) -> None:
    seen: dict[str, Optional[str]] = {}

    @server.command
    def inner() -> None:
        greenlet.getcurrent().parent.switch()
        overwrite_the_stack()
        seen["inner, resumed"] = transport()

    @server.command
    def outer() -> str:
        seen["outer"] = transport()
        within = greenlet.greenlet(lambda: server.call("inner"))
        within.switch()
        overwrite_the_stack()
        seen["outer, while inner is suspended"] = transport()
        within.switch()
        seen["outer, after inner"] = transport()
        return "done"

    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        assert mi.call("outer") == "done"
    assert seen == {
        "outer": "udp",
        "outer, while inner is suspended": "udp",
        "inner, resumed": "local",
        "outer, after inner": "udp",
    }


def test_after_a_request_ends_its_suspended_inner_request_is_not_current(server: sipmi.Server) -> None:
    """The outer handler returns first; what is left of it must not be read."""
    suspended: list[Any] = []
    seen: list[Optional[str]] = []

    @server.command
    def inner() -> None:
        greenlet.getcurrent().parent.switch()
        overwrite_the_stack()
        seen.append(transport())

    @server.command
    def outer() -> None:
        suspended.append(greenlet.greenlet(lambda: server.call("inner")))
        suspended[-1].switch()

    for _ in range(20):
        server.call("outer")
        overwrite_the_stack()
        assert transport() is None
    for each in suspended:
        each.switch()
        assert transport() is None
    assert seen == ["local"] * 20


def test_a_greenlet_that_outlives_its_handler_has_no_request(server: sipmi.Server) -> None:
    seen: list[Optional[str]] = []
    kept: list[Any] = []

    def work() -> None:
        seen.append(transport())
        greenlet.getcurrent().parent.switch()
        seen.append(transport())

    @server.command
    def start() -> None:
        kept.append(greenlet.greenlet(work))
        kept[0].switch()

    server.call("start")
    overwrite_the_stack()
    kept[0].switch()
    assert seen == ["local", None]


def test_a_suspended_handler_that_is_thrown_away_ends_its_request(server: sipmi.Server) -> None:
    ended = threading.Event()

    @server.command
    def inner() -> None:
        try:
            greenlet.getcurrent().parent.switch()
        finally:
            ended.set()

    within = greenlet.greenlet(lambda: server.call("inner"))
    within.switch()
    with pytest.raises(sipmi.Fault):
        within.throw(greenlet.GreenletExit)
    assert ended.is_set()
    assert transport() is None


def test_flush_outside_of_the_greenlets_of_a_handler_is_refused(server: sipmi.Server) -> None:
    @server.command
    def inner() -> None:
        greenlet.getcurrent().parent.switch()

    within = greenlet.greenlet(lambda: server.call("inner"))
    within.switch()
    with pytest.raises(RuntimeError, match="flush"):
        sipmi.Tree().flush()
    within.switch()
