"""The extension module, written in Rust. Docstrings are those of the binary: tools/stub_docs.py copies them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, ClassVar, Final, Optional, Union, final

from typing_extensions import Self, disjoint_base

__version__: str
__all__ = [
    "ASYNC",
    "MOST_PROCESSES",
    "Applied",
    "AsyncHandler",
    "Attr",
    "Client",
    "Command",
    "Counter",
    "CounterSample",
    "CpuSet",
    "Device",
    "Driver",
    "EventStream",
    "Feeder",
    "Host",
    "HostProcess",
    "InterruptRow",
    "InterruptTable",
    "Irq",
    "Irqbalance",
    "Later",
    "Node",
    "Outcome",
    "Plan",
    "Processes",
    "Reply",
    "RequestContext",
    "Server",
    "Topology",
    "Tree",
    "__version__",
    "after_fork_in_child",
    "after_fork_in_parent",
    "before_fork",
    "canonical_command_name",
    "cataloged_commands",
    "cataloged_recipes",
    "cataloged_versions",
    "command_module",
    "command_name_on",
    "command_risk",
    "current_request",
    "decode_event",
    "decode_text_params",
    "end_with_parent",
    "flat_command_name",
    "is_read_only_command",
    "latency_classes",
    "legacy_recipes",
    "list_position",
    "loadable_modules",
    "prepare_exit",
    "reply_times",
    "secret_names",
    "set_thread_affinity",
    "statistic_meaning",
    "takes_names_only",
    "thread_affinity",
]
_Scalar = Union[str, bytes, int, float, bool, None]
_Row = tuple[int, str, _Scalar, int, list[tuple[str, _Scalar]]]
_Described = tuple[str, str, bool, bool, str, Optional[str], str]

@final
class Tree:
    """A reply: code, reason and nodes (`struct mi_root`; `Tree()` is `init_mi_tree(200, "OK")`).

    `free_mi_tree` has no counterpart: memory is freed by itself.

    >>> tree = Tree(200, "OK")
    >>> domain = tree.add_child("Domain", "example.org")
    >>> domain.add_attr("records", "1").add_child("AOR", "alice")
    <Node AOR: "alice">
    >>> tree.value
    {'Domain': {'value': 'example.org', 'records': '1', 'AOR': 'alice'}}
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]

    @property
    def code(self) -> int:
        """The code: 200 to 299 is success (`mi_root.code`)."""

    @code.setter
    def code(self, code: int) -> None: ...
    @property
    def reason(self) -> str:
        """The reason of the code, for people (`mi_root.reason`)."""

    @reason.setter
    def reason(self, reason: str) -> None: ...
    @property
    def flags(self) -> int:
        """1: the top nodes are a list (`MI_IS_ARRAY`); 2: more is to come (`MI_NOT_COMPLETED`);
        8: they are an object, also when there are none.
        """

    @flags.setter
    def flags(self, flags: int) -> None: ...
    def __new__(cls, code: int = 200, reason: Optional[str] = None) -> Tree: ...
    @staticmethod
    def from_value(value: Any) -> Tree:
        """A tree (200 OK) whose nodes say this value, by the rule of docs/trees-and-values.md.

        Raises TypeError for a value that no wire can carry.

        >>> [node.name for node in Tree.from_value({"AOR": ["a", "b"]}).children]
        ['AOR', 'AOR']
        """

    @property
    def children(self) -> list[Node]:
        """The top nodes, in order (`mi_root.node.kids`)."""

    @property
    def value(self) -> Any:
        """The value of the nodes, by the rule of docs/trees-and-values.md; "OK" when there are none."""

    @property
    def async_handler(self) -> Optional[AsyncHandler]:
        """The object that answers an ASYNC command later (`mi_root.async_hdl`); None for any other tree."""

    def flush(self) -> bool:
        """Sends the nodes that are complete and takes them out of the tree (`flush_mi_tree`); says whether it did.

        A node that is marked `MI_NOT_COMPLETED` (flag 2) stays, with all after it. On text over a FIFO or socket it is
        itself sent, once, and so are those of its children that are complete. For a handler that runs on a thread and
        not on the event loop: it waits here, with the interpreter detached, while the client reads. Where no transport
        sends nodes early (`Server.call`, `run_command` without `flush=`), they stay in the tree. Flushed nodes have
        the form of a generator's: a run of nodes of one name is a list. A flushed node is gone: using it raises
        RuntimeError.

        Raises BrokenPipeError when the client no longer reads the reply, and RuntimeError outside a handler.
        """

    def add_child(self, name: str, value: _Scalar = None) -> Node:
        """Adds a top node after the others and gives it (`add_mi_node_child` on the root's node).

        The value is str, bytes, int, float, bool or None. An f-string does what `addf_mi_node_child` does.

        >>> Tree().add_child("load", f"{0.25:.1%}")
        <Node load: "25.0%">
        """

    def append(self, node: Node) -> Node:
        """Copies a node, with all below it, to the end of the top nodes and gives the copy."""

    def find(self, name: str) -> Optional[Node]:
        """The first node of this name at any level, parents before children; None when there is none."""

    def check_text(self) -> None:
        """Checks that a text reply can tell these nodes, so that a reader gets them back: nothing is escaped there.

        Types, and the difference between None and "", are lost on text and no error.

        Raises CodecError: a node would be read as something else; it says which and why.

        >>> tree = Tree()
        >>> tree.add_child("a:: b", "c")
        <Node a:: b: "c">
        >>> tree.check_text()
        Traceback (most recent call last):
            ...
        sipmi.errors.CodecError: ...
        """

    def clone(self) -> Tree:
        """A copy that shares nothing (`clone_mi_tree`); copy.copy and copy.deepcopy do the same."""

    def __copy__(self) -> Tree: ...
    def __deepcopy__(self, _memo: Any) -> Tree: ...
    def __reduce__(self) -> tuple[type[Tree], tuple[int, str], tuple[int, list[_Row]]]: ...
    def __setstate__(self, state: tuple[int, list[_Row]]) -> None: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __iter__(self) -> Iterator[Node]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def _repr_html_(self) -> str: ...

