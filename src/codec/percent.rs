//! Percent-encoding of paths and forms.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// All but the bytes that every part of a URL may hold.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'@');

/// Decodes a part of a path. A percent sign without two hex digits stands for itself.
pub(crate) fn decode(bytes: &[u8]) -> Vec<u8> {
    // Without a percent sign this is one copy; byte by byte it would grow the buffer again and again.
    Cow::from(percent_decode(bytes)).into_owned()
}

/// Decodes a name or a value of a form, in which `+` is a blank.
pub(crate) fn decode_form(bytes: &[u8]) -> Vec<u8> {
    if !bytes.contains(&b'+') {
        return decode(bytes);
    }
    let with_blanks: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    decode(&with_blanks)
}

/// Appends bytes so that any part of a URL may hold them.
pub(crate) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    percent_encode(bytes, ESCAPED).for_each(|part| out.extend_from_slice(part.as_bytes()));
}
