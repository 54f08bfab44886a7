"""The client whose calls are awaited: on every transport, on every kind of loop, cancelled and cut off."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import anyio
import pytest
import trustme
import uvloop
from jupyter_client.manager import start_new_kernel

import sipmi
from descriptors import descriptors
from rogue import RogueDatagram, RogueFifo, write_reply
from sipmi.testing import FakeOpenSIPS
from waiting import eventually_async

TRANSPORTS = ["fifo", "udp", "unix", "http", "https"]
VERSIONS = ["1.11", "2.4", "3.2", "3.4", "3.6", "4.0"]
#: Longer than all that a test does on a loaded machine.
PATIENCE = 20.0


def make_server() -> sipmi.Server:
    # Calls that were given up by their tests need not be waited for.
    server = sipmi.Server("billing", version="1.4", drain_timeout=0.2)

    @server.command
    def echo(value: str) -> str:
        """Say the same."""
        return value

    @server.command
    def fail(code: int, reason: str) -> None:
        raise sipmi.Fault(code, reason)

    @server.command
    async def wait(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "waited"

    return server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Files of an authority, and of a certificate of 127.0.0.1 with its key."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    paths = [str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem")]
    authority.cert_pem.write_to_path(paths[0])
    certificate.cert_chain_pems[0].write_to_path(paths[1])
    certificate.private_key_pem.write_to_path(paths[2])
    return paths[0], paths[1], paths[2]


@pytest.fixture
def endpoints(directory: str, certificates: tuple[str, str, str]) -> Iterator[dict[str, dict[str, Any]]]:
    """How to call a server on each transport."""
    cafile, cert, key = certificates
    server = make_server()
    server.listen(f"fifo:{directory}/mi_fifo", reply_dir=directory)
    server.listen("udp:127.0.0.1:0")
    server.listen(f"unix:{directory}/mi.sock")
    server.listen("http://127.0.0.1:0")
    server.listen("https://127.0.0.1:0", tls=(cert, key))
    with server:
        called = {address.partition(":")[0]: {"address": address} for address in server.addresses}
        called["https"]["cafile"] = cafile
        yield called


def dial(endpoint: dict[str, Any], **options: Any) -> sipmi.AsyncClient:
    options = {**endpoint, **options}
    return sipmi.AsyncClient(options.pop("address"), **options)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_method_is_awaited_on_every_transport(endpoints: dict[str, dict[str, Any]], transport: str) -> None:
    async def work() -> None:
        async with dial(endpoints[transport]) as mi:
            assert await mi.call("echo", "alice") == "alice"
            assert await mi.cmd.echo(value="bob") == "bob"
            reply = await mi.request("echo", "carol")
            assert (reply.ok, reply.code, reply.value) == (True, 200, "carol")
            assert (await mi.request_strings("echo", [("value", "dave")])).value == "dave"
            assert (await mi.generation, await mi.version, await mi.wire) == ("sipmi", sipmi.__version__, "jsonrpc")
            with pytest.raises(sipmi.Fault, match="404 Unknown user"):
                await mi.call("fail", 404, "Unknown user")
            assert (await mi.request("fail", 404, "Unknown user")).code == 404
            with pytest.raises(sipmi.MethodNotFound):
                await mi.call("nosuch")

    run(work())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transport", ["fifo", "udp", "unix", "http"])
def test_every_version_gives_async_callers_the_same_answers_as_sync_ones(version: str, transport: str) -> None:
    with FakeOpenSIPS(version) as fake:

        async def work() -> Any:
            async with sipmi.AsyncClient(fake.address(transport)) as mi:
                return [
                    (await mi.generation, await mi.version, await mi.wire),
                    await mi.call("get_statistics", ["core:"]),
                    await mi.call("which"),
                    (await mi.request("nosuch")).code,
                ]

        with fake.connect(transport) as mi:
            expected = [
                (mi.generation, mi.version, mi.wire),
                mi.call("get_statistics", ["core:"]),
                mi.call("which"),
                mi.request("nosuch").code,
            ]
        found = run(work())
        # Counters go on.
        assert list(found.pop(1)) == list(expected.pop(1))
        assert found == expected


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_of_many_calls_in_flight_gets_its_own_answer(endpoints: dict[str, dict[str, Any]], transport: str) -> None:
    count = 200 if transport in ("fifo", "https") else 2000

    async def work() -> None:
        async with dial(endpoints[transport], timeout=PATIENCE) as mi:
            values = [f"value {number}" for number in range(count)]
            assert await asyncio.gather(*[mi.call("echo", value) for value in values]) == values

    run(work())


def test_calls_to_many_servers_are_in_flight_at_once(endpoints: dict[str, dict[str, Any]]) -> None:
    async def work() -> None:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(dial(endpoint)) for endpoint in endpoints.values()]
            answers = await asyncio.gather(*[mi.call("wait", 0.2) for mi in clients for _ in range(4)])
            assert answers == ["waited"] * len(clients) * 4

    run(work())


def runners() -> dict[str, Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]]:
    def on_uvloop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        loop = uvloop.new_event_loop()
        try:
            return loop.run_until_complete(work())
        finally:
            loop.close()

    return {
        "asyncio.run": lambda work: asyncio.run(work()),
        "uvloop": on_uvloop,
        "anyio": lambda work: anyio.run(work),
        "anyio on uvloop": lambda work: anyio.run(work, backend_options={"use_uvloop": True}),
    }


@pytest.mark.parametrize("runner", list(runners()))
def test_it_works_on_every_kind_of_loop_again_and_again(endpoints: dict[str, dict[str, Any]], runner: str) -> None:
    for transport in TRANSPORTS:

        async def work(transport: str = transport) -> Any:
            with anyio.fail_after(PATIENCE) if runner.startswith("anyio") else contextlib.nullcontext():
                async with dial(endpoints[transport]) as mi:
                    return await asyncio.gather(*[mi.call("echo", str(number)) for number in range(10)])

        assert runners()[runner](work) == [str(number) for number in range(10)]


def test_one_client_may_be_used_on_one_loop_after_another(endpoints: dict[str, dict[str, Any]]) -> None:
    for transport in TRANSPORTS:
        mi = dial(endpoints[transport])
        for number in range(3):
            assert run(mi.call("echo", str(number))) == str(number)
        run(mi.close())


def test_sync_and_async_clients_work_side_by_side_on_many_threads(
    endpoints: dict[str, dict[str, Any]],
) -> None:
    failures: list[BaseException] = []

    def work(transport: str, number: int) -> None:
        try:

            async def calls() -> list[str]:
                async with dial(endpoints[transport]) as mi:
                    return await asyncio.gather(*[mi.call("echo", f"{number} {i}") for i in range(20)])

            assert asyncio.run(calls()) == [f"{number} {i}" for i in range(20)]
            options = dict(endpoints[transport])
            with sipmi.connect(options.pop("address"), **options) as mi:
                assert [mi.call("echo", f"{number} {i}") for i in range(20)] == [f"{number} {i}" for i in range(20)]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(transport, n)) for n, transport in enumerate(TRANSPORTS * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


async def settled() -> set[tuple[str, str]]:
    """Return the open descriptors once they no longer change."""
    seen = [descriptors()]
    while len(seen) < 10 or any(earlier != seen[-1] for earlier in seen[-10:]):
        await asyncio.sleep(0.01)
        seen.append(descriptors())
    return seen[-1]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_cancelled_call_leaves_nothing_behind(
    endpoints: dict[str, dict[str, Any]], transport: str, directory: str
) -> None:
    async def work() -> None:
        async with dial(endpoints[transport]) as mi:
            assert await mi.call("wait", 0.0) == "waited"
        await eventually_async(lambda: "sipmi_" not in str(os.listdir(directory)))
        # The server is in this process, too, and has a connection open until it sees that the client has closed it.
        open_before, files_before = await settled(), set(os.listdir(directory))
        async with dial(endpoints[transport], wire="jsonrpc") as mi:
            task = asyncio.create_task(mi.call("wait", 1.0))
            await asyncio.sleep(0.1)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert set(os.listdir(directory)) == files_before
            await eventually_async(lambda: descriptors() <= open_before)
            assert await mi.call("echo", "again") == "again"

    run(work())


def test_a_timeout_of_asyncio_ends_a_call(endpoints: dict[str, dict[str, Any]]) -> None:
    async def work() -> None:
        async with dial(endpoints["udp"]) as mi:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(mi.call("wait", 5.0), 0.1)
            assert await mi.call("echo", "after") == "after"

    run(work())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_call_without_an_answer_ends_at_its_deadline(endpoints: dict[str, dict[str, Any]], transport: str) -> None:
    async def work() -> None:
        async with dial(endpoints[transport]) as mi:
            await mi.wire
            loop = asyncio.get_running_loop()
            begin = loop.time()
            with pytest.raises(sipmi.CallTimeout, match=r"within 0\.2 s"):
                await mi.call("wait", 10.0, timeout=0.2)
            assert 0.19 <= loop.time() - begin < 5.0
            assert await mi.call("echo", "after") == "after"

    run(work())


def test_connect_async_rejects_invalid_options_at_once(directory: str) -> None:
    async def work() -> None:
        for address, expected in [
            (f"fifo:{directory}/none", "no such FIFO"),
            (f"unix:{directory}/none", "no such socket"),
            ("udp:127.0.0.1:1", "connection refused"),
            ("http://127.0.0.1:1/mi", "connection refused"),
        ]:
            async with sipmi.AsyncClient(address) as mi:
                with pytest.raises(sipmi.TransportError, match=expected):
                    await mi.call("uptime")
        async with sipmi.AsyncClient("udp:127.0.0.1:1", wire="text") as mi:
            with pytest.raises(sipmi.RequestRefused):
                await mi.call("bad name")
            with pytest.raises(ValueError, match="timeout"):
                await mi.call("uptime", timeout=0)
        with pytest.raises(sipmi.TransportError, match="closed"):
            await mi.call("uptime")

    run(work())


def test_a_host_name_is_resolved_while_other_calls_go_on(endpoints: dict[str, dict[str, Any]]) -> None:
    address = endpoints["http"]["address"].replace("127.0.0.1", "localhost")

    async def work() -> None:
        async with sipmi.AsyncClient(address) as named, dial(endpoints["udp"]) as mi:
            answers = await asyncio.gather(named.call("echo", "a"), *[mi.call("echo", "b") for _ in range(10)])
            assert answers == ["a"] + ["b"] * 10
        async with sipmi.AsyncClient("udp:no-such-host.invalid:1") as mi:
            with pytest.raises(sipmi.TransportError, match="host name"):
                await mi.call("uptime")

    run(work())


def test_a_late_answer_is_not_given_to_another_call() -> None:
    def answer(request: bytes) -> list[bytes]:
        return [] if b"slow" in request else [b"200 OK\nvalue:: " + request.split(b"\n")[1] + b"\n\n"]

    with RogueDatagram(answer) as rogue:

        async def work() -> None:
            async with sipmi.AsyncClient(rogue.address, wire="text") as mi:
                slow = asyncio.create_task(mi.call("slow", timeout=0.2))
                others = await asyncio.gather(*[mi.call("fast", str(number)) for number in range(20)])
                assert others == [{"value": str(number)} for number in range(20)]
                with pytest.raises(sipmi.CallTimeout):
                    await slow

        run(work())


def test_a_property_that_is_not_awaited_causes_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    mi = sipmi.AsyncClient("udp:127.0.0.1:1")
    assert repr(mi.generation) == "<to be awaited>"
    assert repr(mi) == "<AsyncClient udp:127.0.0.1:1>"
    gc.collect()
    assert not recwarn.list


def test_commands_complete_while_the_loop_runs(endpoints: dict[str, dict[str, Any]]) -> None:
    async def work() -> None:
        async with dial(endpoints["udp"]) as mi:
            assert {"echo", "fail", "which"} <= set(dir(mi.cmd))

    run(work())


#: Each must end by itself, soon, and leave no reply FIFO behind.
SCRIPTS = {
    "calls in flight at the end of the interpreter": """
        loop = asyncio.new_event_loop()
        mi = sipmi.AsyncClient(address)
        loop.run_until_complete(mi.call("echo", "x"))
        tasks = [loop.create_task(mi.call("wait", 30.0)) for _ in range(3)]
        loop.run_until_complete(asyncio.sleep(0.1))
        print("done")
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        """,
    "calls in flight when the loop is closed": """
        loop = asyncio.new_event_loop()
        mi = sipmi.AsyncClient(address)
        tasks = [loop.create_task(mi.call("wait", 30.0)) for _ in range(3)]
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        # The next loop lets go of what the closed one left.
        assert asyncio.run(mi.call("echo", "x")) == "x"
        asyncio.run(mi.close())
        assert not [name for name in os.listdir(directory) if name.startswith("sipmi_")]
        print("done")
        """,
    "asyncio.run cancels what is in flight": """
        async def main():
            mi = sipmi.AsyncClient(address)
            asyncio.get_running_loop().create_task(mi.call("wait", 30.0))
            await asyncio.sleep(0.1)
        asyncio.run(main())
        print("done")
        """,
    "a child after fork uses the client of its parent": """
        mi = sipmi.AsyncClient(address)
        async def main():
            return await asyncio.gather(*[mi.call("echo", str(i)) for i in range(5)])
        assert asyncio.run(main()) == list("01234")
        child = os.fork()
        assert asyncio.run(main()) == list("01234")
        if child == 0:
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        print("done")
        """,
    "a fork while calls are in flight": """
        async def main():
            mi = sipmi.AsyncClient(address)
            waiting = asyncio.create_task(mi.call("wait", 0.5))
            await asyncio.sleep(0.1)
            child = os.fork()
            if child == 0:
                # As multiprocessing does: a loop of its own, and the usual way out.
                asyncio._set_running_loop(None)
                assert asyncio.run(sipmi.AsyncClient(address).call("echo", "child")) == "child"
                sys.exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0, status
            assert await waiting == "waited"
            await mi.close()
            print("done")
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        asyncio.run(main())
        """,
}


@pytest.mark.parametrize("transport", ["fifo", "http"])
@pytest.mark.parametrize("script", list(SCRIPTS))
def test_no_call_hangs_and_no_descriptor_leaks(
    endpoints: dict[str, dict[str, Any]], script: str, transport: str, directory: str
) -> None:
    address = endpoints[transport]["address"]
    head = f"import asyncio, logging, os, sys, sipmi\naddress, directory = {address!r}, {directory!r}\n"
    before = {entry for entry in os.listdir(directory) if entry.startswith("sipmi_")}
    result = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(SCRIPTS[script])],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    left = {entry for entry in os.listdir(directory) if entry.startswith("sipmi_")}
    assert left - before == set()


def test_calls_through_a_fifo_are_written_one_at_a_time(directory: str) -> None:
    def answer(request: bytes, path: str) -> None:
        assert request.count(b"jsonrpc") == 1
        number = json.loads(request.partition(b"{")[1] + request.partition(b"{")[2])["id"]
        write_reply(path, json.dumps({"jsonrpc": "2.0", "result": number, "id": number}).encode())

    with RogueFifo(directory, answer) as rogue:

        async def work() -> None:
            async with sipmi.AsyncClient(rogue.address, wire="jsonrpc") as mi:
                numbers = sorted(await asyncio.gather(*[mi.call("x") for _ in range(20)]))
                assert numbers == list(range(numbers[0], numbers[0] + 20))

        run(work())
        assert len(rogue.requests) == 20


def test_it_works_in_the_running_loop_of_jupyter(endpoints: dict[str, dict[str, Any]]) -> None:
    cells = [
        "import asyncio, sipmi",
        f"mi = sipmi.AsyncClient({endpoints['udp']['address']!r})",
        "print(await mi.call('echo', 'from a cell'))",
        "print(await asyncio.gather(*[mi.call('echo', str(n)) for n in range(3)]), await mi.generation)",
        "print('echo' in dir(mi.cmd))",
        "await mi.close()",
    ]
    printed: list[str] = []

    def take(message: dict[str, Any]) -> None:
        content = message["content"]
        printed.append(content.get("text", "") + "".join(content.get("traceback", [])))

    manager, kernel = start_new_kernel(kernel_name="python3", startup_timeout=60)
    try:
        for cell in cells:
            kernel.execute_interactive(cell, output_hook=take, timeout=PATIENCE)
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "".join(printed) == "from a cell\n['0', '1', '2'] sipmi\nTrue\n"


def test_tasks_and_threads_of_a_coroutine_handler_know_its_request() -> None:
    server = sipmi.Server("billing")

    def listener() -> str:
        request = sipmi.current_request()
        return "none" if request is None else request.listener

    async def awaited() -> str:
        await asyncio.sleep(0)
        return listener()

    @server.command
    def nested() -> str:
        request = sipmi.current_request()
        assert request is not None
        return request.transport

    @server.command
    async def who() -> list:
        task = asyncio.create_task(awaited())
        gathered = await asyncio.gather(awaited(), asyncio.to_thread(listener))
        context, thread = contextvars.copy_context(), ThreadPoolExecutor(1)
        with thread:
            submitted = await asyncio.wrap_future(thread.submit(context.run, listener))
        return [listener(), await task, *gathered, submitted, server.call("nested")]

    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        assert mi.call("who") == [server.addresses[0]] * 5 + ["local"]
        assert listener() == "none"
