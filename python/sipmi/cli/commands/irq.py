"""``sipmi irq``: interrupts: show, watch, check and move them, capture a machine."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..ending import ERROR_ANSWER, OK
from ..options import at_least_one
from ..output import print_json, table
from ._machine import add_cpu_options, add_machine_options, chosen_cpus, cpus_help, no_traceback, open_host, seconds


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "irq",
        help="interrupts: show, watch, check and move them, capture a machine",
        description="Shows this machine's interrupts with their devices and CPUs, watches them, moves them.",
    )
    parser.set_defaults(run=show, device=None, root="/", json=False, all=False)
    actions = parser.add_subparsers(dest="irq_command", metavar="show|top|check|set|capture")

    shown = actions.add_parser(
        "show",
        help="interrupts with their devices and CPUs",
        description="Shows interrupts with their devices, where they may arrive and where they do.",
    )
    add_machine_options(shown)
    shown.add_argument("--device", help="only those of this interface or disk")
    shown.add_argument("--all", action="store_true", help="also those that nothing asked for")
    shown.set_defaults(run=show)

    top = actions.add_parser(
        "top",
        help="the busiest interrupts, live",
        description="Shows the busiest interrupts per second and where they arrive, until Ctrl-C.",
    )
    add_machine_options(top)
    top.add_argument("--device", help="only those of this interface or disk")
    top.add_argument("--interval", type=seconds, default=1.0, metavar="SECONDS", help="between two looks; 1")
    top.add_argument("--count", type=at_least_one, metavar="N", help="end after N looks; until Ctrl-C")
    top.set_defaults(run=watch)

    checked = actions.add_parser(
        "check",
        help="what is wrong on this machine, with remedies",
        description="Lists what is wrong with this machine's interrupts without any plan, each with its remedy: all "
        "queues on one CPU, another node's CPUs, isolated CPUs that take interrupts, RPS that only costs, plans that "
        "do not hold, irqbalance, lost packets. Exit code 1 if there is more than lost packets.",
    )
    add_machine_options(checked)
    checked.set_defaults(run=check)

    move = actions.add_parser("set", help="move one interrupt", description=f"Moves one interrupt. {cpus_help()}")
    add_machine_options(move)
    move.add_argument("irq", type=int, help="its number")
    add_cpu_options(move, required=True)
    move.set_defaults(run=set_irq)

    capture = actions.add_parser(
        "capture",
        help="write what affinity needs to know of this machine into a tar.gz",
        description="Writes what affinity needs to know of this machine into a tar.gz, which --root takes.",
    )
    add_machine_options(capture)
    capture.add_argument("file", help="machine.tar.gz")
    capture.set_defaults(run=capture_machine)


def show(options: argparse.Namespace) -> int:
    with no_traceback():
        host = open_host(options)
        counts = {row.irq: row.total for row in host.interrupts()}
        wanted = set(host.device(options.device).irqs) if options.device else None
        irqs = [irq for irq in host.irqs() if (wanted is None or irq.number in wanted) and (irq.actions or options.all)]
        devices = host.devices_by_irq()
        facts = [_facts(irq, counts.get(irq.number, 0), devices.get(irq.number, [])) for irq in irqs]
    if options.json:
        print_json(facts)
        return OK
    rows = [
        [
            str(fact["irq"]),
            ", ".join(fact["actions"]),
            ", ".join(fact["devices"]),
            fact["chip"],
            "-" if fact["node"] is None else str(fact["node"]),
            fact["affinity"] or "-",
            fact["effective"] or "-",
            "kernel" if fact["managed"] else "",
            str(fact["count"]),
        ]
        for fact in facts
    ]
    print(table(["IRQ", "name", "device", "chip", "node", "allowed", "arrives", "managed", "count"], rows))
    return OK


def _facts(irq: Any, count: int, devices: list[str]) -> dict[str, Any]:
    return {
        "irq": irq.number,
        "actions": irq.actions,
        "devices": devices,
        "chip": irq.chip,
        "node": irq.node,
        "managed": irq.managed,
        "affinity": _text(irq.affinity),
        "effective": _text(irq.effective),
        "hint": _text(irq.hint),
        "queue": irq.queue,
        "count": count,
        "remapped": irq.remapped,
    }


def _text(cpus: Any) -> Optional[str]:
    return None if cpus is None else str(cpus)


def set_irq(options: argparse.Namespace) -> int:
    with no_traceback():
        host = open_host(options)
        cpus = chosen_cpus(options, host)
        assert cpus is not None, "argparse wants one of --cpus and --mask"
        outcome = host.irq(options.irq).set_affinity(cpus)
    if options.json:
        print_json(outcome.to_dict())
    else:
        print(outcome)
    return ERROR_ANSWER if outcome.state == "refused" else OK


def check(options: argparse.Namespace) -> int:
    with no_traceback():
        findings = open_host(options).check()
    # Packets that were lost since the start are told of, and stay lost.
    code = ERROR_ANSWER if any(finding["what"] != "drops" for finding in findings) else OK
    if options.json:
        print_json(findings)
        return code
    for finding in findings:
        print(f"{finding['what']}: {finding['detail']}\n  remedy: {finding['remedy']}")
    if not findings:
        print("nothing is wrong")
    return code


def capture_machine(options: argparse.Namespace) -> int:
    with no_traceback():
        files = open_host(options).capture(options.file)
    if options.json:
        print_json({"file": options.file, "files": files})
    else:
        print(f"{options.file}: {files} files")
    return OK


def frame(rates: Sequence[Mapping[str, Any]], *, lines: int, width: int, when: str) -> str:
    """One picture of `irq top`: the busiest rows first, each with its busiest CPUs."""
    from ...affinity import shares

    busy = sorted((rate for rate in rates if rate["rate"] > 0), key=lambda rate: (-rate["rate"], rate["label"]))
    total = sum(rate["rate"] for rate in busy)
    rows = []
    for rate in busy[: max(lines - 3, 1)]:
        per_cpu = {str(cpu): value for cpu, value in rate["per_cpu"].items() if value > 0}
        rows.append([rate["label"].rjust(5), f"{rate['rate']:10.0f}", rate["name"], shares(per_cpu)])
    head = f"{when}  {total:.0f} interrupts/s in {len(busy)} of {len(rates)} rows"
    body = table(["IRQ".rjust(5), "per second", "name", "where"], rows).splitlines()
    return "\n".join(line[:width] for line in [head, "", *body])


def watch(options: argparse.Namespace) -> int:
    with no_traceback():
        host = open_host(options)
        wanted = set(host.device(options.device).irqs) if options.device else None
        before, then = host.interrupts(), time.monotonic()
        looks = 0
        while options.count is None or looks < options.count:
            time.sleep(options.interval)
            now, at = host.interrupts(), time.monotonic()
            rates = [rate for rate in now.rates(before, at - then) if wanted is None or rate["irq"] in wanted]
            before, then = now, at
            looks += 1
            if options.json:
                print_json([rate for rate in rates if rate["rate"] > 0])
            else:
                _draw(rates)
    return OK


def _draw(rates: Sequence[Mapping[str, Any]]) -> None:
    size = shutil.get_terminal_size((120, 40))
    picture = frame(rates, lines=size.lines - 1, width=size.columns, when=time.strftime("%H:%M:%S"))
    if sys.stdout.isatty():
        # Home, the picture line by line with the rest of each line cleared, then all below: no flicker.
        picture = "\x1b[H" + picture.replace("\n", "\x1b[K\n") + "\x1b[K\x1b[J"
    print(picture, flush=True)
