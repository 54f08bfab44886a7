"""Shared parts of `sipmi irq` and `sipmi pin`: the machine, its CPUs, and its errors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Optional

from ...errors import MiError
from ..ending import USAGE, Failure

if TYPE_CHECKING:
    from ...affinity import CpuSet, Host

CPUS_HELP = (
    "CPUs as a list: 0-3,8 (3 is CPU 3). Beware: taskset without -c reads a mask, where 3 is CPUs 0 and 1; "
    "that is --mask 3 here"
)
MASK_HELP = "CPUs as a hexadecimal mask without 0x: ff,00000001 (3 is CPUs 0 and 1, as in taskset)"


def cpus_help() -> str:
    return f"--cpus: {CPUS_HELP}."


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--root", default="/", metavar="FOLDER", help="a captured machine (folder or tar.gz) instead of this one"
    )


def add_cpu_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--cpus", metavar="LIST", help=CPUS_HELP)
    group.add_argument("--mask", metavar="HEX", help=MASK_HELP)


def seconds(text: str) -> float:
    """Of an interval, as argparse's ``type``."""
    value = float(text)
    if not 0.05 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"expected 0.05 to 3600 seconds, found {text}")
    return value


@contextmanager
def no_traceback() -> Iterator[None]:
    """Turn a refusal of the machine, or a missing part, into a failure with a message."""
    try:
        yield
    except MiError:
        raise
    except (OSError, LookupError) as error:
        raise Failure(str(error)) from error
    except ValueError as error:
        raise Failure(str(error), code=USAGE) from error


def open_host(options: argparse.Namespace) -> Host:
    from ...affinity import Host

    return Host(options.root)


def chosen_cpus(options: argparse.Namespace, host: Host) -> Optional[CpuSet]:
    """The CPUs that --cpus or --mask mean on this machine; None without either."""
    from ...affinity import CpuSet

    topology = host.topology()
    count = max([*topology.possible, *topology.online], default=0) + 1
    if options.mask is not None:
        return CpuSet.from_mask(options.mask, count=count)
    return None if options.cpus is None else CpuSet(options.cpus, count=count)
