"""Compares the outcomes of a call on two wires of one server."""

from __future__ import annotations

import re
from typing import Any, Optional

from calls import KEY, Call
from outcomes import Outcome, leaves, loose
from servers import Endpoint

SAME, REFUSED, UNCLEAR, OTHER_WORDING, ALTERED, DIFFERENT = (
    "same", "refused", "unclear", "other wording", "altered", "different",
)  # fmt: skip

#: Values that mi_xmlrpc of 1.x alters: it sends no non-ASCII bytes and no empty lines.
ALTERED_BY_ABYSS = {KEY + "unicode", KEY + "empty_line"}

#: The reply to a command whose handler failed, on each wire of 1.x and 2.x.
_HANDLER_FAILED = re.compile(r"command .*failed|Internal server error|Empty request|processing failed|Server error")

#: Faults that stand for one error, since some wires have a number for only one of them.
_UNKNOWN = {"MethodNotFound", "AmbiguousMethod"}


def compare(call: Call, endpoint: Endpoint, found: Outcome, expected: Outcome) -> str:
    """Compare two outcomes, and return one of the constants above."""
    if REFUSED in (found.kind, expected.kind):
        return REFUSED
    if endpoint.loses_nesting and call.subject in ALTERED_BY_ABYSS:
        return ALTERED
    if found.kind == "unclear" and endpoint.loses_errors:
        return UNCLEAR if expected.kind == "fault" or is_empty(expected.value) else DIFFERENT
    if found.kind != expected.kind:
        return DIFFERENT
    if found == expected:
        return SAME
    if found.kind == "fault":
        return OTHER_WORDING if endpoint.loses_errors or _are_one_fault(found, expected) else DIFFERENT
    return SAME if _are_one_value(call, endpoint, found, expected) else DIFFERENT


def _are_one_fault(found: Outcome, expected: Outcome) -> bool:
    if found.value in _UNKNOWN and expected.value in _UNKNOWN:
        return True
    return _message_of_failure(found) is not None and _message_of_failure(expected) is not None


def _message_of_failure(outcome: Outcome) -> Optional[str]:
    message = outcome.value[1] if isinstance(outcome.value, tuple) else ""
    return message if _HANDLER_FAILED.search(message) else None


def _are_one_value(call: Call, endpoint: Endpoint, found: Outcome, expected: Outcome) -> bool:
    if call.is_in_table or endpoint.is_typed:
        return bool(found.value == expected.value)
    if is_empty(found.value) and is_empty(expected.value):
        return True
    if endpoint.loses_nesting:
        return leaves(found.value) == leaves(expected.value)
    return bool(loose(found.value) == loose(expected.value))


def is_empty(value: Any) -> bool:
    """Return whether a success has no nodes. Only some wires tell an empty list from no value."""
    return value in ("OK", []) or (isinstance(value, dict) and all(each == [] for each in value.values()))
