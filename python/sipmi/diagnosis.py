"""Why a server cannot be talked to, in plain words, and what to type about it: :func:`doctor`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

from ._options import check_options
from .errors import CallTimeout, CodecError, Fault, MiError, RequestRefused

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .client import ClientOptions

#: What findings are: good to know, worth a change, or the reason.
LEVELS = ("ok", "hint", "problem")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    >>> print(Finding("problem", "fifo-missing", "There is nothing at /tmp/x.", fix="systemctl start opensips"))
    problem  There is nothing at /tmp/x.
             $ systemctl start opensips
    """

    level: str
    """"ok", "hint" or "problem"."""
    code: str
    """What it is about, for programs: "fifo-no-reader", "tls-expired"."""
    text: str
    """In plain words."""
    fix: Optional[str] = None
    """What to type about it: a shell command, or a line of the server's configuration (``modparam(...)``)."""

    def __str__(self) -> str:
        lines = [f"{self.level:8} {self.text}"]
        for line in (self.fix or "").splitlines():
            lines.append(f"{'':8} {line if line.startswith(('modparam', 'loadmodule')) else f'$ {line}'}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What :func:`doctor` found, in the order in which it looked.

    >>> healthy = Diagnosis("udp:127.0.0.1:8080", (Finding("ok", "answered", "OpenSIPS 3.6.8 answers in 1 ms."),))
    >>> healthy.ok, len(healthy.problems)
    (True, 0)
    >>> print(healthy)
    udp:127.0.0.1:8080
    ok       OpenSIPS 3.6.8 answers in 1 ms.
    """

    address: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What keeps it from working, or will."""
        return tuple(finding for finding in self.findings if finding.level == "problem")

    def as_dict(self) -> dict[str, Any]:
        """What JSON takes."""
        return {
            "address": self.address,
            "ok": self.ok,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }

    def __str__(self) -> str:
        return "\n".join([self.address, *map(str, self.findings)])


def doctor(
    address: str, *, timeout: float = 2.0, event_address: Optional[str] = None, **options: Unpack[ClientOptions]
) -> Diagnosis:
    """Looks why a server cannot be talked to, and says what to type about it.

    It asks the server only for its ``version``, and otherwise looks at what this machine knows: files, rights,
    processes, namespaces, sockets, certificates. As root it sees more than as another user.

    :param address: as :func:`sipmi.connect` takes it.
    :param timeout: seconds for each exchange with the server, more than 0.
    :param event_address: where events are to be received, ``udp:host:port``: whether the server can reach it.
    :param options: those of :func:`sipmi.connect`: ``wire=``, ``reply_dir=``, ``auth=``, ``cafile=``, ``verify=``, ...
    :raises TypeError: an option has an unknown name, or a value of another type.
    :raises ValueError: the address or an option cannot be read.

    >>> import sipmi
    >>> diagnosis = sipmi.doctor("fifo:/nowhere/opensips_fifo")
    >>> diagnosis.ok, [finding.code for finding in diagnosis.problems]
    (False, ['directory-missing'])
    """
    from . import client
    from ._doctor import datagram, events, fifo, web

    check_options("doctor()", options, client.ClientOptions)
    given: dict[str, Any] = {**options}

    scheme, _, rest = address.partition(":")
    look = {
        "fifo": fifo.look,
        "udp": datagram.look_udp,
        "unix": datagram.look_unix,
        "http": web.look,
        "https": web.look,
    }
    if scheme == "unix" and len(rest.encode()) > datagram.LONGEST_PATH:
        return Diagnosis(address, (datagram.too_long(rest),))
    mi = client.connect(address, timeout=timeout, **options)

    def findings() -> Iterator[Finding]:
        with mi:
            # What is found to be broken is not asked as well: it would only say the same in other words.
            broken = False
            for finding in look[scheme](address, mi, given):
                broken |= finding.level == "problem"
                yield finding
            if not broken:
                yield from _ask(mi, given, scheme)
            if event_address is not None:
                yield from events.look(address, event_address)

    return Diagnosis(mi.address, tuple(findings()))


def _ask(mi: Any, options: dict[str, Any], scheme: str) -> Iterator[Finding]:
    """The question itself, when nothing speaks against it, and what its failure may mean."""
    from ._doctor import silence

    try:
        reply = mi.request("version")
        generation, version, wire = mi.generation, mi.version, mi.wire
    except CallTimeout as error:
        yield from silence.explain(mi, options, scheme, error)
    except RequestRefused as error:
        yield Finding("problem", "refused", f"The question was not sent: {error}")
    except CodecError as error:
        yield from silence.unreadable(mi, options, scheme, error)
    except Fault as error:
        yield Finding("problem", "error-answer", f"The server answers the question for its version with {error}.")
    except MiError as error:
        yield from silence.transport(mi, options, scheme, error)
    else:
        who = (
            {"sipmi": "sipmi"}.get(generation or "", "OpenSIPS") if version else "A server that does not say who it is"
        )
        if not reply.ok and version is None:
            yield from silence.wrong_wire(mi, options, reply)
            return
        took = f"{reply.elapsed * 1000:.1f} ms"
        yield Finding("ok", "answered", f"{who} {version or ''} answers over {wire}, in {took}.".replace("  ", " "))
        if reply.elapsed > silence.SLOW:
            yield Finding("hint", "slow", f"It took {took}: the process that answers is busy, or the machine is.")
