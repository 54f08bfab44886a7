"""The client against what 1.11, 2.4, 3.4 and 4.0 answered over HTTP, each recorded pair over sockets."""

from __future__ import annotations

import json
import re
import urllib.parse
import warnings
import xmlrpc.client
from typing import Any

import pytest

import sipmi
from replay import Question, Recorded, body_of, outcome, question_of
from rogue import RogueHttp, answering

OLD = ["1.11-json", "2.4-json", "1.11-xmlrpc-ro0", "1.11-xmlrpc_ng", "2.4-xmlrpc_ng", "2.4-xmlrpc_ng-v1"]
TYPED = ["3.4-http", "4.0-http", "3.4-xmlrpc", "4.0-xmlrpc"]
GENERATIONS = {"1.11": "1.x", "2.4": "2.x", "3.4": "3.x", "4.0": "4.x"}

#: Commands with a blank in or around the name; no server has such commands.
NO_NAMES = {" version "}

#: Requests that the client cannot express: params of null, a None alone, an extra slash, a letter as a reference.
UNLIKE_OURS = {"params_null", "raw_nil", "url_dslash", "url_pct_cmd", "raw_multicall", "cache_store_value_null"}


#: Asked for by the name that the version has.
RENAMED = {"which_canonical", "debug_gone", "blacklists_list"}


def questions(file: Recorded) -> list[tuple[str, Question]]:
    """The pairs that a client can ask for, by case."""
    found = [(case, file.question(case)) for case in file.pairs]
    return [(case, question) for case, question in found if question is not None and case not in UNLIKE_OURS]


def http_body(reply: bytes) -> bytes:
    while reply.startswith(b"HTTP/1.1 100"):
        reply = reply.partition(b"\r\n\r\n")[2]
    return body_of(reply)


def status(reply: bytes) -> int:
    return int(reply.split(b" ")[1]) if reply else 0


def holds(value: Any, found: str) -> bool:
    if isinstance(value, (list, tuple)):
        return any(holds(each, found) for each in value)
    return isinstance(value, str) and found in value


def must_refuse(file: Recorded, question: Question) -> bool:
    """Return whether the client must refuse a request. The rules are written independently of the client's own."""
    wire = file.transport.split("-")[0]
    values = [*question.args, *question.kwargs.values()]
    if question.command in NO_NAMES or holds(values, "\0"):
        return True
    if wire == "json":
        too_long = len("".join(map(str, values))) > 16_000
        return too_long or any("," in str(value) or value == "" for value in values)
    if wire == "xmlrpc" and file.version == "1.11" and question.command == "ul_dump":
        return True  # it does not say how many records it has, and dies of 10,000
    if file.version == "1.11" and question.command in ("debug", "log_level") and len(values) == 2:
        return True  # it would be the level of all processes, and not of one
    if wire in ("xmlrpc", "xmlrpc_ng"):
        if any(holds(values, chr(code)) for code in range(32) if chr(code) not in "\t\n\r"):
            return True
        if file.version != "1.11" and any(value == "" for value in values):
            return True
        body = len(xmlrpc.client.dumps(tuple(values), question.command).replace("\n", ""))
    else:
        named = question.kwargs or question.args
        body = len(json.dumps({"jsonrpc": "2.0", "method": question.command, "params": named}).encode())
    # Near the limit it depends on a byte or two; no recorded request is there. mi_xmlrpc of 1.11 is not httpd's.
    is_abyss = wire == "xmlrpc" and file.version == "1.11"
    return body > (900 if file.version == "4.0" else 500_000 if is_abyss else 16_000)


def as_sent(request: bytes) -> Any:
    """A request as its wire means it, and nothing of how it is written."""
    if request.startswith(b"GET "):
        return urllib.parse.unquote(request.split(b" ")[1].decode())
    question = question_of(request)
    assert question is not None, request
    return question.command, question.args, question.kwargs


