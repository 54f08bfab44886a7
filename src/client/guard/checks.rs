//! Checks of requests that a real server would lose, run as another, or not survive.
//!
//! These are facts about servers, not settings. A caller may force a request over a limit beyond which a server merely
//! rejects it or stays silent; never one that would be run in part, as another, or at the cost of others. Sipmi's own
//! server has none of these limits.

use super::http_limit::{ABYSS_BODY, HTTP_BODY, HTTP_MESSAGE};
use super::refusal::Refusal;
use super::route::{Carrier, Route};
use crate::catalog::asynchronous::is_asynchronous;
use crate::catalog::hazards::{self, Module};
use crate::catalog::limits::{
    ABYSS_RECORDS, DATAGRAM, JSON_FRAME, LONGEST_NAME, NO_INPUT_LINE, REPLY_PATH, TEXT_PARAMS, UDP_DATAGRAM,
};
use crate::catalog::parameters::NO_INPUT;
use crate::client::server_info::{Generation, Wire};
use crate::codec::is_blank;
use crate::codec::xmlrpc::Form;
use crate::item::Item;
use crate::request::{Params, Request};

impl Route {
    /// Ignores a refusal that the caller may force.
    fn unless_forced(self, checked: Result<(), Refusal>) -> Result<(), Refusal> {
        checked.or_else(|refusal| if self.force && refusal.is_only_a_limit() { Ok(()) } else { Err(refusal) })
    }

