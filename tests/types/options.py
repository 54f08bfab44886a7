"""Options that type checkers accept, and options that they reject: read by ``tools/typed_options.py``, never run."""

from __future__ import annotations

from pathlib import Path

import sipmi
from sipmi.affinity import CpuSet
from sipmi.gateway import make_gateway

server = sipmi.Server("billing")

# Accepted.
mi = sipmi.connect("udp:127.0.0.1:8080", timeout=2, wire="text", retries=3, max_in_flight=None, tz="UTC")
sipmi.connect("http://127.0.0.1/mi", auth="ann:secret", token=sipmi.Secret.env("TOKEN"), cert=(Path("a"), "b"))
sipmi.AsyncClient("http://127.0.0.1/mi", auth=("ann", sipmi.Secret.file("/run/secret")), failure_threshold=5)
server.listen("unix:/run/mi.sock", mode=0o660, owner="opensips", cpus=CpuSet("0-3"), allow=["get_*"], timeout=None)
server.listen("http://127.0.0.1:0", auth={"ann": "secret"}, json_get="all", tls=("a.pem", "b.pem"), metrics=True)
server.forward("udp:127.0.0.1:8080", only="ul_*", cache={"get_*": 1.0}, rights={"*": ["@read"]}, reply_dir="/tmp")
sipmi.Fleet({"edge1": "udp:127.0.0.1:8080"}, timeout=3.0, wire="text").with_options(batch=3, check=("which", "x"))
mi.events("E_*", duration=5, overflow="wait", callback=print)
sipmi.events.listen(mi, "E_*", restart_poll=None)
sipmi.doctor("udp:127.0.0.1:8080", timeout=1.0, wire="text")
make_gateway("udp:127.0.0.1:8080", [("http://127.0.0.1:0", {"read_only": True})], name="edge", queue=5)


@server.command
def plain(user: str) -> str:
    return user


@server.command(name="other", aliases=["another"], read_only=True, timeout=2.5, rate_limit=10)
def described(user: str) -> str:
    return user


length: int = len(plain("ann")) + len(described("ann"))

# Rejected: unknown names.
sipmi.connect("udp:127.0.0.1:8080", wrie="text")  # rejected
sipmi.Client("udp:127.0.0.1:8080", retires=3)  # rejected
sipmi.AsyncClient("udp:127.0.0.1:8080", tokn="x")  # rejected
server.listen("unix:/run/mi.sock", mod=0o660)  # rejected
server.forward("udp:127.0.0.1:8080", rigths={})  # rejected
sipmi.Fleet([], wire="text", tiemout=3)  # rejected
sipmi.Fleet([]).with_options(batc=3)  # rejected
mi.events("E_*", duratoin=5)  # rejected
make_gateway("udp:127.0.0.1:8080", quue=5)  # rejected
sipmi.doctor("udp:127.0.0.1:8080", wrie="text")  # rejected
server.command(read_olny=True)  # rejected

# Rejected: values of another type.
sipmi.connect("udp:127.0.0.1:8080", timeout="5")  # rejected
sipmi.connect("udp:127.0.0.1:8080", timeout=None)  # rejected
sipmi.connect("http://127.0.0.1/mi", auth=5)  # rejected
sipmi.connect(Path("/run/opensips_fifo"))  # rejected
server.listen("http://127.0.0.1:0", auth=5)  # rejected
server.listen("udp:127.0.0.1:0", workers="4")  # rejected
server.forward("udp:127.0.0.1:8080", cache=["get_*"])  # rejected
sipmi.Fleet([]).with_options(batch="3")  # rejected
mi.events("E_*", max_queue="5")  # rejected
server.command(name=5)  # rejected
