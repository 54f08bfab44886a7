"""The command ``sipmi``, run as people run it: in a process of its own."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import pytest

import sipmi.cli.arguments
from rogue import RogueDatagram, RogueFifo, write_reply
from terminal import Terminal

APP = """
import sipmi

server = sipmi.Server("billing", version="1.4")

@server.command
def account(user: str, domain: str = "example.org", credit: float = 0.0) -> dict:
    '''Show an account.'''
    return {"aor": f"sip:{user}@{domain}", "credit": credit}

@server.command
def hello(name: str = "world") -> str:
    return f"hello {name}"

@server.command
def tags(names: list) -> list:
    return names

@server.command
def fail() -> None:
    raise sipmi.Fault(404, "No such thing")

server.listen("fifo:FIFO", reply_dir="DIRECTORY")
"""


def sipmi_command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs `sipmi` and gives what came of it."""
    command = [sys.executable, "-m", "sipmi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **options)


def output_of(*arguments: str, **options: Any) -> str:
    done = sipmi_command(*arguments, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def complaint_of(code: int, *arguments: str, **options: Any) -> str:
    """Return the standard error of a command that ends with this code."""
    done = sipmi_command(*arguments, **options)
    assert (done.returncode, done.stdout) == (code, ""), done
    first, *rest = done.stderr.splitlines()
    assert first.startswith("sipmi: ")
    assert len(rest) <= 1
    assert all(line.startswith("hint: ") for line in rest), done.stderr
    return done.stderr


class Served:
    """`sipmi serve` in a process of its own."""

    def __init__(self, directory: str) -> None:
        self.fifo = os.path.join(directory, "mi_fifo")
        app = Path(directory, "app.py")
        app.write_text(APP.replace("FIFO", self.fifo).replace("DIRECTORY", directory))
        command = [sys.executable, "-m", "sipmi", "serve", str(app), "--listen", "udp:127.0.0.1:0", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.addresses: list[str] = json.loads(self.process.stdout.readline())
        self.udp = next(address for address in self.addresses if address.startswith("udp:"))
        self.fifo_address = next(address for address in self.addresses if address.startswith("fifo:"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(str(tmp_path_factory.mktemp("mi")))
    yield served
    served.process.terminate()
    served.process.communicate(timeout=10)
    assert served.process.returncode == 0
    assert not os.path.exists(served.fifo)


# -- call -----------------------------------------------------------------------------------------


def test_call_prints_strings_as_they_are_and_the_rest_as_json(served: Served) -> None:
    assert output_of("call", served.udp, "hello") == "hello world\n"
    assert output_of("call", served.udp, "hello", "--json") == '"hello world"\n'
    value = {"aor": "sip:alice@example.net", "credit": 2.5}
    spread = output_of("call", served.udp, "account", "alice", "example.net", "2.5")
    assert json.loads(spread) == value
    assert spread.count("\n") == 4
    assert output_of("call", "--json", served.udp, "account", "alice", "example.net", "2.5") == (
        '{"aor":"sip:alice@example.net","credit":2.5}\n'
    )


@pytest.mark.parametrize("wire", ["auto", "text", "jsonrpc"])
def test_call_takes_names_lists_and_json(served: Served, wire: str) -> None:
    for address in served.addresses:
        common = ["call", address, "--json", "--wire", wire]
        account = json.loads(output_of(*common, "account", "user::alice", "domain::example.net"))
        assert account["aor"] == "sip:alice@example.net"
        assert json.loads(output_of(*common, "tags", '["a", "b::c"]')) == ["a", "b::c"]
        statistics = json.loads(output_of(*common, "list_statistics", "core:", "udp:"))
        assert isinstance(statistics, (dict, str))


def test_call_prints_bytes_that_are_not_utf8_as_they_are(served: Served) -> None:
    command = [sys.executable, "-m", "sipmi", "call", served.udp, "hello", b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert done.stdout == b"hello caf\xe9\n"


def test_a_terminal_gets_control_characters_as_escapes_and_a_pipe_gets_them_as_they_are() -> None:
    # Clears the screen, colours, sets the title (ESC ] or the one character U+009D), rings, writes over the line.
    value = "one\ttab\nline \x1b[2J\x1b[31m\x1b]0;own\x07 \x9d0;own\x9c \x00\x08\x7f\rover\u202e café"
    shown = r"line \x1b[2J\x1b[31m\x1b]0;own\x07 \x9d0;own\x9c \x00\x08\x7f\rover\u202e café"

    def answer(request: bytes) -> list[bytes]:
        asked = json.loads(request)
        return [json.dumps({"jsonrpc": "2.0", "result": value, "id": asked["id"]}).encode()]

    with RogueDatagram(answer) as server:
        arguments = ["call", server.address, "cache_fetch", "local", "k", "--wire", "jsonrpc"]
        with Terminal(*arguments) as terminal:
            assert terminal.wait() == 0
            assert terminal.text.splitlines() == ["one     tab", shown]
            assert not set(terminal.output) & ({*range(32), 127} - {*b"\t\r\n"})
        assert subprocess.check_output([sys.executable, "-m", "sipmi", *arguments]) == value.encode() + b"\n"


def test_an_error_answer_is_1(served: Served) -> None:
    assert "fail: 404 No such thing" in complaint_of(1, "call", served.udp, "fail")
    assert f"hint: the commands there: sipmi call '{served.udp}' which" in complaint_of(1, "call", served.udp, "nosuch")
    assert "which account" in complaint_of(1, "call", served.udp, "account")


@pytest.mark.parametrize(
    "arguments",
    [
        ["call", "udp:nowhere", "uptime"],
        ["call", "http://127.0.0.1:1/mi", "uptime", "--wire", "text"],
        ["call", "http://127.0.0.1:1/mi", "uptime", "--auth", "nocolon"],
        ["call", "http://127.0.0.1:1/mi", "uptime", "--token", "t", "--auth", "a:b"],
        ["call", "udp:127.0.0.1:1", "uptime", "--token", "t"],
        ["call", "https://127.0.0.1:1/mi", "uptime", "--key", "/nowhere"],
        ["call", "https://127.0.0.1:1/mi", "uptime", "--cafile", "/nowhere"],
        ["call", "udp:127.0.0.1:1", "uptime", "--timeout", "0"],
        ["call", "udp:127.0.0.1:1", "uptime", "--reply-dir", "/tmp"],
        ["call", "udp:127.0.0.1:1", "bad name", "--wire", "text"],
        ["serve", "/nowhere/app.py"],
    ],
)
def test_impossible_requests_are_2(arguments: list[str]) -> None:
    complaint_of(2, *arguments)


@pytest.mark.parametrize("arguments", [["call"], ["nosuch"], ["call", "udp:h:1", "x", "--wire", "morse"]])
def test_a_command_line_that_cannot_be_read_is_2(arguments: list[str]) -> None:
    assert "hint: sipmi" in complaint_of(2, *arguments)


def test_a_word_that_is_nearly_right_gets_a_hint() -> None:
    assert "hint: did you mean serve?" in complaint_of(2, "serv")
    assert "hint: did you mean jsonrpc?" in complaint_of(2, "call", "udp:h:1", "x", "--wire", "jsonrcp")


def test_options_may_stand_between_arguments(served: Served) -> None:
    assert output_of("call", served.udp, "--json", "hello", "--timeout", "5", "bob") == '"hello bob"\n'


@pytest.mark.parametrize("address", ["fifo:/nowhere/fifo", "unix:/nowhere/sock", "udp:127.0.0.1:1"])
def test_a_server_that_is_not_there_is_3(address: str) -> None:
    assert "hint: is the server running" in complaint_of(3, "call", address, "uptime")


def test_an_answer_that_cannot_be_read_is_3() -> None:
    with RogueDatagram(lambda _: [b"garbage"]) as server:
        assert "--wire" in complaint_of(3, "call", server.address, "uptime")


def test_no_answer_in_time_is_4() -> None:
    with RogueDatagram(lambda _: []) as server:
        assert "within 0.1 s" in complaint_of(4, "call", server.address, "uptime", "--timeout", "0.1")


def test_ctrl_c_is_130(directory: str) -> None:
    with RogueFifo(directory, lambda *_: None) as server:
        child = subprocess.Popen([sys.executable, "-m", "sipmi", "call", server.address, "x", "--timeout", "60"])
        try:
            server.wait_for(1)
            child.send_signal(signal.SIGINT)
            assert child.wait(10) == 130
        finally:
            child.kill()
    assert os.listdir(directory) == []


def test_a_reader_of_the_output_that_leaves_is_no_trouble(served: Served) -> None:
    line = f"{sys.executable} -m sipmi call '{served.udp}' which | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


# -- fifo -----------------------------------------------------------------------------------------


def test_fifo_prints_the_reply_as_opensipsctl_does(served: Served) -> None:
    environment = {**os.environ, "OPENSIPS_FIFO": served.fifo}
    common = ["fifo", "--reply-dir", os.path.dirname(served.fifo)]
    assert output_of(*common, "hello", env=environment) == "hello world\n"
    text = output_of(*common, "account", "alice", "domain::example.net", env=environment)
    assert text == "aor:: sip:alice@example.net\ncredit:: 0.0\n"
    assert output_of(*common, "--fifo", served.fifo, "hello", "::a::b") == "hello a::b\n"
    assert output_of(*common, "--json", "hello", env=environment) == '"hello world"\n'


def test_fifo_prints_an_error_answer_too(served: Served) -> None:
    done = sipmi_command("fifo", "--fifo", served.fifo, "--reply-dir", os.path.dirname(served.fifo), "fail")
    assert (done.returncode, done.stdout, done.stderr) == (1, "404 No such thing\n", "")


def test_fifo_sends_a_text_server_the_bytes_of_opensipsctl(directory: str) -> None:
    def answer(request: bytes, path: str) -> None:
        if b"{" not in request:
            write_reply(path, b"200 OK\nAOR:: alice\n\n\tContact:: sip:a@b\n\n")

    with RogueFifo(directory, answer) as server:
        arguments = ["--fifo", server.path, "--reply-dir", directory, "ul_show_contact", "location", "aor::alice"]
        assert output_of("fifo", *arguments) == "AOR:: alice\n\tContact:: sip:a@b\n"
        request = server.requests[-1]
        name = request.split(b"\n")[0].split(b":")[2]
        assert request == b":ul_show_contact:" + name + b"\nlocation\naor::alice\n\n"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ('"."', b'"."'),
        (r'"To: <sip:1@a>;tag=7\r\nEvent: check-sync\r\n"', b'"To: <sip:1@a>;tag=7\r\nEvent: check-sync\r\n"'),
        (r'"say \\"hi\\""', b'"say \\"hi\\""'),
        ("100%%", b"100%"),
        (r"a\tb", b"a\tb"),
        ("aor::alice", b"aor::alice"),
    ],
)
def test_fifo_reads_an_argument_as_opensipsctl_and_printf_do(directory: str, argument: str, value: bytes) -> None:
    # opensipsctl writes the output of bash's printf for the argument; the client must send the same parameter.
    written = subprocess.run(["bash", "-c", 'printf "$1"', "-", argument], capture_output=True, check=True).stdout
    assert written == value

    def answer(request: bytes, path: str) -> None:
        if b"{" not in request:
            write_reply(path, b"200 OK\n\n")

    with RogueFifo(directory, answer) as server:
        output_of("fifo", "--fifo", server.path, "--reply-dir", directory, "sub_add", argument)
        sent = server.requests[-1].partition(b"\n")[2].removesuffix(b"\n\n")
    assert sipmi._core.decode_text_params(sent.decode()) == sipmi._core.decode_text_params(written.decode())


def test_fifo_ends_its_arguments_at_an_empty_one_and_refuses_a_quote_that_is_open(served: Served) -> None:
    common = ["fifo", "--fifo", served.fifo, "--reply-dir", os.path.dirname(served.fifo)]
    assert output_of(*common, "hello", "bob", "", "more") == "hello bob\n"
    assert "quote" in complaint_of(2, *common, "hello", '"bob')


def test_fifo_takes_standard_input_as_it_is(served: Served) -> None:
    common = ["fifo", "--fifo", served.fifo, "--reply-dir", os.path.dirname(served.fifo)]
    done = sipmi_command(*common, "hello", "-", input='50% of "a\\nb"\n')
    assert done.stdout == 'hello 50% of "a\\nb"\n', done.stderr


def test_fifo_shows_the_answer_of_a_json_server_as_text(directory: str) -> None:
    def answer(request: bytes, path: str) -> None:
        id = json.loads(request[request.index(b"{") :])["id"]
        result: Any = {"Server": "OpenSIPS (3.4.1 (x86_64/linux))"}
        if b"get_statistics" in request:
            assert b'"params":[["core:","shmem:"]]' in request
            result = {"core:rcv_requests": 5}
        write_reply(path, json.dumps({"jsonrpc": "2.0", "result": result, "id": id}).encode())

    with RogueFifo(directory, answer) as server:
        arguments = ["--fifo", server.path, "--reply-dir", directory, "get_statistics", "core:", "shmem:"]
        assert output_of("fifo", *arguments) == "core:rcv_requests:: 5\n"


def test_fifo_without_a_reader_is_3(directory: str) -> None:
    path = os.path.join(directory, "mi_fifo")
    os.mkfifo(path)
    assert "exists, but no server reads it" in complaint_of(3, "fifo", "--fifo", path, "uptime")


# -- serve ----------------------------------------------------------------------------------------


def serve_file(directory: str, text: str, *arguments: str, name: str = "") -> subprocess.CompletedProcess[str]:
    app = Path(directory, "app.py")
    app.write_text(text)
    return sipmi_command("serve", f"{app}{name}", *arguments)


@pytest.mark.parametrize(
    ("text", "name", "complaint"),
    [
        ("", "", "makes no sipmi.Server"),
        ("import sipmi\na = sipmi.Server('a')\nb = sipmi.Server('b')", "", "several servers"),
        ("import sipmi\na = sipmi.Server('a')", ":b", "no sipmi.Server called b (there are: a)"),
        ("import sipmi\na = sipmi.Server('a')", "", "has no endpoints"),
    ],
)
def test_serve_names_a_missing_module_or_server(directory: str, text: str, name: str, complaint: str) -> None:
    done = serve_file(directory, text, name=name)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_serve_says_when_an_endpoint_is_taken(directory: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"udp:127.0.0.1:{taken.getsockname()[1]}"
        done = serve_file(directory, "import sipmi\nserver = sipmi.Server('a')", "--listen", address)
    assert done.returncode == 3
    assert done.stderr.startswith("sipmi: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly_on_signals(directory: str, number: int) -> None:
    served = Served(directory)
    served.process.send_signal(number)
    served.process.communicate(timeout=10)
    assert served.process.returncode == 0
    assert [name for name in os.listdir(directory) if name.startswith("mi")] == []


def test_serve_runs_the_server_that_is_named(directory: str) -> None:
    app = Path(directory, "app.py")
    app.write_text("import sipmi\na = sipmi.Server('a')\nb = sipmi.Server('b')\n")
    command = [sys.executable, "-m", "sipmi", "serve", f"{app}:b", "--listen", "udp:127.0.0.1:0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("serving b at udp:127.0.0.1:")
    finally:
        child.terminate()
        child.communicate(timeout=10)


class Reloading:
    """`sipmi serve --reload` on a file that changes."""

    def __init__(self, directory: str, *options: str) -> None:
        self.app = Path(directory, "app.py")
        self.part = Path(directory, "part.py")
        self.fifo = os.path.join(directory, "fifo")
        self.common = f"import sipmi\nserver = sipmi.Server('a')\nserver.listen('fifo:{self.fifo}')\n"
        self.app.write_text(self.common + "import part\nserver.command(part.answer)\n")
        self.write("one")
        command = [sys.executable, "-B", "-m", "sipmi", "serve", str(self.app), "--reload", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdout, self.stderr = self.process.stdout, self.process.stderr

    def write(self, word: str) -> None:
        self.part.write_text(f"def answer() -> str:\n    return {word!r}\n")

    def answer(self) -> str:
        assert self.stdout.readline() == f"serving a at fifo:{self.fifo}?reply_dir=/tmp\n"
        return output_of("call", f"fifo:{self.fifo}", "answer").strip()


@pytest.mark.parametrize("options", [[], ["--processes", "2"]])
def test_serve_begins_again_when_a_module_of_the_app_changes(directory: str, options: list[str]) -> None:
    served = Reloading(directory, *options)
    try:
        assert served.answer() == "one"
        pid = served.process.pid
        served.write("two")
        assert served.answer() == "two"
        assert served.process.pid == pid
        served.process.send_signal(signal.SIGINT)
        served.process.communicate(timeout=10)
        assert served.process.returncode == 0
    finally:
        served.process.kill()


def test_serve_waits_until_a_mistake_in_the_app_is_corrected(directory: str) -> None:
    served = Reloading(directory)
    try:
        assert served.answer() == "one"
        served.part.write_text("def answer(:\n")
        while "SyntaxError" not in served.stderr.readline():
            assert served.process.poll() is None
        served.write("three")
        assert served.answer() == "three"
        served.process.terminate()
        served.process.communicate(timeout=10)
    finally:
        served.process.kill()


def test_serve_waits_for_running_commands_as_long_as_it_is_told(directory: str) -> None:
    app = Path(directory, "app.py")
    app.write_text(
        "import sipmi, time\nserver = sipmi.Server('a')\nserver.command(name='sleep')(lambda: time.sleep(5))\n"
    )
    arguments = ["serve", str(app), "--listen", "udp:127.0.0.1:0", "--drain-timeout", "0.1", "--json"]
    child = subprocess.Popen([sys.executable, "-m", "sipmi", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        [address] = json.loads(child.stdout.readline())
        with sipmi.connect(address) as mi, ThreadPoolExecutor() as pool:
            call = pool.submit(mi.call, "sleep")
            while mi.call("get_statistics", ["in_progress"]) == {"mi_datagram:in_progress": 1}:
                pass
            child.terminate()
            with pytest.raises(sipmi.Fault, match="Server busy"):
                call.result(4)
    finally:
        child.kill()
        child.communicate()


def test_serve_replaces_a_worker_that_keeps_the_interpreter_lock(directory: str) -> None:
    app = Path(directory, "app.py")
    app.write_text(
        "import ctypes, sipmi\nserver = sipmi.Server('a')\n"
        "server.command(name='hang')(lambda: ctypes.PyDLL(None).sleep(60))\n"
    )
    arguments = ["serve", str(app), "--listen", "udp:127.0.0.1:0", "--watchdog", "1"]
    refused = subprocess.run([sys.executable, "-m", "sipmi", *arguments], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--watchdog watches the workers of several processes: give --processes N, too" in refused.stderr
    arguments += ["--processes", "2", "--json"]
    child = subprocess.Popen([sys.executable, "-m", "sipmi", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        [address] = json.loads(child.stdout.readline())
        with sipmi.connect(address, timeout=20, wire="jsonrpc") as mi, pytest.raises(sipmi.Fault) as caught:
            mi.call("hang")
        assert caught.value.code == -32000
    finally:
        child.terminate()
        child.communicate(timeout=20)
    assert child.returncode == 0


def test_serve_has_as_many_processes_as_it_is_told(directory: str) -> None:
    app = Path(directory, "app.py")
    app.write_text("import os, sipmi\nserver = sipmi.Server('a')\nserver.command(name='pid')(lambda: os.getpid())\n")
    arguments = ["serve", str(app), "--listen", "udp:127.0.0.1:0", "--processes", "2", "--json"]
    child = subprocess.Popen([sys.executable, "-m", "sipmi", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        [address] = json.loads(child.stdout.readline())
        assert int(output_of("call", address, "pid")) != child.pid
        processes = json.loads(output_of("call", address, "ps", "--json"))["Processes"]
        assert len(processes) == 3
    finally:
        child.terminate()
        child.communicate(timeout=20)
    assert child.returncode == 0


# -- pieces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["--version", "--help", "call --help", "fifo --help", "serve --help"])
def test_help_and_version_are_0(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sipmi.cli.main(arguments.split()) == 0
    assert "sipmi" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "pair"),
    [
        ("alice", ("", "alice")),
        ("aor::alice", ("aor", "alice")),
        ("aor::", ("aor", "")),
        ("::a::b", ("", "a::b")),
        ("sip:alice@[2001:db8::1]", ("", "sip:alice@[2001:db8::1]")),
        ("2001:db8::1", ("", "2001:db8::1")),
    ],
)
def test_an_argument_is_a_value_or_has_a_name(argument: str, pair: tuple[str, str]) -> None:
    assert sipmi.cli.arguments.split(argument) == pair


def test_the_command_is_installed() -> None:
    command: Optional[str] = os.path.join(os.path.dirname(sys.executable), "sipmi")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == f"sipmi {sipmi.__version__}\n"


def test_the_examples_of_its_functions_run() -> None:
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(sipmi.cli.__path__, "sipmi.cli.")]
    results = [doctest.testmod(module) for module in (sipmi.cli, *modules)]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 3


def test_an_authority_and_no_verification_exclude_each_other() -> None:
    said = complaint_of(2, "call", "https://127.0.0.1:1/mi", "version", "--cafile", "ca.pem", "--insecure")
    assert "--cafile and --insecure exclude each other" in said
