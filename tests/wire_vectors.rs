//! Requests to real servers and their replies, read and written again byte for byte.
//!
//! `tests/wire/*.jsonl` holds the pairs. Each exception below is a class with a rule, counted, and never more than
//! two in a hundred pairs of a file.

use std::path::PathBuf;

use sipmi::codec::fifo_frame::{Frame, Framer};
use sipmi::codec::json;
use sipmi::codec::jsonrpc::{self, Id, Incoming};
use sipmi::codec::text::{self, Carrier, Indent, TextStyle};
use sipmi::dialect::Dialect;
use sipmi::item::Item;
use sipmi::request::{Param, Params};
use sipmi::response::Response;

/// The limit of a JSON FIFO: larger than any recorded request.
const LIMIT: usize = 1 << 20;

/// The limit of a text FIFO: parameters of 8,192 bytes in all, after a short first line. Beyond it, OpenSIPS answers a
/// parse error or nothing.
const TEXT_LIMIT: usize = 8192 + 32;

/// Between the replies to requests of one write that named several reply FIFOs.
const NEXT_REPLY: &[u8] = b"\n--- next reply FIFO\n";

/// How many pairs of a file, in a hundred, may be exceptions.
const EXCEPTIONS_IN_100: usize = 2;

struct Pair {
    case: String,
    request: Vec<u8>,
    replies: Vec<Vec<u8>>,
}

struct Recording {
    name: String,
    dialect: Dialect,
    pairs: Vec<Pair>,
}

/// The results of a file's pairs.
#[derive(Default)]
struct Tally {
    pairs: usize,
    checked: usize,
    exceptions: Vec<String>,
}

impl Tally {
    fn except(&mut self, class: &str, pair: &Pair) {
        self.exceptions.push(format!("{class}: {}", pair.case));
    }

    fn settle(&self, recording: &Recording) {
        let name = &recording.name;
        eprintln!("{name}: {} checks, exceptions {:?}", self.checked, self.exceptions);
        assert!(
            self.exceptions.len() * 100 <= self.pairs.max(50) * EXCEPTIONS_IN_100,
            "{name}: {:?}",
            self.exceptions
        );
    }
}

fn latin1(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|char| u8::try_from(char).expect("recorded bytes are Latin-1")).collect()
}

fn recordings(versions: &[&str]) -> Vec<Recording> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("tests/wire is there")
        .map(|entry| entry.expect("its entries can be read").file_name().into_string().expect("names are UTF-8"))
        .filter(|name| versions.iter().any(|version| name.starts_with(version)))
        .collect();
    names.sort();
    let read = |name: String| {
        let lines = std::fs::read_to_string(folder.join(&name)).expect("the recording can be read");
        let dialect = name.split('-').next().unwrap_or_default().parse().expect("a file is named for its version");
        Recording { pairs: lines.lines().map(pair).collect(), name, dialect }
    };
    names.into_iter().map(read).collect()
}

fn pair(line: &str) -> Pair {
    let value: serde_json::Value = serde_json::from_str(line).expect("a recording has a JSON object a line");
    let replies = value["replies"].as_array().map(Vec::as_slice).unwrap_or_default();
    Pair {
        case: value["case"].as_str().unwrap_or_default().to_owned(),
        request: latin1(&value["request"]),
        replies: replies.iter().map(latin1).filter(|reply| !reply.is_empty()).collect(),
    }
}

fn is_http(pair: &Pair) -> bool {
    let method = pair.request.split(|byte| *byte == b' ').next().unwrap_or_default();
    let on_http = pair.replies.iter().any(|reply| reply.starts_with(b"HTTP/"));
    on_http || (method.len() >= 3 && method.iter().all(u8::is_ascii_uppercase) && method.len() < pair.request.len())
}

/// Returns the transport of a pair, from the file or the case.
fn carrier_of(recording: &Recording, pair: &Pair) -> Carrier {
    let datagram = ["datagram", "events", "facts"].iter().any(|part| recording.name.contains(part));
    if datagram || pair.case.starts_with("udp") || pair.case.starts_with("unix") {
        Carrier::Datagram
    } else {
        Carrier::Fifo
    }
}

/// Not an event, which answers nothing, nor two writes in one pair.
fn is_one_write(pair: &Pair) -> bool {
    !pair.request.is_empty() && !holds(&pair.request, b"\n--- then\n")
}

