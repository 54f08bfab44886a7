//! Faults: the answer of each form to a failure, and to a reply with an error's code.

use super::value::push_value;
use super::write::{Escapes, Unsayable, push_escaped};
use super::{DOCUMENT_BEGIN, DOCUMENT_END, Form};
use crate::codec::{answer_of, json, jsonrpc, push_int};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::response::{Body, Failure, Response};

/// The member of a fault that holds JSON-RPC's `data`. It is sipmi's own: OpenSIPS has two members.
const FAULT_DATA: &str = "faultData";

/// The fault codes of 3.x and 4.x whose texts are fixed.
const NATIVE_TEXTS: [(i32, &str); 6] = [
    (-32700, "parse error. not well formed"),
    (-32600, "server error. invalid xml-rpc. not conforming to spec."),
    (-32601, "server error. requested method not found"),
    (-32602, "server error. invalid method parameters"),
    (-32001, "server error. requested method is ambiguous"),
    (-32000, "server error"),
];

/// A fault.
pub(super) struct Fault {
    code: i32,
    text: Str,
    data: Option<Item>,
}

impl Fault {
    /// Returns the fault of a failure in a form.
    pub(super) fn of_failure(failure: &Failure, method: &[u8], form: Form, dialect: Dialect) -> Fault {
        match form {
            Form::Native => Fault::native(failure, dialect),
            Form::String | Form::Array => Fault::of_strings(failure, method),
            Form::Ng | Form::Ng1 | Form::Ng2 => Fault::ng(failure, dialect),
        }
    }

    /// A command's own error.
    pub(super) fn of_response(response: &Response, form: Form, dialect: Dialect) -> Fault {
        let carries_data = form == Form::Native && !dialect.is_emulated();
        let data = json::item_of(&response.body).ok().flatten().filter(|_| carries_data);
        Fault { code: response.code, text: response.reason.clone(), data: data.map(std::borrow::Cow::into_owned) }
    }

    /// A reply that cannot be written.
    pub(super) fn unsayable(unsayable: Unsayable, form: Form) -> Fault {
        let why = format!("The reply cannot be sent: {}", unsayable.why());
        match form {
            Form::Native => Fault { code: -32000, text: "server error".into(), data: Some(why.into()) },
            Form::String | Form::Array => Fault::new(-500, why),
            Form::Ng | Form::Ng1 | Form::Ng2 => Fault::new(500, why),
        }
    }

    fn new(code: i32, text: impl Into<Str>) -> Fault {
        Fault { code, text: text.into(), data: None }
    }

    fn native(failure: &Failure, dialect: Dialect) -> Fault {
        let response = jsonrpc::failure_response(failure, dialect);
        let emulated = dialect.is_emulated();
        let code = if response.code == -32001 && emulated { -32601 } else { response.code };
        let known = NATIVE_TEXTS.iter().find(|(known, _)| *known == code);
        let text = known.map_or(response.reason, |(_, text)| (*text).into());
        let data = match response.body {
            Body::Item(data) if !emulated => Some(data),
            _ => None,
        };
        // The sign is that of 3.x and 4.x.
        let code = if emulated && code == -32700 { 32700 } else { code };
        Fault { code, text, data }
    }

    fn of_strings(failure: &Failure, method: &[u8]) -> Fault {
        let about = |end: &str| [b"Requested command (", method, b") ", end.as_bytes()].concat();
        match failure {
            Failure::UnknownCommand | Failure::Ambiguous(_) => Fault::new(-506, about("is not available!")),
            Failure::Parse => Fault::new(-503, "Call XML not a proper XML-RPC call."),
            Failure::InvalidRequest => Fault::new(-501, "Unsupported value supplied"),
            Failure::Handler(_) => Fault::new(-500, about("failed!")),
            failure => {
                let (code, text) = answer_of(failure);
                Fault::new(code, &*text)
            }
        }
    }

    fn ng(failure: &Failure, dialect: Dialect) -> Fault {
        let (code, text) = match failure {
            _ if is_by_transport(failure) && dialect.is_emulated() => (401, "Empty request".into()),
            Failure::UnknownCommand | Failure::Ambiguous(_) => (500, "Command not found".into()),
            Failure::Parse | Failure::InvalidRequest => (400, "Parse error".into()),
            Failure::Handler(error) if !dialect.is_emulated() => (500, error.to_string().into()),
            Failure::Handler(_) => (500, "Command failed".into()),
            failure => answer_of(failure),
        };
        Fault::new(code, &*text)
    }

