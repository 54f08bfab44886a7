"""``sipmi fleet``: call a command on many servers at once, or in batches."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from ...errors import MiError
from .. import colour
from ..arguments import read_arguments, with_stdin
from ..confirm import confirm
from ..ending import ERROR_ANSWER, OK, Usage, exit_code, on_one_line
from ..options import add_json, add_yes, client_options
from ..output import print_json, table
from ..servers import config_path, read_servers

if TYPE_CHECKING:
    from ...fleet import Fleet, FleetResult, NodeResult

#: A value with more members than this is shown below its server, and not beside the others.
WIDEST = 6


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "fleet",
        help="call a command on many servers at once, or in batches",
        usage="sipmi fleet [OPTION...] COMMAND [ARG...]",
        description="Calls a command on all servers of sipmi.toml, or of a file of a fleet, at the same time.\n"
        "With --batch it is a rollout: N servers at a time, and the next ones only if these succeed.",
        epilog="COMMAND and ARG are those of `sipmi call`. Without COMMAND, the servers are listed.",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="COMMAND [ARG...]; see below")
    parser.add_argument("--file", metavar="FILE", help="a fleet in TOML, YAML or JSON, in place of sipmi.toml")
    parser.add_argument(
        "--on",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only servers with such a name: edge*",
    )
    parser.add_argument("--tag", action="append", default=[], help="only servers with this tag; once or more: with all")
    parser.add_argument(
        "--batch", type=share, metavar="N", help="a rollout: N servers at a time, or a part of them: 0.1"
    )
    parser.add_argument("--check", metavar="COMMAND", help="(rollout) what has to succeed after each batch")
    parser.add_argument("--pause", type=float, metavar="SECONDS", help="(rollout) between batches; 0")
    parser.add_argument("--quorum", type=share, metavar="N", help="how many have to succeed, or which part: 0.5; all")
    parser.add_argument(
        "--unclear",
        choices=("failed", "ok"),
        help="how the answer of a server counts that says neither success nor failure; failed",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show who would be asked, and in which order")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="for all of them, or for each batch; 5")
    add_yes(parser)
    add_json(parser, "print a line of JSON: what each server gave, by name")
    parser.set_defaults(run=run)


def share(text: str) -> Union[int, float]:
    """Read a number of servers, or a part of them (argparse's ``type``)."""
    value = float(text)
    if value.is_integer() and value >= 1:
        return int(value)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, or a part between 0 and 1, found {text}")
    return value


def run(options: argparse.Namespace) -> int:
    with open_fleet(options) as fleet:
        if not len(fleet):
            raise Usage("no server is meant", f"there are: {', '.join(read_servers().targets) or 'none'}")
        if not options.words:
            return list_servers(fleet, as_json=options.json)
        command, *arguments = options.words
        positional, named = read_arguments(command, with_stdin(arguments))
        if "timeout" in named:
            raise Usage("a fleet is called without a parameter called timeout", "--timeout is how long to wait")
        if not options.dry_run:
            confirm(command, f"{len(fleet)} servers", yes=options.yes)
        is_watched = sys.stderr.isatty() and not options.json
        asked = fleet.with_options(**policy(options), progress=is_watched)
        result = asked.call(command, *positional, **named)
    if options.json:
        print_json(as_json(result))
    else:
        show(result)
    return code_of(result)


def open_fleet(options: argparse.Namespace) -> Fleet:
    """The servers that are meant."""
    from ...fleet import Fleet

    if options.file is not None:
        try:
            fleet = Fleet.from_file(options.file)
        except (OSError, ImportError) as error:
            raise Usage(str(error)) from error
    else:
        targets = read_servers().targets
        if not targets:
            raise Usage("no servers are known", f"name them in {config_path()}, or give --file")
        bare = argparse.Namespace()
        nodes: dict[str, dict[str, Any]] = {}
        for name, target in targets.items():
            said = {**client_options(target, bare), "tags": target.tags}
            del said["timeout"]  # theirs is one for all
            nodes[name] = {"address": target.address, **said}
        fleet = Fleet(nodes)
    return fleet.select(*options.on, tag=options.tag)


def policy(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the call that the command line gives."""
    said = {name: getattr(options, name) for name in ("batch", "check", "pause", "quorum", "unclear", "timeout")}
    return {**{name: value for name, value in said.items() if value is not None}, "dry_run": options.dry_run}


def list_servers(fleet: Fleet, *, as_json: bool) -> int:
    if as_json:
        print_json({name: {"address": node.address, "tags": list(node.tags)} for name, node in fleet.nodes.items()})
        return OK
    print(table(["NAME", "ADDRESS", "TAGS"], [[n.name, n.address, ", ".join(n.tags)] for n in fleet.nodes.values()]))
    return OK


def as_json(result: FleetResult) -> dict[str, Any]:
    """A result as JSON has it."""
    if result.is_dry:
        return {"command": result.command, "batches": result.batches}
    nodes = {
        node.name: {
            "ok": None if node.unclear else node.ok,
            "value": node.value,
            "error": None if node.error is None else str(node.error),
            "elapsed": round(node.elapsed, 6),
        }
        for node in result
    }
    nobody = {"ok": False, "value": None, "elapsed": None}
    skipped = {name: {**nobody, "error": why} for name, why in result.skipped.items()}
    return {"command": result.command, "ok": bool(result), "nodes": {**nodes, **skipped}}


def code_of(result: FleetResult) -> int:
    """0 when enough have succeeded; what all failures have in common, or 1, also when an answer is unclear."""
    if result:
        return OK
    codes = {exit_code(error) if isinstance(error, MiError) else ERROR_ANSWER for error in result.failed.values()}
    return codes.pop() if len(codes) == 1 and not result.ok and not result.unclear else ERROR_ANSWER


# -- for people -----------------------------------------------------------------------------------


def show(result: FleetResult) -> None:
    """A table where values are small and alike, else one server below the other; then who failed."""
    if result.is_dry:
        print(result)
        return
    from ...fleet import UNCLEAR

    painted = colour.is_wanted(sys.stdout)
    answered = [node for node in result if node.ok]
    columns = _columns([node.value for node in answered])
    if columns is not None and answered:
        print(table(["NODE", *columns, "TIME"], [_row(node, columns) for node in answered]))
    for node in answered if columns is None else []:
        head = f"{node.name}  {_took(node)}"
        print(colour.paint(head, colour.BOLD) if painted else head)
        print(_spread(node.value, painted))
    unclear = dict.fromkeys(result.unclear, UNCLEAR)
    failed = {name: str(error) for name, error in result.failed.items()}
    for name, why in {**unclear, **failed, **result.skipped}.items():
        where = colour.paint(name, colour.BOLD, colour.RED) if painted else name
        print(f"{where}  {on_one_line(why)}")
    counts = [f"{len(result.ok)} of {len(result)} succeeded", f"{result.elapsed:.2f} s"]
    if result.unclear:
        counts.insert(1, f"{len(result.unclear)} unclear")
    line = ", ".join(counts)
    sys.stdout.flush()  # a pipe keeps what standard error would overtake
    print(colour.paint(line, colour.GREEN if result else colour.RED) if painted else line, file=sys.stderr)


def _columns(values: Sequence[Any]) -> Optional[list[str]]:
    """The members that all values have, where they are few and flat; one column for values that are words."""
    if all(not isinstance(value, (Mapping, list)) for value in values):
        return ["VALUE"]
    if not all(isinstance(value, Mapping) for value in values):
        return None
    names = list(dict.fromkeys(name for value in values for name in value))
    flat = all(not isinstance(member, (Mapping, list)) for value in values for member in value.values())
    return names if flat and len(names) <= WIDEST else None


def _row(node: NodeResult, columns: Sequence[str]) -> list[str]:
    cells = [node.value.get(name, "") for name in columns] if isinstance(node.value, Mapping) else [node.value]
    return [node.name, *(on_one_line(str(cell)) for cell in cells), _took(node)]


def _took(node: NodeResult) -> str:
    return f"{node.elapsed * 1000:.1f} ms"


def _spread(value: Any, painted: bool) -> str:
    import json

    text = json.dumps(value, indent=2)
    return colour.paint_json(text) if painted else text
