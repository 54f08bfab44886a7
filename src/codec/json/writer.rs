//! Items as JSON text, as OpenSIPS writes it.

use super::escapes::{ESCAPES, plain_len};
use crate::codec::hex::hex;
use crate::codec::{push_float, push_int};
use crate::item::Item;

/// Appends an item without blanks. Floats that are no numbers become null.
pub fn write(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Array(elements) => {
            out.push(b'[');
            for (place, element) in elements.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write(out, element);
            }
            out.push(b']');
        }
        Item::Object(members) => {
            out.push(b'{');
            for (place, (name, member)) in members.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_string(out, name);
                out.push(b':');
                write(out, member);
            }
            out.push(b'}');
        }
        scalar => write_scalar(out, scalar),
    }
}

/// Appends an item as OpenSIPS does with `pretty_printing`: TABs, and `", "` between array elements.
pub fn write_pretty(out: &mut Vec<u8>, item: &Item) {
    write_pretty_at(out, item, 0);
}

/// As [`write_pretty`], for an item that stands `depth` levels deep.
pub(crate) fn write_pretty_at(out: &mut Vec<u8>, item: &Item, depth: usize) {
    match item {
        Item::Array(elements) => {
            out.push(b'[');
            for (place, element) in elements.iter().enumerate() {
                if place > 0 {
                    out.extend_from_slice(b", ");
                }
                write_pretty_at(out, element, depth + 1);
            }
            out.push(b']');
        }
        Item::Object(members) => {
            out.extend_from_slice(b"{\n");
            for (place, (name, member)) in members.iter().enumerate() {
                push_tabs(out, depth + 1);
                write_string(out, name);
                out.extend_from_slice(b":\t");
                write_pretty_at(out, member, depth + 1);
                out.extend_from_slice(if place + 1 < members.len() { b",\n" } else { b"\n" });
            }
            push_tabs(out, depth);
            out.push(b'}');
        }
        scalar => write_scalar(out, scalar),
    }
}

/// Appends a string in quotes, with the escapes that OpenSIPS uses: only those that JSON demands.
/// Bytes that are not UTF-8 go as they are.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut rest = bytes;
    loop {
        let plain = plain_len(rest);
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        if rest.is_empty() {
            break;
        }
        // To look for plain bytes takes as long as to escape many bytes, and these often stand together.
        while let Some((&byte, after)) = rest.split_first()
            && ESCAPES[byte as usize] != 0
        {
            match ESCAPES[byte as usize] {
                b'u' => {
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&hex(byte));
                }
                letter => out.extend_from_slice(&[b'\\', letter]),
            }
            rest = after;
        }
    }
    out.push(b'"');
}

fn write_scalar(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Bool(true) => out.extend_from_slice(b"true"),
        Item::Bool(false) => out.extend_from_slice(b"false"),
        Item::Int(value) => push_int(out, *value),
        Item::UInt(value) => push_int(out, *value),
        Item::Float(value) if value.is_finite() => push_float(out, *value),
        Item::Str(text) => write_string(out, text),
        _ => out.extend_from_slice(b"null"),
    }
}

fn push_tabs(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, b'\t');
}
