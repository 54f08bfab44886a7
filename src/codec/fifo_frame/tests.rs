use super::*;

/// The limit of these tests, above all that is not meant to be over it.
const LIMIT: usize = 4096;

const VERSION: &str = r#"{"jsonrpc":"2.0","method":"version","id":1}"#;

fn framed(dialect: Dialect, pieces: &[&str]) -> Vec<Frame> {
    let mut framer = Framer::new(dialect, LIMIT);
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece.as_bytes());
        found.extend(std::iter::from_fn(|| framer.next_frame()));
    }
    found
}

fn frames(stream: &str) -> Vec<Frame> {
    framed(Dialect::Sipmi, &[stream])
}

fn text(method: &str, reply: &str, params: &str) -> Frame {
    Frame::Text { method: method.into(), reply: reply.into(), params: params.into() }
}

fn json(reply: &str) -> Frame {
    Frame::Json { reply: reply.into(), body: VERSION.into() }
}

fn bad_json(reply: &str) -> Frame {
    Frame::Malformed { reply: reply.into(), method: Vec::new(), json: true, failure: Failure::Parse }
}

fn bad_text(method: &str, reply: &str) -> Frame {
    Frame::Malformed { reply: reply.into(), method: method.into(), json: false, failure: Failure::Parse }
}

fn request(reply: &str) -> String {
    format!(":{reply}:{VERSION}")
}

#[test]
fn bytes_before_a_text_request_do_not_cost_it() {
    for garbage in ["abc", "abc:", "a:b", "{}", "a:b:c d"] {
        let whole = format!("{garbage}:version:reply\n\n");
        for cut in 0..whole.len() {
            let mut framer = Framer::new(Dialect::Sipmi, 1000);
            framer.push(&whole.as_bytes()[..cut]);
            let early = framer.next_frame();
            framer.push(&whole.as_bytes()[cut..]);
            let frame = early.or_else(|| framer.next_frame());
            let expected = Frame::Text { method: b"version".to_vec(), reply: b"reply".to_vec(), params: vec![] };
            assert_eq!(frame, Some(expected), "{garbage:?} cut at {cut}");
        }
    }
}

#[test]
fn text_and_json_are_told_apart_on_one_fifo() {
    let stream = format!(
        "\n\n:version:r1\n\n{}:ul_dump:r2 \nbrief\n\n  {}\n::{VERSION}:version:\n\n:r4: \r\n {VERSION}",
        request("r3"),
        request("r5"),
    );
    let expected = [
        text("version", "r1", ""),
        json("r3"),
        text("ul_dump", "r2", "brief\n"),
        json("r5"),
        json(""),
        text("version", "", ""),
        json("r4"),
    ];
    assert_eq!(frames(&stream), expected);
}

#[test]
fn requests_are_the_same_wherever_the_stream_is_split() {
    let stream = format!(
        ":a:r\n\"x\ny\"\nz\n\n{}{}\n:b:s\r\np\r\n\r\n:c:\n\n::[{VERSION},{VERSION}]\n{}:d:t\n\n",
        request("r1"),
        request("r2"),
        request("r3"),
    );
    let whole = frames(&stream);
    assert_eq!(whole.len(), 8);
    for split in 0..=stream.len() {
        let (first, second) = stream.split_at(split);
        assert_eq!(framed(Dialect::Sipmi, &[first, second]), whole, "split at {split}");
    }
    let bytes: Vec<_> = (0..stream.len()).map(|at| &stream[at..=at]).collect();
    assert_eq!(framed(Dialect::Sipmi, &bytes), whole);
}

#[test]
fn an_empty_line_ends_a_text_request_even_within_quotes() {
    let expected = [text("a", "r", "\"x\n"), text("b", "s", "")];
    assert_eq!(frames(":a:r\n\"x\n\n:b:s\n\n"), expected);
}

