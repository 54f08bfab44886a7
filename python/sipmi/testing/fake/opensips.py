"""FakeOpenSIPS: a server with the commands, names, errors and wires of a version of OpenSIPS."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional, Union

from ... import client
from ..._core import takes_names_only
from ...server import Server
from .cachedb_local import Cache
from .commands import Module
from .core import Core
from .deployment import Deployment
from .dialog import Dialog
from .dispatcher import Dispatcher
from .events import Events
from .names import COMMANDS, LEGACY, LOADABLE, MODULAR, VERSIONS, canonical, exporter, recipes
from .others import Others, absent
from .ratelimit import Ratelimit
from .statistics import Statistics
from .tm import Tm
from .usrloc import Usrloc

#: The transports that a fake listens on by default.
TRANSPORTS = ("fifo", "udp", "unix", "http")
#: The paths that an address of ``listen`` may end with; a fake has all roots of its version on each port.
ROOTS = ("", "/", "/mi", "/json", "/xmlrpc", "/RPC2", "/html")
#: Versions whose mi_xmlrpc is a web server of its own.
XMLRPC_APART = ("1.8", "1.11")


class FakeOpenSIPS:
    """An OpenSIPS for tests, on endpoints of its own, with state that tests may seed and look at.

    :param version: "1.8" (which stands for 1.4 to 1.10), "1.11", "2.4", "3.2", "3.4", "3.6", "4.0" or "4.1".
    :param modules: which loadable modules it has; all of ``tm cfgutils usrloc dialog cachedb_local db_text dispatcher
        ratelimit httpd`` by default. Commands of others are not available.
    :param transports: on which transports it listens, on free endpoints; by default all four.
    :param listen: the addresses on which it listens instead, such as ``"fifo:/tmp/opensips_fifo"``,
        ``"udp:127.0.0.1:8080"``, ``"unix:/run/mi.sock"`` or ``"http://127.0.0.1:8888"``. Those of 1.11 and 1.8 whose
        path is ``/RPC2`` are the port of mi_xmlrpc.
    :param reply_dir: the directory in which clients make their reply FIFOs; by default the directory of its own
        FIFO, or "/tmp", as OpenSIPS has it, when ``listen`` names one.
    :param hazards: hang, stall, swallow and die where the version does.
    :param sip_socket: the SIP socket that it says it has.
    :param pretty_printing: spread JSON replies over lines (modparam of that name); on all transports or on some.
    :param reply_indent: blanks a level in text replies over a FIFO; a TAB by default (modparam of that name).
    :param reply_option: (1.11) 0: XML-RPC replies at /RPC2 are one string, 1: an array (modparam of mi_xmlrpc).
    :param receive_buf_size: (3.6, 4.0, with ``hazards``) how large a body may be over HTTP (modparam of httpd).
    :param format_version: (2.4) 1: XML-RPC replies are one string, 2: structs (modparam of mi_xmlrpc_ng).
    :ivar server: the :class:`sipmi.Server`; tests may register commands of their own on it.
    :ivar core: processes, log level, start time.
    :ivar statistics: ``fake.statistics["core:rcv_requests"] = 7``.
    :ivar cache: ``fake.cache.store("key", "value")``.
    :ivar usrloc: ``fake.usrloc.add("alice", "sip:alice@192.0.2.1")``.
    :ivar dialog: ``fake.dialog.add("call-id@192.0.2.1")``.
    :ivar dispatcher: ``fake.dispatcher.add(1, "sip:192.0.2.1:5060")``.
    :ivar ratelimit: ``fake.ratelimit.add("gw1", limit=20)``.
    :ivar events: the subscribers of each event.
    :ivar tm: ``fake.tm.answers["OPTIONS"] = "200 OK"``.
    :raises ValueError: there is no such version, module or transport.

    >>> with FakeOpenSIPS("4.0") as opensips:
    ...     _ = opensips.usrloc.add("alice@example.org", "sip:alice@192.0.2.1", q=0.5)
    ...     with opensips.connect("unix") as mi:
    ...         mi.call("ul_show_contact", "location", "alice@example.org")["Contacts"][0]["Q"]
    '0.5'
    """

    def __init__(
        self,
        version: str = "4.0",
        *,
        modules: Optional[Iterable[str]] = None,
        transports: Iterable[str] = TRANSPORTS,
        listen: Union[str, Iterable[str], None] = None,
        reply_dir: Union[str, os.PathLike[str], None] = None,
        hazards: bool = False,
        sip_socket: str = "udp:127.0.0.1:5060",
        pretty_printing: Union[bool, Iterable[str]] = False,
        reply_indent: Optional[int] = None,
        reply_option: int = 0,
        format_version: int = 2,
        receive_buf_size: Optional[int] = None,
    ) -> None:
        self.version: str = checked("version", [version], VERSIONS)[0]
        self.modules: tuple[str, ...] = checked("module", LOADABLE if modules is None else modules, LOADABLE)
        self.listen: Optional[tuple[str, ...]] = listed(listen)
        if self.listen is not None:
            transports = dict.fromkeys(transport_of(address) for address in self.listen)
        self.transports: tuple[str, ...] = checked("transport", transports, TRANSPORTS)
        self.hazards = hazards
        self.sip_socket = sip_socket
        self.server: Server = Server("opensips", emulate=version, hazards=hazards)
        self._deployment = deployment = Deployment(version, self.modules, hazards, sip_socket, self.server, self.stop)
        self.core: Core = Core(deployment)
        self.events: Events = Events(deployment)
        self.cache: Cache = Cache(deployment)
        self.usrloc: Usrloc = Usrloc(deployment, self.events)
        self.dialog: Dialog = Dialog(deployment)
        self.dispatcher: Dispatcher = Dispatcher(deployment, self.events)
        self.ratelimit: Ratelimit = Ratelimit(deployment)
        self.others: Others = Others(deployment)
        self.statistics: Statistics = Statistics(deployment, self.core, self.usrloc, self.dialog)
        self.tm: Tm = Tm(deployment, self.statistics)
        self.statistics.fill()
        self._register_commands()
        pretty = TRANSPORTS if pretty_printing is True else pretty_printing or ()
        self._pretty = checked("transport", pretty, TRANSPORTS)
        self._fifo_options: dict[str, Any] = {} if reply_indent is None else {"reply_indent": reply_indent}
        if reply_dir is not None:
            self._fifo_options["reply_dir"] = os.fspath(reply_dir)
        self._http_options: dict[str, Any] = {}
        if version in XMLRPC_APART:
            self._http_options["xmlrpc"] = ("string", "array")[reply_option]
        elif version == "2.4":
            self._http_options["xmlrpc"] = {1: "ng1", 2: "ng2"}[format_version]
        if receive_buf_size is not None:
            self._http_options["receive_buf_size"] = receive_buf_size
        self._directory: Optional[str] = None

    def loads(self, module: str) -> bool:
        """Return whether the configuration loads a module."""
        return self._deployment.loads(module)

    @property
    def http_socket(self) -> str:
        """The address at which ``ps`` reports that HTTP is served."""
        return self._deployment.http_socket

    # -- life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to serve, by default on a FIFO and a UNIX socket in a directory of its own and on free ports.

        :raises OSError: an address of ``listen`` cannot be opened.
        """
        self.open()
        try:
            self.server.start()
        except BaseException:
            self.stop()
            raise

    def open(self) -> None:
        """Prepare its endpoints for `server.run()`, which serves until a signal; :meth:`start` does it, too."""
        if self._directory is not None:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            return
        directory = self._directory = tempfile.mkdtemp(prefix="mi")
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        for address in self._free_addresses() if self.listen is None else self.listen:
            self._listen(address)

    def stop(self) -> None:
        """Ends serving and removes what it made. Twice does no harm."""
        self.server.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> FakeOpenSIPS:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as strings that ``connect`` takes; empty while it is stopped."""
        return self.server.addresses

    def address(self, transport: str) -> str:
        """Where it listens on a transport: "fifo", "udp", "unix", "http", or "xmlrpc", the root for that over HTTP.

        :raises LookupError: it does not, or it is stopped.
        """
        scheme = "http" if transport == "xmlrpc" else transport
        found = [address for address in self.addresses if address.startswith(f"{scheme}:")]
        if not found:
            raise LookupError(f"{self!r} does not listen on {transport}")
        if transport != "xmlrpc":
            return found[0]
        # The mi_xmlrpc of 1.8 and 1.11 has a port of its own, the last one.
        return f"http://{found[-1].split('/')[2]}/RPC2"

    def connect(self, transport: str = "udp", **options: Any) -> client.Client:
        """A client of it; ``options`` are those of :func:`sipmi.connect`."""
        return client.connect(self.address(transport), **options)

    def __repr__(self) -> str:
        return f"<FakeOpenSIPS {self.version}: {', '.join(self.addresses) or 'stopped'}>"

    # -- what it consists of --------------------------------------------------------------------------

    def _free_addresses(self) -> Iterator[str]:
        """An endpoint for each transport, which nothing else has."""
        assert self._directory is not None
        for transport in self.transports:
            if transport == "fifo":
                yield f"fifo:{os.path.join(self._directory, 'opensips_fifo')}"
            elif transport == "unix":
                yield f"unix:{os.path.join(self._directory, 'opensips.sock')}"
            elif transport == "udp":
                yield "udp:127.0.0.1:0"
            else:
                yield "http://127.0.0.1:0"
                if self.version in XMLRPC_APART:
                    yield "http://127.0.0.1:0/RPC2"

    def _listen(self, address: str) -> None:
        transport = transport_of(address)
        options: dict[str, Any] = {"pretty_printing": transport in self._pretty}
        if transport == "fifo":
            if self.listen is None and self._directory is not None:
                options["reply_dir"] = self._directory
            options.update(self._fifo_options)
        elif transport == "http":
            options.update(self._http_options)
            address, slash, root = address.partition("://")[2].partition("/")
            checked("root", [slash + root], ROOTS)
            address = f"http://{address}"
            if self.version in XMLRPC_APART and root == "RPC2":
                options["roots"] = {"rpc": "/RPC2"}
        self.server.listen(address, **options)

    def _register_commands(self) -> None:
        """All commands of the version and its modules, in its order, in place of those that every server has."""
        for command in self.server.commands:
            self.server.unregister(f"{command.module}:{command.name}")
        parts: list[Module] = [
            self.core, self.statistics, self.cache, self.usrloc, self.dialog, self.dispatcher, self.ratelimit,
            self.events, self.tm, self.others,
        ]  # fmt: skip
        known = {marked.name: (method, marked.options) for part in parts for marked, method in part.commands()}
        for name in COMMANDS[self.version]:
            module, _ = canonical(name)
            if module in self.modules or module not in LOADABLE:
                method, options = known.get(name) or (absent(name), self._taken_by(name))
                self._register(name, method, options)

    def _taken_by(self, name: str) -> dict[str, Any]:
        """Return the parameters of a command that the fake does not implement."""
        if recipes(name) == [[]]:
            return {"no_input": True}
        return {"recipes": recipes(name), "named_only": takes_names_only(name) and self.version not in LEGACY}

    def _register(self, name: str, method: Callable[..., Any], options: dict[str, Any]) -> None:
        """4.x knows a command as ``module:name``, and by its old name as an alias; before, the old name is all."""
        module, short = canonical(name)
        if self.version in MODULAR:
            aliases = [] if name in (short, f"{module}:{short}") else [name]
            self.server.command(name=short, module=module, aliases=aliases, **options)(method)
        else:
            self.server.command(name=name, module=exporter(name, self.version), **options)(method)


def listed(given: Union[str, Iterable[str], None]) -> Optional[tuple[str, ...]]:
    """Addresses that were given alone or several."""
    if given is None:
        return None
    return (given,) if isinstance(given, str) else tuple(given)


def transport_of(address: str) -> str:
    """The transport of an address.

    >>> transport_of("fifo:/tmp/opensips_fifo"), transport_of("http://127.0.0.1:8888")
    ('fifo', 'http')
    """
    return address.partition(":")[0]


def checked(what: str, given: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the given names, if all of them are known."""
    listed = tuple(given)
    for one in listed:
        if one not in known:
            raise ValueError(f"expected a {what} of {', '.join(known)}, found {one!r}")
    return listed
