"""Each situation that the doctor knows, produced for real."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

import sipmi
from rogue import Connection, RogueHttp
from sipmi import Diagnosis
from sipmi.testing import FakeOpenSIPS

UNPRIVILEGED = 65534


def codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.problems]


def the_problem(address: str, **options: Any) -> sipmi.Finding:
    """The only problem of an address."""
    diagnosis = sipmi.doctor(address, **{"timeout": 0.3, **options})
    assert len(diagnosis.problems) == 1, str(diagnosis)
    assert not diagnosis.ok
    return diagnosis.problems[0]


#: Becomes a user without privileges. Imports come first: the interpreter may be in a directory that only root can read.
BECOME_UNPRIVILEGED = f"""
import os
from sipmi import client, server
from sipmi.diagnosis import _datagram, _events, _fifo, _http, _machine, _silence
import grp, json, pwd, sys, sipmi
os.setgroups([]); os.setgid({UNPRIVILEGED}); os.setuid({UNPRIVILEGED})
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="Rights and namespaces are made by root.")


def as_unprivileged(address: str, **options: Any) -> dict[str, Any]:
    """The diagnosis that a user without rights gets."""
    script = "print(json.dumps(sipmi.doctor(sys.argv[1], **json.loads(sys.argv[2])).to_dict()))"
    command = [sys.executable, "-c", BECOME_UNPRIVILEGED + script, address, json.dumps({"timeout": 0.3, **options})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def place() -> Iterator[str]:
    """Yield a directory that all users may enter."""
    with tempfile.TemporaryDirectory(prefix="mi") as path:
        os.chmod(path, 0o755)
        yield path


@contextlib.contextmanager
def process(script: str, *arguments: str, before: Optional[Callable[[], Any]] = None) -> Iterator[Any]:
    """A process called opensips that says when it is ready."""
    named = "import ctypes; ctypes.CDLL(None).prctl(15, b'opensips', 0, 0, 0)\n" + script
    command = [sys.executable, "-c", named, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, preexec_fn=before, **pipes) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline().strip() == "ready"
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGCONT)
            running.communicate(timeout=10)


SERVE = """
import sys, sipmi
server = sipmi.Server("opensips", emulate="3.6")
server.listen(sys.argv[1], **({"reply_dir": sys.argv[2]} if len(sys.argv) > 2 else {}))
with server:
    print("ready", flush=True)
    sys.stdin.read()
"""

#: From <linux/sched.h>.
NEW_MOUNTS, NEW_NETWORK = 0x00020000, 0x40000000


def in_namespace(kind: int, hidden: Optional[str] = None) -> Callable[[], None]:
    """Gives a child a namespace of its own; ``hidden`` is an empty directory there."""

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(kind) == 0, os.strerror(ctypes.get_errno())
        if kind == NEW_MOUNTS:
            private = 1 << 18
            recursive = 1 << 14
            assert libc.mount(b"none", b"/", None, private | recursive, None) == 0
        if hidden is not None:
            assert libc.mount(b"tmpfs", hidden.encode(), b"tmpfs", 0, None) == 0
        if kind == NEW_NETWORK:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=False)

    return enter


# -- a server that is well ------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.11", "2.4", "3.6", "4.0"])
@pytest.mark.parametrize("transport", ["fifo", "udp", "unix"])
def test_a_healthy_server_has_no_problem(version: str, transport: str) -> None:
    with FakeOpenSIPS(version, transports=[transport]) as opensips:
        diagnosis = sipmi.doctor(opensips.address(transport))
        assert diagnosis.ok, str(diagnosis)
        assert diagnosis.findings[-1].code == "answered"
        assert f"OpenSIPS {version}" in str(diagnosis)


