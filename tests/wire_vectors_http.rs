//! HTTP requests to real servers and their replies, read and written again byte for byte: `mi_json` and XML-RPC in all
//! their forms. The HTTP framing itself is removed here.
//!
//! `tests/wire/*.jsonl` holds the pairs. Every exception is a rule below with its reason, and counted.

use std::path::PathBuf;

use sipmi::codec::xmlrpc::{self, Form, Incoming};
use sipmi::codec::{RequestError, mi_json};
use sipmi::dialect::Dialect;
use sipmi::item::Item;
use sipmi::request::{Params, Request};
use sipmi::response::{Body, Failure, Response};

struct Pair {
    name: String,
    dialect: Dialect,
    /// Method, path, query and body, where the request was one of HTTP in one piece.
    request: Option<HttpRequest>,
    /// Status and body.
    replies: Vec<(u16, Vec<u8>)>,
}

struct HttpRequest {
    method: String,
    path: String,
    query: Option<Vec<u8>>,
    content_type: String,
    body: Vec<u8>,
}

fn latin1(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|char| u8::try_from(char).expect("recorded bytes are Latin-1")).collect()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn split_head(message: &[u8]) -> Option<(String, Vec<u8>)> {
    let end = find(message, b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&message[..end]).into_owned(), message[end + 4..].to_vec()))
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next().unwrap_or("")
}

fn http_request(bytes: &[u8]) -> Option<HttpRequest> {
    let (head, body) = split_head(bytes)?;
    let mut words = head.lines().next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.as_bytes().to_vec())),
        None => (target.to_owned(), None),
    };
    let is_chunked = header(&head, "Transfer-Encoding") == "chunked";
    let body = if is_chunked { unchunked(&body) } else { body };
    Some(HttpRequest { method, path, query, content_type: header(&head, "Content-Type").to_owned(), body })
}

fn unchunked(body: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), body);
    while let Some(end) = find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    out
}

/// The answers in a recorded reply; `100 Continue` is none.
fn http_replies(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let (mut replies, mut rest) = (Vec::new(), bytes.to_vec());
    while let Some((head, body)) = split_head(&rest) {
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        if status == 100 {
            rest = body;
            continue;
        }
        let len = header(&head, "Content-Length").parse().unwrap_or(body.len()).min(body.len());
        replies.push((status, body[..len].to_vec()));
        rest = body[len..].to_vec();
    }
    replies
}

fn pairs() -> Vec<Pair> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let files = std::fs::read_dir(&folder).expect("tests/wire is there");
    let mut names: Vec<_> = files
        .map(|entry| entry.expect("its entries can be read").file_name().into_string().expect("names are UTF-8"))
        .collect();
    names.sort();
    let mut pairs = Vec::new();
    for name in names {
        let dialect = name.split('-').next().unwrap_or_default().parse().expect("a file is named for its version");
        for line in std::fs::read_to_string(folder.join(&name)).expect("the recording can be read").lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("a recording has an object a line");
            let replies = value["replies"].as_array().map(Vec::as_slice).unwrap_or_default();
            pairs.push(Pair {
                name: format!("{name} {}", value["case"].as_str().unwrap_or_default()),
                dialect,
                request: http_request(&latin1(&value["request"])),
                replies: replies.iter().flat_map(|reply| http_replies(&latin1(reply))).collect(),
            });
        }
    }
    pairs
}

