//! The lists that 1.x and 2.x write in parts: after every 50 records comes an empty line.

/// The names of the nodes that such a list counts.
const RECORDS: [&[u8]; 7] = [
    // ul_dump
    b"AOR",
    // dlg_list, dlg_list_ctx, profile_list_dlgs
    b"dialog",
    // events_list, subscribers_list
    b"Event",
    b"Subscriber",
    // rl_list
    b"PIPE",
    // list_tcp_conns
    b"Connection",
    // pres_phtable_list, subs_phtable_list
    b"pres_uri",
];

/// How many records a part of a list has.
const IN_A_PART: usize = 50;

/// How many records of each kind were read.
#[derive(Default)]
pub(super) struct Records {
    counts: [usize; RECORDS.len()],
    /// True if the count began somewhere in the list (`dlg_list` of a page).
    is_page: bool,
}

impl Records {
    /// Counts a node.
    pub fn count(&mut self, name: &[u8]) {
        match name {
            // Each domain is counted anew.
            b"Domain" => self.counts = Default::default(),
            b"dlg_counter" => self.is_page = true,
            name => {
                if let Some(place) = RECORDS.iter().position(|record| *record == name) {
                    self.counts[place] += 1;
                }
            }
        }
    }

    /// Returns true if an empty line here may be the end of a part. In unknown lists any empty line but the last may
    /// be one.
    pub fn may_be_flushed(&self, is_end: bool) -> bool {
        let mut counted = self.counts.iter().filter(|count| **count > 0).peekable();
        if counted.peek().is_none() {
            return !is_end;
        }
        self.is_page || counted.any(|count| count % IN_A_PART == 0)
    }
}