@pytest.mark.parametrize(("version", "path"), [("4.0", "/mi"), ("3.6", "/RPC2"), ("2.4", "/json"), ("2.4", "/RPC2")])
def test_a_healthy_web_server_has_no_problem(version: str, path: str) -> None:
    with FakeOpenSIPS(version, transports=["http"]) as opensips:
        diagnosis = sipmi.doctor(opensips.address("http").rpartition("/")[0] + path)
        assert diagnosis.ok, str(diagnosis)


# -- a FIFO ---------------------------------------------------------------------------------------


def test_a_fifo_that_is_not_there(place: str) -> None:
    problem = the_problem(f"fifo:{place}/none")
    assert problem.code == "fifo-missing"
    assert problem.fix


def test_a_directory_that_is_not_there(place: str) -> None:
    problem = the_problem(f"fifo:{place}/run/opensips/opensips_fifo")
    assert problem.code == "directory-missing"
    assert f"{place}/run" in problem.text


def test_a_file_that_is_no_fifo(place: str) -> None:
    Path(place, "mi_fifo").write_text(":uptime:x\n\n")
    problem = the_problem(f"fifo:{place}/mi_fifo")
    assert problem.code == "not-a-fifo"
    assert problem.fix == f"rm {place}/mi_fifo && systemctl restart opensips"


def test_a_fifo_without_a_reader(place: str) -> None:
    os.mkfifo(f"{place}/mi_fifo")
    assert the_problem(f"fifo:{place}/mi_fifo").code == "fifo-no-reader"


def test_a_fifo_that_was_deleted_under_its_server(place: str) -> None:
    with process(SERVE, f"fifo:{place}/mi_fifo", place) as server:
        # Or it would make the FIFO again.
        os.kill(server.pid, signal.SIGSTOP)
        try:
            os.unlink(f"{place}/mi_fifo")
            for make in (None, os.mkfifo):
                if make is not None:
                    make(f"{place}/mi_fifo")
                problem = the_problem(f"fifo:{place}/mi_fifo", reply_dir=place)
                assert problem.code == "fifo-deleted"
                assert str(server.pid) in problem.text
        finally:
            os.kill(server.pid, signal.SIGCONT)


@needs_root
def test_a_fifo_that_this_user_may_not_write(place: str) -> None:
    os.mkfifo(f"{place}/mi_fifo", 0o600)
    found = as_unprivileged(f"fifo:{place}/mi_fifo")
    [problem] = [finding for finding in found["findings"] if finding["level"] == "problem"]
    assert problem["code"] == "fifo-mode"
    assert "mode 0600" in problem["text"]
    assert "fifo_mode" in problem["fix"]


@needs_root
def test_a_directory_that_this_user_may_not_enter(place: str) -> None:
    os.mkdir(f"{place}/closed", 0o700)
    os.mkfifo(f"{place}/closed/mi_fifo")
    for address in (f"fifo:{place}/closed/mi_fifo", f"unix:{place}/closed/mi.sock"):
        found = as_unprivileged(address)
        assert [f["code"] for f in found["findings"] if f["level"] == "problem"] == ["directory-closed"]


@needs_root
def test_a_reply_directory_that_is_not_there_or_not_writable(place: str) -> None:
    with FakeOpenSIPS("2.4", transports=["fifo"]) as opensips:
        fifo = opensips.address("fifo").partition("?")[0]
        assert the_problem(fifo, reply_dir=f"{place}/none").code == "reply-dir-missing"
        Path(place, "file").touch()
        assert the_problem(fifo, reply_dir=f"{place}/file").code == "reply-dir-missing"
        long = os.path.join(place, "x" * 110)
        os.mkdir(long)
        assert the_problem(fifo, reply_dir=long).code == "reply-dir-long"
        directory = fifo[len("fifo:") :].rpartition("/")[0]
        os.chmod(directory, 0o755)
        os.chmod(fifo[len("fifo:") :], 0o666)
        found = as_unprivileged(fifo, reply_dir=directory)
        assert [f["code"] for f in found["findings"] if f["level"] == "problem"] == ["reply-dir-mode"]


