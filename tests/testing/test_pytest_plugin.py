"""The pytest plugin: tests that use it are run by pytest itself, against servers on real sockets."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import trustme

import sipmi
from sipmi.testing import Cassette, FakeOpenSIPS

pytest_plugins = ["pytester"]

#: Plugins that are installed and not needed; each would be imported again for each run.
OTHERS = ("cacheprovider", "anyio", "hypothesispytest", "timeout", "xdist", "asyncio")
TRANSPORTS = ("fifo", "udp", "unix", "http")


def without(*wanted: str) -> list[str]:
    """The options that leave out what is not needed."""
    return [word for name in OTHERS if name not in wanted for word in ("-p", f"no:{name}")]


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Runs the text of a test file, with warnings as errors."""

    def run_file(source: str, *args: str, plugin: str = "") -> pytest.RunResult:
        pytester.path.joinpath("test_it.py").write_text(source)
        return pytester.runpytest("-W", "error", "--strict-markers", "-q", *without(plugin), *args)

    return run_file


# -- servers of the test's own ------------------------------------------------------------------------


def test_a_server_takes_commands_while_it_runs_and_answers_on_every_transport(run) -> None:
    result = run(
        """
        def test_it(mi_server):
            @mi_server.command
            def credit(user: str) -> float:
                return 2.5
            for transport in ("fifo", "udp", "unix", "http"):
                with mi_server.connect(transport) as mi:
                    assert mi.call("credit", "alice") == 2.5
            assert len(mi_server.addresses) == 4
    """.replace("\n        ", "\n")
    )
    result.assert_outcomes(passed=1)


def test_a_marker_can_set_the_options_of_the_fake_server(run) -> None:
    result = run("""
import pytest

@pytest.mark.mi_server("billing", version="1.4", transports=["udp"], listen={"read_only": True})
def test_it(mi_server, mi_client):
    @mi_server.command
    def sub_rm(user: str) -> None: ...
    assert [address[:4] for address in mi_server.addresses] == ["udp:"]
    assert "billing 1.4" in mi_client.call("version")["Server"]
    assert mi_client.request("sub_rm", "alice").reason == "Server error"
    assert mi_client.call("which", "sub_rm")
""")
    result.assert_outcomes(passed=1)


def test_a_client_goes_over_each_transport_that_is_marked(run) -> None:
    result = run("""
import pytest

@pytest.mark.mi_transport("fifo", "udp", "unix", "http")
def test_it(mi_client):
    assert mi_client.call("which", "uptime") == [[]]
    print(mi_client.address)
""", "-s")  # fmt: skip
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random([f"*{transport}:*" for transport in TRANSPORTS])


def test_servers_of_a_factory_are_stopped_after_the_test(run) -> None:
    result = run("""
made = []

def test_two(mi_server_factory):
    made.extend([mi_server_factory("one"), mi_server_factory("two", emulate="2.4", transports=["unix"])])
    assert all(server.is_running for server in made)
    assert not set(made[0].addresses) & set(made[1].addresses)

def test_they_are_gone():
    import os
    assert not any(server.is_running for server in made)
    assert not any(os.path.exists(server._directory.name) for server in made)
""")
    result.assert_outcomes(passed=2)


def test_a_fake_is_of_each_version_that_is_marked(run) -> None:
    result = run("""
import pytest

@pytest.mark.fake_opensips("1.11", "2.4", "4.0", modules=["usrloc"])
def test_marked(fake_opensips):
    fake_opensips.usrloc.add("alice@example.org", "sip:alice@192.0.2.1")
    with fake_opensips.connect("udp") as mi:
        assert mi.version.startswith(fake_opensips.version)
        assert mi.generation == fake_opensips.version[0] + ".x"

@pytest.mark.parametrize("fake_opensips", ["3.2", "3.4"], indirect=True)
def test_parametrised(fake_opensips):
    assert fake_opensips.version.startswith("3.")

def test_by_default(fake_opensips):
    assert fake_opensips.version == "4.0"
""")
    result.assert_outcomes(passed=6)


# -- the live server ----------------------------------------------------------------------------------

