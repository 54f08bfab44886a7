"""Counters by group and name: get_statistics, list_statistics, reset_statistics."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ..._core import Tree
from ...errors import Fault
from .commands import SINCE_1_11, SINCE_3_4, Module, mi, nameless

if TYPE_CHECKING:
    from .core import Core
    from .deployment import Deployment
    from .dialog import Dialog
    from .usrloc import Usrloc

#: The value of a statistic: a number, or a function that returns it.
Source = Union[int, Callable[[], int]]

_MEMORY = "total_size used_size real_used_size max_used_size free_size fragments"
_MEMORY_3 = "total_size max_used_size free_size used_size real_used_size fragments"
_RPM = "rpm_total_size rpm_used_size rpm_real_used_size rpm_fragments rpm_max_used_size rpm_free_size"
_TM = (
    "received_replies relayed_replies local_replies UAS_transactions UAC_transactions 2xx_transactions "
    "3xx_transactions 4xx_transactions 5xx_transactions 6xx_transactions inuse_transactions"
)
_TM_3 = (
    "cluster_reply_sent cluster_request_sent cluster_cancel_sent cluster_reply_recv cluster_request_recv "
    "cluster_cancel_recv retransmission_req_T1_1 retransmission_req_T1_2 retransmission_req_T1_3 "
    "retransmission_req_T2 retransmission_rpl_T2 timeout_finalresponse timeout_finalresponse_inv"
)
_SL = (
    "1xx_replies 2xx_replies 3xx_replies 4xx_replies 5xx_replies 6xx_replies sent_replies sent_err_replies "
    "received_ACKs"
)
_CORE = (
    "rcv_requests rcv_replies fwd_requests fwd_replies drop_requests drop_replies err_requests err_replies "
    "bad_URIs_rcvd"
)
_DIALOG = (
    "active_dialogs early_dialogs processed_dialogs expired_dialogs failed_dialogs create_sent update_sent "
    "delete_sent create_recv update_recv delete_recv"
)

#: Gauges: statistics that show a state instead of counting events.
_STATES = {
    "timestamp", "waiting_udp", "waiting_tcp", "waiting_tls", "inuse_transactions", "registered_users",
    "location-users", "location-contacts", "max_expires", "max_contacts", "default_expire", "active_dialogs",
    "early_dialogs", "processes_number",
}  # fmt: skip
_SHARED_MEMORY, _PROCESS_MEMORY = 64 << 20, 8 << 20


@dataclasses.dataclass
class Statistic:
    """One statistic; ``source`` is its number or finds it out."""

    group: str
    name: str
    source: Source = 0
    incremental: bool = True

    @property
    def full_name(self) -> str:
        return f"{self.group}:{self.name}"

    @property
    def growth(self) -> str:
        """True if it only grows, as ``list_statistics`` says it."""
        return "incremental" if self.incremental else "non-incremental"

    @property
    def value(self) -> int:
        """The value now."""
        return self.source() if callable(self.source) else self.source


class Statistics(Module):
    """The statistics of the version; ``fake.statistics["core:rcv_requests"] = 7`` sets one, also a new one."""

    def __init__(self, fake: Deployment, core: Core, usrloc: Usrloc, dialog: Dialog) -> None:
        super().__init__(fake)
        self._core, self._usrloc, self._dialog = core, usrloc, dialog
        self._all: dict[str, Statistic] = {}

    def fill(self) -> None:
        """Makes the statistics that the version and its modules have, in their order."""
        fake, core = self.fake, self._core
        modern = not self.legacy
        sizes = {"total_size": _SHARED_MEMORY, "free_size": _SHARED_MEMORY}
        self._add("shmem", _MEMORY_3 if modern else _MEMORY, **sizes)
        if modern:
            self._add("rpmem", _RPM)
        self._add(
            "core",
            f"{_CORE} {'bad_msg_hdr slow_messages' if modern else 'unsupported_methods bad_msg_hdr'} timestamp",
            timestamp=lambda: int(time.time() - core.started),
        )
        self._add("net", "waiting_udp waiting_tcp" + ("" if self.before_2 else " waiting_tls"))
        if modern:
            for group in ("dns", "sql", "cdb"):
                self._add(group, f"{group}_total_queries {group}_slow_queries")
        tm = _TM + (f" {_TM_3}" if modern else "")
        for group, listed in (("sl", _SL), ("tm", tm)) if self.before_2 else (("tm", tm), ("sl", _SL)):
            if group == "sl" or fake.loads("tm"):
                self._add(group, listed)
        if fake.loads("usrloc"):
            usrloc = self._usrloc
            self._add(
                "usrloc",
                "registered_users location-users location-contacts location-expires",
                **{
                    "registered_users": lambda: len(usrloc.users()),
                    "location-users": lambda: len(usrloc.users()),
                    "location-contacts": lambda: sum(len(user.contacts) for user in usrloc.users()),
                    "location-expires": lambda: usrloc.expired,
                },
            )
            registrar = "max_expires max_contacts default_expire accepted_regs rejected_regs"
            self._add("registrar", registrar, default_expire=3600)
        if fake.loads("dialog"):
            dialog = self._dialog
            self._add(
                "dialog",
                _DIALOG,
                active_dialogs=lambda: sum(call.state >= 3 for call in dialog.calls),
                early_dialogs=lambda: sum(call.state < 3 for call in dialog.calls),
                processed_dialogs=lambda: dialog.processed,
            )
        self._add_processes(modern)

    def _add_processes(self, modern: bool) -> None:
        """Load and memory of processes: 1.11 shows memory before load, 3.x leaves out processes without work."""
        count = len(self._core.processes)
        numbers = [1, 2, 3, 6, 7, 8] if modern else list(range(count))
        if self.before_2:
            self._add_memory(numbers)
            self._add("load", f"{self.fake.sip_socket}-load tcp-load")
            return
        kinds = ("load", "load1m", "load10m")
        single = [f"{kind}-proc-{number}" for number in numbers if number for kind in kinds]
        total = [*kinds, *(f"{kind}-all" for kind in kinds)]
        if modern:
            self._add("load", " ".join([*single, *total, "processes_number"]), processes_number=count)
        else:
            self._add("load", " ".join([*total, *single]))
        self._add_memory(numbers)

    def _add_memory(self, numbers: list[int]) -> None:
        for number in numbers:
            sizes = {f"{number}-{name}": _PROCESS_MEMORY for name in ("total_size", "free_size")}
            self._add("pkmem", " ".join(f"{number}-{name}" for name in _MEMORY.split()), **sizes)

    def _add(self, group: str, names: str, **sources: Source) -> None:
        state = group in ("shmem", "rpmem", "pkmem", "load")
        for name in names.split():
            statistic = Statistic(group, name, sources.get(name, 0), not state and name not in _STATES)
            self._all[statistic.full_name] = statistic

    def __getitem__(self, name: str) -> int:
        """Return the value of ``group:name``.

        :raises KeyError: there is no such statistic.
        """
        return self._all[name].value

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __setitem__(self, name: str, value: Source) -> None:
        group, _, short = name.partition(":")
        self._all.setdefault(name, Statistic(group, short)).source = value

    def add(self, name: str, value: Source = 0, *, before: Optional[str] = None, incremental: bool = True) -> None:
        """Adds ``group:name``, in the order of ``get_statistics`` before the group ``before``."""
        group, _, short = name.partition(":")
        later = {}
        if before is not None:
            names = list(self._all)
            place = next((i for i, other in enumerate(names) if other.startswith(f"{before}:")), len(names))
            later = {other: self._all.pop(other) for other in names[place:]}
        self._all[name] = Statistic(group, short, value, incremental)
        self._all.update(later)

    def select(self, selectors: list[str]) -> list[Statistic]:
        """The statistics of ``all``, of a group (``core:``), or the first of a bare name; ``group:name`` has none."""
        return [statistic for selector in selectors for statistic in self._meant(selector)]

    def _meant(self, selector: str) -> list[Statistic]:
        every = list(self._all.values())
        if selector == "all":
            return every
        if selector.endswith(":"):
            return [statistic for statistic in every if f"{statistic.group}:" == selector]
        return [statistic for statistic in every if statistic.name == selector][:1]

    @mi("get_statistics", SINCE_1_11, read_only=True)
    def get(self, statistics: list[str]) -> Any:
        """prints the statistics (all, group or one) realtime values."""
        found = self._selected(statistics)
        if not self.legacy:
            return {statistic.full_name: statistic.value for statistic in found}
        tree = Tree()
        for statistic in found:
            tree.add_child(statistic.full_name, statistic.value)
        return tree

    @mi("get_statistics", ("1.8",), read_only=True)
    def get_1_8(self, statistics: list[str]) -> Tree:
        """prints the statistics (all, group or one) realtime values."""
        return nameless(*(f"{statistic.full_name} = {statistic.value}" for statistic in self._selected(statistics)))

    def _selected(self, selectors: list[str]) -> list[Statistic]:
        found = self.select(selectors)
        if not found and self.legacy:
            raise Fault(404, "Statistics Not Found")
        return found

    @mi("list_statistics", recipes=[[], ["statistics"]], read_only=True)
    def list_statistics(self, statistics: Optional[list[str]] = None) -> dict[str, str]:
        """lists all the registered statistics and their types"""
        listed = {}
        for selector in statistics or ["all"]:
            is_bare = selector != "all" and not selector.endswith(":")
            listed.update({s.name if is_bare else s.full_name: s.growth for s in self._meant(selector)})
        if not listed and self.legacy:
            raise Fault(404, "Statistics Not Found")
        return listed

    @mi("reset_statistics")
    def reset(self, statistics: list[str]) -> None:
        """resets the value of a statistic variable"""
        found = self.select([name for name in statistics if not name.endswith(":") and name != "all"])
        if not found:
            raise Fault(404, "Statistics Not Found")
        self._reset(found)

    @mi("reset_all_statistics", SINCE_3_4)
    def reset_all(self) -> None:
        """resets all the statistic variables"""
        self._reset(self.select(["all"]))

    def _reset(self, statistics: list[Statistic]) -> None:
        for statistic in statistics:
            if statistic.incremental:
                statistic.source = 0
