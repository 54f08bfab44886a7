"""A real terminal: a program in a pty, what it shows as a screen of characters, and pictures of that."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Callable, Optional

import pexpect
import pyte

#: Longer than any program takes to draw, on a loaded machine.
PATIENCE = 20.0

KEYS = {"enter": "\r", "tab": "\t", "escape": "\x1b", "ctrl-c": "\x03", "ctrl-d": "\x04", "up": "\x1b[A",
        "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D", "backspace": "\x7f", "ctrl-u": "\x15"}  # fmt: skip


class Terminal:
    """``with Terminal("call", address, "uptime") as terminal:`` runs ``sipmi`` in a terminal of its own."""

    def __init__(
        self,
        *arguments: str,
        program: Optional[list[str]] = None,
        columns: int = 100,
        lines: int = 30,
        env: Optional[dict[str, str]] = None,
        cwd: Optional[str] = None,
    ) -> None:
        command = program or [sys.executable, "-m", "sipmi"]
        # The caller's settings of colors and servers must not change the test.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SIPMI") and k != "NO_COLOR"}
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._child: Any = pexpect.spawn(
            command[0],
            [*command[1:], *arguments],
            env={**inherited, "TERM": "xterm-256color", **(env or {})},
            cwd=cwd,
            dimensions=(lines, columns),
        )
        self.output = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close(force=True)

    @property
    def text(self) -> str:
        """Return the text on the screen, without trailing blanks."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def send(self, *keys: str) -> None:
        """Types: texts, or names of keys."""
        for key in keys:
            self._child.send(KEYS.get(key, key))

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self._child.setwinsize(lines, columns)

    def wait_for(self, shown: str | Callable[[str], bool], *, timeout: float = PATIENCE) -> str:
        """Reads until something is on the screen; gives the screen."""
        wanted = shown if callable(shown) else lambda text: shown in text

        def is_shown() -> bool:
            with contextlib.suppress(IndexError):  # a line that is not there yet
                return wanted(self.text)
            return False

        deadline = time.monotonic() + timeout
        while not is_shown():
            left = deadline - time.monotonic()
            assert left > 0, f"expected {shown!r} on the screen, found:\n{self.text}"
            if not self._read(left):
                assert is_shown(), f"expected {shown!r} before the end, found:\n{self.text}"
        return self.text

    def run_for(self, seconds: float) -> None:
        """Reads for some time: for pictures of what moves."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._read(left):
            pass

    def wait(self, *, timeout: float = PATIENCE) -> int:
        """Reads to the end of the program; gives its exit code, or minus the signal that ended it."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, f"expected an end, found:\n{self.text}"
        self._child.close()
        code: Optional[int] = self._child.exitstatus
        return -self._child.signalstatus if code is None else code

    def _read(self, timeout: float) -> bool:
        """Reads what there is; False at the end."""
        try:
            piece = self._child.read_nonblocking(65536, timeout=max(timeout, 0.01))
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.output += piece
        # Programs ask where the cursor is before they draw; a terminal answers.
        *asked, rest = piece.split(b"\x1b[6n")
        for part in asked:
            self._stream.feed(part)
            self._child.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")
        self._stream.feed(rest)
        return True

    def picture(self, path: Path, title: str) -> None:
        """Writes the screen as an SVG."""
        from rich.color import Color
        from rich.console import Console
        from rich.style import Style
        from rich.text import Text

        def colour(name: str) -> Optional[Color]:
            if name == "default":
                return None
            names = {"brown": "yellow", "brightbrown": "bright_yellow"}
            hexadecimal = len(name) == 6 and all(char in "0123456789abcdef" for char in name)
            return Color.parse(f"#{name}" if hexadecimal else names.get(name, name.replace("bright", "bright_")))

        console = Console(width=self.screen.columns, record=True, file=io.StringIO(), force_terminal=True)
        for number in range(self.screen.lines):
            line = Text(no_wrap=True)
            for column in range(self.screen.columns):
                char = self.screen.buffer[number][column]
                style = Style(
                    color=colour(char.fg), bgcolor=colour(char.bg), bold=char.bold, italic=char.italics,
                    underline=char.underscore, reverse=char.reverse,
                )  # fmt: skip
                line.append(char.data, style)
            console.print(line, overflow="crop", crop=True)
        drawn = console.export_svg(title=title, unique_id=path.stem)
        # The picture must load no font from the network.
        drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
        path.write_text(drawn.replace("Fira Code, monospace", "Menlo, Consolas, DejaVu Sans Mono, monospace"))
