//! What is never sent to a real server, because it would be lost, harm the server or be run as something else.
//!
//! These are facts about the servers, not settings. Whoever knows better may force what is only a limit, beyond which a
//! server refuses or says nothing; never what would be run in part, as something else, or at the cost of others. Sipmi's
//! own server has none of them.

use super::{Generation, Wire};
use crate::catalog::asynchronous::is_asynchronous;
use crate::catalog::hazards::{self, Hazard, Module};
use crate::catalog::names::Version;
use crate::catalog::parameters::NO_INPUT;
use crate::codec::xmlrpc::Form;
use crate::codec::{CodecError, is_blank};
use crate::dialect::Dialect;
use crate::item::Item;
use crate::request::{Params, Request};

/// The longest command name that is sent. Real ones have less than 40 bytes.
const LONGEST_NAME: usize = 128;

/// A JSON FIFO of 3.x and 4.x reads this much; the bytes after it are read as a request of their own.
const JSON_FRAME: usize = 4096;

/// A text FIFO of 1.x and 2.x reads 8,192 bytes of parameters, in which an empty line and a NUL must fit.
const TEXT_PARAMS: usize = 8190;

/// A text FIFO of 2.x reads no longer line for a command that takes no input.
const NO_INPUT_LINE: usize = 1023;

/// `mi_datagram` reads this much.
const DATAGRAM: usize = 65_457;

/// What IPv4 carries in a UDP datagram.
const UDP_DATAGRAM: usize = 65_507;

/// How many requests a server is given at a time. A real one reads its FIFO, or HTTP, by one process that others
/// share, so ours wait for each other here and not there. Datagrams wait in the kernel, which has room for some 270
/// on a socket and drops the others. Ours serves connections side by side, and reads a FIFO faster than it is written.
const IN_FLIGHT_ORIGINAL: usize = 1;
const IN_FLIGHT_DATAGRAMS: usize = 16;
const IN_FLIGHT_FIFO: usize = 8;
const IN_FLIGHT_OURS: usize = 128;

/// What a server reads of one request over HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpLimit {
    /// What is counted.
    pub what: &'static str,
    /// How many bytes are read.
    pub bytes: usize,
    /// What becomes of more.
    pub consequence: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// Whether the server would do no more than refuse it.
    pub is_harmless: bool,
}

/// From 3.6 on, `httpd` collects a body in a buffer. What does not fit is dropped, and the rest is run.
static HTTP_BODY: HttpLimit = HttpLimit {
    what: "body",
    bytes: 1024,
    consequence: "the server would drop a part of it and run the rest",
    remedy: "if modparam receive_buf_size of httpd is larger there, say so with receive_buf_size=; a datagram carries more",
    is_harmless: false,
};

/// The library of `mi_xmlrpc` (1.x) takes this much (`XMLRPC_XML_SIZE_LIMIT_DEFAULT` of xmlrpc-c).
static ABYSS_BODY: HttpLimit = HttpLimit {
    what: "body",
    bytes: 512 * 1024,
    consequence: "the server would refuse it",
    remedy: "no modparam of mi_xmlrpc raises it",
    is_harmless: true,
};

/// Before 3.6, `httpd` wants head and body in the memory that it has for a connection.
static HTTP_MESSAGE: HttpLimit = HttpLimit {
    what: "request with its head",
    bytes: 16_384,
    consequence: "the server would close the connection",
    remedy: "no modparam of httpd raises it; a datagram carries more",
    is_harmless: true,
};

/// `mi_xmlrpc` of 1.11 lists 5,000 addresses of record, and dies of 10,000.
const ABYSS_RECORDS: u64 = 5_000;

/// A directory and name of a reply FIFO together.
const REPLY_PATH: usize = 127;

