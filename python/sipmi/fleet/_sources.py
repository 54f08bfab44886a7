"""Where fleets are written down: TOML, YAML and JSON files, and the SRV records of DNS."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Optional, Union

from .._numbers import Timeout
from .._options import check_option
from ._policy import Policy

#: The keys of a file beside its nodes.
_KEYS = {"nodes", "defaults"} | {field.name for field in dataclasses.fields(Policy)} - {"healthy", "progress"}


def read_file(path: Union[str, os.PathLike[str]]) -> dict[str, Any]:
    """Read the file of a fleet: ``nodes``, ``defaults`` and options."""
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1].lower()
    with open(path, "rb") as file:
        text = file.read()
    if suffix == ".toml":
        said = _read_toml(text)
    elif suffix in (".yaml", ".yml"):
        said = _read_yaml(text)
    elif suffix == ".json":
        said = json.loads(text)
    else:
        raise ValueError(f"{path}: expected a file that ends in .toml, .yaml, .yml or .json")
    if not isinstance(said, Mapping) or not isinstance(said.get("nodes"), Mapping):
        raise ValueError(f"{path}: expected nodes by name, as [nodes] in TOML")
    for key in said:
        if key not in _KEYS:
            raise ValueError(f"{path}: there is no setting {key!r}; expected one of {', '.join(sorted(_KEYS))}")
    if not isinstance(said.get("defaults", {}), Mapping):
        raise ValueError(f"{path}: expected options by name as defaults, found {said['defaults']!r}")
    return {key: tuple(value) if key == "check" and isinstance(value, list) else value for key, value in said.items()}


def _read_toml(text: bytes) -> Any:
    # In the standard library from Python 3.11 on.
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError as error:
        raise ImportError("TOML before Python 3.11 needs tomli: pip install 'sipmi[fleet]'") from error
    return toml.loads(text.decode())


def _read_yaml(text: bytes) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError("YAML needs PyYAML: pip install 'sipmi[fleet]'") from error
    return yaml.safe_load(text)


def read_srv(
    name: str, *, address: Optional[str] = None, nameserver: Optional[str] = None, timeout: float = 5.0
) -> dict[str, str]:
    """Addresses by host and port, those of the highest priority first."""
    check_option("from_srv()", "timeout", timeout, Timeout)
    try:
        import dns.exception
        import dns.resolver
    except ImportError as error:
        raise ImportError("DNS SRV needs dnspython: pip install 'sipmi[fleet]'") from error
    template = address or _template(name)
    if nameserver is None:
        resolver = dns.resolver.Resolver()
    else:
        resolver = dns.resolver.Resolver(configure=False)
        host, resolver.port = _host_and_port(nameserver)
        resolver.nameservers = [host]
    try:
        records = resolver.resolve(name, "SRV", lifetime=timeout)
    except dns.resolver.NXDOMAIN as error:
        raise LookupError(f"there is no name {name}") from error
    except dns.resolver.NoAnswer as error:
        raise LookupError(f"{name} has no SRV records") from error
    except dns.exception.DNSException as error:
        raise OSError(f"the SRV records of {name} were not found: {error}") from error
    nodes = {}
    for record in sorted(records, key=lambda one: (one.priority, -one.weight, str(one.target), one.port)):
        host = str(record.target).rstrip(".")
        if host:  # a lone dot says that the service is not offered
            nodes[f"{host}:{record.port}"] = template.format(host=host, port=record.port)
    if not nodes:
        raise LookupError(f"{name} says that there is no such service")
    return nodes


def _template(name: str) -> str:
    labels = name.lower().split(".")
    service, protocol = (*labels, "", "")[:2]
    if protocol == "_udp":
        return "udp:{host}:{port}"
    if protocol == "_tcp":
        scheme = "https" if service.endswith(("https", "mis")) else "http"
        return scheme + "://{host}:{port}/mi"
    raise ValueError(f"expected a name as _mi._udp.example.org, found {name!r}; or say address='udp:{{host}}:{{port}}'")


def _host_and_port(nameserver: str) -> tuple[str, int]:
    """``127.0.0.1``, ``127.0.0.1:5353``, ``::1`` or ``[::1]:5353``."""
    host, colon, port = nameserver.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = nameserver, "53"
    if not port.isdigit():
        raise ValueError(f"expected a name server as host or host:port, found {nameserver!r}")
    return host.strip("[]"), int(port)
