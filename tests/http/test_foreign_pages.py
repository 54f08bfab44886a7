"""Pages of another site, in a real browser, against a server on plain HTTP that is not at a loopback address.

There, a browser says nothing of the page that asks by GET: neither Origin, Referer nor Sec-Fetch-Site.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from urllib.parse import urlsplit

import pytest

import sipmi
from browser import Console, missing
from http_peer import ask, request
from plain_hosts import FOREIGN, SWITCHES, plain_host

PAGE = """<!doctype html><meta name="referrer" content="no-referrer"><title>ready</title><body><script>
const url = (path) => window.server + path;
const loaded = (element) => new Promise((done) => {
  element.onload = element.onerror = () => done();
  document.body.append(element);
});
const make = (name, fields) => Object.assign(document.createElement(name), {referrerPolicy: "no-referrer"}, fields);
const navigate = (how) => {
  const frame = make("iframe", {name: "target" + Math.random()});
  document.body.append(frame);
  return new Promise((done) => { frame.onload = done; how(frame); });
};
const submit = (path, method, enctype) => navigate((frame) => {
  const form = make("form", {action: url(path), method, target: frame.name, enctype});
  form.append(make("input", {name: "params", value: ""}));
  document.body.append(form);
  form.submit();
});
const kinds = {
  image: (path) => loaded(make("img", {src: url(path)})),
  script: (path) => loaded(make("script", {src: url(path)})),
  style: (path) => loaded(make("link", {rel: "stylesheet", href: url(path)})),
  frame: (path) => loaded(make("iframe", {src: url(path)})),
  fetch: (path) => fetch(url(path), {mode: "no-cors", referrerPolicy: "no-referrer"}).catch(() => {}),
  quiet: (path) => fetch(url(path), {mode: "no-cors", referrerPolicy: "no-referrer",
    headers: {"Accept": "", "Accept-Language": ""}}).catch(() => {}),
  form: (path) => submit(path, "get", ""),
  link: (path) => navigate((frame) => make("a", {href: url(path), target: frame.name, rel: "noreferrer"}).click()),
  "post form": (path) => submit(path, "post", "application/x-www-form-urlencoded"),
  "post text": (path) => submit(path, "post", "text/plain"),
  "post parts": (path) => submit(path, "post", "multipart/form-data"),
  "post fetch": (path, body) => fetch(url(path), {method: "POST", body, mode: "no-cors",
    referrerPolicy: "no-referrer"}).catch(() => {}),
  "post json": (path, body) => fetch(url(path), {method: "POST", body, headers: {"Content-Type": "application/json"},
    referrerPolicy: "no-referrer"}).catch(() => {}),
};
</script>"""

GETS = ("image", "script", "style", "frame", "fetch", "quiet", "form", "link")
POSTS = ("post form", "post text", "post parts", "post fetch", "post json")

#: Says when a request of this kind has been answered, or refused.
ASK = """const [server, kind, path, body, done] = arguments;
window.server = server;
kinds[kind](path, body).then(() => done(null), (error) => done(String(error)));"""

JSON = '{"jsonrpc":"2.0","method":"change","id":1}'
XML = "<methodCall><methodName>change</methodName></methodCall>"

#: Where a command is run by GET, by version.
GET_PATHS = {
    None: ("/json/change", "/mi/web/change?arg=", "/html/web/change?arg="),
    "4.0": ("/html/web/change?arg=",),
    "2.4": ("/json/change", "/mi/web/change?arg="),
    "1.11": ("/json/change", "/mi/web/change?arg="),
}

#: Where one is run by POST, with what.
POST_PATHS = {
    None: {"/mi": JSON, "/RPC2": XML, "/xmlrpc": XML, "/mi/web/change": "arg=", "/html/web/change": "arg="},
    "4.0": {"/mi": JSON, "/RPC2": XML, "/html/web/change": "arg="},
    "2.4": {"/RPC2": XML, "/mi/web/change": "arg="},
    "1.11": {"/RPC2": XML, "/xmlrpc": XML, "/mi/web/change": "arg="},
}


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], host: str) -> Iterator[int]:
    """A plain web server; its port."""
    server = ThreadingHTTPServer((host, 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class ForeignPage(BaseHTTPRequestHandler):
    """Answers everything with the page of another site."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: Any) -> None:
        pass