@final
class Node:
    """A node of a tree: name, value, attributes and children (`struct mi_node`).

    One made by itself, `Node("cdr", "1")`, is for generators to yield and for `append`.

    >>> node = Node("Contact", "sip:alice@127.0.0.1")
    >>> node.add_attr("Q", 0.5).attr("Q")
    0.5
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]

    @property
    def name(self) -> str:
        """The name; empty when it has none (`mi_node.name`)."""

    @name.setter
    def name(self, name: str) -> None: ...
    @property
    def value(self) -> _Scalar:
        """The value as it was given: str, bytes, int, float, bool or None (`mi_node.value`)."""

    @value.setter
    def value(self, value: _Scalar) -> None: ...
    @property
    def flags(self) -> int:
        """1: the children are a list (`MI_IS_ARRAY`); 4: the node is an element of the list that its name names,
        also when it stands alone; 8: the children are an object, also when there are none.
        """

    @flags.setter
    def flags(self, flags: int) -> None: ...
    def __new__(cls, name: str, value: _Scalar = None) -> Node: ...
    @property
    def attributes(self) -> list[Attr]:
        """The attributes, in order (`mi_node.attributes`)."""

    @property
    def children(self) -> list[Node]:
        """The children, in order (`mi_node.kids`)."""

    @property
    def parent(self) -> Optional[Node]:
        """The node above; None for a top node."""

    @property
    def next(self) -> Optional[Node]:
        """The next sibling; None for the last (`mi_node.next`)."""

    def add_child(self, name: str, value: _Scalar = None) -> Node:
        """Adds a child after the others and gives it (`add_mi_node_child`, `addf_mi_node_child` with an f-string)."""

    def add_sibling(self, name: str, value: _Scalar = None) -> Node:
        """Adds a node after the last sibling and gives it (`add_mi_node_sibling`, `addf_mi_node_sibling`)."""

    def append(self, node: Node) -> Node:
        """Copies a node, with all below it, to the end of the children and gives the copy."""

    def add_attr(self, name: str, value: _Scalar = None) -> Node:
        """Adds an attribute after the others and gives the node itself (`add_mi_attr`, `addf_mi_attr`)."""

    def attr(self, name: str, default: Any = None) -> Any:
        """The value of the first attribute of this name, else the default (`get_mi_attr_by_name`)."""

    def to_value(self) -> Any:
        """Return the value of the node and all below it, by the rule of docs/trees-and-values.md."""

    def _repr_html_(self) -> str: ...
    def __copy__(self) -> Node: ...
    def __deepcopy__(self, _memo: Any) -> Node: ...
    def __reduce__(self) -> tuple[type[Node], tuple[str, _Scalar], list[_Row]]: ...
    def __setstate__(self, rows: list[_Row]) -> None: ...
    def __iter__(self) -> Iterator[Node]: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Attr:
    """An attribute of a node: name and value (`struct mi_attr`). Unpacks as a pair.

    >>> node = Node("Process").add_attr("ID", 0)
    >>> [(name, value) for name, value in node.attributes]
    [('ID', 0)]
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __new__(cls, name: str, value: _Scalar = None) -> Attr: ...
    def __reduce__(self) -> tuple[type[Attr], tuple[str, _Scalar]]: ...
    @property
    def name(self) -> str:
        """The name."""

    @property
    def value(self) -> _Scalar:
        """The value: str, bytes, int, float, bool or None."""

    def __iter__(self) -> Iterator[Any]: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Command:
    """A registered command (`struct mi_cmd`)."""

    def __new__(
        cls, module: str, name: str, help: str, flags: int, aliases: list[str], recipes: list[list[str]], param: Any
    ) -> Command: ...
    def __reduce__(self) -> tuple[type[Command], tuple[Any, ...]]: ...
    def __copy__(self) -> Command: ...
    def __deepcopy__(self, _memo: Any) -> Command: ...
    @property
    def module(self) -> str:
        """The module that exports it."""

    @property
    def name(self) -> str:
        """Its name within the module."""

    @property
    def help(self) -> str:
        """One line for people."""

    @property
    def flags(self) -> int:
        """Its `Flags`, as a number."""

    @property
    def aliases(self) -> list[str]:
        """Other names it answers to."""

    @property
    def recipes(self) -> list[list[str]]:
        """The sets of parameter names that may be given; empty for `(root, param)` handlers."""

    @property
    def param(self) -> Any:
        """The value that an `Export` passes to its handler (`mi_export_t.param`)."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Counter:
    """A counter that `get_statistics` shows (`stat_var`)."""

    def inc(self, n: Optional[int] = None) -> None:
        """Adds to it (`update_stat`); a negative number subtracts. It has 64 bits and no sign, and wraps around."""

    def set(self, value: int) -> None:
        """Replaces it; the value is from 0 to 2**64 - 1."""

    @property
    def value(self) -> int:
        """The current value (`get_stat_val`)."""

@final
class RequestContext:
    """The caller and the transport of the request that a handler is answering."""

    @property
    def transport(self) -> str:
        """`fifo`, `udp`, `unix`, `http`, or `local` for a call without a transport."""

    @property
    def wire(self) -> str:
        """`text`, `jsonrpc`, `mi_json`, `xmlrpc` or `html`."""

    @property
    def listener(self) -> str:
        """The address of the endpoint."""

    @property
    def peer(self) -> str:
        """The sender: `host:port`, the path of a UNIX socket (`@name` for an abstract one), the name of a reply
        FIFO, or `unknown`.
        """

    @property
    def user(self) -> Optional[str]:
        """The name by which its sender was let in; None where the listener asks for none."""

    @property
    def deadline(self) -> Optional[float]:
        """When it must be answered, in seconds since the epoch; None where nothing says so."""

@final
class AsyncHandler:
    """Answers a request later, from any thread (`struct mi_handler`): `root.async_handler` of an ASYNC command.

    Dropped without an answer, the caller is told that the command failed.
    """

    def reply(self, reply: Any = None, *, done: bool = True) -> bool:
        """Answer with a tree, a value or an exception (`mi_handler_f`); return False if the client is gone.

        With done=False it is a provisional reply, which only text over FIFO and datagrams can carry; elsewhere it is
        dropped, and the result is False.
        """

    @property
    def is_awaited(self) -> bool:
        """True if the client still waits for the answer."""

    def on_cancel(self, function: Callable[[], Any]) -> None:
        """Call `function()` when the client no longer waits: the deadline has passed, the client has left,
        or the server stops. Call it at once in such a state, and never after the answer.
        """

    def stream(self, stop: Callable[[], Any]) -> Optional[Feeder]:
        """Begin an answer that is sent while it grows; `stop()` is called when the client reads no more of it."""

    def result(self, value: Any) -> None:
        """Answers with a handler's result."""

    def cancelled(self) -> None:
        """Answers for a handler that was cancelled."""

    def exception(self, error: BaseException) -> None:
        """Answers with a handler's exception."""

