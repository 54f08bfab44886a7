//! An event on its way to its subscribers.

use std::cell::OnceCell;

use crate::codec::event::{self, Event, Form};

/// An event on its way, encoded once for all subscribers that want the same form.
pub struct Raised {
    event: Event,
    text: OnceCell<Vec<u8>>,
    json: OnceCell<Vec<u8>>,
}

impl Raised {
    pub(super) fn new(event: Event) -> Self {
        Raised { event, text: OnceCell::new(), json: OnceCell::new() }
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The event, encoded in a form.
    pub fn bytes(&self, form: Form) -> &[u8] {
        match form {
            Form::Text => self.text.get_or_init(|| {
                let mut out = Vec::with_capacity(256);
                event::encode_text(&mut out, &self.event);
                out
            }),
            Form::Json => self.json.get_or_init(|| {
                let mut out = Vec::with_capacity(256);
                event::encode_json(&mut out, &self.event.name, &self.event.params, None);
                out
            }),
        }
    }
}
