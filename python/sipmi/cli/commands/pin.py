"""``sipmi pin``: put a device's interrupts and a server's processes on the same CPUs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..ending import ERROR_ANSWER, INTERRUPTED, OK, complain
from ..output import print_json
from ._journals import look_back
from ._machine import add_cpu_options, add_machine_options, chosen_cpus, cpus_help, no_traceback, open_host

if TYPE_CHECKING:
    from ...affinity import Applied, Host, HostProcess


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "pin",
        help="put a device's interrupts and a server's processes on the same CPUs",
        description="Without --dry-run the plan is applied and verified; --undo takes it back, also after a crash. "
        + cpus_help(),
    )
    add_machine_options(parser)
    parser.add_argument("--device", action="append", default=[], help="interface or disk; may be given several times")
    parser.add_argument(
        "--process",
        action="append",
        default=[],
        metavar="NAME",
        help="name of a server (all its processes) or a pid; NAME/THREADS for its threads of that name (poller*); "
        "may be given several times",
    )
    parser.add_argument("--pidfile", help="the server's pidfile instead of its name")
    parser.add_argument("--mi", metavar="ADDRESS", help="the server's MI, to ask it (ps) what each process does")
    add_cpu_options(parser, required=False)
    parser.add_argument(
        "--policy",
        choices=("auto", "same", "siblings", "spread"),
        default="auto",
        help="where each goes within the CPUs (default: auto, each of several queues on a CPU of its own)",
    )
    parser.add_argument(
        "--reuse-port", action="store_true", help="each worker has a socket of its own: spread gives each a CPU"
    )
    parser.add_argument("--no-steering", action="store_true", help="leave RPS and XPS alone")
    parser.add_argument("--no-irqbalance", action="store_true", help="do not ban the interrupts from irqbalance")
    parser.add_argument("--dry-run", action="store_true", help="only show the plan")
    parser.add_argument(
        "--persist",
        metavar="NAME",
        help="apply the plan again at boot, when a device appears and when the server starts (systemd, udev)",
    )
    parser.add_argument("--reapply", metavar="NAME", help="apply the lasting plan NAME again, as its unit does")
    parser.add_argument(
        "--list", action="store_true", help="list the applied plans, oldest first, and the lasting ones"
    )
    parser.add_argument("--undo", action="store_true", help="take back the last plan (or --journal FILE)")
    parser.add_argument(
        "--drift", action="store_true", help="show what has moved since, of all plans (or --journal FILE)"
    )
    parser.add_argument("--fix", action="store_true", help="apply again what has moved since")
    parser.add_argument(
        "--forget",
        metavar="NAME",
        nargs="?",
        const="",
        help="remove the lasting plan NAME and its files, or the journal of --journal FILE; undo nothing",
    )
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
        if options.reapply is not None:
            return finish(options, host.reapply(options.reapply))
        if options.list or options.undo or options.drift or options.fix or options.forget is not None:
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
            if options.persist is not None and not options.json:
                show_files(plan.files_to_persist(options.persist))
            return OK
        files = {} if options.persist is None else plan.files_to_persist(options.persist)
        if not options.json:
            show_files(files)
        try:
            applied = plan.apply(journal=options.journal, watch=options.watch, force=options.force)
        except KeyboardInterrupt:
            return complain(INTERRUPTED, "interrupted", "sipmi pin --undo takes back what was done")
        if options.persist is not None:
            applied.persist(options.persist)
    return finish(options, applied)


def finish(options: argparse.Namespace, applied: Applied) -> int:
    """Report a plan that has been applied."""
    if options.json:
        print_json(applied.to_dict())
    else:
        print(f"{applied}\nto take it back: sipmi pin --undo --journal {applied.journal}")
    if options.persist is not None and not options.json:
        print(f"it is applied again at each start; to end that: sipmi pin --forget {options.persist}")
    return OK if applied.complete else ERROR_ANSWER


def show_files(files: dict[str, str]) -> None:
    """Show files before they are written."""
    for path, content in files.items():
        print(f"{path}:\n" + "".join(f"    {line}\n" for line in content.splitlines()))


def processes(options: argparse.Namespace, host: Host) -> list[HostProcess]:
    """Return the processes that --process, --pidfile and --mi name."""
    roles = asked_roles(options.mi) if options.mi is not None else {}
    found = [] if options.pidfile is None else host.processes(pidfile=options.pidfile, roles=roles or None)
    for word in options.process:
        name, _, threads = word.partition("/")
        if name.isdigit():
            found.append(host.process(int(name)))
        else:
            found += host.processes(name, roles=roles or None, threads=threads or None)
    return found if found or not roles else host.processes(roles=roles)


def asked_roles(address: str) -> dict[int, str]:
    """Ask a server by its MI (`ps`) what each of its processes does."""
    from ...affinity import roles_of
    from ...client import connect

    with connect(address) as mi:
        return roles_of(mi.call("ps"))
