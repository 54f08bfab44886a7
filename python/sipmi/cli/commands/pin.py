"""``sipmi pin``: put a device's interrupts and a server's processes on the same CPUs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..ending import ERROR_ANSWER, INTERRUPTED, OK, complain
from ..output import print_json
from ._journals import look_back
from ._machine import add_cpu_options, add_machine_options, chosen_cpus, cpus_help, no_traceback, open_host

if TYPE_CHECKING:
    from ...affinity import Host, Processes


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "pin",
        help="put a device's interrupts and a server's processes on the same CPUs",
        description="Without --dry-run the plan is applied and verified; --undo takes it back, also after a crash. "
        + cpus_help(),
    )
    add_machine_options(parser)
    parser.add_argument("--device", action="append", default=[], help="interface or disk; may be given several times")
    parser.add_argument("--process", help="name of a server (all its processes) or a pid")
    parser.add_argument("--pidfile", help="the server's pidfile instead of its name")
    parser.add_argument("--mi", metavar="ADDRESS", help="the server's MI, to ask it (ps) what each process does")
    add_cpu_options(parser, required=False)
    parser.add_argument(
        "--policy", choices=("same", "siblings", "spread"), default="same", help="where each goes within the CPUs; same"
    )
    parser.add_argument(
        "--reuse-port", action="store_true", help="each worker has a socket of its own: spread gives each a CPU"
    )
    parser.add_argument("--no-steering", action="store_true", help="leave RPS and XPS alone")
    parser.add_argument("--no-irqbalance", action="store_true", help="do not ban the interrupts from irqbalance")
    parser.add_argument("--dry-run", action="store_true", help="only show the plan")
    parser.add_argument("--list", action="store_true", help="list the applied plans, oldest first")
    parser.add_argument("--undo", action="store_true", help="take back the last plan (or --journal FILE)")
    parser.add_argument(
        "--drift", action="store_true", help="show what has moved since, of all plans (or --journal FILE)"
    )
    parser.add_argument("--fix", action="store_true", help="apply again what has moved since")
    parser.add_argument("--forget", action="store_true", help="remove the journal of --journal FILE, undo nothing")
    parser.add_argument("--force", action="store_true", help="apply although conflicts block it")
    parser.add_argument("--journal", metavar="FILE", help="where to write what was before (default: /var/lib/sipmi)")
    parser.add_argument(
        "--watch",
        type=float,
        metavar="SECONDS",
        help="how long to watch that it holds (default: 11 if irqbalance runs)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with no_traceback():
        host = open_host(options)
        if options.list or options.undo or options.drift or options.fix or options.forget:
            return look_back(options, host)
        plan = host.plan(
            device=options.device,
            process=processes(options, host),
            cpus=chosen_cpus(options, host),
            policy=options.policy,
            steering=not options.no_steering,
            reuse_port=options.reuse_port,
            irqbalance=not options.no_irqbalance,
        )
        if options.dry_run:
            print(plan.to_json() if options.json else plan)
            return OK
        try:
            applied = plan.apply(journal=options.journal, watch=options.watch, force=options.force)
        except KeyboardInterrupt:
            return complain(INTERRUPTED, "interrupted", "sipmi pin --undo takes back what was done")
    if options.json:
        print_json(applied.to_dict())
    else:
        print(f"{applied}\nto take it back: sipmi pin --undo --journal {applied.journal}")
    return OK if applied.complete else ERROR_ANSWER


def processes(options: argparse.Namespace, host: Host) -> Processes | None:
    if options.mi is not None:
        from ...client import connect

        with connect(options.mi) as mi:
            name = options.process if options.process and not options.process.isdigit() else None
            return host.processes(name, pidfile=options.pidfile, mi=mi)
    if options.pidfile is not None:
        return host.processes(pidfile=options.pidfile)
    if options.process is None:
        return None
    return int(options.process) if options.process.isdigit() else str(options.process)
