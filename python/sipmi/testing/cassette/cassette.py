"""Cassette: real traffic of a test, recorded once and replayed from then on."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import ssl
import threading
from pathlib import Path
from typing import Any, Optional, Union

from ... import client
from .deck import Answer, Question, Upstream, endpoint, track_of
from .masks import Masks
from .tape import Interaction, Tape, Track, essence, id_of, with_id

#: How a cassette may be used.
MODES = ("once", "none", "all", "check")


class Cassette:
    """Requests and replies as they were on the wire, in a file; replayed by endpoints that take the server's place.

    Whatever speaks MI can be recorded, in any language: it is given the address of an endpoint. When it records, the
    endpoint passes requests on as they are. When it replays, the same requests get the same bytes again; a request
    that comes more often than it was recorded gets the last reply again, and one that was not recorded an error.

    :param path: the file; with directories that do not exist.
    :param mode: "once": replay, or record where there is no file. "none": replay. "all": record anew, and say in
        :attr:`differences` what is not as it was. "check": ask the real servers, compare with the file, and leave it.
    :param timeout: seconds that a real server may take.
    :raises ValueError: there is no such mode, or the file is no cassette.
    :raises FileNotFoundError: there is no file to replay.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "uptime.mi")
    >>> from sipmi.testing import FakeOpenSIPS
    >>> with FakeOpenSIPS("2.4") as opensips, Cassette(path) as tape, tape.connect(opensips.address("udp")) as mi:
    ...     mi.call("get_statistics", ["drop_requests"])
    {'core:drop_requests': 0}
    >>> with Cassette(path) as tape, tape.connect() as mi:  # no server, and no address
    ...     mi.call("get_statistics", ["drop_requests"])
    {'core:drop_requests': 0}
    >>> folder.cleanup()
    """

    def __init__(self, path: Union[str, os.PathLike[str]], *, mode: str = "once", timeout: float = 5.0) -> None:
        if mode not in MODES:
            raise ValueError(f"expected a mode of {', '.join(MODES)}, found {mode!r}")
        self.path: Path = Path(path)
        found = self.path.exists()
        if not found and mode in ("none", "check"):
            raise FileNotFoundError(f"no cassette at {self.path}: record it with the mode 'once' or 'all'")
        self.mode = mode
        #: True if real servers are called.
        self.is_live: bool = mode in ("all", "check") or not found
        self._timeout = timeout
        self._old = Tape.load(self.path) if found else Tape()
        self._new = Tape()
        self._masks = Masks()
        self._played: dict[tuple[int, str, bytes], int] = {}
        self._missing: list[Interaction] = []
        self._unreached: set[str] = set()
        self._addresses: dict[Optional[str], str] = {}
        self._lock = threading.Lock()
        self._endpoints = contextlib.ExitStack()

    # -- what is used ---------------------------------------------------------------------------------

    def through(self, address: Optional[str] = None, *, tls: Optional[ssl.SSLContext] = None) -> str:
        """An address to use in place of a server's: give it to the code under test.

        :param address: the server's, as :func:`sipmi.connect` takes it; None only when it is replayed.
        :param tls: (https) how to trust the server. The endpoint itself is plain HTTP.
        :raises ValueError: it records, and there is no address; or more servers are used than were recorded.
        """
        if address in self._addresses:
            return self._addresses[address]
        number = len(self._addresses) + 1
        upstream = None
        if self.is_live:
            if address is None:
                raise ValueError(f"expected the address of a server to record {self.path.name} from, found none")
            upstream = Upstream(address, self._timeout, tls)
            track = upstream.track
        else:
            track = self._recorded_track(number, address)
        self._new.tracks.append(track)

        def ask(question: Question) -> Answer:
            return self._replay(number, question) if upstream is None else self._record(number, question, upstream)

        address_of_ours = self._endpoints.enter_context(endpoint(track, ask))
        if upstream is not None:
            self._endpoints.callback(upstream.close)  # before the endpoint, which waits for answers under way
        self._addresses[address] = address_of_ours
        return self._addresses[address]

    def connect(self, address: Optional[str] = None, **options: Any) -> client.Client:
        """A client of a server, recorded or replayed; ``options`` are those of :func:`sipmi.connect`."""
        trust = {name: options.pop(name) for name in ("cafile", "cert", "verify") if name in options}
        tls = _trusting(**trust) if address is not None and address.startswith("https:") else None
        return client.connect(self.through(address, tls=tls), **options)

    def secret(self, *names: str) -> None:
        """Masks values of these names, such as "pin" or "*_key". Passwords, secrets and tokens always are."""
        self._masks.secret(*names)

    def secret_text(self, *texts: str) -> None:
        """Masks these texts wherever they stand, also in parameters that have no name."""
        self._masks.text(*texts)

    def volatile(self, *names: str) -> None:
        """Puts a value that is always the same in place of those of these names, such as "load:*".

        Times and pids of the core's replies always are. A tape made again is then equal where nothing has changed.
        """
        self._masks.volatile(*names)

    # -- what came of it ------------------------------------------------------------------------------

    @property
    def missing(self) -> list[str]:
        """The requests that the tape does not have, each with the recorded request that is nearest to it."""
        return [self._told_missing(one) for one in self._missing]

    @property
    def differences(self) -> list[str]:
        """("all", "check") What real servers answered other than the tape has it, line by line.

        Of a server that could not be reached, that; nothing is written then.
        """
        if self._unreached:
            return [f"not reached: {why}" for why in sorted(self._unreached)]
        if not self.is_live or not self._old.interactions:
            return []
        recorded: dict[tuple[int, str, bytes], list[Interaction]] = {}
        for one in self._old.interactions:
            recorded.setdefault(one.key, []).append(one)
        told = []
        for one in self._new.interactions:
            known = recorded.get(one.key)
            if not known:
                told.append(f"new: {_first_line(one)}")
                continue
            was = known.pop(0) if len(known) > 1 else known[0]
            if (was.reply, was.status) != (one.reply, one.status):
                told.append("\n".join([f"changed: {_first_line(one)}", *_unified(_sides(was), _sides(one))]))
        asked = {one.key for one in self._new.interactions}
        told += [f"not asked any more: {_first_line(known[0])}" for key, known in recorded.items() if key not in asked]
        return told

    def close(self) -> None:
        """Closes the endpoints, and writes the file when it recorded. Twice does no harm."""
        self._endpoints.close()
        if self.is_live and self.mode != "check" and self._new.interactions and not self._unreached:
            self._new.save(self.path)

    def __enter__(self) -> Cassette:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Cassette {self.path.name}: {'recording' if self.is_live else 'replaying'}>"

    # -- how ------------------------------------------------------------------------------------------

    def _recorded_track(self, number: int, address: Optional[str]) -> Track:
        if number > len(self._old.tracks):
            raise ValueError(f"{self.path.name} has {len(self._old.tracks)} servers, found one more: record it anew")
        track = self._old.tracks[number - 1]
        if address is not None and track_of(address) != track:
            raise ValueError(f"{self.path.name} was recorded over {_told(track)}, found {_told(track_of(address))}")
        return track

    def _record(self, number: int, question: Question, upstream: Upstream) -> Answer:
        asked = Interaction(number, question.target, self._masked(question.body), None)
        with self._lock:  # in the order of the requests
            place = len(self._new.interactions)
            self._new.interactions.append(asked)
        try:
            answer = upstream.ask(question)
        except OSError as error:
            self._unreached.add(f"{_told(upstream.track)}: {error}")
            return self._refusal(question, f"the server cannot be reached: {error}")
        reply = answer.body
        if reply is not None:
            identity = id_of(question.body)
            if identity is not None and id_of(reply) == identity:
                reply = with_id(reply, "1")
            reply = self._masks.applied(reply)
        self._new.interactions[place] = dataclasses.replace(asked, reply=reply, status=answer.status)
        return answer

    def _replay(self, number: int, question: Question) -> Answer:
        request = self._masked(question.body)
        asked = Interaction(number, question.target, request, None)
        with self._lock:
            recorded = [one for one in self._old.interactions if one.key == asked.key]
            if not recorded:
                if asked.key not in [one.key for one in self._missing]:
                    self._missing.append(asked)
                return self._refusal(question, f"not on the cassette {self.path.name}")
            turn = self._played.get(asked.key, 0)
            self._played[asked.key] = turn + 1
        one = recorded[min(turn, len(recorded) - 1)]
        reply, identity = one.reply, id_of(question.body)
        if reply is not None and identity is not None and id_of(reply) == "1":
            reply = with_id(reply, identity)
        return Answer(reply, one.status)

    def _masked(self, request: bytes) -> bytes:
        return self._masks.applied(with_id(request, "1"))

    def _refusal(self, question: Question, why: str) -> Answer:
        """An error answer of the cassette itself, which every client shows."""
        identity = id_of(question.body)
        if identity is not None:
            text = why.replace("\\", "/").replace('"', "'")
            error = f'{{"jsonrpc":"2.0","error":{{"code":-32000,"message":"{text}"}},"id":{identity}}}'
            return Answer(error.encode(), "200 application/json" if question.target else "")
        return Answer(f"500 {why}\n\n".encode(), "500 text/plain" if question.target else "")

    def _told_missing(self, asked: Interaction) -> str:
        lines = _sides(asked)
        nearest, likeness = None, 0.0
        for one in self._old.interactions:
            ratio = difflib.SequenceMatcher(None, _text(one.request), _text(asked.request)).ratio()
            if ratio > likeness:
                nearest, likeness = one, ratio
        if nearest is None:
            return "\n".join(["not recorded (nothing is):", *lines])
        head = f"not recorded: {_first_line(asked)}"
        return "\n".join(
            [head, "the nearest that was (-) and what was asked (+):", *_unified(_request(nearest), lines)]
        )


def _trusting(cafile: Any = None, cert: Any = None, verify: bool = True) -> ssl.SSLContext:
    """Return the TLS context of Python for the options that `sipmi.connect` takes."""
    context = ssl.create_default_context(cafile=cafile)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        chain, key = cert if isinstance(cert, tuple) else (cert, None)
        context.load_cert_chain(chain, key)
    return context


def _told(track: Track) -> str:
    return f"{track.transport} {track.path}".rstrip()


def _text(raw: bytes) -> str:
    return essence(raw).decode("utf-8", "replace")


def _first_line(one: Interaction) -> str:
    return " ".join([one.target, _text(one.request).partition("\n")[0]]).strip()


def _request(one: Interaction) -> list[str]:
    return Tape([], [Interaction(one.track, one.target, essence(one.request), None)]).text().splitlines()[3:-1]


def _sides(one: Interaction) -> list[str]:
    """An interaction, line by line, as the file has it."""
    if one.reply is None and not one.status:
        return _request(one)
    return Tape([], [one]).text().splitlines()[3:]


def _unified(old: list[str], new: list[str]) -> list[str]:
    return list(difflib.unified_diff(old, new, n=3, lineterm=""))[3:]
