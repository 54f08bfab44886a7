"""The web console in a real browser: what an operator sees, does by mouse and by keyboard, and hears."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
import trustme

import sipmi
from browser import PATIENCE, Console, Keys, missing

HOSTILE = "<script>document.title='taken'</script>\"'><img src=x onerror=\"document.title='taken'\">&amp;\u2028"


class Billing:
    """A server with a command for each thing that the console has to show, and what was asked of it."""

    def __init__(self) -> None:
        self.server = sipmi.Server("billing", version="1.4")
        self.asked: list[dict[str, Any]] = []
        self.answer = threading.Event()
        self.server.command(self.echo, read_only=True, named_only=True)
        self.server.command(self.sub_add)
        self.server.command(self.sub_rm)
        self.server.command(self.dump, read_only=True, no_input=True, aliases=["subs"])
        self.server.command(self.hostile, read_only=True, help=HOSTILE)
        self.server.command(self.many, read_only=True)
        self.server.command(self.long, read_only=True)
        self.server.command(self.join, read_only=True)
        self.server.command(self.slow, read_only=True)
        self.server.register_module("old", [sipmi.Export("tree", "The parameters as they came.", self.tree)])
        self.server.statistic("calls").set(7)
        self.server.listen("http://127.0.0.1:0")

    @property
    def address(self) -> str:
        return next(address for address in self.server.addresses if address.startswith("http")).removesuffix("/mi")

    @property
    def console(self) -> str:
        return f"{self.address}/html"

    def echo(
        self,
        user: str,
        count: int,
        ratio: float,
        active: bool,
        tags: list[str],
        limits: dict,  # type: ignore[type-arg]
        order: Literal["asc", "desc"],
        anything: Any,
        note: str = "none given",
        pause: Optional[float] = 2.5,
    ) -> dict[str, Any]:
        """Says what it was given."""
        given = dict(locals())
        del given["self"]
        self.asked.append(given)
        return given

    def sub_add(self, user: str, domain: str = "example.org") -> dict[str, Any]:
        """Add a subscriber."""
        self.asked.append({"user": user, "domain": domain})
        return {"aor": f"sip:{user}@{domain}"}

    def sub_rm(self, user: str) -> None:
        """Remove a subscriber."""
        self.asked.append({"rm": user})
        raise sipmi.Fault(404, "No such subscriber", {"user": user})

    def dump(self) -> Any:
        """Dump the subscribers."""
        contacts = [{"uri": "sip:alice@10.0.0.1", "q": 0.5}, {"uri": "sip:alice@10.0.0.2", "q": 1.0}]
        return {
            "Domain": "example.org",
            "AOR": [{"value": "alice", "Contact": contacts}],
            "big": 2**53 + 1,
            "none": None,
        }

    def hostile(self) -> Any:
        return {HOSTILE: HOSTILE, "list": [HOSTILE]}

    def many(self) -> Any:
        """More than fits a screen."""
        return [{"id": number} for number in range(450)]

    def long(self) -> str:
        """More than fits a line."""
        return '\\"' * 1_500_000

    def join(self, first: str, *more: str) -> str:
        """Joins words."""
        return "+".join((first, *more))

    def slow(self) -> str:
        """Waits to be told."""
        assert self.answer.wait(PATIENCE)
        return "at last"

    def tree(self, root: sipmi.Tree, _: Any) -> sipmi.Tree:
        reply = sipmi.Tree()
        for node in root.children:
            reply.add_child(node.name or "nameless", node.value)
        return reply


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all of them: it takes longer to start than any of the tests."""
    if what := missing():
        pytest.skip(f"{what} is not installed: the console was NOT tested in a browser")
    console = Console(tmp_path_factory.mktemp("profile"))
    yield console
    console.quit()


@pytest.fixture(scope="module")
def served() -> Iterator[Billing]:
    billing = Billing()
    with billing.server:
        yield billing


@pytest.fixture
def billing(served: Billing) -> Billing:
    served.asked.clear()
    served.answer.clear()
    return served


