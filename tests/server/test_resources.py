"""A process that has no threads or descriptors left, and tables that are full."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sipmi

UNPRIVILEGED = 65534
#: Longer than anything takes on a loaded machine.
PATIENCE = 20.0


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


OUT_OF_THREADS = """
import os, resource, sys, threading
import sipmi
directory, threads = sys.argv[1], int(sys.argv[2])
# All that is imported when it is first used: the other user may not be able to read it.
warm = sipmi.Server("warm")
warm.listen("udp:127.0.0.1:0")
with warm, sipmi.connect(warm.addresses[0]) as client:
    client.call("version")
server = sipmi.Server("threads")
server.listen("udp:127.0.0.1:0")
server.listen("http://127.0.0.1:0")
server.listen(f"unix:{directory}/sock")
server.listen(f"fifo:{directory}/fifo", reply_dir=directory)
# The limit counts all processes of a user, and is not for root: this one has a user to itself.
if os.geteuid() == 0:
    os.chown(directory, 1_234_567, -1)
    os.setuid(1_234_567)
    running = len(os.listdir("/proc/self/task"))
else:
    running = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in os.listdir("/proc")
                  if pid.isdigit() and os.stat(f"/proc/{pid}").st_uid == os.geteuid())
resource.setrlimit(resource.RLIMIT_NPROC, (running + threads, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
try:
    server.start()
except OSError as error:
    print("refused", error)
    server.stop()
    assert not server.addresses and not os.listdir(directory), os.listdir(directory)
    resource.setrlimit(resource.RLIMIT_NPROC, (resource.getrlimit(resource.RLIMIT_NPROC)[1],) * 2)
    server.start()
for address in server.addresses:
    with sipmi.connect(address, timeout=10) as client:
        client.call("version")
server.stop()
print("served")
"""


def test_a_server_that_gets_no_threads_says_so_when_it_starts(directory: str) -> None:
    """With each number of threads, it serves all its endpoints or none."""
    refused = 0
    for threads in range(7):
        place = f"{directory}/{threads}"
        os.mkdir(place)
        os.chmod(directory, 0o755)
        done = run(OUT_OF_THREADS, place, str(threads))
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[-1] == "served"
        if len(lines) > 1:
            refused += 1
            assert "cannot start a thread" in lines[0]
            assert "ulimit -u" in lines[0]
    assert refused >= 4


OUT_OF_DESCRIPTORS = """
import logging, os, resource, sys
import sipmi
logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
directory = sys.argv[1]
server = sipmi.Server("descriptors")

@server.command
def echo(text: str) -> str:
    return text

server.listen(f"fifo:{directory}/fifo", reply_dir=directory)
server.listen(f"unix:{directory}/sock")
server.listen("udp:127.0.0.1:0")
server.listen("http://127.0.0.1:0")
with server:
    print(*server.addresses, flush=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    input()
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        print("exhausted", flush=True)
    input()
    for fd in taken:
        os.close(fd)
    print("free", flush=True)
    input()
"""


@pytest.fixture
def crowded(directory: str) -> Iterator[Crowded]:
    command = [sys.executable, "-c", OUT_OF_DESCRIPTORS, directory]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield Crowded(process)
        finally:
            process.kill()


class Crowded:
    """A server whose process uses up its descriptors, and gives them back, when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.addresses = {address.partition(":")[0]: address for address in process.stdout.readline().split()}

    def go_on(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def connect(self, transport: str) -> sipmi.Client:
        return sipmi.connect(self.addresses[transport], timeout=PATIENCE)

    def end(self) -> str:
        """Ends the server, and returns its log."""
        return self.process.communicate("\n", timeout=PATIENCE)[1]


def call_at_once(crowded: Crowded, transport: str, callers: int, calls: int) -> None:
    def call(number: int) -> list[str]:
        with crowded.connect(transport) as client:
            return [client.call("echo", f"{number} {turn}") for turn in range(calls)]

    with ThreadPoolExecutor(callers) as pool:
        for number, replies in enumerate(pool.map(call, range(callers))):
            assert replies == [f"{number} {turn}" for turn in range(calls)]


def count_shortages(client: sipmi.Client, transport: str) -> int:
    name = f"mi_{transport}:out_of_descriptors"
    return int(client.call("get_statistics", [name])[name])


def test_without_descriptors_the_fifo_datagrams_and_open_connections_are_served(crowded: Crowded) -> None:
    with crowded.connect("http") as http:
        assert http.call("echo", "before") == "before"
        assert crowded.go_on() == "exhausted"
        for transport in ("fifo", "unix", "udp"):
            call_at_once(crowded, transport, callers=4, calls=5)
        assert http.call("echo", "meanwhile") == "meanwhile"
        shortages = count_shortages(http, "fifo")
        assert shortages >= 20
        assert crowded.go_on() == "free"
        call_at_once(crowded, "fifo", callers=1, calls=1)
        assert count_shortages(http, "fifo") == shortages
    log = crowded.end().splitlines()
    assert log
    assert len(log) < shortages
    for line in log:
        assert line.startswith(f"WARNING {crowded.addresses['fifo']}: ")
        assert "LimitNOFILE=" in line


def test_without_descriptors_a_new_connection_is_answered_and_turned_away(crowded: Crowded) -> None:
    host, _, port = crowded.addresses["http"].split("/")[2].partition(":")
    assert crowded.go_on() == "exhausted"
    for _ in range(10):
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            answer = b"".join(iter(lambda: connection.recv(1000), b""))
            assert answer.startswith(b"HTTP/1.1 503 ")
    with crowded.connect("udp") as udp:
        assert count_shortages(udp, "http") == 10
    assert crowded.go_on() == "free"
    call_at_once(crowded, "http", callers=1, calls=1)
    log = crowded.end()
    assert "a connection was turned away: no other descriptor is left" in log
    assert log.count("\n") < 10


def test_a_listener_that_could_not_begin_leaves_no_descriptor_to_a_forked_child(directory: str) -> None:
    """Its number is that of another file by then, which the child must keep."""
    program = """
    import os, resource, sys
    import sipmi
    server = sipmi.Server("descriptors")
    server.listen("udp:127.0.0.1:0")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with server:
        free = os.dup(0)
        os.close(free)
        failed = 0
        for spare in range(1, 12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))
            try:
                server.listen("http://127.0.0.1:0")
            except OSError:
                failed += 1
                continue
            break
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert failed > 1, failed
        files = [open(f"{sys.argv[1]}/{number}", "w") for number in range(12)]
        pid = os.fork()
        if pid == 0:
            lost = [file.name for file in files if not os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))]
            os._exit(1 if lost else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "a file of the child was closed"
    print("done")
    """
    done = run(program, directory)
    assert done.stdout == "done\n", done.stderr


def test_a_statistic_that_processes_cannot_share_is_logged_once(directory: str) -> None:
    program = """
    import logging, os, sys, threading
    import sipmi
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    server = sipmi.Server("counters")
    for number in range(3):
        server.statistic("x" * 300 + str(number)).inc()
    server.listen(f"unix:{sys.argv[1]}/sock")
    server.run(processes=2)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), directory]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if "is counted by each process for itself" in line)
        process.terminate()
        rest = process.stderr.read()
    assert "xxx0 is counted" in first
    assert "is counted by each process" not in rest


def test_a_server_of_one_process_shares_no_statistics_and_logs_no_warning_about_it(directory: str) -> None:
    server = sipmi.Server("counters")
    counter = server.statistic("x" * 300)
    counter.inc()
    server.listen(f"unix:{directory}/sock")
    with server:
        assert counter.value == 1
    assert not Path(directory, "sock").exists()
