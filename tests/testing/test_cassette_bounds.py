"""Cassettes under hostile traffic: masks in linear time, a file that is whole or untouched, JSON of any depth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sipmi import _core
from sipmi.testing.cassette.masks import Masks
from sipmi.testing.cassette.tape import Interaction, Tape, Track, essence, id_of

SIZE = 80_000

#: Messages on which a pattern that tries each blank, quote or name anew takes a minute and more.
HOSTILE = {
    "blanks": b" " * SIZE,
    "tabs": b"\t" * SIZE + b"x",
    "quotes": b'"' * SIZE,
    "escaped quotes": b'"' + b'\\"' * (SIZE // 2),
    "names": b'"a":"\\' * (SIZE // 6),
    "blanks after a name": b'"a"' + b" " * SIZE,
    "colons": b":" * SIZE,
    "nodes": b'"name":"\\' * (SIZE // 9),
    "tags": b"<name>" * (SIZE // 6),
    "blanks after a tag": b"<name>a</name>" + b" " * SIZE,
    "schemes": b"://" * (SIZE // 3),
    "questions": b"?a" * (SIZE // 2),
    "blanks after a header": b"Authorization" + b" " * SIZE,
    "headers": b"proxy-authorization " * (SIZE // 20),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", HOSTILE)
def test_masks_leave_a_hostile_message_unchanged(kind: str) -> None:
    assert Masks().applied(HOSTILE[kind]) == HOSTILE[kind]


@pytest.mark.parametrize(
    ("message", "masked"),
    [
        (b'{"password":"hunter2","a":1}', b'{"password":"***","a":1}'),
        (b'{"password" : "a\\"b"}', b'{"password" : "***"}'),
        (b"  password:: hunter2\n", b"  password:: ***\n"),
        (b"\t\tsecret = hunter2\n", b"\t\tsecret = ***\n"),
        (b'{"name":"ha1","value":"hunter2"}', b'{"name":"ha1","value":"***"}'),
        (b'{"a":[{"Auth_Token":"t","Credentials":"c"}]}', b'{"a":[{"Auth_Token":"***","Credentials":"***"}]}'),
        (b'{"url":"mysql://ann:hunter2@db/x"}', b'{"url":"mysql://ann:***@db/x"}'),
        (b'{"url":"http://h/mi?a=1&token=t&b=2"}', b'{"url":"http://h/mi?a=1&token=***&b=2"}'),
        (b'{"hdrs":"A: 1\\r\\nAuthorization: Digest a\\r\\n"}', b'{"hdrs":"A: 1\\r\\nAuthorization: ***\\r\\n"}'),
    ],
)
def test_masks_hide_secrets(message: bytes, masked: bytes) -> None:
    assert Masks().applied(message) == masked


def test_a_cassette_hides_what_the_trace_and_the_audit_log_hide() -> None:
    assert {"passw", "secret", "token", "credential", "private", "auth", "ha1", "api_key"} <= set(_core.secret_names())
    for part in _core.secret_names():
        name = f"my_{part.upper()}_2".encode()
        assert Masks().applied(b'{"' + name + b'":"hunter2"}') == b'{"' + name + b'":"***"}'


def test_a_secret_that_is_cut_off_is_hidden_too() -> None:
    assert b"hunter2" not in Masks().applied(b'{"password":"hunter2')


def a_tape(reply: bytes) -> Tape:
    return Tape([Track("udp")], [Interaction(1, "", b":uptime:\n", reply)])


def test_a_full_disk_leaves_the_old_file_and_no_temporary_file(tmp_path: Path) -> None:
    """The limit of a file's size stands in for the end of the disk."""
    path = tmp_path / "uptime.mi"
    a_tape(b"200 OK\n\n").save(path)
    before = path.read_bytes()
    program = f"""
import resource, signal
from pathlib import Path
from sipmi.testing.cassette.tape import Interaction, Tape, Track
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    Tape([Track("udp")], [Interaction(1, "", b":uptime:", b"x" * 100_000)]).save(Path({str(path)!r}))
except OSError:
    print("full")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "full\n", done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


DEEP = b"[" * 100_000 + b"]" * 100_000


def test_a_message_of_deep_json_is_kept_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "deep.mi"
    a_tape(DEEP).save(path)
    assert Tape.load(path).interactions[0].reply == DEEP
    assert essence(DEEP) == DEEP
    assert id_of(b'{"a":' + DEEP + b',"id":1}') is None


@pytest.mark.parametrize("json", [DEEP.decode(), "[1,"])
def test_a_file_whose_json_cannot_be_read_is_the_documented_error(tmp_path: Path, json: str) -> None:
    path = tmp_path / "broken.mi"
    path.write_text(f"sipmi cassette 1\ntrack 1: udp\n\n--- 1 reply=json\n> :uptime:\n< {json}\n")
    with pytest.raises(ValueError, match=r"broken\.mi: expected JSON"):
        Tape.load(path)
