"""What callers can make a server spend: bytes, calls and time are limited, or grow no faster than what was sent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from measured_server import MeasuredServer
from test_handlers import eventually, result_of

MIB = 1 << 20


def unsent_limit_hits(server: MeasuredServer, group: str) -> int:
    name = f"{group}:unsent_limit_hits"
    request = b'{"jsonrpc":"2.0","id":1,"method":"get_statistics","params":[["%s"]]}' % name.encode()
    with contextlib.closing(server.peer("udp")) as peer:
        return int(result_of(peer.exchange(request))[name])


@contextlib.contextmanager
def silent_readers(server: MeasuredServer, count: int, size: int) -> Iterator[list[int]]:
    """Clients of a FIFO that ask for a large reply each, and do not read it."""
    fds = []
    fifo = server.fifo
    try:
        for _ in range(count):
            name = fifo.make_reply()
            fds.append(os.open(os.path.join(fifo.reply_dir, name), os.O_RDONLY | os.O_NONBLOCK))
            fifo.write(b":text:%s\n%d\n\n" % (name.encode(), size))
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def test_replies_that_nobody_reads_from_fifos_are_bounded_and_their_memory_is_given_back(directory: str) -> None:
    with MeasuredServer(directory, f"listen(unsent_limit={8 * MIB}, write_timeout=60)") as server:
        server.fifo.exchange(lambda name: b":text:%s\n%d\n\n" % (name.encode(), MIB))
        before = server.memory
        server.forget_peak()
        with silent_readers(server, 100, MIB):
            eventually(lambda: unsent_limit_hits(server, "mi_fifo") >= 90, "replies are given up")
            assert server.peak - before < 24 * MIB
        eventually(lambda: server.memory - before < 4 * MIB, "the memory is given back")
        reply = server.fifo.exchange(lambda name: b":text:%s\n%d\n\n" % (name.encode(), MIB))
        assert reply is not None
        assert len(reply) > MIB
