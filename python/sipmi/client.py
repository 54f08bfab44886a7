"""Call commands: :func:`connect` and what it gives."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from . import _core
from ._client_base import ClientBase, Path
from ._secret import Secret
from ._times import Zone, with_times

if TYPE_CHECKING:
    from .events import Event, Listener
    from .schema import BoundCommand, Schema, SchemaDiff
    from .statistics import Reading, Watch


def connect(
    address: str,
    *,
    timeout: float = 5.0,
    wire: str = "auto",
    reply_dir: Optional[Path] = None,
    auth: Optional[tuple[str, Union[str, Secret]]] = None,
    token: Optional[Union[str, Secret]] = None,
    cafile: Optional[Path] = None,
    cert: Optional[Union[Path, tuple[Path, Path]]] = None,
    verify: bool = True,
    in_flight: Optional[int] = None,
    retries: int = 0,
    breaker: Optional[int] = None,
    reply_limit: int = 1 << 28,
    receive_buf_size: Optional[int] = None,
    socket_buf_size: Optional[int] = None,
    typed: bool = False,
    tz: Zone = None,
) -> Client:
    """A client of the server at an address. Touches no network: the first call does.

    :param address: ``fifo:/path`` (with ``?reply_dir=/directory``), ``udp:host:port``, ``unix:/path``, or
        ``http://host:port/path``, ``https://host:port/path``. A path ends in ``/mi`` (JSON-RPC; so does none),
        ``/json`` (mi_json), ``/RPC2`` or ``/xmlrpc`` (XML-RPC); ``wire=`` says what another path speaks.
    :param timeout: seconds that a call may take in all, more than 0.
    :param wire: "text" (OpenSIPS 1.x, 2.x), "jsonrpc" (3.x, 4.x), over HTTP "jsonrpc", "mi_json" (1.x, 2.x) or
        "xmlrpc", or "auto": found out at the first call, by asking for the ``version``. A FIFO that speaks text
        takes 0.4 seconds to tell.
    :param reply_dir: (FIFO) where reply FIFOs are made, as the server has it; "/tmp" by default.
    :param auth: (HTTP) user and password; the address may hold them too, and is shown without them.
    :param token: (HTTP) a bearer token. A :class:`sipmi.Secret`, here or as password, is read where it is used; a
        client with any other cannot be pickled.
    :param cafile: (https) a PEM file of the certificates that may vouch for the server; those of the system by
        default.
    :param cert: (https) the client's own certificate: a PEM file with certificate and key, or one of each.
    :param verify: (https) False to believe that any server is the right one. Whoever is in between can then read
        and change everything.
    :param in_flight: how many requests the server is given at a time; further calls wait here for their turn. By
        default 1 for a FIFO or HTTP of OpenSIPS, whose one process others share, 16 datagrams, and more for a server
        of ours.
    :param retries: how often a call is tried again that failed, within its timeout: one that cannot have run, or that
        changes nothing. Of those that change nothing and go in datagrams, which may be lost, each try has its share of
        the timeout.
    :param breaker: after so many calls in a row without an answer, calls fail at once for a second, and longer each
        time, but for one now and then that finds out whether the server is back. None: never.
    :param reply_limit: the largest reply in bytes, 256 MiB by default; a larger one is a :class:`TransportError`.
    :param receive_buf_size: (HTTP) modparam ``receive_buf_size`` of the server's ``httpd``, in bytes: the largest body
        that OpenSIPS 3.6 and later reads; 1024 by default, as there.
    :param socket_buf_size: (UNIX) modparam ``socket_buf_size`` of the server's ``mi_datagram``, in bytes: the largest
        request and reply of OpenSIPS 4.0 and later; 65457 by default, as there. At most 16 MiB.
    :param typed: whether times come as datetime and timedelta (uptime, dlg_list).
    :param tz: the zone of those times, and that of the server's clock; this machine's by default.
    :raises ValueError: the address or a certificate cannot be read, or the transport has no such wire or option.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     mi.call("which", "uptime")
    [[]]
    """
    return Client(
        address,
        timeout=timeout,
        wire=wire,
        reply_dir=reply_dir,
        auth=auth,
        token=token,
        cafile=cafile,
        cert=cert,
        verify=verify,
        in_flight=in_flight,
        retries=retries,
        breaker=breaker,
        reply_limit=reply_limit,
        receive_buf_size=receive_buf_size,
        socket_buf_size=socket_buf_size,
        typed=typed,
        tz=tz,
    )


class Client(ClientBase):
    """A client of one server, for any number of threads. :func:`connect` says what it is made of.

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
        """What the server speaks: "text", "jsonrpc", "mi_json" or "xmlrpc".

        Asks the server when it is not known yet.

        :raises MiError: the server cannot be asked.
        """
        return self._core.wire(self._timeout)

    @property
    def generation(self) -> Optional[str]:
        """Who the server is: "1.x" to "4.x" are OpenSIPS, "sipmi" is ours; None when it does not say.

        :raises MiError: the server cannot be asked.
        """
        return self._core.found(self._timeout)[0]

    @property
    def version(self) -> Optional[str]:
        """The server's version, "2.4.11"; None when it does not say.

        :raises MiError: the server cannot be asked.
        """
        return self._core.found(self._timeout)[1]

    def call(
        self,
        command: str,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        force: bool = False,
        typed: Optional[bool] = None,
        **kwargs: Any,
    ) -> Any:
        """Runs a command and gives its value; a success without one is "OK".

        Parameters go by position or by name; JSON-RPC takes no mixture. True and False are sent as 1 and 0.
        None is left out by name and at the end. A list goes as a list where the wire has one, as so many
        parameters where it has not. On text, mi_json and XML-RPC of 1.x and 2.x, values come as ``str``.

        Over HTTP, OpenSIPS 1.x answers nothing for some errors too (mi_json, and XML-RPC at /xmlrpc): that gives
        None, and an UnclearReplyWarning.

        :param command: "ul_dump"; "usrloc:dump" where commands have modules (4.x).
        :param timeout: seconds that this call may take in all. Like the two that follow it is never a parameter of the
            command.
        :param force: True to send a request that is over a limit of the server, if the server would only refuse or
            ignore it, and a command that harms servers of this version. Requests that the server would truncate,
            partly execute or take for others are never sent.
        :param typed: True to get times as datetime and timedelta.
        :raises MethodNotFound: there is no such command.
        :raises AmbiguousMethod: several modules have one of that name.
        :raises InvalidParams: wrong count, name or type of parameters.
        :raises Fault: any other error answer.
        :raises RequestRefused: not sent: the wire cannot say it, or it would harm the server.
        :raises CallTimeout: no complete answer in time.
        :raises CodecError: what came is no answer, or is cut off.
        :raises TransportError: the server cannot be reached, or went away.
        """
        value = self._core.call(command, args, kwargs, self._timeout if timeout is None else timeout, force)
        return with_times(command, value, self._zone) if (self._typed if typed is None else typed) else value

    def request(
        self,
        command: str,
        /,
        *args: Any,
        timeout: Optional[float] = None,
        force: bool = False,
        typed: Optional[bool] = None,
        **kwargs: Any,
    ) -> Reply:
        """As :meth:`call`, but gives the whole :class:`Reply`, also of an error answer.

        >>> import sipmi
        >>> server = sipmi.Server("billing")
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi:
        ...     reply = mi.request("nosuch")
        >>> reply.ok, reply.code, reply.reason
        (False, -32601, 'Method not found')
        """
        timeout = self._timeout if timeout is None else timeout
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
        """The server's statistics now (``get_statistics``): a mapping of ``group:name`` to numbers with units.

        One reading minus an earlier one is what changed, with rates.

        :param selectors: groups ("core:"), statistics ("core:rcv_requests"), or lists of them; by default all. A
            server is asked for a statistic by its name or its group, since ``group:name`` means nothing to it.
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
        from . import statistics

        return statistics.statistics_of(self, selectors, timeout)

    def watch(
        self,
        selectors: Union[str, Iterable[str]],
        *,
        interval: float = 1.0,
        timeout: Optional[float] = None,
        count: Optional[int] = None,
    ) -> Watch:
        """Statistics again and again, as an iterable of samples that know what changed since the one before.

        Leaving the loop, or Ctrl-C, ends it. A sample that was not answered is empty and has an ``error``.

        :param selectors: groups ("core:"), statistics ("core:rcv_requests"), or several of them, as
            :meth:`statistics` takes them.
        :param interval: seconds from one to the next, at least 1: servers have one process for such requests.
        :param timeout: seconds that an answer may take; the client's by default.
        :param count: how many samples; without end by default.
        :raises ValueError: the interval is less than a second.

        The first sample raises :exc:`StatisticNotFound` if the server has none of the statistics.

        >>> import sipmi
        >>> server = sipmi.Server("billing")
        >>> server.listen("udp:127.0.0.1:0")
        >>> with server, sipmi.connect(server.addresses[0]) as mi:
        ...     [sample["mi_datagram:in_progress"] for sample in mi.watch(["mi_datagram:"], count=1)]
        [1]
        """
        from . import statistics

        return statistics.Watch(self, statistics.plan_of(selectors, interval, timeout, count))

    def events(
        self,
        *events: str,
        expire: int = 3600,
        at: str = "udp",
        advertise: Optional[str] = None,
        most_waiting: int = 10_000,
        on_full: str = "drop",
        check: Optional[float] = 10.0,
        within: Optional[float] = None,
        callback: Optional[Callable[[Event], object]] = None,
    ) -> Listener:
        """Events of the server, as an iterable that subscribes (``event_subscribe``) while it is iterated.

        Subscriptions are renewed, and made again when the server began again; leaving the loop ends them, and so do
        ``close`` of the result and the end of a ``with`` block around it. :func:`sipmi.events.listen` says what
        ``expire``, ``at``, ``advertise``, ``most_waiting``, ``on_full`` and ``check`` mean.

        :param events: names, or patterns as "E_UL_*", at least one.
        :param within: iterating ends after so many seconds; never by default.
        :param callback: called with each event, on a thread of its own, from now until the result is closed.
        :raises LookupError: the server has no event that a pattern means.
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
        from .events import Listener

        where: dict[str, Any] = {"at": at, "advertise": advertise, "expire": expire, "check": check}
        listener = Listener(self, events, most_waiting=most_waiting, on_full=on_full, within=within, **where)
        if callback is not None:
            listener.call_back(callback)
        return listener

    @property
    def cmd(self) -> Commands:
        """The server's commands as functions: ``mi.cmd.uptime()``, ``mi.cmd["usrloc:dump"]()``."""
        return Commands(self)

    def commands(self, pattern: str = "*", *, help: bool = True) -> Schema:
        """What the server offers: its commands with module, parameters, help and whether they change something.

        Asks one question after the other, two for each command. Servers of 1.x and 2.x do not tell parameters, so
        those of their commands come from a table.

        :param pattern: the commands to ask about, by any name that a version has for them: "ul_*", "usrloc:*".
        :param help: False to save a question for each command.
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
        from . import schema

        return schema.commands_of(self, pattern, help=help)

    def diff(self, other: Union[Client, Schema]) -> SchemaDiff:
        """What another server offers differently: commands, parameters and version.

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
        """Lets go of its sockets and files. Calls in progress end as they would have.

        Later calls raise TransportError.
        """
        self._core.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    @property
    def _waits(self) -> Client:
        return self