#[test]
fn crlf_is_taken_for_a_line_end_only_where_the_first_line_has_one() {
    assert_eq!(frames(":a:r\r\nx\r\n\r\n"), [text("a", "r", "x\r\n")]);
    assert_eq!(frames(":a:r\n\"x\r\n\r\ny\"\n\n"), [text("a", "r", "\"x\r\n\r\ny\"\n")]);
    assert_eq!(framed(Dialect::V2_4, &[":a:r\r\nx\r\n\r\n"]), [text("a", "r\r", "x\r\n")]);
}

#[test]
fn a_malformed_request_does_not_affect_later_ones() {
    let good = request("r2");
    for (bad, malformed) in [
        ("garbage\n", None),
        ("garbage", None),
        ("r1:{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1}", None),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1}\n", None),
        ("\0\0\0\n", None),
        (":no second colon\n", None),
        (":", None),
        (":abc", None),
        (":abc:", None),
        (":zzz:hello", None),
        (":r1:{\"jsonrpc\":", Some(bad_json("r1"))),
        (":r1:{\"jsonrpc\":\"2.0", Some(bad_json("r1"))),
        (":r1:{\"jsonrpc\" \"2.0\"", Some(bad_json("r1"))),
        (":r1:{\"jsonrpc\" \"id\":1", Some(bad_json("r1"))),
        (":r1:{nonsense\n\n", Some(bad_json("r1"))),
        (":r1:[1,", Some(bad_json("r1"))),
        (":cmd:r1\nparam\n", Some(bad_text("cmd", "r1"))),
    ] {
        let expected: Vec<_> = malformed.into_iter().chain([json("r2")]).collect();
        assert_eq!(frames(&format!("{bad}{good}")), expected, "{bad:?} in one write");
        assert_eq!(framed(Dialect::Sipmi, &[bad, &good]), expected, "{bad:?} in two");
    }
}

#[test]
fn a_text_request_after_bad_json_is_served() {
    let expected = [bad_json("r1"), text("version", "r2", "")];
    assert_eq!(frames(":r1:{\"jsonrpc\"::version:r2\n\n"), expected);
    assert_eq!(frames(":r1:{\"a\" 1}\n:version:r2\n\n"), expected);
}

#[test]
fn requests_over_the_limit_are_refused_and_the_next_is_served() {
    let good = request("r2");
    let long = "y".repeat(3 * LIMIT);
    for (bad, reply, method, is_json) in [
        (format!(":r1:{{\"x\":\"{long}\"}}"), "r1", "", true),
        (format!(":r1:{{\"x\":\"{long}"), "r1", "", true),
        (format!(":r1:{{\"x\":[{}", "[1,".repeat(2 * LIMIT)), "r1", "", true),
        (format!(":cmd:r1\n{long}\nmore\n\n"), "r1", "cmd", false),
        (format!(":cmd:{long}\n\n"), "", "cmd", false),
        (format!(":{long}\n"), "", "", false),
    ] {
        let stream = format!("{bad}{good}");
        for size in [stream.len(), 1000, 4096] {
            let pieces: Vec<_> =
                (0..stream.len()).step_by(size).map(|at| &stream[at..stream.len().min(at + size)]).collect();
            let frames = framed(Dialect::Sipmi, &pieces);
            let (last, first) = frames.split_last().expect("frames");
            assert_eq!(last, &json("r2"), "{size}");
            if size < stream.len() {
                let [Frame::Malformed { reply: r, method: m, json, failure }] = first else { panic!("{first:?}") };
                assert_eq!((r.as_slice(), m.as_slice(), *json), (reply.as_bytes(), method.as_bytes(), is_json));
                let Failure::RequestTooLarge { size: found, limit: LIMIT } = failure else { panic!("{failure:?}") };
                assert!(found.abs_diff(bad.len()) <= 16, "{found} of {}", bad.len());
            }
        }
    }
    assert_eq!(frames(&format!(":cmd:r1\n{long}\n\n{good}")).len(), 2);
}

