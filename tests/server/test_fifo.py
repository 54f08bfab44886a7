"""The command FIFO: when a command runs, whose reply FIFO is written, and who waits for whom."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import Any, Callable

import pytest

import sipmi
from endpoints import Endpoints, read_reply
from jsonrpc_calls import statistic
from waiting import eventually

VERSION = b'{"jsonrpc":"2.0","method":"version","id":1}'


class Counting:
    """A server whose command counts its runs."""

    def __init__(self, serve: Callable[..., Endpoints], **options: Any) -> None:
        self.server = sipmi.Server("counting")
        self.ran = threading.Semaphore(0)
        self.count = 0

        @self.server.command
        def run() -> int:
            self.count += 1
            self.ran.release()
            return self.count

        self.server.command(lambda size: "x" * int(size), name="big")
        self.endpoints = serve(self.server, **options)
        self.fifo = self.endpoints.fifo

    def is_alive(self) -> None:
        reply = self.fifo.exchange(lambda name: f":version:{name}\n\n".encode())
        assert reply is not None
        assert reply.startswith(b"200 OK\nServer:: sipmi")

    def dropped(self) -> int:
        return self.server.call("get_statistics", ["mi_fifo:dropped"])["mi_fifo:dropped"]

    def wait_for_drops(self, count: int) -> None:
        def have_dropped() -> bool:
            self.is_alive()
            return self.dropped() >= count

        eventually(have_dropped, f"{count} drops")


@pytest.fixture
def counting(serve: Callable[..., Endpoints]) -> Counting:
    return Counting(serve)


def test_without_a_reply_name_a_command_runs_without_a_reply(counting: Counting) -> None:
    counting.fifo.write(b":run:\n\n")
    assert counting.ran.acquire(timeout=5)
    counting.fifo.write(b'::{"jsonrpc":"2.0","method":"run","id":1}')
    assert counting.ran.acquire(timeout=5)


def test_a_command_whose_reply_fifo_has_no_reader_is_not_run(counting: Counting) -> None:
    name = counting.fifo.make_reply()
    counting.fifo.write(f":run:{name}\n\n".encode())
    counting.wait_for_drops(1)
    assert counting.count == 0


def test_a_reader_that_comes_in_time_is_answered_at_once(counting: Counting) -> None:
    latencies = []
    for _ in range(20):
        name = counting.fifo.make_reply()
        counting.fifo.write(f":run:{name}\n\n".encode())
        counting.is_alive()  # the request has been read by now, and waits
        began = time.perf_counter()
        fd = os.open(os.path.join(counting.endpoints.directory, name), os.O_RDONLY)
        reply = read_reply(fd)
        latencies.append(time.perf_counter() - began)
        os.close(fd)
        assert reply is not None
        assert reply.startswith(b"200 OK\n")
    assert sorted(latencies)[10] < 0.1


def test_reply_wait_sets_how_long_a_request_waits(serve: Callable[..., Endpoints], directory: str) -> None:
    server = sipmi.Server("patient")
    fifo = os.path.join(directory, "fifo")
    server.listen(f"fifo:{fifo}", reply_dir=directory, reply_wait=0.0)
    endpoints = serve(server)
    endpoints.fifo_path = fifo
    name = endpoints.fifo.make_reply()
    endpoints.fifo.write(f":version:{name}\n\n".encode())
    eventually(lambda: statistic(server, "mi_fifo:dropped"), "the request is dropped", within=0.25)


@pytest.mark.parametrize("name", ["../{}", "a/b", "{}.x", ".", "a\\b", "x" * 300])
def test_a_reply_name_that_could_leave_the_directory_is_refused(counting: Counting, name: str) -> None:
    counting.fifo.write(f":run:{name.format('x')}\n\n".encode())
    counting.wait_for_drops(1)
    assert counting.count == 0


@pytest.mark.parametrize("kind", ["missing", "regular", "symlink", "hard link", "directory"])
def test_a_file_that_is_no_reply_fifo_is_neither_written_nor_waited_for(counting: Counting, kind: str) -> None:
    directory = counting.endpoints.directory
    path = os.path.join(directory, "reply")
    if kind == "regular":
        open(path, "w").close()
    elif kind == "symlink":
        os.symlink(os.path.join(directory, counting.fifo.make_reply()), path)
    elif kind == "hard link":
        os.link(os.path.join(directory, counting.fifo.make_reply()), path)
    elif kind == "directory":
        os.mkdir(path)
    counting.fifo.write(b":run:reply\n\n")
    counting.wait_for_drops(1)
    assert counting.count == 0
    if kind == "regular":
        assert os.path.getsize(path) == 0


def test_a_deleted_command_fifo_is_back_within_a_second(counting: Counting) -> None:
    os.unlink(counting.endpoints.fifo_path)
    eventually(lambda: os.path.exists(counting.endpoints.fifo_path), "the FIFO is back", within=1.0)
    counting.is_alive()


def test_a_replaced_command_fifo_is_read_again_and_left_to_its_owner(
    serve: Callable[..., Endpoints], directory: str
) -> None:
    counting = Counting(serve)
    os.unlink(counting.endpoints.fifo_path)
    os.mkfifo(counting.endpoints.fifo_path)

    def is_served() -> bool:
        with contextlib.suppress(OSError):  # the new one has no reader yet
            counting.is_alive()
            return True
        return False

    eventually(is_served, "the new FIFO is read")
    counting.server.stop()
    # It reads the new one as its own now: made again in its place, removed like the first.
    assert not os.path.exists(counting.endpoints.fifo_path)


def test_a_request_split_over_writes_is_put_together(counting: Counting) -> None:
    for request in (b":version:NAME\n\n", b":NAME:" + VERSION):
        for cut in (1, 5, len(request) // 2, len(request) - 1):
            name = counting.fifo.make_reply()
            whole = request.replace(b"NAME", name.encode())
            fd = os.open(os.path.join(counting.endpoints.directory, name), os.O_RDONLY | os.O_NONBLOCK)
            counting.fifo.write(whole[:cut])
            counting.fifo.write(whole[cut:])
            assert b"sipmi" in (read_reply(fd) or b"")
            os.close(fd)


def test_several_requests_in_one_write_are_all_answered(counting: Counting) -> None:
    names = [counting.fifo.make_reply() for _ in range(4)]
    paths = [os.path.join(counting.endpoints.directory, name) for name in names]
    fds = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in paths]
    first, second, third, fourth = (name.encode() for name in names)
    counting.fifo.write(
        b":version:" + first + b"\n\n:" + second + b":" + VERSION + b":" + third + b":" + VERSION
        + b"\n:version:" + fourth + b"\n\n"
    )  # fmt: skip
    for fd in fds:
        assert b"sipmi" in (read_reply(fd) or b"")
        os.close(fd)


def test_an_unfinished_request_is_answered_after_a_second_of_silence(counting: Counting) -> None:
    reply = counting.fifo.exchange(lambda name: f":run:{name}\nparam\n".encode())
    assert reply == b"400 parse error in command 'run'\n"
    reply = counting.fifo.exchange(lambda name: f':{name}:{{"jsonrpc":'.encode())
    assert json.loads(reply or b"")["error"]["code"] == -32700
    assert counting.count == 0
    counting.is_alive()


def test_a_client_that_stops_reading_in_the_middle_delays_no_other_client(serve: Callable[..., Endpoints]) -> None:
    counting = Counting(serve, write_timeout=3.0)
    name = counting.fifo.make_reply()
    fd = os.open(os.path.join(counting.endpoints.directory, name), os.O_RDONLY | os.O_NONBLOCK)
    began = time.monotonic()
    counting.fifo.write(f":big:{name}\n10000000\n\n".encode())
    for _ in range(50):
        counting.is_alive()
    assert time.monotonic() - began < 2.9, "they waited until it was given up"
    counting.wait_for_drops(1)
    os.close(fd)


def test_a_slow_reader_gets_all_of_a_large_reply(counting: Counting) -> None:
    reply = counting.fifo.exchange(lambda name: f":big:{name}\n10000000\n\n".encode())
    assert reply == b"200 OK\n" + b"x" * 10_000_000 + b"\n\n"


def test_a_reader_that_leaves_in_the_middle_affects_no_other_client(counting: Counting) -> None:
    name = counting.fifo.make_reply()
    fd = os.open(os.path.join(counting.endpoints.directory, name), os.O_RDONLY | os.O_NONBLOCK)
    counting.fifo.write(f":big:{name}\n10000000\n\n".encode())
    counting.is_alive()
    os.close(fd)
    counting.wait_for_drops(1)
    counting.is_alive()


def test_the_reply_directory_may_be_made_again(serve: Callable[..., Endpoints], directory: str) -> None:
    replies = os.path.join(directory, "replies")
    os.mkdir(replies)
    server = sipmi.Server("dirs")
    fifo = os.path.join(directory, "other")
    server.listen(f"fifo:{fifo}", reply_dir=replies)
    endpoints = serve(server)
    endpoints.fifo_path, endpoints.directory = fifo, replies
    os.rmdir(replies)
    os.mkdir(replies)
    assert endpoints.fifo.exchange(lambda name: f":version:{name}\n\n".encode()) is not None


def test_two_servers_may_not_read_one_fifo(counting: Counting) -> None:
    other = sipmi.Server("other")
    other.listen(f"fifo:{counting.endpoints.fifo_path}", reply_dir=counting.endpoints.directory)
    with pytest.raises(OSError, match="served already"):
        other.start()
    counting.is_alive()


def test_requests_written_to_a_dead_server_are_not_run_by_the_next_one(
    serve: Callable[..., Endpoints], directory: str
) -> None:
    path = os.path.join(directory, "mi_fifo")
    os.mkfifo(path)
    kept_open = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(kept_open, b":run:\n\n")
    reader_gone = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.close(kept_open)
    counting = Counting(serve)
    counting.is_alive()
    assert counting.count == 0
    os.close(reader_gone)