/// Why a request was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No server has such a command.
    #[error(
        "{0:?} cannot be the name of a command: expected 1 to {LONGEST_NAME} bytes without blanks, quotes, backslashes and control bytes"
    )]
    Name(String),
    /// The wire has no way to write it.
    #[error("{0}")]
    Unsayable(CodecError),
    /// The transport does not carry it whole.
    #[error("the request has {size} bytes, over the limit of {limit}: {consequence} ({remedy})")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// How many bytes are carried.
        limit: usize,
        /// What a server would make of it.
        consequence: &'static str,
        /// What to do about it.
        remedy: &'static str,
        /// Whether the server would do no more than refuse it.
        is_harmless: bool,
    },
    /// The parameters are too long for a text FIFO.
    #[error(
        "the parameters take {size} bytes, over the limit of {limit} of a text FIFO: the server would lose them and the next request (no modparam of mi_fifo raises it; udp: and unix: carry more)"
    )]
    ParamsTooLarge {
        /// Their size in bytes, line ends included.
        size: usize,
        /// How many bytes are read.
        limit: usize,
    },
    /// A line is too long for a command without input.
    #[error(
        "a parameter takes {size} bytes, over the limit of {limit} for a command without input on a text FIFO: the server would lose it and the next request (no modparam of mi_fifo raises it)"
    )]
    LineTooLong {
        /// Its size in bytes.
        size: usize,
        /// How many bytes are read.
        limit: usize,
    },
    /// The server reads no more over HTTP.
    #[error("the {} has {size} bytes, over the limit of {bytes}: {} ({})", limit.what, limit.consequence, limit.remedy)]
    HttpTooLarge {
        /// Its size in bytes.
        size: usize,
        /// How many bytes are read there.
        bytes: usize,
        /// How much is read.
        limit: &'static HttpLimit,
    },
    /// A value that this server's XML-RPC does not take.
    #[error("parameter {position} is empty, which XML-RPC of this version refuses: {remedy}")]
    Empty {
        /// Counted from 1.
        position: usize,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The command answers later, and that can kill the server.
    #[error(
        "it answers asynchronously, and over a JSON FIFO of 3.x and 4.x a long reply to it aborts the server: use udp: or unix:"
    )]
    Asynchronous,
    /// The log level of one process, which this version does not have.
    #[error(
        "the log level of one process cannot be set before 2.2: the server would set that of all (leave the process out to do so)"
    )]
    LevelOfProcess,
    /// The command harms servers of this version.
    #[error("on this version {} ({}): {}", .0.effect, .0.source, .0.remedy)]
    Hazard(&'static Hazard),
    /// A dump over `mi_xmlrpc` that the server may not survive.
    #[error("{}: mi_xmlrpc of 1.x lists {limit}, and dies of 10000: use a FIFO or a datagram, or ask for one (ul_show_contact)", describe_count(*count))]
    TooManyRecords {
        /// How many the server says it has.
        count: Option<u64>,
        /// How many are safe.
        limit: u64,
    },
    /// A NUL byte in a string.
    #[error("a parameter holds a NUL byte, which a server of 3.x or 4.x cannot read")]
    Nul,
    /// Directory and name of the reply FIFO are too long together.
    #[error(
        "the reply FIFO's path has {size} bytes, over the limit of {limit}: the server would not answer (modparam reply_dir of mi_fifo, and reply_dir=, name a shorter one)"
    )]
    ReplyPath {
        /// Its size in bytes.
        size: usize,
        /// How many bytes are taken.
        limit: usize,
    },
}

impl Refusal {
    /// Whether it may be forced: the server would do no more than refuse it, or say nothing, or the harm depends on more
    /// than the version.
    pub fn is_only_a_limit(&self) -> bool {
        match self {
            Refusal::Empty { .. }
            | Refusal::ReplyPath { .. }
            | Refusal::Hazard(_)
            | Refusal::TooManyRecords { .. } => true,
            Refusal::HttpTooLarge { limit, .. } => limit.is_harmless,
            Refusal::TooLarge { is_harmless, .. } => *is_harmless,
            Refusal::Name(_)
            | Refusal::Unsayable(_)
            | Refusal::ParamsTooLarge { .. }
            | Refusal::LineTooLong { .. }
            | Refusal::Asynchronous
            | Refusal::LevelOfProcess
            | Refusal::Nul => false,
        }
    }
}

fn describe_count(count: Option<u64>) -> String {
    match count {
        Some(count) => format!("the server has {count} addresses of record"),
        None => "the server does not say how many addresses of record it has".into(),
    }
}

impl From<CodecError> for Refusal {
    fn from(error: CodecError) -> Self {
        Refusal::Unsayable(error)
    }
}

/// What carries requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Carrier {
    Fifo,
    Datagram,
    Http,
}

/// Whom a request goes to, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) wire: Wire,
    pub(super) carrier: Carrier,
    pub(super) generation: Option<Generation>,
    /// The second part of the server's version.
    pub(super) minor: Option<u32>,
    /// The third part.
    pub(super) patch: Option<u32>,
    /// What the user says that modparam `receive_buf_size` of `httpd` is.
    pub(super) receive_buf_size: Option<usize>,
    /// What the user says that modparam `socket_buf_size` of `mi_datagram` is.
    pub(super) socket_buf_size: Option<usize>,
    /// Whether `mi_xmlrpc` of 1.x answers, whose HTTP server is not `httpd`.
    pub(super) is_abyss: bool,
    /// Of XML-RPC.
    pub(super) form: Form,
    /// Whether what is only a limit is disregarded.
    pub(super) force: bool,
}

impl Route {
    /// To a server of which nothing is known.
    pub(super) fn unknown(wire: Wire, carrier: Carrier) -> Self {
        Route {
            wire,
            carrier,
            generation: None,
            minor: None,
            patch: None,
            receive_buf_size: None,
            socket_buf_size: None,
            is_abyss: false,
            form: Form::Native,
            force: false,
        }
    }

    /// The version of an OpenSIPS server, as far as it is known.
    pub(super) fn version(self) -> Option<Version> {
        match self.generation? {
            Generation::OpenSips(major) => Some((major, self.minor)),
            Generation::Sipmi => None,
        }
    }

    /// Whether the limits of the originals hold: unless the server is known to be sipmi's.
    pub(super) fn is_original(self) -> bool {
        self.generation != Some(Generation::Sipmi)
    }

