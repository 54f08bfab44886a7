"""Values of options that cannot be meant are refused by name, and none makes a server or client panic."""

import asyncio
import functools
import math
import os
import pickle
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, get_type_hints

import pytest

import sipmi
from sipmi.affinity import CpuSet, Host
from sipmi.client import ConnectOptions
from sipmi.events import EventOptions, Receiver
from sipmi.exporter import Collector
from sipmi.fleet._policy import PolicyOptions
from sipmi.fleet._sources import read_srv
from sipmi.gateway import make_gateway
from sipmi.server import CommandOptions, ForwardOptions, ListenOptions
from sipmi.testing import eventually

ABSURD_TIMES = [-1, -0.001, math.nan, math.inf, -math.inf, 1e19, 1e300]
ABSURD_COUNTS = [-1, 10**30, -(10**30)]

TIMES = [
    ("fifo:/tmp/none", "reply_wait"),
    ("fifo:/tmp/none", "write_timeout"),
    ("udp:127.0.0.1:0", "timeout"),
    ("http://127.0.0.1:0", "read_timeout"),
    ("http://127.0.0.1:0", "idle_timeout"),
]
COUNTS = [
    ("udp:127.0.0.1:0", "workers"),
    ("udp:127.0.0.1:0", "request_limit"),
    ("udp:127.0.0.1:0", "reply_limit"),
    ("udp:127.0.0.1:0", "depth_limit"),
    ("udp:127.0.0.1:0", "in_progress_limit"),
    ("udp:127.0.0.1:0", "queue_limit"),
    ("http://127.0.0.1:0", "connections"),
    ("http://127.0.0.1:0", "receive_buf_size"),
    ("fifo:/tmp/none", "reply_indent"),
    ("unix:/tmp/none", "mode"),
]


@pytest.mark.parametrize("value", ABSURD_TIMES)
@pytest.mark.parametrize(("address", "name"), TIMES)
def test_a_listener_refuses_an_absurd_time_by_name(address: str, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"expected {name} in seconds from 0 to 1e\+?09, got "):
        sipmi.Server("options").listen(address, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ABSURD_COUNTS)
@pytest.mark.parametrize(("address", "name"), COUNTS)
def test_a_listener_refuses_an_absurd_number_by_name(address: str, name: str, value: int) -> None:
    with pytest.raises((ValueError, TypeError), match=f"expected {name} from .*, got {value}"):
        sipmi.Server("options").listen(address, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("workers", 0), ("workers", 10**9), ("connections", 0), ("request_limit", 0), ("mode", 0o1777), ("mode", 10**6)],
)
def test_a_listener_refuses_numbers_out_of_bounds(name: str, value: int) -> None:
    address = {"connections": "http://127.0.0.1:0", "mode": "unix:/tmp/none"}.get(name, "udp:127.0.0.1:0")
    with pytest.raises(ValueError, match=f"expected {name} from .*, got {value}"):
        sipmi.Server("options").listen(address, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["soon", [1], None, {}])
@pytest.mark.parametrize(("address", "name"), [("fifo:/tmp/none", "reply_wait"), ("udp:127.0.0.1:0", "workers")])
def test_a_listener_names_the_option_whose_value_is_no_number(address: str, name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"expected {name} "):
        sipmi.Server("options").listen(address, **{name: value})


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_rate_that_no_caller_can_have_is_refused_by_name(value: float) -> None:
    with pytest.raises(ValueError, match=r"expected rate_limit in requests a second, above 0 and at most 1e\+09, got "):
        sipmi.Server("options").listen("udp:127.0.0.1:0", rate_limit=value)


@pytest.mark.parametrize("value", ABSURD_TIMES)
def test_a_server_refuses_an_absurd_drain_timeout_by_name(value: float) -> None:
    with pytest.raises(ValueError, match=r"expected drain_timeout in seconds from 0 to 1e\+?09, got "):
        sipmi.Server("options", drain_timeout=value)
    server = sipmi.Server("options")
    with pytest.raises(ValueError, match=r"expected drain_timeout in seconds from 0 to 1e\+?09, got "):
        server.stop(value)


@pytest.mark.parametrize("value", [0, -1, 512, 10**9])
def test_a_server_refuses_an_absurd_number_of_processes_by_name(value: int) -> None:
    with pytest.raises(ValueError, match=f"expected processes from 1 to 511, got {value}"):
        sipmi.Server("options").run(processes=value)


