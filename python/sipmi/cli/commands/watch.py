"""``sipmi watch``: statistics line by line, as vmstat shows them."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...display import amount, rate
from .. import colour
from ..ending import ERROR_ANSWER, OK, Usage, complain, exit_code
from ..options import ADDRESS_HELP, add_client_options, add_http_options, add_json, client
from ..output import print_json
from ..servers import take_target

if TYPE_CHECKING:
    from ...statistics import Sample, Value


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "watch",
        help="statistics line by line, as they change",
        usage="sipmi watch [OPTION...] [ADDRESS] STATISTIC...",
        description="Prints statistics again and again: counters as rates per second, others as they are.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\nSTATISTIC is a group (core:) or one of its statistics (core:rcv_requests).",
    )
    parser.add_argument("words", nargs="+", metavar="WORD", help="[ADDRESS] STATISTIC...; see below")
    add_interval(parser)
    add_json(parser, "print a line of JSON each time")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def add_interval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between two readings; 1")
    parser.add_argument("--count", type=int, metavar="N", help="end after N readings; until Ctrl-C")


def run(options: argparse.Namespace) -> int:
    words = list(options.words)
    target = take_target(words)
    if not words:
        raise Usage("expected statistics after the address", "core: is a group, core:rcv_requests a statistic of it")
    code = OK
    with client(target, options) as mi:
        lines, absent = Lines(), Absent()
        for sample in mi.watch(words, interval=options.interval, count=options.count):
            code = OK if sample.error is None else exit_code(sample.error)
            absent.tell(sample)
            if options.json:
                print_json(sample_value(sample))
            elif sample.error is not None:
                complain(code, str(sample.error))
            else:
                for line in lines.of(sample):
                    print(line, flush=True)
    return code


def sample_value(sample: Sample) -> dict[str, Any]:
    """A sample as JSON has it."""
    return {
        "time": round(sample.time, 3),
        "address": sample.address,
        "values": {name: int(value) for name, value in sample.items()},
        "rates": {name: round(value, 3) for name, value in sample.rates.items()},
        "restarted": sample.change is not None and sample.change.restarted,
        "error": None if sample.error is None else str(sample.error),
    }


class Absent:
    """Tells on standard error, once, which of the wanted statistics the server does not have."""

    def __init__(self) -> None:
        self._told: tuple[str, ...] = ()

    def tell(self, sample: Sample) -> None:
        if sample.error is None and sample.missing != self._told:
            self._told = sample.missing
            if sample.missing:
                missing = ", ".join(sample.missing)
                complain(ERROR_ANSWER, f"{sample.address}: get_statistics: no such statistics: {missing}")


class Lines:
    """Samples as lines of a table; its head comes again before it has left the screen."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._since_head = 0

    def of(self, sample: Sample) -> Iterator[str]:
        size = shutil.get_terminal_size((120, 24))
        names = list(sample)
        widths = [max(len(name), 10) for name in names]
        if 8 + sum(width + 2 for width in widths) > size.columns and len(names) > 1:
            yield from self._changed(sample)
            return
        if names != self._names or self._since_head >= size.lines - 2:
            self._names, self._since_head = names, 0
            head = "    time" + "".join(f"  {name:>{width}}" for name, width in zip(names, widths))
            yield colour.paint(head, colour.BOLD) if colour.is_wanted(sys.stdout) else head
        self._since_head += 1
        cells = (f"  {_cell(sample, value):>{width}}" for value, width in zip(sample.values(), widths))
        yield _clock(sample) + "".join(cells)

    def _changed(self, sample: Sample) -> Iterator[str]:
        """Print a line for each changed value, where a row does not fit."""
        changes = sample.change or dict.fromkeys(sample, 1)
        width = max(map(len, sample))
        for name, value in sample.items():
            if changes.get(name):
                yield f"{_clock(sample)}  {name:<{width}}  {_cell(sample, value):>12}"


def _clock(sample: Sample) -> str:
    return time.strftime("%H:%M:%S", time.localtime(sample.time))


def _cell(sample: Sample, value: Value) -> str:
    """Return a counter as a rate per second, as soon as it is known."""
    if value.name in sample.rates:
        return f"{rate(sample.rates[value.name], value.unit)}/s"
    return amount(value, value.unit)