@pytest.fixture
def page(chromium: Any, billing: Billing) -> Iterator[Any]:
    """The console, freshly opened; afterwards nothing may have gone wrong or elsewhere."""
    chromium.complaints(), chromium.requested()
    with chromium.screen(1400, 900):
        chromium.open(billing.console)
        yield chromium
        assert chromium.complaints() == []
        assert {address for address in chromium.requested() if not address.startswith(f"{billing.address}/")} == set()
        chromium.script("localStorage.clear()")


def test_commands_are_listed_by_module_the_operators_own_first(page: Any) -> None:
    modules = [heading.text for heading in page.all("#command-list h3")]
    assert modules[:2] == ["billing", "old"]
    assert "core" in modules
    own = [link.text.split("\n")[0] for link in page.all("#command-list ul:first-of-type a")]
    assert own == ["echo", "sub_add", "sub_rm", "dump", "hostile", "many", "long", "join", "slow"]
    assert page.text("#server-version").startswith("sipmi (")
    marked = {link.text for link in page.all("#command-list a") if "changes" in link.text}
    assert {text.split("\n")[0] for text in marked} >= {"sub_add", "sub_rm", "tree", "log_level"}


def test_a_search_finds_names_aliases_and_help_and_leads_to_the_command_by_keyboard(page: Any) -> None:
    page.find("body").send_keys(Keys.CONTROL, "k")
    assert page.focused.get_attribute("id") == "search"
    page.press("subscriber")
    found = [link.text.split("\n")[0] for link in page.all("#command-list a")]
    assert found == ["subscribers_list", "sub_add", "sub_rm", "dump"]
    assert page.text("#commands-count").startswith("4 of ")
    assert page.text("#command-list .found") == "Add a subscriber."
    page.press(Keys.ARROW_DOWN, Keys.NULL)
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_UP)
    page.press(Keys.ENTER)
    page.eventually(lambda: page.text("#command-title") == "billing:sub_rm", "the command")
    assert page.focused.get_attribute("id") == "command-title"
    assert page.find("#command-list [aria-current]").text.startswith("sub_rm")
    page.find("#search").clear()
    page.find("#search").send_keys("subs dump")
    assert page.all("#command-list a")[0].text == "dump"
    page.find("#search").send_keys(" nothing")
    assert page.all("#command-list a") == []
    assert "No command fits" in page.text("#command-list")
    page.press(Keys.ESCAPE)
    assert len(page.all("#command-list a")) > 10


def test_parameters_reach_the_command_in_their_types(page: Any, billing: Billing) -> None:
    page.choose("echo")
    page.field("user").send_keys('0044 "quoted"', Keys.SHIFT, Keys.ENTER, Keys.NULL, "second line")
    page.field("count").send_keys("9007199254740993")
    page.field("ratio").send_keys("2.50")
    page.field("active").send_keys("yes")
    page.field("tags").send_keys("one", Keys.ENTER, "two words")
    page.field("limits").send_keys('{"calls": [1, 2]}')
    page.field("order").send_keys("desc")
    page.field("anything").send_keys("[null, true]")
    assert page.run() == "OK"
    assert billing.asked == [{
        "user": '0044 "quoted"\nsecond line',
        "count": 2**53 + 1,
        "ratio": 2.5,
        "active": True,
        "tags": ["one", "two words"],
        "limits": {"calls": [1, 2]},
        "order": "desc",
        "anything": [None, True],
        "note": "none given",
        "pause": 2.5,
    }]  # fmt: skip
    assert "count:9007199254740993" in page.tree()
    assert '"count":9007199254740993' in page.find("#request-text").get_attribute("textContent")


