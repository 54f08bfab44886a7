"""Findings on HTTP and TLS: the listener, its certificate, and the paths that it serves."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

from ..client import Client
from . import _machine
from ._finding import Finding

#: Why a certificate is not believed, by the number that OpenSSL has for it.
CERTIFICATE = {
    9: ("tls-expired", "is not good yet: check the clock of this machine"),
    10: ("tls-expired", "has expired"),
    62: ("tls-wrong-host", "is for another host"),
    64: ("tls-wrong-host", "is for another host"),
    18: ("tls-unknown-authority", "vouches for itself"),
    19: ("tls-unknown-authority", "is issued by an authority that this machine does not trust"),
    20: ("tls-unknown-authority", "is issued by an authority that this machine does not trust"),
    21: ("tls-unknown-authority", "is issued by an authority that this machine does not trust"),
}

JSON = b'{"jsonrpc":"2.0","id":1,"method":"version"}'
XML = b"<?xml version='1.0'?><methodCall><methodName>version</methodName><params></params></methodCall>"
#: Where servers have MI: the path, and how it is asked there.
ROOTS = {
    "/mi": ("application/json", JSON),
    "/json": ("", b""),
    "/RPC2": ("text/xml", XML),
    "/xmlrpc": ("text/xml", XML),
}


def look(address: str, mi: Client, options: dict[str, Any]) -> Iterator[Finding]:
    """From the name of the host to the TLS session."""
    url = urlsplit(address)
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        way = _connect(host, port, mi.timeout)
    except socket.gaierror as error:
        yield Finding(
            "problem", "unknown-host", f"The name {host} leads nowhere: {error.strerror}.", f"getent hosts {host}"
        )
        return
    except ConnectionRefusedError:
        yield _closed(host, port)
        return
    except TimeoutError:
        text = f"{host} port {port} does not answer at all: a firewall drops what comes, or the machine is down."
        yield Finding("problem", "http-filtered", text, f"ping {host}")
        return
    except OSError as error:
        yield Finding("problem", "unreachable", f"There is no way to {host} port {port}: {error.strerror}.")
        return
    with way:
        yield Finding("ok", "http-open", f"A process listens on {host} port {port}.")
        if url.scheme == "https":
            yield _look_at_tls(way, host, port, options)


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout)
    except socket.timeout as error:  # not a TimeoutError before Python 3.10
        raise TimeoutError(str(error)) from error


def _closed(host: str, port: int) -> Finding:
    fix = (
        f'loadmodule "httpd.so"\nmodparam("httpd", "ip", "{host}")\nmodparam("httpd", "port", {port})\nloadmodule'
        ' "mi_http.so"'
    )
    others = [other for other in _listeners(port) if other not in (host, "0.0.0.0")]
    if others:
        text = (
            f"No process listens on {host} port {port}, but one does on {others[0]}. From 4.0 on, httpd binds"
            " 127.0.0.1 unless it is told otherwise."
        )
        return Finding("problem", "http-other-address", text, f'modparam("httpd", "ip", "{host}")')
    hidden = [process for process in _machine.processes(_machine.SERVER) if process.is_in_other("net")]
    if hidden:
        text = f"No process listens on {host} port {port} here; {hidden[0]} has a network of its own (a container)."
        return Finding("problem", "other-net-namespace", text, f"nsenter -n -t {hidden[0].pid} ss -ltn")
    return Finding("problem", "http-closed", f"No process listens on {host} port {port}.", fix)


def _listeners(port: int) -> list[str]:
    """The IPv4 addresses on which this machine listens on a port."""
    found = []
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return []
    for line in lines:
        _, local, _, state = line.split()[:4]
        address, _, number = local.partition(":")
        if int(number, 16) == port and state == "0A":
            found.append(socket.inet_ntoa(bytes.fromhex(address)[::-1]))
    return found


def _look_at_tls(way: socket.socket, host: str, port: int, options: dict[str, Any]) -> Finding:
    try:
        with _context(options).wrap_socket(way, server_hostname=host) as session:
            return Finding("ok", "tls", f"TLS: {session.version()}, and the certificate is believed.")
    except ssl.SSLCertVerificationError as error:
        code, why = CERTIFICATE.get(error.verify_code, ("tls-certificate", f"is not believed: {error.verify_message}"))
        text = f"The certificate of {host} {why}."
        if code == "tls-unknown-authority":
            fix = f"openssl s_client -connect {host}:{port} -showcerts    # then cafile="
        elif code == "tls-wrong-host":
            fix = f"openssl s_client -connect {host}:{port} | openssl x509 -noout -ext subjectAltName"
        else:
            fix = f"openssl s_client -connect {host}:{port} | openssl x509 -noout -dates"
        return Finding("problem", code, text, fix)
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
            text = f"{host} port {port} speaks plain HTTP, not TLS."
            return Finding("problem", "plain-http", text, f"sipmi doctor http://{host}:{port}/mi")
        return Finding("problem", "tls", f"TLS with {host} does not come about: {error.reason or error}.")
    except OSError as error:
        return Finding("problem", "tls", f"{host} port {port} ends the connection instead of speaking TLS: {error}.")


def _context(options: dict[str, Any]) -> ssl.SSLContext:
    cafile, cert = options.get("cafile"), options.get("cert")
    context = ssl.create_default_context(cafile=None if cafile is None else os.fspath(cafile))
    if not options.get("verify", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        context.load_cert_chain(*((cert, None) if not isinstance(cert, tuple) else cert))
    return context


def explain(mi: Client, options: dict[str, Any], error: Exception) -> Iterator[Finding]:
    """Explain why a listener did not answer."""
    url = urlsplit(mi.address)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    where = f"{url.scheme}://{url.netloc}"
    path = url.path or "/mi"
    answer = _ask_at(mi, options, path)
    if answer is None and url.scheme == "http" and _speaks_tls(host, port, mi.timeout):
        text = f"{host} port {port} speaks TLS, not plain HTTP."
        yield Finding("problem", "tls-expected", text, f"sipmi doctor https://{host}:{port}{path}")
        return
    status = answer[0] if answer else None
    if status in (401, 403):
        text = "The server wants to know who calls." if status == 401 else "The server does not serve this caller."
        fix = "sipmi doctor ADDRESS --user NAME    # or --token" if status == 401 else None
        yield Finding("problem", "http-credentials", f"{text} It answers {status}: {error}.", fix)
        return
    there = [root for root in ROOTS if root != path and _is_mi(_ask_at(mi, options, root))]
    if there:
        is_page = _is_page(answer)
        here = f"There are pages for browsers at {path}, no MI" if is_page else f"Nothing answers at {path}"
        text = f"{here}; MI answers at {there[0]}."
        yield Finding("problem", "wrong-root", text, f"sipmi doctor {where}{there[0]}")
        return
    if status is not None and 300 <= status < 400:
        yield Finding("problem", "http-moved", f"What was at {path} has moved: give the address to which it leads.")
        return
    if status in (502, 503, 504):
        yield Finding("problem", "http-proxy", f"A proxy, or a busy server, answers {status} instead of MI: {error}.")
        return
    if status is None and _ask_at(mi, options, path, content_type="text/plain") is not None:
        text = (
            "The connection is closed when JSON is sent, and not otherwise: something in between changes Content-Type"
            " or the body."
        )
        yield Finding(
            "problem",
            "content-type",
            text,
            f"curl -v -H 'Content-Type: application/json' -d '{JSON.decode()}' {where}{path}",
        )
        return
    if status is None:
        text = (
            f"{host} port {port} takes connections and closes them unanswered. OpenSIPS does so with a Content-Type"
            " that it does not know, and with a request in pieces: a proxy may have changed either."
        )
        yield Finding(
            "problem",
            "http-unanswered",
            text,
            f"curl -v -H 'Content-Type: application/json' -d '{JSON.decode()}' {where}{path}",
        )
        return
    text = (
        f"A web server answers at {where} ({status}), but MI is nowhere: not at"
        f" {', '.join([path, *(r for r in ROOTS if r != path)])}."
    )
    yield Finding(
        "problem",
        "module-missing",
        text,
        f'loadmodule "httpd.so"\nloadmodule "mi_http.so"\nmodparam("mi_http", "root", "{path.strip("/")}")',
    )


def _ask_at(
    mi: Client, options: dict[str, Any], path: str, content_type: Optional[str] = None
) -> Optional[tuple[int, bytes]]:
    """The status and body of an answer to the question at a path; None when nothing came."""
    import base64

    url = urlsplit(mi.address)
    kind, body = ROOTS.get(path, ROOTS["/mi"])
    kind = content_type or kind
    target = f"{path}/version" if path == "/json" else path
    head = [f"{'POST' if body else 'GET'} {target} HTTP/1.0", f"Host: {url.netloc}", "Connection: close"]
    if body:
        head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    if options.get("auth"):
        head.append(f"Authorization: Basic {base64.b64encode(':'.join(options['auth']).encode()).decode()}")
    if options.get("token"):
        head.append(f"Authorization: Bearer {options['token']}")
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        way = _connect(url.hostname or "", port, mi.timeout)
        with way:
            if url.scheme == "https":
                way = _context({**options, "verify": False}).wrap_socket(way, server_hostname=url.hostname)
            way.sendall("\r\n".join([*head, "", ""]).encode() + body)
            answer = _read(way)
            way.close()
    except OSError:
        return None
    first = answer.split(b"\r\n", 1)[0].split()
    if len(first) < 2 or not first[0].startswith(b"HTTP/") or not first[1].isdigit():
        return None
    return int(first[1]), answer.partition(b"\r\n\r\n")[2]


def _read(way: socket.socket) -> bytes:
    answer = b""
    while len(answer) < 1 << 16:
        piece = way.recv(1 << 14)
        if not piece:
            break
        answer += piece
    return answer


def _is_mi(answer: Optional[tuple[int, bytes]]) -> bool:
    """Return whether it is the answer of MI to the question for its version: JSON or XML-RPC."""
    if answer is None or answer[0] != 200:
        return False
    body = answer[1].lstrip()
    return (body.startswith(b"{") or b"<methodResponse" in body) and (b"OpenSIPS" in body or b"sipmi" in body)


def _is_page(answer: Optional[tuple[int, bytes]]) -> bool:
    """Return whether it is a page for browsers. 1.11 has them at /mi, with status 200 whatever is asked there."""
    return answer is not None and answer[1].lstrip()[:5].lower() == b"<html"


def _speaks_tls(host: str, port: int, timeout: float) -> bool:
    try:
        with _connect(host, port, timeout) as way, _context({"verify": False}).wrap_socket(way, server_hostname=host):
            return True
    except OSError:
        return False