@needs_root
def test_a_reply_directory_that_the_server_may_not_enter(place: str) -> None:
    os.mkdir(f"{place}/replies", 0o700)
    os.chmod(place, 0o777)
    with process(BECOME_UNPRIVILEGED + SERVE, f"fifo:{place}/mi_fifo", place):
        problem = the_problem(f"fifo:{place}/mi_fifo", reply_dir=f"{place}/replies")
    assert problem.code == "reply-dir-closed"
    assert "nobody" in problem.text  # prose: quoted


def test_a_reply_directory_that_is_another_than_the_servers(place: str) -> None:
    os.mkdir(f"{place}/other")
    with process(SERVE, f"fifo:{place}/mi_fifo", place):
        problem = the_problem(f"fifo:{place}/mi_fifo", reply_dir=f"{place}/other")
        assert problem.code == "fifo-silent"
    Path(place, "opensips.cfg").write_text(f'modparam("mi_fifo", "reply_dir", "{place}/")\n')
    with process(SERVE, f"fifo:{place}/mi_fifo", place, "-f", f"{place}/opensips.cfg"):
        problem = the_problem(f"fifo:{place}/mi_fifo", reply_dir=f"{place}/other")
    assert problem.code == "other-reply-dir"
    assert problem.fix == f"sipmi doctor 'fifo:{place}/mi_fifo?reply_dir={place}'"


def test_a_server_that_is_stopped(place: str) -> None:
    with process(SERVE, f"fifo:{place}/mi_fifo", place) as server:
        os.kill(server.pid, signal.SIGSTOP)
        problem = the_problem(f"fifo:{place}/mi_fifo", reply_dir=place)
    assert (problem.code, problem.fix) == ("stopped", f"kill -CONT {server.pid}")


@needs_root
def test_a_server_whose_file_system_is_another(place: str) -> None:
    os.mkdir(f"{place}/private")
    hide = in_namespace(NEW_MOUNTS, f"{place}/private")
    with process(SERVE, f"fifo:{place}/private/mi_fifo", f"{place}/private", before=hide) as server:
        problem = the_problem(f"fifo:{place}/private/mi_fifo", reply_dir=place)
        assert problem.code == "other-mount-namespace"
        assert str(server.pid) in problem.text
    with process(SERVE, f"fifo:{place}/mi_fifo", f"{place}/private", before=hide):
        problem = the_problem(f"fifo:{place}/mi_fifo", reply_dir=f"{place}/private")
        assert problem.code == "other-mount-namespace"
        assert "PrivateTmp" in problem.text
    with process(SERVE, f"unix:{place}/private/mi.sock", before=hide):
        assert the_problem(f"unix:{place}/private/mi.sock").code == "other-mount-namespace"


@needs_root
def test_a_sticky_directory_in_which_shells_are_refused(place: str) -> None:
    os.chmod(place, 0o1777)
    setting = Path("/proc/sys/fs/protected_fifos")
    before = setting.read_text()
    with process(BECOME_UNPRIVILEGED + SERVE, f"fifo:{place}/mi_fifo", place):
        setting.write_text("1")
        try:
            diagnosis = sipmi.doctor(f"fifo:{place}/mi_fifo", reply_dir=place)
            with pytest.raises(PermissionError):
                os.open(f"{place}/mi_fifo", os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK)
        finally:
            setting.write_text(before)
    assert diagnosis.ok, str(diagnosis)
    [hint] = [finding for finding in diagnosis.findings if finding.level == "hint"]
    assert hint.code == "protected-fifos"
    assert "sysctl fs.protected_fifos=0" in (hint.fix or "")


# -- datagrams ------------------------------------------------------------------------------------


def test_a_port_that_is_closed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    problem = the_problem(f"udp:127.0.0.1:{port}")
    assert problem.code == "udp-closed"
    assert f'"udp:127.0.0.1:{port}"' in (problem.fix or "")


