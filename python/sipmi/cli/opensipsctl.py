"""Arguments as ``opensipsctl fifo`` takes them: printf(1) reads them, then the server's parser of text parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile

from .. import _core
from .ending import Usage

#: The escapes of printf(1) in bash: a letter, up to three octal digits, or up to two hexadecimal ones.
_ESCAPE = re.compile(r"\\(?:([\\\"'abefnrtv])|([0-7]{1,3})|x([0-9A-Fa-f]{1,2}))|%%")
_LETTERS = dict(zip("\\\"'abefnrtv", "\\\"'\a\b\x1b\f\n\r\t\v"))

#: A quote within a quoted value: printf(1) takes one backslash, the server the other.
QUOTE = '\\\\"'


def as_opensipsctl(arguments: Iterable[str]) -> list[tuple[str, str]]:
    r"""Names, or "", and values of arguments. As with opensipsctl, the first empty argument ends them.

    >>> as_opensipsctl(['"."', r'"To: <sip:1@a>\r\n"', "aor::alice", "100%%"])
    [('', '.'), ('', 'To: <sip:1@a>\r\n'), ('aor', 'alice'), ('', '100%')]

    :raises Usage: a quote is missing, or stands where the server would not read it.
    """
    lines = [printf(argument) for argument in takewhile(bool, arguments)]
    try:
        return _core.decode_text_params("\n".join(lines))
    except ValueError as error:
        raise Usage(f"{error} (quotes within a value are written {QUOTE} and the value goes in quotes)") from None


def quoted(text: str) -> str:
    r"""The argument that :func:`as_opensipsctl` reads as this text.

    >>> quoted('50% of "a"')
    '"50%% of \\\\"a\\\\""'
    """
    escaped = text.replace('"', '\\"').replace("\\", "\\\\").replace("%", "%%")
    return f'"{escaped}"'


def printf(text: str) -> str:
    r"""What printf(1) makes of a format: escapes are read and ``%%`` is ``%``. Any other ``%`` stays.

    >>> printf(r"a\tb 100%% \101 50%")
    'a\tb 100% A 50%'
    """
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(found: re.Match[str]) -> str:
    letter, octal, hexadecimal = found.groups()
    if letter:
        return _LETTERS[letter]
    if octal:
        return chr(int(octal, 8) & 0xFF)
    return chr(int(hexadecimal, 16)) if hexadecimal else "%"
