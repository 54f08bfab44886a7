"""The fake answers every recorded request as the real servers did, or ``docs/conformance.md`` says why not."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from pathlib import Path

import pytest

import conformance
from conformance import DIFFERENT, MASKED, Outcome

REASONS = Path(__file__).parent.parent / "docs" / "conformance.md"
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \| (.+) \|$", re.MULTILINE)

#: What no fake can answer as recorded: transactions of SIP, pages, and a module that broke after its first array.
NOT_COUNTED = re.compile(r"\S*-html |1\.11-xmlrpc-ro1|\S*-async |\S* t_uac_dlg|\S*-fifo-multi .*async|\S* html_")


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return conformance.replay_all(conformance.SESSIONS)


def reason(outcome: Outcome) -> str:
    """The row of the table that explains a difference; empty when none does."""
    for files, cases, why in ROW.findall(REASONS.read_text()):
        if fnmatch.fnmatchcase(outcome.file, files) and any(
            fnmatch.fnmatchcase(outcome.case, case) for case in cases.split()
        ):
            return f"{files} {cases}: {why}"
    return ""


@pytest.mark.timeout(180)
def test_every_pair_is_answered_as_recorded_or_the_table_says_why(outcomes: list[Outcome]) -> None:
    unexplained = [o for o in outcomes if o.verdict == DIFFERENT and not reason(o)]
    shown = [(o.file, o.case, o.request[-200:], o.expected[:300], o.found[:300]) for o in unexplained[:20]]
    assert unexplained == [], "\n".join(map(repr, shown))


def test_every_row_of_the_table_explains_something(outcomes: list[Outcome]) -> None:
    used = {reason(o) for o in outcomes if o.verdict == DIFFERENT}
    rows = {f"{files} {cases}: {why}" for files, cases, why in ROW.findall(REASONS.read_text())}
    assert rows - used == set()


def test_all_pairs_of_fifos_and_datagrams_are_identical(outcomes: list[Outcome]) -> None:
    counted = [o for o in outcomes if not NOT_COUNTED.match(f"{o.file} {o.case}") and not is_of_http(o)]
    assert len(counted) > 1900
    assert Counter(o.verdict for o in counted)[DIFFERENT] == 0


def test_ninety_eight_of_a_hundred_pairs_of_all_wires_are_identical(outcomes: list[Outcome]) -> None:
    counted = [o for o in outcomes if not NOT_COUNTED.match(f"{o.file} {o.case}")]
    assert len(counted) > 3100
    assert Counter(o.verdict for o in counted)[DIFFERENT] <= len(counted) // 50


def is_of_http(outcome: Outcome) -> bool:
    return b" HTTP/1." in outcome.request


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
}
_NAMES = re.compile(b"|".join(map(re.escape, RENAMED)))


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