def test_a_port_that_is_bound_to_another_address() -> None:
    server = sipmi.Server("here")
    server.listen("udp:127.0.0.2:0")
    with server:
        port = server.addresses[0].rpartition(":")[2]
        problem = the_problem(f"udp:127.0.0.1:{port}")
        assert (problem.code, problem.fix) == ("udp-other-address", f"sipmi doctor udp:127.0.0.2:{port}")
        assert sipmi.doctor(f"udp:127.0.0.2:{port}").ok


@needs_root
def test_a_port_of_a_process_with_a_network_of_its_own() -> None:
    with process(SERVE, "udp:127.0.0.1:45871", before=in_namespace(NEW_NETWORK)) as server:
        problem = the_problem("udp:127.0.0.1:45871")
    assert problem.code == "other-net-namespace"
    assert str(server.pid) in (problem.fix or "")


def test_a_port_that_is_silent_and_one_whose_owner_does_not_read() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        address = f"udp:127.0.0.1:{deaf.getsockname()[1]}"
        assert the_problem(address).code == "busy"
        done = threading.Event()

        def swallow() -> None:
            deaf.settimeout(0.05)
            while not done.is_set():
                with contextlib.suppress(socket.timeout):
                    deaf.recv(4096)

        swallower = threading.Thread(target=swallow)
        swallower.start()
        try:
            assert the_problem(address).code == "udp-silent"
        finally:
            done.set()
            swallower.join()


def test_a_name_without_an_address() -> None:
    for address in ("udp:no-such-host.invalid:8080", "http://no-such-host.invalid:8888/mi"):
        assert the_problem(address).code == "unknown-host"


@pytest.mark.parametrize("transport", ["fifo", "udp"])
@pytest.mark.parametrize(("version", "wrong", "spoken"), [("2.4", "jsonrpc", "text"), ("3.6", "text", "jsonrpc")])
def test_a_wire_that_the_server_does_not_speak(transport: str, version: str, wrong: str, spoken: str) -> None:
    with FakeOpenSIPS(version, transports=[transport]) as opensips:
        problem = the_problem(opensips.address(transport), wire=wrong, timeout=1.5)
    assert problem.code == "wrong-wire"
    assert problem.text == f"The server speaks {spoken}, not {wrong}."


@needs_root
def test_unix_sockets_that_are_none(place: str) -> None:
    assert the_problem("unix:" + "/x" * 60).code == "unix-path-long"
    assert the_problem(f"unix:{place}/none").code == "unix-missing"
    os.mkfifo(f"{place}/fifo")
    assert the_problem(f"unix:{place}/fifo").code == "not-a-socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(f"{place}/left")
    assert the_problem(f"unix:{place}/left").code == "unix-stale"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(f"{place}/stream")
        stream.listen()
        assert the_problem(f"unix:{place}/stream").code == "unix-stream"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(f"{place}/deaf")
        assert the_problem(f"unix:{place}/deaf").code == "busy"
        os.chmod(f"{place}/deaf", 0o600)
        found = as_unprivileged(f"unix:{place}/deaf")
        assert [f["code"] for f in found["findings"] if f["level"] == "problem"] == ["unix-mode"]


@needs_root
def test_a_unix_socket_of_a_process_with_a_network_of_its_own(place: str) -> None:
    with process(SERVE, f"unix:{place}/mi.sock", before=in_namespace(NEW_NETWORK)):
        assert the_problem(f"unix:{place}/mi.sock").code == "other-net-namespace"


# -- HTTP and TLS ---------------------------------------------------------------------------------


PLAIN_REPLY = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@contextlib.contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """Answer each request of a client with these bytes, and close its connection."""

    def serve(connection: Connection) -> None:
        request = connection.read_request()
        if request is not None:
            connection.send(answer(request))

    with RogueHttp(serve, path="") as server:
        yield server.address


