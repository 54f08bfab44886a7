"""Makes the pictures of the command line in docs/cli: `python tools/terminal_pictures.py`.

A real terminal, the real command, and a fake OpenSIPS that is busy.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from sipmi.testing import FakeOpenSIPS
from terminal import Terminal

DOCS = Path(__file__).parent.parent / "docs" / "cli"

#: The counts of a busy server per second: the middle, and the range around it.
TRAFFIC = {
    "core:rcv_requests": (420, 190),
    "core:fwd_requests": (380, 170),
    "core:rcv_replies": (610, 240),
    "core:fwd_replies": (590, 230),
    "tm:received_replies": (600, 230),
    "tm:UAS_transactions": (210, 90),
    "tm:2xx_transactions": (140, 60),
    "sl:sent_replies": (35, 10),
    "dialog:processed_dialogs": (40, 18),
}
GAUGES = {
    "load:load": (34, 17),
    "shmem:used_size": (31_000_000, 6_000_000),
    "dialog:active_dialogs": (1240, 210),
    "tm:inuse_transactions": (320, 120),
    "usrloc:registered_users": (8420, 60),
}


@contextlib.contextmanager
def busy_server() -> Iterator[FakeOpenSIPS]:
    """A fake OpenSIPS with traffic."""
    over = threading.Event()
    with FakeOpenSIPS("3.4") as fake:
        chance = random.Random(7)

        def work() -> None:
            step, known = 0, set(fake.statistics.list_statistics())
            while not over.wait(0.1):
                step += 1
                wave = math.sin(step / 45)
                for name, (middle, reach) in TRAFFIC.items():
                    if name in known:
                        more = (middle + reach * wave + chance.uniform(-0.15, 0.15) * middle) / 10
                        fake.statistics[name] = int(fake.statistics[name]) + max(0, round(more))
                for name, (middle, reach) in GAUGES.items():
                    if name in known:
                        fake.statistics[name] = round(middle + reach * wave)
                if step % 37 == 0:
                    fake.statistics["core:err_requests"] = int(fake.statistics["core:err_requests"]) + 2

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield fake
        finally:
            over.set()
            worker.join()


#: Lines that are typed in a shell, and the text that ends the picture.
SESSION = {
    "sipmi call edge1 which ul_show_contact": "]",
    "sipmi call edge1 get_statistics active_dialogs load": "}",
    "sipmi call edge1 ul_show_contcat location alice": "hint:",
    "sipmi fleet --on 'edge*' get_statistics load": "succeeded",
}


def top(env: dict[str, str]) -> None:
    with Terminal("top", "edge1", columns=110, lines=30, env=env) as terminal:
        terminal.wait_for("OpenSIPS 3.4")
        terminal.run_for(45)
        terminal.picture(DOCS / "top.svg", "sipmi top edge1")
        terminal.send("i", "down", "down", "enter")
        terminal.wait_for("show idle")
        terminal.run_for(2)
        terminal.picture(DOCS / "top-chart.svg", "sipmi top edge1")
        terminal.send("q")
        terminal.wait()


def shell(env: dict[str, str]) -> None:
    with Terminal("shell", columns=100, lines=22, env=env) as terminal:
        terminal.wait_for("edge1 >")
        terminal.send("get_statistics load inuse_transactions\r")
        terminal.wait_for("}")
        terminal.send("dlg_end_dlg\r")
        terminal.wait_for("Go on?")
        terminal.send("n\r")
        terminal.wait_for("not sent")
        terminal.send("ul_show_contact")
        terminal.wait_for("aor")
        terminal.send(" ")
        terminal.wait_for("table_name::")
        terminal.run_for(1)
        terminal.picture(DOCS / "shell.svg", "sipmi shell")


def call(env: dict[str, str]) -> None:
    program = Path(env["HOME"], "bin", "sipmi")
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sipmi "$@"\n')
    program.chmod(0o755)
    env = {**env, "PATH": f"{program.parent}:/usr/bin:/bin", "PS1": "$ "}
    with Terminal(program=["bash", "--norc", "--noprofile"], columns=92, lines=24, env=env) as terminal:
        for typed, shown in SESSION.items():
            terminal.send(f"{typed}\r")
            terminal.wait_for(shown)
            terminal.wait_for(lambda text: text.endswith("\n$"))
        terminal.picture(DOCS / "call.svg", "sipmi call")


def watch(env: dict[str, str]) -> None:
    words = ["load:load", "core:rcv_requests", "dialog:active_dialogs"]
    with Terminal("watch", *words, "--count", "8", columns=80, lines=10, env=env) as terminal:
        terminal.wait()
        terminal.picture(DOCS / "watch.svg", f"sipmi watch {' '.join(words)}")


PICTURES = {"top": top, "shell": shell, "call": call, "watch": watch}


def main(names: list[str]) -> None:
    """Makes all pictures, or those that are named."""
    DOCS.mkdir(exist_ok=True)
    with busy_server() as fake, tempfile.TemporaryDirectory() as home:
        servers = f'edge1 = "{fake.address("udp")}"\nedge2 = "{fake.address("http")}"\n'
        Path(home, "sipmi.toml").write_text(f'default = "edge1"\n[servers]\n{servers}')
        env = {"XDG_CONFIG_HOME": home, "XDG_STATE_HOME": home, "HOME": home, "COLORTERM": "truecolor"}
        for name in names or PICTURES:
            PICTURES[name](env)


if __name__ == "__main__":
    main(sys.argv[1:])
