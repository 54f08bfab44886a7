"""The course of a fleet's call: all at once or in batches, until a quorum is reached or too many have failed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from ..errors import UNCLEAR
from ._nodes import FleetNode
from ._policy import Policy, Progress
from ._result import FleetResult, NodeResult, Unhealthy
from ._round import Tell
from ._waiting import Waiter

#: Seconds until a node that is not healthy yet is asked again: a server may have one process for that.
_CHECK_INTERVAL = 1.0


class Ask(Protocol):
    """Asks nodes, from here or from elsewhere."""

    def __call__(
        self, waiter: Waiter, nodes: list[FleetNode], command: str, args: tuple[Any, ...], kwargs: dict[str, Any], *,
        timeout: float, tell: Tell,
    ) -> Coroutine[Any, Any, None]:  # fmt: skip
        """Asks all nodes at once, and tells what each answered."""


@dataclasses.dataclass
class Rollout:
    """One call of a fleet."""

    nodes: dict[str, FleetNode]
    policy: Policy
    command: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ask: Ask

    async def run(self, waiter: Waiter, progress: Progress) -> FleetResult:
        """Ask the nodes and return their results."""
        began = time.monotonic()
        names = list(self.nodes)
        batches = self.policy.batches(names)
        results: dict[str, NodeResult] = {}
        needed, stopped, succeeded = self.policy.needed(len(names)), "", 0

        def tell(result: NodeResult) -> bool:
            nonlocal stopped, succeeded
            results[result.name] = result
            succeeded += self.policy.is_success(result)
            progress(len(results), len(names), result)
            if needed is None:
                return True
            if succeeded >= needed:
                stopped = "not waited for: the quorum was reached"
            elif succeeded + len(names) - len(results) < needed:
                stopped = "not waited for: the quorum cannot be reached"
            return not stopped

        for number, batch in enumerate([] if self.policy.dry_run else batches):
            if number and self.policy.pause:
                await waiter.sleep(self.policy.pause)
            nodes = [self.nodes[name] for name in batch]
            await self._ask(waiter, nodes, tell)
            if self.policy.check is not None:
                done = [node for node in nodes if self.policy.is_success(results[node.name])]
                await self._check(waiter, done, results)
            failed = [name for name, result in results.items() if not self.policy.is_success(result)]
            if needed is None and len(failed) > self.policy.max_failures and number + 1 < len(batches):
                outcome = "was unclear" if results[failed[-1]].unclear else "failed"
                stopped = f"not asked: the rollout stopped when {failed[-1]} {outcome}"
                break
        if self.policy.dry_run:
            stopped = "not asked: a dry run"
        return FleetResult(
            self.command,
            [results[name] for name in names if name in results],
            skipped={name: stopped for name in names if name not in results},
            batches=batches,
            needed=needed,
            elapsed=time.monotonic() - began,
            is_dry=self.policy.dry_run,
            accepts_unclear=self.policy.unclear == "ok",
        )

    async def _ask(self, waiter: Waiter, nodes: list[FleetNode], tell: Tell) -> None:
        timeout = self.policy.timeout
        await self.ask(waiter, nodes, self.command, self.args, self.kwargs, timeout=timeout, tell=tell)

    async def _check(self, waiter: Waiter, nodes: Iterable[FleetNode], results: dict[str, NodeResult]) -> None:
        """Turn the results of nodes that are not healthy in time into failures."""
        check = self.policy.check
        command, *args = (check,) if isinstance(check, str) else check or ("",)
        within = self.policy.timeout if self.policy.check_within is None else self.policy.check_within
        deadline = time.monotonic() + within
        sick = {node.name: node for node in nodes}
        why: dict[str, str] = {}

        def tell(result: NodeResult) -> bool:
            if (trouble := self._trouble(result)) is None:
                sick.pop(result.name, None)
            else:
                why[result.name] = trouble
            return True

        while sick and (left := deadline - time.monotonic()) > 0:
            asked = time.monotonic()
            timeout = min(left, self.policy.timeout)
            await self.ask(waiter, list(sick.values()), command, tuple(args), {}, timeout=timeout, tell=tell)
            again = asked + _CHECK_INTERVAL
            if sick and again < deadline:
                await waiter.sleep(max(0.0, again - time.monotonic()))
            elif sick:
                break
        for name, node in sick.items():
            trouble = why.get(name, "there was no time to ask")
            error = Unhealthy(f"{node.address}: not healthy within {within:g} s after {self.command}: {trouble}")
            error.address, error.command = node.address, command
            results[name] = dataclasses.replace(results[name], error=error, unclear=False)

    def _trouble(self, result: NodeResult) -> Any:
        """Why a node is not healthy; None when it is."""
        if result.error is not None:
            return str(result.error)
        if not self.policy.is_success(result):
            return UNCLEAR
        try:
            is_healthy = self.policy.healthy is None or self.policy.healthy(result.value)
        except Exception as error:
            return f"healthy= raised {error!r}"
        return None if is_healthy else "healthy= says so"