fn method_of(request: &[u8]) -> &[u8] {
    request.split(|byte| *byte == b':').nth(1).unwrap_or_default()
}

fn frames(dialect: Dialect, bytes: &[u8]) -> Vec<Frame> {
    let limit = if dialect.reads_json() { LIMIT } else { TEXT_LIMIT };
    let mut framer = Framer::new(dialect, limit);
    framer.push(bytes);
    std::iter::from_fn(|| framer.next_frame()).collect()
}

/// A reply written again: as a failure of the transport where it is one.
fn rewritten(response: Response, method: &[u8], style: TextStyle) -> Vec<u8> {
    let mut out = Vec::new();
    let result = match text::failure_of(&response) {
        Some(failure) => Err(failure),
        None => Ok(response),
    };
    text::encode_response(&mut out, &result, method, &style);
    out
}

#[test]
fn every_recorded_text_reply_is_written_again_byte_for_byte() {
    let mut checked = 0;
    for recording in recordings(&["1.11", "2.4"]) {
        let mut tally = Tally { pairs: recording.pairs.len(), ..Tally::default() };
        for pair in recording.pairs.iter().filter(|pair| !is_http(pair) && !pair.request.is_empty()) {
            let carrier = carrier_of(&recording, pair);
            let indented = recording.name.contains("fifo-indent") || pair.case.contains("indent");
            let indent = if indented { Indent::Blanks(4) } else { Indent::Tab };
            let style = TextStyle { carrier, dialect: recording.dialect, indent };
            for reply in &pair.replies {
                let from = match (carrier, recording.dialect) {
                    (Carrier::Datagram, Dialect::V1_11) => Carrier::OldDatagram,
                    _ => carrier,
                };
                let response = text::decode_response(reply, from)
                    .unwrap_or_else(|error| panic!("{} {}: {error}", recording.name, pair.case));
                let again = rewritten(response, method_of(&pair.request), style);
                // 1.x ends no datagram with an empty line, so it cannot be told from a newline in the reason.
                if again != *reply
                    && recording.dialect == Dialect::V1_11
                    && [&again, b"\n".as_slice()].concat() == *reply
                {
                    tally.except("a reason that ends in a newline, in a datagram of 1.x", pair);
                    continue;
                }
                assert_eq!(
                    again.escape_ascii().to_string(),
                    reply.escape_ascii().to_string(),
                    "{} {}",
                    recording.name,
                    pair.case
                );
                tally.checked += 1;
            }
        }
        checked += tally.checked;
        tally.settle(&recording);
    }
    assert!(checked > 700, "{checked}");
}

