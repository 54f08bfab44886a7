//! `mi_json`: no bytes make a decoder panic, and what is read is written as it will be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sipmi::codec::mi_json::{decode_request, decode_response, encode_request, encode_response};
use sipmi::dialect::Dialect;

fn request(bytes: &[u8], dialect: Dialect) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'?');
    let (command, query) = (parts.next().unwrap_or_default(), parts.next());
    let Ok(request) = decode_request(command, query, dialect) else { return };
    let mut target = Vec::new();
    if encode_request(&mut target, &request, dialect).is_err() {
        return;
    }
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    let (command, query) = (parts.next().unwrap_or_default(), parts.next());
    assert_eq!(decode_request(command, query, dialect), Ok(request));
}

fn response(bytes: &[u8]) {
    let Ok(response) = decode_response(bytes) else { return };
    for dialect in [Dialect::V1_11, Dialect::V2_4] {
        encode_response(&mut Vec::new(), &Ok(response.clone()), dialect);
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    encode_response(&mut first, &Ok(response), Dialect::Sipmi);
    let again = decode_response(&first).expect("what was written can be read");
    encode_response(&mut second, &Ok(again), Dialect::Sipmi);
    assert_eq!(first, second);
}

fuzz_target!(|bytes: &[u8]| {
    request(bytes, Dialect::Sipmi);
    request(bytes, Dialect::V2_4);
    response(bytes);
});
