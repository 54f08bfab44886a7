"""The screen of ``sipmi top``: keys in, the board's picture out, while a thread asks the server."""

from __future__ import annotations

import functools
import os
import threading
from typing import Any, Callable, Optional

from prompt_toolkit.application import Application
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.styles import Style

from ...client import Client
from ...errors import MiError
from ..ending import INTERRUPTED, OK
from ._board import Board

#: Seconds between two readings that + and - choose from.
INTERVALS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

STYLE = Style.from_dict(
    {
        "title": "bg:#5f87af #ffffff bold",
        "head": "bg:#303440 #c8ccd4",
        "quiet": "#8a909c",
        "group": "#8a909c",
        "moving": "",
        "bar": "#5fafd7",
        "empty": "#3a3f4b",
        "warm": "#ffb86c",
        "trouble": "#ff6b6b",
        "paused": "bg:#ffb86c #202020 bold",
        "chosen": "bg:#303a50",
        "key": "bg:#5f87af #ffffff",
        "does": "#a8aebb",
        "cursor": "reverse",
    }
)


def run_live(mi: Client, board: Board, selectors: list[str]) -> int:
    """Shows the board until a key ends it; gives the exit code.

    :raises MiError: the server will never answer this.
    """
    return Live(mi, board, selectors).run()


class Live:
    """The application, and the thread that asks."""

    def __init__(self, mi: Client, board: Board, selectors: list[str]) -> None:
        self._mi = mi
        self._board = board
        self._selectors = selectors
        self._asked_anew = threading.Event()
        self._ended = threading.Event()
        self._error: Optional[MiError] = None
        self._picture: StyleAndTextTuples = []
        self._app: Application[int] = Application(
            layout=Layout(Window(FormattedTextControl(self._draw, focusable=True, show_cursor=False))),
            key_bindings=self._keys(),
            style=STYLE,
            full_screen=True,
            color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
        )

    def run(self) -> int:
        thread = threading.Thread(target=self._ask, name="sipmi top", daemon=True)
        code = self._app.run(pre_run=thread.start)
        self._ended.set()
        self._asked_anew.set()
        if self._error is not None:
            raise self._error
        return code

    def _draw(self) -> StyleAndTextTuples:
        size = self._app.output.get_size()
        return [*self._board.draw(size.columns, size.rows)]

    # -- the server -------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Asks for one sample after the other, and hands it to the thread that draws."""
        try:
            who = "sipmi" if self._mi.generation == "sipmi" else "OpenSIPS"
            self._tell(lambda: setattr(self._board, "version", f"{who} {self._mi.version or ''}".strip()))
        except MiError:
            pass  # the first sample says why
        try:
            while not self._ended.is_set():
                self._asked_anew.clear()
                self._watch()
        except MiError as error:
            self._error = error
            self._tell(lambda: self._app.exit(result=OK))

    def _watch(self) -> None:
        for sample in self._mi.watch(self._selectors, interval=self._board.interval):
            if self._ended.is_set() or self._asked_anew.is_set():
                return
            self._tell(functools.partial(self._board.take, sample))

    def _tell(self, what: Callable[[], Any]) -> None:
        """Runs something in the thread that draws."""
        loop = self._app.loop
        if loop is None or loop.is_closed() or self._ended.is_set():
            return

        def done() -> None:
            what()
            if not self._board.is_paused and self._app.is_running:
                self._app.invalidate()

        loop.call_soon_threadsafe(done)

    # -- keys -------------------------------------------------------------------------------------

    def _keys(self) -> KeyBindings:
        keys, board = KeyBindings(), self._board
        commands = ~Condition(lambda: board.is_filtering)
        filtering = Condition(lambda: board.is_filtering)

        def on(*names: str, when: Any = commands) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
            def register(action: Callable[[], Any]) -> Callable[[], Any]:
                for name in names:
                    keys.add(name, filter=when, eager=True)(lambda event: action())
                return action

            return register

        @keys.add("c-c")
        def _(event: KeyPressEvent) -> None:
            event.app.exit(result=INTERRUPTED)

        on("q")(lambda: self._app.exit(result=OK))
        on("space", "p")(board.pause)
        on("s")(board.sort_next)
        on("i")(lambda: setattr(board, "hides_idle", not board.hides_idle))
        on("/")(lambda: setattr(board, "is_filtering", True))
        on("up", "k")(lambda: board.move(-1))
        on("down", "j")(lambda: board.move(1))
        on("pageup")(lambda: board.move(-10))
        on("pagedown")(lambda: board.move(10))
        on("home")(lambda: board.move(-len(board.rows)))
        on("end")(lambda: board.move(len(board.rows)))
        on("+")(lambda: self._change_interval(1))
        on("-")(lambda: self._change_interval(-1))

        @on("enter")
        def _chart() -> None:
            board.move(0)
            board.shows_chart = not board.shows_chart

        @on("escape")
        def _clear() -> None:
            board.filter, board.shows_chart, board.selected = "", False, None

        @keys.add("<any>", filter=filtering)
        def _type(event: KeyPressEvent) -> None:
            if event.data.isprintable():
                board.filter += event.data

        on("backspace", when=filtering)(lambda: setattr(board, "filter", board.filter[:-1]))
        on("enter", when=filtering)(lambda: setattr(board, "is_filtering", False))

        @on("escape", when=filtering)
        def _give_up() -> None:
            board.filter, board.is_filtering = "", False

        return keys

    def _change_interval(self, step: int) -> None:
        nearest = min(range(len(INTERVALS)), key=lambda place: abs(INTERVALS[place] - self._board.interval))
        self._board.interval = INTERVALS[max(0, min(len(INTERVALS) - 1, nearest + step))]
        self._asked_anew.set()