class Commands:
    """A server's commands as attributes and items. Completes on Tab from ``which``, which is asked for once."""

    def __init__(self, client: ClientBase) -> None:
        self._client = client

    def __getattr__(self, name: str) -> BoundCommand:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> BoundCommand:
        from .schema import BoundCommand

        return BoundCommand(self._client, name)

    def __dir__(self) -> list[str]:
        names = self._ipython_key_completions_()
        # A bare name is enough where only one module has it.
        bare = [name.rpartition(":")[2] for name in names]
        local = {name for name in bare if bare.count(name) == 1}
        # A server of 4.x is called by the names of older versions, too.
        older = {_core.flat_command_name(name) for name in names}
        return sorted(name for name in local | older if name.isidentifier())

    def _ipython_key_completions_(self) -> list[str]:
        """All names that the server knows; none when it does not answer."""
        from . import schema

        return schema.names_for_completion(self._client._waits)

    def __repr__(self) -> str:
        return f"<Commands of {self._client.address}>"


class Reply:
    """What a server answered, be it a success or an error.

    >>> import sipmi
    >>> server = sipmi.Server("billing", version="1.4")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     reply = mi.request("which", "help")
    >>> reply
    <Reply 200 OK to which>
    >>> reply.value
    [[], ['mi_cmd']]
    """

    __slots__ = ("_core", "_typed", "_zone")

    def __init__(self, core: _core.Reply, zone: Optional[datetime.tzinfo] = None, typed: bool = False) -> None:
        self._core = core
        self._zone = zone
        self._typed = typed

    @property
    def address(self) -> str:
        """Who answered."""
        return self._core.address

    @property
    def command(self) -> str:
        """What was called."""
        return self._core.command

    @property
    def code(self) -> Optional[int]:
        """What the wire said: 200, 404, -32601. 200 to 299 is success.

        None when it said nothing, by which OpenSIPS 1.x means success or one of some errors (mi_json, /xmlrpc).
        """
        return self._core.code

    @property
    def reason(self) -> str:
        """What the code means: "OK", "AOR not found"."""
        return self._core.reason

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return self._core.ok

    @property
    def tree(self) -> _core.Tree:
        """The nodes that came, or those that the value that came would make (``struct mi_root``)."""
        return self._core.tree

    @property
    def value(self) -> Any:
        """What ``call`` gives.

        :raises Fault: it is an error answer.
        """
        value = self._core.value
        return with_times(self._core.command, value, self._zone) if self._typed else value

    @property
    def raw(self) -> bytes:
        """The bytes that came; over HTTP, the body."""
        return self._core.raw

    @property
    def sent(self) -> bytes:
        """The bytes that were sent; over HTTP, the body, or the path of a request without one."""
        return self._core.sent

    @property
    def text(self) -> bytes:
        """The reply as text, as it came or as a FIFO of 2.x would have written it."""
        return self._core.text

    @property
    def wire(self) -> str:
        """In which form it came: "text", "jsonrpc", "mi_json" or "xmlrpc"."""
        return self._core.wire

    @property
    def elapsed(self) -> float:
        """Seconds from the first byte sent to the last received."""
        return self._core.elapsed

    def _repr_html_(self) -> str:
        from .display import html

        return html(self)

    def __repr__(self) -> str:
        return f"<Reply {self.code} {self.reason} to {self.command}>"
