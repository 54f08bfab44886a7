"""Requests into the SIP network: t_uac_dlg, t_uac_cancel, t_hash (``tm``). Only the test can answer them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ..._core import Node, Tree
from ...errors import Fault
from .commands import LEGACY, MODERN, Module, mi, nameless

if TYPE_CHECKING:
    from .deployment import Deployment
    from .statistics import Statistics

#: The status of a transaction without an answer.
TIMEOUT = "408 Request Timeout"


class Tm(Module):
    """Transactions; ``fake.tm.answers["OPTIONS"] = "200 OK"`` answers them.

    :ivar answers: the status line by the URI that is asked, or by the method of the request; others are not answered.
    """

    def __init__(self, fake: Deployment, statistics: Statistics) -> None:
        super().__init__(fake)
        self._statistics = statistics
        self.answers: dict[str, str] = {}
        self._numbers = itertools.count(1)

    @mi("t_uac_dlg", LEGACY)
    def uac_dlg_text(self, method: str, ruri: str, next_hop: str, socket: str, headers: str, body: str = "") -> Any:
        """starts a distributed UAC dialog (synchronous)"""
        status, message = self._send(method, ruri, headers)
        shown = {"Status": status, "RURI": ".", "Next-hop": ".", "Routes": ".", "Message": message or "."}
        return shown if self.fake.version == "2.4" else nameless(*shown.values())

    @mi("t_uac_dlg", MODERN, named_only=True)
    def uac_dlg_json(
        self, method: str, ruri: str, headers: str, next_hop: str = "", socket: str = "", body: str = ""
    ) -> dict[str, str]:
        """starts a distributed UAC dialog (synchronous)"""
        status, message = self._send(method, ruri, headers)
        return {"Status": status, "Message": message} if message else {"Status": status}

    @mi("t_uac_cancel")
    def uac_cancel(self, callid: str, cseq: str) -> None:
        """cancels an existing transaction"""
        raise Fault(481, "No such transaction")

    @mi("t_hash", no_input=True, read_only=True)
    def hash(self) -> Any:
        """prints the statistics of the transaction table"""
        summary = Node("Summary").add_attr("Current", 0).add_attr("Total", 0)
        return Tree() if self.legacy else {"Entries": [], summary.name: {"Current": 0, "Total": 0}}

    def _send(self, method: str, ruri: str, headers: str) -> tuple[str, str]:
        """The status line and the headers of the answer."""
        if not headers.endswith("\n") or not all(":" in line or line[:1].isspace() for line in headers.splitlines()):
            raise Fault(400, "Bad headers")
        lines = {line.partition(":")[0].strip().lower(): line for line in headers.splitlines() if ":" in line}
        for name, short in (("To", "t"), ("From", "f")):
            if name.lower() not in lines and short not in lines:
                raise Fault(400, f"{name} missing")
        status = self.answers.get(ruri) or self.answers.get(method, TIMEOUT)
        self._count(status)
        if status == TIMEOUT:
            return status, ""
        number = next(self._numbers)
        answer = [
            f"Via: SIP/2.0/{self.fake.sip_socket[:3].upper()} {self.fake.sip_socket[4:]};branch=z9hG4bK{number:x}.0",
            f"{lines.get('to', lines.get('t', ''))};tag={number:x}",
            lines.get("from", lines.get("f", "")),
            f"Call-ID: {number:x}@127.0.0.1",
            f"CSeq: 10 {method}",
            "Content-Length: 0",
        ]
        return status, "".join(f"{line}\r\n" for line in [*answer, ""])

    def _count(self, status: str) -> None:
        """Count a transaction and its answer in the statistics."""
        counted = ["tm:UAC_transactions", f"tm:{status[0]}xx_transactions"]
        if status != TIMEOUT:
            counted += ["core:rcv_replies", "tm:received_replies", "tm:relayed_replies"]
        for name in counted:
            self._statistics[name] = self._statistics[name] + 1
