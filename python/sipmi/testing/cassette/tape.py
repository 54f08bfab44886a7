"""The file of a cassette: requests and replies as they were on the wire, in a form that people read and diff."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any, Optional

_TITLE = "sipmi cassette 1"


@dataclasses.dataclass(frozen=True)
class Track:
    """A server that was talked to: how, never where."""

    transport: str
    """"fifo", "udp", "unix" or "http"."""
    path: str = ""
    """(HTTP) the path of its address."""


@dataclasses.dataclass(frozen=True)
class Interaction:
    """A request and what came back."""

    track: int
    target: str
    """(HTTP) method and path; empty elsewhere."""
    request: bytes
    reply: Optional[bytes]
    """None when there was none."""
    status: str = ""
    """(HTTP) status and content type."""

    @property
    def key(self) -> tuple[int, str, bytes]:
        """The parts that make two requests equal: neither the id of JSON-RPC nor the blanks around it."""
        return self.track, self.target, essence(self.request)


@dataclasses.dataclass
class Tape:
    """All that is on a cassette."""

    tracks: list[Track] = dataclasses.field(default_factory=list)
    interactions: list[Interaction] = dataclasses.field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes the file in one go, so that another process never sees half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                file.write(self.text().encode("utf-8", "surrogateescape"))
                file.flush()
                # Some file systems report a full disk no earlier.
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    @staticmethod
    def load(path: Path) -> Tape:
        """Reads a file.

        :raises ValueError: it is no cassette; says the line.
        """
        return _parsed(path.read_bytes().decode("utf-8", "surrogateescape"), str(path))

    def text(self) -> str:
        """The file's text."""
        out = [_TITLE]
        for number, track in enumerate(self.tracks, 1):
            out.append(f"track {number}: {track.transport} {track.path}".rstrip())
        for one in self.interactions:
            request, request_form = _shown(one.request)
            reply, reply_form = (None, "") if one.reply is None else _shown(one.reply)
            head = [f"--- {one.track}", one.target, request_form and "request=json", reply_form and "reply=json"]
            out += ["", " ".join(word for word in head if word)]
            out += [f"> {line}" if line else ">" for line in request]
            if reply is None:
                out.append("(no reply)")
            else:
                out += [f"= {one.status}"] if one.status else []
                out += [f"< {line}" if line else "<" for line in reply]
        return "\n".join(out) + "\n"


def _shown(raw: bytes) -> tuple[list[str], bool]:
    """The lines of some bytes, and whether they are compact JSON that was spread over lines."""
    text = raw.decode("utf-8", "surrogateescape")
    try:
        value = _json(text)
    except ValueError:
        value = None
    if isinstance(value, (dict, list)) and _compact(value) == text:
        return _escaped(json.dumps(value, indent=2, ensure_ascii=False)).split("\n"), True
    return _escaped(text).split("\n"), False


def _json(text: str) -> Any:
    """Reads JSON.

    :raises ValueError: it is none, or is nested too deeply.
    """
    try:
        value = json.loads(text)
        json.dumps(value)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    return value


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _escaped(text: str) -> str:
    r"""Every byte that is not text as ``\xNN``; so is the backslash of what looks like one."""
    text = re.sub(r"\\(?=x[0-9a-f]{2})", r"\\x5c", text)
    return _UNTOLD.sub(lambda found: f"\\x{ord(found.group()) & 0xFF:02x}", text)


#: Control characters, bytes that are no UTF-8, and a blank at the end of a line, which editors take away.
_UNTOLD = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f\\udc80-\\udcff]| $", re.M)


def _unescaped(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found.group(1), 16)]), raw)


