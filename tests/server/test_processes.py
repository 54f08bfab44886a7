"""A server of several processes: forked, told apart, replaced when they die, ended together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from typing import Callable

import pytest

import sipmi
from endpoints import FifoPeer, read_reply
from processes import PATIENCE, Group, is_alive
from sipmi.server._child import Child
from waiting import eventually


def test_all_transports_are_served_by_several_processes(group: Callable[..., Group]) -> None:
    many = group()
    assert [process["Type"] for process in many.processes()] == ["attendant", "MI worker", "MI worker"]
    workers = many.workers()
    for transport in ("unix", "udp", "http", "fifo"):
        with many.connect(transport) as client:
            assert client.call("pid") in workers
    with many.connect("fifo") as client:
        assert len({client.call("pid") for _ in range(5)}) == 1, "one process reads the FIFO"
    code, out, errors = many.stop()
    assert (code, out, errors) == (0, "", "")
    assert many.left_files() == []
    assert not any(is_alive(pid) for pid in workers)


def test_ps_is_in_the_shape_of_its_wire(group: Callable[..., Group]) -> None:
    many = group()
    with many.connect(wire="text") as client:
        reply = client.request("ps").raw.decode().splitlines()
    assert reply[0] == "200 OK"
    assert reply[1].startswith(f"Process::  ID=0 PID={many.process.pid} Type=attendant State=running")
    assert "Type=MI worker" in reply[2]


@pytest.mark.parametrize("transport", ["unix", "udp", "fifo"])
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(group: Callable[..., Group], transport: str) -> None:
    many = group()
    with many.connect(transport, wire="text") as client:
        killed = int(client.call("pid"))
        os.kill(killed, signal.SIGKILL)
        # It may have had the call in hand already.
        with contextlib.suppress(sipmi.MiError):
            assert int(client.call("pid", timeout=PATIENCE / 2)) != killed
        assert int(client.call("pid")) != killed
    eventually(lambda: len(pids := many.workers()) == 2 and killed not in pids)
    assert f"(MI worker, pid {killed}) was ended by SIGKILL\n" in many.stop()[2]


def test_all_processes_count_together(group: Callable[..., Group]) -> None:
    many = group(
        """
        early = server.statistic("early")
        @server.command
        def count() -> int:
            early.inc()
            server.statistic("late").inc(2)
            return os.getpid()
        server.run(processes=2)
        """
    )
    with many.connect() as client:
        pids: set[int] = set()
        calls = 0
        while len(pids) < 2:
            pids.add(client.call("count"))
            calls += 1
        for _ in range(10):  # any of the workers may answer
            assert client.call("get_statistics", ["many:"]) == {"many:early": calls, "many:late": 2 * calls}
        client.call("reset_statistics", ["many:early"])
        for _ in range(10):
            assert client.call("get_statistics", ["early"]) == {"many:early": 0}


def test_rate_limits_count_the_requests_of_all_processes(group: Callable[..., Group]) -> None:
    many = group(
        """
        server.command(os.getpid, name="seldom", rate_limit=0.001)
        server.listen(f"unix:{sys.argv[1]}/limited", rate_limit=0.001)
        server.run(processes=2)
        """
    )
    workers: set[int] = set()
    while len(workers) < 2:
        with many.connect() as client:
            workers.add(client.call("pid"))
    for address, command in (("sock", "seldom"), ("limited", "pid")):
        with sipmi.connect(f"unix:{many.directory}/{address}", wire="text", timeout=PATIENCE) as client:
            assert int(client.call(command)) in workers
            for _ in range(20):  # either of the workers may refuse
                with pytest.raises(sipmi.Fault, match="Server busy"):
                    client.call(command)


def test_requests_in_progress_of_a_dead_process_are_no_longer_counted(group: Callable[..., Group]) -> None:
    many = group()
    with many.connect("http", timeout=60) as client, many.connect() as other:

        def call() -> None:
            with contextlib.suppress(sipmi.MiError):
                client.call("sleep", 60.0)

        thread = threading.Thread(target=call)
        thread.start()
        os.kill(many.await_asleep()[0], signal.SIGKILL)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        eventually(lambda: other.call("get_statistics", ["mi_http:in_progress"]) == {"mi_http:in_progress": 0})


def test_workers_that_die_again_and_again_are_replaced_each_time(group: Callable[..., Group]) -> None:
    many = group()
    for _ in range(4):
        killed = many.workers()[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: len(pids := many.workers()) == 2 and killed not in pids)  # noqa: B023
    assert many.stop()[2].count("was ended by SIGKILL") == 4


def test_a_process_that_dies_early_is_restarted_with_back_off_and_an_old_one_at_once() -> None:
    child, now, pauses = Child(1, "MI worker", None), 100.0, []
    for _ in range(9):
        child.born = now
        child.schedule(now)
        assert child.due is not None
        pauses.append(child.due - now)
        now = child.due
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    child.schedule(now + 60)
    assert child.due == pytest.approx(now + 60.05)


def test_each_worker_runs_the_inits_once_before_its_first_command(group: Callable[..., Group]) -> None:
    many = group(
        """
        def init():
            open(f"{directory}/init_{os.getpid()}", "x").close()
        def get(root, param):
            assert os.path.exists(f"{directory}/init_{os.getpid()}")
            return sipmi.Tree()
        server.register_module("m", [sipmi.Export("get", "", get, init=init)])
        server.run(processes=2)
        """
    )
    inits = many.await_files("init_", 2)
    assert sorted(int(name.split("_")[1]) for name in inits) == sorted(many.workers())
    with many.connect() as client:
        assert {client.call("get") for _ in range(20)} == {"OK"}


BAD_STARTS = {
    "init": (
        "server.register_module('m', [sipmi.Export('get', '', lambda root, param: None, init=lambda: 1 / 0)])",
        "init of m:get failed: division by zero",
    ),
    "pre_fork": (
        "server.register_process(sipmi.Process('stats', time.sleep, pre_fork=lambda: 1 / 0))",
        "pre_fork of process 'stats' failed: division by zero",
    ),
    "post_fork": (
        "server.register_process(sipmi.Process('stats', time.sleep, post_fork=lambda: 1 / 0))",
        "post_fork of process 'stats' failed: division by zero",
    ),
    "threads": (
        "import threading; threading.Thread(target=time.sleep, args=(9,), name='busy', daemon=True).start()",
        "safe only before there are threads; found busy",
    ),
    "death": (
        "server.register_module('m', [sipmi.Export('get', '', lambda r, p: None, init=lambda: os._exit(3))])",
        " (MI worker) ended with code 3",
    ),
    "hazards": ("server = sipmi.Server('x', emulate='4.0', hazards=True)", "hazards are those of one process"),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_failure_at_the_start_stops_the_server_and_is_named(group: Callable[..., Group], name: str) -> None:
    body, expected = BAD_STARTS[name]
    many = group(body + "\nserver.run(processes=2)\n", ready=False)
    code, _, errors = many.ended()
    assert code == 1
    assert expected in errors.splitlines()[-1]
    assert many.left_files() == []


def test_extra_processes_run_their_function_with_their_rank(group: Callable[..., Group]) -> None:
    many = group(
        """
        def note(name):
            return lambda *args: open(f"{directory}/{name}_{os.getpid()}_{'_'.join(map(str, args))}", "w").close()
        def function(rank):
            note("function")(rank)
            server.statistic("extra").inc()
            while True:
                time.sleep(0.1)
        server.register_module("m", [sipmi.Export("get", "", lambda root, param: None, init=note("init"))])
        server.register_process(sipmi.Process("MI stats", function, count=2, pre_fork=note("pre"),
            post_fork=note("post"), flags=sipmi.ProcessFlags.INIT_CHILD))
        server.register_process(sipmi.Process("once", note("once")))
        server.run()
        """
    )
    listed = many.processes()
    assert [process["Type"] for process in listed][:4] == ["attendant", "MI worker", "MI stats", "MI stats"]
    assert all(process["State"] == "running" for process in listed)
    ranks = {process["PID"]: process["ID"] for process in listed if process["Type"] == "MI stats"}
    functions = [name.split("_")[1:] for name in many.await_files("function_", 2)]
    assert {int(pid): int(rank) for pid, rank in functions} == ranks
    assert len(many.await_files("init_")) == 3, "in the worker and in those that ask for it"
    main = str(many.process.pid)
    assert [name.split("_")[1] for name in many.await_files("pre_") + many.await_files("post_")] == [main, main]
    many.await_files("once_")
    eventually(lambda: "once" not in [process["Type"] for process in many.processes()])
    with many.connect() as client:
        eventually(lambda: client.call("get_statistics", ["extra"]) == {"many:extra": 2})
    os.kill(next(iter(ranks)), signal.SIGKILL)
    many.await_files("function_", 3)
    assert many.stop()[0] == 0
    assert not any(is_alive(pid) for pid in ranks)


def test_commands_and_endpoints_are_the_same_in_all_processes(group: Callable[..., Group]) -> None:
    many = group(
        """
        @server.command
        def change(what: str) -> str:
            try:
                if what == "add":
                    server.command(pid, name="new")
                elif what == "remove":
                    server.unregister("pid")
                else:
                    server.listen("udp:127.0.0.1:0")
            except RuntimeError as error:
                return str(error)
        server.run(processes=2)
        """
    )
    with many.connect() as client:
        for what, expected in [("add", "commands are added"), ("remove", "commands are removed"), ("l", "endpoints")]:
            assert client.call("change", what).startswith("the server is served by several processes")
            assert f"{expected}" in client.call("change", what)


def test_a_server_with_extra_processes_is_not_started_in_threads() -> None:
    server = sipmi.Server("many")
    server.register_process(sipmi.Process("stats", time.sleep))
    with pytest.raises(RuntimeError, match="'stats' is forked by run"):
        server.start()


def test_a_command_may_stop_all_processes(group: Callable[..., Group]) -> None:
    many = group("server.command(server.stop, name='halt')\nserver.run(processes=2)")
    workers = many.workers()
    with many.connect() as client:
        client.call("halt")
    assert many.ended() == (0, "", "")
    assert not any(is_alive(pid) for pid in workers)


def test_kill_ends_all_processes(group: Callable[..., Group]) -> None:
    many = group(
        """
        server = sipmi.Server("many", allow_kill=True)
        server.listen(f"unix:{directory}/sock")
        server.run(processes=2)
        """
    )
    with many.connect() as client:
        client.call("kill")
    assert many.ended() == (0, "", "")


@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
@pytest.mark.parametrize("transport", ["unix", "udp", "fifo"])
def test_clients_of_a_dead_worker_are_told_that_the_command_failed(
    group: Callable[..., Group], transport: str, wire: str
) -> None:
    many = group()
    faults: list[BaseException] = []

    def call() -> None:
        try:
            with many.connect(transport, wire=wire) as client:
                client.call("sleep", 60.0)
        except sipmi.MiError as error:
            faults.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    os.kill(many.await_asleep()[0], signal.SIGKILL)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if transport == "fifo":
        # The worker had opened the reply FIFO: the client sees its end, which is no answer.
        assert len(faults) == 1
    else:
        assert [getattr(fault, "code", fault) for fault in faults] == [500 if wire == "text" else -32000]
    with many.connect(transport) as client:
        assert client.call("pid") > 0


@pytest.mark.parametrize("connected", [False, True])
def test_the_answer_for_a_killed_worker_comes_from_an_unnamed_socket_unless_the_client_is_connected(
    group: Callable[..., Group], connected: bool
) -> None:
    """As all answers: the buffer of the named socket may be full of what others do not read."""
    many = group()
    path = f"{many.directory}/sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(f"{many.directory}/client")
        client.settimeout(PATIENCE)
        if connected:
            client.connect(path)
        request = b'{"jsonrpc":"2.0","id":1,"method":"sleep","params":[60.0]}'
        client.send(request) if connected else client.sendto(request, path)
        os.kill(many.await_asleep()[0], signal.SIGKILL)
        reply, sender = client.recvfrom(1000)
    assert json.loads(reply)["error"]["code"] == -32000
    assert sender == (path if connected else None)


@pytest.mark.parametrize("fifo", ["same", "new"])
@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
def test_a_dead_worker_leaves_no_answer_for_the_next_request_of_that_reply_fifo(
    group: Callable[..., Group], wire: str, fifo: str
) -> None:
    many = group()
    peer = FifoPeer(f"{many.directory}/fifo", many.directory)

    def write(method: str, number: int) -> None:
        params = [60] if method == "sleep" else []
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number})
        lines = "".join(f"{param}\n" for param in params)
        peer.write((f":{name}:{body}" if wire == "jsonrpc" else f":{method}:{name}\n{lines}\n").encode())

    name = peer.make_reply()
    fd = os.open(f"{many.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK)
    write("sleep", 1)
    worker = many.await_asleep()[0]
    # The client is faster than the parent: it sees the end and asks again before the parent looks.
    many.signal(signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    assert read_reply(fd) == b"", "the end of the process ends the reply"
    os.close(fd)
    if fifo == "new":
        os.unlink(f"{many.directory}/{name}")
        peer.make_reply(name)
    fd = os.open(f"{many.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK)
    many.signal(signal.SIGCONT)
    if wire == "jsonrpc" and fifo == "same":
        # For the client that goes on waiting; its id tells.
        reply = read_reply(fd)
        assert reply is not None
        assert (json.loads(reply)["id"], json.loads(reply)["error"]["code"]) == (1, -32000)
        os.close(fd)
        return
    eventually(lambda: len(pids := many.workers()) == 2 and worker not in pids)
    assert read_reply(fd, silence=0.2) is None, "no process opens it"
    write("pid", 2)
    reply = read_reply(fd)
    os.close(fd)
    assert reply is not None
    assert reply.startswith(b"200 OK\n") if wire == "text" else json.loads(reply)["id"] == 2


@pytest.mark.parametrize("kind", ["coroutine", "batch", "large"])
def test_orphans_of_every_kind_are_answered(group: Callable[..., Group], kind: str) -> None:
    many = group(
        """
        @server.command
        async def wait(note: str) -> None:
            open(f"{directory}/asleep_{os.getpid()}_", "w").close()
            await asyncio.sleep(60)
        server.run(processes=1)
        """
    )
    call = {"jsonrpc": "2.0", "method": "wait", "params": ["x" * (20_000 if kind == "large" else 1)], "id": 7}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind("")
        client.settimeout(PATIENCE)
        client.sendto(json.dumps([call, call] if kind == "batch" else call).encode(), f"{many.directory}/sock")
        os.kill(many.await_asleep()[0], signal.SIGKILL)
        answer = json.loads(client.recv(65536))
    answers = answer if kind == "batch" else [answer]
    assert [one["id"] for one in answers] == [7] * (2 if kind == "batch" else 1)
    assert all(one["error"]["code"] == -32000 for one in answers)


def test_requests_that_wait_behind_one_in_a_fifo_survive_their_reader(group: Callable[..., Group]) -> None:
    many = group("server.run(processes=2)")
    fifo = FifoPeer(f"{many.directory}/fifo", many.directory)
    with many.connect("fifo", wire="text") as client:
        reader = int(client.call("pid"))
    os.kill(reader, signal.SIGSTOP)
    names = [fifo.make_reply() for _ in range(20)]
    fds = [os.open(f"{many.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK) for name in names]
    fifo.write(b"".join(f":pid:{name}\n\n".encode() for name in names))
    os.kill(reader, signal.SIGKILL)
    replies = [read_reply(fd, PATIENCE) for fd in fds]
    assert all(reply is not None and reply.startswith(b"200 OK\n") for reply in replies), replies
    for fd in fds:
        os.close(fd)


EVENTS = """
@server.command
def shout(word: str) -> list:
    return [os.getpid(), server.raise_event("E_WORD", {"word": word})]