def stringly(value: Any) -> Any:
    """As wires that have only strings take it; True is sent as 1."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return [stringly(each) for each in value]
    if isinstance(value, dict):
        return {name: stringly(each) for name, each in value.items()}
    return str(value)


@pytest.mark.parametrize("name", OLD + TYPED)
@pytest.mark.filterwarnings("ignore::sipmi.UnclearReplyWarning", "ignore::sipmi.ChangedParameterWarning")
def test_every_recorded_request_is_sent_as_it_was_or_refused_for_a_reason(name: str) -> None:
    file = Recorded(name)
    asked = questions(file)
    assert len(asked) > 40
    for case, question in asked:
        with file.answering(case) as (mi, server):
            found = outcome(mi, question)
            assert mi.generation == GENERATIONS[file.version], case
            sent = [request for request in server.requests if f"{question.command}".encode() in request]
        refused = must_refuse(file, question)
        assert (found == "RequestRefused") == refused, (case, question, found)
        if refused or not sent:
            assert refused or case in ("unknown_cmd", "ambiguous", *RENAMED), (case, found)
            continue
        ours, theirs = as_sent(sent[-1]), as_sent(file.pairs[case]["request"])
        if name in OLD and not isinstance(theirs, str):
            # Names are ignored there, and are not sent; a list becomes one parameter for each element.
            values = [*theirs[1], *theirs[2].values()]
            theirs = (theirs[0], values[0] if values and isinstance(values[0], list) else values, {})
        if case == "stats_flat_named":
            theirs = (theirs[0], theirs[1], {name: [value] for name, value in theirs[2].items()})
        if case == "dlg_list_positional":
            theirs = (theirs[0], [], {"callid": theirs[1][0]})
        assert stringly(ours) == stringly(theirs), case
        if b"Content-Type" in file.pairs[case]["request"] and not case.startswith("raw_ct"):
            (content_type,) = [line for line in sent[-1].split(b"\r\n") if line.startswith(b"Content-Type: ")]
            assert content_type in file.pairs[case]["request"]


@pytest.mark.parametrize("name", TYPED)
def test_typed_replies_are_the_values_that_other_readers_see(name: str) -> None:
    file = Recorded(name)
    compared = 0
    for case, question in questions(file):
        is_version = question.command == "version" and not question.args
        reply = file.reply("version" if is_version else case)
        with file.answering(case) as (mi, _):
            found = outcome(mi, question)
        if found == "RequestRefused":
            continue
        if status(reply) != 200:
            assert found == "TransportError", (case, found)
            continue
        if isinstance(found, tuple) and found[0] == "MethodNotFound":
            assert b"-32601" in reply, case
        assert same(found, expected_value(http_body(reply))), (case, found)
        compared += 1
    assert compared > 40


def expected_value(body: bytes) -> Any:
    if body.startswith(b"{"):
        answer = json.loads(body)
        if "error" not in answer:
            return answer["result"]
        return ("error", answer["error"]["code"], answer["error"]["message"])
    try:
        # Carriage returns are escaped, or XML would turn them into newlines.
        body = re.sub(rb"<string>[^<]*", lambda text: text[0].replace(b"\r", b"&#13;"), body)
        return xmlrpc.client.loads(body, use_builtin_types=True)[0][0]
    except xmlrpc.client.Fault as fault:
        return ("error", fault.faultCode, fault.faultString)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return isinstance(found, tuple) and found[1:] == expected[1:]
    return bool(found == expected)


def text_value(version: str, case: str, question: Question) -> Any:
    """Return the answer of the same version over a datagram: a wire with other rules, and tests of its own."""
    file = Recorded(f"{version}-datagram-udp")
    with file.answering(case) as (mi, _):
        return outcome(mi, question)


#: Values that are alike in every run of the lab.
STEADY = [
    "which", "version", "help", "help_ps", "help_unknown", "list_blacklists", "dlg_list", "list_tcp_conns",
    "shv_get", "get_config_hash", "stats_noparam", "stats_unknown", "cache_store_plain",
    "cache_fetch_missing", "cache_store_expire_bad", "ul_add", "ul_add_few", "ul_rm_missing", "dlg_list_unknown",
    "log_set", "log_bad", "too_many_params", "too_many_fetch", "ds_list", "ds_set_state",
    "ds_list_after", "event_subscribe", "subscribers_list_after", "events_list", "ul_show_contact_missing",
    "ul_show_contact_badtable", "t_uac_dlg_bad_headers", "t_uac_dlg_few", "httpd_list_root_path",
]  # fmt: skip

#: Wires of 1.11 on which an error can look like a success without nodes.
UNCLEAR = {"1.11-json", "1.11-xmlrpc_ng"}


@pytest.mark.parametrize("name", OLD)
def test_a_value_is_the_same_over_http_as_over_a_datagram(name: str) -> None:
    file = Recorded(name)
    for case in STEADY:
        question = file.question(case)
        assert question is not None
        expected = text_value(file.version, case, question)
        with file.answering(case) as (mi, _), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = outcome(mi, question)
            reply = mi.request(question.command, *question.args)
        if name in UNCLEAR and question.command == "cache_fetch" and not http_nodes(file, case):
            # A value is wanted, so nothing is an error, whichever it is.
            assert found[:2] == ("Fault", 500), (case, found)
        elif name in UNCLEAR and not http_nodes(file, case):
            assert found is None, (case, found)
            assert expected in ("OK", {"Dialogs": []}, {}) or isinstance(expected, tuple), (case, expected)
            assert [warning.category for warning in warned] == [sipmi.UnclearReplyWarning], case
            assert (reply.code, reply.ok) == (None, False)
        else:
            assert trimmed(found) == trimmed(expected), (case, found, expected)
            assert warned == []


def trimmed(value: Any) -> Any:
    """An error without the newlines that some wires keep at the end of its text."""
    return (*value[:2], value[2].strip()) if isinstance(value, tuple) else value


def http_nodes(file: Recorded, case: str) -> bool:
    """Return whether a reply of 1.11 holds anything."""
    body = http_body(file.reply(case))
    return bool(body) and b"<string></string>" not in body


@pytest.mark.parametrize("name", OLD)
@pytest.mark.filterwarnings("ignore::sipmi.UnclearReplyWarning")
def test_an_unknown_command_is_an_error_on_every_wire(name: str) -> None:
    file = Recorded(name)
    with file.answering("unknown_cmd") as (mi, _), pytest.raises(sipmi.Fault) as caught:
        mi.call("no_such_cmd")
    expected = {
        "1.11-json": (sipmi.Fault, 500),
        "2.4-json": (sipmi.MethodNotFound, 500),
        "1.11-xmlrpc-ro0": (sipmi.MethodNotFound, -506),
        "1.11-xmlrpc_ng": (sipmi.Fault, 500),
        "2.4-xmlrpc_ng": (sipmi.Fault, 401),
        "2.4-xmlrpc_ng-v1": (sipmi.Fault, 401),
    }
    assert (type(caught.value), caught.value.code) == expected[name]


@pytest.mark.parametrize("name", OLD)
@pytest.mark.filterwarnings("ignore::sipmi.UnclearReplyWarning")
def test_stored_values_are_fetched_unchanged(name: str) -> None:
    file = Recorded(name)
    fetched = 0
    for case in [case for case in file.pairs if case.startswith("cache_fetch_")]:
        store = case.replace("fetch", "store")
        stored = file.question(store) if store in file.pairs else None
        asked = file.question(case)
        if stored is None or asked is None or len(stored.args) < 3 or b"<fault>" in file.reply(store):
            continue
        with file.answering(case) as (mi, _):
            found = outcome(mi, asked)
        if "long3000" in case:
            # Lost by the server, without an error.
            assert found[:2] == ("Fault", 500), (case, found)
            assert "over 2,047 bytes" in found[2], (case, found)
            continue
        value = stored.args[2]
        if name == "1.11-xmlrpc-ro0" and not value.isascii():
            value = found["value"] if set(found["value"]) <= set(value) | {"\x7f"} else value
        assert found == {"key": stored.args[1], "value": value}, case
        fetched += 1
    assert fetched >= 6


@pytest.mark.parametrize("name", [*OLD, "1.11-datagram-udp", "2.4-datagram-unix", "2.4-fifo"])
@pytest.mark.filterwarnings("ignore::sipmi.UnclearReplyWarning")
def test_names_are_put_into_their_places_for_servers_that_know_no_names(name: str) -> None:
    with Recorded(name).answering("ul_rm_missing") as (mi, server):
        assert mi.generation == GENERATIONS[Recorded(name).version] or "fifo" in name
        mi.call("ul_add", aor="alice@x", table_name="location", q=1, expires=60, contact="sip:a@b", methods=3,
                cflags=2, flags=4)  # fmt: skip
        # An answer without anything has the client look whether there is such a command.
        added = next(request for request in server.requests if b"ul_add" in request)
        mi.request_strings("cache_fetch", [("attr", "k"), ("system", "local")])
        fetched = next(request for request in server.requests if b"cache_fetch" in request)
    expected = [b"location", b"alice@x", b"sip:a@b", b"60", b"1", b"0", b"4", b"2", b"3"]
    added = urllib.parse.unquote_to_bytes(added.replace(b"/json/", b""))
    values = [added.index(value, added.index(b"location")) for value in expected[:4]]
    assert values == sorted(values)
    assert in_order(added, expected), added
    assert in_order(urllib.parse.unquote_to_bytes(fetched), [b"local", b"k"]), fetched


def in_order(request: bytes, values: list[bytes]) -> bool:
    """Return whether a request holds these values, one after the other."""
    rest = request.partition(b"\r\n\r\n")[2] or request
    for value in values:
        found = re.search(rb"(?<![0-9a-z@])" + re.escape(value) + rb"(?![0-9a-z@])", rest)
        if found is None:
            return False
        rest = rest[found.end() :]
    return True


# -- what a server of 4.x is never asked ----------------------------------------------------------


def fault(code: int, text: str) -> bytes:
    body = xmlrpc.client.dumps(xmlrpc.client.Fault(code, text)).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_a_command_that_4_0_may_not_have_is_asked_for_before_it_is_called() -> None:
    file = Recorded("4.0-xmlrpc")
    commands: list[str] = []

    def answer(request: bytes) -> bytes:
        question = question_of(request)
        assert question is not None
        commands.append(question.command)
        if question.command == "version":
            return file.reply("version").replace(b"Connection: close\r\n", b"")
        if question.command == "which":
            return fault(404, "unknown MI command") if question.args == ["nosuch"] else file.reply("which")
        return file.reply("uptime")

    with RogueHttp(answering(answer), path="/RPC2") as server, sipmi.connect(server.address) as mi:
        for _ in range(2):
            with pytest.raises(sipmi.MethodNotFound):
                mi.call("nosuch")
        for _ in range(3):
            assert "Now" in mi.call("uptime")
        assert commands == ["version", "which", "which", "which", "uptime", "uptime", "uptime"]


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("1.11-json", ["local", "a,b"], "cannot be sent"),
        ("1.11-json", ["local", "", "x"], "cannot be sent"),
        ("2.4-json", ["local", "a,b"], "cannot be sent"),
        ("2.4-xmlrpc_ng", ["local", ""], "parameter 2 is empty"),
        ("3.4-xmlrpc", ["local", ""], "parameter 2 is empty"),
        ("4.0-xmlrpc", ["local", ["a", ""]], "parameter 2 is empty"),
        ("4.0-xmlrpc", ["local", "x" * 1000], "receive_buf_size"),
        ("1.11-xmlrpc_ng", ["local", "x" * 17_000], "over the limit of 16384"),
        ("2.4-json", ["local", "x" * 17_000], "over the limit of 16384"),
        ("4.0-xmlrpc", ["local", "\x01"], "cannot be sent"),
        ("4.0-http", ["local", "a\0b"], "NUL"),
    ],
)
def test_requests_that_would_harm_a_server_or_be_lost_are_rejected(name: str, args: list[Any], reason: str) -> None:
    with Recorded(name).answering("version") as (mi, server):
        with pytest.raises(sipmi.RequestRefused, match=reason):
            mi.call("cache_store", *args)
        assert not any(b"cache_store" in request and b"which" not in request for request in server.requests)


def test_references_that_4_0_reads_twice_arrive_as_they_are() -> None:
    with Recorded("4.0-xmlrpc").answering("cache_store_plain") as (mi, server):
        mi.call("cache_store", "local", "k", "&#39; &amp; \r\n")
        assert b"<string>&amp;#38;#39; &amp;amp; &#13;\n</string>" in server.requests[-1]


def test_a_path_without_a_known_wire_is_a_clear_error() -> None:
    with Recorded("1.11-json").answering("url_prefix2") as (mi, _), pytest.raises(sipmi.TransportError, match="path"):
        mi.call("uptime")
