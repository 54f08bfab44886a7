"""``sipmi uac``: a SIP request that the server sends (``t_uac_dlg``), with the quoting done."""

from __future__ import annotations

import argparse
from typing import Any

from ..ending import ERROR_ANSWER, OK, Usage
from ..options import ADDRESS_HELP, add_client_options, add_http_options, add_json, client
from ..output import print_json
from ..servers import take_target

#: Requests that have a name of their own: method, headers, body.
KINDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "reboot": ("NOTIFY", ("Event: check-sync;reboot=true",), ""),
    "check-sync": ("NOTIFY", ("Event: check-sync;reboot=false",), ""),
    "mwi": (
        "NOTIFY",
        ("Event: message-summary", "Subscription-State: active", "Content-Type: application/simple-message-summary"),
        "Messages-Waiting: yes\r\n",
    ),
    "message": ("MESSAGE", ("Content-Type: text/plain",), ""),
    "options": ("OPTIONS", (), ""),
}


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "uac",
        help="a SIP request that the server sends: reboot a phone, MWI, OPTIONS, MESSAGE",
        usage="sipmi uac [OPTION...] [ADDRESS] REQUEST URI",
        description="Lets a server send a SIP request (t_uac_dlg of tm) and prints the status of its answer.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\n"
        f"REQUEST is a method (NOTIFY) or one of {', '.join(KINDS)}.\n"
        "sipmi uac edge1 reboot sip:alice@192.0.2.7:5060\n"
        "sipmi uac edge1 message sip:alice@example.org --body 'lunch?'",
    )
    parser.add_argument("words", nargs="+", metavar="WORD", help="[ADDRESS] REQUEST URI; see below")
    parser.add_argument("--from", dest="from_uri", metavar="URI", help="From (default: sip:sipmi@ and the host of URI)")
    parser.add_argument("--to", dest="to_uri", metavar="URI", help="To (default: URI)")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="another header; once or more"
    )
    parser.add_argument("--body", help="the body; a header Content-Type says what it is")
    parser.add_argument("--next-hop", metavar="URI", help="where it is sent instead")
    parser.add_argument("--socket", metavar="SOCKET", help="the socket of the server that sends it: udp:192.0.2.1:5060")
    add_json(parser, "print the reply as one line of JSON")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    words = list(options.words)
    target = take_target(words)
    if len(words) != 2:
        raise Usage("expected REQUEST and URI after the address")
    parameters = parameters_of(words[0], words[1], options)
    with client(target, options) as mi:
        reply = mi.request("t_uac_dlg", params=parameters)
    value = reply.value
    # 1.11 gives the same without names.
    parts = list(value.values()) if isinstance(value, dict) else value
    status = str(parts[0] if isinstance(parts, list) and parts else parts)
    if options.json:
        print_json(value)
    else:
        print(status)
    return OK if status[:1] == "2" else ERROR_ANSWER


def parameters_of(request: str, uri: str, options: argparse.Namespace) -> dict[str, str]:
    """Return the parameters of ``t_uac_dlg``.

    >>> said = argparse.Namespace(from_uri=None, to_uri=None, header=[], body=None, next_hop=None, socket=None)
    >>> parameters_of("reboot", "sip:alice@192.0.2.7:5060", said)["headers"].splitlines()[:2]
    ['From: <sip:sipmi@192.0.2.7>', 'To: <sip:alice@192.0.2.7:5060>']
    """
    if not uri.startswith(("sip:", "sips:")):
        raise Usage(f"expected a URI as sip:alice@192.0.2.7, found {uri!r}")
    method, headers, body = KINDS.get(request.lower(), (request.upper(), (), ""))
    if not method.isalpha():
        raise Usage(f"expected a method or one of {', '.join(KINDS)}, found {request!r}")
    for header in options.header:
        name, colon, _ = header.partition(":")
        if not colon or not name.strip() or "\r" in header or "\n" in header:
            raise Usage(f"expected 'NAME: VALUE' as header, found {header!r}")
    host = uri.partition(":")[2].rpartition("@")[2].partition(";")[0].partition("?")[0]
    host = host.rpartition(":")[0] or host if not host.endswith("]") else host
    lines = [f"From: <{options.from_uri or f'sip:sipmi@{host}'}>", f"To: <{options.to_uri or uri}>"]
    given = {header.partition(":")[0].strip().lower() for header in options.header}
    lines += [header for header in headers if header.partition(":")[0].lower() not in given]
    parameters = {
        "method": method,
        "ruri": uri,
        "headers": "".join(f"{line}\r\n" for line in [*lines, *options.header]),
        "next_hop": options.next_hop,
        "socket": options.socket,
        "body": body if options.body is None else options.body,
    }
    return {name: value for name, value in parameters.items() if value}
