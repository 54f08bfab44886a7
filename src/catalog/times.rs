//! The members of replies that are times, as the shape of 4.0 has them.

/// The notation of a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// `Mon Nov 23 07:35:59 2026`, in the server's zone.
    Clock,
    /// `2026-11-23 07:46:11`, in the server's zone; the beginning of 1970 is never.
    Date,
    /// Seconds since 1970; 0 is never.
    Moment,
    /// `249 [sec]`.
    Duration,
}

impl Time {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Time::Clock => "clock",
            Time::Date => "date",
            Time::Moment => "moment",
            Time::Duration => "duration",
        }
    }
}

/// Members by their names, each with its notation.
type Times = &'static [(&'static str, Time)];

const UPTIME: Times = &[("Now", Time::Clock), ("Up since", Time::Clock), ("Up time", Time::Duration)];
const DIALOG: Times =
    &[("timestart", Time::Moment), ("datestart", Time::Date), ("timeout", Time::Moment), ("dateout", Time::Date)];

/// The members that are times in the reply to a command, by its name before 4.0.
pub fn times_of(flat_command: &[u8]) -> Times {
    match flat_command {
        b"uptime" => UPTIME,
        b"dlg_list" | b"dlg_list_ctx" | b"profile_list_dlgs" => DIALOG,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_known_by_the_command_whose_reply_has_them() {
        assert!(times_of(b"uptime").contains(&("Up time", Time::Duration)));
        assert!(times_of(b"dlg_list").contains(&("timestart", Time::Moment)));
        assert!(times_of(b"ps").is_empty());
    }
}
