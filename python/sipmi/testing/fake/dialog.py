"""Calls in progress: dlg_list, dlg_list_ctx, dlg_end_dlg and the profiles (``dialog``)."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, Optional

from ..._core import Node, Tree
from ...errors import Fault
from .commands import IS_ARRAY, LEGACY, MODERN, Module, core_hash, mi

if TYPE_CHECKING:
    from .deployment import Deployment

#: Slots of the table, which the listings show one after the other.
HASH_SIZE = 4096


@dataclasses.dataclass
class Call:
    """One dialog.

    :ivar state: 1 unconfirmed, 2 early, 3 confirmed without ACK, 4 confirmed, 5 ended.
    :ivar started: when it began, in seconds since 1970.
    :ivar lifetime: seconds after which it is ended.
    """

    callid: str
    label: int
    from_uri: str
    to_uri: str
    from_tag: str
    to_tag: str
    caller_contact: str
    callee_contact: str
    socket: str
    state: int
    started: float
    lifetime: float

    @property
    def entry(self) -> int:
        """Its slot of the table."""
        return core_hash(self.callid, HASH_SIZE)

    @property
    def number(self) -> int:
        """Slot and label in one, the identifier of 1.x and 2.x and of databases."""
        return (self.entry << 32) | self.label

    @property
    def id(self) -> str:
        """The identifier of 3.x and 4.x: slot and label in hexadecimal, last digit first."""
        return f"{self.entry:x}"[::-1] + "." + f"{self.label:x}"[::-1]


class Dialog(Module):
    """The dialogs; ``fake.dialog.add("a84b4c76e66710")`` seeds one."""

    def __init__(self, fake: Deployment) -> None:
        super().__init__(fake)
        self._calls: list[Call] = []
        self.processed: int = 0

    @property
    def calls(self) -> list[Call]:
        """All dialogs, in the order of the listings."""
        return sorted(self._calls, key=lambda call: call.entry)

    def add(
        self, callid: str, *, from_uri: str = "sip:alice@127.0.0.1", to_uri: str = "sip:bob@127.0.0.1",
        from_tag: str = "caller", to_tag: str = "callee", caller_contact: str = "sip:alice@127.0.0.1:5061",
        callee_contact: str = "sip:bob@127.0.0.1:5062", state: int = 4, lifetime: float = 43200,
    ) -> Call:  # fmt: skip
        """Adds a dialog. Subscribers are told nothing: it is there already."""
        self.processed += 1
        # A label is drawn by lot; here the call-id draws it, so that a test sees the same one again.
        label = core_hash(callid + from_tag, 1 << 29) + self.processed
        call = Call(callid, label, from_uri, to_uri, from_tag, to_tag, caller_contact, callee_contact,
                    self.fake.sip_socket, state, time.time(), lifetime)  # fmt: skip
        self._calls.append(call)
        return call

    def end(self, call: Call) -> None:
        """Ends a dialog."""
        self._calls.remove(call)

    def find(self, callid: str, from_tag: str = "") -> Optional[Call]:
        """The dialog of a call-id, and of a tag when that is given."""
        return next((c for c in self.calls if c.callid == callid and from_tag in ("", c.from_tag)), None)

    # -- listings -------------------------------------------------------------------------------------

    @mi("dlg_list", LEGACY, read_only=True)
    def list_text(self, *given: str) -> Tree:
        """lists all dialogs, one dialog, or a page of them"""
        return self._tree(given, context=False)

    @mi("dlg_list_ctx", LEGACY, read_only=True)
    def list_ctx_text(self, *given: str) -> Tree:
        """lists all dialogs, one dialog, or a page of them, with what modules know of them"""
        return self._tree(given, context=True)

    @mi("dlg_list", MODERN, recipes=[[], ["callid"], ["callid", "from_tag"], ["index", "counter"]], named_only=True,
        read_only=True)  # fmt: skip
    def list_json(self, callid: str = "", from_tag: str = "", index: int = -1, counter: int = -1) -> dict[str, Any]:
        """lists all dialogs, one dialog, or a page of them"""
        return self._value(callid, from_tag, index, counter, context=False)

    @mi("dlg_list_ctx", MODERN, recipes=[[], ["callid"], ["callid", "from_tag"], ["index", "counter"]],
        named_only=True, read_only=True)  # fmt: skip
    def list_ctx_json(self, callid: str = "", from_tag: str = "", index: int = -1, counter: int = -1) -> dict[str, Any]:
        """lists all dialogs, one dialog, or a page of them, with what modules know of them"""
        return self._value(callid, from_tag, index, counter, context=True)

    @mi("dlg_end_dlg", LEGACY)
    def end_text(self, dialog_id: str, *more: str) -> None:
        """ends an ongoing dialog"""
        if self.before_2 and not all(part.isdigit() for part in (dialog_id, *more[:1])):
            raise Fault(400, "Bad parameter")
        # One number is slot and label in one; two are the slot and the label.
        number = int(dialog_id) << 32 | int(more[0]) if more and dialog_id.isdigit() else dialog_id
        self._end(next((c for c in self.calls if str(number) == str(c.number) or dialog_id == c.callid), None))

    @mi("dlg_end_dlg", MODERN, recipes=[["dialog_id"], ["dialog_id", "extra_hdrs"]])
    def end_json(self, dialog_id: str, extra_hdrs: str = "") -> None:
        """ends an ongoing dialog"""
        self._end(next((c for c in self.calls if dialog_id in (c.id, c.callid)), None))

    @mi("list_all_profiles", no_input=True, read_only=True)
    def list_all_profiles(self) -> Any:
        """lists all profiles"""
        return Tree() if self.legacy else {"Profiles": []}

    @mi("dlg_db_sync", no_input=True)
    @mi("dlg_restore_db", no_input=True)
    def no_database(self) -> None:
        """synchronizes the dialogs with the database"""
        raise Fault(400, "Cannot sync in no-db mode")

    @mi("profile_get_size", recipes=[["profile"], ["profile", "value"]])
    @mi("profile_list_dlgs", recipes=[["profile"], ["profile", "value"]])
    @mi("profile_get_values", recipes=[["profile"]])
    @mi("profile_end_dlgs", ("2.4", *MODERN), recipes=[["profile"], ["profile", "value"]])
    def no_profile(self, profile: str, value: str = "") -> None:
        """a profile of dialogs; the configuration has none"""
        raise Fault(404, "Profile not found")

    # -- what is behind them ----------------------------------------------------------------------------

    def _end(self, call: Optional[Call]) -> None:
        if call is None:
            raise Fault(404, "Requested Dialog not found")
        self.end(call)

    def _found(self, callid: str, from_tag: str) -> Call:
        call = self.find(callid, from_tag)
        if call is None:
            raise Fault(404, "No such dialog")
        return call

    def _tree(self, given: tuple[str, ...], *, context: bool) -> Tree:
        tree = Tree()
        tree.flags = IS_ARRAY
        shown = self.calls
        if len(given) > 2:
            raise Fault(400, "Too few or too many arguments")
        if len(given) == 2 and all(part.isdigit() for part in given):
            tree.add_child("dlg_counter", len(shown))
            index, counter = map(int, given)
            shown = shown[index : index + counter]
        elif given:
            shown = [self._found(given[0], given[1] if len(given) > 1 else "")]
        for call in shown:
            tree.append(self._node(call, context=context))
        return tree

    def _value(self, callid: str, from_tag: str, index: int, counter: int, *, context: bool) -> dict[str, Any]:
        if callid:
            return {"Dialog": self._object(self._found(callid, from_tag), context=context)}
        shown = self.calls
        page = shown[index : index + counter] if counter >= 0 else shown
        listed = [self._object(call, context=context) for call in page]
        return {"count": len(shown), "Dialogs": listed} if counter >= 0 else {"Dialogs": listed}

    def _object(self, call: Call, *, context: bool) -> dict[str, Any]:
        callee = {
            "callee_tag": call.to_tag, "callee_contact": call.callee_contact, "caller_cseq": "1",
            "callee_route_set": "", "callee_bind_addr": call.socket,
        }  # fmt: skip
        shown: dict[str, Any] = {"ID": call.id, "db_id": str(call.number), "state": call.state}
        shown["user_flags"] = 0 if self.fake.version == "3.2" else ""
        shown.update(times(call))
        shown.update(self._caller(call), caller_route_set="", caller_bind_addr=call.socket, CALLEES=[callee])
        return {**shown, "context": {}} if context else shown

    def _node(self, call: Call, *, context: bool) -> Node:
        old, oldest = self.before_2, self.fake.version == "1.8"
        node = Node("dialog")
        if old:
            node.add_attr("hash", f"{call.entry}:{call.label}")
        if not oldest:
            node.add_attr("dialog_id" if old else "ID", call.number)
        when = {name: value for name, value in times(call).items() if not (oldest and name.startswith("date"))}
        caller = {"state": call.state, "user_flags": 0, **when, **self._caller(call)}
        for name, value in (*caller.items(), ("caller_route_set", None), ("caller_bind_addr", call.socket)):
            node.add_child(name, value)
        if not old:
            node.add_child("caller_sdp")
        callee = node
        if not oldest:
            callees = node.add_child("CALLEES")
            callees.flags = IS_ARRAY
            callee = callees.add_child("callee")
        for name, value in (("callee_tag", call.to_tag), ("callee_contact", call.callee_contact), ("caller_cseq", 1),
                            ("callee_route_set", None), ("callee_bind_addr", call.socket)):  # fmt: skip
            callee.add_child(name, value)
        if not old:
            callee.add_child("callee_sdp")
        if context:
            node.add_child("context")
        return node

    @staticmethod
    def _caller(call: Call) -> dict[str, Any]:
        return {
            "callid": call.callid, "from_uri": call.from_uri, "to_uri": call.to_uri, "caller_tag": call.from_tag,
            "caller_contact": call.caller_contact, "callee_cseq": "0",
        }  # fmt: skip


def times(call: Call) -> dict[str, Any]:
    """When a call began and will be ended, as number and as text."""
    ends = call.started + call.lifetime
    shown: dict[str, Any] = {}
    for number, text, at in (("timestart", "datestart", call.started), ("timeout", "dateout", ends)):
        shown.update({number: int(at), text: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))})
    return shown
