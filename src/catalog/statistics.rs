//! The statistics of OpenSIPS and sipmi: whether each counts or shows a state, and its unit.

use Kind::{Counter, Gauge};

/// How a statistic changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows, until it is reset or the server restarts.
    Counter,
    /// It shows a state, and goes up and down.
    Gauge,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
        }
    }
}

/// Groups, names, kind and unit; the first line that matches counts. A `*` stands for any text.
#[rustfmt::skip]
const STATISTICS: [(&str, &str, Kind, &str); 48] = [
    // The core.
    ("core", "rcv_requests fwd_requests drop_requests err_requests unsupported_methods", Counter, "requests"),
    ("core", "rcv_replies fwd_replies drop_replies err_replies", Counter, "replies"),
    ("core", "bad_URIs_rcvd", Counter, "URIs"),
    ("core", "bad_msg_hdr slow_messages", Counter, "messages"),
    ("core", "timestamp", Gauge, "seconds"),
    ("net", "waiting_*", Gauge, "bytes"),
    ("shmem rpmem pkmem", "*fragments", Gauge, "fragments"),
    ("shmem rpmem pkmem", "*", Gauge, "bytes"),
    ("load", "processes_number", Gauge, "processes"),
    ("load", "*", Gauge, "percent"),
    ("dns sql cdb", "*_queries", Counter, "queries"),
    // Transactions and replies.
    ("tm", "inuse_transactions", Gauge, "transactions"),
    ("tm", "*_transactions", Counter, "transactions"),
    ("tm", "*_replies cluster_reply_*", Counter, "replies"),
    ("tm", "cluster_*", Counter, "requests"),
    ("tm", "retransmission_*", Counter, "retransmissions"),
    ("tm", "timeout_*", Counter, "timeouts"),
    ("sl", "received_ACKs", Counter, "requests"),
    ("sl", "*replies", Counter, "replies"),
    // Registered users.
    ("usrloc", "registered_users *-users", Gauge, "users"),
    ("usrloc", "*-contacts", Gauge, "contacts"),
    ("usrloc", "*-expires", Counter, "contacts"),
    ("registrar mid_registrar", "max_expires default_expire", Gauge, "seconds"),
    ("registrar mid_registrar", "max_contacts", Gauge, "contacts"),
    ("registrar mid_registrar", "*_regs", Counter, "registrations"),
    ("nat_traversal", "*_endpoints", Gauge, "endpoints"),
    // Calls and messages.
    ("dialog", "active_dialogs early_dialogs", Gauge, "dialogs"),
    ("dialog", "*_dialogs", Counter, "dialogs"),
    ("dialog", "*_sent *_recv", Counter, "packets"),
    ("sst", "expired_sst", Counter, "dialogs"),
    ("msilo", "*_messages", Counter, "messages"),
    ("msilo", "*_reminders", Counter, "reminders"),
    ("imc", "active_rooms", Gauge, "rooms"),
    ("siptrace tracer", "traced_requests", Counter, "requests"),
    ("siptrace tracer", "traced_replies", Counter, "replies"),
    ("uri", "*checks", Counter, "checks"),
    ("call_center", "cc*_awt", Gauge, "seconds"),
    ("call_center", "cc*_load", Gauge, "percent"),
    ("call_center", "ccg_free_agents", Gauge, "agents"),
    ("call_center", "ccg_onhold_calls ccf_queued_calls", Gauge, "calls"),
    ("call_center", "cc*_*calls", Counter, "calls"),
    // Those of a sipmi server.
    ("evi", "raised sent dropped", Counter, "events"),
    ("mi_*", "requests parse_errors errors dropped", Counter, "requests"),
    ("mi_*", "replies", Counter, "replies"),
    ("mi_*", "bytes_*", Counter, "bytes"),
    ("mi_*", "in_progress", Gauge, "requests"),
    ("mi_*", "latency_us", Counter, "microseconds"),
    ("mi_*", "max_latency_us", Gauge, "microseconds"),
];

/// The kind and the unit of the statistic `group:name`; `None` when they are not known.
pub fn meaning_of(full_name: &str) -> Option<(Kind, &'static str)> {
    let (group, name) = full_name.split_once(':').unwrap_or((full_name, ""));
    let any = |patterns: &str, text: &str| patterns.split(' ').any(|pattern| matches(pattern, text));
    let (.., kind, unit) = STATISTICS.iter().find(|(groups, names, ..)| any(groups, group) && any(names, name))?;
    Some((*kind, unit))
}

/// Returns true if a text has the form of a pattern.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    // Texts are short: to try every end is fine.
    text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statistic_has_a_kind_and_a_unit() {
        for (name, meaning) in [
            ("shmem:used_size", Some((Gauge, "bytes"))),
            ("shmem:fragments", Some((Gauge, "fragments"))),
            ("core:rcv_requests", Some((Counter, "requests"))),
            ("tm:inuse_transactions", Some((Gauge, "transactions"))),
            ("tm:UAS_transactions", Some((Counter, "transactions"))),
            ("usrloc:location-contacts", Some((Gauge, "contacts"))),
            ("call_center:ccf_3_awt", Some((Gauge, "seconds"))),
            ("mi_fifo:replies", Some((Counter, "replies"))),
            ("billing:sub_adds", None),
            ("tm", None),
            ("", None),
        ] {
            assert_eq!(meaning_of(name), meaning, "{name}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, is_match) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("*b*", "abc", true),
            ("*-é", "ü-é", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), is_match, "{pattern} {text}");
        }
    }
}
