"""The client over https: whom it trusts, how it shows who it is, and our own server on every wire."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from test_http_client import json_answer, ok

import sipmi
from rogue import Connection, RogueHttp


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def cafile(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@contextlib.contextmanager
def tls_server(context: ssl.SSLContext, **options: Any) -> Iterator[RogueHttp]:
    with RogueHttp(ok, context=context, **options) as server:
        yield server


def refusal(address: str, **options: Any) -> str:
    with sipmi.connect(address, timeout=20, **options) as mi, pytest.raises(sipmi.TransportError) as caught:
        mi.call("uptime")
    return str(caught.value)


# -- whom it trusts -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_with_a_certificate_of_the_right_authority_is_called(
    authority: trustme.CA, cafile: Path, host: str, version: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    with tls_server(context) as server:
        address = server.address.replace("127.0.0.1", host)
        with sipmi.connect(address, cafile=cafile, timeout=20) as mi:
            assert [mi.call("uptime") for _ in range(5)] == ["OK"] * 5
            assert len(server.connections) == 1


def test_a_server_with_an_untrusted_certificate_is_not_called(context: ssl.SSLContext, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    with tls_server(context) as server:
        for options in ({}, {"cafile": stranger}):
            text = refusal(server.address, **options)
            assert "certificate" in text
            assert "cafile=" in text
        assert server.requests == []
        with sipmi.connect(server.address, verify=False, timeout=20) as mi:
            assert mi.call("uptime") == "OK"


def test_a_certificate_of_another_host_is_not_trusted(authority: trustme.CA, cafile: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mi.example.org").configure_cert(context)
    with tls_server(context) as server:
        assert "certificate" in refusal(server.address, cafile=cafile)
        assert server.requests == []


def self_signed(
    path: Path, *, common_name: str, names: tuple[str, ...] = (), is_authority: bool = True, days: int = 1
) -> tuple[ssl.SSLContext, Path]:
    """A certificate that its own key has signed, as `openssl req -x509` makes it, with names or without."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    end = now + datetime.timedelta(days=days)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(min(now, end) - datetime.timedelta(days=1)).not_valid_after(end)
    builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    if names:
        listed: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(each)) if each[0].isdigit() else x509.DNSName(each) for each in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (path / "key.pem").write_bytes(secret)
    (path / "cert.pem").write_bytes(certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path / "cert.pem", path / "key.pem")
    return context, path / "cert.pem"


@pytest.mark.parametrize("is_authority", [True, False])
@pytest.mark.parametrize(("common_name", "names"), [("trial", ("localhost", "127.0.0.1")), ("localhost", ())])
def test_a_self_signed_certificate_that_is_named_is_trusted_as_the_servers_own(
    tmp_path: Path, common_name: str, names: tuple[str, ...], is_authority: bool
) -> None:
    context, own = self_signed(tmp_path, common_name=common_name, names=names, is_authority=is_authority)
    with tls_server(context) as server:
        address = server.address.replace("127.0.0.1", "localhost")
        with sipmi.connect(address, cafile=own, timeout=20) as mi:
            assert mi.call("uptime") == "OK"
        with socket.create_connection(server.socket.getsockname()) as plain:
            # Python trusts it, too.
            trusting = ssl.create_default_context(cafile=str(own))
            trusting.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
            trusting.wrap_socket(plain, server_hostname="localhost").close()
        assert "certificate" in refusal(address)


@pytest.mark.parametrize(("common_name", "names"), [("mi.example.org", ()), ("localhost", ("mi.example.org",))])
def test_a_self_signed_certificate_of_another_name_is_refused_in_words(
    tmp_path: Path, common_name: str, names: tuple[str, ...]
) -> None:
    context, own = self_signed(tmp_path, common_name=common_name, names=names)
    with tls_server(context) as server:
        text = refusal(server.address.replace("127.0.0.1", "localhost"), cafile=own)
        assert "is this the name of the server?" in text
        assert server.requests == []


@pytest.mark.parametrize("is_authority", [True, False])
def test_an_expired_certificate_is_refused_in_words(tmp_path: Path, is_authority: bool) -> None:
    context, own = self_signed(
        tmp_path, common_name="localhost", names=("127.0.0.1",), is_authority=is_authority, days=-1
    )
    with tls_server(context) as server:
        text = refusal(server.address, cafile=own)
        assert "the server needs a new one" in text
        assert server.requests == []


