"""``sipmi shell``: a prompt at which commands of a server are called, with completion, history and help."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any, Optional

from ...errors import MiError
from ..arguments import ask, read_json
from ..confirm import confirm
from ..ending import OK, USAGE, Failure, Usage, complain, explain
from ..options import add_address, add_client_options, add_force, add_http_options, add_json, add_yes, client
from ..output import print_value, value_text
from ..servers import Target, read_servers, resolve
from ._session import Session
from .call import call_lines

HELP = """\
COMMAND [ARG...]         calls a command; an ARG is a value, or name::value
COMMAND ... | PROGRAM    gives the value to a program of the system, as JSON:  ul_dump | jq .
? COMMAND                what a command takes, and what it is for
? WORD                   the commands with this in their name
.use SERVER              goes to another server: an address, or a name in sipmi.toml
.servers                 the servers in sipmi.toml
.json                    one line of JSON for each value, or no longer
.timeout SECONDS         how long to wait for an answer
.help  .quit             this; the end (Ctrl-D, too)
Tab completes, the right arrow takes the grey words, Ctrl-R searches what was typed before."""


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "shell",
        help="a prompt with completion, history and help",
        description="Calls commands at a prompt that completes them, their parameters and values from the server.",
        epilog="Without a terminal, lines are read from standard input, as `sipmi call ADDRESS -` does.\n\n" + HELP,
    )
    add_address(parser)
    add_yes(parser)
    add_force(parser)
    add_json(parser, "print values as one line of JSON")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run, keep_going=False, output=None)


def run(options: argparse.Namespace) -> int:
    target = resolve(options.address)
    if not sys.stdin.isatty():
        with client(target, options) as mi:
            return call_lines(mi, target, options)
    return Shell(target, options).run()


class Shell(Session):
    """A session whose lines are typed at a prompt."""

    def run(self) -> int:
        from ..extras import need

        need("prompt_toolkit", "shell")
        from ._prompt import Prompt

        prompt = Prompt(self)
        try:
            self._greet()
            while True:
                line = prompt.read()
                if line is None:
                    return OK
                if line.strip() and not self.do(line.strip()):
                    return OK
        finally:
            self.mi.close()

    def _greet(self) -> None:
        """Print the server's name and version, if it answers."""
        try:
            who = "sipmi" if self.mi.generation == "sipmi" else "OpenSIPS"
            version = f" {self.mi.version}" if self.mi.version else ""
            print(f"{who}{version} at {self.mi.address}, {self.mi.wire}. .help says what can be typed here.")
        except MiError as error:
            self.code = explain(error)

    def do(self, line: str) -> bool:
        """Does what a line says; False when it says that this is the end."""
        try:
            if line in (".quit", ".exit", "quit", "exit"):
                return False
            self.code = OK
            if line.startswith("."):
                self._order(*line[1:].split())
            elif line.startswith("?"):
                self._explain(line[1:].strip())
            else:
                self._call(line)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        except MiError as error:
            self.code = explain(error)
        except Failure as error:
            self.code = complain(error.code, str(error), error.hint)
        except ValueError as error:
            self.code = complain(USAGE, str(error))
        return True

    def _call(self, line: str) -> None:
        line, program = split_program(line)
        words = shlex.split(line)
        if not words:
            raise Usage("expected a command before the |", ".help")
        confirm(words[0], self.target.name, yes=self.options.yes)
        reply = ask(self.mi, words[0], words[1:], read=read_json, force=self.options.force)
        self.elapsed: Optional[float] = reply.elapsed
        if program is None:
            print_value(reply.value, as_json=self.options.json)
            return
        import subprocess

        text = value_text(reply.value, as_json=self.options.json)
        self.code: int = subprocess.run(program, shell=True, input=text, check=False).returncode

    def _order(self, order: str = "", *words: str) -> None:
        if order == "help":
            print(HELP)
        elif order == "json" and not words:
            self.options.json = not self.options.json
            print("values are one line of JSON" if self.options.json else "values are spread for people")
        elif order == "servers" and not words:
            servers = read_servers()
            for name, target in servers.targets.items():
                mark = "*" if target.address == self.target.address else " "
                print(f"{mark} {name:<16} {target.address}")
            if not servers.targets:
                print(f"none: {servers.path} may name some")
        elif order == "use" and len(words) == 1:
            self._go_to(resolve(words[0]))
        elif order == "timeout" and len(words) == 1:
            self.options.timeout = float(words[0])
            self.use(self.target)
        else:
            raise Usage(f"nothing is done by .{' '.join([order, *words])}", ".help")

    def _go_to(self, target: Target) -> None:
        moved = target != self.target
        self.use(target)
        if moved:
            self._greet()

    def _explain(self, word: str) -> None:
        names = self.live.names()
        if word and (word in names or not names):
            schema = self.live.schema(word)
            for recipe in schema.recipes if schema.recipes is not None else [("...",)]:
                print(" ".join([word, *recipe]))
            if schema.help:
                print(f"  {schema.help}")
            return
        found = [name for name in names if word in name]
        if not found:
            raise Usage(f"no command has {word!r} in its name", "? alone lists all")
        print("\n".join(found))


def split_program(line: str) -> tuple[str, Optional[str]]:
    """The call, and the program after the first ``|`` that is not quoted.

    >>> split_program("ul_dump | jq ."), split_program("hello 'a|b'")
    (('ul_dump ', 'jq .'), ("hello 'a|b'", None))
    """
    quote = ""
    for place, char in enumerate(line):
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif not quote and char == "|":
            return line[:place], line[place + 1 :].strip() or None
    return line, None
