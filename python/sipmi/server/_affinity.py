"""Affinity over MI: `irq_list`, `irq_affinity`, `cpu_affinity` and `affinity_plan` as commands of a server.

Off unless `register_affinity(server)` is called, and read-only unless it is called with `allow_write=True`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional, Protocol, TypeVar

from ..affinity import Host
from ..errors import Fault

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Registry(Protocol):
    """A server that takes commands."""

    def command(self, *, read_only: bool) -> Callable[[Handler], Handler]:
        """Register a function as a command."""


@contextmanager
def answered() -> Iterator[None]:
    """Turn errors of the machine into faults: 404 not found, 403 not permitted, 400 not understood."""
    try:
        yield
    except (ProcessLookupError, FileNotFoundError, LookupError) as error:
        raise Fault(404, str(error)) from error
    except PermissionError as error:
        raise Fault(403, str(error)) from error
    except ValueError as error:
        raise Fault(400, str(error)) from error
    except OSError as error:
        raise Fault(500, str(error)) from error


def text(cpus: Any) -> Optional[str]:
    return None if cpus is None else str(cpus)


def register_affinity(server: Registry, *, allow_write: bool = False, host: Optional[Host] = None) -> None:
    """Add the affinity commands to a server.

    Without `allow_write` they only show: a call that would change something is answered 403. `host` is another machine
    than this one, for tests.
    """
    machine = host if host is not None else Host()

    def may_write() -> None:
        if not allow_write:
            raise Fault(403, "affinity is read-only here: register_affinity(server, allow_write=True) allows changes")

    @server.command(read_only=True)
    def irq_list(device: str = "") -> dict[str, Any]:
        """List interrupts, or those of a device."""
        with answered():
            counts = {row.irq: row.total for row in machine.interrupts()}
            wanted = set(machine.device(device).irqs) if device else None
            irqs = [irq for irq in machine.irqs() if wanted is None or irq.number in wanted]
            return {
                "Interrupts": [
                    {
                        "IRQ": irq.number,
                        "Name": ", ".join(irq.actions),
                        "Affinity": text(irq.affinity),
                        "Effective": text(irq.effective),
                        "Node": irq.node,
                        "Managed": irq.managed,
                        "Count": counts.get(irq.number, 0),
                    }
                    for irq in irqs
                ]
            }

    @server.command(read_only=not allow_write)
    def irq_affinity(irq: int, cpus: str = "") -> dict[str, Any]:
        """Show where an interrupt may go, or send it to a list of CPUs."""
        with answered():
            found = machine.irq(irq)
            if cpus:
                may_write()
                return {"Outcome": found.set_affinity(cpus).to_dict()}
            return {
                "IRQ": irq,
                "Affinity": text(found.affinity),
                "Effective": text(found.effective),
                "Managed": found.managed,
            }

    @server.command(read_only=not allow_write)
    def cpu_affinity(pid: int, cpus: str = "") -> dict[str, Any]:
        """Show where a process may run, or move it with all its threads."""
        with answered():
            process = machine.process(pid)
            if cpus:
                may_write()
                return {"Outcomes": [outcome.to_dict() for outcome in process.set_affinity(cpus)]}
            threads = [{"TID": tid, "Affinity": text(process.thread_affinity(tid))} for tid in process.threads()]
            return {"PID": pid, "Name": process.name, "Affinity": text(process.affinity), "Threads": threads}

    @server.command(read_only=not allow_write)
    def affinity_plan(
        device: str = "", process: str = "", cpus: str = "", policy: str = "auto", apply: bool = False, undo: str = ""
    ) -> dict[str, Any]:
        """Plan a device and a server onto the same CPUs; apply it, or undo a journal."""
        with answered():
            if undo:
                may_write()
                return {"Outcomes": [outcome.to_dict() for outcome in machine.undo(known_journal(machine, undo))]}
            plan = machine.plan(
                device=[name for name in device.split(",") if name],
                process=[int(name) if name.isdigit() else name for name in process.split(",") if name],
                cpus=cpus or None,
                policy=policy,
            )
            if apply:
                may_write()
                # The caller's deadline is short: what irqbalance does later shows in `sipmi pin --drift`.
                return {"Applied": plan.apply(settle=0.2, watch=0.0).to_dict()}
            return {"Plan": plan.to_dict()}


def known_journal(machine: Host, name: str) -> str:
    """Find a journal of the default folder by its file name: MI must not read any file that a caller names."""
    for path in machine.journals():
        if name in (path, path.rsplit("/", 1)[-1]):
            return path
    raise LookupError(f"no journal {name!r} to undo")
