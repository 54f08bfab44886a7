"""Kinds of handlers: those that answer later, in pieces, on a thread of their own, or not in time."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import threading
import time
from typing import Any, Callable

import pytest

import sipmi
from endpoints import PATIENCE, Endpoints
from jsonrpc_calls import HttpEndpoint, call, error_of, result_of, statistic
from waiting import eventually


def async_server() -> tuple[sipmi.Server, list[sipmi.AsyncHandler]]:
    server, handlers = sipmi.Server("later"), []

    def begin(root: sipmi.Tree, param: Any) -> Any:
        assert root.async_handler is not None
        handlers.append(root.async_handler)
        return sipmi.ASYNC

    server.register_module("later", [sipmi.Export("begin", "", begin, flags=sipmi.Flags.ASYNC)])
    return server, handlers


def answer_when_begun(
    handlers: list[sipmi.AsyncHandler], answer: Callable[[sipmi.AsyncHandler], Any]
) -> threading.Thread:
    def run() -> None:
        eventually(lambda: handlers, "the command never began")
        answer(handlers[0])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("transport", ["udp", "unix"])
def test_an_async_command_is_answered_later_from_any_thread(serve: Callable[..., Endpoints], transport: str) -> None:
    server, handlers = async_server()
    endpoints = serve(server)
    thread = answer_when_begun(handlers, lambda handler: handler.reply({"done": True}))
    assert result_of(endpoints.ask(transport, call("begin"))) == {"done": True}
    thread.join()
    assert handlers[0].reply("again") is False


def test_a_provisional_reply_goes_ahead_of_the_answer_in_text_over_a_fifo(serve: Callable[..., Endpoints]) -> None:
    server, handlers = async_server()
    endpoints = serve(server)

    def answer(handler: sipmi.AsyncHandler) -> None:
        assert handler.reply(sipmi.Tree(100, "Trying"), done=False) is True
        assert handler.reply(sipmi.Tree(202, "Accepted")) is True

    thread = answer_when_begun(handlers, answer)
    reply = endpoints.fifo.exchange(lambda name: f":begin:{name}\n\n".encode())
    thread.join()
    assert reply == b"100 Trying\n\n202 Accepted\n\n"


def test_a_provisional_reply_in_text_is_a_datagram_of_its_own(serve: Callable[..., Endpoints]) -> None:
    server, handlers = async_server()
    peer = serve(server).peer("udp")
    thread = answer_when_begun(handlers, lambda handler: handler.reply(sipmi.Tree(100, "Trying"), done=False))
    assert peer.exchange(b":begin:\n") == b"100 Trying\n\n"
    thread.join()
    assert handlers[0].reply() is True
    assert peer.socket.recv(100) == b"200 OK\n\n"
    peer.close()


def test_json_has_no_provisional_replies(serve: Callable[..., Endpoints]) -> None:
    server, handlers = async_server()
    endpoints = serve(server)
    said: list[bool] = []

    def answer(handler: sipmi.AsyncHandler) -> None:
        said.append(handler.reply("Trying", done=False))
        handler.reply("done")

    thread = answer_when_begun(handlers, answer)
    assert result_of(endpoints.ask("udp", call("begin"))) == "done"
    thread.join()
    assert said == [False]


def test_an_async_handler_that_is_dropped_answers_that_the_command_failed(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("later")
    export = sipmi.Export("forget", "", lambda root, param: sipmi.ASYNC, flags=sipmi.Flags.ASYNC)
    server.register_module("later", [export])
    assert error_of(serve(server).ask("udp", call("forget")))["code"] == -32000


def test_an_async_command_may_answer_at_once_or_fail(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("later")

    def answer(root: sipmi.Tree, param: Any) -> Any:
        if root.children:
            raise sipmi.Fault(404, "not here")
        return sipmi.Tree(200, "OK")

    server.register_module("later", [sipmi.Export("now", "", answer, flags=sipmi.Flags.ASYNC)])
    endpoints = serve(server)
    assert result_of(endpoints.ask("udp", call("now"))) == "OK"
    assert error_of(endpoints.ask("udp", call("now", "x")))["code"] == 404


def test_only_async_commands_may_say_that_they_answer_later(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("later")
    server.command(lambda: sipmi.ASYNC, name="liar")
    assert error_of(serve(server).ask("udp", call("liar")))["code"] == -32000


# -- deadlines and cancellation ---------------------------------------------------------------------


class Cancelled:
    """A coroutine handler that waits for ever and notices when it is cancelled."""

    def __init__(self, server: sipmi.Server, name: str = "wait", **options: Any) -> None:
        self.begun, self.cancelled = threading.Event(), threading.Event()
        server.command(self.wait, name=name, **options)

    async def wait(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.mark.parametrize("transport", ["udp", "unix"])
def test_a_deadline_answers_and_cancels_the_coroutine(serve: Callable[..., Endpoints], transport: str) -> None:
    server = sipmi.Server("late")
    task = Cancelled(server)
    endpoints = serve(server, timeout=0.05)
    assert error_of(endpoints.ask(transport, call("wait")))["data"] == "Request timeout"
    assert task.cancelled.wait(PATIENCE)


def test_a_call_from_within_that_is_given_up_cancels_the_coroutine() -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    server = sipmi.Server("late")
    patient, hasty = Cancelled(server, "patient"), Cancelled(server, "hasty", timeout=0.05)
    with server:
        with pytest.raises(sipmi.Fault, match="Request timeout"):
            server.call("hasty")
        assert hasty.cancelled.wait(PATIENCE)
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                server.call("patient")
        finally:
            signal.signal(signal.SIGALRM, before)
        assert patient.cancelled.wait(PATIENCE)


def test_a_deadline_answers_for_a_handler_that_is_stuck_on_every_transport(serve: Callable[..., Endpoints]) -> None:
    server, release = sipmi.Server("late"), threading.Event()
    server.command(lambda: release.wait(PATIENCE), name="stuck", timeout=0.05)
    server.command(lambda: "fast", name="fast")
    endpoints = serve(server)
    server.listen("http://127.0.0.1:0")
    host, port = server.addresses[-1].split("/")[2].split(":")
    try:
        for transport in ("udp", "unix"):
            assert endpoints.ask(transport, b":stuck:\n") == b"408 Request timeout\n\n"
            assert endpoints.ask(transport, call("fast")) is not None
        assert endpoints.fifo.exchange(lambda name: f":stuck:{name}\n\n".encode()) == b"408 Request timeout\n\n"
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        for method in ("stuck", "fast"):
            connection.request("POST", "/mi", call(method), {"Content-Type": "application/json"})
            reply = connection.getresponse().read()
            assert (error_of(reply)["data"] if method == "stuck" else result_of(reply)) in ("Request timeout", "fast")
        connection.close()
    finally:
        release.set()
    eventually(lambda: statistic(server, "mi_datagram:timeouts") == 1, "it was not counted")
    eventually(lambda: statistic(server, "mi_http:late_answers") == 1, "nor that it came late")


def test_a_client_of_http_that_leaves_cancels_its_coroutine() -> None:
    server = sipmi.Server("gone")
    task = Cancelled(server)
    endpoint = HttpEndpoint(server)
    try:
        client = endpoint.begin(call("wait"))
        assert task.begun.wait(PATIENCE)
        client.close()
        assert task.cancelled.wait(PATIENCE)
        eventually(lambda: statistic(server, "mi_http:in_progress") == 0, "it is still in progress")
    finally:
        server.stop()


def test_an_http_client_that_shut_down_its_sending_side_gets_a_late_answer() -> None:
    server = sipmi.Server("half")

    @server.command
    async def later() -> str:
        await asyncio.sleep(0.1)
        return "here"

    endpoint = HttpEndpoint(server)
    try:
        client = endpoint.begin(call("later"))
        client.shutdown(socket.SHUT_WR)
        reply = b""
        while piece := client.recv(4096):
            reply += piece
        assert b'"result":"here"' in reply
        client.close()
    finally:
        server.stop()


def test_a_stop_cancels_coroutines_that_are_not_done_in_time(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("stop")
    task = Cancelled(server)
    peer = serve(server).peer("udp")
    peer.socket.sendto(call("wait"), peer.target)
    assert task.begun.wait(PATIENCE)
    server.stop()
    assert task.cancelled.wait(PATIENCE)
    assert error_of(peer.socket.recv(1000))["data"] == "Server busy"
    peer.close()


def test_a_handler_knows_its_deadline(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("late")

    @server.command(timeout=7.0)
    def left() -> float:
        request = sipmi.current_request()
        assert request is not None
        assert request.deadline is not None
        return request.deadline - time.time()

    @server.command(timeout=None)
    def none() -> bool:
        request = sipmi.current_request()
        assert request is not None
        return request.deadline is None

    endpoints = serve(server)
    assert 6.0 < result_of(endpoints.ask("udp", call("left"))) <= 7.0
    assert result_of(endpoints.ask("udp", call("none"))) is True