@final
class Feeder:
    """A sender of nodes into a reply while it is sent, from a task or a thread."""

    def put(self, yielded: Any) -> str:
        """Send an element that a handler yields: "some" room is left, it is "full", or "closed"."""

    def on_room(self, function: Callable[[], Any]) -> None:
        """Call `function()` once there is room, or the client reads no more."""

    def end(self) -> None:
        """Mark the end of the stream."""

    def exception(self, error: BaseException) -> None:
        """There will be no more, because of this exception."""

@final
class Later:
    """Said by a handler that answers later (`MI_ROOT_ASYNC_RPL`)."""

ASYNC: Later

@final
class Server:
    """A server."""

    def __new__(
        cls, name: str, version: str, emulate: Optional[str], allow_kill: bool, hazards: bool = False
    ) -> Server: ...
    def register(
        self,
        *,
        module: str,
        name: str,
        help: str,
        flags: int,
        aliases: list[str],
        function: Callable[..., Any],
        param: Any,
        submit: Optional[Callable[..., None]],
        log: Callable[[str, BaseException], None],
        params: Optional[list[_Described]],
        recipes: list[list[str]],
        any_name: bool,
        conduct: dict[str, Any],
    ) -> Command:
        """Adds a command. `params` None: the handler takes `(root, param)`."""

    def unregister(self, command: Command) -> bool:
        """Takes a command away."""

    def commands(self) -> list[Command]:
        """All commands, in the order of registration."""

    def lookup(self, name: str) -> Optional[Command]:
        """The command that a name means, or None."""

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a command without a transport in between and gives its value."""

    def run_command(self, command: Command, root: Tree, flush: Optional[Callable[[Tree], Any]] = None) -> Tree:
        """Runs a command with a tree of parameters and gives the reply tree (`run_mi_cmd`). `flush(tree)` takes what is
        sent early.
        """

    def listen(self, address: str, options: dict[str, Any]) -> None:
        """Adds an endpoint. `options` may hold what [`read_options`] reads."""

    def start(self) -> None: ...
    def stop(self, drain_timeout: float, hurry: Optional[Callable[[], bool]]) -> None:
        """Stop, and wait up to `drain_timeout` seconds for running commands; less if `hurry()` says so."""

    @property
    def is_running(self) -> bool: ...
    @property
    def addresses(self) -> list[str]: ...
    def statistic(self, group: str, name: str) -> Counter:
        """The counter `group:name`, made when there is none."""

    def statistics(self) -> list[tuple[str, str, bool, int]]:
        """List all statistics: group, name, True for a counter, and the value."""

    def trace(self, patterns: list[str], secrets: list[str]) -> None:
        """Records commands that these patterns mean, without secrets and the values of these names."""

    def on_metrics(self, function: Callable[[], bytes]) -> None:
        """Has `GET /metrics` of listeners with `metrics=True` answered with what a function gives, as bytes."""

    def declare_event(self, name: str) -> None:
        """Makes an event known."""

    def raise_event(self, name: str, params: object) -> int:
        """Sends an event to its subscribers and says how many there are."""

    @property
    def events(self) -> list[str]:
        """The names of all events, in the order in which they were declared."""

    @property
    def subscribers(self) -> list[tuple[str, str, str, int, float, int, int]]:
        """The subscribers: event, socket, form, lifetime in seconds, seconds left, sent, dropped."""

    def reliable_events(self, reliable: bool) -> None:
        """Set whether subscribers over TCP have to confirm each event."""

    def forward(self, client: Client, options: dict[str, Any]) -> None:
        """Leaves to another server what this one does not have. `options` may hold `only`, `timeout`, `threads`,
        `queue`, `cache`, `rights` and `audit`.
        """

    def on_log_level(self, function: Callable[[int], None]) -> None:
        """Calls `function(level)` when `log_level` sets a level."""

@final
class Client:
    """A client of one server."""

    def __new__(
        cls,
        address: str,
        wire: Optional[str],
        reply_dir: Optional[str],
        auth: Optional[tuple[str, str]] = None,
        token: Optional[str] = None,
        cafile: Optional[str] = None,
        cert: Optional[tuple[str, Optional[str]]] = None,
        verify: bool = True,
        max_in_flight: Optional[int] = None,
        retries: int = 0,
        failure_threshold: Optional[int] = None,
        reply_limit: Optional[int] = None,
        receive_buf_size: Optional[int] = None,
        socket_buf_size: Optional[int] = None,
    ) -> Client: ...
    @property
    def address(self) -> str: ...
    def call(
        self, command: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float, force: bool = False
    ) -> Any:
        """Runs a command and gives its value."""

    def request(
        self, command: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float, force: bool = False
    ) -> Reply:
        """Runs a command and gives its reply, also when it is an error."""

    def request_strings(
        self, command: str, strings: list[tuple[str, str]], timeout: float, force: bool = False
    ) -> Reply:
        """As `request`, with strings in order, each with a name or without (an empty one)."""

    def wire(self, timeout: float) -> str:
        """`text`, `jsonrpc`, `mi_json` or `xmlrpc`."""

    def found(self, timeout: float) -> tuple[Optional[str], Optional[str]]:
        """Generation and version, each None when the server does not say."""

    def close(self) -> None: ...
    def rest(self) -> None:
        """Close idle connections and sockets. The facts found about the server stay known."""

    def renewed(self) -> Client:
        """Return the same client with its own sockets, files and locks, for a child of this process."""

@final
class Driver:
    """Drives calls from an event loop, which watches its descriptor and lets it take turns."""

    def __new__(cls) -> Driver: ...
    def fileno(self) -> int:
        """Return the descriptor that the event loop watches: it is readable when a turn is due."""

    def request(
        self,
        future: Any,
        client: Client,
        command: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float,
        force: bool = False,
    ) -> int:
        """Begin a call whose reply the future gets. The return value is the argument of `cancel`."""

    def request_strings(
        self,
        future: Any,
        client: Client,
        command: str,
        strings: list[tuple[str, str]],
        timeout: float,
        force: bool = False,
    ) -> int:
        """As `request`, with strings in order, each with a name or without (an empty one)."""

    def found(self, future: Any, client: Client, timeout: float) -> int:
        """Begins to ask for generation and version."""

    def wire(self, future: Any, client: Client, timeout: float) -> int:
        """Begins to ask for the wire."""

    def turn(self) -> None:
        """Lets all calls go on that can, and tells the futures of those that are done. Never waits."""

    def cancel(self, call: int) -> None:
        """Gives up a call: its socket is closed, its reply FIFO removed. Does nothing when it is done."""

    def close(self) -> None:
        """Gives up all calls, whose futures are told nothing."""

@final
class Reply:
    """An answer."""

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __new__(
        cls,
        address: str,
        command: str,
        request: tuple[str, tuple[str, Any]],
        response: tuple[int, str, str, Any],
        sent: bytes,
        raw: bytes,
        elapsed: float,
        wire: str,
        is_unclear: bool,
        is_typed: bool,
    ) -> Reply: ...
    def __reduce__(self) -> tuple[type[Reply], tuple[Any, ...]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def address(self) -> str: ...
    @property
    def command(self) -> str: ...
    @property
    def code(self) -> Optional[int]:
        """None when the server answered nothing at all, which may be either."""

    @property
    def reason(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def tree(self) -> Tree: ...
    @property
    def value(self) -> Any:
        """The value; an error answer raises its fault."""

    @property
    def raw(self) -> bytes: ...
    @property
    def sent(self) -> bytes: ...
    @property
    def elapsed(self) -> float: ...
    @property
    def wire(self) -> str: ...
    @property
    def text(self) -> bytes:
        """The reply as the FIFO of 2.x would write it; what came in text is as it came."""

def before_fork(running: list[Server]) -> None:
    """Wait until no thread holds a lock that would stay locked in a child."""

def after_fork_in_parent() -> None:
    """The parent goes on."""

def after_fork_in_child() -> None:
    """In the child only the thread that forked is left, and no server runs."""

def prepare_exit() -> None:
    """Lets no other thread into the interpreter from now on. Called when it is about to end."""

def is_read_only_command(name: str) -> bool:
    """Return True if a command changes nothing, by any name that a version of OpenSIPS has for it.
    An unknown command may change something.
    """

def secret_names() -> list[str]:
    """The parts of names, in lower case, whose values the trace, the audit log and cassettes hide."""

def flat_command_name(name: str) -> str:
    """The one name by which a command of any version is known: that from before 4.0."""

def canonical_command_name(name: str) -> Optional[str]:
    """Return `module:name` of a command in 4.x, by any of its names; None when the catalog of 4.x lacks it."""

def command_name_on(name: str, version: str) -> str:
    """The name that OpenSIPS of a version ("3.6.8") has for a command; the given one when none is known."""

def command_module(name: str) -> Optional[str]:
    """The module that a command of any version is in, as 4.0 has them; None when that is not known."""

def legacy_recipes(name: str) -> Optional[list[list[str]]]:
    """The sets of parameters that a command of 1.x and 2.x takes, in order; None when that is not known."""

def list_position(name: str) -> Optional[int]:
    """The position of the list that a command of 3.x and 4.x takes, by any of its names; None when it takes none."""

def command_risk(name: str) -> Optional[str]:
    """Return the risk that a user should confirm before running a command, as the rest of a sentence ("ends calls").
    None means no risk.
    """

def statistic_meaning(full_name: str) -> Optional[tuple[str, str]]:
    """The kind, "counter" or "gauge", and the unit of a statistic `group:name`; None when they are not known."""

def reply_times(name: str) -> dict[str, str]:
    """The members of a command's reply that are times, with their notations: "clock", "date", "moment", "duration"."""