/// The form in which such a server answers at this path.
fn form_of(pair: &Pair) -> Option<Form> {
    let request = pair.request.as_ref().filter(|request| request.method == "POST")?;
    match (pair.dialect, request.path.as_str()) {
        (Dialect::V1_11, "/RPC2") if pair.name.contains("-ro1") => Some(Form::Array),
        (Dialect::V1_11, "/RPC2") => Some(Form::String),
        (Dialect::V1_11, "/xmlrpc") => Some(Form::Ng),
        (Dialect::V2_4, "/RPC2") if pair.name.contains("-v1") => Some(Form::Ng1),
        (Dialect::V2_4, "/RPC2") => Some(Form::Ng2),
        (_, "/RPC2") => Some(Form::Native),
        _ => None,
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn holds(bytes: &[u8], part: &str) -> bool {
    find(bytes, part.as_bytes()).is_some()
}

fn encoded(result: &Result<Response, Failure>, method: &[u8], form: Form, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::new();
    xmlrpc::encode_response(&mut out, result, method, form, dialect);
    out
}

#[test]
fn every_recorded_mi_json_reply_is_written_again_byte_for_byte() {
    let mut checked = 0;
    for pair in pairs() {
        let is_at_root = |path: &str| path == "/json" || path.starts_with("/json/");
        let Some(request) = pair.request.as_ref().filter(|request| is_at_root(&request.path)) else { continue };
        // Other methods are answered by pages of the HTTP module.
        let is_for_mi_json = ["GET", "POST"].contains(&request.method.as_str());
        let replies = pair.replies.iter().filter(|(status, _)| *status == 200 && is_for_mi_json);
        for (_, body) in replies {
            let response = mi_json::decode_response(body).unwrap_or_else(|error| panic!("{}: {error}", pair.name));
            let result = match mi_json::failure_of(&response) {
                Some(failure) => Err(failure),
                None => Ok(response),
            };
            let mut again = Vec::new();
            mi_json::encode_response(&mut again, &result, pair.dialect);
            assert_eq!(shown(&again), shown(body), "{}: {result:?}", pair.name);
            checked += 1;
        }
    }
    assert!(checked >= 210, "{checked}");
}

#[test]
fn every_recorded_mi_json_request_is_read_as_its_server_read_it_and_said_again() {
    let mut checked = 0;
    for pair in pairs() {
        let Some(http) = pair.request.as_ref().filter(|request| request.method == "GET") else { continue };
        let Some(command) = http.path.strip_prefix("/json/") else { continue };
        let result = mi_json::decode_request(command.as_bytes(), http.query.as_deref(), pair.dialect);
        let refused = pair.replies.iter().any(|(_, body)| holds(body, "Internal server error"));
        let request = match result {
            Ok(request) => request,
            Err(error) => {
                assert!(refused, "{}: {error}", pair.name);
                checked += 1;
                continue;
            }
        };
        if refused {
            // 1.11 has the same words for an unknown command.
            let is_unknown = ["no_such_cmd", "version/", "version/x"].contains(&command);
            assert!(is_unknown && pair.dialect == Dialect::V1_11, "{}: {request:?}", pair.name);
        }
        for server in [pair.dialect, Dialect::Sipmi] {
            let mut target = Vec::new();
            mi_json::encode_request(&mut target, &request, server).expect("what a server took can be said");
            let (command, query) = match target.iter().position(|byte| *byte == b'?') {
                Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
                None => (&target[..], None),
            };
            assert_eq!(mi_json::decode_request(command, query, server).as_ref(), Ok(&request), "{}", pair.name);
        }
        checked += 1;
    }
    assert!(checked >= 200, "{checked}");
}

#[test]
fn every_recorded_xml_reply_is_written_again_byte_for_byte() {
    let mut checked = [0; 6];
    for pair in pairs() {
        let Some(form) = form_of(&pair) else { continue };
        for (status, body) in &pair.replies {
            // Pages and empty bodies of the HTTP layer: 400, 405, 411.
            if *status != 200 || body.is_empty() || holds(body, "is the only HTTP method") {
                continue;
            }
            let method = pair.request.as_ref().map(method_of).unwrap_or_default();
            let response = xmlrpc::decode_response(body)
                .unwrap_or_else(|error| panic!("{}: {error}\n{}", pair.name, shown(body)));
            if method == b"system.multicall" && holds(body, "<array>") {
                assert_eq!(shown(&multicall_again(&response, form, pair.dialect)), shown(body), "{}", pair.name);
                checked[form as usize] += 1;
                continue;
            }
            // The one page for all failures.
            let result = if body.starts_with(b"<html>") { Err(Failure::handler()) } else { Ok(response) };
            let again = encoded(&result, &method, form, pair.dialect);
            assert_eq!(shown(&again), shown(body), "{}: {result:?}", pair.name);
            checked[form as usize] += 1;
        }
    }
    assert!(checked.iter().zip([150, 120, 90, 120, 105, 120]).all(|(found, least)| *found >= least), "{checked:?}");
}

fn method_of(request: &HttpRequest) -> Vec<u8> {
    let (Some(begin), Some(end)) = (find(&request.body, b"<methodName>"), find(&request.body, b"</methodName>"))
    else {
        return Vec::new();
    };
    request.body[begin + b"<methodName>".len()..end].to_vec()
}

/// A `system.multicall` of `version` alone is all that was recorded.
fn multicall_again(response: &Response, form: Form, dialect: Dialect) -> Vec<u8> {
    let Body::Item(Item::Array(answers)) = &response.body else { panic!("{response:?}") };
    let answers: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Item::Array(values) => {
                let mut tree = sipmi::tree::Tree::ok();
                let line = values[0].as_str().and_then(|line| line.strip_suffix(b"\n")).expect("one line");
                let (name, value) = line.split_at(find(line, b":: ").expect("a name"));
                tree.add_child(sipmi::tree::NodeId::ROOT, name, &value[3..]);
                Ok(Response::from(tree))
            }
            fault => {
                let (code, text) = (fault.get("faultCode"), fault.get("faultString").and_then(Item::as_str));
                let Some(Item::Int(code)) = code else { panic!("{fault:?}") };
                Ok(Response::error(i32::try_from(*code).expect("a code"), text.expect("a text")))
            }
        })
        .collect();
    let mut out = Vec::new();
    xmlrpc::encode_multicall(&mut out, answers.iter().map(|answer| (b"version".as_slice(), answer)), form, dialect);
    out
}

