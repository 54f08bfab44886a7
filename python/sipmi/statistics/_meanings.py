"""The kind and the unit of the statistics of OpenSIPS and sipmi."""

from __future__ import annotations

import fnmatch
import functools
import re
from typing import NamedTuple

#: It only grows, until it is reset or the server begins again.
COUNTER = "counter"
#: It shows a state, and goes up and down.
GAUGE = "gauge"
#: Neither the table nor the server says.
UNKNOWN = "unknown"


class Meaning(NamedTuple):
    """How to read a statistic."""

    kind: str
    """"counter", "gauge" or "unknown"."""
    unit: str
    """"bytes", "seconds", "percent", or what is counted: "requests"; "" when it is not known."""


#: Groups, names and what they mean; the first line that matches counts. Names are patterns, blanks are between them.
_TABLE = (
    # The core.
    ("core", "rcv_requests fwd_requests drop_requests err_requests unsupported_methods", COUNTER, "requests"),
    ("core", "rcv_replies fwd_replies drop_replies err_replies", COUNTER, "replies"),
    ("core", "bad_URIs_rcvd", COUNTER, "URIs"),
    ("core", "bad_msg_hdr slow_messages", COUNTER, "messages"),
    ("core", "timestamp", GAUGE, "seconds"),
    ("net", "waiting_*", GAUGE, "bytes"),
    ("shmem rpmem pkmem", "*fragments", GAUGE, "fragments"),
    ("shmem rpmem pkmem", "*", GAUGE, "bytes"),
    ("load", "processes_number", GAUGE, "processes"),
    ("load", "*", GAUGE, "percent"),
    ("dns sql cdb", "*_queries", COUNTER, "queries"),
    # Transactions and replies.
    ("tm", "inuse_transactions", GAUGE, "transactions"),
    ("tm", "*_transactions", COUNTER, "transactions"),
    ("tm", "*_replies cluster_reply_*", COUNTER, "replies"),
    ("tm", "cluster_*", COUNTER, "requests"),
    ("tm", "retransmission_*", COUNTER, "retransmissions"),
    ("tm", "timeout_*", COUNTER, "timeouts"),
    ("sl", "received_ACKs", COUNTER, "requests"),
    ("sl", "*replies", COUNTER, "replies"),
    # Who is registered.
    ("usrloc", "registered_users *-users", GAUGE, "users"),
    ("usrloc", "*-contacts", GAUGE, "contacts"),
    ("usrloc", "*-expires", COUNTER, "contacts"),
    ("registrar mid_registrar", "max_expires default_expire", GAUGE, "seconds"),
    ("registrar mid_registrar", "max_contacts", GAUGE, "contacts"),
    ("registrar mid_registrar", "*_regs", COUNTER, "registrations"),
    ("nat_traversal", "*_endpoints", GAUGE, "endpoints"),
    # Calls and messages.
    ("dialog", "active_dialogs early_dialogs", GAUGE, "dialogs"),
    ("dialog", "*_dialogs", COUNTER, "dialogs"),
    ("dialog", "*_sent *_recv", COUNTER, "packets"),
    ("sst", "expired_sst", COUNTER, "dialogs"),
    ("msilo", "*_messages", COUNTER, "messages"),
    ("msilo", "*_reminders", COUNTER, "reminders"),
    ("imc", "active_rooms", GAUGE, "rooms"),
    ("siptrace tracer", "traced_requests", COUNTER, "requests"),
    ("siptrace tracer", "traced_replies", COUNTER, "replies"),
    ("uri", "*checks", COUNTER, "checks"),
    ("call_center", "cc*_awt", GAUGE, "seconds"),
    ("call_center", "cc*_load", GAUGE, "percent"),
    ("call_center", "ccg_free_agents", GAUGE, "agents"),
    ("call_center", "ccg_onhold_calls ccf_queued_calls", GAUGE, "calls"),
    ("call_center", "cc*_*calls", COUNTER, "calls"),
    # Those of a sipmi server.
    ("evi", "raised sent dropped", COUNTER, "events"),
    ("mi_*", "requests parse_errors errors dropped", COUNTER, "requests"),
    ("mi_*", "replies", COUNTER, "replies"),
    ("mi_*", "bytes_*", COUNTER, "bytes"),
    ("mi_*", "in_progress", GAUGE, "requests"),
    ("mi_*", "latency_us", COUNTER, "microseconds"),
    ("mi_*", "max_latency_us", GAUGE, "microseconds"),
)


def _any_of(patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns.split()))


@functools.lru_cache(maxsize=1)
def _compiled() -> list[tuple[re.Pattern[str], re.Pattern[str], Meaning]]:
    return [(_any_of(groups), _any_of(names), Meaning(kind, unit)) for groups, names, kind, unit in _TABLE]


@functools.lru_cache(maxsize=4096)
def meaning_of(full_name: str) -> Meaning:
    """Return what the table says of ``group:name``.

    >>> meaning_of("shmem:used_size")
    Meaning(kind='gauge', unit='bytes')
    >>> meaning_of("billing:sub_adds")
    Meaning(kind='unknown', unit='')
    """
    group, _, name = full_name.partition(":")
    for groups, names, found in _compiled():
        if groups.match(group) and names.match(name):
            return found
    return Meaning(UNKNOWN, "")
