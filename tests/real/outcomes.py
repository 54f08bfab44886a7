"""The outcome of a call, and how outcomes from different wires compare."""

from __future__ import annotations

import dataclasses
import re
import warnings
from typing import Any, Optional

from calls import Call

import sipmi

#: Fields that differ from one moment, or one wire's process, to the next.
VOLATILE = {
    "Now", "Up since", "Up time", "Expires", "expire", "ttl", "timeout", "ContactID", "WD", "drop_rate", "Timestamp",
    "load", "Date", "Last-Modified", "timestamp", "Attr", "counter",
}  # fmt: skip

#: Statistics that calls themselves change.
_COUNTER = re.compile(r"^[\w-]+:[\w-]+$")
#: A time as ctime(3) writes it.
_TIME = re.compile(r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a call: one of "value", "fault", "refused", "unclear", "error"."""

    kind: str
    value: Any = None

    def __str__(self) -> str:
        text = f"{self.kind} {self.value!r}"
        return text if len(text) < 300 else f"{text[:300]}..."


def ask(mi: sipmi.Client, call: Call) -> Outcome:
    """Makes a call. Transport errors are outcomes too: the other calls go on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sipmi.UnclearReplyWarning)
        warnings.simplefilter("ignore", sipmi.ChangedParameterWarning)
        try:
            reply = mi.request(call.command, *call.args, **dict(call.kwargs))
            value = reply.value
        except sipmi.MethodNotFound:
            return Outcome("fault", "MethodNotFound")
        except sipmi.AmbiguousMethod:
            return Outcome("fault", "AmbiguousMethod")
        except sipmi.InvalidParams:
            return Outcome("fault", "InvalidParams")
        except sipmi.Fault as fault:
            return Outcome("fault", (fault.code, fault.message.strip()))
        except sipmi.RequestRefused as error:
            return Outcome("refused", _reason(error))
        except sipmi.MiError as error:
            return Outcome("error", f"{type(error).__name__}: {_reason(error)}")
    return Outcome("unclear") if value is None and reply.code is None else Outcome("value", steady(value))


def _reason(error: Exception) -> str:
    return str(error).partition(": ")[2]


def steady(value: Any, name: str = "") -> Any:
    """A value in which each volatile field is replaced by its type."""
    if name in VOLATILE or (_COUNTER.match(name) and isinstance(value, int)):
        return f"<{type(value).__name__}>"
    if isinstance(value, dict):
        return {key: steady(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [steady(each) for each in value]
    return _TIME.sub("<time>", value) if isinstance(value, str) else value


def loose(value: Any) -> Any:
    """A value without what text wires lose: types, a list of one, None versus an empty string."""
    if isinstance(value, dict):
        return {key: loose(each) for key, each in value.items()}
    if isinstance(value, list):
        return loose(value[0]) if len(value) == 1 else [loose(each) for each in value]
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def leaves(value: Any) -> list[str]:
    """The values of a reply without its nesting, sorted: all that mi_xmlrpc of 1.x keeps."""
    if isinstance(value, dict):
        return sorted(leaf for each in value.values() for leaf in leaves(each))
    if isinstance(value, list):
        return sorted(leaf for each in value for leaf in leaves(each))
    return [str(value)] if value not in (None, "") else []


def shape(value: Any) -> Any:
    """The names and types of a value: a list has the shape of its elements together."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        merged: Any = None
        for each in value:
            merged = _merged(merged, shape(each))
        return [] if merged is None else [merged]
    return type(value).__name__


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _merged(one.get(key), other.get(key)) for key in [*one, *(set(other) - set(one))]}
    return other if one is None else one


def fits(older: Any, newer: Any) -> Optional[str]:
    """Where the shape of an older version's value contradicts that of a newer one; None where it does not.

    A field that only one of them has is no contradiction: versions know more, or less.
    """
    if isinstance(older, dict) and isinstance(newer, dict):
        found = (_below(key, fits(older[key], newer[key])) for key in older.keys() & newer.keys())
        return next((each for each in found if each), None)
    if isinstance(older, list) and isinstance(newer, list):
        return _below("[]", fits(older[0], newer[0])) if older and newer else None
    if older is None or newer is None or older == newer:
        return None
    return f": {older} and {newer}"


def _below(key: str, contradiction: Optional[str]) -> Optional[str]:
    return f".{key}{contradiction}" if contradiction else None
