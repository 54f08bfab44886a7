"""Writes what the wheel ships beside Python: the man page, from the parser, and completion for shells.

`python tools/shipped.py`; a test sees to it that this was done.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from sipmi.cli import make_parser
from sipmi.cli.commands.completion import SCRIPTS
from sipmi.cli.options import ADDRESS_HELP
from sipmi.cli.parser import Parser

ROOT = Path(__file__).parent.parent
SHARE = ROOT / "sipmi.data" / "data" / "share"

EXIT_CODES = {
    "0": "Success.",
    "1": "The server answered with an error, or what was asked for could not be done.",
    "2": "Usage: the command line does not say what can be done. Nothing was sent.",
    "3": "Transport: the server cannot be reached, or what came is no answer.",
    "4": "Timeout: no answer in time.",
    "130": "Ctrl-C.",
}

ENVIRONMENT = {
    "SIPMI_ADDRESS": "The server that is called if none is named: an address, or a name in sipmi.toml.",
    "SIPMI_AUTH": "USER:PASSWORD for addresses of HTTP; no list of processes shows it, as it would --auth.",
    "SIPMI_TOKEN": "A bearer token for addresses of HTTP.",
    "SIPMI_CONFIG": "The file of servers, in place of sipmi.toml.",
    "OPENSIPS_FIFO": "The FIFO of sipmi fifo.",
    "NO_COLOR": "No colours, also on a terminal.",
    "XDG_CONFIG_HOME, XDG_STATE_HOME": "Where sipmi.toml and the history of sipmi shell are.",
}

FILES = {
    "~/.config/sipmi.toml": "Servers by name. "
    'default = "edge1" names what is called where nothing is named. '
    "Each server is a table [servers.NAME] with address and, where needed, timeout, wire, reply_dir, "
    'auth, token, cafile, cert, key, verify; or a line in [servers], NAME = "ADDRESS".',
    "~/.local/state/sipmi/history": "The history of sipmi shell, readable by its owner alone.",
}

EXAMPLES = {
    "sipmi call udp:127.0.0.1:8080 uptime": "Calls a command.",
    "sipmi call edge1 ul_show_contact location aor::alice --json": "The same, with parameters, by a name.",
    "sipmi call edge1 dlg_list | jq '.Dialogs[].state'": "Gives a value to another program.",
    "sipmi top edge1": "Watches its statistics.",
    "sipmi watch edge1 load:load core:rcv_requests": "The same line by line.",
    "sipmi serve app.py --listen udp:127.0.0.1:8080": "Serves the commands of a Python file.",
}


def page() -> str:
    """The whole man page, in the man macros that man and mandoc read."""
    parser = make_parser()
    version, date = latest()
    lines = [
        f'.TH SIPMI 1 "{date}" "sipmi {version}" "User Commands"',
        ".SH NAME",
        r"sipmi \- call, serve and watch the OpenSIPS Management Interface",
        ".SH SYNOPSIS",
        ".B sipmi",
        ".RI SUBCOMMAND\\  [ OPTION .\\|.\\|.] \\ [ ARGUMENT .\\|.\\|.]",
        ".SH DESCRIPTION",
        *text(parser.description or ""),
        ".PP",
        r"\fIADDRESS\fR is",
        *text(ADDRESS_HELP),
        ".SH SUBCOMMANDS",
    ]
    for name, nested in subparsers(parser).items():
        lines += subcommand([name], nested)
    lines += section("EXIT STATUS", EXIT_CODES)
    lines += section("ENVIRONMENT", ENVIRONMENT)
    lines += section("FILES", FILES)
    lines += section("EXAMPLES", EXAMPLES)
    lines += [".SH SEE ALSO", ".BR opensips (8)", ""]
    return "\n".join(lines)


def latest() -> tuple[str, str]:
    """The version and the date of the first entry in the changelog."""
    found = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found is not None, "expected an entry as ## 0.1.0 (2026-01-01)"
    return found[1], found[2]


def subcommand(names: list[str], parser: Parser) -> list[str]:
    lines = [f".SS {quoted(' '.join(['sipmi', *names]))}", *text(parser.description or "")]
    usage = parser.usage or " ".join(parser.format_usage().split()).removeprefix("usage: ")
    lines += [".PP", rf".B {quoted(usage)}"]
    nested = subparsers(parser)
    for action in parser.actions:
        if action.help == argparse.SUPPRESS or action.dest == "help":
            continue
        lines += [".TP", option(action), *text(action.help or "")]
    if parser.epilog:
        lines += [".PP", ".nf", *(escaped(line) or ".sp" for line in parser.epilog.splitlines()), ".fi"]
    for name, inner in nested.items():
        lines += subcommand([*names, name], inner)
    return lines


def subparsers(parser: Parser) -> dict[str, Parser]:
    return {} if parser.subcommands is None else parser.subcommands.parsers


def option(action: argparse.Action) -> str:
    if not action.option_strings:
        return rf"\fI{escaped(str(action.metavar or action.dest))}\fR"
    names = ", ".join(rf"\fB{escaped(name)}\fR" for name in action.option_strings)
    if action.nargs == 0:
        return names
    value = "|".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest.upper())
    return rf"{names} \fI{escaped(value)}\fR"


def section(title: str, entries: dict[str, str]) -> list[str]:
    lines = [f".SH {title}"]
    for term, meaning in entries.items():
        lines += [".TP", rf"\fB{escaped(term)}\fR", *text(meaning)]
    return lines


def text(words: str) -> list[str]:
    """Running text, a sentence a line."""
    joined = " ".join(words.replace("%%", "%").split())
    return [escaped(sentence) for sentence in re.split(r"(?<=[.:]) (?=[A-Z])", joined)]


#: Characters that the macros would take for something else.
SPECIAL = {"\\": r"\e", "-": r"\-", "~": r"\(ti", "^": r"\(ha", "`": r"\(ga", "'": r"\(aq"}


def escaped(words: str) -> str:
    plain = words.translate(str.maketrans(SPECIAL))
    return rf"\&{plain}" if plain.startswith(".") else plain


def quoted(words: str) -> str:
    return '"' + escaped(words).replace('"', r"\(dq") + '"'


def shipped() -> dict[Path, str]:
    """The files, and what they have to say."""
    return {
        SHARE / "man/man1/sipmi.1": page(),
        SHARE / "bash-completion/completions/sipmi": SCRIPTS["bash"],
        SHARE / "zsh/site-functions/_sipmi": SCRIPTS["zsh"],
        SHARE / "fish/vendor_completions.d/sipmi.fish": SCRIPTS["fish"],
    }


if __name__ == "__main__":
    for path, content in shipped().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