@pytest.mark.parametrize("value", [0, *ABSURD_TIMES])
def test_a_client_refuses_an_absurd_timeout(value: float) -> None:
    expected = r"expected a timeout of more than 0 seconds and at most 1e\+?09, got "
    with pytest.raises(ValueError, match=expected):
        sipmi.connect("udp:127.0.0.1:9", timeout=value)
    with sipmi.connect("udp:127.0.0.1:9") as client, pytest.raises(ValueError, match=expected):
        client.call("uptime", timeout=value)
    with pytest.raises(ValueError, match=expected):
        sipmi.Fleet({"a": "udp:127.0.0.1:9"}, timeout=value)


@pytest.mark.parametrize("seconds", [1e9])
@pytest.mark.parametrize("transport", ["fifo", "unix", "http"])
def test_the_longest_times_are_deadlines_that_never_come(directory: str, transport: str, seconds: float) -> None:
    server = sipmi.Server("options", drain_timeout=seconds)
    address = "http://127.0.0.1:0" if transport == "http" else f"{transport}:{directory}/it"
    options: dict[str, Any] = {"timeout": seconds, "write_timeout": seconds}
    if transport == "fifo":
        options.update(reply_wait=seconds, reply_dir=directory)
    if transport == "http":
        options.update(read_timeout=seconds, idle_timeout=seconds)

    @server.command
    def large() -> str:
        return "x" * 200_000 if transport != "unix" else "x"

    @server.command(blocking=True, timeout=seconds)
    def later() -> str:
        return "done"

    server.listen(address, **options)
    with server, sipmi.connect(server.addresses[0], timeout=seconds) as client:
        assert set(client.call("large")) == {"x"}
        assert client.call("later") == "done"


def test_a_request_whose_reader_comes_late_outlives_an_endless_reply_wait(directory: str) -> None:
    """A request that waits for its reader gets a deadline, in which an endless time used to overflow."""
    server = sipmi.Server("options")
    server.listen(f"fifo:{directory}/it", reply_dir=directory, reply_wait=1e9)
    with server:
        os.mkfifo(f"{directory}/late")
        command = os.open(f"{directory}/it", os.O_WRONLY)
        os.write(command, b":version:late\n\n")
        os.close(command)
        # The next request was served, so this one waits.
        with sipmi.connect(server.addresses[0], timeout=5) as client:
            client.call("version")
        reader = os.open(f"{directory}/late", os.O_RDONLY | os.O_NONBLOCK)
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        assert poller.poll(5000)
        assert os.read(reader, 100).startswith(b"200 OK\n")
        os.close(reader)
        server.stop(0.1)


NO_NUMBERS = [-1, math.nan, math.inf, -math.inf, 1e19, -(10**30), 10**30, True, "5"]


def numeric_options(*kinds: type) -> list[str]:
    """The options of ``TypedDict`` types that may be numbers."""
    listed = [(name, str(hint)) for kind in kinds for name, hint in get_type_hints(kind).items()]
    return sorted(
        {name for name, hint in listed if re.search("(int|float)[^a-z]", f"{hint} ") and "Mapping" not in hint}
    )


def refuses(call: Callable[..., Any], name: str) -> None:
    """Check that a function names an option that has an absurd value."""
    for value in NO_NUMBERS:
        # These take names of users, too.
        if not (name in ("owner", "group") and value == "5"):
            with pytest.raises((TypeError, ValueError), match=rf"expected (a )?{name} .*(found|got) "):
                call(**{name: value})


