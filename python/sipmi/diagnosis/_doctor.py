"""The checks of a server, and the meaning of its answer: :func:`doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

from .._options import check_options
from ..errors import CallTimeout, CodecError, Fault, MiError, RequestRefused
from ._finding import Diagnosis, Finding

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..client import ClientOptions


def doctor(
    address: str, *, timeout: float = 2.0, event_address: Optional[str] = None, **options: Unpack[ClientOptions]
) -> Diagnosis:
    """Find out why a server cannot be reached, and name the commands that mend it.

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
    from ..client import ClientOptions, connect
    from . import _datagram, _events, _fifo, _http

    check_options("doctor()", options, ClientOptions, also=("timeout", "event_address"))
    given: dict[str, Any] = {**options}

    scheme, _, rest = address.partition(":")
    look = {
        "fifo": _fifo.look,
        "udp": _datagram.look_udp,
        "unix": _datagram.look_unix,
        "http": _http.look,
        "https": _http.look,
    }
    if scheme == "unix" and len(rest.encode()) > _datagram.LONGEST_PATH:
        return Diagnosis(address, (_datagram.too_long(rest),))
    mi = connect(address, timeout=timeout, **options)

    def findings() -> Iterator[Finding]:
        with mi:
            # A broken endpoint is not called as well: the error would repeat the finding.
            broken = False
            for finding in look[scheme](address, mi, given):
                broken |= finding.level == "problem"
                yield finding
            if not broken:
                yield from _ask(mi, given, scheme)
            if event_address is not None:
                yield from _events.look(address, event_address)

    return Diagnosis(mi.address, tuple(findings()))


def _ask(mi: Any, options: dict[str, Any], scheme: str) -> Iterator[Finding]:
    """The question itself, when nothing speaks against it, and what its failure may mean."""
    from . import _silence

    try:
        reply = mi.request("version")
        generation, version, wire = mi.generation, mi.version, mi.wire
    except CallTimeout as error:
        yield from _silence.explain(mi, options, scheme, error)
    except RequestRefused as error:
        yield Finding("problem", "refused", f"The question was not sent: {error}")
    except CodecError as error:
        yield from _silence.unreadable(mi, options, scheme, error)
    except Fault as error:
        yield Finding("problem", "error-answer", f"The server answers the question for its version with {error}.")
    except MiError as error:
        yield from _silence.transport(mi, options, scheme, error)
    else:
        who = (
            {"sipmi": "sipmi"}.get(generation or "", "OpenSIPS") if version else "A server that does not say who it is"
        )
        if not reply.ok and version is None:
            yield from _silence.wrong_wire(mi, options, reply)
            return
        took = f"{reply.elapsed * 1000:.1f} ms"
        yield Finding("ok", "answered", f"{who} {version or ''} answers over {wire}, in {took}.".replace("  ", " "))
        if reply.elapsed > _silence.SLOW:
            yield Finding("hint", "slow", f"It took {took}: the process that answers is busy, or the machine is.")