    /// How many requests may be on their way at a time.
    pub(super) fn in_flight(self) -> usize {
        match (self.is_original(), self.carrier) {
            (true, Carrier::Fifo | Carrier::Http) => IN_FLIGHT_ORIGINAL,
            (true, Carrier::Datagram) => IN_FLIGHT_DATAGRAMS,
            (false, Carrier::Fifo) => IN_FLIGHT_FIFO,
            (false, Carrier::Datagram | Carrier::Http) => IN_FLIGHT_OURS,
        }
    }

    /// Whose dialect requests are written in. Of what is not known the most careful is taken.
    pub(super) fn dialect(self) -> Dialect {
        match (self.generation, self.wire) {
            (Some(Generation::Sipmi), _) => Dialect::Sipmi,
            (Some(Generation::OpenSips(..=1)), _) | (None, Wire::Text | Wire::MiJson) => Dialect::V1_11,
            (Some(Generation::OpenSips(2)), _) => Dialect::V2_4,
            (Some(Generation::OpenSips(3)), _) => Dialect::V3_4,
            (Some(Generation::OpenSips(_)), _) | (None, Wire::Json | Wire::XmlRpc) => Dialect::V4_0,
        }
    }

    /// Whether parameters keep their types, and are told apart as JSON does.
    pub(super) fn is_typed(self) -> bool {
        match self.wire {
            Wire::Json => true,
            Wire::XmlRpc => self.form == Form::Native,
            Wire::Text | Wire::MiJson => false,
        }
    }

    /// What is only a limit is none for who forces it.
    fn unless_forced(self, checked: Result<(), Refusal>) -> Result<(), Refusal> {
        checked.or_else(|refusal| if self.force && refusal.is_only_a_limit() { Ok(()) } else { Err(refusal) })
    }

    /// Checks what can be known before the request is written.
    pub(super) fn check_request(self, request: &Request) -> Result<(), Refusal> {
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

    /// Whether a dump by this command may kill the server, so that its records are counted first.
    pub(super) fn may_die_of_records(self, request: &Request) -> bool {
        self.is_abyss && !self.force && request.method == "ul_dump"
    }

    /// Checks the number of records that a dump would list.
    pub(super) fn check_records(count: Option<u64>) -> Result<(), Refusal> {
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

    /// Says integers and fractions that a server of 3.x or 4.x would clamp to 32 bits as strings, which it takes in
    /// their place.
    pub(super) fn adapt(self, params: &mut Params) {
        if self.is_typed() && self.is_original() {
            match params {
                Params::Positional(items) => items.iter_mut().for_each(say_large_numbers),
                Params::Named(members) => members.iter_mut().for_each(|(_, item)| say_large_numbers(item)),
                Params::None | Params::Strings(_) => {}
            }
        }
    }

    /// Checks the request as it would go out.
    pub(super) fn check_bytes(self, request: &Request, bytes: &[u8]) -> Result<(), Refusal> {
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

    /// Whether `httpd` collects a body in a small buffer: from 3.6 on, so also where the version is not known.
    fn joins_reads(self) -> bool {
        match (self.generation, self.wire) {
            (None, wire) => matches!(wire, Wire::Json | Wire::XmlRpc),
            (Some(Generation::OpenSips(3)), _) => self.minor.is_none_or(|minor| minor >= 6),
            (Some(Generation::OpenSips(major)), _) => major > 3,
            (Some(Generation::Sipmi), _) => false,
        }
    }

    /// Checks a message as HTTP would carry it.
    pub(super) fn check_http(self, head: usize, body: usize) -> Result<(), Refusal> {
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

    /// What raises the limit of a datagram: 4.0 has a modparam for it, which UDP has no use for.
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
    pub(super) fn check_reply_path(self, size: usize) -> Result<(), Refusal> {
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

fn say_large_numbers(item: &mut Item) {
    match item {
        Item::Int(value) if i32::try_from(*value).is_err() => *item = Item::from(value.to_string()),
        Item::UInt(value) => *item = Item::from(value.to_string()),
        Item::Float(value) if value.is_finite() => *item = Item::from(format!("{value:?}")),
        Item::Array(elements) => elements.iter_mut().for_each(say_large_numbers),
        _ => {}
    }
}

/// Whether JSON of our own writing has `\u0000` in a string.
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
    fn what_answers_later_is_known_by_all_of_its_names() {
        for name in ["t_uac_dlg", "tm:uac_dlg", "uac_dlg", "tm:t_uac_dlg", "T_UAC_DLG", "publish", "rtp_relay:update"]
        {
            assert_eq!(REAL.check_request(&Request::new(name)), Err(Refusal::Asynchronous), "{name}");
        }
        for name in ["t_uac_cancel", "presence:publish", "tm:update", "update_contact", "ul_dump"] {
            assert_eq!(REAL.check_request(&Request::new(name)), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_answers_later_is_sent_where_it_does_no_harm() {
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
    fn what_is_only_a_limit_may_be_forced_and_what_harms_may_not() {
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
