"""``sipmi completion``: what makes bash, zsh and fish complete the command line, from the parser and live servers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from ...client import connect
from ...errors import MiError
from ..ending import OK, Failure
from ..live import PATIENCE, Choice, Live, matching
from ..options import client_options
from ..output import print_bytes
from ..parser import Parser
from ..servers import SCHEMES, Target, default, find, read_servers
from .events import names_of

BASH = """\
# Completion of sipmi for bash: eval "$(sipmi completion bash)" in ~/.bashrc
_sipmi() {
    local line="${COMP_LINE:0:COMP_POINT}" words kind="" value about IFS=$' \\t\\n'
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local begun="${words[${#words[@]}-1]}" broken=""
    # Bash takes a word with a colon for several, and wants only the last.
    [[ $COMP_WORDBREAKS == *:* && $begun == *:* ]] && broken="${begun%"${begun##*:}"}"
    COMPREPLY=()
    while IFS=$'\\t' read -r value about; do
        case $value in
            :files|:directories) kind=$value ;;
            *) COMPREPLY+=("${value#"$broken"}"); [[ $value == *[:/] ]] && compopt -o nospace ;;
        esac
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
    case $kind in
        :files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$begun") ;;
        :directories) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$begun") ;;
    esac
}
complete -F _sipmi sipmi
"""

ZSH = """\
#compdef sipmi
# Completion of sipmi for zsh: eval "$(sipmi completion zsh)", or this as _sipmi in a directory of $fpath
_sipmi() {
    local value about kind=""
    local -a open closed
    while IFS=$'\\t' read -r value about; do
        case $value in
            :files|:directories) kind=$value ;;
            *[:/]) open+=("${value//:/\\\\:}:$about") ;;
            *) closed+=("${value//:/\\\\:}:$about") ;;
        esac
    done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( ${#closed} )) && _describe sipmi closed
    (( ${#open} )) && _describe sipmi open -S ''
    case $kind in
        :files) _files ;;
        :directories) _files -/ ;;
    esac
}
if [ "$funcstack[1]" = _sipmi ]; then _sipmi "$@"; else compdef _sipmi sipmi; fi
"""

FISH = """\
# Completion of sipmi for fish: sipmi completion fish | source, or this as ~/.config/fish/completions/sipmi.fish
function __sipmi_complete
    set -l words (commandline -opc)
    for choice in ($words[1] __complete -- $words[2..] (commandline -ct) 2>/dev/null)
        switch $choice
            case ':files*'
                __fish_complete_path (commandline -ct)
            case ':directories*'
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $choice
        end
    end
end
complete -c sipmi -f -a '(__sipmi_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

FILES, DIRECTORIES = ":files", ":directories"
#: The kinds of words that complete an argument, by its name.
PATHS = {"FILE": FILES, "PATH": FILES, "APP": FILES, "DIRECTORY": DIRECTORIES, "FOLDER": DIRECTORIES}


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "completion",
        help="print what makes bash, zsh or fish complete",
        description="Prints a script for a shell; with it, Tab completes subcommands and options, names of servers,\n"
        "and commands, parameters and statistics of the server that is named.",
        epilog='bash: eval "$(sipmi completion bash)"      in ~/.bashrc\n'
        'zsh:  eval "$(sipmi completion zsh)"       in ~/.zshrc, after compinit\n'
        "fish: sipmi completion fish | source       in ~/.config/fish/config.fish",
    )
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="whose")
    parser.set_defaults(run=lambda options: _print_script(options.shell))


def _print_script(shell: str) -> int:
    print_bytes(SCRIPTS[shell].encode())
    return OK


def run(parser: Parser, words: Sequence[str]) -> int:
    """``sipmi __complete -- WORD...``: what the last word could become, a line each, with a tab before its meaning."""
    *given, begun = words or [""]
    try:
        lines = [f"{word}\t{about}" for word, about in choices(parser, given, begun)]
    except (MiError, Failure, OSError, ValueError):
        lines = []  # a shell that completes has nowhere to show it
    print_bytes("".join(f"{line}\n" for line in dict.fromkeys(lines)).encode("utf-8", "surrogateescape"))
    return OK