    /// Appends a document with this fault.
    pub(super) fn push_document(&self, out: &mut Vec<u8>, form: Form, escapes: Escapes) -> Result<(), Unsayable> {
        out.extend_from_slice(DOCUMENT_BEGIN);
        let by_xmlrpc_c = matches!(form, Form::String | Form::Array);
        out.extend_from_slice(if by_xmlrpc_c { b"<fault>\r\n" } else { b"<fault>" });
        self.push_value(out, form, escapes)?;
        out.extend_from_slice(b"\r\n</fault>\r\n");
        out.extend_from_slice(DOCUMENT_END);
        Ok(())
    }

    /// Appends the value that a fault is, in the lines in which its originals have it.
    pub(super) fn push_value(&self, out: &mut Vec<u8>, form: Form, escapes: Escapes) -> Result<(), Unsayable> {
        let by_xmlrpc_c = matches!(form, Form::String | Form::Array);
        let layout = if by_xmlrpc_c { &BY_XMLRPC_C } else { &BY_NG };
        out.extend_from_slice(layout.begin);
        out.extend_from_slice(layout.code);
        push_int(out, i64::from(self.code));
        out.extend_from_slice(layout.text);
        push_escaped(out, &self.text, escapes)?;
        out.extend_from_slice(layout.text_end);
        if let Some(data) = &self.data {
            for part in [layout.member, b"<name>", FAULT_DATA.as_bytes(), b"</name>\r\n"] {
                out.extend_from_slice(part);
            }
            push_value(out, data, escapes)?;
            out.extend_from_slice(layout.member_end);
        }
        out.extend_from_slice(layout.end);
        Ok(())
    }
}

/// Returns true if the transports of 1.x and 2.x report this failure themselves; commands report all others there.
pub(super) fn is_by_transport(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Parse
            | Failure::InvalidRequest
            | Failure::UnknownCommand
            | Failure::Ambiguous(_)
            | Failure::Handler(_)
    )
}

/// The lines of a fault.
struct Layout {
    begin: &'static [u8],
    member: &'static [u8],
    member_end: &'static [u8],
    code: &'static [u8],
    text: &'static [u8],
    text_end: &'static [u8],
    end: &'static [u8],
}

const BY_XMLRPC_C: Layout = Layout {
    begin: b"<value><struct>\r\n",
    member: b"<member>",
    member_end: b"</member>\r\n",
    code: b"<member><name>faultCode</name>\r\n<value><i4>",
    text: b"</i4></value></member>\r\n<member><name>faultString</name>\r\n<value><string>",
    text_end: b"</string></value></member>\r\n",
    end: b"</struct></value>",
};

const BY_NG: Layout = Layout {
    begin: b"<value>\r\n<struct>\r\n",
    member: b"<member>\r\n",
    member_end: b"\r\n</member>\r\n",
    code: b"<member>\r\n<name>faultCode</name>\r\n<value><int>",
    text: b"</int></value>\r\n</member>\r\n<member>\r\n<name>faultString</name>\r\n<value><string>",
    text_end: b"</string></value>\r\n</member>\r\n",
    end: b"</struct>\r\n</value>",
};

/// The error that the value of a fault tells, if it tells one.
pub(super) fn read(value: Item) -> Option<Response> {
    let (Item::Int(code), Item::Str(text)) = (value.get("faultCode")?, value.get("faultString")?) else {
        return None;
    };
    let mut response = Response::error(i32::try_from(*code).ok()?, text.clone());
    let Item::Object(members) = value else { return None };
    if let Some((_, data)) = members.into_iter().find(|(name, _)| *name == FAULT_DATA) {
        response.body = Body::Item(data);
    }
    Some(response)
}

/// Which failure these words of a fault are; `None` when a command answered.
pub(super) fn failure_of(response: &Response) -> Option<Failure> {
    match (response.code, &*response.reason) {
        (-506 | -32601, _) | (500, b"Command not found") => Some(Failure::UnknownCommand),
        (-503 | -32700 | 32700, _) | (400, b"Parse error") => Some(Failure::Parse),
        (-501 | -32600, _) => Some(Failure::InvalidRequest),
        (-500, _) | (500, b"Command failed" | b"Internal server error!") => Some(Failure::handler()),
        (500, reason) if Failure::is_handler(reason) => Some(Failure::handler()),
        _ => None,
    }
}