@dataclasses.dataclass
class Web:
    """A browser that shows the page of another site, and where a server is out of its reach by name and address."""

    browser: Console
    page: str
    host: str
    address: str

    def ask(self, port: int, kind: str, path: str, body: str = "") -> None:
        """Has the page ask in this way, and waits until it is answered or refused."""
        failure = self.browser.driver.execute_async_script(ASK, f"http://{self.host}:{port}", kind, path, body)
        assert failure is None, failure


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    lacking = missing()
    if lacking:
        pytest.skip(f"apt install {lacking}")
    with ExitStack() as stack:
        host, address = stack.enter_context(plain_host())
        page = f"http://{FOREIGN}:{stack.enter_context(serving(ForeignPage, '127.0.0.1'))}/"
        browser = Console(tmp_path_factory.mktemp("profile"), SWITCHES)
        stack.callback(browser.quit)
        yield Web(browser, page, host, address)


@pytest.fixture(autouse=True)
def page(web: Web) -> None:
    web.browser.driver.get(web.page)


class Changed:
    """A server with a command that changes something, and how often it did."""

    def __init__(self, web: Web, emulate: Optional[str], **options: Any) -> None:
        self.count = 0
        self.server = sipmi.Server("web", emulate=emulate)
        self.server.command(self.change)
        self.server.listen(f"http://{web.address}:0", hosts=[web.host], **options)

    def change(self, params: str = "") -> str:
        self.count += 1
        return "changed"

    @property
    def port(self) -> int:
        return urlsplit(self.server.addresses[0]).port or 0

    def take(self) -> int:
        """How often since the last look."""
        count, self.count = self.count, 0
        return count


@pytest.mark.parametrize("emulate", GET_PATHS)
def test_no_page_of_another_site_changes_anything_by_get(web: Web, emulate: Optional[str]) -> None:
    changed = Changed(web, emulate)
    with changed.server:
        for path in GET_PATHS[emulate]:
            for kind in GETS:
                web.ask(changed.port, kind, path)
                assert changed.take() == 0, f"{kind} of {path}"


@pytest.mark.parametrize("emulate", POST_PATHS)
@pytest.mark.parametrize("json_get", ["programs", "all"])
def test_no_page_of_another_site_changes_anything_by_post(web: Web, emulate: Optional[str], json_get: str) -> None:
    changed = Changed(web, emulate, json_get=json_get)
    with changed.server:
        for path, body in POST_PATHS[emulate].items():
            for kind in POSTS:
                web.ask(changed.port, kind, path, body)
                assert changed.take() == 0, f"{kind} to {path}"


def test_the_same_pages_change_something_by_get_where_every_get_is_let_in(web: Web) -> None:
    changed = Changed(web, None, json_get="all")
    with changed.server:
        ran = {kind: web.ask(changed.port, kind, "/json/change") or changed.take() for kind in GETS}
    assert all(ran.values()), ran


def test_a_browser_names_the_sending_page_by_post_and_not_always_by_get(web: Web) -> None:
    heads: list[dict[str, str]] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/favicon.ico":
                heads.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        do_OPTIONS = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Recorder, web.address) as port:
        for kind in GETS:
            web.ask(port, kind, "/json/change")
        gets, heads = heads, []
        for kind in POSTS:
            web.ask(port, kind, "/mi", JSON)
    assert len(gets) >= len(GETS)
    assert len(heads) >= len(POSTS)
    for head in gets:
        assert not {"origin", "referer", "sec-fetch-site"} & head.keys()
        assert head["user-agent"].startswith("Mozilla/")
        assert "accept-language" in head
    assert {head["origin"] for head in heads} <= {"null", web.page.rstrip("/")}


@pytest.mark.parametrize(
    ("emulate", "path"), [(None, "/html/web/change"), (None, "/mi/web/change"), ("2.4", "/mi/web/change")]
)
def test_the_pages_of_the_server_itself_change_things(web: Web, emulate: Optional[str], path: str) -> None:
    changed = Changed(web, emulate)
    with changed.server:
        web.browser.driver.get(f"http://{web.host}:{changed.port}{path}")
        web.browser.find("form [type=submit]").click()
        web.browser.eventually(lambda: "changed" in web.browser.text("body"), "the reply")
        assert changed.take() == 1


def test_a_program_changes_things_by_get(web: Web) -> None:
    changed = Changed(web, None)
    with changed.server:
        authority = f"{web.address}:{changed.port}"
        reply = ask(f"http://{authority}", request("GET", "/json/change", Host=authority), method="GET")
        assert (reply.status, reply.body) == (200, b'{"value":"changed"}')
        assert changed.take() == 1
