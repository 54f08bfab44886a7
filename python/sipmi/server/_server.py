"""The server: its endpoints and its life."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Callable, Optional, Union

from .. import _numbers
from .._core import MOST_PROCESSES, CpuSet, RequestContext, prepare_exit, set_thread_affinity
from .._core import Server as CoreServer
from .._core import after_fork_in_child as core_after_fork_in_child
from .._core import after_fork_in_parent as core_after_fork_in_parent
from .._core import before_fork as core_before_fork
from .._core import current_request as core_current_request
from ._coroutines import request_of_task
from ._events import EventSource
from ._exports import Process
from ._logging import reopen_logs, set_log_level
from ._options import endpoint_options
from ._registry import CommandRegistry
from ._signals import RunSignals
from ._supervisor import Supervisor
from ._systemd import ServiceManager
from ._worker import Service

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..client import Client
    from ._forward_options import ForwardOptions
    from ._options import ListenOptions

trace_log: logging.Logger = logging.getLogger("sipmi.trace")

#: Every server that serves: stopped at exit, so that no file is left behind.
_running: weakref.WeakSet[Server] = weakref.WeakSet()


class Server(CommandRegistry, EventSource):
    """Commands, and the endpoints at which they are served.

    :param name: the module that the commands belong to: they are known as ``name`` and ``module:name``.
    :param version: the module's version, shown by the command ``version``.
    :param emulate: answer as this version of OpenSIPS does: "1.8" (for 1.4 to 1.10), "1.11", "2.4", "3.2",
        "3.4", "3.6", "4.0" or "4.1".
    :param allow_kill: whether there is a command ``kill``.
    :param hazards: hang, stall, swallow and die where that version of OpenSIPS does; for tests of clients.
    :param reliable_events: subscribers over TCP have to confirm each event, which is sent again until they do or
        30 seconds have passed (``reliable_mode`` of event_stream).
    :param trace: patterns of commands such as "sub_*" whose requests and replies are recorded: the logger
        ``sipmi.trace`` gets a record of each at INFO. Values of names that mean secrets are hidden.
    :param trace_secrets: more names whose values are hidden.
    :param drain_timeout: how many seconds a server that stops waits for running commands. Those that take longer
        are answered with an error.
    :raises ValueError: there is no such version, or ``hazards`` without ``emulate``.

    >>> server = Server("billing", version="1.4")
    >>> @server.command
    ... def sub_add(user: str, credit: float = 0.0) -> dict:
    ...     '''Add a subscriber.'''
    ...     return {"user": user, "credit": credit}
    >>> server.call("sub_add", "alice", credit="2.5")
    {'user': 'alice', 'credit': 2.5}
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "",
        emulate: Optional[str] = None,
        allow_kill: bool = False,
        hazards: bool = False,
        reliable_events: bool = False,
        trace: Iterable[str] = (),
        trace_secrets: Iterable[str] = (),
        drain_timeout: float = 5.0,
    ) -> None:
        if hazards and emulate is None:
            raise ValueError("hazards are those of a version of OpenSIPS: expected emulate= beside hazards=True")
        super().__init__(name, CoreServer(name, version, emulate, allow_kill, hazards))
        self.version: str = version
        self.emulate: Optional[str] = emulate
        self._hazards = hazards
        self._core.on_log_level(set_log_level)
        self._core.reliable_events(reliable_events)
        self._core.on_metrics(self._metrics_page)
        if traced := list(trace):
            self._core.trace(traced, list(trace_secrets))
            if trace_log.level == logging.NOTSET:
                trace_log.setLevel(logging.INFO)
        self._upstreams: list[Client] = []
        self._stopped = threading.Event()
        self._signals = RunSignals()
        #: What :meth:`run` does once the endpoints are open.
        self._when_ready: Callable[[], None] = lambda: None
        self.drain_timeout: float = _numbers.pause("drain_timeout", drain_timeout)
        self._processes: list[Process] = []
        self._supervisor: Optional[Supervisor] = None

    def forward(self, upstream: Union[str, Client], **options: Unpack[ForwardOptions]) -> None:
        """Forward unknown commands to another server, and answer in the wire of the caller.

        The upstream may be an OpenSIPS of any generation. This server's own commands come first; the commands that
        every server has are the upstream's, except ``version``; ``which`` and ``help`` show both. ``kill`` is never
        forwarded. With several upstreams, the first whose ``only`` patterns match a command handles it. Forwarding
        runs no Python.

        :param upstream: an address, as :func:`sipmi.connect` takes it, or a client.
        :param only: patterns of the commands to forward, by any of their names; all by default.
        :param timeout: the seconds that a request may take in all, with the wait for its turn; 5 by default.
        :param max_in_flight: the number of requests that the upstream is given at a time; 1 for a FIFO and 4 for other
            transports by default.
        :param queue: the number of requests that may wait for their turn; 4,096 by default. Further ones are answered
            that the server is busy.
        :param cache: seconds that the answers of a command are kept, by name or pattern, for commands that change
            nothing. Equal requests in the meantime wait for the same answer. A forwarded command that changes
            something clears the cache. None, the default, keeps nothing.
        :param rights: patterns of the commands that a caller may run, and "@read" for those that change nothing, by
            user, by network, or "*" for all other callers. The first entry that matches the caller counts. None, the
            default, leaves the decision to the listeners.
        :param audit: whether requests leave entries in the log ``sipmi.audit``, if it takes the level INFO; True by
            default.
        :param options: those of :func:`sipmi.connect` for an address: ``wire=``, ``reply_dir=``, ``auth=``, ...
        :raises TypeError: an option has an unknown name, or a value of another type.
        :raises ValueError: an address, a pattern or a name cannot be read, or a cached command changes something.

        >>> from sipmi.testing import FakeOpenSIPS
        >>> with FakeOpenSIPS("1.11") as opensips:
        ...     server = Server("edge")
        ...     server.forward(opensips.address("udp"), cache={"get_statistics": 1.0}, rights={"*": "@read"})
        ...     server.call("ul_show_contact", "location", "alice")
        Traceback (most recent call last):
        ...
        sipmi.errors.Fault: 404 AOR not found
        """
        from ._forward import forward

        self._upstreams.append(forward(self, upstream, **options))

    def _metrics_page(self) -> bytes:
        from ..metrics import exposition

        return exposition(self)

    def register_affinity(self, *, allow_write: bool = False) -> None:
        """Adds the commands ``irq_list``, ``irq_affinity``, ``cpu_affinity`` and ``affinity_plan`` (Linux).

        :param allow_write: let callers move interrupts and processes; otherwise the commands only show, and a call
            that would change something is answered 403.
        """
        from ._affinity import register_affinity

        register_affinity(self, allow_write=allow_write)

    # -- endpoints --------------------------------------------------------------------------------

    def listen(self, address: str, **options: Unpack[ListenOptions]) -> None:
        """Adds an endpoint: ``fifo:/path``, ``udp:host:port``, ``unix:/path`` or ``http://host:port``.

        A server that runs opens it at once, else :meth:`start` does. Port 0 picks a free one.

        :param reply_dir: (FIFO) where clients make their reply FIFOs; "/tmp" by default.
        :param reply_wait: (FIFO) seconds that a request waits for the reader of its reply FIFO; 0.3.
        :param reply_indent: (FIFO) blanks a level in text replies; a TAB by default.
        :param mode: (FIFO, UNIX) permissions; 0o660.
        :param owner: (FIFO, UNIX) user name or number.
        :param group: (FIFO, UNIX) group name or number.
        :param write_timeout: seconds that a client may take to read its reply; 5.
        :param request_limit: the largest request in bytes; 4 MiB.
        :param timeout: seconds after which a caller is told that its command takes too long; None: never; 60.
        :param reply_limit: the largest reply in bytes, streamed ones included; what the transport carries by default.
        :param depth_limit: how deep parameters may nest; 128.
        :param in_progress_limit: how many requests may be in progress; None: any number; 16,384.
        :param queue_limit: how many requests may wait for a thread or their turn; None: any number; 1,024.
        :param rate_limit: how many requests a second one peer may make; any number by default. A peer is an IPv4
            address, a /64 of IPv6, a user of a UNIX socket, or all who use a FIFO.
        :param batch_limit: how many calls a batch or a ``system.multicall`` may have; 1,000.
        :param batch_reply_limit: the bytes of all their replies together; once they are more, the other calls are not
            run; 16 MiB.
        :param unsent_limit: the bytes that may wait for clients: replies that are not read, and requests whose reply
            FIFO has no reader; 64 MiB.
        :param pretty_printing: spread JSON replies over lines.
        :param workers: how many handlers may run at once; 32.
        :param cpus: (Linux) the CPUs that its workers run on: a `CpuSet`, a list such as "0-3", or numbers.
        :param allow: patterns of the commands that it runs, such as "get_*" or "usrloc:*"; all by default, none for
            an empty list.
        :param read_only: run only commands that change nothing.
        :param allow_from: (UDP, HTTP) the networks that it serves, such as "10.0.0.0/8"; all by default, none for
            an empty list.
        :param roots: (HTTP) the paths of "mi", "json", "rpc", "xmlrpc" and "html"; what is not named is not there.
        :param xmlrpc: (HTTP) the form of XML-RPC at "rpc": "native", "string", "array", "ng", "ng1" or "ng2".
        :param json_get: (HTTP) the GET requests that run commands that change something: "programs", those of
            programs and of this server's own pages; "read_only", none; "all"; "programs" by default.
        :param tls: (HTTP) the certificate chain and the key as PEM files, or one file with both.
        :param client_ca: (HTTP) the authority, a PEM file, whose certificates clients must have.
        :param auth: (HTTP) passwords by user, or a function of user and password that says whether they are right;
            an empty dictionary lets nobody in.
        :param token: (HTTP) the bearer token that lets in; an empty one lets nobody in.
        :param hosts: (HTTP) names by which browsers may call it, beside addresses and "localhost".
        :param read_timeout: (HTTP) seconds for the head of a request and for its body; 10.
        :param idle_timeout: (HTTP) seconds between two requests of a connection; 60.
        :param connections: (HTTP) how many there may be; 16,384.
        :param receive_buf_size: (HTTP, with ``hazards``) what 3.6 and 4.0 take of a body; 1,024 bytes, as they do.
        :param metrics: (HTTP) answer ``GET /metrics`` with what is counted, for Prometheus (``sipmi[metrics]``).
        :raises ValueError: the address or an option cannot be read.
        :raises OSError: a running server cannot open it.

        >>> server = Server("billing")
        >>> server.listen("http://127.0.0.1:0", allow=["get_*", "version"], auth={"ann": "secret"})
        >>> with server:
        ...     server.addresses
        ['http://127.0.0.1:.../mi']
        """
        self._check_undivided("endpoints are added")
        given = endpoint_options(options)
        if given.get("metrics"):
            from .. import metrics  # noqa: F401  (if prometheus_client is missing, fail here and not at a request)
        self._core.listen(address, given)

    @property
    def addresses(self) -> list[str]:
        """What is really bound, as strings that ``connect`` takes; empty while the server is stopped."""
        return self._core.addresses

    @property
    def is_running(self) -> bool:
        """Whether it serves."""
        return self._core.is_running

    def start(self) -> None:
        """Opens all endpoints and begins to serve.

        :raises OSError: an endpoint cannot be opened; then none stays open.
        :raises RuntimeError: it is running already, an ``init`` failed, or it has extra processes, which only
            :meth:`run` can fork safely.
        """
        if self._processes:
            raise RuntimeError(
                f"the process {self._processes[0].name!r} is forked by run(), before there are threads: "
                "expected run() instead of start()"
            )
        self._run_inits()
        self._stopped.clear()
        self._core.start()
        _running.add(self)

    def stop(self, timeout: Optional[float] = None) -> None:
        """Ends serving: running commands finish, endpoints are removed, subscriptions end. Twice does no harm.

        :param timeout: how many seconds running commands may take before they are answered with an error; by
            default the server's ``drain_timeout``.

        Where several processes serve, all of them end.
        """
        if self._supervisor is not None:
            self._supervisor.stop()
            return
        self._core.stop(self.drain_timeout if timeout is None else timeout, lambda: self._signals.is_hurried)
        self._coroutines.stop()
        _running.discard(self)
        self._stopped.set()
        self._signals.stop()

    def run(
        self,
        *,
        processes: Optional[int] = None,
        drain_timeout: Optional[float] = None,
        cpus: Union[CpuSet, str, Iterable[int], None] = None,
        watchdog: Optional[float] = None,
    ) -> None:
        """Serves until SIGINT or SIGTERM, or until another thread calls :meth:`stop`.

        :param processes: how many workers serve, each a process with an interpreter lock of its own. They are
            forked by this call and replaced when they die; this process looks after them and serves nobody. By
            default this process serves, or, when there are extra processes, one worker does.
        :param drain_timeout: as that of the server, which it replaces. A second signal skips the wait.
        :param cpus: (Linux) the CPUs that this process, with all its threads, runs on from now on.
        :param watchdog: with processes: how many seconds a worker may run no Python, because a handler keeps the
            interpreter lock, before it is killed and replaced; at least 0.1. None, the default, watches no worker.
        :raises OSError: an endpoint cannot be opened, or none of the CPUs is online and in the cpuset.
        :raises RuntimeError: with processes: there are other threads, a process could not be started, its ``init``,
            ``pre_fork`` or ``post_fork`` failed.
        """
        if cpus is not None:
            from ..affinity import Host

            set_thread_affinity(cpus)
            Host().process(os.getpid()).set_affinity(cpus)
        if drain_timeout is not None:
            self.drain_timeout = _numbers.pause("drain_timeout", drain_timeout)
        if processes is not None or self._processes:
            self._run_processes(1 if processes is None else processes, watchdog)
            return
        if watchdog is not None:
            raise ValueError("watchdog= watches the workers of a server of several processes: expected processes=, too")
        self._signals = RunSignals()
        manager = ServiceManager()
        with self._signals.handled(), self:
            self._when_ready()
            manager.ready("one process")
            # Woken now and then, so that signals are seen also where the wait cannot be interrupted.
            while not self._stopped.is_set():
                manager.alive()
                wish = self._signals.wait(min(0.5, manager.pause))
                if wish == "stop":
                    break
                if wish == "reload":
                    manager.reloading()
                    reopen_logs()
                    manager.ready("one process")
            manager.stopping()

    def _run_processes(self, workers: int, watchdog: Optional[float]) -> None:
        _numbers.count("processes", workers, MOST_PROCESSES - 1)
        if watchdog is not None:
            _numbers.duration("watchdog", watchdog, 0.1)
        if self._hazards:
            raise ValueError("hazards are those of one process: expected no processes= beside them")
        # A call before this one may have started its thread.
        self._coroutines.stop()
        service = Service(self._core, self._run_inits, lambda: self._when_ready(), self._coroutines.stop)
        self._supervisor = Supervisor(service, workers, self._processes, self.drain_timeout, watchdog)
        self._is_divided = True
        try:
            self._supervisor.run()
        finally:
            self._supervisor = None
            self._is_divided = False
            self.stop()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Server:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.stop)

    def register_process(self, process: Process) -> None:
        """Adds an extra process, which :meth:`run` forks (``proc_export_t``).

        :raises RuntimeError: the processes are forked already.

        >>> server = Server("billing")
        >>> server.register_process(Process("statistics", print))
        """
        self._check_undivided("processes are added")
        self._processes.append(process)

    def __repr__(self) -> str:
        where = ", ".join(self.addresses) or "stopped"
        return f"<Server {self.name}: {where}>"


def current_request() -> Optional[RequestContext]:
    """Who sent the request that the running handler is answering; None outside a handler.

    The tasks of a coroutine handler know it too, and threads in its context, as those of ``asyncio.to_thread``.

    >>> current_request() is None
    True
    """
    # A coroutine handler may call another handler on its thread.
    return core_current_request() or request_of_task()


def _after_fork_in_child() -> None:
    core_after_fork_in_child()
    # The parent serves; what it leaves at its end is not for a child to remove.
    _running.clear()


os.register_at_fork(
    before=lambda: core_before_fork([server._core for server in _running]),
    after_in_parent=core_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        server.stop()
    prepare_exit()