def test_a_web_port_that_is_closed_or_bound_to_another_address() -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
        problem = the_problem(f"http://127.0.0.1:{port}/mi")
        assert (problem.code, problem.fix) == ("http-other-address", 'modparam("httpd", "ip", "127.0.0.1")')
    problem = the_problem(f"http://127.0.0.1:{port}/mi")
    assert problem.code == "http-closed"
    assert 'loadmodule "mi_http.so"' in (problem.fix or "")


def test_a_root_that_is_another_and_a_module_that_is_not_loaded() -> None:
    server = sipmi.Server("roots")
    server.listen("http://127.0.0.1:0", roots={"mi": "/mi"})
    with server:
        base = server.addresses[0].rpartition("/")[0]
        problem = the_problem(f"{base}/RPC2")
        assert (problem.code, problem.fix) == ("wrong-root", f"sipmi doctor {base}/mi")
    with answering(lambda _: b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n") as base:
        problem = the_problem(f"{base}/mi")
        assert problem.code == "module-missing"
        assert 'loadmodule "mi_http.so"' in (problem.fix or "")


@contextlib.contextmanager
def httpd_of_1_11() -> Iterator[str]:
    """The web server of 1.11.11: pages with status 200 at /mi whatever is asked, JSON at /json, text for all else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html><head><title>OpenSIPS Management Interface</title></head><body>OpenSIPS</body></html>"
            json_body = b'{"Server": "OpenSIPS (1.11.11-notls (x86_64/linux))"}'
            known = {"/mi": page, "/json/version": json_body}
            body = known.get(self.path, b"<html><body>Unable to parse URL!</body></html>")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("path", ["/mi", "/nosuch"])
def test_pages_for_browsers_are_not_taken_for_mi(path: str) -> None:
    with httpd_of_1_11() as base:
        problem = the_problem(f"{base}{path}")
        assert (problem.code, problem.fix) == ("wrong-root", f"sipmi doctor {base}/json")
        assert "pages for browsers" in problem.text


def test_a_unix_server_that_answers_from_a_second_socket_is_healthy(place: str) -> None:
    """Every OpenSIPS has one (`tx_sock`), and Linux delivers its datagrams to no socket that is connected elsewhere."""
    ended = threading.Event()

    def serve(heard: socket.socket, answering: socket.socket) -> None:
        while not ended.is_set():
            with contextlib.suppress(socket.timeout):
                request, peer = heard.recvfrom(1 << 16)
                question = json.loads(request)
                result = [[]] if question["method"] == "which" else {"Server": "OpenSIPS (4.0.1 (x86_64/linux))"}
                reply = {"jsonrpc": "2.0", "result": result, "id": question["id"]}
                answering.sendto(json.dumps(reply).encode(), peer)

    kind = socket.AF_UNIX, socket.SOCK_DGRAM
    path = os.path.join(place, "mi.sock")
    with socket.socket(*kind) as heard, socket.socket(*kind) as answering:
        heard.bind(path)
        heard.settimeout(0.1)
        thread = threading.Thread(target=serve, args=(heard, answering))
        thread.start()
        try:
            found = sipmi.doctor(f"unix:{path}")
        finally:
            ended.set()
            thread.join()
    assert found.ok, found
    assert [finding.code for finding in found.findings] == ["unix-open", "answered"]


def test_a_server_that_requires_credentials() -> None:
    server = sipmi.Server("closed")
    server.listen("http://127.0.0.1:0", auth={"ann": "a"})
    with server:
        assert the_problem(server.addresses[0]).code == "http-credentials"
        assert sipmi.doctor(server.addresses[0], auth=("ann", "a")).ok


def test_connections_that_are_closed_unanswered_and_answers_of_proxies() -> None:
    with answering(lambda _: b"") as base:
        problem = the_problem(f"{base}/mi")
        assert problem.code == "http-unanswered"
        assert "Content-Type" in problem.text
    with answering(lambda _: b"HTTP/1.0 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as base:
        assert the_problem(f"{base}/mi").code == "http-proxy"
    with answering(lambda _: b"HTTP/1.0 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n") as base:
        assert the_problem(f"{base}/mi").code == "http-moved"


def test_a_proxy_that_changes_the_content_type() -> None:
    """The server closes requests of JSON, as httpd closes those of an unknown type."""
    with answering(lambda request: PLAIN_REPLY if b"text/plain" in request else b"") as base:
        assert the_problem(f"{base}/mi").code == "content-type"


def test_a_web_server_whose_one_process_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        problem = the_problem(f"http://127.0.0.1:{listener.getsockname()[1]}/mi")
    assert problem.code == "busy"
    assert "One process" in problem.text


def certificates(directory: str, name: str, *, expired: bool = False) -> tuple[str, str, str]:
    """The certificate chain, key and authority of a server."""
    import trustme

    authority = trustme.CA()
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
    issued = authority.issue_cert(name, not_before=then, not_after=then + datetime.timedelta(days=1 if expired else 30))
    paths = [os.path.join(directory, file) for file in ("chain.pem", "key.pem", "ca.pem")]
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(paths[0], append=number > 0)
    issued.private_key_pem.write_to_path(paths[1])
    authority.cert_pem.write_to_path(paths[2])
    return paths[0], paths[1], paths[2]


@pytest.mark.parametrize(
    ("name", "expired", "known", "code"),
    [
        ("127.0.0.1", False, True, None),
        ("127.0.0.1", False, False, "tls-unknown-authority"),
        ("127.0.0.1", True, True, "tls-expired"),
        ("example.org", False, True, "tls-wrong-host"),
    ],
)
def test_certificates(place: str, name: str, expired: bool, known: bool, code: Optional[str]) -> None:
    chain, key, authority = certificates(place, name, expired=expired)
    server = sipmi.Server("secret")
    server.listen("https://127.0.0.1:0", tls=(chain, key))
    options = {"cafile": authority} if known else {}
    with server:
        diagnosis = sipmi.doctor(server.addresses[0], **options)
        assert codes(diagnosis) == ([] if code is None else [code]), str(diagnosis)
        plain = server.addresses[0].replace("https:", "http:")
        problem = the_problem(plain)
        assert (problem.code, problem.fix) == ("tls-expected", f"sipmi doctor {server.addresses[0]}")


def test_plain_http_where_tls_is_expected() -> None:
    server = sipmi.Server("plain")
    server.listen("http://127.0.0.1:0")
    with server:
        problem = the_problem(server.addresses[0].replace("http:", "https:"))
        assert problem.code == "plain-http"
        assert problem.fix == f"sipmi doctor {server.addresses[0]}"


# -- events, and the whole ------------------------------------------------------------------------


def test_an_event_address_that_the_server_cannot_reach() -> None:
    elsewhere = sipmi.doctor("udp:192.0.2.1:8080", event_address="udp:127.0.0.1:5555", timeout=0.2)
    assert "event-loopback" in codes(elsewhere)
    [finding] = [finding for finding in elsewhere.problems if finding.code == "event-loopback"]
    assert "udp:127.0.0.1" not in (finding.fix or "")
    with FakeOpenSIPS("4.0", transports=["udp"]) as opensips:
        assert sipmi.doctor(opensips.address("udp"), event_address="udp:127.0.0.1:5555").ok


def test_a_diagnosis_is_read_by_people_and_programs(place: str) -> None:
    diagnosis = sipmi.doctor(f"fifo:{place}/none")
    text = str(diagnosis)
    assert text.splitlines()[0] == f"fifo:{place}/none"
    assert "problem  There is no FIFO" in text
    assert json.loads(json.dumps(diagnosis.to_dict()))["ok"] is False


def test_a_diagnosis_ends_in_time(place: str) -> None:
    os.mkfifo(f"{place}/mi_fifo")
    reader = os.open(f"{place}/mi_fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        began = time.monotonic()
        sipmi.doctor(f"fifo:{place}/mi_fifo", timeout=0.3)
        assert time.monotonic() - began < 10
    finally:
        os.close(reader)