server.run(processes=2)
"""


def test_an_event_of_any_process_reaches_every_subscriber_once(group: Callable[..., Group]) -> None:
    many = group("server.event('E_WORD')\n" + EVENTS)
    with many.connect() as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as subscriber:
        subscriber.bind(("127.0.0.1", 0))
        subscriber.settimeout(PATIENCE)
        here = f"udp:127.0.0.1:{subscriber.getsockname()[1]}"
        client.call("event_subscribe", "E_WORD", here, 600)
        raisers: set[int] = set()
        words = 0
        while len(raisers) < 2:
            pid, subscribers = client.call("shout", str(words))
            assert subscribers == 1, "every worker knows the subscriber"
            raisers.add(pid)
            assert json.loads(subscriber.recv(1000))["params"] == {"word": str(words)}
            words += 1
        killed = raisers.pop()
        os.kill(killed, signal.SIGKILL)
        workers = eventually(lambda: len(pids := many.workers()) == 2 and killed not in pids and pids)
        raisers = set()
        while raisers != set(workers):
            pid, subscribers = client.call("shout", str(words))
            assert subscribers == 1, "also who was forked later"
            raisers.add(pid)
            assert json.loads(subscriber.recv(1000))["params"] == {"word": str(words)}
            words += 1
        for _ in range(10):
            listed = client.call("subscribers_list", "E_WORD")["Event"]["Subscribers"]
            assert [one["socket"] for one in listed] == [here]
        client.call("event_subscribe", "E_WORD", here, 0)
        assert {client.call("shout", "x")[1] for _ in range(10)} == {0}


def test_events_have_the_same_numbers_in_all_processes(group: Callable[..., Group]) -> None:
    many = group(
        """
        @server.command
        def declare(name: str) -> int:
            server.event(name)
            return os.getpid()
        server.run(processes=2)
        """
    )
    with many.connect() as client:
        pids: list[int] = []
        while len(set(pids)) < 2:  # after a pause both wait, and it is the other's turn
            pids.append(client.call("declare", f"E_{len(pids)}"))
            time.sleep(0.005)
        expected = [{"name": f"E_{number}", "id": number} for number in range(len(pids))]
        assert all(client.call("events_list")["Events"] == expected for _ in range(10))


def test_a_log_level_is_told_to_all_processes_or_to_the_one_that_is_meant(group: Callable[..., Group]) -> None:
    many = group(
        """
        import logging
        @server.command
        def level() -> list:
            return [os.getpid(), logging.getLogger("sipmi").level]
        def function(rank):
            while True:
                open(f"{directory}/level_{logging.getLogger('sipmi').level}", "w").close()
                time.sleep(0.02)
        server.register_process(sipmi.Process("extra", function))
        server.run(processes=2)
        """
    )
    with many.connect(wire="jsonrpc") as client:
        client.call("log_level", 4)
        assert {process["Log level"] for process in client.call("log_level")["Processes"]} == {4}
        workers = many.workers()
        for _ in range(2):
            eventually(lambda: {tuple(client.call("level")) for _ in range(20)} == {(pid, 10) for pid in workers})
        many.await_files("level_10")
        client.call("log_level", -1, workers[0])
        eventually(lambda: {tuple(client.call("level")) for _ in range(20)} == {(workers[0], 40), (workers[1], 10)})
        with pytest.raises(sipmi.InvalidParams):
            client.call("log_level", 1, 1)