def test_authorities_that_the_system_trusts_are_trusted(context: ssl.SSLContext, cafile: Path) -> None:
    script = "import sys, sipmi; print(sipmi.connect(sys.argv[1], timeout=20).call('uptime'))"
    with tls_server(context) as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.address],
            env={**os.environ, "SSL_CERT_FILE": str(cafile)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "OK\n"), done.stderr


def test_a_file_that_holds_no_certificate_is_said_at_once(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for options in ({"cafile": empty}, {"cert": empty}, {"cafile": tmp_path / "missing"}):
        with pytest.raises(ValueError, match=str(tmp_path)):
            sipmi.connect("https://127.0.0.1:1/mi", **options)


# -- who it is ------------------------------------------------------------------------------------


def test_a_client_shows_its_certificate_where_one_is_asked_for(
    authority: trustme.CA, cafile: Path, tmp_path: Path
) -> None:
    clients = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    clients.configure_trust(context)
    issued = clients.issue_cert("operator@example.org")
    both, chain, key = tmp_path / "both.pem", tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    issued.cert_chain_pems[0].write_to_path(str(chain))
    issued.private_key_pem.write_to_path(str(key))
    with tls_server(context) as server:
        for cert in (both, (chain, key)):
            with sipmi.connect(server.address, cafile=cafile, cert=cert, timeout=20) as mi:
                assert mi.call("uptime") == "OK"
        seen = len(server.requests)
        assert refusal(server.address, cafile=cafile)
        assert len(server.requests) == seen
    with pytest.raises(ValueError, match="key"):
        sipmi.connect("https://127.0.0.1:1/mi", cert=chain)


# -- trouble --------------------------------------------------------------------------------------


def test_a_server_without_tls_is_not_spoken_to_in_tls(cafile: Path) -> None:
    def serve(connection: Connection) -> None:
        connection.socket.recv(4096)
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with RogueHttp(serve) as server:
        assert "TLS" in refusal(server.address.replace("http:", "https:"), cafile=cafile)


def test_a_server_with_tls_is_not_spoken_to_without(context: ssl.SSLContext) -> None:
    with tls_server(context) as server:
        assert server.address.startswith("https:")
        assert refusal(server.address.replace("https:", "http:"))


def test_a_handshake_has_the_calls_deadline(cafile: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://127.0.0.1:{silent.getsockname()[1]}/mi"
        with sipmi.connect(address, cafile=cafile, timeout=0.3) as mi, pytest.raises(sipmi.CallTimeout):
            mi.call("uptime")


def test_an_answer_to_the_end_that_was_cut_under_tls_is_no_answer(context: ssl.SSLContext, cafile: Path) -> None:
    def serve(connection: Connection) -> None:
        request = connection.read_request()
        assert request is not None
        body = json_answer(request, ["x"] * 10).partition(b"\r\n\r\n")[2]
        connection.send(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        connection.socket.shutdown(socket.SHUT_RDWR)  # without TLS's own farewell

    with (
        RogueHttp(serve, context=context) as server,
        sipmi.connect(server.address, cafile=cafile, wire="jsonrpc", timeout=20) as mi,
        pytest.raises(sipmi.TransportError),
    ):
        mi.call("some")


# -- our own server -------------------------------------------------------------------------------


@contextlib.contextmanager
def own_server(**options: Any) -> Iterator[str]:
    server = sipmi.Server("billing")

    @server.command
    def echo(value: str) -> str:
        return value

    @server.command
    def account(user: str, credit: float = 1.0) -> dict[str, Any]:
        return {"user": user, "credit": credit}

    @server.command
    def fail() -> None:
        raise sipmi.Fault(404, "No such thing")

    server.listen("http://127.0.0.1:0", **options)
    with server:
        yield server.addresses[0].rpartition("/")[0]


@pytest.mark.parametrize("path", ["/mi", "/json", "/RPC2", "/xmlrpc"])
def test_a_sipmi_server_is_called_on_every_wire(path: str) -> None:
    with own_server() as root, sipmi.connect(root + path, timeout=20) as mi:
        assert mi.generation == "sipmi"
        assert mi.call("echo", "a b&<c>\u00e9\U0001f600") == "a b&<c>\u00e9\U0001f600"
        size = 2000 if path == "/json" else 100_000  # a path is not for large values
        assert mi.call("echo", "x" * size) == "x" * size
        credit: Any = 2.5 if path in ("/mi", "/RPC2") else "2.5"
        assert mi.call("account", "alice", 2.5) == {"user": "alice", "credit": credit}
        with pytest.raises(sipmi.Fault) as caught:
            mi.call("fail")
        assert (caught.value.code, caught.value.message) == (404, "No such thing")
        with pytest.raises(sipmi.MethodNotFound):
            mi.call("nosuch")
        processes = mi.call("ps")["Processes"]
        assert processes[0]["PID"] == os.getpid()
        assert mi.call("help") == "Usage: help mi_cmd - returns information about 'mi_cmd'"


@pytest.mark.parametrize("form", ["native", "string", "array", "ng", "ng1", "ng2"])
def test_every_form_of_xml_rpc_of_our_own_server_is_understood(form: str) -> None:
    with own_server(xmlrpc=form) as root, sipmi.connect(root + "/RPC2", timeout=20) as mi:
        assert (mi.wire, mi.generation) == ("xmlrpc", "sipmi")
        assert mi.call("echo", "hello world") == "hello world"
        assert mi.call("account", "alice")["user"] == "alice"
        assert "echo" in mi.call("which")
        with pytest.raises(sipmi.MethodNotFound):
            mi.call("nosuch")


def test_credentials_and_large_values_go_under_tls(authority: trustme.CA, cafile: Path, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    with own_server(tls=(str(cert), str(key)), auth={"ann": "s3cret"}) as root:
        assert root.startswith("https://")
        with sipmi.connect(root + "/mi", cafile=cafile, auth=("ann", "s3cret"), timeout=20) as mi:
            assert mi.call("echo", "y" * 500_000) == "y" * 500_000
        text = refusal(root + "/mi", cafile=cafile, auth=("ann", "wr0ng"))
        assert "401" in text
        assert "wr0ng" not in text


# -- from a shell ---------------------------------------------------------------------------------


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sipmi", "call", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)


def test_a_shell_takes_credentials_from_options_or_the_environment() -> None:
    with own_server(auth={"ann": "s3cret"}) as root:
        named = shell(root + "/mi", "echo", "hello", "--auth", "ann:s3cret")
        assert (named.returncode, named.stdout) == (0, "hello\n"), named
        by_environment = shell(root + "/RPC2", "echo", "hello", SIPMI_AUTH="ann:s3cret")
        assert (by_environment.returncode, by_environment.stdout) == (0, "hello\n"), by_environment
        in_address = shell(root.replace("//", "//ann:s3cret@") + "/json", "echo", "hello", SIPMI_AUTH="no:body")
        assert (in_address.returncode, in_address.stdout) == (0, "hello\n"), in_address
        wrong = shell(root + "/mi", "echo", "hello", "--auth", "ann:wr0ng")
        assert wrong.returncode == 3
        assert "auth=" in wrong.stderr
        assert "wr0ng" not in wrong.stderr


def test_a_shell_believes_any_server_only_when_told(context: ssl.SSLContext, cafile: Path) -> None:
    with tls_server(context) as server:
        assert shell(server.address, "uptime").returncode == 3
        for options in (["--cafile", str(cafile)], ["--insecure"]):
            done = shell(server.address, "uptime", *options)
            assert (done.returncode, done.stdout) == (0, "OK\n"), done


def test_an_authority_and_no_verification_exclude_each_other() -> None:
    both: dict[str, Any] = {"cafile": "ca.pem", "verify": False}
    words = r"expected either cafile or verify=False, got both: .*ca\.pem is not looked at"
    with pytest.raises(ValueError, match=words):
        sipmi.connect("https://127.0.0.1:1/mi", **both)
    with pytest.raises(ValueError, match=words):
        asyncio.run(sipmi.connect_async("https://127.0.0.1:1/mi", **both))
