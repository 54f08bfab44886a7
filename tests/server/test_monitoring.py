"""Monitoring of a server: statistics, metrics, health, traces and structured log lines."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

import sipmi
from endpoints import PATIENCE, Endpoints
from jsonrpc_calls import HttpEndpoint, call, error_of, result_of
from sipmi.metrics import CONTENT_TYPE, exposition
from waiting import eventually


def get(endpoint: HttpEndpoint, path: str, **head: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(*endpoint.place, timeout=PATIENCE)
    connection.request("GET", path, headers=head)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, reply.getheader("Content-Type", ""), body


def billing(**options: Any) -> sipmi.Server:
    server = sipmi.Server("billing", version="1.4", **options)

    @server.command
    def sub_add(user: str, password: str = "") -> dict:
        if user == "unknown":
            raise sipmi.Fault(404, "unknown")
        return {"user": user, "auth_token": "t0ken"}

    return server


def test_statistics_tell_of_each_command_and_how_long_it_took(serve: Callable[..., Endpoints]) -> None:
    server = billing()
    endpoints = serve(server)
    for user in ("alice", "bob", "unknown"):
        endpoints.ask("udp", call("sub_add", user))
    said = server.call("get_statistics", ["mi_cmd:"])
    prefix = "mi_cmd:billing.sub_add."
    assert (said[prefix + "calls"], said[prefix + "errors"]) == (3, 1)
    classes = [name for name in said if name.startswith((prefix + "upto_", prefix + "longer"))]
    assert len(classes) == 17
    assert sum(said[name] for name in classes) == 3
    transport = server.call("get_statistics", ["mi_datagram:"])
    assert sum(value for name, value in transport.items() if "upto_" in name or "longer" in name) == 3


def test_prometheus_parses_the_metrics() -> None:
    server = billing()
    server.statistic("sub_adds").inc(5)
    endpoint = HttpEndpoint(server, metrics=True)
    try:
        for user in ("alice", "unknown"):
            endpoint.post(call("sub_add", user))
        status, kind, page = get(endpoint, "/metrics")
        assert (status, kind) == (200, CONTENT_TYPE)
    finally:
        server.stop()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }
    assert samples["sipmi_info", "billing", "1.4"] == 1
    assert samples["sipmi_command_seconds_count", "billing.sub_add"] == 2
    assert samples["sipmi_command_seconds_bucket", "billing.sub_add", "+Inf"] == 2
    assert samples["sipmi_command_errors_total", "billing.sub_add"] == 1
    assert samples["sipmi_transport_seconds_count", "mi_http"] >= 2
    assert samples["sipmi_statistic_total", "billing", "sub_adds"] == 5
    assert samples["sipmi_statistic", "mi_http", "in_progress"] == 0
    assert b"billing.sub_add" in exposition(server)


def test_metrics_need_credentials_and_health_does_not() -> None:
    server = billing()
    endpoint = HttpEndpoint(server, metrics=True, token="s3cret")
    try:
        assert get(endpoint, "/metrics")[0] == 401
        assert get(endpoint, "/metrics", Authorization="Bearer s3cret")[0] == 200
        assert get(endpoint, "/healthz")[::2] == (200, b"ok\n")
    finally:
        server.stop()


def test_metrics_are_shown_only_where_that_was_asked_for() -> None:
    server = billing()
    endpoint = HttpEndpoint(server)
    try:
        assert get(endpoint, "/metrics")[0] == 404
    finally:
        server.stop()


def test_a_server_that_stops_says_that_it_drains_and_takes_nothing_more() -> None:
    server, begun, release = sipmi.Server("drain"), threading.Event(), threading.Event()

    @server.command
    def slow() -> str:
        begun.set()
        assert release.wait(PATIENCE)
        return "done"

    endpoint = HttpEndpoint(server)
    replies: list[bytes] = []
    client = threading.Thread(target=lambda: replies.append(endpoint.post(call("slow"))))
    client.start()
    assert begun.wait(PATIENCE)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    try:
        eventually(lambda: get(endpoint, "/healthz")[::2] == (503, b"draining\n"), "it does not say so")
        assert error_of(endpoint.post(call("version")))["data"] == "Server busy"
    finally:
        release.set()
        client.join(PATIENCE)
        stopping.join(PATIENCE)
    assert result_of(replies[0]) == "done"


def test_chosen_commands_are_recorded_without_secrets(
    serve: Callable[..., Endpoints], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sipmi.trace")
    server = billing(trace=["sub_*"])
    endpoints = serve(server)
    endpoints.ask("udp", call("sub_add", "alice", "hunter2"))
    endpoints.ask("udp", b":sub_add:\nunknown\npassword::hunter3\n")
    endpoints.ask("udp", call("version"))
    records = lambda: [record for record in caplog.records if record.name == "sipmi.trace"]  # noqa: E731
    eventually(lambda: len(records()) == 2, "two were traced")
    first, second = (record.__dict__ for record in records())
    assert first["command"] == "billing:sub_add"
    assert (first["transport"], first["wire"], second["wire"]) == ("udp", "jsonrpc", "text")
    assert first["request"] == '{"user":"alice","password":"***"}'
    assert first["reply"] == '200 OK {"user":"alice","auth_token":"***"}'
    assert second["reply"] == "404 unknown"
    assert 0 <= first["elapsed"] < PATIENCE
    assert "hunter" not in caplog.text
    assert "t0ken" not in caplog.text


class Blocking(logging.Handler):
    """A log that is slower than the server: its first record waits."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        assert self.go_on.wait(10 * PATIENCE)
        self.records.append(record)


@contextlib.contextmanager
def slow_log(name: str) -> Iterator[Blocking]:
    log, handler = logging.getLogger(name), Blocking()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        handler.go_on.set()
        log.removeHandler(handler)
        log.setLevel(level)


def test_the_trace_says_how_many_lines_a_slow_log_has_lost(serve: Callable[..., Endpoints]) -> None:
    calls = 3000
    with slow_log("sipmi.trace") as log:
        endpoints = serve(billing(trace=["sub_*"]))
        endpoints.ask("udp", call("sub_add", "alice"))
        assert log.entered.wait(PATIENCE)
        for number in range(1, calls, 50):
            batch = [json.loads(call("sub_add", "alice")) for _ in range(number, min(number + 50, calls))]
            assert len(json.loads(endpoints.ask("udp", json.dumps(batch).encode()))) == len(batch)
        log.go_on.set()
        told = lambda: [record.__dict__ for record in log.records if record.levelno == logging.WARNING]  # noqa: E731
        lost = lambda: sum(record["dropped"] for record in told())  # noqa: E731
        eventually(lambda: len(log.records) - len(told()) + lost() == calls, "lines are missing")
        assert told()[0]["args"] == (f"{told()[0]['dropped']:.0f} lines dropped: the log is slower than the server",)


def test_log_lines_have_the_fields_of_their_event(
    serve: Callable[..., Endpoints], caplog: pytest.LogCaptureFixture
) -> None:
    server = billing()
    endpoints = serve(server, reply_limit=5)
    endpoints.ask("udp", call("sub_add", "alice"))
    eventually(lambda: caplog.records, "nothing was told")
    fields = caplog.records[-1].__dict__
    assert fields["statistic"] == "too_large_replies"
    assert fields["listener"] == endpoints.udp_address
