"""The blocking client: :func:`connect` and :class:`Client`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ..errors import MethodNotFound, is_of_a_call
from ._base import ClientBase, ServerInfo, named
from ._commands import Commands
from ._reply import Reply
from ._times import with_times

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..events import Event, EventOptions, Listener
    from ..schema import Schema, SchemaDiff
    from ..statistics import Reading, Watch
    from ._options import ConnectOptions

__tracebackhide__: Callable[[Any], bool] = is_of_a_call


def connect(address: str, **options: Unpack[ConnectOptions]) -> Client:
    """Make a client of the server at an address. The first call is the first to touch the network.

    :param address: ``fifo:/path`` (with ``?reply_dir=/directory``), ``udp:host:port``, ``unix:/path``, or
        ``http://host:port/path``, ``https://host:port/path``. A path ends in ``/mi`` (JSON-RPC; so does none),
        ``/json`` (mi_json), ``/RPC2`` or ``/xmlrpc`` (XML-RPC); ``wire=`` names the wire of another path.
    :param timeout: the seconds that a call may take in all, more than 0; 5 by default.
    :param wire: "text" (OpenSIPS 1.x, 2.x), "jsonrpc" (3.x, 4.x), over HTTP "jsonrpc", "mi_json" (1.x, 2.x) or
        "xmlrpc". "auto", the default, asks for the ``version`` at the first call, which takes 0.4 seconds with a FIFO
        that speaks text.
    :param reply_dir: (FIFO) the directory of reply FIFOs, as the server has it; "/tmp" by default.
    :param auth: (HTTP) the user and the password, as a pair or as "user:password". The address may hold them too, and
        is shown without them.
    :param token: (HTTP) a bearer token. A :class:`sipmi.Secret`, here or as password, is read where it is used; a
        client with any other cannot be pickled.
    :param cafile: (https) a PEM file of the certificates that may vouch for the server; those of the system by
        default.
    :param cert: (https) the client's own certificate: a PEM file with certificate and key, or one of each.
    :param verify: (https) False accepts any server, so that a machine in between can read and change everything; True
        by default.
    :param max_in_flight: the number of requests that the server is given at a time; further calls wait for their turn.
        The default is 1 for a FIFO or HTTP of OpenSIPS, whose one process others share, 16 for datagrams, and more for
        a server of ours.
    :param retries: the number of retries of a failed call within its timeout; 0 by default. A call is retried if it
        cannot have run, or changes nothing. A read over datagrams, which may be lost, gives each try its share of the
        timeout.
    :param failure_threshold: the number of calls in a row without an answer that opens the circuit breaker: calls then
        fail at once for a second, longer each time, and a trial call closes it again. None, the default, has no
        breaker.
    :param reply_limit: the largest reply in bytes, 256 MiB by default; a larger one is a :class:`TransportError`.
    :param receive_buf_size: (HTTP) modparam ``receive_buf_size`` of the server's ``httpd``, in bytes: the largest body
        that OpenSIPS 3.6 and later reads; 1024 by default, as there.
    :param socket_buf_size: (UNIX) modparam ``socket_buf_size`` of the server's ``mi_datagram``, in bytes: the largest
        request and reply of OpenSIPS 4.0 and later; 65457 by default, as there. At most 16 MiB.
    :param typed: True returns times as datetime and timedelta (uptime, dlg_list); False by default.
    :param tz: the zone of those times, and that of the server's clock; this machine's by default.
    :raises TypeError: an option has an unknown name, or a value of another type.
    :raises ValueError: the address or a certificate cannot be read, or the transport has no such wire or option.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     mi.call("which", "uptime")
    [[]]
    """
    return Client(address, **options)


class Client(ClientBase):
    """A client of one server, for any number of threads. :func:`connect` describes its options.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> @server.command
    ... def credit(user: str, amount: float) -> dict:
    ...     '''Give a user some credit.'''
    ...     return {"user": user, "credit": amount}
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.Client(server.addresses[0]) as mi:
    ...     mi.call("credit", "alice", 2.5), mi.cmd.credit(user="bob", amount=1)
    ({'user': 'alice', 'credit': 2.5}, {'user': 'bob', 'credit': 1.0})
    """

    @property
    def wire(self) -> str:
        """The wire of the server: "text", "jsonrpc", "mi_json" or "xmlrpc".

        The first access asks the server.

        :raises MiError: the server cannot be asked.
        """
        return self._core.wire(self._timeout)

    @property
    def generation(self) -> Optional[str]:
        """The generation of the server: "1.x" to "4.x" are OpenSIPS, "sipmi" is ours; None when it is unknown.

        :raises MiError: the server cannot be asked.
        """
        return self._core.found(self._timeout)[0]

    @property
    def version(self) -> Optional[str]:
        """The version of the server, "2.4.11"; None when it is unknown.

        :raises MiError: the server cannot be asked.
        """
        return self._core.found(self._timeout)[1]

    def server_info(self, *, timeout: Optional[float] = None) -> ServerInfo:
        """Return generation, version and wire of the server; the first question asks it.

        :raises MiError: the server cannot be asked.

        >>> import sipmi
        >>> server = sipmi.Server("billing", version="1.4")
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi:
        ...     mi.server_info().generation, mi.server_info().wire
        ('sipmi', 'jsonrpc')
        """
        timeout = self._timeout if timeout is None else timeout
        return ServerInfo(*self._core.found(timeout), self._core.wire(timeout))

    def call(
        self,
        command: str,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        force: bool = False,
        typed: Optional[bool] = None,
        params: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Run a command and return its value; a success without one is "OK".

        Parameters go by position or by name; JSON-RPC takes no mixture. True and False are sent as 1 and 0.
        Keyword arguments that are None, and trailing None positionals, are omitted. A list is sent as a list where the
        wire has one, and as one parameter per item where it has not.
        On text, mi_json and XML-RPC of 1.x and 2.x, values come as ``str``.

        Over HTTP, OpenSIPS 1.x sends an empty body for success and for some errors (mi_json, and XML-RPC at /xmlrpc):
        the value is None, with an UnclearReplyWarning.

        :param command: "ul_dump"; "usrloc:dump" where commands have modules (4.x).
        :param timeout: the seconds that this call may take in all; the client's by default. Options of this method
            are never parameters of the command.
        :param force: True to send a request that is over a limit of the server, if the server would only refuse or
            ignore it, and a command that harms servers of this version. Requests that the server would truncate,
            partly execute or take for others are never sent.
        :param typed: True returns times as datetime and timedelta; the client's option by default.
        :param params: a mapping of further named parameters, which may be called as options of this method are:
            ``params={"user": "alice", "timeout": 7}``. Anything else is the parameter of the command of this name.
        :raises MethodNotFound: there is no such command; ``nearest`` is the most similar one.
        :raises AmbiguousMethod: several modules have one of that name.
        :raises InvalidParams: wrong count, name or type of parameters.
        :raises Fault: any other error answer.
        :raises RequestRefused: not sent: the wire cannot say it, or it would harm the server.
        :raises CallTimeout: no complete answer in time.
        :raises CodecError: the reply cannot be decoded, or is truncated.
        :raises TransportError: the server cannot be reached, or closed the connection.
        """
        timeout = self._timeout if timeout is None else timeout
        if params is not None:
            kwargs = named(kwargs, params)
        try:
            value = self._core.call(command, args, kwargs, timeout, force)
        except MethodNotFound as error:
            error.known = self._heard_names()
            raise
        return with_times(command, value, self._zone) if (self._typed if typed is None else typed) else value

    def request(
        self,
        command: str,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        force: bool = False,
        typed: Optional[bool] = None,
        params: Any = None,
        **kwargs: Any,
    ) -> Reply:
        """As :meth:`call`, but return the whole :class:`Reply`, also of an error answer.

        >>> import sipmi
        >>> server = sipmi.Server("billing")
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi:
        ...     reply = mi.request("nosuch")
        >>> reply.ok, reply.code, reply.reason
        (False, -32601, 'Method not found')
        """
        timeout = self._timeout if timeout is None else timeout
        if params is not None:
            kwargs = named(kwargs, params)
        return self._reply(self._core.request(command, args, kwargs, timeout, force), typed)

    def request_strings(
        self,
        command: str,
        strings: list[tuple[str, str]],
        /,
        *,
        timeout: Optional[float] = None,
        force: bool = False,
        typed: Optional[bool] = None,
    ) -> Reply:
        """As :meth:`request`, with parameters as a shell has them: strings in order, each with a name or "".

        JSON-RPC sends them by name when all have one, and by position when none has.

        >>> import sipmi
        >>> server = sipmi.Server("billing")
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi:
        ...     mi.request_strings("which", [("command", "help")]).value
        [[], ['mi_cmd']]
        """
        timeout = self._timeout if timeout is None else timeout
        return self._reply(self._core.request_strings(command, strings, timeout, force), typed)

    def statistics(self, *selectors: Union[str, Iterable[str]], timeout: Optional[float] = None) -> Reading:
        """Read the server's statistics (``get_statistics``): a mapping of ``group:name`` to numbers with units.

        The difference of two readings has the changes and their rates.

        :param selectors: groups ("core:"), statistics ("core:rcv_requests"), or lists of them; by default all. A
            server is asked for a statistic by its name or its group, since it does not know ``group:name``.
        :raises StatisticNotFound: the server has none of them. If it has some, ``missing`` of the result lists the
            others.
        :raises MiError: as :meth:`call`.

        >>> import sipmi
        >>> server = sipmi.Server("billing")
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi:
        ...     reading = mi.statistics("mi_datagram:")
        >>> received = reading["mi_datagram:bytes_in"]
        >>> received > 0, received.unit, received.kind
        (True, 'bytes', 'counter')
        """
        from ..statistics import statistics_of

        return statistics_of(self, selectors, timeout)

    def watch(
        self,
        selectors: Union[str, Iterable[str]],
        *,
        interval: float = 1.0,
        timeout: Optional[float] = None,
        count: Optional[int] = None,
    ) -> Watch:
        """Read statistics at an interval, as an iterable of samples with the change since the sample before.

        Leaving the loop, or Ctrl-C, ends the watch. A sample without an answer is empty and has an ``error``.

        :param selectors: groups ("core:"), statistics ("core:rcv_requests"), or several of them, as
            :meth:`statistics` takes them.
        :param interval: the seconds between samples, at least 1, the default: servers have one process for them.
        :param timeout: the seconds that an answer may take; the client's by default.
        :param count: the number of samples; None, the default, has no end.
        :raises ValueError: the interval is less than a second.

        The first sample raises :exc:`StatisticNotFound` if the server has none of the statistics.

        >>> import sipmi
        >>> server = sipmi.Server("billing")
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi:
        ...     [sample["mi_datagram:in_progress"] for sample in mi.watch(["mi_datagram:"], count=1)]
        [1]
        """
        from ..statistics import Watch, plan_of

        return Watch(self, plan_of(selectors, interval, timeout, count))

    def events(
        self,
        *events: str,
        callback: Optional[Callable[[Event], object]] = None,
        **options: Unpack[EventOptions],
    ) -> Listener:
        """Subscribe to events of the server (``event_subscribe``) while the result is iterated.

        Subscriptions are renewed, and repeated after a restart of the server. Leaving the loop ends them, and so do
        ``close`` of the result and the end of a ``with`` block around it. :func:`sipmi.events.listen` describes
        ``expire``, ``at``, ``advertise``, ``max_queue``, ``overflow`` and ``restart_poll``.

        :param events: names, or patterns as "E_UL_*", at least one.
        :param duration: the seconds after which iterating ends; None, the default, has no end.
        :param callback: called with each event, on a thread of its own, from now until the result is closed.
        :raises LookupError: no event of the server matches a pattern.
        :raises ValueError: no event; or the server could not reach the address.

        >>> import sipmi
        >>> server = sipmi.Server("billing")
        >>> server.event("E_SUB_ADDED")
        >>> @server.command
        ... def sub_add(user: str) -> int:
        ...     return server.raise_event("E_SUB_ADDED", {"user": user})
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi, mi.events("E_SUB_*") as added:
        ...     subscribers = mi.call("sub_add", "alice")
        ...     event = added.get(timeout=5.0)
        >>> event.name, event.params
        ('E_SUB_ADDED', {'user': 'alice'})
        """
        from ..events import Listener

        listener = Listener(self, events, **options)
        if callback is not None:
            listener.call_back(callback)
        return listener

    @property
    def cmd(self) -> Commands:
        """The server's commands as functions: ``mi.cmd.uptime()``, ``mi.cmd["usrloc:dump"]()``."""
        return Commands(self)

    def commands(self, pattern: str = "*", *, help: bool = True) -> Schema:
        """Ask the server for its commands with module, parameters, help and effect.

        The client sends two requests for each command, one after the other. Servers of 1.x and 2.x do not tell
        parameters, so those of their commands come from a table.

        :param pattern: the commands to ask about, by any name that a version has for them: "ul_*", "usrloc:*".
        :param help: False saves a request for each command; True by default.
        :raises MiError: the server cannot be asked.

        >>> import sipmi
        >>> server = sipmi.Server("billing")
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi:
        ...     print(mi.commands("*_statistics"))
        get_statistics(statistics)        statistics  read   prints the statistics (all, group or one) realtime values.
        list_statistics(statistics=None)  statistics  read   lists all the registered statistics and their types
        reset_statistics(statistics)      statistics  write  resets a statistic variable
        """
        from ..schema import commands_of

        return commands_of(self, self._completion, pattern, help=help)

    def diff(self, other: Union[Client, Schema]) -> SchemaDiff:
        """Compare the commands, parameters and version of two servers.

        :raises MiError: a server cannot be asked.

        >>> from sipmi.testing import FakeOpenSIPS
        >>> with FakeOpenSIPS("2.4") as old, FakeOpenSIPS("4.0") as new:
        ...     with old.connect() as ours, new.connect() as theirs:
        ...         diff = ours.diff(theirs)
        >>> diff.versions, [str(command) for command in diff.only_left][:2]
        (('2.4.11', '4.0.1'), ['dlg_set_sharing_tag_active(tag)', 'dlg_list_sharing_tags()'])
        """
        theirs = other.commands(help=False) if isinstance(other, Client) else other
        return self.commands(help=False).diff(theirs)

    def close(self) -> None:
        """Close its sockets and files. Calls in progress are not interrupted.

        Later calls raise TransportError.
        """
        self._core.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
