"""Events and who wants them: event_subscribe, events_list, subscribers_list, raise_event (``evi``)."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import socket
import time
from typing import TYPE_CHECKING, Any, Optional, Union

from ..._core import Tree
from ...errors import Fault
from .commands import IS_ARRAY, LEGACY, MODERN, Module, mi

if TYPE_CHECKING:
    from .deployment import Deployment

#: How long a subscription holds that does not say, in seconds.
DEFAULT_EXPIRE = 3600

_CORE_1 = "E_CORE_THRESHOLD E_CORE_SHM_THRESHOLD E_CORE_PKG_THRESHOLD"
_CORE_3 = f"{_CORE_1} E_CORE_PROC_AUTO_SCALE E_CORE_TCP_DISCONNECT"
_AOR = "E_UL_AOR_INSERT E_UL_AOR_DELETE"
_CONTACT_2 = "E_UL_CONTACT_INSERT E_UL_CONTACT_DELETE E_UL_CONTACT_UPDATE E_UL_LATENCY_UPDATE"
_CONTACT_3 = "E_UL_CONTACT_INSERT E_UL_CONTACT_UPDATE E_UL_CONTACT_DELETE E_UL_CONTACT_REFRESH E_UL_LATENCY_UPDATE"
_OTHERS = "E_DLG_STATE_CHANGED E_DISPATCHER_STATUS"

#: The events of each version, in the order of their numbers.
PUBLISHED = {
    "1.8": "E_DISPATCHER_STATUS",
    "1.11": f"{_CORE_1} {_AOR} E_DISPATCHER_STATUS",
    "2.4": f"{_CORE_1} {_AOR} {_CONTACT_2} {_OTHERS}",
    "3.2": f"{_CORE_3} {_AOR} {_CONTACT_3} {_OTHERS}",
    "3.4": f"E_CORE_SR_STATUS_CHANGED {_CORE_3} {_AOR} {_CONTACT_3} {_OTHERS} E_CORE_LOG",
    "3.6": f"E_CORE_SR_STATUS_CHANGED {_CORE_3} {_AOR} {_CONTACT_3} {_OTHERS} E_CORE_LOG",
    "4.0": (
        f"E_CORE_SR_STATUS_CHANGED {_CORE_3} E_PROFILING_SCRIPT E_PROFILING_PROC {_AOR} {_CONTACT_3} {_OTHERS} "
        "E_CORE_LOG"
    ),
}
PUBLISHED["4.1"] = PUBLISHED["4.0"]
#: Which module must be loaded for the events whose name begins so.
_EXPORTERS = {"E_UL_": "usrloc", "E_DLG_": "dialog", "E_DISPATCHER_": "dispatcher"}


@dataclasses.dataclass
class Subscriber:
    """A subscriber of an event, and its time of expiry."""

    socket: str
    expire: int
    since: float

    @property
    def ttl(self) -> Union[int, str]:
        """Seconds left, or a word."""
        left = self.expire - int(time.monotonic() - self.since)
        return left if left > 0 else "expired"


class Events(Module):
    """The events of the version and its modules; ``fake.events.publish(...)`` raises one."""

    def __init__(self, fake: Deployment) -> None:
        super().__init__(fake)
        names = PUBLISHED[fake.version].split()
        self.names: list[str] = [name for name in names if all(
            fake.loads(module) for prefix, module in _EXPORTERS.items() if name.startswith(prefix)
        )]  # fmt: skip
        self._subscribers: dict[str, list[Subscriber]] = {}

    def subscribe(self, event: str, address: str, expire: int = DEFAULT_EXPIRE) -> None:
        """Has datagrams sent to ``udp:host:port`` or ``unix:path`` when the event is raised; expire 0 ends it.

        :raises Fault: there is no such event, or nothing sends to such an address.
        """
        if event not in self.names or not is_reachable(address) or expire < 0:
            raise Fault(400, "Bad parameter" if self.legacy else "Bad parameter value")
        subscribers = self._subscribers.setdefault(event, [])
        known = next((s for s in subscribers if s.socket == address), None)
        if known is None:
            subscribers.insert(0, Subscriber(address, expire, time.monotonic()))
        else:
            known.expire, known.since = expire, time.monotonic()

    def subscribers(self, event: str) -> list[Subscriber]:
        """Return the subscribers of an event, the newest first; expired ones stay until the event is raised."""
        return list(self._subscribers.get(event, ()))

    def publish(self, event: str, values: dict[str, Any]) -> None:
        """Send an event to its subscribers, as the version writes it. Events that the version lacks have none."""
        self._send(event, json_event(event, values) if not self.legacy else text_event(event, values))

    def _send(self, event: str, datagram: bytes) -> None:
        for subscriber in self.subscribers(event):
            if subscriber.ttl == "expired":
                self._subscribers[event].remove(subscriber)
                continue
            scheme, _, rest = subscriber.socket.partition(":")
            family = socket.AF_INET if scheme == "udp" else socket.AF_UNIX
            host, _, port = rest.rpartition(":")
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                with contextlib.suppress(OSError):  # a subscriber that is gone or slow misses the event
                    sender.sendto(datagram, (host, int(port)) if scheme == "udp" else rest)

    # -- commands -----------------------------------------------------------------------------------

    @mi("event_subscribe", LEGACY)
    def subscribe_text(self, event: str, socket: str, expire: int = DEFAULT_EXPIRE) -> None:
        """subscribes an event to the OpenSIPS Event Interface"""
        self.subscribe(event, socket, expire)

    @mi("event_subscribe", MODERN, recipes=[["event", "socket"], ["event", "socket", "expire"]])
    def subscribe_json(self, event: str, socket: str, expire: int = DEFAULT_EXPIRE) -> None:
        """subscribes an event to the OpenSIPS Event Interface"""
        self.subscribe(event, socket, expire)

    @mi("events_list", no_input=True, read_only=True)
    def list_events(self) -> Any:
        """lists all the events registered within the OpenSIPS Event Interface"""
        if not self.legacy:
            return {"Events": [{"name": name, "id": number} for number, name in enumerate(self.names)]}
        tree = Tree()
        tree.flags = IS_ARRAY
        for number, name in enumerate(self.names):
            tree.add_child("Event", name).add_attr("id", number)
        return tree

    @mi("subscribers_list", LEGACY, read_only=True)
    def subscribers_text(self, event: str = "", socket: str = "") -> Tree:
        """lists all the Event Interface subscribers; Params: [ event [ subscriber ]]"""
        self._check(event)
        tree = Tree()
        tree.flags = IS_ARRAY
        for name, number, found in self._listed(event, socket):
            node = tree.add_child("Event", name).add_attr("id", number)
            node.flags = IS_ARRAY
            for subscriber in found:
                child = node.add_child("Subscriber")
                child.add_attr("socket", subscriber.socket).add_attr("expire", subscriber.expire)
        return tree

    @mi("subscribers_list", MODERN, recipes=[[], ["event"], ["event", "socket"]], read_only=True)
    def subscribers_json(self, event: str = "", socket: str = "") -> dict[str, Any]:
        """lists all the Event Interface subscribers; Params: [ event [ subscriber ]]"""
        self._check(event)
        shown = []
        for name, number, found in self._listed(event, socket):
            listed = [{"socket": s.socket, "expire": s.expire, "ttl": s.ttl} for s in found]
            one_or_all = {"Subscriber": listed[0]} if socket else {"Subscribers": listed}
            shown.append({"name": name, "id": number, **one_or_all})
        return {"Event": shown[0] if shown else {}} if event else {"Events": shown}

    @mi("raise_event", MODERN, recipes=[["event"], ["event", "params"]])
    def raise_event(self, event: str, params: Optional[list[Any]] = None) -> None:
        """raises an event through the Event Interface"""
        if event not in self.names:
            raise Fault(404, "Event not registered")
        values: list[Any] = params or []
        members = ",".join('"":' + json.dumps(value, ensure_ascii=False) for value in values)
        text = f'{{"jsonrpc":"2.0","method":{json.dumps(event)},"params":{{{members}}}}}'
        self._send(event, text.encode("utf-8", "surrogateescape"))

    def _check(self, event: str) -> None:
        if event and event not in self.names:
            raise Fault(404, "Event not published")

    def _listed(self, event: str, socket: str) -> list[tuple[str, int, list[Subscriber]]]:
        listed = []
        for number, name in enumerate(self.names):
            found = [s for s in self.subscribers(name) if socket in ("", s.socket)]
            if event == name and socket and not found:
                raise Fault(404, "Subscriber does not exist")
            if event in ("", name) and found:
                listed.append((name, number, found))
        return listed


def is_reachable(address: str) -> bool:
    """Return whether datagrams can go there: UDP to an IPv4 address, or a UNIX socket, that may come later.

    >>> is_reachable("udp:127.0.0.1:5099"), is_reachable("udp:[::1]:5099")
    (True, False)
    """
    scheme, _, rest = address.partition(":")
    if scheme != "udp":
        return scheme == "unix" and bool(rest)
    host, _, port = rest.rpartition(":")
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return port.isdigit() and 0 < int(port) < 65536


def text_event(event: str, values: dict[str, Any]) -> bytes:
    r"""An event as 1.x and 2.x write it. Only a value with a newline is quoted.

    >>> text_event("E_UL_AOR_INSERT", {"aor": "alice"})
    b'E_UL_AOR_INSERT\naor::alice\n\n'
    """
    lines = [event]
    for name, value in values.items():
        text = str(value)
        if "\n" in text:
            text = '"' + text.replace('"', '\\"') + '"'
        lines.append(f"{name}::{text}")
    return "".join(f"{line}\n" for line in [*lines, ""]).encode("utf-8", "surrogateescape")


def json_event(event: str, values: dict[str, Any]) -> bytes:
    """An event as 3.x and 4.x write it: a JSON-RPC notification."""
    notification = {"jsonrpc": "2.0", "method": event, "params": values}
    text = json.dumps(notification, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")
