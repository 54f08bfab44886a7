"""The results of a fleet: a value or an error of each node."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..errors import UNCLEAR, MiError

if TYPE_CHECKING:
    import pandas


class FleetError(MiError):
    """Some nodes failed; ``result`` says which, and why."""

    def __init__(self, result: FleetResult) -> None:
        unclear = {} if result.accepts_unclear else dict.fromkeys(result.unclear, UNCLEAR)
        reasons = [f"{name}: {why}" for name, why in {**result.failed, **unclear}.items()]
        failed = ", ".join(reasons[:3])
        more = f", and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        left = f"; {len(result.skipped)} skipped" if result.skipped else ""
        super().__init__(f"{result.command}: {len(result.ok)} of {len(result)} nodes succeeded; {failed}{more}{left}")
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return FleetError, (self.result,)


class Unhealthy(MiError):
    """The command of a node succeeded, and its health check failed afterwards."""


@dataclasses.dataclass(frozen=True)
class NodeResult:
    """The result of one node."""

    name: str
    address: str
    value: Any = None
    """The value that ``call`` returns."""
    error: Optional[Exception] = None
    """The error of the node; None when there is a value."""
    elapsed: float = 0.0
    """The seconds from request to result."""
    ended: float = dataclasses.field(default_factory=time.monotonic, repr=False, compare=False)
    """The time of the result, by the monotonic clock of the process that has it."""

    unclear: bool = False
    """True for an empty reply, which OpenSIPS 1.x sends for success and for some errors."""

    @property
    def ok(self) -> bool:
        """True if it is known to have succeeded."""
        return self.error is None and not self.unclear


class FleetResult:
    """The results of a fleet by node; true when every node succeeded, or enough of them for its quorum.

    A result is a success, a failure, or unclear; ``unclear`` of :meth:`Fleet.with_options` decides about the last.

    ``result["edge1"]`` is the value of a node, or raises its error. Iterated, it gives a :class:`NodeResult` for
    each node that was asked, in the order of the fleet.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server:
    ...     result = sipmi.Fleet({"edge1": server.addresses[0]}).call("which", "uptime")
    >>> result, bool(result), result["edge1"]
    (<FleetResult of which: 1 ok>, True, [[]])
    """

    def __init__(
        self,
        command: str,
        results: Iterable[NodeResult],
        *,
        skipped: Optional[Mapping[str, str]] = None,
        batches: Iterable[Iterable[str]] = (),
        needed: Optional[int] = None,
        elapsed: float = 0.0,
        is_dry: bool = False,
        accepts_unclear: bool = False,
    ) -> None:
        self.command = command
        """The command that was called."""
        self._results = {result.name: result for result in results}
        self.skipped: dict[str, str] = dict(skipped or {})
        """Nodes that were not asked, or not waited for, and why: a rollout stopped, a quorum was reached."""
        self.batches: list[list[str]] = [list(batch) for batch in batches]
        """Which nodes are asked together, in their order; of a dry run too."""
        self.needed = needed
        """How many nodes are enough; None when all are wanted."""
        self.elapsed = elapsed
        """Seconds that it took."""
        self.is_dry = is_dry
        """True if no node was asked."""
        self.accepts_unclear = accepts_unclear
        """True if an unclear result counts as a success, for the quorum and for the truth of the whole."""

    @property
    def ok(self) -> dict[str, Any]:
        """The values of the nodes that succeeded, by name."""
        return {name: result.value for name, result in self._results.items() if result.ok}

    @property
    def failed(self) -> dict[str, Exception]:
        """The errors of the nodes that failed, by name."""
        return {name: result.error for name, result in self._results.items() if result.error is not None}

    @property
    def unclear(self) -> tuple[str, ...]:
        """The nodes whose answer says neither: OpenSIPS 1.x answers nothing over mi_json and /xmlrpc for both."""
        return tuple(name for name, result in self._results.items() if result.unclear)

    def __getitem__(self, name: str) -> Any:
        result = self._results.get(name)
        if result is None:
            raise KeyError(f"{name}: {self.skipped[name]}" if name in self.skipped else name)
        if result.error is not None:
            raise result.error
        return result.value

    def __contains__(self, name: object) -> bool:
        return name in self._results

    def __iter__(self) -> Iterator[NodeResult]:
        return iter(self._results.values())

    def __len__(self) -> int:
        return len(self._results) + len(self.skipped)

    def __bool__(self) -> bool:
        if self.is_dry:
            return True
        succeeded = len(self.ok) + (len(self.unclear) if self.accepts_unclear else 0)
        return succeeded == len(self) if self.needed is None else succeeded >= self.needed

    def check(self) -> FleetResult:
        """Itself, when it is true.

        :raises FleetError: nodes failed, or too many for the quorum.
        """
        if not self:
            raise FleetError(self)
        return self

    def map(self, function: Callable[[Any], Any]) -> FleetResult:
        """Return a result with each value put through a function; its exception becomes the error of that node."""
        return self.each(_on_value(function))

    def each(self, function: Callable[[NodeResult], Any]) -> FleetResult:
        """As :meth:`map`, with whole results: also those that are errors get what the function makes of them."""
        return FleetResult(
            self.command,
            [_replaced(result, function) for result in self],
            skipped=self.skipped,
            batches=self.batches,
            needed=self.needed,
            elapsed=self.elapsed,
            is_dry=self.is_dry,
            accepts_unclear=self.accepts_unclear,
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dictionary for each node: a member for each one of its value, or one for all; its error and time.

        Where answers are unclear, a member tells which.
        """
        rows: list[dict[str, Any]] = []
        for result in self:
            value = result.value
            columns = dict(value) if isinstance(value, Mapping) else {} if value is None else {"value": value}
            unclear = {"unclear": result.unclear} if self.unclear else {}
            rows.append({"node": result.name, **columns, **unclear, "error": result.error and str(result.error),
                         "elapsed": result.elapsed})  # fmt: skip
        return rows + [{"node": name, "error": why} for name, why in self.skipped.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON, if the values are; errors as text."""
        return {
            "command": self.command,
            "ok": self.ok,
            "failed": {name: str(error) for name, error in self.failed.items()},
            "unclear": list(self.unclear),
            "skipped": dict(self.skipped),
            "elapsed": self.elapsed,
        }

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows of :meth:`to_rows` as a table. Needs pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("tables need pandas: pip install 'sipmi[notebook]'") from error
        rows = self.to_rows()
        frame: pandas.DataFrame = pandas.DataFrame(rows, columns=None if rows else ["node", "error", "elapsed"])
        last = [name for name in ("unclear", "error", "elapsed") if name in frame.columns]
        frame = frame[[*(name for name in frame.columns if name not in last), *last]].set_index("node")
        return frame

    def _repr_html_(self) -> str:
        from ..display import html

        return html(self)

    def __repr__(self) -> str:
        if self.is_dry:
            return f"<FleetResult of {self.command}: a dry run, {len(self)} nodes in {len(self.batches)} batches>"
        counts = [
            (len(self.ok), "ok"),
            (len(self.unclear), "unclear"),
            (len(self.failed), "failed"),
            (len(self.skipped), "skipped"),
        ]
        told = ", ".join(f"{count} {what}" for count, what in counts if count) or "no nodes"
        needed = "" if self.needed is None else f", {self.needed} needed"
        return f"<FleetResult of {self.command}: {told}{needed}>"

    def __str__(self) -> str:
        """Return a line for the whole, and one for each failed node; for a dry run, one for each batch."""
        lines = [repr(self)[1:-1]]
        if self.is_dry:
            lines += [f"  {number}. {' '.join(batch)}" for number, batch in enumerate(self.batches, 1)]
        else:
            lines += [f"  {name}: {UNCLEAR}" for name in self.unclear]
            lines += [f"  {name}: {error}" for name, error in self.failed.items()]
            lines += [f"  {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)


def _on_value(function: Callable[[Any], Any]) -> Callable[[NodeResult], Any]:
    def call(result: NodeResult) -> Any:
        if result.error is not None:
            raise result.error
        return None if result.unclear else function(result.value)

    return call


def _replaced(result: NodeResult, function: Callable[[NodeResult], Any]) -> NodeResult:
    try:
        return dataclasses.replace(result, value=function(result), error=None)
    except Exception as error:
        return dataclasses.replace(result, value=None, error=error)
