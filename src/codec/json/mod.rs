//! JSON text to [`Item`] and back, written as OpenSIPS writes it; strings may hold bytes that are not UTF-8.

mod escapes;
mod item_seed;
mod scanner;
mod stand_ins;
mod writer;

use std::borrow::Cow;

use serde::de::DeserializeSeed;

use super::CodecError;
use crate::convert::{TooDeep, tree_to_item};
use crate::item::{Item, MAX_DEPTH};
use crate::response::Body;
pub(crate) use item_seed::ItemSeed;
pub use scanner::{Scan, Scanner};
pub(crate) use stand_ins::Text;
pub(crate) use writer::write_pretty_at;
pub use writer::{write, write_pretty, write_string};

/// Reads one value; only blanks may follow it.
///
/// Integers beyond 64 bits become floats. Objects keep order and repeated names.
pub fn parse(bytes: &[u8]) -> Result<Item, CodecError> {
    let text = Text::new(bytes);
    let mut json = text.deserializer();
    let seed = ItemSeed { text: &text, first_wins: false };
    let item = seed.deserialize(&mut json).and_then(|item| json.end().map(|()| item));
    item.map_err(|error| text.error(&error, bytes))
}

/// Reads the value at the start of `bytes` and says how many bytes it takes, blanks before it included.
pub fn parse_prefix(bytes: &[u8]) -> Result<(Item, usize), CodecError> {
    let mut scanner = Scanner::new();
    let scan = match scanner.feed(bytes) {
        Scan::NeedMore => scanner.finish(),
        scan => scan,
    };
    match scan {
        Scan::Complete(end) => Ok((parse(&bytes[..end])?, end)),
        Scan::Invalid(offset) => Err(CodecError::unexpected("a JSON value", bytes, offset)),
        Scan::NeedMore => Err(CodecError::unexpected("the rest of a JSON value", bytes, bytes.len())),
    }
}

/// The value that a response carries; nothing for one that carries none.
pub fn item_of(body: &Body) -> Result<Option<Cow<'_, Item>>, CodecError> {
    match body {
        Body::Empty => Ok(None),
        Body::Item(item) => Ok(Some(Cow::Borrowed(item))),
        Body::Json(text) => parse(text).map(|item| Some(Cow::Owned(item))),
        Body::Tree(tree) => match tree_to_item(tree) {
            Ok(item) => Ok(item.map(Cow::Owned)),
            Err(TooDeep) => Err(CodecError::TooDeep { limit: MAX_DEPTH, offset: 0 }),
        },
    }
}

#[cfg(test)]
mod tests;
