"""How things look in a notebook: what the HTML says, that nothing in it is believed, that charts follow a server."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import sipmi
from affinity_fixtures import hosts
from sipmi.affinity import CpuSet, Host
from sipmi.display import bundle, chart, html
from sipmi.testing import FakeOpenSIPS, LiveServer


class Page(HTMLParser):
    """The text of a page and its tags; every tag that is opened is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.resources: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.resources += [value for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + " "


def page(thing: Any) -> Page:
    """Return the HTML that a notebook gets from an object's display hook."""
    shown = Page(thing._repr_html_())
    assert shown.resources == []
    assert "script" not in shown.tags
    return shown


@pytest.fixture
def machine(tmp_path: Path) -> Host:
    return Host(root=str(hosts.build("612", tmp_path / "machine")))


def test_nothing_that_a_server_says_becomes_a_tag() -> None:
    evil = '<script>alert("&")</script>'
    tree = sipmi.Tree(500, evil)
    tree.add_child(evil, evil).add_attr(evil, evil).add_child("bytes", evil.encode() + b"\xff")
    assert page(tree).text.count(evil) == 7
    with LiveServer(transports=["udp"]) as server:

        @server.command(name="evil")
        def _evil() -> dict:
            return {evil: evil}

        with server.connect() as mi:
            assert page(mi.request("evil")).text.count(evil) == 2


def test_a_reply_shows_its_server_its_command_and_its_wire() -> None:
    with FakeOpenSIPS("2.4") as opensips, opensips.connect("udp") as mi:
        text = page(mi.request("nosuch")).text
        assert "500 command not available" in text
        assert mi.address in text
        assert "as it came" in text


def test_a_large_tree_is_shown_in_part_and_says_how_much_is_left() -> None:
    tree = sipmi.Tree()
    domain = tree.add_child("Domain", "x")
    for number in range(5000):
        domain.add_child("AOR", str(number))
    shown = tree._repr_html_()
    assert "4,801 more nodes" in shown
    assert len(shown) < 40_000


def test_a_fleet_result_is_a_table_of_nodes_with_replies_and_errors(directory: str) -> None:
    with FakeOpenSIPS("2.4") as opensips:
        nodes = {"<edge1>": opensips.address("udp"), "edge2": f"unix:{directory}/missing.sock"}
        with sipmi.Fleet(nodes, timeout=2.0) as fleet:
            shown = page(fleet.call("get_statistics", ["drop_requests"]))
    assert shown.tags.count("tr") == 3
    for said in ("1 of 2 ok", "<edge1>", "core:drop_requests=", "TransportError", "missing.sock"):
        assert said in shown.text


def test_cpus_are_boxes_with_the_list_and_the_mask_beside() -> None:
    shown = page(CpuSet("0-3,8"))
    assert shown.tags.count("span") >= 16
    assert "0-3,8" in shown.text
    assert "10f" in shown.text
    assert "no CPU" in page(CpuSet()).text


def test_a_table_of_interrupts_is_a_heat_map_of_cpus(machine: Host) -> None:
    table = machine.interrupts()
    shown = table._repr_html_()
    assert page(table).tags.count("tr") == 1 + sum(1 for row in table.rows if row.total)
    assert "rgba(240,120,30" in shown
    for row in table.rows:
        assert not row.total or f">{row.label}<" in shown


def test_a_topology_and_a_plan_are_drawn(machine: Host) -> None:
    text = page(machine.topology()).text
    assert text.count("package") == 2
    assert "last-level cache 0-3" in text
    plan = machine.plan(device="eth1", process="opensips", cpus="2-3")
    shown = page(plan)
    assert shown.tags.count("tr") == len(plan.items) + 1
    assert "eth1 (e1000e)" in shown.text
    assert "nothing has changed yet" in shown.text


def test_plain_text_is_shown_where_html_is_not(machine: Host) -> None:
    plan = machine.plan(device="eth1", cpus="2-3")
    assert bundle(plan)["text/plain"] == str(plan)
    with pytest.raises(TypeError, match=r"expected one of Tree, Node, Reply, .* found int"):
        html(3)


def test_a_chart_has_lines_for_changing_values_and_notes_for_constant_ones() -> None:
    with FakeOpenSIPS("4.0") as opensips, opensips.connect("udp") as mi:
        opensips.statistics["core:rcv_requests"] = 7
        drawn = chart(mi.watch(["core:"], count=1)).run()
        svg = drawn.svg()
    text = " ".join(ET.fromstring(svg).itertext())
    assert opensips.version == "4.0"
    assert "10 are 0 all the time" in text
    assert mi.address in text
    Page(drawn.html())


def test_a_chart_of_a_server_that_is_gone_says_so(directory: str) -> None:
    with sipmi.connect(f"unix:{directory}/missing.sock") as mi:
        drawn = chart(mi.watch(["core:"], count=1)).run()
        assert "no answer: TransportError" in drawn.html()


def test_a_chart_runs_in_the_background_pauses_and_stops() -> None:
    with FakeOpenSIPS("4.0") as opensips, opensips.connect("udp") as mi:
        drawn = chart(mi.watch(["core:rcv_requests"], interval=60.0), title="the proxy").start()
        drawn.pause()
        drawn.stop()
        assert drawn.wait(5.0)
        assert "the proxy" in drawn.html()
        assert repr(drawn) == f"<Chart of {mi.address}: 1 sample>"
        # One of the same takes its place.
        first = chart(mi.watch(["core:rcv_requests"], count=100)).start()
        second = chart(mi.watch(["core:rcv_requests"], count=100)).start()
        assert first.wait(5.0)
        second.stop()
        assert second.wait(5.0)


def test_a_chart_of_interrupts_has_a_cell_for_each_cpu() -> None:
    host = Host()
    watch = host.watch_interrupts(interval=0.05, count=2)
    drawn = chart(watch).run()
    svg = ET.fromstring(drawn.svg())
    cells = [element for element in svg.iter("{http://www.w3.org/2000/svg}rect") if element.get("height") == "20"]
    assert cells
    assert len(cells) % len(host.topology().online) == 0
    assert "interrupts of all" in repr(watch)


def test_a_watch_of_interrupts_gives_rates_of_the_rows_that_were_asked_for(machine: Host) -> None:
    (sample,) = machine.watch_interrupts(device="eth1", interval=0.01, count=1)
    assert {name for _, name in sample.rates} == {"eth1", "eth1-rx-0", "eth1-tx-0"}
    assert all(len(rates) == len(sample.cpus) for rates in sample.per_cpu.values())
    with pytest.raises(LookupError):
        machine.watch_interrupts(device="nosuch0")


def test_outside_of_a_notebook_a_watch_has_a_plain_repr(capsys: pytest.CaptureFixture[str]) -> None:
    with sipmi.connect("udp:127.0.0.1:9") as mi:
        mi.watch(["core:"])._ipython_display_()
    assert re.match(r"<Chart of udp:127.0.0.1:9: 0 samples>", capsys.readouterr().out)


def test_nodes_are_counted_by_their_names() -> None:
    tree = sipmi.Tree()
    domain = tree.add_child("Domain", "location")
    for number in range(23):
        domain.add_child("AOR", str(number)).add_child("Contact", "sip:a@192.0.2.1").add_attr("Q", "")
    assert "1 domain, 23 AORs" in page(tree).text
    assert "(23 AORs, 23 contacts)" in page(tree).text
    assert "23 AORs" in page(domain).text
    many = sipmi.Tree.from_value({f"name {number}": [1, 2] for number in range(100)})
    assert "and 96 more names" in page(many).text
    with FakeOpenSIPS("4.0") as opensips, opensips.connect() as mi:
        for number in range(2):
            mi.call("ul_add", "location", f"user{number}@example.org", f"sip:u{number}@192.0.2.1", 60, "0.5", 0, 0, 0)
        assert "1 domain, 2 AORs" in page(mi.request("ul_dump")).text


def test_results_of_calls_show_themselves_as_tables() -> None:
    with FakeOpenSIPS("2.4") as old, FakeOpenSIPS("4.0") as new, old.connect() as ours, new.connect() as theirs:
        first = theirs.statistics("core:")
        change = theirs.statistics("core:") - first
        schema, diff = theirs.commands("*_statistics"), ours.diff(theirs)
        diagnosis = sipmi.doctor(theirs.address)
        for thing, words in [
            (first, ["core:rcv_requests", "counter", theirs.address]),
            (change, ["core:rcv_requests", "per second", "+0"]),
            (schema, ["statistics:get(statistics)", "read"]),
            (diff, ["only right", "evi:raise(event, params=None)", "OpenSIPS 2.4.11"]),
            (diagnosis, ["finding", diagnosis.findings[0].text]),
        ]:
            shown = page(thing)
            assert "table" in shown.tags
            assert [word for word in words if word not in shown.text] == [], (thing, shown.text)


def test_a_chart_has_axes_with_units() -> None:
    with FakeOpenSIPS("4.0") as opensips, opensips.connect() as mi:
        samples = [*mi.watch(["shmem:used_size", "core:rcv_requests"], count=2)]
    drawn = chart(mi.watch(["shmem:"], count=1))
    for sample in samples:
        drawn._take(sample)
    texts = [text.strip() for text in ET.fromstring(drawn.svg()).itertext() if text.strip()]
    assert texts[-2:] == ["1 s ago", "now"]
    assert any(text.endswith("B") and text[0].isdigit() for text in texts), texts
    assert any(text.endswith("/s") for text in texts), texts