/// Pushes this many bytes after `start`, then a request that is to be served; never keeps more than is allowed.
fn flood(start: &str, filler: u8, len: usize) {
    let chunk = vec![filler; 1 << 16];
    let mut framer = Framer::new(Dialect::Sipmi, LIMIT);
    framer.push(start.as_bytes());
    for _ in 0..len / chunk.len() {
        framer.push(&chunk);
        while framer.next_frame().is_some() {}
        assert!(framer.buffered() <= LIMIT, "{start} {filler}");
    }
    framer.push(format!("\n\n\n{}", request("r")).as_bytes());
    let last = std::iter::from_fn(|| framer.next_frame()).last();
    assert_eq!(last, Some(json("r")), "{start} {filler}");
}

#[test]
fn a_hundred_megabytes_without_a_newline_are_not_kept() {
    flood(":cmd:", b'y', 100 << 20);
    for start in ["", ":", ":cmd:", ":cmd:r\n", ":r:{\"x\":\"", ":r:", ":r:["] {
        for filler in *b"y:[ \"" {
            flood(start, filler, 1 << 20);
        }
    }
}

#[test]
fn a_request_whose_writer_falls_silent_is_given_up() {
    let cases = [
        (":cmd:r\nparam\n", Some(bad_text("cmd", "r"))),
        (":cmd:r", Some(bad_text("cmd", ""))),
        (":r:{\"jsonrpc\":", Some(bad_json("r"))),
        (":cmd", None),
        ("garbage", None),
    ];
    for (bad, expected) in cases {
        let mut framer = Framer::new(Dialect::Sipmi, LIMIT);
        framer.push(bad.as_bytes());
        assert_eq!(framer.next_frame(), None);
        assert!(framer.is_mid_frame());
        assert_eq!(framer.give_up(), expected);
        assert!(!framer.is_mid_frame());
        framer.push(b":version:r2\n\n");
        assert_eq!(framer.next_frame(), Some(text("version", "r2", "")));
    }
}

#[test]
fn versions_are_silent_about_what_they_do_not_understand() {
    let stream = format!(":version:t\n\n{}:r:{{bad\n\ngarbage\n{}:cmd:t2\n\n", request("j"), request("j2"));
    assert_eq!(framed(Dialect::V4_0, &[&stream]), [json("j"), json("j2")]);
    assert_eq!(framed(Dialect::V2_4, &[&stream]), [text("version", "t", ""), text("cmd", "t2", "")]);
    let long = format!(":cmd:r\n{}\n\n", "y".repeat(2 * LIMIT));
    assert_eq!(framed(Dialect::V2_4, &[&long]), []);
    assert_eq!(framed(Dialect::V1_11, &[&long]).len(), 1);
}

#[test]
fn the_shortest_inputs_are_read_without_harm() {
    for input in ["", "\n", ":", "::", ":::", "::\n", "::{", ":::\n\n", "\r", "\0", "[", ":[", ":a:\r", "::["] {
        for dialect in [Dialect::Sipmi, Dialect::V2_4, Dialect::V4_0] {
            let mut framer = Framer::new(dialect, LIMIT);
            framer.push(input.as_bytes());
            while framer.next_frame().is_some() {}
            framer.give_up();
            assert_eq!(framer.buffered(), 0);
        }
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_written_stops_the_framer(
        noise in "([:{}\\[\\]\",\\n\\r a1]|:r:\\{\"|\\n\\n|:c:r\\n){0,40}",
        split in 0usize..60,
    ) {
        let split = split.min(noise.len());
        let mut framer = Framer::new(Dialect::Sipmi, 16);
        for piece in [&noise[..split], &noise[split..]] {
            framer.push(piece.as_bytes());
            for _ in 0..=noise.len() {
                framer.next_frame();
            }
            proptest::prop_assert_eq!(framer.next_frame(), None);
        }
        framer.give_up();
        framer.push(b":version:r\n\n");
        proptest::prop_assert_eq!(framer.next_frame(), Some(text("version", "r", "")));
    }
}
