//! The objects of 4.0, and the earlier names of their members.

/// Nodes of one name, and the objects that 4.0 has for them.
pub(super) struct Kind {
    pub name: &'static str,
    /// The member of the object above that lists them.
    pub list: &'static str,
    /// True if the reply omits the list when it is empty.
    pub is_optional: bool,
    /// A node without any meaning that holds them.
    pub wrapper: Option<&'static [u8]>,
    /// True if the members of a single element may stand among those of the object above (1.4 to 1.10).
    pub may_be_inlined: bool,
    /// Own value (named nothing), attributes and children, in the order of 4.0.
    pub members: &'static [Member],
    pub inner: &'static [Kind],
}

/// A member: its name in old replies, its name in 4.0, and its kind there.
pub(super) type Member = (&'static str, &'static str, Type);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// A string.
    Text,
    /// An integer. A text that is no integer stays a string.
    Int,
    /// A string that some versions end with a blank.
    Trimmed,
    /// Names of flags. Old versions give a number; 0 stands for no names.
    Flags,
    /// A string that 4.0 leaves out when it is empty.
    IfAny,
    /// The letter that 1.4 to 1.10 have for the state of a destination.
    State,
    /// Seconds. 1.11 counts those of a contact without an end, too.
    Expires,
    /// Not in 4.0.
    Gone,
}
use Type::{Flags, Gone, IfAny, Int, State, Text, Trimmed};

pub(super) const LEAF: Kind =
    Kind { name: "", list: "", is_optional: false, wrapper: None, may_be_inlined: false, members: &[], inner: &[] };

pub(super) const PROCESS: Kind = Kind {
    name: "Process",
    list: "Processes",
    members: &[("ID", "ID", Int), ("PID", "PID", Int), ("Log level", "Log level", Int), ("Type", "Type", Trimmed)],
    ..LEAF
};

pub(super) const DOMAIN: Kind = Kind {
    name: "Domain",
    list: "Domains",
    members: &[
        ("", "name", Text),
        // 1.11 calls it the table, and counts its contacts.
        ("hash_size", "hash_size", Int),
        ("table", "hash_size", Int),
        ("records", "records", Gone),
        ("max_slot", "max_slot", Gone),
    ],
    inner: &[AOR],
    ..LEAF
};

pub(super) const AOR: Kind =
    Kind { name: "AOR", list: "AORs", members: &[("", "AOR", Text)], inner: &[CONTACT], ..LEAF };

pub(super) const CONTACT: Kind = Kind {
    name: "Contact",
    list: "Contacts",
    is_optional: true,
    members: &[
        ("", "Contact", Text),
        ("ContactID", "ContactID", Text),
        ("Expires", "Expires", Int),
        ("Q", "Q", Text),
        ("Callid", "Callid", Text),
        ("Cseq", "Cseq", Int),
        ("User-agent", "User-agent", Text),
        ("Received", "Received", Text),
        ("Path", "Path", Text),
        ("State", "State", Text),
        ("Flags", "Flags", Int),
        ("Cflags", "Cflags", Flags),
        // 1.4 to 1.9 cut the name.
        ("Cflag", "Cflags", Flags),
        ("Socket", "Socket", Text),
        ("Methods", "Methods", Int),
        ("Attr", "Attr", Text),
        ("SIP_instance", "SIP_instance", Text),
    ],
    ..LEAF
};

pub(super) const DIALOG: Kind = Kind {
    name: "dialog",
    list: "Dialogs",
    members: &[
        // The argument of dlg_end_dlg, which is also the dialog's number in the database.
        ("ID", "ID", Text),
        ("dialog_id", "ID", Text),
        ("db_id", "db_id", Text),
        // 1.4 to 1.10 have only this: `h_entry:h_id`.
        ("hash", "hash", Text),
        ("state", "state", Int),
        ("user_flags", "user_flags", Flags),
        ("timestart", "timestart", Int),
        ("datestart", "datestart", Text),
        ("timeout", "timeout", Int),
        ("dateout", "dateout", Text),
        ("callid", "callid", Text),
        ("from_uri", "from_uri", Text),
        ("to_uri", "to_uri", Text),
        ("caller_tag", "caller_tag", Text),
        // 1.4
        ("from_tag", "caller_tag", Text),
        ("caller_contact", "caller_contact", Text),
        ("callee_cseq", "callee_cseq", Text),
        ("caller_route_set", "caller_route_set", Text),
        ("caller_bind_addr", "caller_bind_addr", Text),
        ("caller_sdp", "caller_sdp", IfAny),
        ("context", "context", IfAny),
    ],
    inner: &[CALLEE],
    ..LEAF
};

pub(super) const CALLEE: Kind = Kind {
    name: "callee",
    list: "CALLEES",
    wrapper: Some(b"CALLEES"),
    may_be_inlined: true,
    members: &[
        ("callee_tag", "callee_tag", Text),
        // 1.4
        ("to_tag", "callee_tag", Text),
        ("callee_contact", "callee_contact", Text),
        ("caller_cseq", "caller_cseq", Text),
        ("callee_route_set", "callee_route_set", Text),
        ("callee_bind_addr", "callee_bind_addr", Text),
        ("callee_sdp", "callee_sdp", IfAny),
    ],
    ..LEAF
};

pub(super) const PARTITION: Kind =
    Kind { name: "PARTITION", list: "PARTITIONS", members: &[("", "name", Text)], inner: &[SET], ..LEAF };

pub(super) const SET: Kind =
    Kind { name: "SET", list: "SETS", members: &[("", "id", Int)], inner: &[DESTINATION], ..LEAF };

pub(super) const DESTINATION: Kind = Kind {
    name: "URI",
    list: "Destinations",
    members: &[
        ("", "URI", Text),
        ("state", "state", Text),
        // 1.4 to 1.10
        ("flag", "state", State),
        ("first_hit_counter", "first_hit_counter", Int),
        ("socket", "socket", Text),
        ("attr", "attr", Text),
        ("weight", "weight", Int),
        ("priority", "priority", Int),
        ("description", "description", Text),
    ],
    ..LEAF
};

pub(super) const EVENT: Kind = Kind {
    name: "Event",
    list: "Events",
    members: &[("", "name", Text), ("id", "id", Int)],
    inner: &[SUBSCRIBER],
    ..LEAF
};

pub(super) const SUBSCRIBER: Kind = Kind {
    name: "Subscriber",
    list: "Subscribers",
    is_optional: true,
    members: &[("socket", "socket", Text), ("expire", "expire", Int), ("ttl", "ttl", Int)],
    ..LEAF
};

pub(super) const PIPE: Kind = Kind {
    name: "PIPE",
    list: "Pipes",
    members: &[
        ("id", "id", Text),
        ("algorithm", "algorithm", Text),
        ("limit", "limit", Int),
        ("counter", "counter", Int),
        ("drop_rate", "drop_rate", Int),
    ],
    ..LEAF
};

/// How many there are of all.
pub(super) const COUNTER: Kind = Kind { name: "dlg_counter", members: &[("", "count", Int)], ..LEAF };

/// How many sets there are (1.4 to 1.10).
pub(super) const SET_NO: Kind = Kind { name: "SET_NO", members: &[("", "sets", Int)], ..LEAF };

/// The drop rate, which is in a pipe without a name from 1.11 on.
pub(super) const DROP_RATE: Kind = Kind { name: "DROP_RATE", members: &[("", "drop_rate", Int)], ..LEAF };