#[test]
fn every_recorded_text_request_is_read_as_its_server_read_it_and_said_again() {
    let mut checked = 0;
    for recording in recordings(&["1.11", "2.4"]) {
        let mut tally = Tally { pairs: recording.pairs.len(), ..Tally::default() };
        for pair in recording.pairs.iter().filter(|pair| !is_http(pair) && pair.request.starts_with(b":")) {
            let carrier = carrier_of(&recording, pair);
            let params = match carrier {
                Carrier::Datagram | Carrier::OldDatagram => datagram_params(&recording, pair),
                Carrier::Fifo => fifo_params(&recording, pair),
            };
            let Some(params) = params else { continue };
            let refused = pair.replies.iter().any(|reply| reply.starts_with(b"400 ") && holds(reply, b"arse"));
            match params {
                Ok(params) if !refused => {
                    let mut block = Vec::new();
                    text::encode_params(&mut block, &params, carrier).expect("what a server took can be said");
                    assert_eq!(text::decode_params(&block, recording.dialect), Ok(params), "{}", pair.case);
                    tally.checked += 1;
                }
                Ok(_) => panic!("{} {}: read, but its server refused it", recording.name, pair.case),
                Err(_) if refused || pair.replies.is_empty() => tally.checked += 1,
                Err(error) => panic!("{} {}: {error}", recording.name, pair.case),
            }
        }
        checked += tally.checked;
        tally.settle(&recording);
    }
    assert!(checked > 700, "{checked}");
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

type ReadParams = Option<Result<Vec<Param>, String>>;

fn datagram_params(recording: &Recording, pair: &Pair) -> ReadParams {
    let not_available = pair.replies.iter().any(|reply| reply.starts_with(b"500 command not available"));
    match text::decode_request(&pair.request, recording.dialect) {
        Ok(request) => Some(Ok(match request.params {
            Params::Strings(params) => params,
            _ => Vec::new(),
        })),
        Err(error) if error.method.is_empty() => {
            assert!(not_available || pair.replies.is_empty(), "{} {}: {error}", recording.name, pair.case);
            None
        }
        Err(error) => Some(Err(error.to_string())),
    }
}

fn fifo_params(recording: &Recording, pair: &Pair) -> ReadParams {
    match frames(recording.dialect, &pair.request).into_iter().next() {
        Some(Frame::Text { method, params, .. }) => {
            assert_eq!(method, method_of(&pair.request));
            Some(text::decode_params(&params, recording.dialect).map_err(|error| error.to_string()))
        }
        Some(Frame::Malformed { failure, .. }) => Some(Err(failure.to_string())),
        other => {
            assert!(pair.replies.is_empty(), "{} {}: {other:?}", recording.name, pair.case);
            None
        }
    }
}

/// The JSON values of a reply, one after the other.
fn values(reply: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = reply;
    while jsonrpc::looks_like_json(rest) {
        let Ok((_, end)) = json::parse_prefix(rest) else { break };
        found.push(&rest[..end]);
        rest = &rest[end..];
    }
    found
}

fn split_replies(reply: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = reply;
    while let Some(place) = rest.windows(NEXT_REPLY.len()).position(|window| window == NEXT_REPLY) {
        parts.extend(values(&rest[..place]));
        rest = &rest[place + NEXT_REPLY.len()..];
    }
    parts.extend(values(rest));
    parts
}

/// The requests of a recorded write, as a server of that version reads them.
fn calls(dialect: Dialect, request: &[u8]) -> Vec<Incoming> {
    if jsonrpc::looks_like_json(request) || !request.starts_with(b":") {
        return vec![jsonrpc::decode_request(request, dialect)];
    }
    let bodies = frames(dialect, request).into_iter().filter_map(|frame| match frame {
        Frame::Json { body, .. } => Some(body),
        _ => None,
    });
    bodies.map(|body| jsonrpc::decode_request(&body, dialect)).collect()
}

#[test]
fn every_recorded_json_reply_is_written_again_byte_for_byte() {
    let mut checked = 0;
    for recording in recordings(&["3.2", "3.4", "3.6", "4.0"]) {
        let mut tally = Tally { pairs: recording.pairs.len(), ..Tally::default() };
        for pair in recording.pairs.iter().filter(|pair| !is_http(pair) && is_one_write(pair)) {
            for reply in &pair.replies {
                let parts = split_replies(reply);
                if parts.is_empty() {
                    plain_text(&mut tally, pair, reply);
                }
                for part in parts {
                    let (response, id) = jsonrpc::decode_response(part)
                        .unwrap_or_else(|error| panic!("{} {}: {error}", recording.name, pair.case));
                    let mut again = Vec::new();
                    let pretty = part.starts_with(b"{\n");
                    jsonrpc::encode_response(&mut again, &Ok(response), &id, recording.dialect, pretty);
                    assert_eq!(again.escape_ascii().to_string(), part.escape_ascii().to_string(), "{}", pair.case);
                    tally.checked += 1;
                }
            }
        }
        checked += tally.checked;
        tally.settle(&recording);
    }
    assert!(checked > 500, "{checked}");
}

/// Reads a reply that is no JSON: an error with a code, or a reply that its server could not print.
fn plain_text(tally: &mut Tally, pair: &Pair, reply: &[u8]) {
    match jsonrpc::decode_response(reply) {
        Ok((response, Id::Null)) => assert!(response.code == 400 || response.code == 500, "{}", pair.case),
        Ok(other) => panic!("{}: {other:?}", pair.case),
        Err(_) => assert!(reply.ends_with(jsonrpc::FIFO_PRINT_ERROR), "{}", pair.case),
    }
    tally.checked += 1;
}

#[test]
fn every_recorded_json_request_is_answered_under_the_id_that_its_server_used() {
    let mut checked = 0;
    for recording in recordings(&["3.2", "3.4", "3.6", "4.0"]) {
        let mut tally = Tally { pairs: recording.pairs.len(), ..Tally::default() };
        for pair in recording.pairs.iter().filter(|pair| !is_http(pair) && is_one_write(pair)) {
            let calls = calls(recording.dialect, &pair.request);
            let mut answers: Vec<_> = pair.replies.iter().flat_map(|reply| split_replies(reply)).collect();
            let ids: Vec<_> = calls.iter().filter_map(|call| expected_id(&mut tally, pair, call)).collect();
            for id in ids {
                // Replies to several FIFOs come in another order, and some requests were not answered.
                let Some(place) = answers.iter().position(|answer| has_id(answer, &id)) else { continue };
                answers.remove(place);
                tally.checked += 1;
            }
            let surplus = answers.iter().map(|answer| answer.escape_ascii().to_string()).collect::<Vec<_>>();
            assert!(surplus.is_empty() || is_batch(&calls), "{} {}: {surplus:?}", recording.name, pair.case);
        }
        checked += tally.checked;
        tally.settle(&recording);
    }
    assert!(checked > 500, "{checked}");
}

fn is_batch(calls: &[Incoming]) -> bool {
    matches!(calls, [Incoming::Batch(_)])
}

/// The id under which a request is to be answered.
fn expected_id(tally: &mut Tally, pair: &Pair, call: &Incoming) -> Option<Id> {
    match call {
        Incoming::One(Ok(call)) if call.id == Id::Broken => {
            let plain = [jsonrpc::FIFO_PRINT_ERROR, jsonrpc::DATAGRAM_INTERNAL_ERROR];
            assert!(pair.replies.iter().all(|reply| plain.contains(&reply.as_slice())), "{}", pair.case);
            None
        }
        Incoming::One(Ok(call)) => Some(call.id.clone()).filter(|id| *id != Id::Absent),
        Incoming::One(Err(refused)) => Some(refused.id.clone()),
        Incoming::Batch(_) => {
            tally.except("a batch, which no version understands", pair);
            None
        }
    }
}

fn has_id(answer: &[u8], id: &Id) -> bool {
    jsonrpc::decode_response(answer).is_ok_and(|(_, answered)| answered == *id)
}

#[test]
fn every_recorded_json_request_is_said_again_by_the_client() {
    let mut checked = 0;
    for recording in recordings(&["3.2", "3.4", "3.6", "4.0"]) {
        for pair in recording.pairs.iter().filter(|pair| !is_http(pair)) {
            for call in calls(Dialect::Sipmi, &pair.request) {
                let Incoming::One(Ok(call)) = call else { continue };
                let mut said = Vec::new();
                let encoded = jsonrpc::encode_request(&mut said, &call.request, Some(7.into()));
                if encoded.is_err() {
                    assert!(said.is_empty());
                    continue;
                }
                let again = jsonrpc::decode_request(&said, Dialect::Sipmi);
                let Incoming::One(Ok(again)) = again else { panic!("{}: {again:?}", pair.case) };
                if !holds_bool_or_null(&call.request.params) {
                    assert_eq!(again.request, call.request, "{}", pair.case);
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 500, "{checked}");
}

/// Booleans are said as numbers, and null not at all.
fn holds_bool_or_null(params: &Params) -> bool {
    let bool_or_null = |item: &Item| matches!(item, Item::Bool(_) | Item::Null);
    match params {
        Params::Positional(items) => items.iter().any(bool_or_null),
        Params::Named(members) => members.iter().any(|(_, item)| bool_or_null(item)),
        _ => false,
    }
}

#[test]
fn a_server_that_takes_every_form_reads_every_recorded_request_that_was_served() {
    let mut checked = 0;
    for recording in recordings(&["1.11", "2.4", "3.2", "3.4", "3.6", "4.0"]) {
        for pair in recording.pairs.iter().filter(|pair| !is_http(pair) && !pair.replies.is_empty()) {
            let on_fifo = pair.request.starts_with(b":") && carrier_of(&recording, pair) == Carrier::Fifo;
            if on_fifo && is_one_write(pair) {
                let frames = frames(Dialect::Sipmi, &pair.request);
                assert!(!frames.is_empty(), "{} {}", recording.name, pair.case);
                checked += 1;
            }
        }
    }
    assert!(checked > 500, "{checked}");
}
