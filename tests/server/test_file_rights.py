"""Files of servers and clients: who owns them, who may open them, and when."""

import contextlib
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

import sipmi
from endpoints import Endpoints, FifoPeer, read_reply
from waiting import eventually

UNPRIVILEGED = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="Only root can act as another user.")


def as_unprivileged(action: Callable[[], None]) -> None:
    """Run an action in a child process of another user."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(UNPRIVILEGED)
            os.setuid(UNPRIVILEGED)
            action()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.fixture
def shared(directory: str) -> str:
    """A directory in which every user may make and remove files."""
    path = os.path.join(directory, "shared")
    os.mkdir(path)
    os.chmod(path, 0o777)
    for parent in Path(directory, "x").parents:
        if not parent.stat().st_mode & 0o001 and parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o011)
    return path


def fifo_server(directory: str, **options: Any) -> sipmi.Server:
    server = sipmi.Server("files")
    server.listen(f"fifo:{directory}/mi_fifo", reply_dir=directory, **options)
    return server


@as_root
def test_a_server_replaces_the_fifo_of_another_user(shared: str) -> None:
    path = f"{shared}/mi_fifo"
    as_unprivileged(lambda: os.mkfifo(path, 0o644))
    with fifo_server(shared):
        found = os.lstat(path)
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o660)


@as_root
def test_a_server_refuses_the_fifo_of_another_user_that_it_cannot_replace(shared: str) -> None:
    os.chmod(shared, 0o1777)
    os.mkfifo(f"{shared}/mi_fifo", 0o622)
    os.chmod(f"{shared}/mi_fifo", 0o622)

    def serve() -> None:
        with pytest.raises(OSError, match="mi_fifo belongs to user 0: expected a FIFO of this process's user"):
            fifo_server(shared).start()

    as_unprivileged(serve)


def test_a_process_that_has_the_fifo_of_a_dead_server_open_reads_no_commands(shared: str) -> None:
    path = f"{shared}/mi_fifo"
    os.mkfifo(path)
    os.chmod(path, 0o666)
    writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    eavesdropper = os.open(f"/proc/self/fd/{writer}", os.O_RDONLY | os.O_NONBLOCK)
    late = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.close(writer)
    os.close(eavesdropper)
    with fifo_server(shared):
        assert os.stat(path).st_ino != os.fstat(late).st_ino, "it is another FIFO than the one that is still open"
    os.close(late)


def test_rights_are_set_by_the_descriptor_and_not_by_the_path(shared: str) -> None:
    """Another user's file that takes the place of a new FIFO or socket keeps its owner and mode."""
    program = textwrap.dedent(
        """
        import os, sys
        import sipmi
        directory, scheme = sys.argv[1:]
        for _ in range(200):
            server = sipmi.Server("files")
            if scheme == "fifo":
                server.listen(f"fifo:{directory}/it", reply_dir=directory, mode=0o666)
            else:
                server.listen(f"unix:{directory}/it", mode=0o666)
            try:
                with server:
                    pass
            except OSError:
                pass
        """
    )
    victim = f"{shared}/victim"
    Path(victim).write_text("private")
    os.chmod(victim, 0o600)
    for scheme in ("fifo", "unix"):
        process = subprocess.Popen([sys.executable, "-c", program, shared, scheme])
        while process.poll() is None:
            # The attacker: whatever is made there is replaced by a link to the victim's file.
            with contextlib.suppress(OSError):
                os.rename(f"{shared}/it", f"{shared}/moved")
                os.link(victim, f"{shared}/it")
            with contextlib.suppress(OSError):
                os.unlink(f"{shared}/it")
        assert process.returncode == 0
        assert stat.S_IMODE(os.stat(victim).st_mode) == 0o600, scheme


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("scheme", ["fifo", "unix"])
def test_the_mode_of_an_endpoint_is_the_one_that_is_asked_for(directory: str, scheme: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        server = sipmi.Server("files")
        server.listen(f"{scheme}:{directory}/it", mode=0o606)
        with server:
            assert stat.S_IMODE(os.lstat(f"{directory}/it").st_mode) == 0o606
    finally:
        os.umask(before)


@as_root
def test_no_other_user_can_send_to_a_socket_before_its_permissions_are_set(shared: str) -> None:
    """Connects as another user within the moment in which the socket appears, again and again."""
    program = textwrap.dedent(
        """
        import os, sys
        os.umask(0)
        import sipmi
        for _ in range(300):
            server = sipmi.Server("files")
            server.listen(f"unix:{sys.argv[1]}/sock", mode=0o600)
            with server:
                pass
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program, shared])
    got_in = f"{shared}/got_in"

    def attack() -> None:
        while os.path.exists(f"/proc/{process.pid}/exe") or process.poll() is None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect(f"{shared}/sock")
                except OSError:
                    continue
                Path(got_in).touch()
                return

    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(UNPRIVILEGED)
        os.setuid(UNPRIVILEGED)
        try:
            attack()
        finally:
            os._exit(0)
    assert process.wait(timeout=60) == 0
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not os.path.exists(got_in)


def test_all_users_can_write_to_a_reply_fifo_and_only_its_owner_can_read_it(
    serve: Callable[..., Endpoints], directory: str
) -> None:
    seen: list[os.stat_result] = []
    server = sipmi.Server("files")

    @server.command
    def look() -> str:
        names = [name for name in os.listdir(directory) if name.startswith("sipmi_")]
        seen.extend(os.lstat(f"{directory}/{name}") for name in names)
        return "looked"

    serve(server)
    before = os.umask(0o077)
    try:
        with sipmi.connect(f"fifo:{directory}/mi_fifo?reply_dir={directory}", wire="jsonrpc") as client:
            client.call("look")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(found.st_mode) for found in seen] == [0o622]


def test_the_ids_of_a_client_cannot_be_guessed(directory: str) -> None:
    path = f"{directory}/mi_fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    ids = set()
    for _ in range(3):
        address = f"fifo:{path}?reply_dir={directory}"
        with sipmi.connect(address, wire="jsonrpc", timeout=0.05) as client, pytest.raises(sipmi.CallTimeout):
            client.call("uptime")
        request = os.read(reader, 65536)
        ids.add(request[request.index(b'"id"') :].split(b",")[0])
    os.close(reader)
    assert len(ids) == 3


@pytest.fixture
def two_fifos(directory: str) -> "TwoFifos":
    return TwoFifos(directory)


class TwoFifos:
    """A FIFO for all users that runs read-only commands, and one for all commands in the same directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.shouts = 0
        self.public = FifoPeer(f"{directory}/public", directory)

    def server(self, *endpoints: tuple[str, dict[str, Any]]) -> sipmi.Server:
        server = sipmi.Server("files")

        @server.command(read_only=True)
        def echo(text: str) -> list[str]:
            return [text]

        @server.command
        def shout() -> None:
            self.shouts += 1

        for name, options in endpoints:
            server.listen(f"fifo:{self.directory}/{name}", reply_dir=self.directory, **options)
        return server

    def attack(self, target: str) -> None:
        self.public.write(f":echo:{target}\nx\\n:shout:\n\n".encode())
        self.public.write(
            f':{target}:{{"jsonrpc":"2.0","id":"\\n:shout:\\n\\n","method":"echo","params":["a"]}}'.encode()
        )

    def refused(self, server: sipmi.Server) -> int:
        return server.call("get_statistics", ["mi_fifo:refused_reply_fifos"])["mi_fifo:refused_reply_fifos"]

    def await_refusals(self, server: sipmi.Server, count: int) -> None:
        eventually(lambda: self.refused(server) >= count, f"{count} refusals")


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_command_fifo_of_the_same_server_is_no_reply_fifo(two_fifos: TwoFifos, mode: int) -> None:
    server = two_fifos.server(("public", {"mode": 0o666, "read_only": True}), ("private", {"mode": mode}))
    with server:
        two_fifos.attack("private")
        two_fifos.await_refusals(server, 2)
    assert two_fifos.shouts == 0


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660])
def test_a_command_fifo_of_another_sipmi_server_is_no_reply_fifo(two_fifos: TwoFifos, mode: int) -> None:
    program = textwrap.dedent(
        """
        import sys
        import sipmi
        server = sipmi.Server("other")
        server.listen(f"fifo:{sys.argv[1]}/other", reply_dir=sys.argv[1], mode=int(sys.argv[2]))
        with server:
            print("ready", flush=True)
            sys.stdin.read()
            print(server.call("get_statistics", ["mi_fifo:bytes_in"])["mi_fifo:bytes_in"])
        """
    )
    command = [sys.executable, "-c", program, two_fifos.directory, str(mode)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        server = two_fifos.server(("public", {"mode": 0o600, "read_only": True}))
        with server:
            two_fifos.attack("other")
            two_fifos.await_refusals(server, 2)
        received, _ = other.communicate()
    assert received == "0\n"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o640])
