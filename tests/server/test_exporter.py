"""Statistics of servers for Prometheus, as its client library writes them."""

from __future__ import annotations

import urllib.request
from typing import Optional

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import sipmi
from endpoints import PATIENCE
from sipmi.exporter import Collector
from sipmi.testing import FakeOpenSIPS

VERSIONS = ["1.11", "2.4", "3.2", "3.4", "3.6", "4.0"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_statistic_of_every_version_is_one_sample_with_labels(version: str) -> None:
    registry = CollectorRegistry()
    with FakeOpenSIPS(version) as opensips, opensips.connect("udp") as mi:
        opensips.statistics["core:rcv_requests"] = 7
        registry.register(Collector(mi, labels={"site": "eu"}))
        families = list(text_string_to_metric_families(prometheus_client.generate_latest(registry).decode()))
        names = list(mi.statistics())
        processes = {row["ID"]: row for row in mi.call("ps")["Processes"]}
    samples = [sample for family in families for sample in family.samples]
    assert len(samples) == len(names) + len(["up", "scrape_seconds"])
    assert all(sample.labels["site"] == "eu" for sample in samples)
    by_name = {sample.name: sample for sample in samples}
    assert by_name["opensips_core_rcv_requests_total"].value == 7
    assert by_name["opensips_shmem_total_size_bytes"].value == 64 << 20
    assert by_name["opensips_core_timestamp_seconds"].value >= 0
    assert by_name["opensips_usrloc_users"].labels == {"site": "eu", "domain": "location"}
    sizes = [sample for sample in samples if sample.name == "opensips_pkmem_total_size_bytes"]
    assert sizes
    for sample in sizes:
        row = processes[int(sample.labels["process"])]
        assert (sample.labels["pid"], sample.labels["type"]) == (str(row["PID"]), row["Type"])
    if version != "1.11":
        assert by_name["opensips_process_load1m_percent"].labels["pid"]
    else:
        assert by_name["opensips_socket_load_percent"].labels["socket"] in ("udp:127.0.0.1:5060", "tcp")


def test_a_fleet_has_a_label_for_its_nodes_and_those_that_are_down_say_so() -> None:
    registry = CollectorRegistry()
    server = sipmi.Server("billing")
    server.statistic("sub_adds").inc(3)
    server.listen("udp:127.0.0.1:0")
    with server, sipmi.Fleet({"edge1": server.addresses[0], "gone": "udp:127.0.0.1:1"}) as fleet:
        registry.register(Collector(fleet, "mi_datagram:", prefix="mi"))

        def value(name: str, node: str) -> Optional[float]:
            return registry.get_sample_value(name, {"node": node})

        assert (value("mi_up", "edge1"), value("mi_up", "gone")) == (1.0, 0.0)
        assert value("mi_mi_datagram_latency_seconds_total", "edge1") is not None
        assert value("mi_mi_datagram_requests_total", "gone") is None


def test_two_scrapes_within_a_second_ask_once() -> None:
    registry = CollectorRegistry()
    server = sipmi.Server("billing")
    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        registry.register(Collector(mi, "mi_datagram:requests"))
        seen = {registry.get_sample_value("opensips_mi_datagram_requests_total") for _ in range(5)}
    assert len(seen) == 1


def test_statistics_whose_names_become_the_same_are_not_mixed(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    with FakeOpenSIPS("4.0") as opensips, opensips.connect("udp") as mi:
        opensips.statistics.add("custom:a-b", 1)
        opensips.statistics.add("custom:a_b", 2)
        opensips.statistics.add("custom:a.b", 3, incremental=False)
        registry.register(Collector(mi, "custom:"))
        assert registry.get_sample_value("opensips_custom_a_b_total") == 1
    assert [record.args[0] for record in caplog.records if record.args] == ["custom:a_b", "custom:a.b"]


def test_prometheus_reads_it_over_http() -> None:
    registry = CollectorRegistry()
    with FakeOpenSIPS("2.4") as opensips, opensips.connect("http") as mi:
        registry.register(Collector(mi))
        server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=PATIENCE) as answer:
                text = answer.read().decode()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
    assert "\nopensips_up 1.0\n" in text
    assert "# TYPE opensips_core_rcv_requests_total counter\n" in text