    /// Makes the checks that precede the writing of the request.
    pub(in crate::client) fn check_request(self, request: &Request) -> Result<(), Refusal> {
        let bad = |byte: &u8| is_blank(*byte) || *byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f);
        if request.method.is_empty() || request.method.len() > LONGEST_NAME || request.method.iter().any(bad) {
            let shown = &request.method[..request.method.len().min(LONGEST_NAME)];
            return Err(Refusal::Name(String::from_utf8_lossy(shown).into_owned()));
        }
        let json_fifo = self.wire == Wire::Json && self.carrier == Carrier::Fifo;
        if json_fifo && self.is_original() && is_asynchronous(&request.method) {
            return Err(Refusal::Asynchronous);
        }
        if self.wire == Wire::XmlRpc && self.is_original() {
            self.unless_forced(self.check_xml_params(&request.params))?;
        }
        self.unless_forced(self.check_hazards(&request.method))
    }

    fn check_hazards(self, command: &[u8]) -> Result<(), Refusal> {
        let Some(version) = self.version() else { return Ok(()) };
        let module = if self.wire == Wire::XmlRpc && !self.is_abyss { Module::XmlRpcNg } else { Module::Any };
        let hazard = hazards::hazard_of(command, version, self.patch, module);
        hazard.map_or(Ok(()), |hazard| Err(Refusal::Hazard(hazard)))
    }

    /// Returns true if a dump by this command may crash the server, so that the client counts its records first.
    pub(in crate::client) fn may_die_of_records(self, request: &Request) -> bool {
        self.is_abyss && !self.force && request.method == "ul_dump"
    }

    /// Checks the number of records that a dump would list.
    pub(in crate::client) fn check_records(count: Option<u64>) -> Result<(), Refusal> {
        match count {
            Some(count) if count <= ABYSS_RECORDS => Ok(()),
            count => Err(Refusal::TooManyRecords { count, limit: ABYSS_RECORDS }),
        }
    }

    /// 2.4, and 3.x and 4.x, answer an error to whatever holds nothing.
    fn check_xml_params(self, params: &Params) -> Result<(), Refusal> {
        let remedy = "use another transport, or JSON-RPC at /mi";
        let empty = match params {
            _ if matches!(self.form, Form::String | Form::Array | Form::Ng) => None,
            Params::None => None,
            Params::Positional(items) => items.iter().position(is_empty),
            Params::Named(members) => members.iter().position(|(_, item)| is_empty(item)),
            Params::Strings(strings) => strings.iter().position(|param| param.value.is_empty()),
        };
        empty.map_or(Ok(()), |place| Err(Refusal::Empty { position: place + 1, remedy }))
    }

    /// Checks the request as it would go out.
    pub(in crate::client) fn check_bytes(self, request: &Request, bytes: &[u8]) -> Result<(), Refusal> {
        if self.wire == Wire::Json && self.is_original() && holds_nul(bytes) {
            return Err(Refusal::Nul);
        }
        match (self.carrier, self.wire) {
            (Carrier::Datagram, _) => self.unless_forced(self.check_datagram(bytes)),
            (Carrier::Fifo, _) if !self.is_original() => Ok(()),
            (Carrier::Http, _) => Ok(()),
            (Carrier::Fifo, Wire::Json) => check_size(bytes.len(), JSON_FRAME, || Refusal::TooLarge {
                size: bytes.len(),
                limit: JSON_FRAME,
                consequence: "what is beyond would be run as a request of its own",
                remedy: "no modparam of mi_fifo raises it; udp: and unix: carry more",
                is_harmless: false,
            }),
            (Carrier::Fifo, _) => self.check_text_fifo(request, bytes),
        }
    }

    /// Returns true if `httpd` collects a body in a small buffer: from 3.6 on, so also where the version is unknown.
    fn joins_reads(self) -> bool {
        match (self.generation, self.wire) {
            (None, wire) => matches!(wire, Wire::Json | Wire::XmlRpc),
            (Some(Generation::OpenSips(3)), _) => self.minor.is_none_or(|minor| minor >= 6),
            (Some(Generation::OpenSips(major)), _) => major > 3,
            (Some(Generation::Sipmi), _) => false,
        }
    }

    /// Checks a message as HTTP would carry it.
    pub(in crate::client) fn check_http(self, head: usize, body: usize) -> Result<(), Refusal> {
        if !self.is_original() {
            return Ok(());
        }
        let (size, limit) = match () {
            () if self.is_abyss => (body, &ABYSS_BODY),
            () if self.joins_reads() => (body, &HTTP_BODY),
            () => (head + body, &HTTP_MESSAGE),
        };
        let configured = self.receive_buf_size.filter(|_| self.joins_reads());
        if configured.is_some() {
            // A message that is larger than the memory of a connection stalls there, however large the buffer is.
            let (size, limit) = (head + body, &HTTP_MESSAGE);
            self.unless_forced(check_size(size, limit.bytes, || Refusal::HttpTooLarge {
                size,
                bytes: limit.bytes,
                limit,
            }))?;
        }
        let bytes = configured.unwrap_or(limit.bytes);
        self.unless_forced(check_size(size, bytes, || Refusal::HttpTooLarge { size, bytes, limit }))
    }

    fn check_datagram(self, bytes: &[u8]) -> Result<(), Refusal> {
        let (limit, consequence, remedy) = if self.is_original() {
            let limit = self.socket_buf_size.unwrap_or(DATAGRAM);
            (limit, "the server would cut it", self.remedy_of_datagram())
        } else {
            (UDP_DATAGRAM, "no datagram is larger", "HTTP and a FIFO of ours carry more")
        };
        let size = bytes.len();
        // JSON that was cut cannot be read; text that was cut is run.
        let is_harmless = self.wire == Wire::Json;
        check_size(size, limit, || Refusal::TooLarge { size, limit, consequence, remedy, is_harmless })
    }

    /// Returns the remedy for the limit of a datagram: 4.0 has a modparam for it, which does not help over UDP.
    fn remedy_of_datagram(self) -> &'static str {
        match self.version() {
            Some((4.., _)) => {
                "over UNIX, if modparam socket_buf_size of mi_datagram is larger there, say so with socket_buf_size="
            }
            _ => "no modparam of mi_datagram raises it",
        }
    }

    fn check_text_fifo(self, request: &Request, bytes: &[u8]) -> Result<(), Refusal> {
        let first_line = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        let block = bytes[first_line..].strip_suffix(b"\n").unwrap_or_default();
        if block.len() > TEXT_PARAMS {
            return Err(Refusal::ParamsTooLarge { size: block.len(), limit: TEXT_PARAMS });
        }
        let longest = block.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or_default();
        let may_be_2 = self.generation != Some(Generation::OpenSips(1));
        if may_be_2 && longest > NO_INPUT_LINE && NO_INPUT.iter().any(|name| request.method == *name) {
            return Err(Refusal::LineTooLong { size: longest, limit: NO_INPUT_LINE });
        }
        Ok(())
    }

    /// Checks the path of a reply FIFO.
    pub(in crate::client) fn check_reply_path(self, size: usize) -> Result<(), Refusal> {
        if !self.is_original() {
            return Ok(());
        }
        self.unless_forced(check_size(size, REPLY_PATH, || Refusal::ReplyPath { size, limit: REPLY_PATH }))
    }
}

fn check_size(size: usize, limit: usize, refusal: impl FnOnce() -> Refusal) -> Result<(), Refusal> {
    if size > limit { Err(refusal()) } else { Ok(()) }
}

