"""The fake answers every recorded request as the real servers did, or ``docs/conformance.md`` says why not."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from pathlib import Path

import pytest

import conformance
from conformance import DIFFERENT, MASKED, Outcome

REASONS = Path(__file__).parents[2] / "docs" / "conformance.md"
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \| (.+) \|$", re.MULTILINE)

#: Requests that no fake can answer as recorded: SIP transactions, and a module that broke after its first array.
NOT_COUNTED = re.compile(r"1\.11-xmlrpc-ro1|\S*-async |\S* t_uac_dlg|\S*-fifo-multi .*async")


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return conformance.replay_all(conformance.SESSIONS)


def reason(outcome: Outcome) -> str:
    """The row of the table that explains a difference; empty when none does."""
    for files, cases, why in ROW.findall(REASONS.read_text()):
        if matches(outcome.file, files) and matches(outcome.case, cases):
            return f"{files} {cases}: {why}"
    return ""


def matches(name: str, patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split())


@pytest.mark.timeout(180)
def test_every_pair_is_answered_as_recorded_or_the_table_says_why(outcomes: list[Outcome]) -> None:
    unexplained = [o for o in outcomes if o.verdict == DIFFERENT and not reason(o)]
    shown = [(o.file, o.case, o.request[-200:], o.expected[:300], o.found[:300]) for o in unexplained[:20]]
    assert unexplained == [], "\n".join(map(repr, shown))


def test_every_row_of_the_table_explains_something(outcomes: list[Outcome]) -> None:
    used = {reason(o) for o in outcomes if o.verdict == DIFFERENT}
    rows = {f"{files} {cases}: {why}" for files, cases, why in ROW.findall(REASONS.read_text())}
    assert rows - used == set()


def test_the_table_of_differences_names_no_identical_pair(outcomes: list[Outcome]) -> None:
    assert [(o.file, o.case) for o in outcomes if o.verdict != DIFFERENT and reason(o)] == []


def test_ninety_nine_of_a_hundred_pairs_are_identical(outcomes: list[Outcome]) -> None:
    counted = [o for o in outcomes if not NOT_COUNTED.match(f"{o.file} {o.case}")]
    assert len(counted) > 3200
    assert Counter(o.verdict for o in counted)[DIFFERENT] <= len(counted) // 100


def test_all_pages_are_identical(outcomes: list[Outcome]) -> None:
    pages = [o for o in outcomes if o.file.endswith("-html") or o.case.startswith("html_")]
    assert len(pages) > 70
    assert Counter(o.verdict for o in pages)[DIFFERENT] == 0


def test_masks_are_few_and_each_is_needed(outcomes: list[Outcome]) -> None:
    assert len(conformance.MASKS) <= 10
    masked = [o for o in outcomes if o.verdict == MASKED]
    needed = {field for field in conformance.MASKS if any(f"<{field}>".encode() in conformance.masked(o.expected)
                                                          for o in masked)}  # fmt: skip
    assert needed == set(conformance.MASKS)


#: Other names for what the recordings speak of, of the same length: so sizes stay what they were.
RENAMED = {
    b"alice": b"carol",
    b"bob": b"eve",
    b"hello": b"salut",
    b"nokey": b"nohit",
    # The other way round, since their slots are.
    b"lab-call-1": b"web-call-2",
    b"lab-call-2": b"web-call-1",
    b"k_fifo": b"q_fifo",
    b"k_datagram": b"q_datagram",
    b"line": b"hose",
    # Ports and weights of contacts.
    b":5098": b":5097",
    b":5099": b":5096",
    b"0.7": b"0.8",
    b"0.5": b"0.4",
    b"qval::500": b"qval::400",
    b'"qval":500': b'"qval":400',
}
_NAMES = re.compile(b"|".join(rb"(?<![\d.])" + re.escape(name) + rb"(?![\d])" if name[:2] == b"0." else re.escape(name)
                              for name in RENAMED))  # fmt: skip


def rename(text: bytes) -> bytes:
    return _NAMES.sub(lambda match: RENAMED[match[0]], text)


@pytest.mark.timeout(180)
def test_other_names_give_the_same_replies_with_other_names(outcomes: list[Outcome]) -> None:
    sessions = [s for s in conformance.SESSIONS if not any("poison" in file or "multi" in file for file in s.files)]
    plain = {(o.file, o.case): o for o in outcomes}
    renamed = conformance.replay_all(sessions, rename=rename)
    different = [
        o for o in renamed
        if plain[o.file, o.case].verdict != DIFFERENT and unordered(o.expected) != unordered(o.found)
        and b"base64" not in o.request
    ]  # fmt: skip
    shown = [(o.file, o.case, o.request[-200:], o.expected[:300], o.found[:300]) for o in different[:20]]
    assert different == [], "\n".join(map(repr, shown))


def unordered(reply: bytes) -> list[bytes]:
    """A reply in pieces: users and dialogs are listed by a hash of their names, so other names have another order."""
    pieces = re.split(rb"[\n{<,]", conformance.masked(reply).replace(b"}", b"").replace(b"]", b""))
    return sorted(piece.strip() for piece in pieces)