def test_every_numeric_option_refuses_what_is_no_number_that_can_be_meant_by_name() -> None:
    server = sipmi.Server("options")
    mi, awaited = sipmi.connect("udp:127.0.0.1:9"), sipmi.AsyncClient("udp:127.0.0.1:9")
    fleet = sipmi.Fleet(["udp:127.0.0.1:9"])
    client, forwarding = numeric_options(ConnectOptions), numeric_options(ForwardOptions)
    assert {"retries", "timeout"} < set(client) < set(forwarding)
    walked: list[tuple[Callable[..., Any], list[str]]] = [
        (functools.partial(sipmi.connect, "udp:127.0.0.1:9"), client),
        (functools.partial(sipmi.AsyncClient, "udp:127.0.0.1:9"), client),
        (functools.partial(server.forward, "udp:127.0.0.1:9"), forwarding),
        (functools.partial(make_gateway, "udp:127.0.0.1:9"), forwarding),
        (functools.partial(server.listen, "udp:127.0.0.1:0"), sorted({*numeric_options(ListenOptions)} - {"cpus"})),
        (server.command, numeric_options(CommandOptions)),
        (functools.partial(sipmi.Fleet, ["udp:127.0.0.1:9"]), [*client, "concurrency"]),
        (fleet.with_options, sorted({*numeric_options(PolicyOptions)} - {"progress"})),
        (functools.partial(mi.events, "E_X"), numeric_options(EventOptions)),
        (functools.partial(awaited.events, "E_X"), numeric_options(EventOptions)),
        (functools.partial(mi.watch, "core:"), ["interval", "timeout", "count"]),
        (functools.partial(awaited.watch, "core:"), ["interval", "timeout", "count"]),
        (functools.partial(mi.statistics, "core:"), ["timeout"]),
        (lambda timeout: asyncio.run(awaited.statistics("core:", timeout=timeout)), ["timeout"]),
        (functools.partial(mi.call, "uptime"), ["timeout"]),
        (functools.partial(mi.request, "uptime"), ["timeout"]),
        (functools.partial(mi.request_strings, "uptime", []), ["timeout"]),
        (lambda timeout: asyncio.run(awaited.request("uptime", timeout=timeout)), ["timeout"]),
        (functools.partial(fleet.call, "uptime"), ["timeout"]),
        (functools.partial(sipmi.doctor, "udp:127.0.0.1:9"), ["timeout"]),
        (functools.partial(read_srv, "_mi._udp.example.org"), ["timeout"]),
        (functools.partial(Collector, mi), ["timeout"]),
        (functools.partial(sipmi.Server, "options"), ["drain_timeout"]),
        (functools.partial(server.run, processes=1), ["drain_timeout", "watchdog"]),
        (server.run, ["processes"]),
        (functools.partial(sipmi.Process, "process", print), ["count"]),
        (functools.partial(Receiver, "udp:127.0.0.1:0"), ["max_queue"]),
        (Receiver("udp:127.0.0.1:0").get, ["timeout"]),
        (lambda seconds: list(Receiver("udp:127.0.0.1:0").within(seconds)), ["seconds"]),
        (functools.partial(eventually, int), ["within", "every"]),
        (Host().measure, ["seconds"]),
        (Host().watch_interrupts, ["interval", "count"]),
        (functools.partial(CpuSet, "0"), ["count"]),
        (functools.partial(CpuSet.from_mask, "1"), ["count"]),
        (lambda count: CpuSet("0").padded_mask(count), ["count"]),
    ]
    for call, names in walked:
        for name in names:
            refuses(call, name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wrie": "text"}, r"^connect\(\): unknown option 'wrie' \(did you mean 'wire'\?\)$"),
        ({"zzz": 1}, r"^connect\(\): unknown option 'zzz' \(expected one of auth, .*, wire\)$"),
        ({"timeout": "5"}, r"^connect\(\): expected timeout of type float, got str$"),
        ({"timeout": None}, r"^connect\(\): expected timeout of type float, got NoneType$"),
        ({"retries": True}, r"^connect\(\): expected retries of type int, got bool$"),
        ({"auth": 5}, r"^connect\(\): expected auth of type str or tuple\[str, str or Secret\] or None, got int$"),
        ({"auth": ("ann",)}, r"^connect\(\): expected auth of type .*, got tuple$"),
        ({"cafile": 5}, r"^connect\(\): expected cafile of type str or PathLike\[str\] or None, got int$"),
    ],
)
def test_connect_names_an_unknown_or_wrongly_typed_option(options: Any, message: str) -> None:
    for connect in (sipmi.connect, sipmi.Client, sipmi.AsyncClient):
        with pytest.raises(TypeError, match=message):
            connect("http://127.0.0.1:9/mi", **options)


def test_connect_refuses_an_address_that_is_no_string() -> None:
    with pytest.raises(TypeError, match=r"^connect\(\): expected an address of type str, got PosixPath$"):
        sipmi.connect(Path("/tmp/opensips_fifo"))  # type: ignore[arg-type]


