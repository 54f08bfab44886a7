//! XML-RPC: no bytes make a decoder panic, and what is written can be read in every form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sipmi::codec::xmlrpc::{Form, Incoming, decode_request, decode_response, encode_request, encode_response};
use sipmi::dialect::Dialect;

const FORMS: [Form; 6] = [Form::Native, Form::String, Form::Array, Form::Ng, Form::Ng1, Form::Ng2];

fn request(bytes: &[u8], form: Form, dialect: Dialect) {
    let Ok(Incoming::One(request)) = decode_request(bytes, form, dialect) else { return };
    let mut document = Vec::new();
    if encode_request(&mut document, &request, form, dialect).is_ok() {
        let again = decode_request(&document, form, dialect).expect("what was written can be read");
        if form == Form::Native && dialect == Dialect::V4_0 {
            assert_eq!(again, Incoming::One(request));
        }
    }
}

fn response(bytes: &[u8]) {
    let Ok(response) = decode_response(bytes) else { return };
    let result = Ok(response);
    for form in FORMS {
        let mut document = Vec::new();
        encode_response(&mut document, &result, b"method", form, Dialect::Sipmi);
        let again = decode_response(&document).expect("what was written can be read");
        if form == Form::Native {
            let mut second = Vec::new();
            encode_response(&mut second, &Ok(again), b"method", form, Dialect::Sipmi);
            assert_eq!(document, second);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    for form in FORMS {
        request(bytes, form, Dialect::Sipmi);
        request(bytes, form, Dialect::V2_4);
    }
    request(bytes, Form::Native, Dialect::V4_0);
    response(bytes);
});
