"""Values that a cassette does not keep: secrets, and those that differ each time."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from ..._core import secret_names


class Masks:
    """Replace values by their names, and texts wherever they stand.

    >>> masks = Masks()
    >>> masks.volatile("load:*")
    >>> masks.applied(b"200 OK\\nload:load:: 17\\npassword:: hunter2\\n")
    b'200 OK\\nload:load:: 0\\npassword:: ***\\n'
    """

    #: Secret values, as the trace and the audit log know them. Names are compared without case; ``*`` is anything.
    SECRET = tuple(f"*{part}*" for part in secret_names())
    #: Values that are others each time.
    VOLATILE = ("Now", "Up since", "Up time", "PID")

    # Each pattern takes linear time: names have a longest size, a string ends at the end of the message if not
    # before, and blanks before a name are not tried as a part of it.
    _JSON_NAME = rb'"((?:[^"\\]|\\.){0,256})"'
    _JSON_VALUE = rb'("(?:[^"\\]|\\.)*(?:"|\\?\Z)|-?[0-9][0-9.eE+-]*)'
    _JSON = re.compile(_JSON_NAME + rb"\s*:\s*" + _JSON_VALUE, re.S)
    _JSON_NODE = re.compile(rb'"name"\s*:\s*' + _JSON_NAME + rb'\s*,\s*"value"\s*:\s*' + _JSON_VALUE, re.S)
    _LINE = re.compile(rb"^[\t >]*(?![\t >])([^\n<>{}\"]*?)(?:::[ ]?| = )([^\n<]*)", re.M)
    _ATTRIBUTE = re.compile(rb" ([A-Za-z0-9_-]+)=([^ \n<]+)")
    _XML = re.compile(rb"<name>([^<]*)</name>\s*<value>(?:<\w+>)?([^<]+)")
    _QUERY = re.compile(rb"[?&]([A-Za-z0-9_-]{1,64})=([^&;,\s\"'<>]+)")
    _HEADER = re.compile(rb"((?:proxy-)?authorization)\s{0,8}:\s{0,8}([^\"\\\r\n<]+)", re.I)
    #: ``mysql://user:password@host``.
    _URL = re.compile(rb"(://[^\s:/@\"<>]{0,256}:)[^\s/@\"<>]{1,256}@")

    def __init__(self) -> None:
        self._secret = list(self.SECRET)
        self._volatile = list(self.VOLATILE)
        self._texts: list[bytes] = []
        self._numbers: dict[bytes, int] = {}

    def secret(self, *names: str) -> None:
        """Values of these names are secret."""
        self._secret += names

    def volatile(self, *names: str) -> None:
        """Values of these names are others each time."""
        self._volatile += names

    def text(self, *texts: str) -> None:
        """These texts are secret, wherever they stand."""
        self._texts += sorted((text.encode() for text in texts if text), key=len, reverse=True)

    def applied(self, message: bytes) -> bytes:
        """The message with stand-ins in place of what is masked; all else is as it came."""
        for text in self._texts:
            message = message.replace(text, b"***")
        message = self._URL.sub(rb"\1***@", message)
        for pattern in (
            self._JSON, self._JSON_NODE, self._LINE, self._ATTRIBUTE, self._XML, self._QUERY, self._HEADER
        ):  # fmt: skip
            message = pattern.sub(self._replaced, message)
        return message

    def _replaced(self, found: re.Match[bytes]) -> bytes:
        name, value = found.group(1).decode("utf-8", "replace").strip(), found.group(2)
        if _matches(name, self._secret):
            stand_in = b"***"
        elif _matches(name, self._volatile):
            stand_in = self._stand_in(name, value.strip(b'"'))
        else:
            return found.group()
        quote = (
            b'"'
            if value.startswith(b'"') or (stand_in == b"***" and found.re in (self._JSON, self._JSON_NODE))
            else b""
        )
        begin, end = found.start(2) - found.start(), found.end(2) - found.start()
        whole = found.group()
        return whole[:begin] + quote + stand_in + quote + whole[end:]

    def _stand_in(self, name: str, value: bytes) -> bytes:
        """Something of the same kind: a date for a date, a number for a number."""
        if name.lower() == "pid":
            return b"%d" % self._numbers.setdefault(value, len(self._numbers) + 1)
        if re.fullmatch(rb"-?[0-9.]+", value):
            return b"0"
        if re.fullmatch(rb"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", value):
            return b"Thu Jan  1 00:00:00 1970"
        return re.sub(rb"\d+", b"0", value)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
