"""Events of real servers, over UDP, UNIX and TCP, and through a restart of the server."""

from __future__ import annotations

import time

import pytest
from calls import CONTACT
from servers import Endpoint, RealServer

import sipmi

AOR = "sipmi-real-event@127.0.0.1"
#: Seconds that an event may take.
EVENT_TIMEOUT = 5.0


def raise_one(mi: sipmi.Client, number: int) -> None:
    """Has the server raise an event: a user is added and removed."""
    aor = f"{number}-{AOR}"
    mi.call(
        "ul_add", table_name="location", aor=aor, contact=CONTACT, expires=60, q="0.5", flags=0, cflags="0", methods=31
    )
    mi.call("ul_rm", table_name="location", aor=aor)


def event_name(mi: sipmi.Client) -> str:
    """An event that :func:`raise_one` raises: 1.x has those of address records only."""
    names = [each["name"] for each in mi.call("events_list")["Events"]]
    wanted = [name for name in ("E_UL_AOR_INSERT", "E_UL_CONTACT_INSERT") if name in names]
    if not wanted:
        pytest.skip("the server has no events of usrloc")
    return wanted[0]


@pytest.fixture(params=["udp", "unix", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def endpoint_of(server: RealServer) -> Endpoint:
    found = server.endpoint("udp", "fifo", "http")
    assert found is not None
    return found


def test_events_arrive_over_each_transport(real_server: RealServer, transport: str) -> None:
    with endpoint_of(real_server).connect() as mi:
        name = event_name(mi)
        if transport == "tcp" and not real_server.endpoints[0].is_typed:
            with pytest.raises((sipmi.MiError, ValueError)):
                mi.events(name, at="tcp").__enter__()
            return
        with mi.events(name, at=transport) as events:
            for number in range(3):
                raise_one(mi, number)
            found = {events.get(timeout=EVENT_TIMEOUT).params["aor"].partition("-")[0] for _ in range(3)}
    assert found == {"0", "1", "2"}


def test_a_subscription_survives_a_restart_of_the_server(real_server: RealServer, transport: str) -> None:
    if real_server.restart_command is None:
        pytest.skip('no way to restart it: --opensips-restart "COMMAND {version}"')
    if transport == "tcp" and not real_server.endpoints[0].is_typed:
        return  # 1.x and 2.x send no events over TCP
    with endpoint_of(real_server).connect() as mi:
        name = event_name(mi)
        with mi.events(name, at=transport, restart_poll=1.0) as events:
            raise_one(mi, 1)
            assert events.get(timeout=EVENT_TIMEOUT).params["aor"].startswith("1-")
            real_server.restart()
            deadline = time.monotonic() + 30
            while True:
                raise_one(mi, 2)
                try:
                    event = events.get(timeout=1.0)
                except (TimeoutError, sipmi.MiError):
                    assert time.monotonic() < deadline, "no event after the restart"
                    continue
                if event.params["aor"].startswith("2-"):
                    break
        assert events.restarts == 1