LIVE = """
def test_it(mi):
    assert mi.call("get_statistics", ["drop_requests"]) == {"core:drop_requests": 7}
"""


def test_a_test_of_a_live_server_is_skipped_with_the_reason_when_there_is_none(run) -> None:
    result = run(LIVE, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*no live server: give --mi-address, or @pytest.mark.mi(address)"])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_live_server_is_called_at_the_address_that_is_given(run, transport: str) -> None:
    with FakeOpenSIPS("4.0") as opensips:
        opensips.statistics["core:drop_requests"] = 7
        result = run(LIVE, "--mi-address", opensips.address(transport), "--mi-timeout", "4")
    result.assert_outcomes(passed=1)


def test_the_marker_and_the_ini_file_name_a_live_server_too(run, pytester: pytest.Pytester) -> None:
    marked = "import pytest\n@pytest.mark.mi(ADDRESS, timeout=3.0)" + LIVE + "    assert mi.timeout == 3.0\n"
    with FakeOpenSIPS("2.4") as opensips:
        opensips.statistics["core:drop_requests"] = 7
        run(marked.replace("ADDRESS", repr(opensips.address("udp")))).assert_outcomes(passed=1)
        pytester.makeini(f"[pytest]\nmi_address = {opensips.address('unix')}\n")
        run(LIVE).assert_outcomes(passed=1)


def test_credentials_come_from_the_environment_and_are_not_shown(run, monkeypatch: pytest.MonkeyPatch) -> None:
    server = sipmi.Server("guarded")
    server.listen("http://127.0.0.1:0", auth={"ann": "hunter2"})
    test = "def test_it(mi):\n    assert mi.call('which', 'uptime') == [[]]\n"
    with server:
        (address,) = server.addresses
        monkeypatch.setenv("SIPMI_AUTH", "ann:hunter2")
        run(test, "--mi-address", address).assert_outcomes(passed=1)
        monkeypatch.delenv("SIPMI_AUTH")
        shown = run(test, "-v", "--mi-address", address.replace("//", "//ann:hunter2@"))
    shown.assert_outcomes(passed=1)
    shown.stdout.no_fnmatch_line("*hunter2*")


# -- recorded traffic ---------------------------------------------------------------------------------

RECORDED = """
import os
import sipmi

def test_it(mi_cassette):
    mi_cassette.volatile("core:*")
    with sipmi.connect(mi_cassette.through(os.environ.get("UPSTREAM"))) as mi:
        assert mi.version == {version!r}
        assert mi.call("get_statistics", ["drop_requests"]).keys() == {{"core:drop_requests"}}
        assert "Now" in mi.call("uptime")
        assert mi.request("nosuch").ok is False
        assert mi.call("cache_store", "local", "password", "x y") == "OK"
"""


def tape(pytester: pytest.Pytester, name: str = "test_it") -> Path:
    return pytester.path / "cassettes" / "test_it" / f"{name}.mi"


@pytest.mark.parametrize(
    ("version", "transport"),
    [("2.4", "fifo"), ("2.4", "udp"), ("2.4", "http"), ("4.0", "fifo"), ("4.0", "unix"), ("4.0", "http")],
)
def test_traffic_is_recorded_once_and_replayed_without_the_server(
    run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, version: str, transport: str
) -> None:
    with FakeOpenSIPS(version) as opensips:
        monkeypatch.setenv("UPSTREAM", opensips.address(transport))
        with opensips.connect(transport) as mi:
            source = RECORDED.format(version=mi.version)
        run(source).assert_outcomes(passed=1)
    written = tape(pytester).read_bytes()
    assert b"Thu Jan  1 00:00:00 1970" in written
    monkeypatch.delenv("UPSTREAM")
    run(source, "--mi-record", "none").assert_outcomes(passed=1)
    assert tape(pytester).read_bytes() == written
    # Recorded again from another server at another time and place, it is the same file.
    with FakeOpenSIPS(version) as opensips:
        opensips.statistics["core:drop_requests"] = 12
        monkeypatch.setenv("UPSTREAM", opensips.address(transport))
        again = run(source, "--mi-record", "all")
    again.assert_outcomes(passed=1)
    again.stdout.no_fnmatch_line("*recorded anew*")
    assert tape(pytester).read_bytes() == written


def test_a_recording_is_read_by_people(run, pytester: pytest.Pytester) -> None:
    with FakeOpenSIPS("2.4") as opensips:
        test = """
def test_it(mi_cassette):
    with mi_cassette.connect(wire="text") as mi:
        mi.call("ul_add", "location", "alice", "sip:alice@192.0.2.1", 3600, "0.5", 0, 0, 0, 0)
        mi.call("cache_store", "local", "key", "top secret")
"""
        secret = test.replace("    with", "    mi_cassette.secret_text('top secret')\n    with")
        run(secret, "--mi-address", opensips.address("udp")).assert_outcomes(passed=1)
    assert tape(pytester).read_text() == (
        "sipmi cassette 1\ntrack 1: udp\n\n"
        "--- 1\n> :ul_add:\n> location\n> alice\n> sip:alice@192.0.2.1\n> 3600\n> 0.5\n> 0\n> 0\n> 0\n> 0\n>\n"
        "< 200 OK\n<\n<\n\n"
        "--- 1\n> :cache_store:\n> local\n> key\n> ***\n>\n< 200 OK\n<\n<\n"
    )


def test_a_request_that_was_not_recorded_fails_the_test_and_shows_the_nearest_one(
    run, pytester: pytest.Pytester
) -> None:
    test = """
import sipmi
def test_it(mi_cassette):
    with mi_cassette.connect(wire="jsonrpc") as mi:
        try:
            mi.call("get_statistics", ["{group}:"])
        except sipmi.Fault as fault:
            assert "not on the cassette" in str(fault)
"""
    with FakeOpenSIPS("4.0") as opensips:
        run(test.format(group="core"), "--mi-address", opensips.address("udp")).assert_outcomes(passed=1)
    result = run(test.format(group="tm"))
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_it.mi does not have what was asked", "*-*core:*", "*+*tm:*"])


def test_a_server_that_answers_otherwise_is_told_from_its_recording(
    run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = """
def test_it(mi_cassette):
    with mi_cassette.connect(wire="jsonrpc") as mi:
        mi.call("get_statistics", ["drop_requests"])
"""
    with FakeOpenSIPS("4.0") as opensips:
        address = opensips.address("udp")
        run(test, "--mi-address", address).assert_outcomes(passed=1)
        written = tape(pytester).read_bytes()
        run(test, "--mi-address", address, "--mi-record", "check").assert_outcomes(passed=1)
        opensips.statistics["core:drop_requests"] = 7
        told = ["changed: *get_statistics*", "-*core:drop_requests*0", "+*core:drop_requests*7"]
        checked = run(test, "--mi-address", address, "--mi-record", "check")
        checked.assert_outcomes(passed=1, errors=1)
        checked.stdout.fnmatch_lines(told)
        assert tape(pytester).read_bytes() == written
        anew = run(test, "--mi-address", address, "--mi-record", "all")
        anew.assert_outcomes(passed=1)
        anew.stdout.fnmatch_lines(["*recorded anew*", *told])
        assert tape(pytester).read_bytes() != written


def test_without_a_recording_and_a_server_a_test_is_skipped_or_fails_as_it_is_told(run) -> None:
    test = "def test_it(mi_cassette):\n    mi_cassette.connect()\n"
    skipped = run(test, "-rs")
    skipped.assert_outcomes(skipped=1)
    skipped.stdout.fnmatch_lines(["SKIPPED*nothing recorded in test_it.mi, and no live server: give --mi-address"])
    failed = run(test, "--mi-record", "none")
    failed.assert_outcomes(errors=1)
    failed.stdout.fnmatch_lines(["*no cassette at *test_it.mi: record it with*"])


def test_tests_of_the_same_name_have_recordings_of_their_own(run, pytester: pytest.Pytester) -> None:
    test = """
class Test{name}:
    def test_it(self, mi_cassette, fake_opensips):
        with mi_cassette.connect(fake_opensips.address("udp"), wire="jsonrpc") as mi:
            mi.call("{command}")
"""
    run(test.format(name="A", command="ps") + test.format(name="B", command="pwd")).assert_outcomes(passed=2)
    assert '"ps"' in tape(pytester, "TestA.test_it").read_text()
    assert '"pwd"' in tape(pytester, "TestB.test_it").read_text()


def test_a_server_with_tls_and_users_is_recorded_without_its_secrets(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    server = sipmi.Server("guarded")

    @server.command
    def login(user: str, password: str) -> dict:
        return {"user": user, "token": "t0k3n"}

    server.listen("https://127.0.0.1:0", tls=str(tmp_path / "server.pem"), auth={"ann": "hunter2"})
    said = {"user": "bob", "password": "swordfish"}
    with server:
        (address,) = server.addresses
        named = address.replace("//", "//ann:hunter2@")
        for called, options in ((named, {}), (address, {"auth": ("ann", "hunter2")})):
            tape_ = Cassette(tmp_path / "tape.mi", mode="all")
            with tape_, tape_.connect(called, cafile=tmp_path / "ca.pem", **options) as mi:
                assert mi.call("login", **said) == {"user": "bob", "token": "t0k3n"}
            assert tape_.differences == []
    written = (tmp_path / "tape.mi").read_text()
    assert not any(secret in written for secret in ("hunter2", "YW5uOmh1bnRlcjI", "swordfish", "t0k3n", "127.0.0.1"))
    with Cassette(tmp_path / "tape.mi") as tape_, tape_.connect() as mi:
        assert mi.call("login", user="bob", password="another") == {"user": "bob", "token": "***"}


def test_a_server_that_cannot_be_reached_leaves_no_recording(tmp_path: Path) -> None:
    with Cassette(tmp_path / "tape.mi") as tape_, tape_.connect(f"unix:{tmp_path}/missing.sock", timeout=2.0) as mi:
        with pytest.raises(sipmi.MiError, match="cannot be reached"):
            mi.call("uptime")
        assert tape_.differences[0].startswith("not reached: unix: ")
    assert not (tmp_path / "tape.mi").exists()


# -- waiting and telling ------------------------------------------------------------------------------


def test_eventually_asks_until_the_answer_comes(run) -> None:
    result = run("""
import threading
import pytest

def test_it(fake_opensips, eventually):
    with fake_opensips.connect("udp") as mi:
        threading.Timer(0.2, fake_opensips.usrloc.add, ("alice@example.org", "sip:alice@192.0.2.1")).start()
        found = eventually(lambda: mi.call("ul_show_contact", "location", "alice@example.org"))
        assert found["AOR"] == "alice@example.org"
        with pytest.raises(AssertionError, match="not within 0.1 s .* the last answer was .*404 AOR not found"):
            eventually(lambda: mi.call("ul_show_contact", "location", "bob@example.org"), within=0.1)
""")
    result.assert_outcomes(passed=1)


def test_trees_that_are_not_equal_are_told_apart_node_by_node(run) -> None:
    result = run("""
import sipmi
from sipmi.affinity import CpuSet

def tree(q):
    tree = sipmi.Tree(200, "OK")
    tree.add_child("Domain", "example.org").add_child("AOR", "alice").add_child("Contact", "sip:a@b").add_attr("Q", q)
    return tree

def test_trees(): assert tree("0.5") == tree(0.5)
def test_nodes(): assert tree(1).children[0] == tree(2).children[0]
def test_values(): assert tree(1) == {"Domain": "example.org"}
def test_cpus(): assert CpuSet("0-3") == CpuSet("2-5")
""")
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines([
        "E * left is -, right is +",
        "E *   AOR: \"alice\"",
        'E * -    Contact: "sip:a@b" Q="0.5"',
        'E * +    Contact: "sip:a@b" Q=0.5',
        'E * -    Contact: "sip:a@b" Q=1',
        "E * a Tree is never equal to a value: compare its .value",
        "E * CPUs 0-3 == 2-5",
        "E * only on the left: 0-1; only on the right: 4-5",
    ])  # fmt: skip


AWAITED = """
import pytest

{mark}
async def test_it(mi_server, mi_async_client, mi_async, eventually, {fixture}):
    answers = []

    @mi_server.command
    async def later() -> int:
        answers.append(1)
        return len(answers)

    assert await mi_async.generation == "4.x"
    assert await eventually(lambda: mi_async_client.call("later"), 3) == 3
    with pytest.raises(AssertionError, match="the last answer was 5, expected 3"):
        await eventually(lambda: mi_async_client.call("later"), 3, within=0)
"""


def test_fixtures_work_in_coroutines_of_pytest_asyncio(run) -> None:
    source = AWAITED.format(mark="@pytest.mark.asyncio", fixture="request")
    scope = "asyncio_default_fixture_loop_scope=function"
    with FakeOpenSIPS("4.0") as opensips:
        address = opensips.address("udp")
        run(source, "-o", scope, "--mi-address", address, plugin="asyncio").assert_outcomes(passed=1)


def test_fixtures_work_in_coroutines_of_anyio(run) -> None:
    backend = "@pytest.mark.parametrize('anyio_backend', ['asyncio'])\n@pytest.mark.anyio"
    source = AWAITED.format(mark=backend, fixture="anyio_backend")
    with FakeOpenSIPS("4.0") as opensips:
        run(source, "--mi-address", opensips.address("udp"), plugin="anyio").assert_outcomes(passed=1)


def test_without_such_plugins_a_test_runs_its_coroutines_itself(run) -> None:
    result = run("""
import asyncio
import pytest

@pytest.mark.mi_transport("fifo", "unix", "http")
def test_it(mi_async_client):
    async def ask():
        return await asyncio.gather(*(mi_async_client.call("which", "uptime") for _ in range(3)))

    assert asyncio.run(ask()) == [[[]]] * 3
""")
    result.assert_outcomes(passed=3)


# -- with others --------------------------------------------------------------------------------------


def test_tests_in_parallel_processes_do_not_meet(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("number", range(8))
        @pytest.mark.mi_transport("fifo", "udp")
        def test_it(mi_server, mi_client, number):
            mi_server.command(name="number")(lambda: number)
            assert mi_client.call("number") == number

        @pytest.mark.parametrize("number", range(4))
        def test_tape(mi_cassette, fake_opensips, number):
            with mi_cassette.connect(fake_opensips.address("udp")) as mi:
                assert mi.generation == "4.x"
    """)
    result = pytester.runpytest_subprocess("-W", "error", "-q", "-n", "2", *without("xdist"), timeout=50)
    result.assert_outcomes(passed=20)
    assert len(list(pytester.path.glob("cassettes/*/*.mi"))) == 4


def test_only_the_standard_library_and_pytest_are_imported_until_a_fixture_is_used(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("""
        import sys

        def test_it(request):
            assert request.config.pluginmanager.has_plugin("sipmi")
            own = {name for name in sys.modules if name.startswith("sipmi")}
            assert own == {"sipmi", "sipmi._core", "sipmi.errors", "sipmi.testing", "sipmi.testing.pytest_plugin"}
    """)
    result = pytester.runpytest_subprocess("-W", "error", "-q", *without(), timeout=50)
    result.assert_outcomes(passed=1)


def test_the_plugin_is_known_to_pytest_by_its_entry_point() -> None:
    if sys.version_info >= (3, 10):
        from importlib.metadata import entry_points

        (found,) = [point for point in entry_points(group="pytest11") if point.name == "sipmi"]
    else:
        from importlib.metadata import entry_points

        (found,) = [point for point in entry_points()["pytest11"] if point.name == "sipmi"]
    assert found.value == "sipmi.testing.pytest_plugin"


# -- the documentation --------------------------------------------------------------------------------

GUIDE = (Path(__file__).parents[2] / "docs" / "pytest.md").read_text()


def test_the_tests_of_the_guide_pass_and_their_recording_looks_as_it_says(run, pytester: pytest.Pytester) -> None:
    tests = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    recording = re.search(r"```\n(sipmi cassette 1\n.*?)```", GUIDE, re.DOTALL)
    assert recording is not None
    with FakeOpenSIPS("4.0") as opensips:
        result = run("\n\n".join(tests), "--mi-address", opensips.address("http"))
    result.assert_outcomes(passed=11)
    written = tape(pytester, "test_uptime").read_text()
    shown = recording.group(1)
    assert shown[shown.index("--- ") :] in written
