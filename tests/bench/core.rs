//! Benchmarks of the pure core: lookups, trees, the codecs. Prints nanoseconds per call and, where useful, ratios.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sipmi::codec::text::{Carrier, TextStyle};
use sipmi::codec::xmlrpc::{self, Form};
use sipmi::codec::{json, jsonrpc, mi_json, text};
use sipmi::command::registry::Registry;
use sipmi::command::{Answer, Call, Command, CommandFlags, Conduct, Handler, Recipe};
use sipmi::convert::{item_to_tree, tree_to_item};
use sipmi::dialect::Dialect;
use sipmi::item::{Item, Str};
use sipmi::response::Response;
use sipmi::tree::{NodeId, Tree, Value};

struct Nothing;

impl Handler for Nothing {
    fn run(&self, _: Call<'_>) -> Answer {
        Response::ok().into()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Nanoseconds a call: the best of several rounds, which is what the code takes when nothing else runs.
fn time<T>(what: &str, mut work: impl FnMut() -> T) -> f64 {
    const ROUND: Duration = Duration::from_millis(60);
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let (began, mut calls) = (Instant::now(), 0u32);
        while began.elapsed() < ROUND {
            for _ in 0..8 {
                black_box(work());
            }
            calls += 8;
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    println!("{what:58} {best:14.0} ns");
    best
}

fn registry(commands: usize) -> Registry {
    let mut registry = Registry::default();
    for number in 0..commands {
        let command = Command {
            module: format!("module{}", number % 100).into(),
            name: format!("command{number}").into(),
            help: Str::default(),
            flags: CommandFlags::NONE,
            recipe: Recipe::Tree,
            aliases: vec![format!("alias{number}").into()],
            handler: Box::new(Nothing),
            conduct: Conduct::default(),
        };
        registry.register(command).expect("names differ");
    }
    registry
}

fn lookups() {
    let mut first = 0.0;
    for commands in [10usize, 1_000, 100_000] {
        let registry = registry(commands);
        let names: Vec<Vec<u8>> = (0..10).map(|n| format!("command{}", n * commands / 10).into_bytes()).collect();
        let mut turn = 0;
        let took = time(&format!("lookup by bare name among {commands} commands"), || {
            turn += 1;
            registry.lookup(&names[turn % names.len()]).is_ok()
        });
        first = if first == 0.0 { took } else { first };
        println!("{:58} {:14.2} x", "  against 10 commands", took / first);
    }
}

fn million() -> Tree {
    let mut tree = Tree::ok();
    tree.reserve(1_000_000, 16_000_000);
    let mut parent = NodeId::ROOT;
    for number in 0..1_000_000 {
        let node = tree.add_child(parent, "Contact", Value::Int(number));
        parent = if number % 10 == 0 { node } else { parent };
        parent = if number % 100 == 0 { NodeId::ROOT } else { parent };
    }
    tree
}

fn trees() {
    time("a tree of 1,000,000 nodes: build", million);
    let tree = million();
    time("a tree of 1,000,000 nodes: clone", || tree.clone());
    time("a tree of 1,000,000 nodes: walk", || tree.walk().count());
}

fn codecs() {
    let request = br#"{"jsonrpc":"2.0","method":"sub_add","params":{"user":"alice","credit":25},"id":1}"#;
    time("JSON-RPC request of 81 bytes: decode", || jsonrpc::decode_request(request, Dialect::Sipmi));
    time("text request of 2 parameters: decode", || {
        text::decode_request(b":sub_add:\nalice\ncredit::25\n", Dialect::Sipmi)
    });
    let value = Item::from([
        ("aor", "sip:alice@example.org".into()),
        ("credit", Item::Int(25)),
        ("online", Item::Bool(true)),
    ]);
    let answer = Ok(Response::from(value.clone()));
    let mut out = Vec::new();
    let id = jsonrpc::Id::Raw((*b"1").into());
    time("reply of three members: encode as JSON-RPC", || {
        out.clear();
        jsonrpc::encode_response(&mut out, &answer, &id, Dialect::Sipmi, false);
        out.len()
    });
    let style = TextStyle::new(Carrier::Datagram, Dialect::Sipmi);
    time("reply of three members: encode as text", || {
        out.clear();
        text::encode_response(&mut out, &answer, b"sub_add", &style);
        out.len()
    });
    let contacts = Item::from(vec![value; 20_000]);
    let mut encoded = Vec::new();
    json::write(&mut encoded, &contacts);
    time("20,000 such objects: JSON to values", || json::parse(&encoded).is_ok());
    time("20,000 such objects: values to JSON", || {
        out.clear();
        json::write(&mut out, &contacts);
        out.len()
    });
    let tree = item_to_tree(&contacts);
    time("20,000 such objects: values to tree", || item_to_tree(&contacts));
    time("20,000 such objects: tree to values", || tree_to_item(&tree).is_ok());
}

/// The reply of 4.x to `ul_dump` with `contacts` contacts, four of each address of record.
fn locations(contacts: i64) -> Item {
    let contact = |number: i64| {
        Item::from([
            ("Contact", format!("sip:user{number}@192.0.2.{}:5060;transport=udp", number % 250).into()),
            ("ContactID", format!("96278515783880{number:05}").into()),
            ("Expires", Item::Int(3600 - number % 3600)),
            ("Q", "0.5".into()),
            ("Callid", format!("{number:x}-7f3a9c@198.51.100.7").into()),
            ("Cseq", Item::Int(number % 1000)),
            ("User-agent", "Handset <7.1> & \"more\"".into()),
            ("Path", "<sip:192.0.2.1;lr>".into()),
            ("State", "CS_SYNC".into()),
            ("Flags", Item::Int(0)),
            ("Cflags", "NAT".into()),
            ("Socket", "udp:192.0.2.10:5060".into()),
            ("Methods", Item::Int(7999)),
        ])
    };
    let records = (0..contacts / 4).map(|aor| {
        let contacts: Vec<Item> = (0..4).map(|number| contact(4 * aor + number)).collect();
        Item::from([("AOR", format!("user{aor}@example.org").into()), ("Contacts", contacts.into())])
    });
    let domain =
        [("name", "location".into()), ("hash_size", Item::Int(512)), ("AORs", records.collect::<Vec<_>>().into())];
    Item::from([("Domains", vec![Item::from(domain)].into())])
}

fn locations_over_http() {
    let reply = Ok(Response::from(locations(20_000)));
    let mut out = Vec::new();
    for form in [Form::Native, Form::Ng2, Form::String] {
        time(&format!("ul_dump of 20,000 contacts: encode as XML-RPC {form}"), || {
            out.clear();
            xmlrpc::encode_response(&mut out, &reply, b"ul_dump", form, Dialect::Sipmi);
            out.len()
        });
        time(&format!("  {} bytes: decode", out.len()), || xmlrpc::decode_response(&out).is_ok());
    }
    time("ul_dump of 20,000 contacts: encode as mi_json", || {
        out.clear();
        mi_json::encode_response(&mut out, &reply, Dialect::Sipmi);
        out.len()
    });
    time(&format!("  {} bytes: decode", out.len()), || mi_json::decode_response(&out).is_ok());
    out.clear();
    json::write(&mut out, &locations(20_000));
    time(&format!("  as JSON, {} bytes: decode, for comparison", out.len()), || json::parse(&out).is_ok());
}

fn main() {
    lookups();
    trees();
    codecs();
    locations_over_http();
}
