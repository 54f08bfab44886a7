"""``FakeOpenSIPS``: an OpenSIPS for tests, with state, modules, events, and the faults of the original."""

from __future__ import annotations

import json
import os
import socket
import stat
import urllib.request
from collections.abc import Iterator

import pytest

import sipmi
from endpoints import DatagramPeer, FifoPeer
from sipmi.testing import FakeOpenSIPS
from sipmi.testing.fake.names import COMMANDS, VERSIONS

TRANSPORTS = ["fifo", "udp", "unix", "http"]


def fifo_of(fake: FakeOpenSIPS) -> FifoPeer:
    command, _, directory = fake.address("fifo").partition(":")[2].partition("?reply_dir=")
    return FifoPeer(command, directory)


def post(address: str, method: str, params: list[object]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", "Connection": "close"})
    with urllib.request.urlopen(request, timeout=5) as reply:
        return bytes(reply.read())


@pytest.mark.parametrize("version", VERSIONS)
def test_which_lists_the_commands_of_the_version_and_each_can_be_found(version: str) -> None:
    with FakeOpenSIPS(version) as fake, fake.connect() as mi:
        listed = mi.call("which")
        assert len(listed) == len(COMMANDS[version])
        assert all(fake.server.lookup(name) is not None for name in listed)
        assert all(fake.server.lookup(name) is not None for name in COMMANDS[version])


@pytest.mark.parametrize("version", ["3.2", "3.4", "3.6", "4.0"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_contact_is_added_on_one_transport_and_seen_on_another(version: str, transport: str) -> None:
    with FakeOpenSIPS(version) as fake:
        contact = ["location", "alice@h", "sip:alice@192.0.2.1", 60, "0.25", 0, "0", 0]
        if transport == "http":
            assert b'"result":"OK"' in post(fake.address("http"), "ul_add", contact)
        else:
            with fake.connect(transport) as mi:
                mi.call("ul_add", *contact)
        with fake.connect("unix") as mi:
            shown = mi.call("ul_show_contact", "location", "alice@h")
        assert shown["AOR"] == ("alice@h" if version == "4.0" else "alice")
        assert [(c["Contact"], c["Q"]) for c in shown["Contacts"]] == [("sip:alice@192.0.2.1", "0.25")]
        assert [user.aor for user in fake.usrloc.users()] == [shown["AOR"]]


def test_contacts_and_cached_values_expire() -> None:
    with FakeOpenSIPS("2.4") as fake, fake.connect() as mi:
        contact = fake.usrloc.add("alice", "sip:alice@192.0.2.1")
        contact.expires_at -= 3601
        with pytest.raises(sipmi.Fault, match="AOR not found"):
            mi.call("ul_show_contact", "location", "alice")
        assert fake.statistics["usrloc:location-expires"] == 1
        fake.cache.store("key", "value", expire=-1)
        assert fake.cache.keys() == []


def test_modules_that_are_not_loaded_are_not_available() -> None:
    with FakeOpenSIPS("4.0", modules=["usrloc"]) as fake, fake.connect() as mi:
        mi.call("ul_dump")
        for name in ("dlg_list", "dispatcher:list", "rl_list", "t_uac_dlg"):
            with pytest.raises(sipmi.MethodNotFound):
                mi.call(name)
        assert "E_DLG_STATE_CHANGED" not in fake.events.names
        assert not any(name.startswith("dialog:") for name in mi.call("get_statistics", ["all"]))


def test_without_a_cache_in_memory_the_cache_commands_fail() -> None:
    with FakeOpenSIPS("3.6", modules=[]) as fake, fake.connect() as mi, pytest.raises(sipmi.Fault, match="failed"):
        mi.call("cache_store", "local", "key", "value")


def test_a_bare_name_of_two_modules_is_ambiguous_in_4_0() -> None:
    with FakeOpenSIPS("4.0") as fake, fake.connect() as mi:
        with pytest.raises(sipmi.AmbiguousMethod, match="usrloc:dump, db_text:dump"):
            mi.call("dump")
        assert mi.call("usrloc:dump") == mi.call("ul_dump")
        assert mi.call("which", "cache:") == ["cache:store", "cache:fetch", "cache:remove"]
        assert mi.call("which", "dlg_list") == [[], ["callid"], ["callid", "from_tag"], ["index", "counter"]]


def test_dialogs_are_listed_paged_and_ended() -> None:
    with FakeOpenSIPS("3.4") as fake, fake.connect() as mi:
        for number in range(3):
            fake.dialog.add(f"call-{number}@h")
        assert mi.call("dlg_list", index=1, counter=1)["count"] == 3
        one = mi.call("dlg_list", callid="call-1@h")["Dialog"]
        mi.call("dlg_end_dlg", one["ID"])
        assert sorted(call.callid for call in fake.dialog.calls) == ["call-0@h", "call-2@h"]
        assert fake.statistics["dialog:active_dialogs"] == 2


def test_a_gateway_changes_its_state() -> None:
    with FakeOpenSIPS("1.11") as fake, fake.connect("fifo") as mi:
        gateway = fake.dispatcher.add(1, "sip:192.0.2.1")
        mi.call("ds_set_state", "i", "1", "sip:192.0.2.1")
        assert gateway.state == "Inactive"
        with pytest.raises(sipmi.Fault, match="destination not found"):
            mi.call("ds_set_state", "i", "2", "sip:192.0.2.1")


@pytest.fixture
def subscriber() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5)
        yield listening


def test_a_new_contact_raises_events_and_an_ended_subscription_none(subscriber: socket.socket) -> None:
    address = f"udp:127.0.0.1:{subscriber.getsockname()[1]}"
    with FakeOpenSIPS("4.0") as fake, fake.connect() as mi:
        for event in ("E_UL_AOR_INSERT", "E_UL_CONTACT_INSERT"):
            mi.call("event_subscribe", event, address, 60)
        fake.usrloc.add("bob@h", "sip:bob@192.0.2.1")
        assert b'"method":"E_UL_AOR_INSERT","params":{"domain":"location","aor":"bob@h"}' in subscriber.recv(9999)
        assert b'"uri":"sip:bob@192.0.2.1"' in subscriber.recv(9999)
        for event in ("E_UL_AOR_INSERT", "E_UL_CONTACT_INSERT"):
            mi.call("event_subscribe", event, address, 0)
        fake.usrloc.add("carol@h", "sip:carol@192.0.2.1")
        assert fake.events.subscribers("E_UL_AOR_INSERT") == []
        with pytest.raises(sipmi.Fault, match="Bad parameter value"):
            mi.call("event_subscribe", "E_NO_SUCH", address)


def test_a_request_over_sip_is_answered_as_the_test_says() -> None:
    with FakeOpenSIPS("3.6") as fake, fake.connect() as mi:
        fake.tm.answers["OPTIONS"] = "200 OK"
        headers = "To: <sip:a@h>\r\nFrom: <sip:b@h>;tag=1\r\n"
        assert mi.call("t_uac_dlg", method="OPTIONS", ruri="sip:h", headers=headers)["Status"] == "200 OK"
        silent = mi.call("t_uac_dlg", method="INFO", ruri="sip:h", headers=headers)
        assert silent == {"Status": "408 Request Timeout"}
        assert fake.statistics["tm:UAC_transactions"] == 2


@pytest.mark.parametrize("wrong", [{"version": "2.0"}, {"modules": ["nosuch"]}, {"transports": ["tcp"]}])
def test_unknown_versions_and_modules_are_rejected(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected a"):
        FakeOpenSIPS(**wrong)  # type: ignore[arg-type]


def test_it_can_be_stopped_twice_and_leaves_nothing() -> None:
    fake = FakeOpenSIPS("2.4")
    fake.start()
    directory = os.path.dirname(fake.address("unix").partition(":")[2])
    fake.stop()
    fake.stop()
    assert not os.path.exists(directory)


def test_kill_ends_it() -> None:
    with FakeOpenSIPS("3.4") as fake, fake.connect() as mi:
        mi.call("kill")
        await_end(fake)


# -- hazards ----------------------------------------------------------------------------------------------


def await_end(fake: FakeOpenSIPS) -> None:
    while fake.server.is_running:
        os.sched_yield()


def test_hazards_need_a_version() -> None:
    with pytest.raises(ValueError, match="emulate"):
        sipmi.Server("x", hazards=True)


def test_a_server_that_crashes_leaves_its_files_without_a_reader() -> None:
    with FakeOpenSIPS("4.0", hazards=True) as fake:
        fifo, unix = (fake.address(t).partition(":")[2].partition("?")[0] for t in ("fifo", "unix"))
        fifo_of(fake).write(b"::42")
        await_end(fake)
        assert stat.S_ISFIFO(os.stat(fifo).st_mode)
        with pytest.raises(OSError, match="No such device or address"):
            os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client, pytest.raises(ConnectionRefusedError):
            client.connect(unix)


def test_the_same_bytes_do_no_harm_without_hazards() -> None:
    with FakeOpenSIPS("4.0") as fake:
        for request in (b"42", b"[]", b'{"jsonrpc":"2.0","id":1}'):
            peer = DatagramPeer(fake.address("udp"))
            assert b"-32600" in (peer.exchange(request) or b"")
            peer.close()
        assert fake.server.is_running


def test_a_client_that_does_not_read_its_reply_delays_other_clients() -> None:
    with FakeOpenSIPS("3.4", hazards=True) as fake:
        for number in range(400):
            fake.usrloc.add(f"user{number}", f"sip:{number}@192.0.2.1")
        peer = fifo_of(fake)
        name = peer.make_reply()
        path = os.path.join(peer.reply_dir, name)
        stalled = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        peer.write(b':%s:{"jsonrpc":"2.0","method":"ul_dump","id":1}' % name.encode())

        def ask(reply: str) -> bytes:
            return b':%s:{"jsonrpc":"2.0","method":"version","id":1}' % reply.encode()

        assert peer.exchange(ask, silence=0.5) is None
        os.close(stalled)
        assert b"3.4.18" in (peer.exchange(ask) or b"")
        os.unlink(path)


def test_a_reader_that_comes_in_time_is_served_and_a_late_one_is_not() -> None:
    with FakeOpenSIPS("2.4", hazards=True) as fake:
        peer = fifo_of(fake)
        name = peer.make_reply()
        peer.write(b":version:%s\n\n" % name.encode())
        with open(os.path.join(peer.reply_dir, name), "rb") as reply:  # blocks until the server opens it
            assert reply.read().startswith(b"200 OK\nServer:: ")
