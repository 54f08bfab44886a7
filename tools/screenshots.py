"""Takes the screenshots of docs/console.md: `python tools/screenshots.py`."""

from __future__ import annotations

import base64
import math
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sipmi
from browser import Console

DOCS = Path(__file__).parent.parent / "docs"

#: So long the statistics are watched before the picture is taken, in seconds.
WATCHED = 25

server = sipmi.Server("billing", version="1.4")


@server.command
def sub_add(
    user: str,
    domain: str = "example.org",
    credit: float = 0.0,
    plan: Literal["prepaid", "postpaid"] = "prepaid",
    numbers: list[str] = [],  # noqa: B006
) -> dict[str, Any]:
    """Add a subscriber."""
    return {"aor": f"sip:{user}@{domain}", "credit": credit, "plan": plan, "numbers": numbers}


@server.command(aliases=["subs"], read_only=True)
def sub_dump(domain: str = "example.org", limit: int = 100) -> sipmi.Tree:
    """Dump the subscribers with their contacts."""
    tree = sipmi.Tree()
    top = tree.add_child("Domain", domain).add_attr("records", 3)
    for user, contacts in {"alice": 2, "bob": 1, "carol": 3}.items():
        aor = top.add_child("AOR", f"{user}@{domain}")
        for number in range(min(contacts, limit)):
            contact = aor.add_child("Contact", f"sip:{user}@192.0.2.{10 + number}:5060")
            contact.add_attr("Q", 1.0 - number / 4)
            contact.add_child("Expires", 3600 - 431 * number)
            contact.add_child("User-agent", "Linphone/5.2")
    return tree


@server.command
def sub_rm(user: str) -> None:
    """Remove a subscriber and end the calls in progress."""
    raise sipmi.Fault(404, "No such subscriber")


@server.command(read_only=True)
def cdrs(limit: int = 1000) -> list[str]:
    """Call records, newest first."""
    return [str(number) for number in range(limit)]


@server.command(read_only=True)
def probe(target: str) -> str:
    """Send an OPTIONS ping and wait for its answer."""
    return f"{target} is alive"


@contextmanager
def traffic() -> Iterator[None]:
    """Statistics that move as those of a proxy do."""
    active, started = server.statistic("active_calls"), server.statistic("calls_started")
    failed, adds = server.statistic("calls_failed"), server.statistic("sub_adds")
    over = threading.Event()

    def move() -> None:
        for step in iter(lambda: over.wait(0.1), True):
            assert step is False
            now = time.monotonic()
            active.set(int(1240 + 160 * math.sin(now / 4) + 40 * math.sin(now * 1.7)))
            started.inc(int(6 + 5 * math.sin(now / 3)))
            failed.inc(int(math.sin(now * 2.3) > 0.95))
            adds.inc(int(math.sin(now) > 0.6))

    mover = threading.Thread(target=move)
    mover.start()
    try:
        yield
    finally:
        over.set()
        mover.join()


def take(page: Console, name: str) -> None:
    picture = page.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=False)["data"]
    (DOCS / name).write_bytes(base64.b64decode(picture))
    print(f"docs/{name}")


def run_with(page: Console, command: str, **values: str) -> None:
    page.choose(command)
    for name, value in values.items():
        page.field(name).send_keys(value)
    calls = len(page.all("#history-list li"))
    page.find("#run").click()
    if page.find("#confirm-bar").is_displayed():
        page.find("#confirm").click()
    page.reply(calls)


def main() -> None:
    server.listen("http://127.0.0.1:0")
    with server, traffic(), tempfile.TemporaryDirectory() as profile:
        page = Console(Path(profile))
        try:
            with page.screen(1280, 840):
                page.open(f"{server.addresses[0].removesuffix('/mi')}/html")
                page.find("#statistics-choice summary").click()
                page.find("#statistics-filter").send_keys("billing:")
                page.eventually(lambda: len(page.all("#statistics-list input")) == 4, "the statistics")
                for box in page.all("#statistics-list input"):
                    box.click()
                page.find("#statistics-choice summary").click()
                run_with(page, "sub_add", user="dave", credit="25.0")
                run_with(page, "sub_rm", user="zoe")
                time.sleep(WATCHED)
                run_with(page, "sub_dump", domain="example.org")
                page.script("document.activeElement.blur()")
                take(page, "console-light.png")
            with page.screen(1280, 840, dark=True):
                page.choose("sub_add")
                page.field("user").send_keys("erin")
                page.field("credit").send_keys("12.50")
                page.find("#run").click()
                page.eventually(lambda: page.find("#confirm-bar").is_displayed(), "the question")
                take(page, "console-dark.png")
        finally:
            page.quit()


if __name__ == "__main__":
    main()