@pytest.mark.parametrize("auth", [("ann", "se:cret"), "ann:se:cret"])
def test_a_client_logs_in_with_a_pair_or_with_user_and_password_in_one_string(auth: Any) -> None:
    server = sipmi.Server("options")
    server.listen("http://127.0.0.1:0", auth={"ann": "se:cret"})
    with server, sipmi.connect(server.addresses[0], auth=auth) as mi:
        assert mi.call("which", "uptime") == [[]]
    with pytest.raises(TypeError, match="the password of auth= is a literal"):
        pickle.dumps(mi)
    with pytest.raises(ValueError, match=r"expected auth as .* got a str without a colon"):
        sipmi.connect("http://127.0.0.1:9/mi", auth="ann")


def test_a_listener_of_events_names_an_unknown_or_wrongly_typed_option() -> None:
    wrong: list[tuple[Any, str]] = [
        ({"duratoin": 1}, r"^events\(\): unknown option 'duratoin' \(did you mean 'duration'\?\)$"),
        ({"max_queue": "5"}, r"^events\(\): expected max_queue of type int, got str$"),
    ]
    for options, message in wrong:
        with sipmi.connect("udp:127.0.0.1:9") as mi:
            with pytest.raises(TypeError, match=message):
                mi.events("E_X", **options)
            with pytest.raises(TypeError, match=message):
                sipmi.events.listen(mi, "E_X", **options)


def test_a_server_names_an_unknown_or_wrongly_typed_option() -> None:
    server = sipmi.Server("options")
    listen, command, forward = server.listen, server.command, server.forward
    wrong: list[tuple[Any, str, Any, str]] = [
        (listen, "unix:/tmp/none", {"mod": 0o660}, r"^listen\(\): unknown option 'mod' \(did you mean 'mode'\?\)$"),
        (listen, "udp:127.0.0.1:0", {"workers": "4"}, r"^listen\(\): expected workers of type int, got str$"),
        (
            listen,
            "udp:127.0.0.1:0",
            {"allow": "get_*"},
            r"^listen\(\): expected allow of type Sequence\[str\], got str$",
        ),
        (
            listen,
            "http://127.0.0.1:0",
            {"auth": 5},
            r"^listen\(\): expected auth of type Mapping\[str, str\] or Callable",
        ),
        (
            command,
            None,
            {"read_olny": True},
            r"^command\(\): unknown option 'read_olny' \(did you mean 'read_only'\?\)$",
        ),
        (command, None, {"timeout": "5"}, r"^command\(\): expected timeout of type float or None, got str$"),
        (
            forward,
            "udp:127.0.0.1:9",
            {"rigths": {}},
            r"^forward\(\): unknown option 'rigths' \(did you mean 'rights'\?\)$",
        ),
        (forward, "udp:127.0.0.1:9", {"queue": "5"}, r"^forward\(\): expected queue of type int, got str$"),
    ]
    for function, address, options, message in wrong:
        with pytest.raises(TypeError, match=message):
            function(address, **options)


def test_a_listener_names_a_user_or_group_that_does_not_exist() -> None:
    for name in ("owner", "group"):
        kind = {"owner": "user"}.get(name, name)
        with pytest.raises(ValueError, match=rf"^listen\(\): {name}: there is no {kind} 'nosuch'$"):
            sipmi.Server("options").listen("unix:/tmp/none", **{name: "nosuch"})  # type: ignore[misc]


def test_a_handler_without_a_name_needs_one() -> None:
    with pytest.raises(TypeError, match=r"^command\(\): expected name= for a partial"):
        sipmi.Server("options").command(functools.partial(print, 1))


def test_the_doctor_names_an_unknown_option() -> None:
    with pytest.raises(TypeError, match=r"^doctor\(\): unknown option 'tiemout' \(did you mean 'timeout'\?\)$"):
        sipmi.doctor("udp:127.0.0.1:9", tiemout=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^Fleet\(\): unknown option 'progess' \(did you mean 'progress'\?\)$"):
        sipmi.Fleet(["udp:127.0.0.1:9"], progess=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^doctor\(\): unknown option 'wrie' \(did you mean 'wire'\?\)$"):
        sipmi.doctor("udp:127.0.0.1:9", wrie="text")  # type: ignore[call-arg]


def test_metrics_without_their_extra_name_it() -> None:
    script = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import sipmi\n"
        "try: sipmi.Server('x').listen('http://127.0.0.1:0', metrics=True)\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "metrics need prometheus_client: pip install 'sipmi[metrics]'\n"
