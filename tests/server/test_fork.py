"""Programs that fork while they serve and call, and interpreters within interpreters."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PROLOGUE = """
import os, signal, socket, sys, threading, time
import sipmi
directory = sys.argv[1]
server = sipmi.Server("forks")
server.command(os.getpid, name="pid")

def waited(pid, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) if sys.version_info >= (3, 9) else status
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the child hangs")
"""


def run(directory: str, body: str) -> None:
    script = PROLOGUE + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, directory],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_a_child_does_not_serve_and_leaves_the_files_of_its_parent(directory: str) -> None:
    run(
        directory,
        """
        server.listen(f"unix:{directory}/sock")
        server.listen(f"fifo:{directory}/fifo", reply_dir=directory)
        server.listen("http://127.0.0.1:0")
        with server:
            here = os.getpid()
            client = sipmi.connect(f"unix:{directory}/sock", timeout=10)
            assert client.call("pid") == here
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    assert not server.is_running and server.addresses == []
                    assert server.call("pid") == os.getpid()
                    server.stop()
                    sys.exit(7)  # as any program ends
                assert waited(child) == 7
            assert all(client.call("pid") == here for _ in range(100))
            assert sorted(os.listdir(directory)) == ["fifo", "sock"]
        assert os.listdir(directory) == []
        """,
    )


def test_clients_speak_on_sockets_of_their_own_in_a_child(directory: str) -> None:
    run(
        directory,
        """
        server.command(lambda word: word, name="echo")
        server.listen(f"unix:{directory}/sock")
        server.listen(f"fifo:{directory}/fifo", reply_dir=directory)
        server.listen("udp:127.0.0.1:0")
        server.listen("http://127.0.0.1:0")
        with server:
            clients = [sipmi.connect(address, timeout=10) for address in server.addresses]
            for client in clients:
                for number in range(20):  # a FIFO is kept by who calls often
                    assert client.call("echo", str(number)) == str(number)
            child = os.fork()
            who = "child" if child == 0 else "parent"
            for client in clients:
                for number in range(50):
                    word = f"{who} {number}"
                    assert client.call("echo", word) == word, (client, word)
            for client in clients:
                client.close()
            if child == 0:
                os._exit(7)
            assert waited(child) == 7
        assert os.listdir(directory) == []
        """,
    )


def test_children_of_a_busy_server_neither_hang_nor_disturb_it(directory: str) -> None:
    run(
        directory,
        """
        server.listen(f"unix:{directory}/sock")
        with server:
            stop = threading.Event()
            sipmi.connect  # imported: a fork in the middle of an import leaves its lock locked, in any program
            def call():
                with sipmi.connect(f"unix:{directory}/sock", timeout=10) as client:
                    while not stop.is_set():
                        assert client.call("pid") == os.getpid()
                        server.statistic("calls").inc()
                        server.raise_event("E_X", {"a": 1})
            threads = [threading.Thread(target=call) for _ in range(3)]
            for thread in threads:
                thread.start()
            for _ in range(30):
                child = os.fork()
                if child == 0:
                    other = sipmi.Server("child")
                    server.command(os.getppid, name="ppid")
                    assert server.call("ppid") == os.getppid()
                    server.raise_event("E_X")
                    server.statistic("mine").inc()
                    with sipmi.connect(f"unix:{directory}/sock", timeout=10) as client:
                        assert client.call("pid") == os.getppid()
                    other.listen("udp:127.0.0.1:0")
                    with other:
                        pass
                    os._exit(7)
                assert waited(child) == 7
            stop.set()
            for thread in threads:
                thread.join()
        """,
    )


def test_each_prefork_worker_serves_with_a_server_of_its_own(directory: str) -> None:
    run(
        directory,
        """
        children = []
        for number in range(2):
            child = os.fork()
            if child == 0:
                server.listen(f"unix:{directory}/sock{number}")
                with server:
                    while not os.path.exists(f"{directory}/done"):
                        time.sleep(0.01)
                sys.exit(7)
            children.append(child)
        for number, child in enumerate(children):
            while not os.path.exists(f"{directory}/sock{number}"):
                time.sleep(0.01)
            with sipmi.connect(f"unix:{directory}/sock{number}", timeout=10) as client:
                assert client.call("pid") == child
        open(f"{directory}/done", "w").close()
        assert [waited(child) for child in children] == [7, 7]
        assert os.listdir(directory) == ["done"]
        """,
    )


def test_a_subinterpreter_is_told_clearly_that_it_cannot_import_the_package() -> None:
    script = """
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
made = interpreters.create()
code = "try:\\n    import sipmi\\nexcept ImportError as error:\\n    assert 'interpreter' in str(error), error\\n"
failed = interpreters.run_string(made, code)
assert failed is None, failed
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", "import sipmi\n" + script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_a_server_in_a_program_that_is_gone_leaves_nothing(directory: str) -> None:
    """A notebook's kernel ends so: by `os._exit` or a signal in the end, after its atexit functions."""
    run(
        directory,
        """
        import atexit
        server.listen(f"fifo:{directory}/fifo", reply_dir=directory)
        server.start()
        atexit._run_exitfuncs()
        assert os.listdir(directory) == []
        os._exit(0)
        """,
    )
