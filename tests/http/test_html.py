"""The pages without script: the URLs of mi_http and mi_html, and what programs read from them."""

from __future__ import annotations

import html
import json
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Optional

import pytest

import sipmi
from endpoints import PATIENCE, recorded

HOSTILE = '<script>alert("1")</script>\'&\x00\x1b<b>'
FORM = "application/x-www-form-urlencoded"


class Page:
    """The answer of an HTTP server."""

    def __init__(self, answer: bytes) -> None:
        head, _, self.body = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.text = self.body.decode()

    @property
    def reply(self) -> str:
        """Return the text between <pre> and </pre>, with newlines for line ends of either kind."""
        found = re.search(r"<pre>(.*?)</pre>", self.text, re.DOTALL)
        assert found, self.text
        return html.unescape(re.sub(r"<br\s*/?>\n?", "\n", found[1]))


def exchange(address: str, request: bytes) -> Page:
    """One request over a connection of its own, byte for byte."""
    parts = urllib.parse.urlsplit(address)
    assert parts.port is not None
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return Page(answer)


def ask(address: str, path: str, *, method: str = "GET", body: Optional[bytes] = None, headers: str = "") -> Page:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}"
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    return exchange(address, head.encode() + b"\r\n" + (body or b""))


def post(address: str, path: str, body: bytes, content_type: str = FORM) -> Page:
    return ask(address, path, method="POST", body=body, headers=f"Content-Type: {content_type}\r\n")


def billing() -> sipmi.Server:
    server = sipmi.Server("billing", version="1.4")
    removed: list[str] = []

    @server.command(read_only=True)
    def sub_show(user: str, domain: str = "example.org", tags: Any = None) -> dict[str, Any]:
        """Show a <subscriber>."""
        if user == "missing":
            raise sipmi.Fault(404, "No such subscriber")
        if user == "broken":
            raise ValueError("a secret of the handler")
        return {"aor": f"sip:{user}@{domain}", "tags": tags, "note": HOSTILE}

    @server.command(aliases=["sub_del"])
    def sub_rm(user: str) -> dict[str, Any]:
        """Remove a subscriber."""
        removed.append(user)
        return {"removed": len(removed)}

    @server.command(read_only=True)
    async def later(word: str = "now") -> str:
        """Answers from elsewhere."""
        return word

    @server.command(
        read_only=True, name=HOSTILE.replace(" ", "").replace('"', "").replace("\0", "").replace("\x1b", "")
    )
    def odd() -> str:
        return HOSTILE

    return server


@contextmanager
def serving(server: sipmi.Server, **options: Any) -> Iterator[str]:
    server.listen("http://127.0.0.1:0", **options)
    with server:
        yield server.addresses[0]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(billing()) as address:
        yield address


