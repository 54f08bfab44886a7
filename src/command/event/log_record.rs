//! The records by which the processes of a server inform each other of events.

use std::time::Duration;

use crate::codec::event::Form;
use crate::item::Str;

/// One record.
pub(super) enum LogRecord {
    Declared {
        name: Str,
    },
    /// `since` is a time of the monotonic clock, which all processes share.
    Subscribed {
        event: Str,
        socket: Str,
        expire: u32,
        form: Form,
        since: Duration,
    },
}

impl LogRecord {
    pub(super) fn write(&self) -> Vec<u8> {
        match self {
            LogRecord::Declared { name } => [b"D", name.as_bytes()].concat(),
            LogRecord::Subscribed { event, socket, expire, form, since } => {
                let form = if *form == Form::Text { b'T' } else { b'J' };
                let mut out = vec![b'S', form];
                out.extend_from_slice(&expire.to_le_bytes());
                out.extend_from_slice(&(since.as_nanos() as u64).to_le_bytes());
                out.push(event.len() as u8);
                out.extend_from_slice(event);
                out.extend_from_slice(socket);
                out
            }
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<LogRecord> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == b'D' {
            return Some(LogRecord::Declared { name: rest.into() });
        }
        let (form, rest) = rest.split_first()?;
        let (expire, rest) = rest.split_first_chunk::<4>()?;
        let (since, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first()?;
        let (event, socket) = rest.split_at_checked(usize::from(*len))?;
        let form = if *form == b'T' { Form::Text } else { Form::Json };
        let (expire, since) = (u32::from_le_bytes(*expire), Duration::from_nanos(u64::from_le_bytes(*since)));
        Some(LogRecord::Subscribed { event: event.into(), socket: socket.into(), expire, form, since })
    }
}
