"""``sipmi events``: what a server tells without being asked, as it happens."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import InvalidParams
from .. import colour
from ..ending import OK, Failure, complain, on_one_line
from ..options import ADDRESS_HELP, add_client_options, add_http_options, add_json, at_least_one, client
from ..output import print_json
from ..servers import take_target

if TYPE_CHECKING:
    from ...events import Event


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "events",
        help="what a server tells without being asked, as it happens",
        usage="sipmi events [OPTION...] [ADDRESS] [EVENT...]",
        description="Subscribes to events of a server and prints each as it comes, until Ctrl-C.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\nEVENT is a name or a pattern: E_UL_*; all by default.",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="[ADDRESS] [EVENT...]; see below")
    parser.add_argument("--list", action="store_true", help="only list the events that there are")
    parser.add_argument(
        "--at",
        default="udp",
        metavar="SOCKET",
        help="where to receive: udp, unix, tcp, or one with its place; udp",
    )
    parser.add_argument("--advertise", metavar="SOCKET", help="what to tell the server instead, behind a NAT")
    parser.add_argument("--count", type=at_least_one, metavar="N", help="end after N events")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="end after this time")
    add_json(parser, "print a line of JSON for each event")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    words = list(options.words)
    target = take_target(words)
    with client(target, options) as mi:
        if options.list:
            return list_events(mi.call("events_list"), as_json=options.json)
        listener = mi.events(*(words or ["*"]), at=options.at, advertise=options.advertise, duration=options.duration)
        try:
            with listener:
                if sys.stderr.isatty():
                    print(f"listening at {listener.address}; Ctrl-C ends", file=sys.stderr)
                for number, event in enumerate(listener, 1):
                    show(event, as_json=options.json)
                    if number == options.count:
                        break
        except (LookupError, InvalidParams) as error:
            raise Failure(str(error), f"the events there: sipmi events {target.name} --list") from error
        finally:
            if listener.dropped:
                complain(OK, f"{listener.dropped} events were dropped: they came faster than they were printed")
    return OK


def names_of(said: Any) -> list[str]:
    """The names in what ``events_list`` says."""
    listed = said.get("Events", []) if isinstance(said, Mapping) else []
    return [str(event.get("name", "")) if isinstance(event, Mapping) else str(event) for event in listed]


def list_events(said: Any, *, as_json: bool) -> int:
    names = names_of(said)
    if as_json:
        print_json(names)
    else:
        print("\n".join(names))
    return OK


def show(event: Event, *, as_json: bool) -> None:
    """One event on one line."""
    if as_json:
        told = {"time": round(event.received, 3), "event": event.name, "params": event.params, "source": event.source}
        print_json(told)
        return
    named = event.params.items() if isinstance(event.params, dict) else (("", value) for value in event.params)
    clock, name = time.strftime("%H:%M:%S", time.localtime(event.received)), event.name
    params = [(key, on_one_line(str(value))) for key, value in named]
    if colour.is_wanted(sys.stdout):
        name = colour.paint(name, colour.BOLD)
        words = [colour.paint(key, colour.BLUE) + f"={value}" if key else value for key, value in params]
    else:
        words = [f"{key}={value}" if key else value for key, value in params]
    print(clock, name, *words, sep="  ", flush=True)
