use super::*;
use crate::item::MAX_DEPTH;
use crate::tree::{NodeId, Tree, Value};

const HOSTILE: &str = "<script>alert(\"x\")</script>&'\u{1b}\0";
const TAMED: &str = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;\u{241b}\u{2400}";

fn frame() -> Frame {
    Frame {
        root: "/html".into(),
        stylesheet: String::new(),
        server: HOSTILE.into(),
        since: HOSTILE.into(),
        takes_both: false,
    }
}

fn hostile() -> Described {
    let text = || Str::from(HOSTILE);
    Described { module: text(), name: text(), help: text(), parameters: Some(text()), read_only: false }
}

fn reply(item: Item, style: Style, dialect: Dialect) -> String {
    let command = Described { module: "m".into(), name: "c".into(), ..Described::default() };
    let page = reply_page(&frame(), &command, (style, b""), &Ok(item.into()), dialect).expect("shallow enough");
    String::from_utf8(page).expect("pages are UTF-8")
}

fn between<'a>(page: &'a str, open: &str, close: &str) -> &'a str {
    page.split_once(open).and_then(|(_, rest)| rest.split_once(close)).expect("both are there").0
}

#[test]
fn a_path_leads_to_the_root_a_module_or_a_command() {
    let command = |module: &str, name: &str| Place::Command { module: module.into(), name: name.into() };
    assert_eq!(decode_path(""), Some(Place::Root));
    assert_eq!(decode_path("/"), Some(Place::Root));
    assert_eq!(decode_path("/core"), Some(Place::Module("core".into())));
    assert_eq!(decode_path("/core/"), Some(Place::Module("core".into())));
    assert_eq!(decode_path("/core/core%3Aversion"), Some(command("core", "core:version")));
    assert_eq!(decode_path("/core/version/more/of/it"), Some(command("core", "version")));
    assert_eq!(decode_path("/a%2Fb/c+d"), Some(command("a/b", "c+d")));
    assert_eq!(decode_path("//version"), None);
    assert_eq!(decode_path("/core//version"), None);
}

#[test]
fn arg_is_the_first_field_of_its_name_also_when_empty() {
    assert_eq!(decode_arg(b"x=1&arg=a+b%20c&arg=d"), Some(b"a b c".to_vec()));
    assert_eq!(decode_arg(b"arg"), Some(Vec::new()));
    assert_eq!(decode_arg(b"arg="), Some(Vec::new()));
    assert_eq!(decode_arg(b"argument=1"), None);
    assert_eq!(decode_arg(b"arg=%zz%4%C5%BE"), Some("%zz%4\u{17e}".into()));
}

#[test]
fn words_are_split_at_blanks_only_and_json_is_an_array_or_object() {
    let values = |params: Params| match params {
        Params::Strings(params) => params.into_iter().map(|param| param.value.to_string()).collect::<Vec<_>>(),
        other => panic!("words, not {other:?}"),
    };
    let words = decode_params(b" local  \"a b\" c\nd", Style::Words, Dialect::V2_4).expect("words");
    assert_eq!(values(words), ["local", "\"a", "b\"", "c\nd"]);
    assert_eq!(decode_params(b"", Style::Words, Dialect::V2_4), Ok(Params::None));
    assert_eq!(decode_params(b" ", Style::Json, Dialect::V4_0), Ok(Params::None));
    assert_eq!(decode_params(b"[]", Style::Json, Dialect::V4_0), Ok(Params::None));
    assert_eq!(decode_params(b"[1]", Style::Json, Dialect::V4_0), Ok(Params::Positional(vec![Item::Int(1)])));
    for bad in [&b"core:"[..], b"1", b"[", b"[1] x"] {
        assert!(decode_params(bad, Style::Json, Dialect::V4_0).is_err(), "{bad:?}");
    }
    assert_eq!(Style::of(Dialect::Sipmi, b" {}"), Style::Json);
    assert_eq!(Style::of(Dialect::Sipmi, b""), Style::Json);
    assert_eq!(Style::of(Dialect::Sipmi, b"core:"), Style::Words);
}

#[test]
fn words_may_have_names_where_no_version_is_emulated() {
    let named = decode_params(b"user::alice", Style::Words, Dialect::Sipmi);
    assert_eq!(named, Ok(Params::Strings(vec![Param { name: "user".into(), value: "alice".into() }])));
    let plain = decode_params(b"user::alice", Style::Words, Dialect::V1_11);
    assert_eq!(plain, Ok(Params::Strings(vec![Param { name: "".into(), value: "user::alice".into() }])));
}