#[test]
fn the_failures_that_were_recorded_have_the_words_of_their_servers() {
    let mut checked = 0;
    for pair in pairs() {
        let Some(form) = form_of(&pair) else { continue };
        let Some((200, body)) = pair.replies.first() else { continue };
        let case = pair.name.split(' ').nth(1).unwrap_or_default();
        let request = pair.request.as_ref().expect("a form has one");
        let failure = match case {
            "unknown_cmd" | "raw_method_ws" | "raw_empty_methodname" | "empty_methodname" => Failure::UnknownCommand,
            "ambiguous" => Failure::Ambiguous(vec!["a:list".into(), "b:list".into()]),
            "stats_noparam" if form != Form::Ng => Failure::ParamCount,
            "malformed_not_wellformed" | "malformed_text" | "malformed_no_methodname" => {
                match xmlrpc::decode_request(&request.body, form, pair.dialect) {
                    Err(RequestError { failure, .. }) => failure,
                    Ok(incoming) => panic!("{}: {incoming:?}", pair.name),
                }
            }
            _ => continue,
        };
        let again = encoded(&Err(failure), &method_of(request), form, pair.dialect);
        assert_eq!(shown(&again), shown(body), "{}", pair.name);
        checked += 1;
    }
    assert!(checked >= 25, "{checked}");
}

/// Returns true if a reply says that its server could not read the request, or not all of its values.
fn says_unreadable(form: Form, body: &[u8]) -> bool {
    let words: &[&str] = match form {
        Form::String | Form::Array => &[">-503<", "Unsupported value of type"],
        Form::Native => &[">-32600<", ">32700<"],
        Form::Ng => &["Internal server error!"],
        Form::Ng1 | Form::Ng2 => &[">401<"],
    };
    words.iter().any(|word| holds(body, word))
}

#[test]
fn every_recorded_xml_request_is_read_as_its_server_read_it_and_said_again() {
    let mut checked = [0; 6];
    for pair in pairs() {
        let Some(form) = form_of(&pair) else { continue };
        let Some((200, body)) = pair.replies.first() else { continue };
        let http = pair.request.as_ref().expect("a form has one");
        // A request of another type is refused unread, one in chunks is not read by 1.11.
        if http.content_type.contains("form") || holds(body, "<HTML>") {
            continue;
        }
        let request = match xmlrpc::decode_request(&http.body, form, pair.dialect) {
            Ok(Incoming::One(request)) => request,
            Ok(Incoming::Multicall(calls)) => {
                let [Ok(call)] = calls.as_slice() else { panic!("{}: {calls:?}", pair.name) };
                assert_eq!(*call, Request::new("version"));
                checked[form as usize] += 1;
                continue;
            }
            Err(error) => {
                assert!(says_unreadable(form, body), "{}: {error} {}", pair.name, shown(body));
                checked[form as usize] += 1;
                continue;
            }
        };
        // `ng` has the same words for an unknown command; the library of 1.11 knows no character beyond U+FFFF.
        let is_unknown = matches!(form, Form::Ng | Form::Ng1 | Form::Ng2)
            && [b"no_such_cmd".as_slice(), b" version ", b"", b"system.multicall"].contains(&&*request.method);
        let beyond = holds(body, "not in the Basic Multilingual Plane");
        assert!(!says_unreadable(form, body) || is_unknown || beyond, "{}: {request:?}", pair.name);
        let mut said = Vec::new();
        xmlrpc::encode_request(&mut said, &request, form, pair.dialect).expect("what a server took can be said");
        let again = xmlrpc::decode_request(&said, form, pair.dialect);
        assert_eq!(again, Ok(Incoming::One(request)), "{} {}", pair.name, shown(&said));
        checked[form as usize] += 1;
    }
    assert!(checked.iter().zip([150, 120, 90, 120, 105, 120]).all(|(found, least)| *found >= least), "{checked:?}");
}

#[test]
fn a_server_that_takes_every_form_reads_every_recorded_request_that_was_served() {
    let mut checked = 0;
    for pair in pairs() {
        let Some(form) = form_of(&pair) else { continue };
        let Some((200, body)) = pair.replies.first() else { continue };
        let http = pair.request.as_ref().expect("a form has one");
        if holds(body, "<fault>") || body.starts_with(b"<") && !body.starts_with(b"<?xml") {
            continue;
        }
        let read = xmlrpc::decode_request(&http.body, Form::Native, Dialect::Sipmi);
        let Ok(Incoming::One(request)) = read else {
            assert!(holds(&http.body, "system.multicall"), "{}: {read:?}", pair.name);
            continue;
        };
        assert!(matches!(request.params, Params::None | Params::Positional(_) | Params::Named(_)));
        let in_form = xmlrpc::decode_request(&http.body, form, Dialect::Sipmi);
        assert!(matches!(in_form, Ok(Incoming::One(_))), "{}: {in_form:?}", pair.name);
        checked += 1;
    }
    assert!(checked >= 450, "{checked}");
}