def _parsed(text: str, where: str) -> Tape:
    tape = Tape()
    lines = text.split("\n")
    if lines[0] != _TITLE:
        raise ValueError(f"{where}: expected {_TITLE!r} in line 1, found {lines[0]!r}")
    blocks: list[_Block] = []
    for number, line in enumerate(lines[1:], 2):
        if line.startswith("track ") and not blocks:
            words = line.partition(": ")[2].split(" ")
            tape.tracks.append(Track(words[0], " ".join(words[1:])))
        elif line.startswith("--- "):
            blocks.append(_Block(line[4:].split(" ")))
        elif line and not (blocks and blocks[-1].take(line)):
            raise ValueError(
                f"{where}: expected a request, a reply or the head of one in line {number}, found {line!r}"
            )
    try:
        tape.interactions = [block.interaction() for block in blocks]
    except ValueError as error:
        raise ValueError(f"{where}: expected JSON where the head says so: {error}") from None
    return tape


class _Block:
    """One interaction while it is read."""

    def __init__(self, head: list[str]) -> None:
        self.track = int(head[0])
        self.spread = {word.partition("=")[0] for word in head[1:] if word in ("request=json", "reply=json")}
        self.target = " ".join(word for word in head[1:] if word not in ("request=json", "reply=json"))
        self.status = ""
        self.sides: dict[str, list[str]] = {">": [], "<": []}

    def take(self, line: str) -> bool:
        if line == "(no reply)":
            return True
        if line.startswith("= "):
            self.status = line[2:]
            return True
        if line[:1] in self.sides:
            self.sides[line[0]].append(line[2:])
            return True
        return False

    def interaction(self) -> Interaction:
        request = self._bytes(">", "request")
        reply = self._bytes("<", "reply") if self.sides["<"] else None
        return Interaction(self.track, self.target, request or b"", reply, self.status)

    def _bytes(self, mark: str, side: str) -> bytes:
        raw = _unescaped("\n".join(self.sides[mark]))
        return (
            _compact(_json(raw.decode("utf-8", "surrogateescape"))).encode("utf-8", "surrogateescape")
            if side in self.spread
            else raw
        )


# -- what makes two requests the same, and what of a reply is like the next ---------------------------


def essence(request: bytes) -> bytes:
    """A request without what differs each time."""
    text = request.decode("utf-8", "surrogateescape").strip()
    frame, body = fifo_frame(text)
    try:
        value = _json(body)
    except ValueError:
        return text.encode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if name.lower() != "id"}
    return (frame + json.dumps(value, sort_keys=True)).encode("utf-8", "surrogateescape")


def fifo_frame(text: str) -> tuple[str, str]:
    """The ``:reply:`` before JSON on a FIFO, or nothing, and the rest."""
    found = re.match(r":[^:\n]*:(?=\s*[{\[])", text)
    return (found.group(), text[found.end() :]) if found else ("", text)


def id_span(text: str) -> Optional[tuple[int, int]]:
    """Where the value of the ``id`` of a JSON-RPC message stands; None when it has none."""
    decoder, blank = json.JSONDecoder(), re.compile(r"[\s,:]*")
    start = re.match(r"\s*(?::[^:\n]*:\s*)?\{", text)
    position = start.end() if start else len(text)
    try:
        while (position := blank.match(text, position).end()) < len(text):  # type: ignore[union-attr]
            name, position = decoder.raw_decode(text, position)
            begin = blank.match(text, position).end()  # type: ignore[union-attr]
            _, position = decoder.raw_decode(text, begin)
            if name == "id":
                return begin, position
    except (ValueError, RecursionError):
        pass  # the end of the object, or no JSON that can be read
    return None


def with_id(message: bytes, identity: str) -> bytes:
    """The message with another ``id``; as it is when it has none."""
    text = message.decode("utf-8", "surrogateescape")
    span = id_span(text)
    if span is not None:
        text = text[: span[0]] + identity + text[span[1] :]
    return text.encode("utf-8", "surrogateescape")


def id_of(message: bytes) -> Optional[str]:
    """The ``id`` as it is written."""
    text = message.decode("utf-8", "surrogateescape")
    span = id_span(text)
    return None if span is None else text[span[0] : span[1]]
