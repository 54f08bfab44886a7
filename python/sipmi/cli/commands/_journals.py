"""The plans that `sipmi pin` applied, by their journals: listed, compared, applied again, undone, forgotten."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Optional

from ..ending import ERROR_ANSWER, OK, USAGE, Failure
from ..output import print_json

if TYPE_CHECKING:
    from ...affinity import Applied, Host, Outcome


def look_back(options: argparse.Namespace, host: Host) -> int:
    """Run --list, --drift, --fix, --undo or --forget."""
    journals = host.journals() if options.journal is None else [options.journal]
    if options.list:
        return show_list(options, host, journals)
    if options.forget is not None:
        return forget(options, host)
    if not journals:
        raise Failure("no plan to look back at", "it is in /var/lib/sipmi, or where --journal FILE says")
    if options.undo:
        return undo(options, host, journals)
    return fix(options, host, journals) if options.fix else drift(options, host, journals)


def show_list(options: argparse.Namespace, host: Host, journals: list[str]) -> int:
    names = {pin["journal"]: pin["name"] for pin in host.pins()}
    records = [{"journal": journal, "name": names.get(journal), **host.journal(journal)} for journal in journals]
    waiting = [pin for pin in host.pins() if pin["journal"] not in journals]
    if options.json:
        print_json([*records, *({"journal": None, **pin} for pin in waiting)])
        return OK
    for record in records:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["time"]))
        print(f"{record['journal']}\n  applied {when}: {described(record['request'])}{remark(record)}")
        for change in record["changes"]:
            print(f"  {change}")
    for pin in waiting:
        print(f"{pin['name']}\n  lasting, not applied now: {described(pin['request'])}")
    if not records and not waiting:
        print("no plan is applied")
    return OK


def described(request: Optional[dict[str, Any]]) -> str:
    """Return a request in the words of the command line."""
    if request is None:
        return "by an earlier version, which kept no request"
    named = [f"--device {device}" for device in request["devices"]]
    named += [f"--process {next(iter(found.values()))}" for found in request["processes"]]
    return " ".join([*named, f"--cpus {request['cpus']}", f"--policy {request['policy']}"])


def remark(record: dict[str, Any]) -> str:
    remarks = [] if record["name"] is None else [f"lasting, as {record['name']}"]
    if record["rebooted"]:
        remarks.append("the machine has been started anew since: only files are still changed")
    if record["torn"]:
        remarks.append(f"{record['torn']} lines of the journal are torn")
    return "".join(f"; {each}" for each in remarks)


def forget(options: argparse.Namespace, host: Host) -> int:
    if options.forget:
        return forget_pin(options, host)
    if options.journal is None:
        raise Failure("--forget needs a NAME or --journal FILE", "sipmi pin --list shows them", code=USAGE)
    host.forget(options.journal)
    print_json({"journal": options.journal, "done": True}) if options.json else print(f"{options.journal}: forgotten")
    return OK


def forget_pin(options: argparse.Namespace, host: Host) -> int:
    """End a lasting plan."""
    [journal] = [pin["journal"] for pin in host.pins() if pin["name"] == options.forget] or [None]
    stay = host.forget_pin(options.forget)
    if options.json:
        print_json({"name": options.forget, "done": not stay, "changed_since": stay})
        return ERROR_ANSWER if stay else OK
    for path in stay:
        print(f"{path}: changed since it was written, left there")
    print(f"{options.forget}: not applied again; to take back what is applied: sipmi pin --undo --journal {journal}")
    return ERROR_ANSWER if stay else OK


def drift(options: argparse.Namespace, host: Host, journals: list[str]) -> int:
    """Compare all plans, or the one of --journal."""
    looks = [look(host, journal, strict=options.journal is not None) for journal in journals]
    return report(options, looks, done="nothing has moved", not_done="moved since")


def look(host: Host, journal: str, *, strict: bool) -> Look:
    try:
        outcomes = host.drift(journal)
    except ValueError as error:
        if strict:
            raise
        # An old journal does not hide the drift of the others.
        return Look(journal, [], done=True, remark=str(error))
    return Look(journal, outcomes, done=not outcomes)


def fix(options: argparse.Namespace, host: Host, journals: list[str]) -> int:
    """Apply again what has drifted, of all plans or the one of --journal."""
    looks = []
    for journal in journals:
        before = look(host, journal, strict=options.journal is not None)
        if before.done:
            looks.append(before)
        else:
            looks.append(applied_again(host.apply_again(journal)))
    return report(options, looks, done="as planned", not_done="not all of it could be applied again")


def applied_again(applied: Applied) -> Look:
    outcomes = [outcome for item in applied.report for outcome in item["outcomes"]]
    lines = [f"{outcome['subject']}: {outcome['state']} {outcome['detail']}".rstrip() for outcome in outcomes]
    return Look(applied.journal, outcomes, done=applied.complete, lines=lines)


def undo(options: argparse.Namespace, host: Host, journals: list[str]) -> int:
    """Undo the last plan. One that cannot be undone stays, and does not keep an older one from it."""
    looks = []
    for journal in reversed(journals):
        outcomes = host.undo(journal)
        looks.append(Look(journal, outcomes, done=not os.path.exists(journal)))
        if looks[-1].done:
            break
    return report(options, looks, done="taken back", not_done="not all of it could be taken back; the journal stays")


class Look:
    """The result of looking at one journal."""

    def __init__(
        self,
        journal: str,
        outcomes: Iterable[Outcome | dict[str, Any]],
        *,
        done: bool,
        remark: str = "",
        lines: Optional[list[str]] = None,
    ) -> None:
        outcomes = list(outcomes)
        self.journal, self.done, self.remark = journal, done, remark
        self.outcomes = [outcome if isinstance(outcome, dict) else outcome.to_dict() for outcome in outcomes]
        self.lines = [str(outcome) for outcome in outcomes] if lines is None else lines

    def to_dict(self) -> dict[str, Any]:
        return {"journal": self.journal, "done": self.done, "remark": self.remark, "outcomes": self.outcomes}


def report(options: argparse.Namespace, looks: list[Look], *, done: str, not_done: str) -> int:
    is_done = all(look.done for look in looks)
    if options.json:
        outcomes = [outcome for look in looks for outcome in look.outcomes]
        each = [look.to_dict() for look in looks]
        print_json({"journal": looks[0].journal, "done": is_done, "outcomes": outcomes, "journals": each})
        return OK if is_done else ERROR_ANSWER
    for look in looks:
        for line in look.lines:
            print(line)
        print(f"{look.journal}: {look.remark or (done if look.done else not_done)}")
    return OK if is_done else ERROR_ANSWER