def test_the_command_fifo_of_an_opensips_is_no_reply_fifo(two_fifos: TwoFifos, mode: int) -> None:
    """OpenSIPS makes it with mode 0660 and reads it: nothing else tells it from a reply FIFO."""
    path = f"{two_fifos.directory}/opensips_fifo"
    os.mkfifo(path)
    os.chmod(path, mode)
    opensips = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    server = two_fifos.server(("public", {"mode": 0o666, "read_only": True}))
    with server:
        two_fifos.attack("opensips_fifo")
        two_fifos.await_refusals(server, 2)
    with pytest.raises(BlockingIOError):
        os.read(opensips, 100)
    os.close(opensips)


@pytest.mark.parametrize("mode", [0o666, 0o622, 0o644])
def test_reply_fifos_as_clients_make_them_are_answered(two_fifos: TwoFifos, mode: int) -> None:
    with two_fifos.server(("public", {})):
        name = two_fifos.public.make_reply()
        os.chmod(f"{two_fifos.directory}/{name}", mode)
        fd = os.open(f"{two_fifos.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK)
        two_fifos.public.write(f":echo:{name}\nx\n\n".encode())
        assert b"x" in (read_reply(fd) or b"")
        os.close(fd)


def test_a_private_reply_fifo_is_answered_where_only_its_user_can_ask(two_fifos: TwoFifos) -> None:
    with two_fifos.server(("public", {"mode": 0o600})):
        name = two_fifos.public.make_reply()
        os.chmod(f"{two_fifos.directory}/{name}", 0o600)
        fd = os.open(f"{two_fifos.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK)
        two_fifos.public.write(f":echo:{name}\nx\n\n".encode())
        assert b"x" in (read_reply(fd) or b"")
        os.close(fd)


CALLER = """
import sys, threading
import sipmi
path, directory = sys.argv[1:]
def call() -> None:
    with sipmi.connect(f"fifo:{path}?reply_dir={directory}", wire="text", timeout=60) as client:
        client.call("uptime")
for _ in range(3):
    threading.Thread(target=call, daemon=True).start()
print("started", flush=True)
sys.stdin.readline()
"""


def reply_fifos(directory: str) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith("sipmi_")]


def begin_calls(directory: str) -> "subprocess.Popen[str]":
    """A process whose daemon threads wait for replies that never come."""
    total = len(reply_fifos(directory)) + 3
    command = [sys.executable, "-c", CALLER, f"{directory}/mi_fifo", directory]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    eventually(lambda: len(reply_fifos(directory)) >= total, "the reply FIFOs of the other process")
    return process


@pytest.fixture
def silent_fifo(directory: str) -> Iterator[str]:
    """A command FIFO of a server that never answers."""
    path = f"{directory}/mi_fifo"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    thread_ends = threading.Event()

    def drain() -> None:
        while not thread_ends.is_set():
            if select.select([fd], [], [], 0.05)[0]:
                os.read(fd, 65536)

    thread = threading.Thread(target=drain)
    thread.start()
    yield path
    thread_ends.set()
    thread.join()
    os.close(fd)


@pytest.mark.usefixtures("silent_fifo")
def test_reply_fifos_of_daemon_threads_are_removed_when_their_process_exits(directory: str) -> None:
    with begin_calls(directory) as process:
        process.communicate("\n")
    assert process.returncode == 0
    assert reply_fifos(directory) == []


@pytest.mark.usefixtures("silent_fifo")
def test_reply_fifos_of_a_killed_process_are_removed_by_the_next_client(directory: str) -> None:
    with begin_calls(directory) as living, begin_calls(directory) as killed:
        killed.kill()
        killed.wait()
        assert len(reply_fifos(directory)) == 6
        kept = Path(directory, f"sipmi_{killed.pid}_not_a_fifo_of_ours")
        kept.touch()
        check = "import sys, sipmi\nwith sipmi.connect(sys.argv[1], wire='text', timeout=0.05) as mi:\n"
        check += "    try: mi.call('uptime')\n    except sipmi.CallTimeout: pass"
        address = f"fifo:{directory}/mi_fifo?reply_dir={directory}"
        subprocess.run([sys.executable, "-c", check, address], check=True)
        left = [name for name in reply_fifos(directory) if name != kept.name]
        assert len(left) == 3
        assert all(name.startswith(f"sipmi_{living.pid}_") for name in left), "the living one keeps its own"
        assert kept.exists()
        living.communicate("\n")