class Reader(HTMLParser):
    """The links and forms of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[dict[str, Optional[str]]] = []
        self.fields: list[dict[str, Optional[str]]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        assert not any(name.startswith("on") for name in given)
        if tag == "a":
            self.links.append(given["href"] or "")
        elif tag == "form":
            self.forms.append(given)
        elif tag == "input":
            self.fields.append(given)


def test_links_lead_from_the_modules_to_a_form_that_runs_the_command(address: str) -> None:
    modules = ask(address, "/html/")
    assert modules.status == 200
    assert "/html/billing" in Reader(modules.text).links
    commands = ask(address, "/html/billing")
    assert "/html/billing/sub_show" in Reader(commands.text).links
    assert "Show a &lt;subscriber&gt;." in commands.text
    form = ask(address, "/html/billing/sub_show")
    page = Reader(form.text)
    assert form.status == 200
    assert "<code>user [domain] [tags]</code>" in form.text
    assert page.forms == [{"method": "get", "action": "/html/billing/sub_show"}]
    arg = urllib.parse.quote_plus('["alice"]')
    reply = ask(address, f"{page.forms[0]['action']}?arg={arg}")
    assert reply.status == 200
    assert (
        json.loads(reply.reply.replace("\u2400", "\\u0000").replace("\u241b", "\\u001b"))["aor"]
        == "sip:alice@example.org"
    )


@pytest.mark.parametrize(
    ("arg", "aor"),
    [
        ('["alice", "b c"]', "sip:alice@b c"),
        ('{"domain": "d", "user": "alice"}', "sip:alice@d"),
        ("alice d", "sip:alice@d"),
        ("  alice   d ", "sip:alice@d"),
        ("domain::d user::alice", "sip:alice@d"),
        ("žluť", "sip:žluť@example.org"),
        ("%2C+", "sip:%2C+@example.org"),
    ],
)
def test_parameters_are_words_or_json(address: str, arg: str, aor: str) -> None:
    page = ask(address, f"/html/billing/sub_show?arg={urllib.parse.quote_plus(arg)}")
    assert page.status == 200
    assert aor in page.reply
    # The form below has what was asked, to be changed and asked again.
    assert next(field for field in Reader(page.text).fields if field.get("id") == "arg")["value"] == arg


def test_words_are_answered_in_lines_and_json_in_json(address: str) -> None:
    lines = ask(address, "/html/billing/later?arg=word")
    assert (lines.status, lines.reply) == (200, ":: word\n")
    assert "<p>200 : OK</p>" in lines.text
    assert ask(address, "/html/billing/later?arg=%5B%22word%22%5D").reply == '"word"'
    assert ask(address, "/html/billing/later?arg=").reply == '"now"'


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/html/billing/sub_show?arg=missing", 404, "404 : No such subscriber"),
        ("/html/billing/sub_show?arg=%5B%22missing%22%5D", 404, "&quot;No such subscriber&quot;"),
        ("/html/billing/sub_show?arg=", 400, "Too few or too many parameters"),
        ("/html/billing/sub_show?arg=a+b+c+d", 400, "400 : Too few or too many arguments"),
        ("/html/billing/sub_show?arg=%5B", 400, "The parameters cannot be read"),
        ("/html/billing/sub_show?arg=broken", 500, "500 : command &#39;sub_show&#39; failed"),
        ("/html/nosuch", 404, "There is no module nosuch."),
        ("/html/billing/nosuch", 404, "The module billing has no command nosuch."),
        ("/html/core/sub_show", 404, "The module core has no command sub_show."),
        ("/html//sub_show", 404, "There is no such page."),
    ],
)  # fmt: skip
def test_each_error_has_its_status_and_its_text(address: str, path: str, status: int, said: str) -> None:
    page = ask(address, path)
    assert (page.status, said in page.text) == (status, True), page.text
    assert "secret" not in page.text


def test_a_link_never_changes_anything_and_a_form_does(address: str) -> None:
    for path in (
        "/html/billing/sub_rm?arg=alice",
        "/html/billing/sub_del?arg=alice",
        "/html/billing/billing:sub_rm?arg=alice",
    ):
        refused = ask(address, path)
        page = Reader(refused.text)
        assert (refused.status, refused.headers["allow"]) == (405, "POST")
        assert page.forms[0]["method"] == "post"
        assert page.fields[0]["value"] == "alice"
    assert post(address, "/html/billing/sub_rm", b"arg=%5B%22alice%22%5D").reply == '{\n\t"removed":\t1\n}'
    assert post(address, "/html/billing/sub_rm", b"arg=bob").reply == "removed:: 2\n"


def test_a_form_from_another_site_is_refused(address: str) -> None:
    headers = f"Content-Type: {FORM}\r\nOrigin: http://evil.example\r\n"
    page = ask(address, "/html/billing/sub_rm", method="POST", body=b"arg=alice", headers=headers)
    assert page.status == 403
    assert post(address, "/html/billing/sub_rm", b"arg=alice", "text/plain").status == 415


def test_every_page_forbids_script_and_framing_and_shows_text_as_text(address: str) -> None:
    odd = next(link for link in Reader(ask(address, "/html/billing").text).links if "%3Cscript" in link)
    paths = ["/html/", "/html/billing", odd, f"{odd}?arg=", "/html/billing/sub_show", "/html/billing/sub_show?arg=a"]
    paths += [f"/html/{urllib.parse.quote(HOSTILE)}", f"/html/billing/sub_show?arg={urllib.parse.quote(HOSTILE)}"]
    for path in paths:
        page = ask(address, path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert Reader(page.text).tags.isdisjoint({"script", "b"}), path
        assert "\0" not in page.text
    assert html.unescape(ask(address, f"{odd}?arg=").reply) == json.dumps(HOSTILE)


def test_the_files_of_the_console_are_asked_for_once(address: str) -> None:
    for path in ("/html", "/html/console.css", "/html/console.js", "/html/commands.json"):
        first = ask(address, path)
        assert first.status == 200
        again = ask(address, path, headers=f"If-None-Match: {first.headers['etag']}\r\n")
        assert (again.status, again.body) == (304, b"")
        head = ask(address, path, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(first.body))
    policy = ask(address, "/html").headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_commands_are_described_with_defaults_and_choices(address: str) -> None:
    described = json.loads(ask(address, "/html/commands.json").body)
    modules = {
        module["name"]: {command["name"]: command for command in module["commands"]} for module in described["modules"]
    }
    show = modules["billing"]["sub_show"]
    assert [param["name"] for param in show["params"]] == ["user", "domain", "tags"]
    optional = {"required": False, "nullable": False, "passing": "either"}
    assert show["params"][1] == {"name": "domain", "type": "str", **optional, "default": "example.org"}
    assert (show["read_only"], show["method"]) == (True, "billing:sub_show")
    assert modules["core"]["uptime"]["params"] == []


def test_commands_that_the_listener_forbids_are_neither_shown_nor_run() -> None:
    with serving(billing(), allow=["later", "which"]) as address:
        described = json.loads(ask(address, "/html/commands.json").body)
        names = [command["name"] for module in described["modules"] for command in module["commands"]]
        assert names == ["later", "which"] or names == ["which", "later"]
        assert "sub_show" not in ask(address, "/html/billing").text
        assert ask(address, "/html/billing/sub_show?arg=alice").status == 403
        assert post(address, "/html/billing/sub_rm", b"arg=alice").status == 403
        assert ask(address, "/html/statistics").status == 404


def test_a_listener_that_reads_only_runs_nothing_else_by_a_form_either() -> None:
    with serving(billing(), read_only=True) as address:
        assert ask(address, "/html/billing/sub_show?arg=alice").status == 200
        assert post(address, "/html/billing/sub_rm", b"arg=alice").status == 403


def test_a_long_form_and_one_that_is_too_long(address: str) -> None:
    assert len(post(address, "/html/billing/sub_show", b"arg=" + b"x" * 200_000).reply) > 200_000
    with serving(billing(), request_limit=1000) as small:
        assert post(small, "/html/billing/sub_show", b"arg=" + b"x" * 2000).status == 413


# -- versions of OpenSIPS ---------------------------------------------------------------------------

#: Commands that a server without SIP has.
KNOWN = re.compile(r"/(version|get_statistics|cache_\w+|core:version|statistics:get|cache:\w+)\b")


def emulated(version: str) -> sipmi.Server:
    """A cache with the names, modules and replies of a version, and a statistic of its core."""
    server = sipmi.Server("core", emulate=version)
    server.statistic("rcv_requests")
    stored: dict[str, str] = {}
    prefix, module = ("", "cache") if version == "4.0" else ("cache_", "core")

    @server.command(name=f"{prefix}store", module=module)
    def store(system: str, attr: str, value: str, expire: str = "0") -> None:
        if not expire.isdigit():
            raise sipmi.Fault(404, "Bad format for expires argument")
        stored[attr] = value

    @server.command(name=f"{prefix}fetch", module=module)
    def fetch(system: str, attr: str = "") -> Any:
        if not attr:
            raise sipmi.Fault(404, "Too few arguments")
        if version == "1.11":
            tree = sipmi.Tree()
            tree.add_child("", f"{attr} = [{stored[attr]}]")
            return tree
        return {"key": attr, "value": stored[attr]}

    return server


def shown(page: Page) -> str:
    """The reply as a program reads it from either page; numbers that change are all one."""
    text = page.text
    if "<pre>" in text:
        found = re.search(r"<pre>(.*?)</pre>", text, re.DOTALL)
    else:
        found = re.search(r'<td align="left">(.*?)</td>', text, re.DOTALL)
    if not found:
        return ""
    reply = html.unescape(re.sub(r"<br\s*/?>\n?", "\n", found[1])).replace("\u2003", "\t")
    reply = re.sub(r"\b(OpenSIPS) \([^)]*\)+", r"\1", reply)
    return re.sub(r"\s+", " ", reply).strip()


@pytest.mark.parametrize("version", ["1.11", "2.4", "3.4", "4.0"])
def test_a_version_is_answered_for_as_it_answered(version: str) -> None:
    with serving(emulated(version)) as address:
        for pair in recorded(f"{version}-html"):
            original = Page(pair["replies"][0])
            path = pair["request"].split(b" ")[1].decode()
            module_or_command = re.fullmatch(r"/(mi|html)(/(core|statistics|nosuch).*)?", path)
            if not module_or_command and not KNOWN.search(path):
                continue  # a command of a SIP server
            page = exchange(address, pair["request"])
            assert page.status == original.status, pair["case"]
            if len(original.body) < 60:
                assert page.body == original.body, pair["case"]
            elif "arg=" in pair["request"].decode() and "stats" not in pair["case"] and "uptime" not in path:
                assert shown(page) == shown(original), pair["case"]
                assert re.findall(r"\d+ : [\w ]+", page.text)[:1] == re.findall(r"\d+ : [\w ]+", original.text)[:1]


def test_no_foreign_page_may_use_the_links_of_a_version() -> None:
    with serving(emulated("2.4")) as address:
        link = "/mi/core/cache_store?arg=local+a+b"
        foreign = ask(address, link, headers="Sec-Fetch-Site: cross-site\r\n")
        assert foreign.status == 403
        assert ask(address, "/mi/core/cache_fetch?arg=local+a").status == 500
        assert ask(address, link, headers="Sec-Fetch-Site: same-origin\r\n").status == 200
        assert ask(address, "/mi/core/cache_fetch?arg=local+a").reply == "key:: a\nvalue:: b\n"


@pytest.mark.parametrize("version", ["1.11", "2.4"])
def test_the_links_of_an_old_version_are_where_they_were(version: str) -> None:
    with serving(emulated(version)) as address:
        links = Reader(ask(address, "/mi/core").text).links
        originals = re.findall(r"href='(/mi/core/[^']+)'", Page(recorded(f"{version}-html")[1]["replies"][0]).text)
        ours = {"/mi/core/uptime", "/mi/core/version", "/mi/core/cache_store"}
        assert ours <= set(links)
        assert ours <= set(originals)


def test_the_server_of_the_documentation_answers_as_its_page_shows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "console.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(script.replace("127.0.0.1:8888", "127.0.0.1:0").replace("server.run()", "server.start()"), names)
    server = names["server"]
    try:
        address = server.addresses[0]
        for path in ("/html", "/html/", "/html/billing", "/html/billing/sub_show", "/html/commands.json"):
            assert ask(address, path).status == 200
        assert json.loads(ask(address, "/html/billing/sub_show?arg=%5B%22alice%22%5D").reply) == {
            "aor": "sip:alice@example.org"
        }
        assert ask(address, "/mi/billing/sub_show?arg=alice+example.net").reply == "aor:: sip:alice@example.net\n"
        assert ask(address, "/mi/billing/sub_show?arg=").status == 400
        assert ask(address, "/html/billing/sub_rm?arg=alice").status == 405
    finally:
        server.stop()