def test_an_optional_text_may_be_left_out_or_sent_empty_and_an_optional_number_as_null(
    page: Any, billing: Billing
) -> None:
    page.choose("sub_add")
    assert 'Default: "example.org"' in page.text("#fields")
    page.field("user").send_keys("alice")
    page.find("#run").click()
    page.find("#confirm").click()
    page.reply(0)
    page.field("domain").send_keys("x", Keys.BACK_SPACE)
    page.find(f"#{page.field('domain').get_attribute('id')}-send").click()
    page.find("#run").click()
    page.find("#confirm").click()
    page.reply(1)
    assert billing.asked == [{"user": "alice", "domain": "example.org"}, {"user": "alice", "domain": ""}]
    page.choose("echo")
    null = page.find(f"#{page.field('pause').get_attribute('id')}-null")
    null.click()
    assert not page.field("pause").is_enabled()


def test_a_wrong_parameter_is_marked_at_its_field_and_no_request_is_sent(page: Any, billing: Billing) -> None:
    page.choose("echo")
    page.field("count").send_keys("3.7", Keys.ENTER)
    wrong = {
        field.find_element("css selector", "label").text.split("\n")[0]: field.find_element(
            "css selector", ".wrong"
        ).text
        for field in page.all(".field")
        if field.find_element("css selector", ".wrong").text
    }
    assert wrong.keys() == {"count", "ratio", "active", "limits", "order"}
    assert wrong["count"] == "Expected a whole number, found “3.7”."
    assert page.focused == page.field("count")
    assert page.focused.get_attribute("aria-invalid") == "true"
    assert page.script("return document.getElementById('announcer').textContent").startswith("count: Expected")
    assert billing.asked == []
    page.find("#reset").click()
    assert page.field("count").get_attribute("value") == ""
    assert page.all("[aria-invalid]") == []


def test_parameters_that_take_the_rest_and_handlers_that_take_a_tree_have_fields_too(page: Any) -> None:
    page.choose("join")
    page.field("first").send_keys("a")
    page.field("more").send_keys("b", Keys.ENTER, "c")
    assert page.run() == "OK"
    assert page.tree() == ['"a+b+c"']
    page.choose("tree")
    page.field("parameters").send_keys("one", Keys.ENTER, "two")
    page.find("#run").click()
    page.find("#confirm").click()
    page.reply(1)
    assert page.tree() == ["nameless:2 elements", '0:"one"', '1:"two"']


def test_a_command_that_changes_the_server_is_run_only_after_a_confirmation(page: Any, billing: Billing) -> None:
    page.choose("sub_rm")
    assert page.text("#command-kind") == "changes the server"
    page.field("user").send_keys("alice", Keys.ENTER)
    assert page.focused.get_attribute("id") == "confirm"
    assert page.text("#confirm-text") == "billing:sub_rm changes the server. Run it with these parameters?"
    page.press(Keys.ESCAPE)
    assert not page.find("#confirm-bar").is_displayed()
    assert page.focused.get_attribute("id") == "run"
    page.find("#run").click()
    page.field("user").send_keys("x")  # what was to be confirmed is not what is shown any more
    assert not page.find("#confirm-bar").is_displayed()
    page.find("#run").click()
    assert billing.asked == []
    page.find("#confirm").click()
    page.reply(0)
    assert billing.asked == [{"rm": "alicex"}]


def test_an_error_is_shown_with_its_code_message_and_data(page: Any) -> None:
    page.choose("sub_rm")
    page.field("user").send_keys("zoe")
    page.find("#run").click()
    page.find("#confirm").click()
    assert page.reply(0) == "404 No such subscriber"
    assert page.tree() == ["code:404", 'message:"No such subscriber"', "data:zoe, 1 member", 'user:"zoe"']
    page.eventually(lambda: "404 No such subscriber" in page.script("return announcer.textContent"), "the announcement")
    page.choose("help")
    page.field("mi_cmd").send_keys("nosuch")
    assert page.run() == "404 unknown MI command"


