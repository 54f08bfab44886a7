"""``sipmi cert``: a self-signed certificate for trials."""

from __future__ import annotations

import argparse
import ipaddress
import os
import shutil
from typing import Any

from ..ending import ERROR_ANSWER, OK, Failure, complain
from ..options import add_json
from ..output import print_json


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "cert",
        help="a self-signed certificate for trials",
        description="Makes a key and a self-signed certificate for a host with openssl, in one PEM file that listen's\n"
        "tls= and --serve-tls take. Clients name it as their cafile.",
        epilog="sipmi cert localhost 127.0.0.1\n"
        "sipmi gateway edge1 --listen https://127.0.0.1:8443 --serve-tls localhost.pem\n"
        "sipmi call https://127.0.0.1:8443/mi version --cafile localhost.pem",
    )
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="names and addresses of the server")
    parser.add_argument("--days", type=int, default=365, help="how long it is valid (default: 365)")
    parser.add_argument("--file", metavar="FILE", help="the file to write (default: HOST.pem)")
    add_json(parser, "print one line of JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    file = options.file or f"{options.hosts[0]}.pem"
    if os.path.exists(file):
        return complain(ERROR_ANSWER, f"{file} is there already", "remove it, or choose another --file")
    if shutil.which("openssl") is None:
        raise Failure("openssl is not there, which makes the certificate", "apt-get install openssl")
    names = ",".join(subject(host) for host in options.hosts)
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", "-", "-out", "-", "-days", str(options.days),
        "-subj", f"/CN={options.hosts[0]}", "-addext", f"subjectAltName={names}",
    ]  # fmt: skip
    import subprocess  # no other subcommand needs it

    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if made.returncode != 0:
        raise Failure(f"openssl: {made.stderr.strip().splitlines()[-1:] or 'failed'}")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(made.stdout)
    if options.json:
        print_json({"file": file, "hosts": options.hosts, "days": options.days})
    else:
        print(f"{file}: certificate and key of {', '.join(options.hosts)}, valid for {options.days} days")
    return OK


def subject(host: str) -> str:
    """Return a host as a certificate names it.

    >>> subject("127.0.0.1"), subject("localhost")
    ('IP:127.0.0.1', 'DNS:localhost')
    """
    if not host or any(char in host for char in ",/\\ \n"):
        raise Failure(f"expected a host name or an address, found {host!r}")
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"
