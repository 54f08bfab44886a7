"""The exceptions of calls and handlers.

::

    MiError
    ├── TransportError (OSError)     the peer cannot be reached, or closed the connection
    ├── CallTimeout (TimeoutError)   no reply within the deadline
    ├── CodecError (ValueError)      the reply cannot be decoded
    ├── RequestRefused (ValueError)  not sent: a limit, or a hazard to the server
    └── Fault                        the server answered with an error
        ├── MethodNotFound           there is no such command
        ├── AmbiguousMethod          several modules have one of that name
        ├── InvalidParams            wrong count, name or type of parameters
        └── StatisticNotFound (LookupError)  the server has none of the statistics
"""

from __future__ import annotations

from typing import Any, Optional

#: The text for a reply that may be a success or an error.
UNCLEAR = "unclear: OpenSIPS 1.x answers nothing both for success and for some errors over this wire"


def is_of_a_call(raised: Any) -> bool:
    """Return True for an error of a call. pytest then shows the line of the caller, without the frames of this package.

    :param raised: the ``ExceptionInfo`` that pytest gives to ``__tracebackhide__``, or None.
    """
    return isinstance(getattr(raised, "value", None), MiError)


class MiError(Exception):
    """The base of all errors of a call.

    ``address`` and ``command`` name the server and the command, ``sent`` and ``received`` hold the bytes;
    None where there are none. Parameter values are never part of the message.
    """

    address: Optional[str] = None
    command: Optional[str] = None
    sent: Optional[bytes] = None
    received: Optional[bytes] = None


class TransportError(MiError, OSError):
    """The peer cannot be reached, or closed the connection."""


class CallTimeout(MiError, TimeoutError):
    """No reply came within the deadline."""


class CodecError(MiError, ValueError):
    """The reply cannot be decoded, or is truncated."""


class RequestRefused(MiError, ValueError):
    """The request was not sent: the wire cannot say it, or it would harm the server."""

    #: True if ``force=True`` sends it: the server would only refuse or ignore it, or the command harms this version.
    can_be_forced: bool = False


class Fault(MiError):
    """An error answer: raised by a handler to give one, raised by a call that got one.

    >>> raise Fault(404, "No such subscriber")
    Traceback (most recent call last):
    ...
    sipmi.errors.Fault: 404 No such subscriber
    """

    def __init__(self, code: int, message: str = "", data: Any = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        place = "".join(f"{part}: " for part in (self.address, self.command) if part)
        detail = f": {self.data}" if isinstance(self.data, str) else ""
        return f"{place}{self.code} {self.message}{detail}"


class MethodNotFound(Fault):
    """There is no command of this name (-32601, -506, ``500 command 'x' not available``)."""

    #: The names of commands that the client has from the server already; empty before it asked for them.
    known: tuple[str, ...] = ()

    @property
    def nearest(self) -> Optional[str]:
        """The command with the most similar name, of those of the server if they are known, or else of OpenSIPS."""
        import difflib

        from ._core import cataloged_commands, cataloged_versions

        names = set(self.known)
        if not names:
            names.update(*(cataloged_commands(version) or () for version in cataloged_versions()))
        if self.command is None or self.command in names:
            return None
        return next(iter(difflib.get_close_matches(self.command, sorted(names), 1, 0.7)), None)

    def __str__(self) -> str:
        nearest = self.nearest
        return super().__str__() + (f" (did you mean {nearest}?)" if nearest else "")


class AmbiguousMethod(Fault):
    """Several modules have a command of this name (-32001); ``data`` names them."""


class InvalidParams(Fault):
    """Wrong count, name or type of parameters (-32602, ``400 Too few or too many arguments``)."""


class StatisticNotFound(Fault, LookupError):
    """The server has none of the statistics that were asked for; ``data`` names them (404 ``Statistics Not Found``)."""


class ChangedParameterWarning(UserWarning):
    """``mi_xmlrpc`` of OpenSIPS 1.x changed a parameter: it makes CR LF of two LF."""


class UnclearReplyWarning(UserWarning):
    """OpenSIPS 1.x answered nothing over ``mi_json`` or ``/xmlrpc``, which may stand for success or for an error."""


class OldServerWarning(UserWarning):
    """The server is OpenSIPS 1.4 to 1.10, some of whose replies keep shapes of their own; told once per client."""
