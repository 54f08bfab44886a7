"""Access over HTTP: TLS, credentials, foreign web pages, networks, commands."""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest
import trustme

import sipmi
from endpoints import DatagramPeer
from http_peer import HttpPeer, HttpReply, ask, request, rpc


@contextmanager
def serving(**options: Any) -> Iterator[str]:
    server = sipmi.Server("web")

    @server.command(read_only=True)
    def look() -> str:
        return "seen"

    @server.command
    def change() -> str:
        return "changed"

    @server.command(read_only=True)
    def who() -> Optional[str]:
        asked = sipmi.current_request()
        return asked.user if asked else None

    server.listen("http://127.0.0.1:0", **options)
    with server:
        yield server.addresses[0]


def post(address: str, body: bytes, **head: Any) -> HttpReply:
    tls = head.pop("tls", None)
    return ask(address, request("POST", "/mi", body, **head), tls=tls)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# -- foreign web pages ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(hosts=["mi.example.org"]) as address:
        yield address


@pytest.mark.parametrize(
    "head",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Referer": "http://evil.example/127.0.0.1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_no_foreign_page_may_ask(address: str, head: dict[str, str]) -> None:
    for data in (request("POST", "/mi", rpc("look"), **head), request("GET", "/json/look", **head)):
        reply = ask(address, data)
        assert reply.status == 403
        assert b"foreign" in reply.body


def test_our_own_pages_and_other_programs_may_ask(address: str) -> None:
    authority = address.split("/")[2]
    for head in (
        {},
        {"Host": None, "version": "1.0"},
        {"Host": "localhost:1"},
        {"Host": "mi.example.org"},
        {"Host": authority, "Origin": f"http://{authority}", "Sec_Fetch_Site": "same-origin"},
        {"Host": authority, "Referer": f"http://{authority}/html"},
        {"Sec_Fetch_Site": "none"},
    ):
        assert post(address, rpc("look"), **head).value["result"] == "seen"


def test_a_body_that_a_foreign_page_can_send_is_not_accepted_as_a_request(address: str) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
        assert post(address, rpc("change"), Content_Type=content_type).status == 415


# -- credentials ----------------------------------------------------------------------------------


def test_users_are_let_in_by_their_password() -> None:
    with serving(auth={"ann": "s:ecret", "bob": "pässword"}) as address:
        for user, password in (("ann", "s:ecret"), ("bob", "pässword")):
            assert post(address, rpc("who"), Authorization=basic(user, password)).value["result"] == user
        for wrong in (None, basic("ann", "wrong"), basic("eve", "s:ecret"), "Basic !", "Bearer s:ecret", "Digest x"):
            reply = post(address, rpc("who"), Authorization=wrong)
            assert reply.status == 401
            assert reply.head["www-authenticate"].startswith('Basic realm="OpenSIPS MI"')


def test_a_function_may_authenticate_and_its_failure_rejects_the_client() -> None:
    asked = []

    def decide(user: str, password: str) -> bool:
        asked.append((user, password))
        return user == "ann" and {"secret": True}[password]

    with serving(auth=decide) as address:
        assert post(address, rpc("who"), Authorization=basic("ann", "secret")).value["result"] == "ann"
        assert post(address, rpc("who"), Authorization=basic("eve", "secret")).status == 401
    assert asked == [("ann", "secret"), ("eve", "secret")]


def test_a_token_may_replace_a_password() -> None:
    with serving(token="t0ken") as address:
        assert post(address, rpc("who"), Authorization="Bearer t0ken").value["result"] == "token"
        reply = post(address, rpc("who"), Authorization="Bearer t0keN")
        assert (reply.status, reply.head["www-authenticate"]) == (401, 'Bearer realm="OpenSIPS MI"')


def test_secrets_are_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = sipmi.Server("web")
    server.listen("http://127.0.0.1:0", auth={"ann": "pa55word"}, token="t0k3n")
    with server:
        post(server.addresses[0], rpc("version"), Authorization=basic("ann", "wr0ng"))
        shown = repr(server) + caplog.text + "".join(server.addresses)
    assert not any(secret in shown for secret in ("pa55word", "t0k3n", "wr0ng"))


@pytest.mark.parametrize("options", [{"auth": {}}, {"token": ""}, {"auth": {}, "token": ""}])
def test_empty_credentials_are_rejected(options: dict[str, Any]) -> None:
    with serving(**options) as address:
        for proof in (None, basic("", ""), basic("ann", "secret"), "Bearer ", "Bearer  ", "Bearer x"):
            assert post(address, rpc("look"), Authorization=proof).status == 401, proof
            reply = ask(address, request("GET", "/json/look", Authorization=proof), method="GET")
            assert reply.status == 401, proof


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"auth": {"a:b": "secret"}}, 'auth: expected a user name without a colon, got "a:b"'),
        ({"token": "s3cret\n"}, "token: expected visible ASCII without blanks around it"),
        ({"token": "tökén"}, "token: expected visible ASCII"),
        ({"hosts": ["mi.example.org:8080"]}, "hosts: expected a name such as mi.example.org, without scheme, port"),
        ({"hosts": ["http://mi.example.org"]}, "hosts: expected a name"),
        ({"hosts": [""]}, "hosts: expected a name"),
        ({"allow": ["get_*", ""]}, 'allow: expected patterns of command names, .* got ""'),
        ({"allow": ["get_*, which"]}, 'allow: expected patterns .* got "get_\\*, which"'),
    ],
)
def test_names_and_tokens_that_can_never_match_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        sipmi.Server("web").listen("http://127.0.0.1:0", **options)
    assert "s3cret" not in str(raised.value)


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> tuple[str, str]:
    issued = authority.issue_cert("127.0.0.1", "localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return str(chain), str(key)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls_carries_requests_of_any_size(authority: trustme.CA, certificate: tuple[str, str]) -> None:
    with serving(tls=certificate) as address:
        assert address.startswith("https://127.0.0.1:")
        with HttpPeer(address, tls=trusting(authority)) as peer:
            for size in (10, 100_000, 3_000_000):
                reply = peer.ask(request("POST", "/mi", rpc("look") + b" " * size))
                assert reply.value["result"] == "seen"


def test_every_tls_version_that_is_safe_is_spoken(authority: trustme.CA, certificate: tuple[str, str]) -> None:
    with serving(tls=certificate) as address:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting(authority)
            context.minimum_version = context.maximum_version = version
            assert post(address, rpc("look"), tls=context).status == 200


def test_one_file_may_hold_certificate_and_key(
    authority: trustme.CA, certificate: tuple[str, str], tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(certificate[0]).read_text() + Path(certificate[1]).read_text())
    with serving(tls=both) as address:
        assert post(address, rpc("look"), tls=trusting(authority)).status == 200


def test_plain_http_on_a_tls_port_is_refused_and_others_are_served(
    authority: trustme.CA, certificate: tuple[str, str]
) -> None:
    with serving(tls=certificate) as address:
        with HttpPeer(address) as plain:
            plain.send(request("POST", "/mi", rpc("look")))
            assert not plain.socket.recv(1000).startswith(b"HTTP")
        assert post(address, rpc("look"), tls=trusting(authority)).status == 200


@pytest.mark.parametrize("begun", [0, 1, 50])
def test_a_tls_handshake_that_does_not_end_is_given_up(
    authority: trustme.CA, certificate: tuple[str, str], begun: int
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with serving(tls=certificate, read_timeout=0.8) as address, HttpPeer(address, tls=trusting(authority)) as idle:
        with HttpPeer(address) as peer:
            peer.send(outgoing.read()[:begun])
            assert peer.is_closed()
        # This one has agreed on TLS, and may be idle.
        assert idle.ask(request("POST", "/mi", rpc("look"))).status == 200


def test_clients_must_show_a_certificate_where_one_is_asked_for(
    authority: trustme.CA, certificate: tuple[str, str], tmp_path: Path
) -> None:
    clients = trustme.CA()
    client_ca = tmp_path / "clients.pem"
    clients.cert_pem.write_to_path(str(client_ca))
    with serving(tls=certificate, client_ca=client_ca) as address:
        known = trusting(authority)
        clients.issue_cert("operator@example.org").configure_cert(known)
        assert post(address, rpc("look"), tls=known).value["result"] == "seen"
        stranger = trusting(authority)
        trustme.CA().issue_cert("operator@example.org").configure_cert(stranger)
        for context in (trusting(authority), stranger):
            # The server says why in an alert, or the client sees only that it is gone.
            with pytest.raises((OSError, AssertionError), match=r"(?i)alert|reset|broken pipe|closed the connection"):
                post(address, rpc("look"), tls=context)


def test_unusable_tls_files_are_errors_with_their_reason(certificate: tuple[str, str], tmp_path: Path) -> None:
    server = sipmi.Server("web")
    for options, words in [
        ({"tls": (str(tmp_path / "none.pem"), certificate[1])}, "cannot read the certificates .*none.pem"),
        ({"tls": (certificate[1], certificate[1])}, "there is none in it"),
        ({"tls": (certificate[0], certificate[0])}, "cannot read the key"),
        ({"client_ca": certificate[0]}, "client_ca needs tls"),
    ]:
        with pytest.raises(ValueError, match=words):
            server.listen("http://127.0.0.1:0", **options)
    with pytest.raises(ValueError, match="needs tls"):
        server.listen("https://127.0.0.1:0")


# -- networks and commands ------------------------------------------------------------------------


def test_only_the_listed_networks_are_served() -> None:
    with serving(allow_from=["10.0.0.0/8", "::1"]) as address, HttpPeer(address) as peer:
        reply = peer.read()
        assert reply.status == 403
    with serving(allow_from=["127.0.0.0/8"]) as address:
        assert post(address, rpc("look")).status == 200
    with pytest.raises(ValueError, match="expected a network"):
        sipmi.Server("web").listen("http://127.0.0.1:0", allow_from=["localhost"])


def test_only_the_listed_networks_are_served_over_udp() -> None:
    server = sipmi.Server("web")
    server.listen("udp:127.0.0.1:0", allow_from=["10.0.0.0/8"])
    server.listen("udp:127.0.0.1:0", allow_from=["127.0.0.1"])
    with server:
        closed, opened = (DatagramPeer(address) for address in server.addresses)
        assert opened.exchange(rpc("version")) is not None
        assert closed.exchange(rpc("version"), silence=0.2) is None
        closed.close()
        opened.close()


def test_an_empty_list_of_networks_serves_none() -> None:
    with serving(allow_from=[]) as address, HttpPeer(address) as http:
        assert http.read().status == 403
    server = sipmi.Server("web")
    server.listen("udp:127.0.0.1:0", allow_from=[])
    with server:
        peer = DatagramPeer(server.addresses[0])
        assert peer.exchange(rpc("version"), silence=0.2) is None
        peer.close()


def test_an_empty_list_of_commands_runs_none(directory: str) -> None:
    with serving(allow=[]) as address:
        assert post(address, rpc("look")).value["error"]["data"] == "Command not allowed"
        assert post(address, rpc("which")).value["error"]["data"] == "Command not allowed"
    server = sipmi.Server("web")
    server.listen(f"unix:{directory}/mi.sock", allow=[])
    with server:
        peer = DatagramPeer(server.addresses[0])
        assert peer.exchange(b":version:\n") == b"403 Command not allowed\n\n"
        peer.close()


@pytest.mark.parametrize(
    ("options", "allowed", "denied"),
    [
        ({"allow": ["lo*"]}, "look", "change"),
        ({"allow": ["web:l??k", "ps"]}, "look", "who"),
        ({"read_only": True}, "look", "change"),
        ({"allow": ["change", "look"], "read_only": True}, "look", "change"),
    ],
)
def test_only_the_allowed_commands_are_run(options: dict[str, Any], allowed: str, denied: str) -> None:
    with serving(**options) as address:
        assert post(address, rpc(allowed)).value["result"] == "seen"
        error = post(address, rpc(denied)).value["error"]
        assert (error["code"], error["data"]) == (-32000, "Command not allowed")
        assert post(address, rpc("nosuch")).value["error"]["code"] == -32601


def test_get_may_be_limited_to_commands_that_change_nothing() -> None:
    for json_get, changed in (("programs", b'{"value":"changed"}'), ("read_only", b'"message": "Command not allowed"')):
        with serving(json_get=json_get) as address:
            assert ask(address, request("GET", "/json/look"), method="GET").body == b'{"value":"seen"}'
            assert changed in ask(address, request("GET", "/json/change"), method="GET").body
            assert post(address, rpc("change")).value["result"] == "changed"
    with pytest.raises(ValueError, match="expected json_get"):
        sipmi.Server("web").listen("http://127.0.0.1:0", json_get="none")


def test_every_listener_may_be_read_only(directory: str) -> None:
    server = sipmi.Server("web")

    @server.command
    def change() -> str:
        return "changed"

    server.listen("udp:127.0.0.1:0", read_only=True)
    server.listen(f"unix:{directory}/mi.sock")
    with server:
        udp, unix = (DatagramPeer(address) for address in server.addresses)
        assert udp.exchange(b":change:\n") == b"403 Command not allowed\n\n"
        assert unix.exchange(b":change:\n") == b"200 OK\nchanged\n\n"
        udp.close()
        unix.close()
