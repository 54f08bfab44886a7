"""The schema of servers of every version, as the client and completion see it."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

import sipmi
from sipmi import _core
from sipmi.testing import FakeOpenSIPS
from sipmi.testing.fake.names import COMMANDS, MODERN, VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transport", ["fifo", "udp", "unix", "http"])
def test_every_server_says_what_it_offers(version: str, transport: str) -> None:
    with FakeOpenSIPS(version, transports=[transport]) as opensips, opensips.connect(transport) as mi:
        if transport == "http" and version in ("1.11", "2.4"):
            mi = sipmi.connect(opensips.address("http").replace("/mi", "/json"))
        schema = mi.commands("ul_*")
        assert schema["ul_show_contact"].recipes == (("table_name", "aor"),)
        assert schema["usrloc:show_contact"] is schema["ul_show_contact"]
        assert schema["ul_rm"].module == "usrloc"
        assert [schema[name].read_only for name in ("ul_rm", "ul_dump")] == [False, True]
        assert schema.version == mi.version
        mi.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_parameters_of_every_command_are_known_and_names_reach_their_places(version: str) -> None:
    with FakeOpenSIPS(version) as opensips, opensips.connect() as mi:
        opensips.usrloc.add("alice@example.org", "sip:alice@192.0.2.1")
        schema = mi.commands(help=False)
        assert len(schema) == len(COMMANDS[version])
        unknown = [name for name, command in schema.items() if command.recipes is None]
        assert unknown == []
        shown = mi.call("ul_show_contact", aor="alice@example.org", table_name="location")
        assert shown == mi.call("ul_show_contact", "location", "alice@example.org")


@pytest.mark.parametrize("version", MODERN)
def test_tables_and_servers_that_tell_agree_on_what_changes_nothing(version: str) -> None:
    with FakeOpenSIPS(version) as opensips, opensips.connect() as mi:
        for name, command in mi.commands(help=False).items():
            if _core.is_read_only_command(name):
                assert not {"set", "add", "rm", "reset", "store", "remove"} & set(name.replace(":", "_").split("_")), (
                    name
                )
            assert command.flat_name in {_core.flat_command_name(known) for known in COMMANDS[version]}


def test_help_and_module_are_what_the_server_says() -> None:
    server = sipmi.Server("billing")

    @server.command
    def sub_add(user: str, credit: float = 0.0) -> None:
        """Add a subscriber."""

    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        command = mi.commands("sub_*")["sub_add"]
        assert command == sipmi.CommandSchema(
            "sub_add", "billing", (("user",), ("user", "credit")), "Add a subscriber."
        )
        assert command.to_dict()["read_only"] is False


def questions(opensips: FakeOpenSIPS) -> int:
    return int(opensips.server.call("get_statistics", ["mi_datagram:"])["mi_datagram:requests"])


def test_completion_lists_commands_once_and_fetches_help_on_demand() -> None:
    with FakeOpenSIPS("4.0", transports=["udp"]) as opensips, opensips.connect() as mi:
        assert mi.generation == "4.x"
        first = dir(mi.cmd)
        assert "show_contact" in first
        assert "usrloc:show_contact" in mi.cmd._ipython_key_completions_()
        assert dir(mi.cmd) == first
        # A moment later only what needs no question is known.
        unknown = mi.cmd["usrloc:add"]
        assert str(unknown.__signature__) == "(table_name, aor, contact, expires, q, flags, cflags, methods)"
        schema = mi.commands()
        assert mi.cmd["usrloc:show_contact"].schema is schema["usrloc:show_contact"]


def test_a_command_shows_its_parameters_and_help_as_a_function_does() -> None:
    with FakeOpenSIPS("3.6", transports=["udp"]) as opensips, opensips.connect() as mi:
        function: Any = mi.cmd.dlg_list
        assert str(inspect.signature(function)) == "(callid=None, from_tag=None, *, index=None, counter=None)"
        doc = inspect.getdoc(function) or ""
        assert doc.startswith("dlg_list(callid=None")
        assert doc.endswith("Module dialog; changes nothing.")
        assert mi.cmd.uptime()["Now"]


def test_completion_of_a_server_that_does_not_answer_is_quick_and_empty() -> None:
    with sipmi.connect("udp:127.0.0.1:1", timeout=0.2) as mi:
        assert dir(mi.cmd) == []
        assert str(inspect.signature(mi.cmd.ul_rm)) == "(table_name, aor)"
        assert str(inspect.signature(mi.cmd.nosuch)) == "(*args, **kwargs)"


def test_the_difference_of_two_versions_matches_renamed_commands() -> None:
    with FakeOpenSIPS("2.4") as old, FakeOpenSIPS("4.0") as new, old.connect() as ours, new.connect() as theirs:
        diff = ours.diff(theirs)
        assert diff
        assert diff.versions == ("2.4.11", "4.0.1")
        left = {command.name for command in diff.only_left}
        right = {command.name for command in diff.only_right}
        assert "dlg_list_sharing_tags" in left
        assert {"evi:raise", "mem:pkg_dump"} <= right
        renamed = {(a.name, b.name) for a, b in diff.renamed}
        assert ("cache_store", "cache:store") in renamed
        changed = {b.name: (a.recipes, b.recipes) for a, b in diff.changed}
        assert changed["dispatcher:list"][0] == ((), ("full",))
        text = str(diff)
        assert "+ evi:raise(event, params=None)" in text
        assert "OpenSIPS 2.4.11" in text.splitlines()[0]
        assert diff.to_dict()["renamed"][0][0]["name"] in schema_names(old)
        assert not ours.diff(ours.commands(help=False))


def schema_names(opensips: FakeOpenSIPS) -> set[str]:
    return set(COMMANDS[opensips.version])


def test_the_same_version_with_other_modules_differs_in_their_commands() -> None:
    with FakeOpenSIPS("3.6") as whole, FakeOpenSIPS("3.6", modules=["usrloc"]) as part:
        with whole.connect() as ours, part.connect() as theirs:
            diff = ours.diff(theirs)
        assert {command.module for command in diff.only_left} >= {"dialog", "dispatcher"}
        assert (diff.only_right, diff.changed, diff.renamed) == ((), (), ())


def test_async_callers_get_the_same_schema() -> None:
    async def ask(address: str, other: str) -> tuple[sipmi.Schema, sipmi.SchemaDiff]:
        async with sipmi.AsyncClient(address) as mi, sipmi.AsyncClient(other) as theirs:
            return await mi.commands("ul_*"), await mi.diff(theirs)

    with FakeOpenSIPS("2.4") as old, FakeOpenSIPS("4.0") as new, old.connect() as ours, new.connect() as theirs:
        schema, diff = asyncio.run(ask(old.address("udp"), new.address("udp")))
        assert dict(schema) == dict(ours.commands("ul_*"))
        assert str(diff) == str(ours.diff(theirs))