def choices(parser: Parser, given: Sequence[str], begun: str) -> Iterator[Choice]:
    """Return the words that could follow."""
    names = []
    words: list[str] = []
    awaited: Optional[argparse.Action] = None
    options_end = False
    for word in given:
        action = _option(parser, word.partition("=")[0])
        if awaited is not None:
            awaited = None
        elif word == "--":
            options_end = True
        elif action is not None and not options_end:
            awaited = action if action.nargs != 0 and "=" not in word else None
        elif parser.subcommands is not None and word in parser.subcommands.parsers:
            parser = parser.subcommands.parsers[word]
            names.append(word)
        else:
            words.append(word)
    if awaited is not None:
        return _values(awaited, begun)
    if begun.startswith("-") and not options_end:
        return _options(parser, begun)
    if parser.subcommands is not None and not words:
        return matching(begun, parser.subcommands.helps.items())
    return _arguments(parser, names, words, begun)


def _option(parser: Parser, name: str) -> Optional[argparse.Action]:
    return next((action for action in parser.actions if name in action.option_strings), None)


def _options(parser: Parser, begun: str) -> Iterator[Choice]:
    actions = [action for action in parser.actions if action.help != argparse.SUPPRESS]
    return matching(begun, ((name, _short(action)) for action in actions for name in action.option_strings[-1:]))


def _short(action: argparse.Action) -> str:
    return (action.help or "").partition(";")[0].replace("%%", "%")


def _values(action: argparse.Action, begun: str) -> Iterator[Choice]:
    """Return the values of an option, or of an argument that is no server."""
    if action.choices is not None:
        return matching(begun, ((str(choice), "") for choice in action.choices))
    if "--device" in action.option_strings:
        return matching(begun, ((name, "device") for name in _devices()))
    if action.metavar == "ADDRESS":
        return _servers(begun)
    kind = PATHS.get(str(action.metavar or action.dest).upper())
    return iter([(kind, "")] if kind else [])


def _devices() -> list[str]:
    found: list[str] = []
    for folder in ("/sys/class/net", "/sys/block"):
        if os.path.isdir(folder):
            found += sorted(os.listdir(folder))
    return found


def _arguments(parser: Parser, names: Sequence[str], words: Sequence[str], begun: str) -> Iterator[Choice]:
    positional = parser.arguments
    dests = [action.dest for action in positional]
    if dests == ["words"]:
        return _of_server(names[-1], list(words), begun)
    if dests[:2] == ["command", "arguments"]:
        target = Target(f"fifo:{_fifo()}", "fifo", {})
        return _asked(target, "call", words, begun)
    if len(words) < len(positional):
        return _values(positional[len(words)], begun)
    return iter(())


def _fifo() -> str:
    from .fifo import usual_fifo

    return os.environ.get("OPENSIPS_FIFO") or usual_fifo()


def _servers(begun: str) -> Iterator[Choice]:
    named = [(name, target.address) for name, target in read_servers().targets.items()]
    schemes = [(scheme, "address") for scheme in SCHEMES] if begun else []
    return matching(begun, [*named, *schemes])


def _of_server(subcommand: str, words: list[str], begun: str) -> Iterator[Choice]:
    """After ``[ADDRESS]``: what the server has, or also the names of servers as long as none is named."""
    target = find(words[0]) if words else None
    if target is not None:
        yield from _asked(target, subcommand, words[1:], begun)
        return
    if not words:
        yield from _servers(begun)
    fallback = default()
    if fallback is not None:
        yield from _asked(fallback, subcommand, words, begun)


def _asked(target: Target, subcommand: str, words: Sequence[str], begun: str) -> Iterator[Choice]:
    options = client_options(target, argparse.Namespace(timeout=PATIENCE))
    with connect(target.address, **options) as mi:
        live = Live(mi)
        if subcommand == "watch":
            yield from live.statistics(begun)
        elif subcommand == "events":
            yield from matching(begun, ((name, "event") for name in names_of(mi.call("events_list"))))
        elif not words:
            yield from live.commands(begun)
        else:
            yield from live.arguments(words[0], words[1:], begun)
