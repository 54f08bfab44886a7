"""The reply of a server."""

from __future__ import annotations

import datetime
from typing import Any, Callable, Optional

from .._core import Reply as CoreReply
from .._core import Tree
from ..errors import is_of_a_call
from ._times import with_times

__tracebackhide__: Callable[[Any], bool] = is_of_a_call


class Reply:
    """The reply of a server, a success or an error.

    >>> import sipmi
    >>> server = sipmi.Server("billing", version="1.4")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     reply = mi.request("which", "help")
    >>> reply
    <Reply 200 OK to which>
    >>> reply.value
    [[], ['mi_cmd']]
    """

    __slots__ = ("_core", "_typed", "_zone")

    def __init__(self, core: CoreReply, zone: Optional[datetime.tzinfo] = None, typed: bool = False) -> None:
        self._core = core
        self._zone = zone
        self._typed = typed

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._core.address

    @property
    def command(self) -> str:
        """The command that was called."""
        return self._core.command

    @property
    def code(self) -> Optional[int]:
        """The code on the wire: 200, 404, -32601. 200 to 299 is success.

        None when the reply is empty, by which OpenSIPS 1.x means success or one of some errors (mi_json, /xmlrpc).
        """
        return self._core.code

    @property
    def reason(self) -> str:
        """The text of the code: "OK", "AOR not found"."""
        return self._core.reason

    @property
    def ok(self) -> bool:
        """True for a success."""
        return self._core.ok

    @property
    def tree(self) -> Tree:
        """The nodes of the reply, or the nodes that stand for its value (``struct mi_root``)."""
        return self._core.tree

    @property
    def value(self) -> Any:
        """The value that ``call`` returns.

        :raises Fault: the reply is an error.
        """
        value = self._core.value
        return with_times(self._core.command, value, self._zone) if self._typed else value

    @property
    def raw(self) -> bytes:
        """The received bytes; over HTTP, the body."""
        return self._core.raw

    @property
    def sent(self) -> bytes:
        """The sent bytes; over HTTP, the body, or the path of a request without one."""
        return self._core.sent

    @property
    def text(self) -> bytes:
        """The reply as text, as it came or as a FIFO of 2.x would have written it."""
        return self._core.text

    @property
    def wire(self) -> str:
        """The wire of the reply: "text", "jsonrpc", "mi_json" or "xmlrpc"."""
        return self._core.wire

    @property
    def elapsed(self) -> float:
        """Seconds from the first byte sent to the last received."""
        return self._core.elapsed

    def _repr_html_(self) -> str:
        from ..display import html

        return html(self)

    def __repr__(self) -> str:
        return f"<Reply {self.code} {self.reason} to {self.command}>"

    def __eq__(self, other: object) -> bool:
        """Compare address, command, request and answer; the time that it took does not count."""
        if not isinstance(other, Reply):
            return NotImplemented
        return (self._core, self._typed, self._zone) == (other._core, other._typed, other._zone)

    def __hash__(self) -> int:
        return hash((self.address, self.command, self.code, self.reason))
