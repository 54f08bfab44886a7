"""The result of a diagnosis: :class:`Finding` and :class:`Diagnosis`."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

#: The levels of a finding: in order, worth a change, or the cause of the failure.
LEVELS = ("ok", "hint", "problem")


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    >>> print(Finding("problem", "fifo-missing", "There is nothing at /tmp/x.", fix="systemctl start opensips"))
    problem  There is nothing at /tmp/x.
             $ systemctl start opensips
    """

    level: str
    """"ok", "hint" or "problem"."""
    code: str
    """The identifier of the check, for programs: "fifo-no-reader", "tls-expired"."""
    text: str
    """A sentence for people."""
    fix: Optional[str] = None
    """The way to mend it: a shell command, or a line of the server's configuration (``modparam(...)``)."""

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.level:8} {self.text}"]
        for line in (self.fix or "").splitlines():
            lines.append(f"{'':8} {line if line.startswith(('modparam', 'loadmodule')) else f'$ {line}'}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The findings of :func:`sipmi.doctor`, in the order of its checks.

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
        """True if there is no problem."""
        return not self.problems

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that prevent the server from being used, or will."""
        return tuple(finding for finding in self.findings if finding.level == "problem")

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dictionary for each finding."""
        return [finding.to_dict() for finding in self.findings]

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return {"address": self.address, "ok": self.ok, "findings": self.to_rows()}

    def _repr_html_(self) -> str:
        from ..display import html

        return html(self)

    def __str__(self) -> str:
        return "\n".join([self.address, *map(str, self.findings)])
