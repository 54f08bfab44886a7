"""A headless Chromium, and what tests of the console do with it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from waiting import eventually

#: Longer than anything on the page takes on a loaded machine.
PATIENCE = 15.0

#: Nothing of the browser's own goes to the network.
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def missing() -> Optional[str]:
    """Return the name of a program that these tests need and that is not installed."""
    if shutil.which("chromium") is None:
        return "chromium"
    if shutil.which("chromedriver") is None:
        return "chromium-driver"
    return None


class Console:
    """The console in a browser: things are found by what they say, as a person finds them."""

    def __init__(self, profile: Path, switches: Iterable[str] = ()) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for switch in (*SWITCHES, *switches):
            options.add_argument(switch)
        options.add_argument(f"--user-data-dir={profile}")
        options.accept_insecure_certs = True
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_page_load_timeout(PATIENCE)
        self.driver.set_script_timeout(PATIENCE)

    def quit(self) -> None:
        self.driver.quit()

    # -- looking ----------------------------------------------------------------------------------

    def eventually(self, condition: Callable[[], Any], message: str) -> Any:
        """Wait for a condition on the page, which may be replaced meanwhile by another one."""

        def found() -> Any:
            with contextlib.suppress(WebDriverException):
                return condition()
            return None

        return eventually(found, message)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def script(self, source: str, *arguments: Any) -> Any:
        return self.driver.execute_script(source, *arguments)

    def cdp(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    @property
    def focused(self) -> WebElement:
        return self.driver.switch_to.active_element

    # -- doing ------------------------------------------------------------------------------------

    def open(self, address: str) -> None:
        """Opens the console afresh and waits for its commands."""
        self.driver.get("about:blank")
        self.driver.get(address)
        self.eventually(lambda: self.text("#connection") == "Connected", "the commands")

    def choose(self, name: str) -> None:
        """Clicks a command in the list."""
        for link in self.all("#command-list a"):
            if link.get_attribute("data-method").endswith(f":{name}"):
                link.click()
                break
        else:
            raise AssertionError(f"no command {name} in the list")
        self.eventually(lambda: self.text("#command-title").endswith(f":{name}"), f"the form of {name}")

    def field(self, name: str) -> WebElement:
        """The control whose label begins with this name."""
        for label in self.all("#fields label.name"):
            if label.text.split("\n")[0] == name:
                return self.find(f"#{label.get_attribute('for')}")
        raise AssertionError(f"no field {name}")

    def press(self, *keys: str) -> None:
        """Presses keys where the focus is."""
        self.focused.send_keys(*keys)

    def run(self) -> str:
        """Runs a command that changes nothing; its outcome."""
        calls = len(self.all("#history-list li"))
        self.find("#run").click()
        return self.reply(calls)

    def reply(self, calls_before: int) -> str:
        self.eventually(lambda: len(self.all("#history-list li")) > calls_before, "the reply")
        return self.text("#reply-outcome")

    def tree(self) -> list[str]:
        """Return the lines of the tree."""
        rows = "return [...document.querySelectorAll('#tree .row')].filter((row) => row.offsetParent)"
        return self.script(f"{rows}.map((row) => row.textContent)")

    @contextmanager
    def screen(self, width: int, height: int, *, dark: bool = False) -> Iterator[None]:
        """A window of this size, in light or in dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        try:
            yield
        finally:
            self.cdp("Emulation.clearDeviceMetricsOverride")
            self.cdp("Emulation.setEmulatedMedia", features=[])

    # -- what the browser noticed -----------------------------------------------------------------

    def complaints(self) -> list[str]:
        """Return the new entries of the browser's log: errors of scripts, of the content policy and of the network."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requested(self) -> set[str]:
        """The addresses that the page asked since the last look."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        addresses = {params["request"]["url"] for params in asked}
        # Of these the network sees nothing.
        return {address for address in addresses if not address.startswith(("about:", "chrome:", "data:"))}


__all__ = ["PATIENCE", "Console", "Keys", "missing"]
