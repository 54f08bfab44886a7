"""`sipmi irq` and `sipmi pin`: affinity from the command line.

`add_commands(subparsers)` adds both; each sets `run`, a function of the parsed arguments that returns the exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, Optional

from sipmi.errors import MiError, TransportError

OK, FAILED, USAGE, TRANSPORT = 0, 1, 2, 3

CPUS_HELP = (
    "CPUs as a list: 0-3,8 (3 is CPU 3). Beware: taskset without -c reads a mask, where 3 is CPUs 0 and 1; "
    "that is --mask 3 here"
)
MASK_HELP = "CPUs as a hexadecimal mask without 0x: ff,00000001 (3 is CPUs 0 and 1, as in taskset)"


def add_commands(subparsers: Any) -> None:
    """Add `irq` and `pin` to an argparse subparsers object."""
    irq = subparsers.add_parser("irq", help="interrupts: show them, watch them, move them, capture a machine")
    irq.set_defaults(run=show, device=None, root="/", json=False, all=False)
    actions = irq.add_subparsers(dest="irq_command", metavar="show|top|set|capture")

    shown = actions.add_parser("show", help="interrupts with their devices and CPUs")
    common(shown)
    shown.add_argument("--device", help="only those of this interface or disk")
    shown.add_argument("--all", action="store_true", help="also those that nothing asked for")
    shown.set_defaults(run=show)

    top = actions.add_parser("top", help="the busiest interrupts, live")
    common(top)
    top.add_argument("--device", help="only those of this interface or disk")
    top.add_argument("--interval", type=positive, default=1.0, metavar="SECONDS", help="between two looks (default 1)")
    top.add_argument("--count", type=int, metavar="N", help="end after N looks (default: until Ctrl-C)")
    top.set_defaults(run=watch)

    move = actions.add_parser("set", help="move one interrupt", description=f"--cpus: {CPUS_HELP}.")
    common(move)
    move.add_argument("irq", type=int)
    cpus_arguments(move, required=True)
    move.set_defaults(run=set_irq)

    capture = actions.add_parser("capture", help="write what affinity needs to know of this machine into a tar.gz")
    common(capture)
    capture.add_argument("file")
    capture.set_defaults(run=capture_machine)

    pin = subparsers.add_parser(
        "pin",
        help="put a device's interrupts and a server's processes on the same CPUs",
        description="Without --dry-run the plan is applied and verified; --undo takes it back, also after a crash. "
        f"--cpus: {CPUS_HELP}.",
    )
    common(pin)
    pin.add_argument("--device", action="append", default=[], help="interface or disk; may be given several times")
    pin.add_argument("--process", help="name of a server (all its processes) or a pid")
    pin.add_argument("--pidfile", help="the server's pidfile instead of its name")
    pin.add_argument("--mi", metavar="ADDRESS", help="the server's MI, to ask it (ps) what each process does")
    cpus_arguments(pin, required=False)
    pin.add_argument("--policy", choices=("same", "siblings", "spread"), default="same")
    pin.add_argument(
        "--reuse-port", action="store_true", help="each worker has a socket of its own: spread gives each a CPU"
    )
    pin.add_argument("--no-steering", action="store_true", help="leave RPS and XPS alone")
    pin.add_argument("--no-irqbalance", action="store_true", help="do not ban the interrupts from irqbalance")
    pin.add_argument("--dry-run", action="store_true", help="only show the plan")
    pin.add_argument("--undo", action="store_true", help="take back the last plan (or --journal FILE)")
    pin.add_argument("--drift", action="store_true", help="show what has moved since the last plan (or --journal FILE)")
    pin.add_argument("--force", action="store_true", help="apply although conflicts block it")
    pin.add_argument("--journal", metavar="FILE", help="where to write what was before (default: /var/lib/sipmi)")
    pin.add_argument(
        "--watch",
        type=float,
        metavar="SECONDS",
        help="how long to watch that it holds (default: 11 if irqbalance runs)",
    )
    pin.set_defaults(run=pin_devices)


def common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--root", default="/", metavar="FOLDER", help="a captured machine (folder or tar.gz) instead of this one"
    )


def cpus_arguments(parser: argparse.ArgumentParser, *, required: bool) -> None:
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--cpus", metavar="LIST", help=CPUS_HELP)
    group.add_argument("--mask", metavar="HEX", help=MASK_HELP)


def positive(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"expected 0.05 to 3600 seconds, found {text}")
    return value


def failure(error: Exception) -> int:
    print(f"sipmi: {error}", file=sys.stderr)
    if isinstance(error, TransportError):
        return TRANSPORT
    return USAGE if isinstance(error, ValueError) else FAILED


def open_host(arguments: argparse.Namespace) -> Any:
    from sipmi.affinity import Host

    return Host(arguments.root)


def chosen_cpus(arguments: argparse.Namespace, host: Any) -> Any:
    """The CPUs that --cpus or --mask mean on this machine; None without either."""
    from sipmi.affinity import CpuSet

    topology = host.topology()
    count = max([*topology.possible, *topology.online], default=0) + 1
    if arguments.mask is not None:
        return CpuSet.from_mask(arguments.mask, count=count)
    return None if arguments.cpus is None else CpuSet(arguments.cpus, count=count)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join(lines)


def show(arguments: argparse.Namespace) -> int:
    try:
        host = open_host(arguments)
        counts = {row.irq: row.total for row in host.interrupts()}
        wanted = set(host.device(arguments.device).irqs) if arguments.device else None
        irqs = [
            irq for irq in host.irqs() if (wanted is None or irq.number in wanted) and (irq.actions or arguments.all)
        ]
    except (OSError, LookupError, ValueError) as error:
        return failure(error)

    def facts(irq: Any) -> dict[str, Any]:
        return {
            "irq": irq.number,
            "actions": irq.actions,
            "chip": irq.chip,
            "node": irq.node,
            "managed": irq.managed,
            "affinity": text(irq.affinity),
            "effective": text(irq.effective),
            "hint": text(irq.hint),
            "queue": irq.queue,
            "count": counts.get(irq.number, 0),
            "remapped": irq.remapped,
        }

    if arguments.json:
        print(json.dumps([facts(irq) for irq in irqs]))
        return OK
    rows = [
        [
            str(irq.number),
            ", ".join(irq.actions),
            irq.chip,
            "-" if irq.node is None else str(irq.node),
            text(irq.affinity) or "-",
            text(irq.effective) or "-",
            "kernel" if irq.managed else "",
            str(counts.get(irq.number, 0)),
        ]
        for irq in irqs
    ]
    print(table(["IRQ", "name", "chip", "node", "allowed", "arrives", "managed", "count"], rows))
    return OK


def text(cpus: Any) -> Optional[str]:
    return None if cpus is None else str(cpus)


def set_irq(arguments: argparse.Namespace) -> int:
    try:
        host = open_host(arguments)
        outcome = host.irq(arguments.irq).set_affinity(chosen_cpus(arguments, host))
    except (OSError, LookupError, ValueError) as error:
        return failure(error)
    print(json.dumps(outcome.to_dict()) if arguments.json else str(outcome))
    return FAILED if outcome.state == "refused" else OK


def capture_machine(arguments: argparse.Namespace) -> int:
    try:
        files = open_host(arguments).capture(arguments.file)
    except (OSError, ValueError) as error:
        return failure(error)
    print(
        json.dumps({"file": arguments.file, "files": files}) if arguments.json else f"{arguments.file}: {files} files"
    )
    return OK


def frame(rates: Sequence[dict[str, Any]], *, lines: int, width: int, when: str) -> str:
    """One picture of `irq top`: the busiest rows first, each with its busiest CPUs."""
    from sipmi.affinity import shares

    busy = sorted((rate for rate in rates if rate["rate"] > 0), key=lambda rate: (-rate["rate"], rate["label"]))
    total = sum(rate["rate"] for rate in busy)
    rows = []
    for rate in busy[: max(lines - 3, 1)]:
        per_cpu = {str(cpu): value for cpu, value in rate["per_cpu"].items() if value > 0}
        rows.append([rate["label"].rjust(5), f"{rate['rate']:10.0f}", rate["name"], shares(per_cpu)])
    head = f"{when}  {total:.0f} interrupts/s in {len(busy)} of {len(rates)} rows"
    return "\n".join(
        line[:width] for line in [head, "", *table(["IRQ".rjust(5), "per second", "name", "where"], rows).splitlines()]
    )


def watch(arguments: argparse.Namespace) -> int:
    try:
        host = open_host(arguments)
        wanted = set(host.device(arguments.device).irqs) if arguments.device else None
        before, then = host.interrupts(), time.monotonic()
        looks = 0
        live = sys.stdout.isatty() and not arguments.json
        while arguments.count is None or looks < arguments.count:
            time.sleep(arguments.interval)
            now, at = host.interrupts(), time.monotonic()
            rates = [rate for rate in now.rates(before, at - then) if wanted is None or rate["irq"] in wanted]
            before, then = now, at
            looks += 1
            if arguments.json:
                print(json.dumps([rate for rate in rates if rate["rate"] > 0]), flush=True)
                continue
            size = shutil.get_terminal_size((120, 40))
            picture = frame(rates, lines=size.lines - 1, width=size.columns, when=time.strftime("%H:%M:%S"))
            # Home, the picture line by line with the rest of each line cleared, then all below: no flicker.
            print(
                "\x1b[H" + picture.replace("\n", "\x1b[K\n") + "\x1b[K\x1b[J" if live else picture + "\n",
                end="\n",
                flush=True,
            )
    except KeyboardInterrupt:
        return OK
    except (OSError, LookupError, ValueError) as error:
        return failure(error)
    return OK


def pin_devices(arguments: argparse.Namespace) -> int:
    try:
        host = open_host(arguments)
        if arguments.undo or arguments.drift:
            return look_back(arguments, host)
        plan = host.plan(
            device=arguments.device,
            process=processes(arguments, host),
            cpus=chosen_cpus(arguments, host),
            policy=arguments.policy,
            steering=not arguments.no_steering,
            reuse_port=arguments.reuse_port,
            irqbalance=not arguments.no_irqbalance,
        )
        if arguments.dry_run:
            print(plan.to_json() if arguments.json else plan)
            return OK
        applied = plan.apply(journal=arguments.journal, watch=arguments.watch, force=arguments.force)
    except (OSError, LookupError, ValueError, MiError) as error:
        return failure(error)
    except KeyboardInterrupt:
        print("sipmi: interrupted; `sipmi pin --undo` takes back what was done", file=sys.stderr)
        return 130
    print(
        json.dumps(applied.to_dict())
        if arguments.json
        else f"{applied}\nto take it back: sipmi pin --undo --journal {applied.journal}"
    )
    return OK if applied.complete else FAILED


def processes(arguments: argparse.Namespace, host: Any) -> Any:
    if arguments.mi is not None:
        from importlib import import_module

        with import_module("sipmi").connect(arguments.mi) as mi:
            name = arguments.process if arguments.process and not arguments.process.isdigit() else None
            return host.processes(name, pidfile=arguments.pidfile, mi=mi)
    if arguments.pidfile is not None:
        return host.processes(pidfile=arguments.pidfile)
    if arguments.process is None:
        return None
    return int(arguments.process) if arguments.process.isdigit() else arguments.process


def look_back(arguments: argparse.Namespace, host: Any) -> int:
    """--undo and --drift, by the journal."""
    journal = arguments.journal
    if journal is None:
        journals = host.journals()
        if not journals:
            raise LookupError("no plan to look back at: expected a journal in /var/lib/sipmi, or --journal FILE")
        journal = journals[-1]
    if arguments.drift:
        outcomes = host.drift(journal)
        done = not outcomes
    else:
        outcomes = host.undo(journal)
        done = not os.path.exists(journal)
    if arguments.json:
        print(json.dumps({"journal": journal, "done": done, "outcomes": [outcome.to_dict() for outcome in outcomes]}))
    else:
        for outcome in outcomes:
            print(outcome)
        words = {
            (True, True): "nothing has moved",
            (True, False): "moved since",
            (False, True): "taken back",
            (False, False): "not all of it could be taken back; the journal stays",
        }
        print(f"{journal}: {words[(arguments.drift, done)]}")
    return OK if done else FAILED
