"""The pages of the documentation are true: every Python block runs as it stands, and prints what the page says."""

from __future__ import annotations

import ast
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import pages
import sipmi
from affinity_fixtures import hosts
from sipmi import affinity
from sipmi.cli import main, make_parser
from sipmi.testing import FakeOpenSIPS, eventually

#: Pages whose blocks are run otherwise: by pytest itself, on wires, or not at all since they are values.
ELSEWHERE = {
    "affinity.md": "test_affinity_docs.py",
    "pytest.md": "test_pytest_plugin.py",
    "processes.md": "below",
    "trees-and-values.md": "below",
}
#: Pages that call an OpenSIPS that is there already, and of which version it is.
CALLING = {"cookbook.md": "4.0", "migrating.md": "4.0"}
#: Pages about the machine: they are run on a captured one.
MACHINE = ("affinity-guide.md",)

PAGES = [
    page
    for page in sorted([pages.ROOT / "README.md", *pages.DOCS.rglob("*.md")])
    if pages.blocks(page) and page.name not in ELSEWHERE
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_as_they_stand(
    page: Path, directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if page.name in CALLING:
        with FakeOpenSIPS(CALLING[page.name]) as opensips:
            furnish(opensips)
            pages.run(page, pages.Stand(directory, opensips))
    elif page.name in MACHINE:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        machine = str(hosts.build("612", tmp_path / "machine"))
        monkeypatch.setattr(affinity, "Host", lambda root=machine, host=affinity.Host: host(root=root))
        pages.run(page, pages.Stand(directory))
    else:
        pages.run(page, pages.Stand(directory))


def commands(page: Path) -> list[str]:
    """Return the `sipmi` commands of a page, from its blocks and from the cells of its tables."""
    sources = [source.replace("\\\n", " ") for _, source in pages.blocks(page, "(?:sh|console)")]
    lines = [line for source in sources for line in source.splitlines()]
    found = [match.group(1) for line in lines if (match := re.match(r"(?:\$ |if ! |\s+)?(sipmi [^#|>&;]*)", line))]
    return found + re.findall(r"\| `(sipmi [^`]*)`", page.read_text())


def test_shell_commands_of_the_pages_parse() -> None:
    said = [command for page in sorted(pages.DOCS.rglob("*.md")) for command in commands(page)]
    assert len(said) > 30
    for command in said:
        make_parser().parse_args(shlex.split(command)[1:])  # raises Usage for what it does not know


@pytest.mark.parametrize("name", CALLING)
def test_shell_commands_of_the_pages_get_replies(name: str, directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeOpenSIPS(CALLING[name]) as opensips:
        furnish(opensips)
        stand = pages.Stand(directory, opensips)
        called = [words for words in commands(pages.DOCS / name) if words.startswith(("sipmi call", "sipmi fifo --"))]
        assert len(called) >= 3
        for command in called:
            assert main(shlex.split(stand.moved(command))[1:]) == 0, (command, capsys.readouterr())


def furnish(opensips: FakeOpenSIPS) -> None:
    """A server at work: registrations, calls, gateways and counters."""
    opensips.usrloc.add("alice@example.org", "sip:alice@192.0.2.7:5060", q=0.5)
    opensips.usrloc.add("bob@example.org", "sip:bob@192.0.2.8:5060")
    opensips.dialog.add("a84b4c76e66710@192.0.2.7")
    opensips.dispatcher.add(1, "sip:192.0.2.101:5060")
    opensips.dispatcher.add(1, "sip:192.0.2.102:5060")
    opensips.statistics["core:rcv_requests"] = 1234


def test_every_page_is_found_from_the_navigation() -> None:
    named = set(re.findall(r"[\w/-]+\.(?:md|ipynb)", (pages.ROOT / "mkdocs.yml").read_text()))
    there = {str(page.relative_to(pages.DOCS)) for kind in ("md", "ipynb") for page in pages.DOCS.rglob(f"*.{kind}")}
    assert there - named == set(), "not in the nav of mkdocs.yml"
    assert named - there == set(), "in the nav of mkdocs.yml, and not there"


def test_the_script_of_the_page_about_processes_serves_with_four_workers(directory: str, tmp_path: Path) -> None:
    """As a program of its own, since it forks. Its extra process has nothing to do, and rests."""
    stand = pages.Stand(directory)
    ((_, source),) = pages.blocks(pages.DOCS / "processes.md")
    moved = re.sub(r"127\.0\.0\.1:8\d\d\d|/tmp", lambda found: stand.there.get(found.group(), directory), source)
    resting = moved.replace("        ...  # an extra", "        import time; time.sleep(0.1)  # an extra")
    assert resting != moved
    script = tmp_path / "billing.py"
    script.write_text(resting)
    address = f"udp:{stand.there['127.0.0.1:8080']}"
    with subprocess.Popen([sys.executable, script]) as program, sipmi.connect(address, timeout=2.0) as mi:
        try:
            wanted = ["attendant", *["MI worker"] * 4, "MI stats"]
            eventually(lambda: [one["Type"] for one in mi.call("ps")["Processes"]], wanted, within=20.0)
        finally:
            program.send_signal(signal.SIGTERM)
            assert program.wait(20) == 0


def test_the_rule_of_trees_and_values_gives_what_its_page_says() -> None:
    page = (pages.DOCS / "trees-and-values.md").read_text()
    pairs = re.findall(r"```\n(200 OK\n.*?)```\n\n```python\n(.*?)```", page, re.DOTALL)
    assert len(pairs) == 3
    for text, value in pairs:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            address = f"udp:127.0.0.1:{server.getsockname()[1]}"
            answering = threading.Thread(target=answer_once, args=(server, text.encode() + b"\n"))
            answering.start()
            with sipmi.connect(address, wire="text") as mi:
                assert mi.request("any").tree.value == ast.literal_eval(value)
            answering.join()


def answer_once(server: socket.socket, reply: bytes) -> None:
    _, peer = server.recvfrom(65536)
    server.sendto(reply, peer)


# -- the contract -------------------------------------------------------------------------------------

CONTRACT = pages.ROOT / "tests" / "api_contract.md"


def script(title: str) -> str:
    """The first block of a section; "C" is the second of the first section."""
    sources = [source for _, source in pages.blocks(CONTRACT)]
    (found,) = [source for source in sources if title in source]
    return found


def test_the_contract_has_five_scripts_and_all_are_run() -> None:
    sources = [source for _, source in pages.blocks(CONTRACT)]
    assert len(sources) == 5


def test_the_scripts_of_the_contract_that_serve_run_as_they_stand(directory: str) -> None:
    stand = pages.Stand(directory)
    names: dict[str, Any] = {"child_init": lambda: None, "function": lambda *_: None}
    source = stand.moved(script("server.listen("))
    defined, entered, _ = source.partition("\nwith server:")
    serving = f"{defined}{entered}\n    called(server)\n"
    called: list[sipmi.Server] = []
    names["called"] = lambda server: called.append(server) or call_what_it_serves(server)
    exec(compile(serving, "contract: serve", "exec"), names)
    assert called == [names["server"]]
    exec(compile(script("register_module"), "contract: C", "exec"), names)
    assert names["cmd"].module == "mymodule"
    assert names["tree"].code == 200


def call_what_it_serves(server: sipmi.Server) -> None:
    assert [address.partition(":")[0] for address in server.addresses] == ["fifo", "udp", "unix", "http"]
    for address in server.addresses:
        with sipmi.connect(address) as mi:
            assert mi.call("sub_add", user="alice") == {"aor": "sip:alice@example.org", "credit": 0.0}
            contact = {"value": "sip:alice@127.0.0.1:5099", "Q": "0.5"}
            domain = {"value": "example.org", "records": "1", "AOR": {"value": "alice", "Contact": contact}}
            assert mi.call("subs") == {"Domain": domain}
            assert mi.call("probe", "sip:example.org") == "OK"
            assert mi.call("cdrs", 2) == {"cdr": ["0", "1"]}
            assert mi.request("sub_rm", "bob").code == 404


@pytest.mark.parametrize("version", ["1.11", "2.4", "3.4"])
def test_the_script_of_the_contract_that_calls_runs_as_it_stands(directory: str, version: str) -> None:
    with FakeOpenSIPS(version) as opensips:
        opensips.usrloc.add("alice", "sip:alice@192.0.2.1")
        names: dict[str, Any] = {}
        opensips.server.command(lambda user, timeout: [user, timeout], name="sub_add")
        source = pages.Stand(directory, opensips).moved(script("sipmi.connect("))
        exec(compile(source, "contract: call", "exec"), names)
        assert names["reply"].code == 200
        assert isinstance(names["reply"].raw, bytes)
        assert names["reply"].value["Domains"][0]["AORs"]


def test_the_script_of_the_contract_about_fleets_runs_as_it_stands(directory: str) -> None:
    with FakeOpenSIPS("4.0") as opensips:
        names: dict[str, Any] = {"sipmi": sipmi}
        source = pages.Stand(directory, opensips).moved(script("sipmi.Fleet("))
        exec(compile(source, "contract: fleet", "exec"), names)
        assert sorted(names["result"].ok) == ["edge1", "edge2"]
        assert names["result"].failed == {}
        assert len(names["result"].to_frame()) > 0


def test_the_script_of_the_contract_about_affinity_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a captured machine, whose card, disk and interrupt are called otherwise."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    machine = str(hosts.build("612", tmp_path / "machine"))
    monkeypatch.setattr(affinity, "Host", lambda root=machine, host=affinity.Host: host(root=root))
    source = script("host.plan(")
    for named, here in {"p4p1": "eth1", "[30]": "[57]", "irq(30)": "irq(57)", '"sda"': '"sdb"'}.items():
        assert named in source
        source = source.replace(named, here)
    names: dict[str, Any] = {}
    exec(compile(source, "contract: affinity", "exec"), names)
    assert names["applied"].complete
    assert {item["kind"] for item in names["plan"].items} >= {"irq", "process"}
