"""The page of shapes: what our client makes of each command of the table, as every version answered it on every wire.

``python tools/shapes.py`` writes `docs/shapes.md`; `tests/client/test_shapes.py` checks that it is current.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import sipmi
from replay import Recorded, outcome

PAGE = Path(__file__).parent.parent / "docs" / "shapes.md"

#: The recordings, each of one version on one wire.
RECORDINGS = [
    "1.11-fifo", "1.11-datagram-udp", "1.11-datagram-unix", "1.11-json", "1.11-xmlrpc-ro0", "1.11-xmlrpc_ng",
    "2.4-fifo", "2.4-datagram-udp", "2.4-datagram-unix", "2.4-json", "2.4-xmlrpc_ng", "2.4-xmlrpc_ng-v1",
    "3.4-fifo", "3.4-datagram-udp", "3.4-datagram-unix", "3.4-http", "3.4-xmlrpc",
    "4.0-fifo", "4.0-datagram-udp", "4.0-datagram-unix", "4.0-http", "4.0-xmlrpc",
]  # fmt: skip

#: The commands, and the cases that ask for each; of several the first that a recording has.
ASKED = {
    "version": "version",
    "uptime": "uptime",
    "pwd": "pwd",
    "ps": "ps",
    "which": "which",
    "help": "help_noargs help",
    "help ps": "help_ps help",
    "get_statistics core:": "stats_core stats_core_positional stats",
    "log_level, debug without one": "log_get log_level_get log_level",
    "log_level, debug with a level": "log_set log_level_set",
    "cache_store": "cache_store_plain",
    "cache_fetch": "cache_fetch_plain",
    "cache_fetch of lines": "cache_fetch_newline",
    "cache_fetch of nothing": "cache_fetch_missing",
    "ul_add": "ul_add",
    "ul_show_contact": "ul_show_contact ul_show",
    "ul_show_contact of an unknown user": "ul_show_contact_missing",
    "ul_dump": "ul_dump",
    "ul_dump brief": "ul_dump_brief",
    "ul_rm of an unknown user": "ul_rm_missing",
    "dlg_list of a call that is not there": "dlg_list_unknown",
    "ds_list": "ds_list",
    "ds_set_state": "ds_set_state",
    "rl_list": "rl_list",
    "events_list": "events_list",
    "event_subscribe": "event_subscribe",
    "subscribers_list": "subscribers_list_after",
}

#: Names of values that differ every time.
VOLATILE = {
    "New global log level",
    "WD",
    "Now",
    "Up since",
    "Up time",
    "PID",
    "ContactID",
    "Expires",
    "ttl",
    "expire",
    "socket",
    "drop_rate",
}
#: How long a list is shown in full.
SHOWN = 1


def value(name: str, cases: str) -> Any:
    """Return the client's value for the first of these cases that a recording has; None without one."""
    file = Recorded(name)
    for case in cases.split():
        question = file.question(case) if case in file.pairs else None
        if question is None or not file.reply(case):
            continue
        with file.answering(case) as (mi, _), warnings.catch_warnings():
            warnings.simplefilter("ignore", sipmi.UnclearReplyWarning)
            # A recording does not say how many records its server had.
            return (outcome(mi, question, force=True),)
    return None


def steady(found: Any, name: str = "") -> Any:
    """A value without the parts that differ every time, and lists up to their shown length."""
    if name in VOLATILE or (":" in name and isinstance(found, int)):
        return f"<{type(found).__name__}>"
    if isinstance(found, dict):
        if found and all(":" in key for key in found):
            found = dict(list(found.items())[:SHOWN])
        return {key: steady(each, key) for key, each in found.items()}
    if isinstance(found, tuple):
        return {"error": found[0], "code": found[1], "message": str(found[2]).strip()}
    if isinstance(found, list):
        shown = [steady(each) for each in found[:SHOWN]]
        return [*shown, "..."] if len(found) > SHOWN else shown
    if isinstance(found, str):
        # The users and keys of each wire, and the ports of each process, are its own.
        found = re.sub(r"(alice|bob)_\w+", r"\1", found)
        found = re.sub(r"\b(?:kx|k_[a-z]+(?:_ng)?)_", "k_", found)
        return re.sub(r"(127\.0\.0\.1:)\d{5}", r"\1<port>", found)
    return found


def page() -> str:
    """`docs/shapes.md` as it should be."""
    lines = [
        "# Compatibility of values",
        "",
        "This page is for authors of programs that call servers of several generations: it lists the value that `call`",
        "returns for each command, from the recorded replies of real servers of 1.11, 2.4, 3.4 and 4.0 on every wire.",
        "A command has several values where the servers reply differently: 1.11 counts no hits of a gateway, and over",
        "mi_json and its XML-RPC at /xmlrpc it replies nothing, so that an error is not visible (null). Times, process",
        "numbers and identifiers are shown as their types, users without the wire that they came by, lists by their",
        "first element.",
        "",
        "This page is written by `tools/shapes.py` and checked by `tests/client/test_shapes.py`.",
    ]
    for command, cases in ASKED.items():
        groups: dict[str, list[str]] = {}
        for name in RECORDINGS:
            found = value(name, cases)
            if found is not None:
                shown = json.dumps(steady(found[0]), indent=1, ensure_ascii=False)
                groups.setdefault(shown, []).append(name)
        lines += ["", f"## {command}"]
        for shown, names in groups.items():
            lines += ["", f"{named(names)}:", "", "```json", *compact(shown), "```"]
    return "\n".join(lines) + "\n"


def named(names: list[str]) -> str:
    """Recordings by their versions: `2.4 fifo json, 4.0 http`."""
    if names == RECORDINGS:
        return "All"
    wires: dict[str, list[str]] = {}
    for name in names:
        version, _, wire = name.partition("-")
        wires.setdefault(version, []).append(wire.replace("datagram-", ""))
    every = {version: [name for name in RECORDINGS if name.startswith(version)] for version in wires}
    told = (
        f"{version} on all wires" if len(found) == len(every[version]) else f"{version} {' '.join(found)}"
        for version, found in wires.items()
    )
    return ", ".join(told)


def compact(shown: str) -> list[str]:
    """JSON on one line when that is short."""
    short = json.dumps(json.loads(shown), ensure_ascii=False)
    return [short] if len(short) <= 116 else shown.split("\n")


if __name__ == "__main__":
    PAGE.write_text(page())
