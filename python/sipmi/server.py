"""Serve commands: :class:`Server` and what describes them."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import enum
import functools
import logging
import os
import queue
import signal
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union, overload

from . import _core, _numbers
from ._logs import log_exception, reopen_logs, set_log_level
from ._loop import Coroutines, request_of_task
from ._processes import Process
from ._service_manager import ServiceManager
from ._signature import describe_parameters, first_line, is_awaited
from ._supervisor import Supervisor

if TYPE_CHECKING:
    from .client import Client

Handler = TypeVar("Handler", bound=Callable[..., Any])

log: logging.Logger = logging.getLogger("sipmi.server")
trace_log: logging.Logger = logging.getLogger("sipmi.trace")

#: Every server that serves: stopped at exit, so that no file is left behind.
_running: weakref.WeakSet[Server] = weakref.WeakSet()


class Flags(enum.IntFlag):
    """What a command says of itself (``mi_export_t.flags``)."""

    NONE = 0
    ASYNC = 1
    """Answers later (``MI_ASYNC_RPL_FLAG``)."""
    NO_INPUT = 2
    """Takes no parameters (``MI_NO_INPUT_FLAG``)."""
    NAMED_PARAMS_ONLY = 4
    """Takes parameters by name only (``MI_NAMED_PARAMS_ONLY``)."""
    READ_ONLY = 8
    """Changes nothing."""


@dataclasses.dataclass(frozen=True)
class Export:
    """A command in the C programmer's form (``mi_export_t``).

    ``handler(root, param)`` gets the parameters as the nodes of a tree and gives the reply tree.
    ``init`` (``init_f``) is run once before the first command of the module.

    >>> Export("mi_get_function", "This function does ...", lambda root, param: None, flags=Flags.NO_INPUT)
    Export(name='mi_get_function', ...)
    """

    name: str
    help: str
    handler: Callable[[_core.Tree, Any], Any]
    flags: Flags = Flags.NONE
    param: Any = None
    init: Optional[Callable[[], Any]] = None


@dataclasses.dataclass(frozen=True)
class Subscriber:
    """A socket that wants an event, and what became of the events for it. What waits is neither sent nor dropped.

    >>> Subscriber("E_SUB_ADDED", "udp:127.0.0.1:9999", "jsonrpc", 60, 59.5, 3, 0).sent
    3
    """

    event: str
    socket: str
    """As its subscriber wrote it: ``udp:host:port``, ``unix:/path``, ``tcp:host:port``."""
    wire: str
    """In which form events go there: "text" or "jsonrpc"."""
    expire: int
    """Seconds that it was made for; 0: it was ended."""
    ttl: float
    """Seconds that are left."""
    sent: int
    dropped: int


class Server:
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
        self.name = name
        self.version = version
        self.emulate = emulate
        self._hazards = hazards
        self._core = _core.Server(name, version, emulate, allow_kill, hazards)
        self._core.on_log_level(set_log_level)
        self._core.reliable_events(reliable_events)
        self._core.on_metrics(self._metrics_page)
        if traced := list(trace):
            self._core.trace(traced, list(trace_secrets))
            if trace_log.level == logging.NOTSET:
                trace_log.setLevel(logging.INFO)
        self._loop = Coroutines()
        self._upstreams: list[Client] = []
        self._inits: list[tuple[str, Callable[[], Any]]] = []
        self._stopped = threading.Event()
        #: What wakes :meth:`run`, and whether it shall go on. Signals put into it: an event's lock could be in the
        #: hands of whom they interrupt.
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        #: What :meth:`run` does once the endpoints are open.
        self._when_ready: Callable[[], None] = lambda: None
        self.drain_timeout: float = _numbers.pause("drain_timeout", drain_timeout)
        #: Whether it shall stop without waiting.
        self._hurried = False
        self._processes: list[Process] = []
        self._supervisor: Optional[Supervisor] = None

    # -- commands ---------------------------------------------------------------------------------

    @overload
    def command(self, function: Handler) -> Handler: ...

    @overload
    def command(
        self,
        *,
        name: Optional[str] = None,
        aliases: Iterable[str] = (),
        help: Optional[str] = None,
        no_input: bool = False,
        named_only: bool = False,
        read_only: bool = False,
        recipes: Iterable[Iterable[str]] = (),
        module: Optional[str] = None,
        blocking: bool = False,
        serial: bool = False,
        **limits: Any,
    ) -> Callable[[Handler], Handler]: ...

    def command(self, function: Any = None, **options: Any) -> Any:
        """Registers a function as a command; used as a decorator, with or without options.

        :param name: the command's name; the function's name by default.
        :param aliases: other names it answers to.
        :param help: one line for people; the first line of the docstring by default.
        :param no_input: it takes no parameters, and text requests that give some are answered all the same.
        :param named_only: it takes parameters by name only.
        :param read_only: it changes nothing.
        :param recipes: the sets of parameter names that may be given together; by default all that the
            signature allows.
        :param module: the module it belongs to; the server's name by default.
        :param blocking: it waits for others (a database, a network), so it runs on a thread that is kept for that.
        :param serial: it runs one call at a time; others wait for their turn, without a thread.
        :param timeout: seconds after which its caller is told that it takes too long; None: never. The listener's
            (60) unless it says otherwise. The handler is cancelled if it is a coroutine, and is not waited for else.
        :param request_limit: the largest request in bytes.
        :param reply_limit: the largest reply in bytes.
        :param depth_limit: how deep its parameters may nest.
        :param in_progress_limit: how many of its calls may be in progress.
        :param queue_limit: how many may wait for a thread (``blocking``) or for their turn (``serial``).
        :param rate_limit: how many calls a second one peer may make.
        :raises ValueError: there is one of that name already, or no wire can carry the name.

        >>> server = Server("billing")
        >>> @server.command(serial=True, timeout=2.5, rate_limit=10)
        ... def recount() -> int:
        ...     return 7
        >>> server.call("recount")
        7
        """
        if function is None:
            return functools.partial(self._add, **options)
        return self._add(function, **options)

    def _add(
        self,
        function: Handler,
        *,
        name: Optional[str] = None,
        aliases: Iterable[str] = (),
        help: Optional[str] = None,
        no_input: bool = False,
        named_only: bool = False,
        read_only: bool = False,
        recipes: Iterable[Iterable[str]] = (),
        module: Optional[str] = None,
        **conduct: Any,
    ) -> Handler:
        flags = Flags.NONE
        flags |= Flags.NO_INPUT if no_input else Flags.NONE
        flags |= Flags.NAMED_PARAMS_ONLY if named_only else Flags.NONE
        flags |= Flags.READ_ONLY if read_only else Flags.NONE
        params, any_name = describe_parameters(function)
        self._register(
            module=self.name if module is None else module,
            name=function.__name__ if name is None else name,
            help=first_line(function.__doc__) if help is None else help,
            flags=flags,
            aliases=list(aliases),
            function=function,
            params=params,
            recipes=[list(recipe) for recipe in recipes],
            any_name=any_name,
            conduct=conduct,
        )
        return function

    def register_module(self, module: str, exports: Iterable[Export]) -> None:
        """Registers the commands of a module in the C programmer's form (``register_mi_mod``).

        :raises ValueError: there is one of that name already, or no wire can carry the name.
        """
        for export in exports:
            self._register(
                module=module,
                name=export.name,
                help=export.help,
                flags=export.flags,
                aliases=[],
                function=export.handler,
                param=export.param,
                params=None,
            )
            if export.init is not None:
                self._inits.append((f"{module}:{export.name}", export.init))

    def _register(
        self,
        *,
        module: str,
        name: str,
        help: str,
        flags: int,
        aliases: list[str],
        function: Callable[..., Any],
        params: Optional[list[_core._Described]],
        param: Any = None,
        recipes: Iterable[list[str]] = (),
        any_name: bool = False,
        conduct: Optional[dict[str, Any]] = None,
    ) -> _core.Command:
        self._check_undivided("commands are added")
        return self._core.register(
            module=module,
            name=name,
            help=help,
            flags=int(flags),
            aliases=aliases,
            function=function,
            param=param,
            submit=self._loop.submit if is_awaited(function) else None,
            log=log_exception,
            params=params,
            recipes=list(recipes),
            any_name=any_name,
            conduct=conduct or {},
        )

    def unregister(self, name: str) -> None:
        """Takes a command away.

        :raises LookupError: there is none of that name.
        """
        self._check_undivided("commands are removed")
        command = self.lookup(name)
        if command is None or not self._core.unregister(command):
            raise LookupError(f"no command {name!r}")

    @property
    def commands(self) -> list[_core.Command]:
        """All commands, those that every server has included."""
        return self._core.commands()

    def lookup(self, name: str) -> Optional[_core.Command]:
        """The command that a name means: bare, ``module:name`` or alias (``lookup_mi_cmd``).

        :raises AmbiguousMethod: several modules have one of that name.
        """
        return self._core.lookup(name)

    def run_command(
        self, command: _core.Command, root: _core.Tree, *, flush: Optional[Callable[[_core.Tree], Any]] = None
    ) -> _core.Tree:
        """Runs a command with the nodes of a tree as parameters, no transport in between (``run_mi_cmd``).

        :param flush: called with a tree of the nodes that the handler sends early (``flush_mi_tree``), in the
            thread that runs it; without it they stay in the reply.
        :raises InvalidParams: the parameters do not fit.
        :raises Fault: the handler raised, or returned what cannot be sent.
        """
        return self._core.run_command(command, root, flush)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Runs a command without a transport and gives its value.

        :raises Fault: as a client would see it.
        """
        return self._core.call(name, args, kwargs)

    def statistic(self, name: str) -> _core.Counter:
        """The counter ``server.name:name``, shown by ``get_statistics``; made when there is none.

        >>> server = Server("billing")
        >>> server.statistic("sub_adds").inc()
        >>> server.call("get_statistics", ["billing:"])
        {'billing:sub_adds': 1}
        """
        return self._core.statistic(self.name, name)

    def forward(
        self,
        upstream: Union[str, Client],
        *,
        only: Iterable[str] = (),
        timeout: float = 5.0,
        in_flight: Optional[int] = None,
        queue: int = 4096,
        cache: Optional[Mapping[str, float]] = None,
        rights: Optional[Mapping[str, Union[str, Iterable[str]]]] = None,
        audit: bool = True,
        **client_options: Any,
    ) -> None:
        """Passes what this server does not know itself to another one, and answers in the caller's wire.

        The upstream may be an OpenSIPS of any generation. Commands of this server's own go first; those that every
        server has are the upstream's, but for ``version``; ``which`` and ``help`` show both. ``kill`` is never passed
        on. With several upstreams the first whose ``only`` means a command takes it. No Python runs on the way.

        :param upstream: whom to call, as :func:`sipmi.connect` takes it, or a client of it.
        :param only: patterns of the commands that go there, by any of their names; all by default.
        :param timeout: seconds that a request may take in all, waiting for its turn included.
        :param in_flight: how many requests the upstream is given at a time; by default what is good for its kind, 1 for
            a FIFO.
        :param queue: how many requests may wait for their turn; what is beyond is answered that the server is busy.
        :param cache: seconds that the answers of a command are good, by name or pattern; only of commands that change
            nothing. Equal requests in the meantime wait for the same answer. Whatever changes something, by this way,
            ends them.
        :param rights: who may have what run: patterns of commands, and "@read" for those that change nothing, by user,
            by network, or "*" for everybody else. The first that means a caller counts. None: listeners alone say it.
        :param audit: whether requests leave entries in the log ``sipmi.audit``, when it takes the level INFO.
        :param client_options: those of :func:`sipmi.connect`: ``wire=``, ``reply_dir=``, ``auth=``, ``cafile=``, ...
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
        from .gateway import forward

        client = forward(
            self,
            upstream,
            only=only,
            timeout=timeout,
            in_flight=in_flight,
            queue=queue,
            cache=cache,
            rights=rights,
            audit=audit,
            **client_options,
        )
        self._upstreams.append(client)

    def _metrics_page(self) -> bytes:
        from .metrics import exposition

        return exposition(self)

    def register_affinity(self, *, allow_write: bool = False) -> None:
        """Adds the commands ``irq_list``, ``irq_affinity``, ``cpu_affinity`` and ``affinity_plan`` (Linux).

        :param allow_write: let callers move interrupts and processes; otherwise the commands only show, and a call
            that would change something is answered 403.
        """
        from .affinity_mi import register_affinity

        register_affinity(self, allow_write=allow_write)

    # -- endpoints --------------------------------------------------------------------------------

    def listen(self, address: str, **options: Any) -> None:
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
        if options.get("metrics"):
            from . import metrics  # noqa: F401  (missing, it is missed here and not when somebody asks)
        if "owner" in options:
            options["owner"] = _user_number(options["owner"])
        if "group" in options:
            options["group"] = _group_number(options["group"])
        for name in ("reply_dir", "client_ca"):
            if options.get(name) is not None:
                options[name] = os.fspath(options[name])
        self._core.listen(address, options)

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

    def _run_inits(self) -> None:
        for name, init in self._inits:
            try:
                init()
            except Exception as error:
                raise RuntimeError(f"init of {name} failed: {error}") from error

    def _check_undivided(self, what: str) -> None:
        if self._supervisor is not None:
            raise RuntimeError(f"the server is served by several processes, which are all alike: {what} before run()")

    def stop(self, timeout: Optional[float] = None) -> None:
        """Ends serving: running commands finish, endpoints are removed, subscriptions end. Twice does no harm.

        :param timeout: how many seconds running commands may take before they are answered with an error; by
            default the server's ``drain_timeout``.

        Where several processes serve, all of them end.
        """
        if self._supervisor is not None:
            self._supervisor.stop()
            return
        self._core.stop(self.drain_timeout if timeout is None else timeout, lambda: self._hurried)
        self._loop.stop()
        _running.discard(self)
        self._stopped.set()
        self._signals.put(False)

    def run(
        self,
        *,
        processes: Optional[int] = None,
        drain_timeout: Optional[float] = None,
        cpus: Union[_core.CpuSet, str, Iterable[int], None] = None,
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
            from .affinity import Host

            _core.set_thread_affinity(cpus)
            Host().process(os.getpid()).set_affinity(cpus)
        if drain_timeout is not None:
            self.drain_timeout = _numbers.pause("drain_timeout", drain_timeout)
        if processes is not None or self._processes:
            self._run_processes(1 if processes is None else processes, watchdog)
            return
        if watchdog is not None:
            raise ValueError("watchdog= watches the workers of a server of several processes: expected processes=, too")
        self._signals = queue.SimpleQueue()
        manager = ServiceManager()
        with _stopping_on_signals(self), self:
            self._when_ready()
            manager.ready("one process")
            # Woken now and then, so that signals are seen also where the wait cannot be interrupted.
            while not self._stopped.is_set():
                manager.alive()
                with contextlib.suppress(queue.Empty):
                    if not self._signals.get(timeout=min(0.5, manager.pause)):
                        break
                    manager.reloading()
                    reopen_logs()
                    manager.ready("one process")
            manager.stopping()

    def _run_processes(self, workers: int, watchdog: Optional[float]) -> None:
        _numbers.count("processes", workers, _core.MOST_PROCESSES - 1)
        if watchdog is not None:
            _numbers.duration("watchdog", watchdog, 0.1)
        if self._hazards:
            raise ValueError("hazards are those of one process: expected no processes= beside them")
        # What was called before may have begun its thread.
        self._loop.stop()
        self._supervisor = Supervisor(self, workers, self._processes, self.drain_timeout, watchdog)
        try:
            self._supervisor.run()
        finally:
            self._supervisor = None
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

    # -- events -----------------------------------------------------------------------------------

    def event(self, name: str) -> None:
        """Makes an event known, so that it can be subscribed to (``evi_publish_event``). Twice does no harm.

        Clients that subscribe to an unknown event get an error, so declare events before the server starts.

        :param name: "E_SUB_ADDED": 1 to 128 printable ASCII characters without blanks, quotes and colons.
        :raises ValueError: no wire can carry the name.

        >>> server = Server("billing")
        >>> server.event("E_SUB_ADDED")
        >>> server.events
        ['E_SUB_ADDED']
        """
        self._core.declare_event(name)

    def raise_event(self, name: str, params: Union[Mapping[str, Any], Sequence[Any], None] = None) -> int:
        """Sends an event to its subscribers and says how many there are (``evi_raise_event``).

        Each gets it in the form of the wire by which it subscribed: text or a JSON-RPC notification. Nobody is
        waited for, whatever a subscriber does; what cannot be sent is dropped and counted. May be called from any
        thread, and from handlers. An event that is not declared is, by this.

        :param params: values by name, or without names in a list.
        :raises ValueError: no wire can carry the name, or the name of a parameter.
        :raises TypeError: a value is none that can be sent.

        >>> server = Server("billing")
        >>> server.raise_event("E_SUB_ADDED", {"user": "alice"})
        0
        """
        return self._core.raise_event(name, params)

    @property
    def events(self) -> list[str]:
        """The names of all events, in the order in which they were declared; their numbers count from 0."""
        return self._core.events

    @property
    def subscribers(self) -> list[Subscriber]:
        """Who subscribed to events, and what became of what they were sent; the latest first for each event.

        >>> server = Server("billing")
        >>> server.event("E_SUB_ADDED")
        >>> server.call("event_subscribe", "E_SUB_ADDED", "udp:127.0.0.1:9999", 60)
        'OK'
        >>> [(subscriber.event, subscriber.socket, subscriber.sent) for subscriber in server.subscribers]
        [('E_SUB_ADDED', 'udp:127.0.0.1:9999', 0)]
        >>> server.stop()
        """
        return [Subscriber(*described) for described in self._core.subscribers]

    def __repr__(self) -> str:
        where = ", ".join(self.addresses) or "stopped"
        return f"<Server {self.name}: {where}>"


def current_request() -> Optional[_core.RequestContext]:
    """Who sent the request that the running handler is answering; None outside a handler.

    The tasks of a coroutine handler know it too, and threads in its context, as those of ``asyncio.to_thread``.

    >>> current_request() is None
    True
    """
    # A coroutine handler may call another handler on its thread.
    return _core.current_request() or request_of_task()


# -- the world around -----------------------------------------------------------------------------


def _user_number(user: Union[str, int]) -> int:
    import pwd

    return user if isinstance(user, int) else pwd.getpwnam(user).pw_uid


def _group_number(group: Union[str, int]) -> int:
    import grp

    return group if isinstance(group, int) else grp.getgrnam(group).gr_gid


class _stopping_on_signals:
    """SIGINT and SIGTERM stop a server while this is entered, SIGHUP opens logs again; only in the main thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._is_stopping = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        self._server._hurried = False
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._stop)
            self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: self._server._signals.put(True))

    def _stop(self, *_: object) -> None:
        # The second one has no patience with what still runs.
        self._server._hurried = self._is_stopping
        self._is_stopping = True
        self._server._signals.put(False)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _after_fork_in_child() -> None:
    _core.after_fork_in_child()
    # The parent serves; what it leaves at its end is not for a child to remove.
    _running.clear()


os.register_at_fork(
    before=lambda: _core.before_fork([server._core for server in _running]),
    after_in_parent=_core.after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        server.stop()
    _core.prepare_exit()
