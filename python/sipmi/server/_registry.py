"""The commands and statistics of a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, overload

from .._core import Command, Counter, Tree
from .._core import Server as CoreServer
from .._options import check_options
from ._coroutines import Coroutines
from ._exports import Export
from ._logging import log_exception
from ._options import CommandOptions, conduct_of, flags_of
from ._signature import describe_parameters, first_line, is_awaited

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._core import _Described

Handler = TypeVar("Handler", bound=Callable[..., Any])


class CommandRegistry:
    """The part of a server that knows its commands, and runs them without a transport."""

    def __init__(self, name: str, core: CoreServer) -> None:
        self.name: str = name
        self._core = core
        self._coroutines = Coroutines()
        self._inits: list[tuple[str, Callable[[], Any]]] = []
        #: True while several processes serve: their commands cannot change any more.
        self._is_divided = False

    @overload
    def command(self, function: Handler) -> Handler: ...

    @overload
    def command(self, **options: Unpack[CommandOptions]) -> Callable[[Handler], Handler]: ...

    def command(self, function: Any = None, **options: Unpack[CommandOptions]) -> Any:
        """Register a function as a command; a decorator with or without options.

        :param name: the command's name; the function's name by default.
        :param aliases: further names of the command; none by default.
        :param help: one line of help; the first line of the docstring by default.
        :param no_input: True for a command without parameters; text requests that send some are answered all the same.
        :param named_only: True for a command that takes parameters by name only.
        :param read_only: True for a command that changes nothing.
        :param recipes: the sets of parameter names that may be given together; by default all that the
            signature allows.
        :param module: the module of the command; the server's name by default.
        :param blocking: True for a handler that waits for a database or a network: it runs on a thread of its own pool.
        :param serial: True runs one call at a time; further calls wait for their turn, without a thread.
        :param timeout: the seconds after which the caller gets a timeout error; None: never. The listener's, 60, by
            default. A coroutine handler is cancelled; any other handler runs on, and its result is dropped.
        :param request_limit: the largest request in bytes.
        :param reply_limit: the largest reply in bytes.
        :param depth_limit: how deep its parameters may nest.
        :param in_progress_limit: the number of its calls that may be in progress.
        :param queue_limit: the number of calls that may wait for a thread (``blocking``) or turn (``serial``).
        :param rate_limit: the number of calls per second of one peer.
        :raises TypeError: an option has an unknown name, or a value of another type.
        :raises ValueError: a command of that name exists already, or no wire can carry the name.

        >>> server = Server("billing")
        >>> @server.command(serial=True, timeout=2.5, rate_limit=10)
        ... def recount() -> int:
        ...     return 7
        >>> server.call("recount")
        7
        """
        check_options("command()", options, CommandOptions)
        if function is None:
            return lambda function: self._add(function, options)
        return self._add(function, options)

    def _add(self, function: Handler, options: CommandOptions) -> Handler:
        name, help, module = options.get("name"), options.get("help"), options.get("module")
        if name is None and not hasattr(function, "__name__"):
            raise TypeError(f"command(): expected name= for a {type(function).__name__}, which has no name of its own")
        params, any_name = describe_parameters(function)
        self._register(
            module=self.name if module is None else module,
            name=function.__name__ if name is None else name,
            help=first_line(function.__doc__) if help is None else help,
            flags=flags_of(options),
            aliases=list(options.get("aliases", ())),
            function=function,
            params=params,
            recipes=[list(recipe) for recipe in options.get("recipes", ())],
            any_name=any_name,
            conduct=conduct_of(options),
        )
        return function

    def register_module(self, module: str, exports: Iterable[Export]) -> None:
        """Register the commands of a module in the C programmer's form (``register_mi_mod``).

        :raises ValueError: a command of that name exists already, or no wire can carry the name.
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
        params: Optional[list[_Described]],
        param: Any = None,
        recipes: Iterable[list[str]] = (),
        any_name: bool = False,
        conduct: Optional[dict[str, Any]] = None,
    ) -> Command:
        self._check_undivided("commands are added")
        return self._core.register(
            module=module,
            name=name,
            help=help,
            flags=int(flags),
            aliases=aliases,
            function=function,
            param=param,
            submit=self._coroutines.submit if is_awaited(function) else None,
            log=log_exception,
            params=params,
            recipes=list(recipes),
            any_name=any_name,
            conduct=conduct or {},
        )

    def unregister(self, name: str) -> None:
        """Remove a command.

        :raises LookupError: no command has that name.
        """
        self._check_undivided("commands are removed")
        command = self.lookup(name)
        if command is None or not self._core.unregister(command):
            raise LookupError(f"no command {name!r}")

    @property
    def commands(self) -> list[Command]:
        """All commands, with the core commands of every server."""
        return self._core.commands()

    def lookup(self, name: str) -> Optional[Command]:
        """Find a command by its bare name, ``module:name`` or alias (``lookup_mi_cmd``); None when there is none.

        :raises AmbiguousMethod: several modules have a command of that name.
        """
        return self._core.lookup(name)

    def run_command(self, command: Command, root: Tree, *, flush: Optional[Callable[[Tree], Any]] = None) -> Tree:
        """Run a command with the nodes of a tree as parameters, without a transport (``run_mi_cmd``).

        :param flush: called with a tree of the nodes that the handler sends early (``flush_mi_tree``), in the
            thread that runs it; None, the default, keeps them in the reply.
        :raises InvalidParams: the parameters do not fit.
        :raises Fault: the handler raised, or returned a value that cannot be sent.
        """
        return self._core.run_command(command, root, flush)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run a command without a transport and return its value.

        :raises Fault: the fault that a client would get.
        """
        return self._core.call(name, args, kwargs)

    def statistic(self, name: str) -> Counter:
        """Return the counter ``server.name:name``, shown by ``get_statistics``; the first call makes it.

        >>> server = Server("billing")
        >>> server.statistic("sub_adds").inc()
        >>> server.call("get_statistics", ["billing:"])
        {'billing:sub_adds': 1}
        """
        return self._core.statistic(self.name, name)

    def _run_inits(self) -> None:
        for name, init in self._inits:
            try:
                init()
            except Exception as error:
                raise RuntimeError(f"init of {name} failed: {error}") from error

    def _check_undivided(self, what: str) -> None:
        if self._is_divided:
            raise RuntimeError(f"the server is served by several processes, which are all alike: {what} before run()")