def test_a_reply_is_walked_through_with_the_keys_of_a_tree(page: Any) -> None:
    page.choose("dump")
    assert page.run() == "OK"
    assert len(page.all('#tree [tabindex="0"]')) == 1
    page.script("document.querySelector('#tree [tabindex=\"0\"]').focus()")
    label = lambda: page.focused.get_attribute("aria-label")  # noqa: E731
    walk = [
        (Keys.ARROW_DOWN, "AOR:1 element"),
        (Keys.ARROW_LEFT, "AOR:1 element"),  # closes it
        (Keys.ARROW_DOWN, "big:9007199254740993"),
        (Keys.END, "none:null"),
        (Keys.HOME, 'Domain:"example.org"'),
        ("a", "AOR:1 element"),
        (Keys.ARROW_RIGHT, "AOR:1 element"),  # opens it
        (Keys.ARROW_RIGHT, "0:alice, 2 members"),
        (Keys.ARROW_RIGHT, 'value:"alice"'),
        (Keys.ARROW_DOWN, "Contact:2 elements"),
        (Keys.ARROW_LEFT, "Contact:2 elements"),
        ("*", "Contact:2 elements"),
        (Keys.ARROW_RIGHT, "0:sip:alice@10.0.0.1, 2 members"),
        (Keys.ENTER, "0:sip:alice@10.0.0.1, 2 members"),
        (Keys.ARROW_LEFT, None),
        (Keys.ARROW_UP, None),
    ]
    for key, expected in walk:
        page.press(key)
        assert expected in (None, label()), key
    assert len(page.all('#tree [tabindex="0"]')) == 1
    levels = {item.get_attribute("aria-level") for item in page.all("#tree [role=treeitem]")}
    assert levels == {"1", "2", "3", "4", "5"}
    page.find("#collapse-all").click()
    assert page.tree() == ['Domain:"example.org"', "AOR:1 element", "big:9007199254740993", "none:null"]
    page.find("#expand-all").click()
    assert len(page.tree()) == 13


def test_a_long_list_is_shown_in_parts(page: Any) -> None:
    page.choose("many")
    assert page.run() == "OK"
    assert page.tree()[-1] == "show 200 more of 250"
    page.script("document.querySelector('#tree [tabindex=\"0\"]').focus()")
    page.press(Keys.END)
    page.press(Keys.ENTER)
    assert page.focused.get_attribute("aria-label") == "200:200, 1 member"
    page.press(Keys.END)
    page.press(" ")
    assert page.tree()[-1] == "449:449, 1 member"


def test_a_long_text_is_cut_where_it_is_shown(page: Any) -> None:
    page.choose("long")
    assert page.run() == "OK"
    (line,) = page.tree()
    assert line.endswith("… (6000002 characters)")
    assert len(line) < 5000


def test_a_reply_is_copied_as_json_that_has_lost_nothing(page: Any, billing: Billing) -> None:
    page.cdp(
        "Browser.grantPermissions",
        origin=billing.address,
        permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
    )
    page.choose("dump")
    page.run()
    page.find("#copy").click()
    page.eventually(lambda: page.text("#copy") == "Copied", "the copy")
    copied = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert json.loads(copied) == billing.server.call("dump")


def test_the_console_polls_statistics_only_while_they_are_visible(page: Any, billing: Billing) -> None:
    counter = billing.server.statistic("calls")
    counter.set(1234567)
    page.find("#statistics-choice summary").click()
    page.find("#statistics-filter").send_keys("billing:ca")
    page.eventually(lambda: len(page.all("#statistics-list label")) == 1, "the filtered list")
    page.find("#statistics-list input").click()
    value = lambda: page.text("#statistics-rows .value")  # noqa: E731
    page.eventually(lambda: value() == "1\u202f234\u202f567", "the value")
    assert page.text("#statistics-state") == "live"
    counter.inc(3)
    page.eventually(lambda: value() == "1\u202f234\u202f570", "the next value")
    page.eventually(lambda: " " in page.find("#statistics-rows polyline").get_attribute("points"), "the course")
    assert page.text("#statistics-rows .change").endswith("/s")
    begun = page.script(
        "return performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/mi')).map((e) => e.startTime)"
    )
    sampled = begun[1:]  # the first was the list
    assert all(later - sooner > 990 for sooner, later in zip(sampled, sampled[1:])), sampled

    def hide(hidden: bool) -> None:
        page.script("Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true})", hidden)
        page.script("document.dispatchEvent(new Event('visibilitychange'))")

    hide(True)
    assert page.text("#statistics-state") == "paused while hidden"
    hide(False)
    page.find("#statistics-pause").click()
    assert page.find("#statistics-pause").get_attribute("aria-pressed") == "true"
    page.eventually(lambda: page.text("#statistics-state") == "paused", "the pause")
    # The choice is kept, and the button takes it back.
    page.driver.refresh()
    page.eventually(lambda: page.text("#connection") == "Connected" and value().startswith("1"), "the value again")
    page.find("#statistics-rows button").click()
    assert page.all("#statistics-rows tr") == []
    assert page.text("#statistics-empty") == "Nothing is watched."