def cataloged_versions() -> list[str]:
    """The versions of OpenSIPS whose commands are known, the oldest first."""

def cataloged_commands(version: str) -> Optional[list[str]]:
    """The commands of a version of OpenSIPS in the order of `which`, by their names before 4.0; None when they are not
    known.
    """

def cataloged_recipes(name: str) -> Optional[list[list[str]]]:
    """The sets of parameters that a command of 3.x and 4.x takes, by its name before 4.0; None if it is unknown."""

def takes_names_only(name: str) -> bool:
    """Return True if a command of 3.x and 4.x takes parameters by name alone, by its name before 4.0."""

def loadable_modules() -> list[str]:
    """The modules whose commands a version has only when its configuration loads them."""

def decode_text_params(lines: str) -> list[tuple[str, str]]:
    """Names, or "", and values of parameters as text wires have them: `value` or `name::value`, in quotes or not.

    :raises ValueError: a quote is missing, or stands where none is allowed.
    """

MOST_PROCESSES: Final[int]

@final
class Processes:
    """The state that a server shares with its forked processes. Made before the first fork; the endpoints
    are open from then on, and are closed by `close`, in the process that made it.
    """

    def __new__(cls, server: Server, workers: int) -> Processes: ...
    def serve(self, rank: int) -> None:
        """In a forked process: begins to serve; its rank says whose requests in progress are counted."""

    def read_fifos(self) -> None:
        """In a forked process: reads the FIFOs from now on, which one process does."""

    def look_after(self) -> None:
        """In a forked process: has endpoints looked after at once."""

    def restore(self) -> list[str]:
        """Make missing FIFOs again, and return a message for each."""

    def answer_orphans(self) -> int:
        """Answers for processes that have ended, and says how many answers wait for their receivers."""

    def bury(self, rank: int) -> None:
        """Answer the unfinished requests of the ended process of this rank."""

    def log_level(self, rank: int) -> int:
        """The log level that the process of a rank shall have, as OpenSIPS counts them."""

    def name(self, rank: int, name: str) -> None:
        """Set the description of the process of a rank."""

    def set(self, rank: int, pid: int, state: str) -> None:
        """Set the pid and the state of the process of a rank: "starting", "running", "stopping", "dead" or "absent"."""

    def close(self) -> None:
        """Closes the endpoints and removes their files."""

def end_with_parent(pipe: int, grace: float) -> None:
    """Ask this process to end by SIGTERM when the other end of a pipe, which the parent holds, is closed. After `grace`
    seconds, end it regardless of its state.
    """

def latency_classes() -> list[tuple[str, Optional[float]]]:
    """The statistics of a latency histogram: name, and upper bound in seconds or None."""

def current_request() -> Optional[RequestContext]:
    """The request that the running handler answers; None outside a handler."""

_Cpus = Union[CpuSet, str, Iterable[int]]