fn is_empty(item: &Item) -> bool {
    match item {
        Item::Str(text) => text.is_empty(),
        Item::Array(elements) => elements.is_empty() || elements.iter().any(is_empty),
        Item::Object(members) => members.is_empty() || members.iter().any(|(_, member)| is_empty(member)),
        _ => false,
    }
}

/// Returns true if JSON that this client wrote has `\u0000` in a string.
fn holds_nul(bytes: &[u8]) -> bool {
    let escaped = |at: usize| bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    memchr::memmem::find_iter(bytes, br"\u0000").any(|at| !escaped(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: Route = Route {
        wire: Wire::Json,
        carrier: Carrier::Fifo,
        generation: Some(Generation::OpenSips(4)),
        minor: Some(0),
        patch: Some(1),
        receive_buf_size: None,
        socket_buf_size: None,
        is_abyss: false,
        form: Form::Native,
        force: false,
    };

    #[test]
    fn asynchronous_commands_are_known_by_all_their_names() {
        for name in ["t_uac_dlg", "tm:uac_dlg", "uac_dlg", "tm:t_uac_dlg", "T_UAC_DLG", "publish", "rtp_relay:update"]
        {
            assert_eq!(REAL.check_request(&Request::new(name)), Err(Refusal::Asynchronous), "{name}");
        }
        for name in ["t_uac_cancel", "presence:publish", "tm:update", "update_contact", "ul_dump"] {
            assert_eq!(REAL.check_request(&Request::new(name)), Ok(()), "{name}");
        }
    }

    #[test]
    fn asynchronous_commands_are_sent_where_they_do_no_harm() {
        let request = Request::new("t_uac_dlg");
        assert_eq!(Route { carrier: Carrier::Datagram, ..REAL }.check_request(&request), Ok(()));
        assert_eq!(Route { wire: Wire::Text, ..REAL }.check_request(&request), Ok(()));
        assert_eq!(Route { generation: Some(Generation::Sipmi), ..REAL }.check_request(&request), Ok(()));
        assert_eq!(Route { generation: None, ..REAL }.check_request(&request), Err(Refusal::Asynchronous));
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_and_one_byte_less_is_not() {
        let request = Request::new("x");
        assert_eq!(REAL.check_bytes(&request, &[b' '; JSON_FRAME]), Ok(()));
        let refused = REAL.check_bytes(&request, &[b' '; JSON_FRAME + 1]);
        assert!(matches!(refused, Err(Refusal::TooLarge { size: 4097, limit: 4096, .. })), "{refused:?}");
    }

    #[test]
    fn limits_may_be_exceeded_with_force_and_harmful_requests_may_not() {
        let request = Request::new("t_uac_dlg");
        let forced = Route { force: true, ..REAL };
        assert_eq!(forced.check_request(&request), Err(Refusal::Asynchronous));
        assert!(forced.check_bytes(&request, &[b' '; JSON_FRAME + 1]).is_err());
        assert!(Route { carrier: Carrier::Http, ..forced }.check_http(200, 1025).is_err());
        let older =
            Route { carrier: Carrier::Http, generation: Some(Generation::OpenSips(3)), minor: Some(4), ..REAL };
        assert!(older.check_http(200, 16_384).is_err());
        assert_eq!(Route { force: true, ..older }.check_http(200, 16_384), Ok(()));
        let datagram = Route { carrier: Carrier::Datagram, ..REAL };
        let bytes = vec![b' '; DATAGRAM + 1];
        assert!(datagram.check_bytes(&request, &bytes).is_err());
        assert_eq!(Route { force: true, ..datagram }.check_bytes(&request, &bytes), Ok(()));
        let text = Route { wire: Wire::Text, force: true, ..datagram };
        assert!(text.check_bytes(&request, &bytes).is_err(), "what is left of it would be run");
        assert!(REAL.check_reply_path(128).is_err());
        assert_eq!(forced.check_reply_path(128), Ok(()));
    }

    #[test]
    fn numbers_that_would_be_clamped_go_as_strings() {
        let mut params = Params::Positional(vec![Item::Int(7), Item::Int(3_000_000_000), Item::Float(1.5)]);
        REAL.adapt(&mut params);
        let expected = vec![Item::Int(7), "3000000000".into(), "1.5".into()];
        assert_eq!(params, Params::Positional(expected));
    }

    #[test]
    fn only_a_real_nul_is_refused() {
        assert!(holds_nul(br#"["a\u0000"]"#));
        assert!(!holds_nul(br#"["a\\u0000"]"#));
        assert!(holds_nul(br#"["a\\\u0000"]"#));
    }
}