def test_calls_of_the_session_are_listed_and_can_be_shown_again(page: Any) -> None:
    page.choose("join")
    page.field("first").send_keys("a")
    page.run()
    page.choose("dump")
    page.run()
    entries = [entry.text.split("\n") for entry in page.all("#history-list li")]
    assert [entry[1] for entry in entries] == ["dump", "join a"]
    page.all("#history-list button")[1].click()
    page.eventually(lambda: page.text("#command-title") == "billing:join", "the call")
    assert page.field("first").get_attribute("value") == "a"
    assert page.tree() == ['"a"']
    page.find("#history-clear").click()
    assert page.all("#history-list li") == []


def test_a_command_that_takes_long_can_be_given_up(page: Any, billing: Billing) -> None:
    page.choose("slow")
    page.find("#run").click()
    page.eventually(lambda: page.find("#cancel").is_displayed(), "a way out")
    page.find("#cancel").click()
    assert page.reply(0).startswith("Cancelled")
    billing.answer.set()
    assert page.run() == "OK"


def test_replies_are_shown_as_text_and_never_as_markup(page: Any) -> None:
    page.choose("hostile")
    assert page.find("#command-help").get_attribute("textContent") == HOSTILE
    page.run()
    assert page.tree()[0] == f"{HOSTILE}:{json.dumps(HOSTILE, ensure_ascii=False)}"
    page.find("#search").send_keys("<script>")
    assert [link.text for link in page.all("#command-list a")] == ["hostile"]
    assert page.all("img, #command script, #command-list script") == []
    assert page.driver.title == "billing - console"


def test_a_page_that_was_linked_to_opens_its_command(page: Any, billing: Billing) -> None:
    page.open(f"{billing.console}#/billing:join")
    assert page.text("#command-title") == "billing:join"
    page.open(f"{billing.console}#/%zz")
    assert page.find("#welcome").is_displayed()


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_the_system_and_text_stays_readable(page: Any, billing: Billing, dark: bool) -> None:
    contrast = """
        const light = (color) => {
          const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map((v) => {
            const c = v / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          });
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = (element) => {
          for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (!/^rgba.*, 0\\)$/.test(color)) return color;
          }
        };
        const owners = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
          && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
        return owners.map((element) => {
          const [a, b] = [getComputedStyle(element).color, ground(element)].map(light).sort((x, y) => y - x);
          return [(a + 0.05) / (b + 0.05), element.className + " " + element.textContent];
        }).filter(([ratio]) => ratio < 4.5);
    """
    with page.screen(1400, 900, dark=dark):
        page.choose("sub_rm")
        page.field("user").send_keys("zoe")
        page.find("#run").click()
        page.find("#confirm").click()
        page.reply(0)
        page.find("#run").click()
        page.script("document.activeElement.blur()")
        ground = page.script("return getComputedStyle(document.documentElement).backgroundColor")
        assert (ground == "rgb(17, 21, 23)") == dark
        assert page.script(contrast) == []


