"""Events: raised by a server, delivered over every socket and wire, received with ``sipmi.events``."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Callable

import pytest

import sipmi
from descriptors import descriptors
from endpoints import PATIENCE, Endpoints, recorded
from jsonrpc_calls import error_of, result_of, rpc
from sipmi.events import Event, Receiver, listen
from waiting import eventually

TRANSPORTS = ["udp", "unix", "fifo"]
WIRES = ["text", "jsonrpc"]


@contextmanager
def udp_subscriber() -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        yield sock, f"udp:127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def tcp_subscriber() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(PATIENCE)
        yield sock, f"tcp:127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def unix_subscriber(directory: str) -> Iterator[tuple[socket.socket, str]]:
    path = os.path.join(directory, "subscriber")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(PATIENCE)
        yield sock, f"unix:{path}"


@pytest.fixture
def billing() -> Iterator[sipmi.Server]:
    server = sipmi.Server("billing")
    server.event("E_SUB_ADDED")
    yield server
    server.stop()


def subscribe(server: sipmi.Server, address: str, event: str = "E_SUB_ADDED", expire: int = 60) -> None:
    assert server.call("event_subscribe", event, address, expire) == "OK"


def counts(server: sipmi.Server, address: str) -> tuple[int, int]:
    """How many events for a socket were sent, and how many dropped."""
    [found] = [subscriber for subscriber in server.subscribers if subscriber.socket == address]
    return found.sent, found.dropped


def is_settled(server: sipmi.Server, address: str, events: int) -> Callable[[], bool]:
    return lambda: sum(counts(server, address)) == events


# -- the commands, as recorded --------------------------------------------------------------------


#: The subscribers at the start of a recording.
PRESENT = {
    "1.11": [("udp:127.0.0.1:34437", "E_UL_AOR_INSERT", 0), ("udp:127.0.0.1:34437", "E_UL_AOR_DELETE", 60)],
    "2.4": [
        ("udp:127.0.0.1:25999", "E_CORE_THRESHOLD", 60),
        ("udp:127.0.0.1:43163", "E_UL_AOR_INSERT", 0),
        ("udp:127.0.0.1:43163", "E_UL_AOR_DELETE", 60),
        ("udp:127.0.0.1:43163", "E_UL_CONTACT_INSERT", 60),
    ],
    "4.0": [("udp:127.0.0.1:50686", "E_UL_AOR_INSERT", 60)],
}


@pytest.mark.parametrize("version", ["1.11", "2.4", "4.0"])
def test_a_recorded_session_with_events_is_repeated_byte_for_byte(
    version: str, serve: Callable[..., Endpoints]
) -> None:
    pairs = recorded(f"{version}-events")
    server = sipmi.Server("opensips", emulate=version)
    for name in re.findall(rb"E_[A-Z_]+", pairs[0]["replies"][0]):
        server.event(name.decode())
    for address, event, expire in PRESENT[version]:
        server.call("event_subscribe", event, address, 60)
        server.call("event_subscribe", event, address, expire)
    endpoints = serve(server)
    compared = 0
    with udp_subscriber() as (subscriber, address):
        [old] = re.findall(rb"udp:127.0.0.1:(\d+)", pairs[1]["request"])
        new = address.rpartition(":")[2].encode()
        for pair in pairs:
            expected = pair["replies"][0]
            if pair["case"] in ("ul_add", "ul_rm"):
                continue
            if pair["case"] == "event":
                name, params, _, _ = sipmi._core.decode_event(expected)
                assert server.raise_event(name, params) == 1 + len([p for p in PRESENT[version] if p[1:] == (name, 60)])
                assert subscriber.recv(65536) == expected
            else:
                reply = endpoints.ask("udp", pair["request"].replace(old, new))
                assert without_ttl(reply or b"") == without_ttl(expected.replace(old, new)), pair["what"]
            compared += 1
    assert compared >= 11


def without_ttl(reply: bytes) -> bytes:
    return re.sub(rb'"ttl":\d+', b'"ttl":1', reply)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_subscriber_gets_the_form_of_the_wire_by_which_it_subscribed(
    billing: sipmi.Server, serve: Callable[..., Endpoints], transport: str, wire: str
) -> None:
    endpoints = serve(billing)
    address = {
        "fifo": f"fifo:{endpoints.fifo_path}?reply_dir={endpoints.directory}",
        "udp": endpoints.udp_address,
        "unix": f"unix:{endpoints.unix_path}",
    }[transport]
    with udp_subscriber() as (subscriber, to), sipmi.connect(address, wire=wire) as mi:
        assert mi.call("event_subscribe", "E_SUB_ADDED", to) == "OK"
        assert billing.raise_event("E_SUB_ADDED", {"user": "alice", "credit": 2, "note": None}) == 1
        assert (
            subscriber.recv(65536)
            == {
                "text": b"E_SUB_ADDED\nuser::alice\ncredit::2\nnote::\n\n",
                "jsonrpc": b'{"jsonrpc":"2.0","method":"E_SUB_ADDED","params":{"user":"alice","credit":2,"note":null}}',
            }[wire]
        )
        assert billing.subscribers[0].wire == wire
        assert billing.subscribers[0].expire == 3600


def post(url: str, body: str, kind: str) -> bytes:
    request = urllib.request.Request(url, body.encode(), {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return bytes(reply.read())


def test_over_http_the_form_goes_by_the_wire_too(billing: sipmi.Server) -> None:
    billing.listen("http://127.0.0.1:0")
    billing.start()
    base = billing.addresses[0].removesuffix("/mi")
    with ExitStack() as opened:
        subscribers = [opened.enter_context(udp_subscriber()) for _ in range(4)]
        (_, mi), (_, json_get), (_, strings), (_, native) = subscribers
        assert result_of(post(f"{base}/mi", rpc("event_subscribe", ["E_SUB_ADDED", mi]).decode(), "application/json"))
        urllib.request.urlopen(
            f"{base}/json/event_subscribe?params=E_SUB_ADDED,{json_get},60", timeout=PATIENCE
        ).close()
        for path, to in (("/xmlrpc", strings), ("/RPC2", native)):
            params = "".join(f"<param><value><string>{value}</string></value></param>" for value in ("E_SUB_ADDED", to))
            call = f"<methodCall><methodName>event_subscribe</methodName><params>{params}</params></methodCall>"
            assert b"fault" not in post(base + path, f'<?xml version="1.0"?>{call}', "text/xml")
        assert billing.raise_event("E_SUB_ADDED", {"n": 1}) == 4
        text, notification = b"E_SUB_ADDED\nn::1\n\n", b'{"jsonrpc":"2.0","method":"E_SUB_ADDED","params":{"n":1}}'
        assert [sock.recv(65536) for sock, _ in subscribers] == [notification, text, text, notification]
        for address in (native, strings, mi):
            billing.call("event_subscribe", "E_SUB_ADDED", address, 0)
        billing.raise_event("E_SUB_ADDED")
        with urllib.request.urlopen(f"{base}/json/subscribers_list", timeout=PATIENCE) as reply:
            subscriber = f'{{"attributes":{{"socket": "{json_get}", "expire": "60"}}}}'
            children = f'"children":{{"Subscriber": [{subscriber}]}}'
            event = f'{{"value":"E_SUB_ADDED", "attributes":{{"id": "0"}}, {children}}}'
            assert reply.read().decode() == f'{{"Event": [{event}]}}'


def test_a_listener_that_only_reads_takes_no_subscriptions(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    endpoints = serve(billing, read_only=True)
    assert "error" in json.loads(
        endpoints.ask("udp", rpc("event_subscribe", ["E_SUB_ADDED", "udp:127.0.0.1:9"])) or b""
    )
    assert result_of(endpoints.ask("udp", rpc("events_list")))["Events"] == [{"name": "E_SUB_ADDED", "id": 0}]


def test_an_impossible_subscription_is_an_error_with_its_reason(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    endpoints = serve(billing)
    why = {
        ("E_NO", "udp:127.0.0.1:1"): "no event",
        ("E_SUB_ADDED", "udp:127.0.0.1:0"): "a port of 1",
        ("E_SUB_ADDED", "udp:127.0.0.1"): "host:port",
        ("E_SUB_ADDED", "nonsense"): "udp:host:port",
        ("E_SUB_ADDED", "smtp:127.0.0.1:25"): "udp:host:port",
        ("E_SUB_ADDED", "unix:"): "path",
        ("E_SUB_ADDED", f"unix:/{'x' * 200}"): "path",
        ("E_SUB_ADDED", "tcp:127.0.0.1:1/"): "method",
    }
    for (event, to), words in why.items():
        error = error_of(endpoints.ask("udp", rpc("event_subscribe", [event, to])))
        assert (error["code"], error["message"]) == (400, "Bad parameter value")
        assert words in error["data"]
        assert endpoints.ask("udp", f":event_subscribe:\n{event}\n{to}\n".encode()) == b"400 Bad parameter\n\n"
    error = error_of(endpoints.ask("udp", rpc("event_subscribe", ["E_SUB_ADDED", "udp:127.0.0.1:1", -1])))
    assert error == {"code": -32602, "message": "Invalid params", "data": "Negative expire value"}
    assert billing.subscribers == []


def test_the_lists_can_be_asked_for_one_event_and_one_socket(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    endpoints = serve(billing)
    billing.event("E_SUB_GONE")

    def listed(*params: str) -> Any:
        return json.loads(endpoints.ask("udp", rpc("subscribers_list", list(params))) or b"")

    assert listed("E_SUB_ADDED")["result"] == {"Event": {}}
    assert listed("E_NO")["error"] == {"code": 404, "message": "Event not published"}
    subscribe(billing, "udp:127.0.0.1:9")
    subscribe(billing, "udp:localhost:9", "E_SUB_GONE", 30)
    assert listed("E_SUB_ADDED", "udp:127.0.0.1:8")["error"] == {"code": 404, "message": "Subscriber does not exist"}
    one = {"name": "E_SUB_GONE", "id": 1, "Subscriber": {"socket": "udp:localhost:9", "expire": 30, "ttl": 30}}
    assert listed("E_SUB_GONE", "udp:127.0.0.1:9")["result"] == {"Event": one}, "by any spelling of the socket"
    text = endpoints.ask("udp", b":subscribers_list:\nE_SUB_GONE\n")
    assert text == b"200 OK\nEvent:: E_SUB_GONE id=1\n\tSubscriber::  socket=udp:localhost:9 expire=30\n\n"
    assert result_of(endpoints.ask("udp", rpc("evi:list")))["Events"] == [
        {"name": "E_SUB_ADDED", "id": 0},
        {"name": "E_SUB_GONE", "id": 1},
    ]


@pytest.mark.parametrize(("version", "bare"), [("4.0", "raise"), ("3.4", "raise_event")])
def test_a_version_that_has_raise_event_raises_events_over_mi(
    version: str, bare: str, serve: Callable[..., Endpoints]
) -> None:
    server = sipmi.Server("opensips", emulate=version)
    server.event("E_X")
    endpoints = serve(server)
    with udp_subscriber() as (subscriber, to):
        subscribe(server, to, "E_X")
        assert result_of(endpoints.ask("udp", rpc("raise_event", ["E_X", ["a", 2]]))) == "OK"
        assert subscriber.recv(65536) == b'{"jsonrpc":"2.0","method":"E_X","params":{"":"a","":2}}'
        assert result_of(endpoints.ask("udp", rpc(bare, ["E_X"]))) == "OK"
        assert subscriber.recv(65536) == b'{"jsonrpc":"2.0","method":"E_X"}'
    assert error_of(endpoints.ask("udp", rpc("raise_event", ["E_NO"])))["message"] == "Event not registered"
    assert error_of(endpoints.ask("udp", rpc("raise_event", ["E_X", {"a": 1}])))["message"] == "No Params"


def test_a_server_of_its_own_kind_lets_no_client_raise_events(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    assert error_of(serve(billing).ask("udp", rpc("raise_event", ["E_SUB_ADDED"])))["code"] == -32601


# -- delivery -------------------------------------------------------------------------------------


def test_a_subscription_ends_when_its_time_is_over_and_can_be_renewed(billing: sipmi.Server) -> None:
    with udp_subscriber() as (first, short), udp_subscriber() as (second, renewed):
        subscribe(billing, short, expire=1)
        subscribe(billing, renewed, expire=1)
        subscribe(billing, renewed, expire=60)
        eventually(lambda: [subscriber.ttl for subscriber in billing.subscribers if subscriber.socket == short] == [0])
        assert billing.raise_event("E_SUB_ADDED") == 1
        assert second.recv(65536) == b'{"jsonrpc":"2.0","method":"E_SUB_ADDED"}'
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(65536)
        assert [subscriber.socket for subscriber in billing.subscribers] == [renewed]


def test_subscriptions_end_with_the_server_and_events_stay_declared(billing: sipmi.Server) -> None:
    billing.listen("udp:127.0.0.1:0")
    billing.start()
    subscribe(billing, "udp:127.0.0.1:9")
    billing.stop()
    assert (billing.subscribers, billing.events) == ([], ["E_SUB_ADDED"])
    assert billing.raise_event("E_SUB_ADDED") == 0


def test_ten_thousand_events_reach_three_subscribers_in_order(billing: sipmi.Server, directory: str) -> None:
    events = 10_000
    with (
        Receiver("udp:127.0.0.1:0", max_queue=events) as udp,
        Receiver(f"unix:{directory}/subscriber", max_queue=events) as unix,
        Receiver("tcp:127.0.0.1:0", max_queue=events) as tcp,
    ):
        receivers = [udp, unix, tcp]
        for receiver in receivers:
            subscribe(billing, receiver.address)
        for number in range(events):
            # Datagrams may be lost when receivers cannot keep up. Raising does not wait for them, so this loop pauses
            # now and then.
            assert billing.raise_event("E_SUB_ADDED", {"number": number}) == 3
            if number % 200 == 199:
                eventually(lambda: all(len(receiver._inbox.waiting) > number for receiver in receivers))  # noqa: B023
        for receiver in receivers:
            got = [receiver.get(PATIENCE).params["number"] for _ in range(events)]
            assert got == list(range(events)), receiver.address
            assert counts(billing, receiver.address) == (events, 0)
    found = billing.call("get_statistics", ["evi:"])
    assert found == {"evi:raised": events, "evi:sent": 3 * events, "evi:dropped": 0}


def test_events_may_be_raised_from_a_handler_and_from_many_threads(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    @billing.command
    def sub_add(user: str) -> int:
        return billing.raise_event("E_SUB_ADDED", {"user": user})

    endpoints = serve(billing)
    with Receiver("tcp:127.0.0.1:0") as receiver:
        subscribe(billing, receiver.address)
        assert result_of(endpoints.ask("udp", rpc("sub_add", ["alice"]))) == 1
        assert receiver.get(PATIENCE).params == {"user": "alice"}

        def raise_many(user: str) -> None:
            for number in range(200):
                billing.raise_event("E_SUB_ADDED", {"user": user, "number": number})

        threads = [threading.Thread(target=raise_many, args=(user,)) for user in "abcd"]
        for thread in threads:
            thread.start()
        got = [receiver.get(PATIENCE).params for _ in range(800)]
        for thread in threads:
            thread.join()
    for user in "abcd":
        assert [params["number"] for params in got if params["user"] == user] == list(range(200))


def test_a_subscriber_that_is_not_there_disturbs_no_other(billing: sipmi.Server, directory: str) -> None:
    with udp_subscriber() as (gone, dead_udp), tcp_subscriber() as (refusing, dead_tcp):
        gone.close()
        refusing.close()
    dead_unix = f"unix:{directory}/missing"
    with udp_subscriber() as (living, to):
        for address in (dead_udp, dead_tcp, dead_unix, to):
            subscribe(billing, address)
        for number in range(20):
            assert billing.raise_event("E_SUB_ADDED", {"number": number}) == 4
            assert json.loads(living.recv(65536))["params"] == {"number": number}
        assert counts(billing, to) == (20, 0)
        assert counts(billing, dead_unix) == (0, 20)
        assert counts(billing, dead_tcp)[0] == 0
        billing.stop()
    assert billing.call("get_statistics", ["evi:dropped"])["evi:dropped"] == 40, "what waited was given up"


def test_a_full_unix_subscriber_loses_events_and_delays_no_other(billing: sipmi.Server, directory: str) -> None:
    with unix_subscriber(directory) as (full, to), udp_subscriber() as (other, healthy):
        subscribe(billing, to)
        for number in range(4000):
            billing.raise_event("E_SUB_ADDED", {"number": number})
        sent, dropped = counts(billing, to)
        assert sent > 0
        assert dropped > 500, "what has no room in the socket nor in the queue"
        subscribe(billing, healthy)
        billing.raise_event("E_SUB_ADDED")
        assert other.recv(65536)
        # Queued events are dropped when the subscriber reads nothing for a second.
        eventually(is_settled(billing, to, 4001))
        full.setblocking(False)
        numbers = []
        while True:
            try:
                numbers.append(json.loads(full.recv(65536))["params"]["number"])
            except BlockingIOError:
                break
        assert numbers == list(range(counts(billing, to)[0]))
        billing.raise_event("E_SUB_ADDED", {"number": -1})
        full.setblocking(True)
        assert json.loads(full.recv(65536))["params"] == {"number": -1}, "it has room again"


def test_a_slow_unix_subscriber_gets_its_queued_events(billing: sipmi.Server, directory: str) -> None:
    with unix_subscriber(directory) as (slow, to):
        subscribe(billing, to)
        for number in range(600):
            billing.raise_event("E_SUB_ADDED", {"number": number})
        assert counts(billing, to)[0] < 600
        assert [json.loads(slow.recv(65536))["params"]["number"] for _ in range(600)] == list(range(600))
        eventually(lambda: counts(billing, to) == (600, 0))


def test_a_unix_subscriber_that_begins_again_under_its_name_is_found(billing: sipmi.Server, directory: str) -> None:
    with unix_subscriber(directory) as (_, to):
        subscribe(billing, to)
        assert billing.raise_event("E_SUB_ADDED") == 1
    billing.raise_event("E_SUB_ADDED")
    assert counts(billing, to) == (1, 1)
    os.unlink(to.partition(":")[2])
    with unix_subscriber(directory) as (again, _):
        billing.raise_event("E_SUB_ADDED", {"now": 1})
        assert json.loads(again.recv(65536))["params"] == {"now": 1}


def test_an_event_too_large_for_a_datagram_is_dropped_and_goes_over_tcp(billing: sipmi.Server) -> None:
    with udp_subscriber() as (small, datagrams), Receiver("tcp:127.0.0.1:0") as large:
        subscribe(billing, datagrams)
        subscribe(billing, large.address)
        billing.raise_event("E_SUB_ADDED", {"note": "x" * 70_000})
        billing.raise_event("E_SUB_ADDED", {"note": "y"})
        assert json.loads(small.recv(65536))["params"] == {"note": "y"}
        assert [len(large.get(PATIENCE).params["note"]) for _ in range(2)] == [70_000, 1]
        assert counts(billing, datagrams) == (1, 1)


def test_a_stalled_tcp_subscriber_delays_no_other_and_its_queue_is_bounded(billing: sipmi.Server) -> None:
    with tcp_subscriber() as (listening, to), Receiver("tcp:127.0.0.1:0", max_queue=50_000) as healthy:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        subscribe(billing, to)
        note = "x" * 60_000
        for _ in range(600):
            billing.raise_event("E_SUB_ADDED", {"note": note})
        assert counts(billing, to)[1] > 100, "beyond 4 MiB nothing waits"
        subscribe(billing, healthy.address)
        billing.raise_event("E_SUB_ADDED", {"note": "short"})
        assert healthy.get(PATIENCE).params == {"note": "short"}
        # It takes nothing, so its connection is made anew, and what waits begins there with a whole event.
        first, _ = listening.accept()
        second, _ = listening.accept()
        with closing(first), closing(second):
            second.settimeout(PATIENCE)
            assert second.recv(48, socket.MSG_WAITALL) == b'{"jsonrpc":"2.0","method":"E_SUB_ADDED","params"'


def test_a_tcp_subscriber_that_begins_again_is_connected_again(billing: sipmi.Server) -> None:
    before = descriptors()
    with Receiver("tcp:127.0.0.1:0") as receiver:
        to = receiver.address
        subscribe(billing, to)
        billing.raise_event("E_SUB_ADDED", {"n": 1})
        assert receiver.get(PATIENCE).params == {"n": 1}
        sockets = {which for which in descriptors() - before if which[1].startswith("socket:")}
    # Both ends are closed, so events raised now are queued. Events sent before the close is noticed would be lost.
    eventually(lambda: not sockets & descriptors())
    billing.raise_event("E_SUB_ADDED", {"n": 2})
    with Receiver(to) as receiver:
        assert receiver.get(2 * PATIENCE).params == {"n": 2}


def test_a_method_after_the_port_is_called_instead_of_the_name_of_the_event(billing: sipmi.Server) -> None:
    with Receiver("tcp:127.0.0.1:0") as receiver:
        subscribe(billing, f"{receiver.address}/block_ip")
        subscribe(billing, receiver.address)
        billing.raise_event("E_SUB_ADDED", [3, "five"])
        got = [receiver.get(PATIENCE) for _ in range(2)]
        assert sorted(event.name for event in got) == ["E_SUB_ADDED", "block_ip"]
        assert [event.params for event in got] == [[3, "five"]] * 2
        assert len({event.source for event in got}) == 1, "both go over one connection"


def test_a_reliable_subscriber_confirms_each_event() -> None:
    server = sipmi.Server("billing", reliable_events=True)
    with Receiver("tcp:127.0.0.1:0") as receiver:
        subscribe(server, receiver.address, event_of(server))
        for number in range(100):
            server.raise_event("E_X", {"number": number})
        assert [receiver.get(PATIENCE).params["number"] for _ in range(100)] == list(range(100))
        eventually(lambda: counts(server, receiver.address) == (100, 0))
        server.stop()


def event_of(server: sipmi.Server) -> str:
    server.event("E_X")
    return "E_X"


def test_unconfirmed_events_are_sent_again_and_refused_ones_are_dropped() -> None:
    server = sipmi.Server("billing", reliable_events=True)
    with tcp_subscriber() as (listening, to):
        subscribe(server, to, event_of(server))
        for number in range(3):
            server.raise_event("E_X", {"number": number})
        first, _ = listening.accept()
        with closing(first):
            stream = sipmi._core.EventStream()
            requests = read_events(first, stream, 3)
            assert [request["params"]["number"] for request in requests] == [0, 1, 2]
            assert list(requests[0]) == ["id", "jsonrpc", "method", "params"]
            answer(first, requests[1]["id"], "result")
            eventually(lambda: counts(server, to) == (1, 0))
        second, _ = listening.accept()
        with closing(second):
            again = read_events(second, sipmi._core.EventStream(), 2)
            assert [request["params"]["number"] for request in again] == [0, 2]
            answer(second, again[0]["id"], "error")
            answer(second, again[1]["id"], "result")
            eventually(lambda: counts(server, to) == (2, 1))
        server.stop()


def read_events(sock: socket.socket, stream: Any, count: int) -> list[Any]:
    sock.settimeout(PATIENCE)
    found: list[bytes] = []
    while len(found) < count:
        found += stream.feed(sock.recv(65536))
    return [json.loads(event) for event in found]


def answer(sock: socket.socket, id: int, kind: str) -> None:
    sock.sendall(json.dumps({"jsonrpc": "2.0", kind: {}, "id": id}).encode())


@pytest.mark.parametrize("nonsense", [b"{]", b"[]", b'{"id":{}}', b"\xff" * 5000, b'"' + b"x" * 70_000])
def test_malformed_replies_of_a_reliable_subscriber_affect_no_other(nonsense: bytes) -> None:
    server = sipmi.Server("billing", reliable_events=True)
    with tcp_subscriber() as (listening, to), Receiver("tcp:127.0.0.1:0") as healthy:
        subscribe(server, to, event_of(server))
        subscribe(server, healthy.address, "E_X")
        server.raise_event("E_X", {"n": 1})
        peer, _ = listening.accept()
        with closing(peer):
            peer.sendall(nonsense)
            server.raise_event("E_X", {"n": 2})
            assert [healthy.get(PATIENCE).params["n"] for _ in range(2)] == [1, 2]
            eventually(lambda: counts(server, healthy.address) == (2, 0))
        server.stop()


def test_a_stop_drops_events_that_a_subscriber_does_not_take_in_time(billing: sipmi.Server) -> None:
    with tcp_subscriber() as (listening, to):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        subscribe(billing, to)
        for _ in range(60):
            billing.raise_event("E_SUB_ADDED", {"note": "x" * 60_000})
        billing.stop()
        found = billing.call("get_statistics", ["evi:"])
        assert found["evi:sent"] + found["evi:dropped"] == 60
        assert found["evi:dropped"] > 0


def test_names_that_no_wire_can_carry_are_refused(billing: sipmi.Server) -> None:
    for name in ("", "E X", "E\nX", "E::X", "x" * 129):
        with pytest.raises(ValueError, match="expected an event's name"):
            billing.event(name)
    with pytest.raises(ValueError, match="without newlines"):
        billing.raise_event("E_SUB_ADDED", {"a\nE_FALSE": 1})
    with pytest.raises(TypeError, match="a mapping, a list or None, found str"):
        billing.raise_event("E_SUB_ADDED", "alice")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="found object"):
        billing.raise_event("E_SUB_ADDED", {"a": object()})


# -- sipmi.events ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("at", ["udp", "unix", "tcp"])
def test_a_listener_gives_the_events_it_names(
    billing: sipmi.Server, serve: Callable[..., Endpoints], at: str, wire: str
) -> None:
    address = serve(billing).udp_address
    billing.event("E_OTHER")
    with sipmi.connect(address, wire=wire) as mi:
        with listen(mi, "E_SUB_ADDED", at=at) as added:
            assert [subscriber.socket for subscriber in billing.subscribers] == [added.socket]
            before = time.time()
            billing.raise_event("E_OTHER")
            billing.raise_event("E_SUB_ADDED", {"user": "al\nice", "note": None, "n": 2})
            event = added.get(PATIENCE)
            typed = wire == "jsonrpc" or at == "tcp"
            note, n = (None, 2) if typed else ("", "2")
            assert (event.name, event.params) == ("E_SUB_ADDED", {"user": "al\nice", "note": note, "n": n})
            assert before <= event.received <= time.time()
            assert event.source.startswith(f"{at}:")
            assert list(added.within(0.0)) == []
            with pytest.raises(TimeoutError, match=r"no event within 0\.01 seconds"):
                added.get(0.01)
        assert [subscriber.expire for subscriber in billing.subscribers] == [0], "it ended its subscription"
        if at == "unix":
            assert not os.path.exists(added._at.path)


def test_a_listener_renews_its_subscription_before_it_ends(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    with sipmi.connect(serve(billing).udp_address) as mi, listen(mi, "E_SUB_ADDED", expire=3) as added:
        lowest = 3.0

        def is_renewed() -> bool:
            nonlocal lowest
            ttl = billing.subscribers[0].ttl
            lowest = min(lowest, ttl)
            return ttl > lowest

        eventually(is_renewed)
        assert 0 < lowest < 3
        assert billing.raise_event("E_SUB_ADDED") == 1
        assert added.get(PATIENCE).params == {}


def test_a_listener_says_when_its_subscription_could_not_be_renewed(
    serve: Callable[..., Endpoints], directory: str
) -> None:
    server = sipmi.Server("billing")
    server.event("E_X")
    server.listen(f"unix:{directory}/mi")
    server.start()
    with sipmi.connect(f"unix:{directory}/mi", timeout=0.2) as mi, listen(mi, "E_X", expire=2) as found:
        server.raise_event("E_X", {"n": 1})
        server.stop()
        assert found.get(PATIENCE).params == {"n": 1}, "what came before is given first"
        with pytest.raises(sipmi.MiError):
            found.get(2 * PATIENCE)
        server.start()
        eventually(lambda: server.subscribers)
        eventually(lambda: found._failure is None)
        server.raise_event("E_X", {"n": 2})
        assert found.get(PATIENCE).params == {"n": 2}
    server.stop()


def test_a_listener_that_cannot_subscribe_to_all_leaves_nothing_behind(
    billing: sipmi.Server, serve: Callable[..., Endpoints]
) -> None:
    with sipmi.connect(serve(billing).udp_address) as mi:
        listener = listen(mi, "E_SUB_ADDED", "E_NO", at="unix")
        with pytest.raises(sipmi.InvalidParams, match="no event of this name"), listener:
            pass
        assert [subscriber.expire for subscriber in billing.subscribers] == [0]
        assert not os.path.exists(listener._at.path)
        with pytest.raises(RuntimeError, match="before it is entered"):
            _ = listener.address


def test_iterating_ends_when_another_thread_closes_it() -> None:
    with Receiver("udp:127.0.0.1:0") as receiver:
        got: list[Event] = []
        taking = threading.Thread(target=lambda: got.extend(receiver))
        taking.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"E_X\n\n", ("127.0.0.1", int(receiver.address.rpartition(":")[2])))
        eventually(lambda: got)
        receiver.close()
        taking.join(PATIENCE)
        assert not taking.is_alive()
        with pytest.raises(RuntimeError, match="closed"):
            receiver.get()


def test_ctrl_c_ends_the_wait_for_an_event() -> None:
    with Receiver("udp:127.0.0.1:0") as receiver:
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            receiver.get(PATIENCE)
        timer.join()


def test_a_malformed_event_is_counted_and_the_next_is_read(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver("udp:127.0.0.1:0") as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        to = ("127.0.0.1", int(receiver.address.rpartition(":")[2]))
        for nonsense in (b"", b"\0", b"{}", b"{", b"E_X", b"E_X\na::b\n", b"\xff" * 100, b"[" * 60_000):
            sender.sendto(nonsense, to)
        sender.sendto(b'E_X\nv::"a\n\\"b\\""\n1\n\n', to)
        assert receiver.get(PATIENCE).params == {"v": 'a\n"b"', "": "1"}
        assert receiver.unreadable == 8
    assert "what is no event" in caplog.text


def test_events_in_pieces_over_tcp_are_confirmed_and_malformed_ones_end_only_their_connection() -> None:
    with Receiver("tcp:127.0.0.1:0") as receiver:
        to = ("127.0.0.1", int(receiver.address.rpartition(":")[2]))
        with socket.create_connection(to) as bad, socket.create_connection(to) as good:
            bad.sendall(b"nonsense")
            bad.settimeout(PATIENCE)
            assert bad.recv(100) == b""
            for byte in b'{"id":7,"jsonrpc":"2.0","method":"E_X","params":[1]}{"method":"E_Y"}':
                good.sendall(bytes([byte]))
            assert [(event.name, event.params) for event in (receiver.get(PATIENCE), receiver.get(PATIENCE))] == [
                ("E_X", [1]),
                ("E_Y", {}),
            ]
            good.settimeout(PATIENCE)
            assert json.loads(good.recv(100)) == {"jsonrpc": "2.0", "result": "OK", "id": 7}


def test_a_receiver_that_is_not_read_takes_no_more_than_it_was_told(billing: sipmi.Server, directory: str) -> None:
    with Receiver(f"unix:{directory}/few", max_queue=5, overflow="wait") as receiver:
        subscribe(billing, receiver.address)
        for number in range(100):
            billing.raise_event("E_SUB_ADDED", {"number": number})
        eventually(lambda: len(receiver._inbox.waiting) == 5)
        assert [receiver.get(PATIENCE).params["number"] for _ in range(100)] == list(range(100))


def test_a_remote_server_is_not_told_an_address_that_it_cannot_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    route = sipmi.events._route.Route("192.0.2.1", "192.0.2.99")
    monkeypatch.setattr(sipmi.events._route.Route, "to", lambda _: route)
    mi = sipmi.connect("udp:192.0.2.1:8080")
    for at in ("udp:127.0.0.1:0", "tcp:127.0.0.1:0", "udp:[::1]:0", "udp:localhost:0"):
        with pytest.raises(ValueError, match=r"192\.0\.2\.1 is on another machine .* loopback .*use at='...:192"):
            listen(mi, "E_X", at=at)
    with pytest.raises(ValueError, match="on another machine and cannot reach unix:"):
        listen(mi, "E_X", at="unix")
    assert str(listen(mi, "E_X")._at) == "udp:192.0.2.99:0"
    assert listen(mi, "E_X", at="udp:127.0.0.1:0", advertise="udp:198.51.100.1:9000").socket == "udp:198.51.100.1:9000"
    assert route.seen_from_server("udp:0.0.0.0:5") == "udp:192.0.2.99:5"
    mi.close()


def test_the_way_to_a_server_is_found_by_its_address() -> None:
    to = sipmi.events._route.Route.to
    for here in ("fifo:/tmp/x", "unix:/tmp/x", "udp:127.0.0.1:80", "http://localhost:8888/mi", "udp:[::1]:80"):
        assert to(here) == sipmi.events._route.Route(None, "127.0.0.1")


@pytest.mark.parametrize("bad", ["udp", "udp:", "udp:host", "udp:::1:5", "udp:host:70000", "unix:", "sip:h:1", ""])
def test_an_address_that_cannot_be_read_says_what_was_expected(bad: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Receiver(bad)


def test_a_listener_needs_an_event_and_a_time() -> None:
    with sipmi.connect("udp:127.0.0.1:9") as mi:
        with pytest.raises(ValueError, match="at least one event"):
            listen(mi)
        with pytest.raises(ValueError, match="expected expire from 1 to "):
            listen(mi, "E_X", expire=0)
        with pytest.raises(ValueError, match="expected max_queue from 1 to "):
            listen(mi, "E_X", max_queue=0)
