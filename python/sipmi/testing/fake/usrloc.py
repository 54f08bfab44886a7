"""Registered contacts: ul_add, ul_rm, ul_rm_contact, ul_show_contact, ul_dump, ul_sync, ul_flush (``usrloc``)."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional, Union

from ..._core import Node, Tree
from ...errors import Fault
from .commands import IS_ARRAY, LEGACY, MODERN, Module, core_hash, mi

if TYPE_CHECKING:
    from .deployment import Deployment
    from .events import Events

#: Slots of the table, which ``ul_dump`` lists one after the other.
HASH_SIZE = 512
#: The source that is shown for a contact made by ``ul_add``.
CALLID = "dfjrewr12386fd6-343@opensips.mi"
USER_AGENT = "OpenSIPS MI Server"


@dataclasses.dataclass
class Contact:
    """One contact of a user.

    :ivar expires_at: when it expires, in seconds since 1970; 0: never.
    :ivar q: its weight, 0 to 1000.
    """

    uri: str
    id: int
    expires_at: float
    q: int
    callid: str = CALLID
    cseq: int = 1
    user_agent: str = USER_AGENT
    flags: int = 0
    cflags: str = ""
    methods: int = 0

    @property
    def expires(self) -> Union[int, str]:
        """The expiry as the listings show it: seconds, or a word."""
        if not self.expires_at:
            return "permanent"
        left = round(self.expires_at - time.time())
        return left if left > 0 else "expired"

    def fields(self) -> Iterator[tuple[str, Any]]:
        """The fields that the listings show after URI and weight, in order."""
        yield "Callid", self.callid
        yield "Cseq", self.cseq
        yield "User-agent", self.user_agent
        yield "State", "CS_NEW"
        yield "Flags", self.flags
        yield "Cflags", self.cflags
        yield "Methods", self.methods


@dataclasses.dataclass
class User:
    """An address of record and its contacts, the heaviest first."""

    aor: str
    contacts: list[Contact] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        # The first identifier of a user is drawn by lot; the upper bits say in which slot the user is.
        self._labels = itertools.count(core_hash(self.aor[::-1], 1 << 13) + 1)

    def next_id(self) -> int:
        """The identifier of a new contact (``ContactID``)."""
        return ((core_hash(self.aor, 0) & 0xFFFF) << 46) | next(self._labels)


class Usrloc(Module):
    """The location table; ``fake.usrloc.add("alice", "sip:alice@192.0.2.1")`` seeds it.

    :ivar table: its name.
    :ivar expired: how many contacts have expired.
    """

    def __init__(self, fake: Deployment, events: Events) -> None:
        super().__init__(fake)
        self._events = events
        self.table = "location"
        self.expired: int = 0
        self._users: dict[str, User] = {}

    def users(self) -> list[User]:
        """All users that have contacts, in the order of the listings. Contacts whose time has come go first."""
        now = time.time()
        for user in list(self._users.values()):
            for contact in list(user.contacts):
                if contact.expires_at and contact.expires_at <= now:
                    self.expired += 1
                    self._forget(user, contact)
        return sorted(self._users.values(), key=lambda user: (core_hash(user.aor, HASH_SIZE), user.aor))

    def user(self, aor: str) -> Optional[User]:
        """The user of an address of record, as the version writes it."""
        return next((user for user in self.users() if user.aor == self._stored(aor)), None)

    def add(
        self, aor: str, contact: str, *, expires: float = 3600, q: float = 1.0, flags: int = 0, cflags: str = "",
        methods: int = 0,
    ) -> Contact:  # fmt: skip
        """Adds a contact, or renews the one of that URI. Subscribers are told.

        :param expires: seconds from now; 0: never.
        :param q: its weight, 0 to 1.
        """
        name = self._stored(aor)
        user = self._users.get(name)
        is_new = user is None
        if user is None:
            user = self._users[name] = User(name)
        known = next((other for other in user.contacts if other.uri == contact), None)
        if known is not None:
            user.contacts.remove(known)
        made = Contact(
            contact,
            user.next_id() if known is None else known.id,
            time.time() + expires if expires else 0,
            round(q * 1000),
            flags=flags,
            cflags="" if cflags == "0" else cflags,
            methods=methods,
        )
        place = next((i for i, other in enumerate(user.contacts) if other.q < made.q), len(user.contacts))
        user.contacts.insert(place, made)
        if is_new:
            self._tell("E_UL_AOR_INSERT", user)
        self._tell("E_UL_CONTACT_INSERT" if known is None else "E_UL_CONTACT_UPDATE", user, made)
        return made

    def remove(self, aor: str) -> None:
        """Forgets a user, if there is one. Subscribers are told."""
        user = self.user(aor)
        if user is not None:
            for contact in list(user.contacts):
                self._forget(user, contact)

    def clear(self) -> None:
        """Remove all users without raising an event."""
        self._users.clear()

    # -- commands ---------------------------------------------------------------------------------

    @mi("ul_add", LEGACY)
    def add_text(
        self, table_name: str, aor: str, contact: str, expires: int, q: str, unused: str, flags: int, cflags: str,
        methods: int,
    ) -> None:  # fmt: skip
        """add a new contact for a user AOR"""
        self._add(table_name, aor, contact, expires, q, flags, cflags, methods)

    @mi("ul_add", MODERN)
    def add_json(
        self, table_name: str, aor: str, contact: str, expires: int, q: str, flags: int, cflags: str, methods: int
    ) -> None:
        """add a new contact for a user AOR"""
        self._add(table_name, aor, contact, expires, q, flags, cflags, methods)

    def _add(
        self, table: str, aor: str, contact: str, expires: int, q: str, flags: int, cflags: str, methods: int
    ) -> None:
        self._check(table, aor)
        try:
            weight = float(q)
        except ValueError:
            weight = -1.0
        if not 0 <= weight <= 1:
            raise Fault(400, "Bad parameter" if self.legacy else "Bad parameter value")
        self.add(aor, contact, expires=expires, q=weight, flags=flags, cflags=cflags, methods=methods)

    @mi("ul_rm")
    def rm(self, table_name: str, aor: str) -> None:
        """delete a entire AOR record"""
        self._check(table_name, aor)
        self.remove(aor)

    @mi("ul_rm_contact")
    def rm_contact(self, table_name: str, aor: str, contact: str) -> None:
        """delete a contact from an AOR record"""
        user = self._named(table_name, aor)
        found = next((other for other in user.contacts if other.uri == contact), None)
        if found is None:
            raise Fault(404, "Contact not found")
        self._forget(user, found)

    @mi("ul_show_contact", read_only=True)
    def show_contact(self, table_name: str, aor: str) -> Any:
        """shows the contacts of an AOR"""
        user = self._named(table_name, aor)
        if not self.legacy:
            return self._user(user, brief=False)
        tree = Tree()
        tree.flags = IS_ARRAY
        if self.fake.version == "2.4":
            tree.append(self._node(user, brief=False))
        else:
            show = in_one_line_of_1_8 if self.fake.version == "1.8" else in_one_line
            for contact in user.contacts:
                tree.add_child("Contact", show(contact))
        return tree

    @mi("ul_dump", LEGACY, read_only=True)
    def dump_text(self, *words: str) -> Tree:
        """dump all contacts"""
        tree = Tree()
        tree.flags = IS_ARRAY
        domain = tree.add_child("Domain", self.table)
        domain.flags = IS_ARRAY
        users = self.users()
        if self.fake.version == "2.4":
            domain.add_attr("hash_size", HASH_SIZE)
        else:
            domain.add_attr("table", HASH_SIZE).add_attr("records", len(users))
        for user in users:
            domain.append(self._node(user, brief="brief" in words[:1]))
        return tree

    @mi("ul_dump", MODERN, recipes=[[], ["brief"]], read_only=True)
    def dump_json(self, brief: int = 0) -> dict[str, Any]:
        """dump all contacts"""
        users = [self._user(user, brief=bool(brief)) for user in self.users()]
        return {"Domains": [{"name": self.table, "hash_size": HASH_SIZE, "AORs": users}]}

    @mi("ul_sync")
    def sync(self, table_name: str, aor: str = "") -> None:
        """synchronize one AOR or all with the database"""
        self._check(table_name, aor or "x@x")
        raise Fault(200, "Contacts already synced")

    @mi("ul_flush", no_input=True)
    def flush(self) -> None:
        """triggers the flush of the cache into the database"""

    # -- what is behind them ------------------------------------------------------------------------

    def _stored(self, aor: str) -> str:
        """Before 4.0 ``use_domain`` is off: what is behind the ``@`` is dropped."""
        return aor if self.modular else aor.partition("@")[0]

    def _check(self, table: str, aor: str) -> None:
        if table != self.table:
            raise Fault(404, "Table not found")
        if self.modular and "@" not in aor:
            raise Fault(400, "Domain missing in AOR")

    def _named(self, table: str, aor: str) -> User:
        self._check(table, aor)
        user = self.user(aor)
        if user is None:
            raise Fault(404, "AOR not found")
        return user

    def _user(self, user: User, *, brief: bool) -> dict[str, Any]:
        if brief:
            return {"AOR": user.aor}
        shown = [
            {
                "Contact": contact.uri,
                "ContactID": str(contact.id),
                "Expires": contact.expires,
                "Q": weight(contact.q),
                **dict(contact.fields()),
            }
            for contact in user.contacts
        ]
        return {"AOR": user.aor, "Contacts": shown}

    def _node(self, user: User, *, brief: bool) -> Node:
        node = Node("AOR", user.aor)
        node.flags = IS_ARRAY
        for contact in () if brief else user.contacts:
            child = node.add_child("Contact", contact.uri).add_attr("Q", weight(contact.q))
            if self.fake.version == "2.4":
                child.add_child("ContactID", contact.id)
            child.add_child("Expires", contact.expires)
            for name, value in contact.fields():
                if name == "Cflags" and self.fake.version == "1.8":
                    child.add_child("Cflag", value or "0")  # the original cuts its own name, and has a number
                else:
                    child.add_child(name, None if value == "" else value)
        return node

    def _forget(self, user: User, contact: Contact) -> None:
        user.contacts.remove(contact)
        self._tell("E_UL_CONTACT_DELETE", user, contact)
        if not user.contacts:
            self._users.pop(user.aor, None)
            self._tell("E_UL_AOR_DELETE", user)

    def _tell(self, event: str, user: User, contact: Optional[Contact] = None) -> None:
        values: dict[str, Any] = {} if self.legacy else {"domain": self.table}
        values["aor"] = user.aor
        if contact is not None:
            empty = "" if self.legacy else None
            values.update(uri=contact.uri, received=empty, path=empty, qval=contact.q)
            values.update({} if self.legacy else {"user_agent": contact.user_agent})
            values.update(socket="", bflags=0, expires=int(contact.expires_at), callid=contact.callid)
            values.update(cseq=contact.cseq, attr="", latency=0)
            values.update({} if self.legacy else {"shtag": ""})
        self._events.publish(event, values)


def weight(q: int) -> str:
    """A weight as the listings print it.

    >>> weight(700), weight(1000), weight(0)
    ('0.7', '1', '0')
    """
    return f"{q / 1000:g}"


def in_one_line(contact: Contact) -> str:
    """A contact as 1.11 shows it alone."""
    return (
        f"<{contact.uri}>;q={weight(contact.q)};expires={contact.expires};flags={contact.flags:#x};cflags=0x0;"
        f"socket=<NULL>;callid=<{contact.callid}>;methods={contact.methods:#x};user_agent=<{contact.user_agent}>"
    )


def in_one_line_of_1_8(contact: Contact) -> str:
    """A contact as 1.8 shows it alone."""
    cflags = int(contact.cflags) if contact.cflags.isdigit() else 0
    return (
        f"<{contact.uri}>;q={weight(contact.q)};expires={contact.expires};flags=0x{contact.flags:X};"
        f"cflags=0x{cflags:X};socket=<NULL>;methods=0x{contact.methods:X};user_agent=<{contact.user_agent}>"
    )