#[test]
fn whatever_a_page_shows_it_is_text() {
    let failed: Result<Response, Failure> = Ok(Response::error(400, HOSTILE));
    let result: Result<Response, Failure> = Ok(Item::from([(HOSTILE, Item::from(HOSTILE))]).into());
    let arg = (Style::Words, HOSTILE.as_bytes());
    let shown =
        |asked, result, dialect| reply_page(&frame(), &hostile(), asked, result, dialect).expect("shallow enough");
    let pages = [
        modules_page(&frame(), &[HOSTILE.into()]),
        module_page(&frame(), HOSTILE.as_bytes(), &[hostile()]),
        form_page(&frame(), &hostile(), Style::Json, HOSTILE.as_bytes(), Some(HOSTILE)),
        shown(arg, &result, Dialect::V1_11),
        shown(arg, &failed, Dialect::Sipmi),
        shown((Style::Json, b""), &result, Dialect::Sipmi),
        shown((Style::Json, b""), &failed, Dialect::V4_0),
        error_page(&frame(), HOSTILE, HOSTILE),
    ];
    for page in pages {
        let page = String::from_utf8(page).expect("pages are UTF-8");
        assert!(!page.contains("<script") && !page.contains('\0') && page.contains(TAMED), "{page}");
        assert!(!page.contains("=\"<") && !page.contains("&'"), "{page}");
    }
}

#[test]
fn a_reply_is_lines_in_words_and_json_in_json() {
    let item = || Item::from([("Up time", Item::from("6 [sec]")), ("Empty", "".into())]);
    let page = reply(item(), Style::Words, Dialect::V1_11);
    assert_eq!(between(&page, "<pre>", "</pre>"), "Up time:: 6 [sec]<br/>Empty<br/>");
    assert!(page.contains("<p>200 : OK</p>"), "{page}");
    let page = reply(item(), Style::Json, Dialect::V4_0);
    let expected = "{\n\t&quot;Up time&quot;:\t&quot;6 [sec]&quot;,\n\t&quot;Empty&quot;:\t&quot;&quot;\n}";
    assert_eq!(between(&page, "<pre>", "</pre>"), expected);
    let page = reply(Item::Array(vec!["a=[b\nc]".into()]), Style::Words, Dialect::V1_11);
    assert_eq!(between(&page, "<pre>", "</pre>"), ":: a=[b\nc]<br/>");
}

#[test]
fn a_reply_that_nests_too_deep_is_no_page() {
    let mut tree = Tree::ok();
    (0..=MAX_DEPTH).fold(NodeId::ROOT, |node, _| tree.add_child(node, "n", Value::None));
    let result = Ok(tree.into());
    for style in [Style::Words, Style::Json] {
        assert!(reply_page(&frame(), &hostile(), (style, b""), &result, Dialect::Sipmi).is_err());
    }
}

#[test]
fn the_status_is_the_reply_s_code_in_2_4_and_200_in_the_others() {
    let status = |result: Result<Response, Failure>, dialect| reply_status(&result, Style::Words, dialect);
    let missing = || Ok(Response::error(404, "AOR not found"));
    assert_eq!(status(missing(), Dialect::V1_11), 200);
    assert_eq!(status(missing(), Dialect::V2_4), 404);
    assert_eq!(status(missing(), Dialect::V4_0), 200);
    assert_eq!(status(missing(), Dialect::Sipmi), 404);
    assert_eq!(status(Err(Failure::ParamCount), Dialect::Sipmi), 400);
    assert_eq!(status(Err(Failure::handler()), Dialect::Sipmi), 500);
    assert_eq!(status(Err(Failure::Timeout), Dialect::Sipmi), 504);
    for odd in [-32602, 401, 0, 700, 100] {
        let status = status(Ok(Response::error(odd, "odd")), Dialect::Sipmi);
        assert!((400..600).contains(&status) && status != 401, "{odd} became {status}");
    }
}

#[test]
fn a_link_leads_back_to_its_command() {
    let name = "a/b c\u{17e}?#&%:<";
    let page = module_page(&frame(), b"m", &[Described { name: name.into(), ..Described::default() }]);
    let page = String::from_utf8(page).expect("pages are UTF-8");
    let href = between(&page, "<dt><a href=\"", "\"");
    let place = decode_path(href.strip_prefix("/html").expect("below the root"));
    assert_eq!(place, Some(Place::Command { module: "m".into(), name: name.into() }));
}
