"""The server: its endpoints and its life."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Callable, Optional, Union

from .._core import MOST_PROCESSES, CpuSet, RequestContext, prepare_exit, set_thread_affinity
from .._core import Server as CoreServer
from .._core import after_fork_in_child as core_after_fork_in_child
from .._core import after_fork_in_parent as core_after_fork_in_parent
from .._core import before_fork as core_before_fork
from .._core import current_request as core_current_request
from .._numbers import Seconds, Watchdog, whole
from .._options import check_option
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
    :param reliable_events: True sends each event over TCP again until its subscriber confirms it or 30 seconds have
        passed (``reliable_mode`` of event_stream); False by default.
    :param trace: patterns of commands such as "sub_*" whose requests and replies are recorded: the logger
        ``sipmi.trace`` gets a record of each at INFO. Values of names that mean secrets are hidden.
    :param trace_secrets: further names whose values are hidden.
    :param drain_timeout: the seconds that a stopping server waits for running commands; 5 by default. Commands that
        take longer are answered with an error.
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
        #: Called by :meth:`run` once the endpoints are open.
        self._when_ready: Callable[[], None] = lambda: None
        check_option("Server()", "drain_timeout", drain_timeout, Seconds)
        self.drain_timeout: float = drain_timeout
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
        """Add the commands ``irq_list``, ``irq_affinity``, ``cpu_affinity`` and ``affinity_plan`` (Linux).

        :param allow_write: True lets callers move interrupts and processes; False, the default, answers a call that
            would change something with 403.
        """
        from ._affinity import register_affinity

        register_affinity(self, allow_write=allow_write)

    # -- endpoints --------------------------------------------------------------------------------

    def listen(self, address: str, **options: Unpack[ListenOptions]) -> None:
        """Add an endpoint: ``fifo:/path``, ``udp:host:port``, ``unix:/path`` or ``http://host:port``.

        A running server opens it at once; otherwise :meth:`start` does. Port 0 picks a free port.

        :param reply_dir: (FIFO) the directory of the clients' reply FIFOs; "/tmp" by default.
        :param reply_wait: (FIFO) the seconds that a request waits for the reader of its reply FIFO; 0.3 by default.
        :param reply_indent: (FIFO) the blanks per level in text replies; a TAB by default.
        :param mode: (FIFO, UNIX) the permissions; 0o660 by default.
        :param owner: (FIFO, UNIX) the name or number of the user; this process's by default.
        :param group: (FIFO, UNIX) the name or number of the group; this process's by default.
        :param write_timeout: the seconds that a client may take to read its reply; 5 by default.
        :param request_limit: the largest request in bytes; 4 MiB by default.
        :param timeout: the seconds after which the caller of a command gets a timeout error; 60 by default, None: never
        :param reply_limit: the largest reply in bytes, streamed ones included; the limit of the transport by default.
        :param depth_limit: the nesting depth of parameters; 128 by default.
        :param in_progress_limit: the number of requests in progress; 16,384 by default. None: any number.
        :param queue_limit: the number of requests that wait for a thread or their turn; 1,024 by default. None: any
            number.
        :param rate_limit: the number of requests per second of one peer; any number by default. A peer is an IPv4
            address, a /64 of IPv6, a user of a UNIX socket, or all users of a FIFO.
        :param batch_limit: the number of calls in a batch or a ``system.multicall``; 1,000 by default.
        :param batch_reply_limit: the bytes of all replies of a batch, after which its other calls are not run; 16 MiB
            by default.
        :param unsent_limit: the bytes that wait for clients: unread replies, and requests whose reply FIFO has no
            reader; 64 MiB by default.
        :param pretty_printing: True spreads JSON replies over lines; False by default.
        :param workers: the number of handlers that run at once; 32 by default.
        :param cpus: (Linux) the CPUs of its workers: a ``CpuSet``, a list such as "0-3", or numbers.
        :param allow: patterns of the commands that it runs, such as "get_*" or "usrloc:*"; all by default. An empty
            list allows no command.
        :param read_only: True runs only commands that change nothing; False by default.
        :param allow_from: (UDP, HTTP) the networks that it serves, such as "10.0.0.0/8"; all by default. An empty list
            allows no network.
        :param roots: (HTTP) the paths of "mi", "json", "rpc", "xmlrpc" and "html"; others are disabled.
        :param xmlrpc: (HTTP) the form of XML-RPC at "rpc": "native", "string", "array", "ng", "ng1" or "ng2".
        :param json_get: (HTTP) the GET requests that run commands that change something: "programs", those of
            programs and of this server's own pages; "read_only", none; "all"; "programs" by default.
        :param tls: (HTTP) the certificate chain and the key as PEM files, or one file with both.
        :param client_ca: (HTTP) the authority, a PEM file, whose certificates clients must have.
        :param auth: (HTTP) passwords by user, or a function of user and password that returns whether they are right;
            an empty dictionary admits no client.
        :param token: (HTTP) the bearer token of clients; an empty one admits no client.
        :param hosts: (HTTP) the host names that browsers may use, beside addresses and "localhost".
        :param read_timeout: (HTTP) the seconds for the head of a request and for its body; 10 by default.
        :param idle_timeout: (HTTP) the seconds between two requests of a connection; 60 by default.
        :param connections: (HTTP) the number of connections; 16,384 by default.
        :param receive_buf_size: (HTTP, with ``hazards``) the bytes of a body that 3.6 and 4.0 read; 1,024 by default.
        :param metrics: (HTTP) True answers ``GET /metrics`` for Prometheus (``sipmi[metrics]``); False by default.
        :raises TypeError: an option has an unknown name, or a value of another type.
        :raises ValueError: the address or an option cannot be read.
        :raises OSError: a running server cannot open the endpoint.

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
        """The bound addresses, as strings that ``connect`` takes; empty while the server is stopped."""
        return self._core.addresses

    @property
    def is_running(self) -> bool:
        """True while the server runs."""
        return self._core.is_running

    def start(self) -> None:
        """Open all endpoints and start to serve.

        :raises OSError: an endpoint cannot be opened; then none stays open.
        :raises RuntimeError: the server is running already, an ``init`` failed, or it has extra processes, which only
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
        """Stop: running commands finish, endpoints are removed, subscriptions end. A second call does nothing.

        :param timeout: the seconds that running commands may take before they are answered with an error; the
            server's ``drain_timeout`` by default.

        A server of several processes ends all of them.
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
        """Serve until SIGINT or SIGTERM, or until another thread calls :meth:`stop`.

        :param processes: the number of worker processes, each with an interpreter lock of its own. This call forks
            them and replaces those that die; the calling process supervises them and serves no requests. None, the
            default, serves in this process, or in one worker when there are extra processes.
        :param drain_timeout: replaces that of the server. A second signal skips the wait.
        :param cpus: (Linux) the CPUs of this process, with all its threads; None, the default, changes nothing.
        :param watchdog: the seconds, at least 0.1, that a worker may run no Python, because a handler keeps the
            interpreter lock, before it is killed and replaced. None, the default, watches no worker.
        :raises OSError: an endpoint cannot be opened, or none of the CPUs is online and in the cpuset.
        :raises RuntimeError: with processes: there are other threads, a process could not be started, its ``init``,
            ``pre_fork`` or ``post_fork`` failed.
        """
        if cpus is not None:
            from ..affinity import Host

            set_thread_affinity(cpus)
            Host().process(os.getpid()).set_affinity(cpus)
        if drain_timeout is not None:
            check_option("run()", "drain_timeout", drain_timeout, Seconds)
            self.drain_timeout = drain_timeout
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
            # The wait has a timeout, so that signals are handled also where it cannot be interrupted.
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
        check_option("run()", "processes", workers, Annotated[int, whole(1, MOST_PROCESSES - 1)])
        check_option("run()", "watchdog", watchdog, Optional[Watchdog])
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

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    async def __aenter__(self) -> Server:
        self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.stop)

    def register_process(self, process: Process) -> None:
        """Add an extra process, which :meth:`run` forks (``proc_export_t``).

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
    """Return the request that the running handler is answering; None outside a handler.

    It is known in the tasks of a coroutine handler, too, and in threads in its context, such as ``asyncio.to_thread``.

    >>> current_request() is None
    True
    """
    # A coroutine handler may call another handler on its thread.
    return core_current_request() or request_of_task()


def _after_fork_in_child() -> None:
    core_after_fork_in_child()
    # The parent serves; a child must not remove its files.
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
