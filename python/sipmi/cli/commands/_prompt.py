"""The prompt of ``sipmi shell``: completion from the live server, history, and what is below the line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.styles import Style

from ..._core import command_risk
from ..ending import OK
from ..live import Choice, matching
from ..servers import read_servers

if TYPE_CHECKING:
    from ...schema import CommandSchema
    from ._session import Session

ORDERS = {
    ".help": "what can be typed here",
    ".use": "go to another server",
    ".servers": "the servers in sipmi.toml",
    ".json": "one line of JSON for each value",
    ".timeout": "how long to wait",
    ".quit": "the end",
}

STYLE = Style.from_dict(
    {
        "server": "bold ansicyan",
        "failed": "bold ansired",
        "bottom-toolbar": "noreverse bg:#303440 #c8ccd4",
        "name": "bold #ffffff",
        "param": "#8fc7ff",
        "wanted": "bold #8fc7ff",
        "risk": "bold #ffb86c",
        "quiet": "#8a909c",
        "completion-menu": "bg:#303440 #d8dce4",
        "completion-menu.completion.current": "bg:#5f87af #ffffff",
        "completion-menu.meta.completion": "bg:#262a33 #9aa0ac",
        "completion-menu.meta.completion.current": "bg:#3d5a8e #e8ecf4",
        "auto-suggestion": "#6a707c",
    }
)


class Prompt:
    """Reads lines for a shell."""

    def __init__(self, session: Session) -> None:
        self._state = session
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            completer=ThreadedCompleter(LineCompleter(session)),
            auto_suggest=AutoSuggestFromHistory(),
            complete_while_typing=True,
            bottom_toolbar=self._below,
            style=STYLE,
            color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
            reserve_space_for_menu=6,
        )

    def read(self) -> Optional[str]:
        """The next line; None at the end. Ctrl-C begins a new one."""
        while True:
            try:
                return self._session.prompt(self._message)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None

    def _message(self) -> HTML:
        mark = "&gt;" if self._state.code == OK else "<failed>&gt;</failed>"
        return HTML(f"<server>{escape(self._state.target.name)}</server> {mark} ")

    def _below(self) -> HTML:
        """Return the parameters of the typed command, or the name of the server."""
        text = self._session.default_buffer.document.text_before_cursor
        words = text.split()
        known = self._state.live.known.get(words[0]) if words else None
        if known is None:
            took = "" if self._state.elapsed is None else f"   last call {self._state.elapsed * 1000:.1f} ms"
            return HTML(f" {escape(self._state.mi.address)}<quiet>{took}   Tab completes   .help</quiet>")
        what = command_risk(known.name)
        warning = f"   <risk>{what}</risk>" if what else ""
        about = f"   <quiet>{escape(known.help)}</quiet>" if known.help else ""
        return HTML(f" <name>{escape(known.name)}</name> {_parameters(known)}{warning}{about}")


def _parameters(command: CommandSchema) -> str:
    if command.recipes is None:
        return "<quiet>...</quiet>"
    wanted = [name for name in command.parameters if all(name in recipe for recipe in command.recipes)]
    return " ".join(
        f"<wanted>{escape(name)}</wanted>" if name in wanted else f"<param>[{escape(name)}]</param>"
        for name in command.parameters
    )


def _history() -> History:
    """Return the history of typed lines, for its owner alone; of this session only where no file can be kept."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "sipmi"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "history"
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


class LineCompleter(Completer):
    """Completes a line. Runs in a thread: the server may take its time."""

    def __init__(self, session: Session) -> None:
        self._state = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor.lstrip()
        words = _split(text)
        begun = "" if not words or text[-1:].isspace() else words.pop()
        return (Completion(word, -len(begun), display_meta=about) for word, about in self._choices(words, begun))

    def _choices(self, words: list[str], begun: str) -> Iterator[Choice]:
        if not words and begun.startswith("."):
            return matching(begun, ORDERS.items())
        if words == [".use"]:
            return matching(begun, ((name, target.address) for name, target in read_servers().targets.items()))
        if not words or words == ["?"]:
            return self._state.live.commands(begun)
        return iter(()) if "|" in words else self._state.live.arguments(words[0], words[1:], begun)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote is open
        return text.split()