@final
class CpuSet:
    """A set of CPU numbers of any size, compared as a set.

    `CpuSet("0-3,8")` reads a list with the kernel's grammar (strides as in `0-31:2/8`; `all` and `N` need
    `count`), `CpuSet([0, 1])` takes numbers, `CpuSet()` is empty, `CpuSet.from_mask("ff,00000001")` reads a
    mask. The equivalents of C's `CPU_ZERO`, `CPU_SET`, `CPU_CLR`, `CPU_ISSET` and `CPU_COUNT` are
    `CpuSet()`, `|`, `-`, `in` and `len`. Sets are immutable and hashable; `<=` means subset. `ValueError`
    says what was expected, what was found, and at which byte.

    >>> from sipmi.affinity import CpuSet
    >>> cpus = CpuSet("0-3,8")
    >>> cpus.mask, cpus.list, 8 in cpus, len(cpus)
    ('10f', '0-3,8', True, 5)
    >>> cpus - "0-1" == CpuSet([2, 3, 8])
    True
    """

    def __new__(cls, cpus: Optional[_Cpus] = None, *, count: Optional[int] = None) -> CpuSet: ...
    @staticmethod
    def from_mask(mask: str, *, count: Optional[int] = None) -> CpuSet:
        """Read a hexadecimal mask: groups of up to 8 digits between commas, the last one lowest, no `0x`
        (`bitmap_parse`).

        With `count`, CPUs from that number on are a `ValueError`. `taskset 3` means `from_mask("3")`, CPUs 0
        and 1.
        """

    @property
    def mask(self) -> str:
        """The mask, as short as it can be: `10f`; with comma groups from 33 CPUs on; `0` for the empty set."""

    @property
    def list(self) -> str:
        """The list: `0-3,8`; empty for the empty set."""

    def padded_mask(self, count: int) -> str:
        """The mask as a kernel with `count` possible CPUs prints it in `smp_affinity`."""

    def isdisjoint(self, other: _Cpus) -> bool:
        """Return True if no CPU is in both."""

    def issubset(self, other: _Cpus) -> bool:
        """Return True if every CPU is in the other, too."""

    def __and__(self, other: _Cpus, /) -> CpuSet: ...
    def __or__(self, other: _Cpus, /) -> CpuSet: ...
    def __sub__(self, other: _Cpus, /) -> CpuSet: ...
    def __xor__(self, other: _Cpus, /) -> CpuSet: ...
    def __rand__(self, other: _Cpus, /) -> CpuSet: ...
    def __ror__(self, other: _Cpus, /) -> CpuSet: ...
    def __rsub__(self, other: _Cpus, /) -> CpuSet: ...
    def __rxor__(self, other: _Cpus, /) -> CpuSet: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __le__(self, other: CpuSet, /) -> bool: ...
    def __lt__(self, other: CpuSet, /) -> bool: ...
    def __ge__(self, other: CpuSet, /) -> bool: ...
    def __gt__(self, other: CpuSet, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __contains__(self, cpu: object, /) -> bool: ...
    def __iter__(self) -> Iterator[int]: ...
    def __reduce__(self) -> tuple[type[CpuSet], tuple[str]]: ...
    def _repr_html_(self) -> str: ...

@final
class InterruptRow:
    """One row: an interrupt, or one of the kernel's own counters, whose `irq` is None."""

    @property
    def label(self) -> str:
        """The text before the colon: `30`, `NMI`, `IPI0`."""

    @property
    def irq(self) -> Optional[int]:
        """The IRQ number, or None."""

    @property
    def counts(self) -> list[int]:
        """Interrupts since boot, one number for each of `table.cpus` (fewer for ERR, MIS and FIQ)."""

    @property
    def total(self) -> int:
        """The sum of the counts."""

    @property
    def chip(self) -> str:
        """The interrupt controller (`irq_chip`): `PCI-MSI`, `IO-APIC`, `GICv3`; empty for counters."""

    @property
    def hwirq(self) -> Optional[int]:
        """The number inside the controller, or None."""

    @property
    def trigger(self) -> str:
        """How it fires or is handled, as printed: `edge`, `fasteoi`, `Level`."""

    @property
    def actions(self) -> list[str]:
        """The drivers that requested it (`irqaction`): names as drivers give them; several on a shared line."""

    @property
    def description(self) -> str:
        """The text behind chip and trigger as printed; for counters what they count."""

    @property
    def queue(self) -> Optional[tuple[str, Optional[int]]]:
        """Kind (`rx`, `tx`, `rxtx`, `control`) and number of the queue that the first action names, or None."""

@final
class InterruptTable:
    """All rows of `/proc/interrupts` at one moment.

    `table[30]` is the row of IRQ 30, `table["NMI"]` one of the kernel's own counters; iterating gives all
    rows.

    >>> from sipmi.affinity import InterruptTable
    >>> table = InterruptTable.parse(b"  CPU0 CPU2\\n 30:  7 1  PCI-MSI 65537-edge  p4p1-rx-0\\n")
    >>> row = table[30]
    >>> str(table.cpus), row.counts, row.chip, row.trigger, row.actions[0]
    ('0,2', [7, 1], 'PCI-MSI', 'edge', 'p4p1-rx-0')
    """

    @staticmethod
    def parse(text: bytes) -> InterruptTable:
        """Read the bytes of a table. `ValueError` if the first line is not the list of online CPUs."""

    @property
    def cpus(self) -> CpuSet:
        """The online CPUs, which the counts of each row belong to in this order."""

    @property
    def rows(self) -> list[InterruptRow]:
        """All rows as printed."""

    def for_device(self, name: str) -> list[InterruptRow]:
        """The rows of an interface (bond, VLAN and bridge: of what they are made of) or a disk. `LookupError` if
        there is no such device.
        """

    def select_rows(
        self,
        *,
        device: Optional[str] = None,
        driver: Optional[str] = None,
        action: Optional[str] = None,
        node: Optional[int] = None,
        queue: Optional[int] = None,
    ) -> list[InterruptRow]:
        """The rows that all given conditions hold for: the device they belong to, a driver in its chain, a part of
        an action's name, the NUMA node, the number of the queue.
        """

    def rates(self, earlier: InterruptTable, seconds: float) -> list[dict[str, Any]]:
        """Interrupts per second since an earlier table, one dict a row: `label`, `irq`, `name`, `rate`, `per_cpu`.

        Rows are matched by number and name, so a number that changed hands counts from 0; 32-bit counters may
        have wrapped once.
        """

    def __getitem__(self, key: Union[int, str], /) -> InterruptRow: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[InterruptRow]: ...
    def _repr_html_(self) -> str: ...

@disjoint_base
class Host:
    """A machine, live or captured."""

    def __new__(
        cls,
        root: Union[str, PathLike[str], None] = None,
        *,
        faults: Optional[dict[str, str]] = None,
        kill_after: Optional[int] = None,
    ) -> Self: ...
    @property
    def root(self) -> str:
        """The folder."""

    @property
    def live(self) -> bool:
        """True for a running machine, False for a captured tree."""

    def interrupts(self) -> InterruptTable:
        """`/proc/interrupts` now, as an `InterruptTable`. `OSError` if it cannot be read."""

    def irq(self, number: int) -> Irq:
        """One interrupt. `LookupError` if there is none of that number."""

    def irqs(self) -> list[Irq]:
        """All interrupts that have a folder in `/proc/irq`, also those that nothing asked for."""

    @property
    def default_affinity(self) -> Optional[CpuSet]:
        """`default_smp_affinity`: where a new interrupt starts, or None."""

    def device(self, name: str) -> Device:
        """A network or block device (`eth0`, `sda`, `/dev/sda1`) or a PCI address. `LookupError` if there is none."""

    def devices(self) -> list[str]:
        """The names of all interfaces and disks."""

    def process(self, pid: int) -> HostProcess:
        """One process. `ProcessLookupError` if it does not run."""

    def processes(
        self,
        name: Optional[str] = None,
        *,
        pidfile: Union[str, PathLike[str], None] = None,
        cgroup: Optional[str] = None,
        roles: Optional[dict[int, str]] = None,
        threads: Optional[str] = None,
    ) -> list[HostProcess]:
        """All processes of a server; see `sipmi.affinity.Host.processes`."""

    def topology(self) -> Topology:
        """Packages, NUMA nodes, cache domains, cores and SMT siblings; prints as a tree."""

    @property
    def irqbalance(self) -> Irqbalance:
        """irqbalance's file and daemon as they are now."""

    def _plan(
        self,
        *,
        devices: list[str],
        processes: list[HostProcess],
        cpus: Optional[_Cpus] = None,
        policy: str = "same",
        steering: bool = True,
        reuse_port: bool = False,
        irqbalance: bool = True,
    ) -> Plan: ...
    def sample(self, pids: Sequence[int] = ...) -> CounterSample:
        """The kernel's counters now, with the context switches of these pids."""

    def journals(self, folder: Union[str, PathLike[str], None] = None) -> list[str]:
        """The journals of plans that have not been undone, oldest first."""

    def undo(self, journal: Union[str, PathLike[str]]) -> list[Outcome]:
        """Take a journal back: one Outcome a change, the last one first. The journal is removed when nothing is
        left.
        """

    def drift(self, journal: Union[str, PathLike[str]]) -> list[Outcome]:
        """List the items that differ from the plan of a journal, with their present CPUs. The plan is made again, so a
        restarted server and a new queue count too. `ValueError` for a journal that keeps no request (version 1).
        """

    def devices_by_irq(self) -> dict[int, list[str]]:
        """The names of the devices of each interrupt: interfaces, disks, else the PCI function that has it."""

    def check(self) -> list[dict[str, str]]:
        """List what is wrong with this machine's interrupts without any plan: dicts of `what`, `detail` and `remedy`.

        Found are: all queues of a card on one CPU, interrupts on another node than their card, isolated CPUs that
        take interrupts, RPS that only costs, plans that do not hold, an irqbalance that fights a plan, lost packets.
        """

    def pins(self) -> list[dict[str, Any]]:
        """The lasting plans, as dicts of `name`, `request`, `journal` and `files`."""

    def reapply(self, name: str) -> Applied:
        """Apply a lasting plan again. `LookupError` if there is none of that name."""

    def forget_pin(self, name: str) -> list[str]:
        """Remove a lasting plan with the files that it wrote, and return the paths of those that were changed since and
        stay. The plan stays applied until its journal is undone. `LookupError` if there is none of that name.
        """

    def apply_again(self, journal: Union[str, PathLike[str]]) -> Applied:
        """Apply the plan of a journal again to what has drifted, and record the changes in the same journal. After a
        restart of the machine everything is applied anew, in a new journal that replaces the old one.
        """

    def forget(self, journal: Union[str, PathLike[str]]) -> None:
        """Remove a journal without taking anything back."""

    def journal(self, journal: Union[str, PathLike[str]]) -> dict[str, Any]:
        """The content of a journal as a dict: `request`, `time` (seconds since 1970), `changes` (texts), `rebooted`,
        and `torn`, the number of lines that a crash cut off, whose changes were never made.
        """

    def set_rfs_entries(self, entries: int) -> None:
        """Set `rps_sock_flow_entries`, the size of the table of flows that RFS shares."""

    @property
    def rfs_entries(self) -> Optional[int]:
        """`rps_sock_flow_entries`; 0 is off."""

@final
class Irq:
    """One interrupt (`struct irq_desc`) as it was when it was read."""

    @property
    def number(self) -> int:
        """Its number; it can change when a driver is bound again."""

    @property
    def affinity(self) -> Optional[CpuSet]:
        """`smp_affinity`: where it may go."""

    @property
    def effective(self) -> Optional[CpuSet]:
        """`effective_affinity`: where it does go; one CPU of the set on x86. None where the kernel keeps none."""

    @property
    def hint(self) -> Optional[CpuSet]:
        """`affinity_hint`: where its driver would have it, or None."""

    @property
    def node(self) -> Optional[int]:
        """Its NUMA node, or None."""

    @property
    def managed(self) -> bool:
        """True if the kernel places the interrupt itself (`IRQF_AFFINITY_MANAGED`): it cannot be moved, which is no
        failure.
        """

    @property
    def managed_known(self) -> bool:
        """False where only its name says so (Linux before 6.12 tells when written to)."""

    @property
    def remapped(self) -> bool:
        """True if the hardware steers the interrupt through interrupt remapping: it then moves at once."""

    @property
    def chip(self) -> str:
        """The interrupt controller."""

    @property
    def hwirq(self) -> Optional[int]:
        """The number inside the controller, or None."""

    @property
    def trigger(self) -> str:
        """`edge` or `level`, or as the table prints it."""

    @property
    def actions(self) -> list[str]:
        """The names of the drivers that requested the interrupt."""

    @property
    def queue(self) -> Optional[tuple[str, Optional[int]]]:
        """Kind and number of the queue that its first action names, or None."""

    @property
    def spurious(self) -> Optional[tuple[int, int, int]]:
        """Counts of interrupts and unhandled ones, and milliseconds after boot of the last unhandled one; or None."""

    def set_affinity(self, cpus: _Cpus) -> Outcome:
        """Send it to CPUs: clamps to those online, writes `smp_affinity_list` once, reads back.

        The Outcome's `state` is `applied`, `pending` (it moves at the next interrupt), `managed` or `refused`
        with a `reason`. `ValueError` for no CPU at all and for CPUs that this machine cannot have.
        """

@final
class Outcome:
    """The result of one change: `state` is `applied`, `pending`, `managed` or `refused`."""

    @property
    def subject(self) -> str:
        """The subject of the change."""

    @property
    def state(self) -> str:
        """`applied`, `pending`, `managed` or `refused`."""

    @property
    def reason(self) -> Optional[str]:
        """A short word for why it is not applied, or None: `managed`, `not movable`, `read-only`, `offline`, `no
        vectors`, `denied`, `vanished`, `cpuset`, `kernel thread`, ...
        """

    @property
    def detail(self) -> str:
        """The reason in a sentence, with path and error name."""

    @property
    def asked(self) -> CpuSet:
        """The CPUs asked for."""

    @property
    def cut(self) -> CpuSet:
        """Those of them that are offline or outside the cpuset."""

    @property
    def before(self) -> Optional[CpuSet]:
        """The affinity before, or None."""

    @property
    def now(self) -> Optional[CpuSet]:
        """The affinity now, or None."""

    @property
    def effective(self) -> Optional[CpuSet]:
        """Where the interrupt arrives now, or None."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, CPU sets as lists."""

@final
class Device:
    """A network or block device as it was when it was read."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def kind(self) -> str:
        """`net`, `block` or `pci`."""

    @property
    def driver(self) -> str:
        """The driver that does the work: `ahci` for an AHCI disk, not `sd`."""

    @property
    def chain(self) -> list[tuple[str, str, str, str]]:
        """From the device upwards, as `udevadm info -a` shows: kernel name, subsystem, driver, path."""

    @property
    def bus(self) -> Optional[str]:
        """The PCI address, or None."""

    @property
    def node(self) -> Optional[int]:
        """Its NUMA node, or None if unknown."""

    @property
    def local_cpus(self) -> CpuSet:
        """The CPUs near it."""

    @property
    def irqs(self) -> list[int]:
        """The numbers of its interrupts."""

    @property
    def source(self) -> str:
        """Where they were found: `msi_irqs`, `irq`, `table: bus address`, `table: name`, `lower devices`, `none`."""

    @property
    def lower(self) -> list[Device]:
        """The devices below a bond, VLAN, bridge or mapper."""

    def queues(self) -> list[tuple[str, Optional[CpuSet], Optional[int]]]:
        """Name, CPUs (`rps_cpus` of `rx-N`, `xps_cpus` of `tx-N`; None where there is no setting) and
        `rps_flow_cnt` of each queue.
        """

    def set_queue(self, queue: str, cpus: _Cpus) -> Outcome:
        """Set RPS (`rx-N`) or XPS (`tx-N`) of a queue; no CPU turns it off. `ValueError` if there is no such
        queue.
        """

    def set_rfs(self, queue: str, flows: int) -> None:
        """Set `rps_flow_cnt` of a receive queue: how many flows RFS follows there."""

@final
class HostProcess:
    """A process, told apart from a later one of the same pid."""

    @property
    def pid(self) -> int:
        """Its pid."""

    @property
    def name(self) -> str:
        """The kernel's name for it (`comm`)."""

    @property
    def role(self) -> Optional[str]:
        """The role that its server reports, or None."""

    @property
    def started(self) -> int:
        """Clock ticks after boot at which it started."""

    @property
    def alive(self) -> bool:
        """True if the same process, not another with its pid, still runs."""

    @property
    def affinity(self) -> CpuSet:
        """Where its first thread may run: `Cpus_allowed`, `sched_getaffinity`, `taskset -p`."""

    def threads(self) -> list[int]:
        """The tids of its threads. `ProcessLookupError` if it has ended."""

    def thread_affinity(self, tid: int) -> CpuSet:
        """Where one of its threads may run (`sched_getaffinity`)."""

    def set_affinity(self, cpus: _Cpus, *, threads: bool = True) -> list[Outcome]:
        """Let it run on these CPUs only: `sched_setaffinity` (in C with `CPU_ZERO` and `CPU_SET`), for every
        thread until no new one appears.

        One Outcome a thread; CPUs that are offline or outside the cpuset are cut and reported. `threads=False`
        moves the first thread only, as `taskset -p` does. `ProcessLookupError` if it has ended.
        """

@final
class Irqbalance:
    """irqbalance's file and daemon as they were when they were read."""

    @property
    def file(self) -> str:
        """The file of this distribution that is edited."""

    @property
    def pid(self) -> Optional[int]:
        """The daemon's pid, or None."""

    @property
    def socket(self) -> Optional[str]:
        """The daemon's socket, or None."""

    @property
    def banned_cpus(self) -> CpuSet:
        """`IRQBALANCE_BANNED_CPUS` (a mask) or `IRQBALANCE_BANNED_CPULIST` of the file."""

    @property
    def banned_irqs(self) -> list[int]:
        """The interrupts of `--banirq` in `IRQBALANCE_ARGS`."""

    def ban_cpus(self, cpus: _Cpus) -> Optional[bytes]:
        """Ban CPUs in the file, beside those that are; for the next start. Returns the bytes from before, or None
        if there was no file.
        """

    def ban_irqs(self, irqs: set[int]) -> Optional[bytes]:
        """Ban interrupts in the file, beside those that are; for the next start. Returns the bytes from before."""

    def live(self) -> tuple[list[int], CpuSet]:
        """Interrupts banned by the socket and CPUs banned, as the running daemon says. `LookupError` without a
        socket.
        """

    def ban_irqs_live(self, irqs: set[int]) -> None:
        """Make the running daemon leave exactly these interrupts alone; lost when it restarts."""

@final
class Topology:
    """The machine's shape."""

    @property
    def online(self) -> CpuSet:
        """CPUs that run."""

    @property
    def possible(self) -> CpuSet:
        """CPUs that could ever be: masks are as wide."""

    @property
    def present(self) -> CpuSet:
        """CPUs that are plugged in."""

    @property
    def isolated(self) -> CpuSet:
        """`isolcpus=`: no load is balanced onto them."""

    @property
    def nohz_full(self) -> CpuSet:
        """CPUs without a timer tick while one task runs."""

    @property
    def cpuset(self) -> Optional[CpuSet]:
        """The CPUs in the cpuset of this process (v1 or v2), or None."""

    @property
    def nodes(self) -> dict[int, CpuSet]:
        """The CPUs of each NUMA node."""

    @property
    def cache_domains(self) -> list[CpuSet]:
        """The online CPUs that share a last-level cache, set by set."""

    def whole_cores(self, cpus: _Cpus) -> CpuSet:
        """These CPUs with all their SMT siblings."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, CPU sets as lists."""

    def _repr_html_(self) -> str: ...

@final
class CounterSample:
    """The kernel's counters at one moment."""

    def since(self, earlier: CounterSample, *, irqs: Optional[Sequence[int]] = None) -> dict[str, Any]:
        """Return the changes since an earlier sample, as a dict; of the rows of these IRQs, or of all that changed."""

@final
class Plan:
    """A plan of changes, none of which is made yet. Prints as a table."""

    @property
    def irq_cpus(self) -> CpuSet:
        """Where interrupts go."""

    @property
    def process_cpus(self) -> CpuSet:
        """Where processes go."""

    @property
    def policy(self) -> str:
        """`same`, `siblings` or `spread`."""

    @property
    def items(self) -> list[dict[str, Any]]:
        """The changes, in order: dicts of `kind`, `subject`, `label`, `now`, `target`, `note`."""

    @property
    def conflicts(self) -> list[dict[str, Any]]:
        """The conflicts: dicts of `what`, `severity` (`handled`, `warns`, `blocks`), `detail`."""

    @property
    def irqs(self) -> list[int]:
        """The interrupts of its devices."""

    def to_dict(self) -> dict[str, Any]:
        """All of it."""

    def to_json(self) -> str:
        """All of it as JSON text."""

    def files_to_persist(self, name: str) -> dict[str, str]:
        """The files that `Applied.persist` would write, by path."""

    def apply(
        self,
        *,
        journal: Union[str, PathLike[str], None] = None,
        settle: float = 1.0,
        watch: Optional[float] = None,
        force: bool = False,
    ) -> Applied:
        """Do it: each change is journalled, written and read back. Returns an Applied, which undoes it when its
        `with` block ends.

        - `journal`: the file to write; by default a new one in `/var/lib/sipmi` (root) or
          `$XDG_STATE_HOME/sipmi`
        - `settle`: seconds that interrupts may take to move
        - `watch`: seconds to watch that it holds; by default 11 where irqbalance runs, which looks every 10
        - `force`: go on although conflicts block it (`ValueError` otherwise, before anything is written)
        """

    def _repr_html_(self) -> str: ...

@final
class Applied:
    """A plan that has been applied; leaving the `with` block undoes it."""

    @property
    def report(self) -> list[dict[str, Any]]:
        """A report for each item: dicts of `kind`, `subject`, `label`, `state`, `detail`, `outcomes`."""

    @property
    def complete(self) -> bool:
        """True if no item is refused. A pending interrupt is set, and moves when it fires the next time."""

    @property
    def journal(self) -> str:
        """The journal's path; `Host.undo` takes it back after a crash."""

    def verify(self) -> None:
        """Look at all items again and bring the report up to date."""

    def watch(self, seconds: float) -> None:
        """Verify again and again for some seconds."""

    def drift(self) -> list[Outcome]:
        """List the items that have moved since they were applied, as Outcomes."""

    def persist(self, name: str) -> dict[str, str]:
        """Keep the request of the plan under a name, so that it is applied again at boot, when a device appears and
        when a server starts: a systemd unit, a udev rule and a drop-in with `CPUAffinity=`. Returns the files that it
        wrote, by path; `Host.forget_pin` removes them. `ValueError` for a name of other letters than A-Z, digits, -
        and _.
        """

    def undo(self) -> list[Outcome]:
        """Take it back: one Outcome a change, the last one first. Interrupts are found by identity, not by number."""

    def to_dict(self) -> dict[str, Any]:
        """All of it."""

    def __enter__(self) -> Applied: ...
    def __exit__(self, _kind: Any, _error: Any, _traceback: Any, /) -> None: ...

def set_thread_affinity(cpus: _Cpus) -> None:
    """Let the calling thread run on these CPUs only: `sched_setaffinity(0, ...)`, in C with a mask made by
    `CPU_ZERO` and `CPU_SET`.

    Threads and processes that it starts later inherit them. The kernel takes the part that is online and in
    the cpuset; `OSError` if there is none, `ValueError` for no CPU at all.

    >>> from sipmi.affinity import set_thread_affinity, thread_affinity
    >>> before = thread_affinity()
    >>> set_thread_affinity([next(iter(before))])
    >>> len(thread_affinity())
    1
    >>> set_thread_affinity(before)
    """

def thread_affinity() -> CpuSet:
    """The CPUs that the calling thread may run on: `sched_getaffinity(0, ...)`, for any number of CPUs."""

@final
class EventStream:
    """Splits what comes over a TCP connection into events.

    >>> from sipmi import _core
    >>> stream = _core.EventStream()
    >>> stream.feed(b'{"method":"E_A"}{"meth')
    [b'{"method":"E_A"}']
    >>> stream.feed(b'od":"E_B"}')
    [b'{"method":"E_B"}']
    """

    def __new__(cls) -> EventStream: ...
    def feed(self, bytes: bytes) -> list[bytes]:
        """Takes what came and gives the values that are complete.

        Raises CodecError: it is not JSON, or one value is over 1 MiB; nothing more can be read then.
        """

def decode_event(bytes: bytes) -> tuple[str, Any, str, Optional[bytes]]:
    """Reads one event: its name, its parameters, "text" or "jsonrpc", and the bytes to answer or None.

    Parameters are a dict, or a list when none has a name. On text, values are strings.

    Raises CodecError: it is no event.

    >>> from sipmi import _core
    >>> _core.decode_event(b"E_UL_AOR_INSERT\\naor::alice\\n\\n")
    ('E_UL_AOR_INSERT', {'aor': 'alice'}, 'text', None)
    """