@pytest.mark.parametrize("width", [320, 700, 1000])
def test_a_narrow_screen_needs_no_sideways_scrolling(page: Any, billing: Billing, width: int) -> None:
    with page.screen(width, 700):
        page.open(f"{billing.console}#/billing:hostile")
        page.run()
        page.open(f"{billing.console}#/billing:echo")
        assert page.script("return document.documentElement.scrollWidth") <= width
        if width < 736:
            assert not page.find("#command-list").is_displayed()
            page.find("#commands-panel summary").click()
        assert page.find("#command-list").is_displayed()


def test_every_control_has_a_name_and_the_page_its_landmarks(page: Any) -> None:
    page.choose("echo")
    page.field("count").send_keys("1")
    page.choose("dump")
    page.run()
    page.choose("sub_add")
    page.find("#statistics-choice summary").click()
    page.eventually(lambda: len(page.all("#statistics-list label")) > 3, "the statistics")
    page.find("#statistics-list input").click()
    nodes = [node for node in page.cdp("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    said = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes]
    controls = {"button", "link", "textbox", "searchbox", "checkbox", "combobox", "treeitem", "tree", "spinbutton"}
    assert [role for role, name in said if role in controls and not name.strip()] == []
    assert {"button", "link", "textbox", "searchbox", "checkbox", "combobox"} <= {role for role, _ in said}
    names = {(role, name) for role, name in said}
    for landmark in ("banner", "navigation", "search", "main", "complementary"):
        assert landmark in {role for role, _ in names}, landmark
    assert ("textbox", "user text") in names
    assert ("checkbox", "send domain") in names
    assert next(name for role, name in said if role == "heading") == "billing"
    assert page.find("#announcer").get_attribute("role") == "status"


def test_everything_is_reached_with_the_tab_key_in_the_order_that_it_is_seen(page: Any) -> None:
    page.choose("dump")
    page.run()
    page.script("document.querySelector('.skip').focus()")
    seen: list[str] = []
    while len(seen) < 60 and "history-clear" not in seen:
        seen.append(page.script("return document.activeElement.id || document.activeElement.textContent.trim()"))
        page.press(Keys.TAB)
    wanted = [
        "Skip to the command",
        "search",
        "reload-commands",
        "run",
        "expand-all",
        "copy",
        "statistics-interval",
        "history-clear",
    ]
    places = [seen.index(stop) for stop in wanted]
    assert places == sorted(places), seen
    assert (
        page.script('return document.querySelectorAll(\'[tabindex]:not([tabindex="0"]):not([tabindex="-1"])\').length')
        == 0
    )


def test_a_command_that_the_listener_does_not_allow_is_not_offered(chromium: Any) -> None:
    billing = Billing()
    billing.server.listen("http://127.0.0.1:0", allow=["dump", "which"])
    with billing.server:
        address = [address for address in billing.server.addresses if address.startswith("http")][1]
        chromium.open(f"{address.removesuffix('/mi')}/html")
        assert [link.text for link in chromium.all("#command-list a")] == ["dump", "which"]
        assert "may not be run here" in chromium.text("#statistics-empty")


def test_a_server_that_wants_a_password_gets_it_with_every_request(chromium: Any, billing: Billing) -> None:
    billing = Billing()
    billing.server.listen("http://127.0.0.1:0", auth={"operator": "s3cret"})
    with billing.server:
        address = [address for address in billing.server.addresses if address.startswith("http")][1].removesuffix("/mi")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/html", timeout=PATIENCE)
        refused.value.close()
        assert refused.value.code == 401
        chromium.open(f"{address.replace('//', '//operator:s3cret@')}/html")
        chromium.choose("join")
        chromium.field("first").send_keys("a")
        assert chromium.run() == "OK"


def test_the_console_works_over_https(chromium: Any, tmp_path: Path) -> None:
    certificate = tmp_path / "server.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    billing = Billing()
    billing.server.listen("https://127.0.0.1:0", tls=str(certificate))
    with billing.server:
        address = next(address for address in billing.server.addresses if address.startswith("https"))
        chromium.open(f"{address.removesuffix('/mi')}/html")
        chromium.choose("dump")
        assert chromium.run() == "OK"
        assert chromium.script("return isSecureContext")
