"""Values from replies as real servers write them, byte for byte: each server here answers from a script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Callable, Union

import pytest

import sipmi
from rogue import RogueDatagram

Script = dict[str, Union[str, Callable[[bytes], str]]]

OLD = {version: f"OpenSIPS ({version} (x86_64/linux))" for version in ("1.8.3", "1.9.1", "1.10.2", "1.11.11", "2.4.11")}
NEW = {version: f"OpenSIPS ({version} (x86_64/linux))" for version in ("3.0.1", "3.6.8", "4.0.1")}


@contextmanager
def server(version: str, script: Script) -> Iterator[tuple[sipmi.Client, RogueDatagram]]:
    """A client of a server of this version, which answers these commands over UDP and no others."""

    def text(request: bytes) -> Iterable[bytes]:
        if not request.startswith(b":"):
            return [b"500 command not available\n"]
        command = request[1:].split(b":", 1)[0].decode()
        answer = script.get(command, f"200 OK\nServer:: {OLD[version]}\n\n" if command == "version" else "")
        return [(answer(request) if callable(answer) else answer or "500 command not available\n").encode()]

    def modern(request: bytes) -> Iterable[bytes]:
        asked = json.loads(request)
        result = '"result":' + json.dumps({"Server": NEW[version]})
        answer = script.get(asked["method"], result if asked["method"] == "version" else "")
        body = answer(request) if callable(answer) else answer
        body = body or '"error":{"code":-32601,"message":"Method not found"}'
        return [f'{{"jsonrpc":"2.0",{body},"id":{json.dumps(asked["id"])}}}'.encode()]

    with RogueDatagram(text if version in OLD else modern) as rogue, sipmi.connect(rogue.address, timeout=5) as mi:
        yield mi, rogue


def value(version: str, command: str, answer: str, *args: Any, **kwargs: Any) -> Any:
    with server(version, {command: answer}) as (mi, _):
        return mi.call(command, *args, **kwargs)


def sent(version: str, command: str, *args: Any, **kwargs: Any) -> bytes:
    """The request for a call, as it arrived."""
    answer = "200 OK\n\n" if version in OLD else '"result":"OK"'
    with server(version, {command: answer}) as (mi, rogue):
        mi.request(command, *args, **kwargs)
        return rogue.requests[-1]


def params(version: str, command: str, *args: Any, **kwargs: Any) -> Any:
    return json.loads(sent(version, command, *args, **kwargs)).get("params")


# -- cache_fetch -------------------------------------------------------------------------------------------------


def test_a_cached_value_keeps_the_newlines_at_its_end_over_text() -> None:
    for stored in ("abc", "abc\n", "abc\n\n", "a\n\nb\n"):
        answer = f"200 OK\nkey:: vk\nvalue:: {stored}\n\n"
        assert value("2.4.11", "cache_fetch", answer, "local", "vk") == {"key": "vk", "value": stored}


def test_a_cached_value_that_the_server_left_out_is_an_error() -> None:
    for version, answer in (("2.4.11", "200 OK\nkey:: big\n\n"), ("1.11.11", "200 OK\n")):
        with pytest.raises(sipmi.Fault, match="over 2,047 bytes") as caught:
            value(version, "cache_fetch", answer, "local", "big")
        assert caught.value.code == 500


def test_value_not_found_is_a_fault_also_where_the_server_calls_it_a_success() -> None:
    for version, answer in (
        ("3.0.1", '"result":"Value not found"'),
        ("3.6.8", '"error":{"code":400,"message":"Value not found"}'),
        ("2.4.11", "200 OK\nValue not found\n\n"),
    ):
        with pytest.raises(sipmi.Fault, match="Value not found") as caught:
            value(version, "cache_fetch", answer, "local", "nothing")
        assert caught.value.code == 400


# -- statistics --------------------------------------------------------------------------------------------------


def test_statistics_that_no_version_knows_are_an_empty_object() -> None:
    assert value("1.11.11", "get_statistics", "404 Statistics Not Found\n", ["nope:"]) == {}
    assert value("2.4.11", "get_statistics", "404 Statistics Not Found\n\n", ["nope:"]) == {}
    assert value("4.0.1", "get_statistics", '"result":{}', ["nope:"]) == {}


def test_statistics_over_2_to_the_63_are_exact() -> None:
    free = 14028712839697682328
    old = f"200 OK\nshmem:free_size = {free}\n"
    assert value("1.10.2", "get_statistics", old, ["shmem:"]) == {"shmem:free_size": free}
    assert (
        value("2.4.11", "get_statistics", f"200 OK\nshmem:free_size:: {free}\n\n", ["shmem:"])["shmem:free_size"]
        == free
    )
    with server("4.0.1", {"get_statistics": f'"result":{{"shmem:free_size":{free}}}'}) as (mi, _):
        assert mi.call("get_statistics", ["shmem:"]) == {"shmem:free_size": free}
        assert int(mi.statistics("shmem:")["shmem:free_size"]) == free


def test_a_string_for_a_list_is_sent_as_a_list_of_one() -> None:
    assert params("4.0.1", "get_statistics", "core:") == [["core:"]]
    assert params("4.0.1", "get_statistics", statistics="core:") == {"statistics": ["core:"]}
    assert sent("2.4.11", "get_statistics", "core:") == b":get_statistics:\ncore:\n"


# -- parameters and replies that differ between versions ---------------------------------------------------------


def test_a_dump_is_brief_on_every_version_when_it_is_asked_to_be() -> None:
    for brief in (1, True, "brief"):
        assert sent("1.11.11", "ul_dump", brief) == b":ul_dump:\nbrief\n"
        assert params("3.6.8", "ul_dump", brief) == [1]


def test_ul_add_by_position_has_the_places_that_the_version_has() -> None:
    eight = ["location", "a@b", "sip:a@c", 60, "0.5", 1, 2, 3]
    nine = [*eight[:5], 0, *eight[5:]]
    for given in (eight, nine):
        assert sent("2.4.11", "ul_add", *given) == b":ul_add:\nlocation\na@b\nsip:a@c\n60\n0.5\n0\n1\n2\n3\n"
        assert params("4.0.1", "ul_add", *given) == eight


def test_dialogs_are_asked_for_by_position_where_only_names_are_taken() -> None:
    assert params("3.6.8", "dlg_list", "a@b") == {"callid": "a@b"}
    assert params("3.6.8", "dlg_list", "a@b", "t") == {"callid": "a@b", "from_tag": "t"}
    assert params("4.0.1", "dlg_list", 0, 10) == {"index": 0, "counter": 10}
    found = '"result":{"Dialog":{"ID":"1"}}'
    assert value("4.0.1", "dlg_list", found, "a@b") == {"Dialog": {"ID": "1"}}
    old = "200 OK\ndialog::  ID=1\n\tstate:: 4\n\n"
    found_old = {"Dialog": {"ID": "1", "db_id": "1", "state": 4, "CALLEES": []}}
    assert value("2.4.11", "dlg_list", old, "a@b") == found_old


def test_one_pipe_is_an_object_and_all_are_a_list() -> None:
    pipe = {"id": "p", "algorithm": "TAILDROP", "limit": 10, "counter": 0}
    old = "200 OK\nPIPE::  id=p algorithm=TAILDROP limit=10 counter=0\nPIPE::  drop_rate=7\n\n"
    assert value("2.4.11", "rl_list", old, "p") == {"Pipe": pipe, "drop_rate": 7}
    assert value("2.4.11", "rl_list", old) == {"Pipes": [pipe], "drop_rate": 7}
    assert params("3.6.8", "rl_list", "p") == {"pipe": "p"}


def test_the_log_level_of_one_process_is_told_alike_and_refused_where_it_would_be_that_of_all() -> None:
    assert value("2.4.11", "log_level", "200 OK\nNew log level:: 3\n\n", 3, 4711) == {"Log level": 3}
    assert value("4.0.1", "log_level", '"result":{"Log level":3}', 3, 4711) == {"Log level": 3}
    with server("1.11.11", {"debug": "200 OK\nNew global log level:: 3\n"}) as (mi, rogue):
        with pytest.raises(sipmi.RequestRefused, match="log level of one process"):
            mi.call("log_level", 3, 4711)
        assert mi.call("log_level", 3) == {"New global log level": 3}
    assert not [request for request in rogue.requests if b"4711" in request]


def test_contacts_that_are_synced_already_are_a_success() -> None:
    assert value("4.0.1", "ul_sync", '"error":{"code":200,"message":"Contacts already synced"}', "location") == "OK"
    assert value("2.4.11", "ul_sync", "200 Contacts already synced\n\n", "location") == "OK"


def test_a_permanent_contact_of_1_11_is_permanent() -> None:
    line = "<sip:a@b>;q=0.5;expires={};flags=0x0;cflags=0x0;socket=<NULL>;callid=<c>;methods=0x0;user_agent=<u>"
    expires = {-1796078267: "permanent", -3: "expired", 60: 60}
    for told, meant in expires.items():
        answer = f"200 OK\nContact:: {line.format(told)}\n"
        (contact,) = value("1.11.11", "ul_show_contact", answer, "location", "a")["Contacts"]
        assert contact["Expires"] == meant


def test_which_of_a_command_answers_its_parameters_before_3_0_too() -> None:
    names = "200 OK\nget_statistics\nwhich\ndp_reload\n\n"
    assert value("2.4.11", "which", names, "get_statistics") == [["statistics"]]
    assert value("2.4.11", "which", names, "statistics:get") == [["statistics"]]
    assert value("2.4.11", "which", names, "dp_reload") == []  # the version does not tell, and no table does
    assert value("2.4.11", "which", names) == ["get_statistics", "which", "dp_reload"]
    with pytest.raises(sipmi.Fault, match="unknown MI command") as caught:
        value("2.4.11", "which", names, "nosuch")
    assert caught.value.code == 404


# -- 1.4 to 1.10 -------------------------------------------------------------------------------------------------


def test_destinations_of_1_8_have_their_states_in_words() -> None:
    answer = "200 OK\nSET_NO:: 1\nSET:: 1\n\tURI:: sip:a@b flag=A\n\tURI:: sip:c@d flag=I\n\tURI:: sip:e@f flag=P\n"
    states = {"sip:a@b": "Active", "sip:c@d": "Inactive", "sip:e@f": "Probing"}
    destinations = [{"URI": uri, "state": state} for uri, state in states.items()]
    found = value("1.8.3", "ds_list", answer)
    assert found == {"PARTITIONS": [{"name": "default", "SETS": [{"id": 1, "Destinations": destinations}]}]}


def test_pipes_of_1_8_have_the_drop_rate_beside_them() -> None:
    answer = "200 OK\nPIPE::  id=gw1 algorithm=TAILDROP limit=20 counter=0\nDROP_RATE:: 3\n"
    pipe = {"id": "gw1", "algorithm": "TAILDROP", "limit": 20, "counter": 0}
    assert value("1.8.3", "rl_list", answer) == {"Pipes": [pipe], "drop_rate": 3}


def test_a_dialog_of_1_9_keeps_its_place_and_has_its_callee_in_the_list() -> None:
    answer = (
        "200 OK\ndialog::  hash=3212:2099935485\n\tstate:: 4\n\tcaller_tag:: a\n\tcallee_cseq:: 0\n"
        "\tcallee_tag:: b\n\tcallee_contact:: sip:b@c\n\tcaller_cseq:: 20\n\n"
    )
    callee = {"callee_tag": "b", "callee_contact": "sip:b@c", "caller_cseq": "20"}
    dialog = {"hash": "3212:2099935485", "state": 4, "caller_tag": "a", "callee_cseq": "0", "CALLEES": [callee]}
    assert value("1.9.1", "dlg_list", answer) == {"Dialogs": [dialog]}


def test_a_contact_of_1_9_has_its_flags_under_the_full_name() -> None:
    answer = "200 OK\nDomain:: location table=512 records=1\n\tAOR:: a\n\t\tContact:: sip:a@b Q=\n\t\t\tCflag:: 0\n\n"
    contact = {"Contact": "sip:a@b", "Q": "", "Cflags": ""}
    aors = [{"AOR": "a", "Contacts": [contact]}]
    found = value("1.9.1", "ul_dump", answer)
    assert found == {"Domains": [{"name": "location", "hash_size": 512, "AORs": aors}]}
