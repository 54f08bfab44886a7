"""Exceptions of handlers: tracebacks in the log, the error form of each wire, the cause for a local caller."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, Callable

import pytest

import sipmi
from endpoints import Endpoints
from jsonrpc_calls import error_of, rpc

KINDS = ("plain", "blocking", "generator", "late_generator", "coroutine", "async_generator", "export", "async_export")


def raise_at_the_bottom() -> None:
    raise RuntimeError("a secret of the handler")


def failing_server() -> sipmi.Server:
    server = sipmi.Server("bad")

    @server.command
    def plain() -> None:
        raise_at_the_bottom()

    @server.command(blocking=True)
    def blocking() -> None:
        raise_at_the_bottom()

    @server.command
    def generator() -> Iterator[int]:
        raise_at_the_bottom()
        yield 1

    @server.command
    def late_generator() -> Iterator[int]:
        yield 1
        raise_at_the_bottom()

    @server.command
    async def coroutine() -> None:
        raise_at_the_bottom()

    @server.command
    async def async_generator() -> AsyncIterator[int]:
        raise_at_the_bottom()
        yield 1

    def export(root: sipmi.Tree, param: Any) -> None:
        raise_at_the_bottom()

    exports = [
        sipmi.Export("export", "Fails.", export),
        sipmi.Export("async_export", "Fails.", export, flags=sipmi.Flags.ASYNC),
    ]
    server.register_module("bad", exports)
    return server


@pytest.fixture
def failing(serve: Callable[..., Endpoints]) -> Endpoints:
    return serve(failing_server())


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_has_the_whole_traceback_of_a_handler(
    failing: Endpoints, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    failing.ask("udp", rpc(kind))
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == f"command bad:{kind} failed"
    written = logging.Formatter().format(record)
    assert f", in {'export' if 'export' in kind else kind}\n" in written
    assert ", in raise_at_the_bottom\n" in written


@pytest.mark.parametrize("kind", KINDS)
def test_the_caller_is_told_that_the_command_failed(failing: Endpoints, kind: str) -> None:
    failed = f"command '{kind}' failed"
    assert error_of(failing.ask("udp", rpc(kind))) == {"code": -32000, "message": "Server error", "data": failed}
    assert failing.ask("udp", f":{kind}:\n".encode()) == f"500 {failed}\n".encode()


def test_the_web_forms_name_the_failed_command() -> None:
    server = failing_server()
    server.listen("http://127.0.0.1:0", json_get="all")
    with server:
        [address] = server.addresses
        for path, said in (("json", 500), ("RPC2", -32000), ("xmlrpc", 500)):
            wire = "mi_json" if path == "json" else "xmlrpc"
            there = address.replace("/mi", f"/{path}")
            with sipmi.connect(there, wire=wire) as mi, pytest.raises(sipmi.Fault) as caught:
                mi.call("plain")
            assert caught.value.code == said
            assert "command 'plain' failed" in str(caught.value)


def test_an_emulated_server_says_that_the_handler_returned_null() -> None:
    server = sipmi.Server("opensips", emulate="4.0")
    server.command(name="bad")(raise_at_the_bottom)
    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0], wire="jsonrpc") as mi, pytest.raises(sipmi.Fault) as caught:
        mi.call("bad")
    assert caught.value.data == "Command handler returned null"


@pytest.mark.parametrize("kind", KINDS)
def test_a_local_call_raises_the_fault_from_the_exception_of_the_handler(kind: str) -> None:
    server = failing_server()
    server.listen("udp:127.0.0.1:0")
    with server, pytest.raises(sipmi.Fault) as caught:
        server.call(kind)
    fault, cause = caught.value, caught.value.__cause__
    assert (fault.code, fault.message, fault.data) == (-32000, "Server error", f"command '{kind}' failed")
    assert isinstance(cause, RuntimeError)
    assert str(cause) == "a secret of the handler"
    assert traceback_functions(cause)[-1] == "raise_at_the_bottom"


def test_a_fault_of_a_handler_is_no_cause_of_itself() -> None:
    server = sipmi.Server("bad")

    @server.command
    def gone() -> None:
        raise sipmi.Fault(404, "gone")

    with pytest.raises(sipmi.Fault, match="404 gone") as caught:
        server.call("gone")
    assert caught.value.__cause__ is None


def traceback_functions(error: BaseException) -> list[str]:
    names, step = [], error.__traceback__
    while step is not None:
        names.append(step.tb_frame.f_code.co_name)
        step = step.tb_next
    return names
