"""Servers by name: the file ``sipmi.toml``, and what is called where nothing is named.

::

    default = "edge1"

    [servers]
    edge2 = "udp:192.0.2.2:8080"

    [servers.edge1]
    address = "https://192.0.2.1:8888/mi"
    token = "secret"
    timeout = 3
    tags = ["eu"]
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

from .ending import Usage

#: By what an address begins. Names and commands never do.
SCHEMES = ("fifo:", "udp:", "unix:", "http:", "https:")

#: Options of a server in the file beside its address, with their types.
OPTIONS: Mapping[str, tuple[type, ...]] = {
    "timeout": (int, float),
    "wire": (str,),
    "reply_dir": (str,),
    "auth": (str, list),
    "token": (str, dict),
    "cafile": (str,),
    "cert": (str,),
    "key": (str,),
    "verify": (bool,),
    "receive_buf_size": (int,),
    "socket_buf_size": (int,),
}
#: Those that are paths, which begin at the file.
PATHS = ("cafile", "cert", "key")


class Target(NamedTuple):
    """A server to call."""

    address: str
    name: str
    """As the user called it: its name, or its address."""
    options: Mapping[str, Any]
    """The options from the file."""
    tags: tuple[str, ...] = ()
    """Words by which a fleet chooses it."""


class Servers(NamedTuple):
    """The content of the file."""

    path: Path
    default: Optional[str]
    targets: Mapping[str, Target]


def config_path() -> Path:
    """SIPMI_CONFIG, or ``sipmi.toml`` where the user's settings are."""
    named = os.environ.get("SIPMI_CONFIG")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "sipmi.toml"


@functools.lru_cache(maxsize=1)
def read_servers() -> Servers:
    """The file, read once; empty where there is none.

    :raises Usage: it cannot be read, or has an unknown entry.
    """
    path = config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Servers(path, None, {})
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{path}: {getattr(error, 'strerror', None) or error}", "SIPMI_CONFIG names another file") from None
    return parse_servers(text, path)


def parse_servers(text: str, path: Path) -> Servers:
    """Read a file of servers.

    >>> servers = parse_servers('default = "a"\\n[servers]\\na = "udp:127.0.0.1:8080"', Path("sipmi.toml"))
    >>> servers.default, servers.targets["a"].address
    ('a', 'udp:127.0.0.1:8080')
    """
    document = _toml(text, path)
    default, servers = document.pop("default", None), document.pop("servers", {})
    if document:
        raise Usage(f"{path}: expected default and servers, found {next(iter(document))!r}")
    if not isinstance(servers, dict):
        raise Usage(f"{path}: expected a table of servers, found {servers!r}")
    targets = {name: _target(name, said, path) for name, said in servers.items()}
    if default is not None and not (isinstance(default, str) and (default in targets or is_address(default))):
        raise Usage(f"{path}: expected the name of one of its servers as default, found {default!r}")
    return Servers(path, default, targets)


def _toml(text: str, path: Path) -> dict[str, Any]:
    for module in ("tomllib", "tomli"):
        try:
            reader = importlib.import_module(module)
        except ImportError:
            continue
        try:
            document: dict[str, Any] = reader.loads(text)
        except ValueError as error:
            raise Usage(f"{path}: {error}") from None
        return document
    raise Usage(f"{path}: Python before 3.11 cannot read it alone", "pip install 'sipmi[cli]'")


def _target(name: str, said: Any, path: Path) -> Target:
    options = {"address": said} if isinstance(said, str) else said
    if not isinstance(options, dict) or not isinstance(options.get("address"), str):
        raise Usage(f"{path}: servers.{name}: expected an address, or a table with one")
    if not is_address(options["address"]) or is_address(name):
        raise Usage(f"{path}: servers.{name}: expected an address as udp:192.0.2.1:8080")
    others: dict[str, Any] = {key: value for key, value in options.items() if key != "address"}
    tags = others.pop("tags", [])
    if not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise Usage(f"{path}: servers.{name}.tags: expected a list of words, found {tags!r}")
    for key, value in others.items():
        if key not in OPTIONS:
            raise Usage(
                f"{path}: servers.{name}: nothing is called {key!r}", f"there are: address, {', '.join(OPTIONS)}"
            )
        if not isinstance(value, OPTIONS[key]) or (isinstance(value, bool) and bool not in OPTIONS[key]):
            expected = " or ".join(kind.__name__ for kind in OPTIONS[key])
            raise Usage(f"{path}: servers.{name}.{key}: expected {expected}, found {type(value).__name__}")
        if key == "token":
            others[key] = _secret(value, f"{path}: servers.{name}.token")
        if key == "auth":
            others[key] = _user(value, f"{path}: servers.{name}.auth")
        if key in PATHS:
            others[key] = str(path.parent / Path(str(value)).expanduser())
    return Target(options["address"], name, others, tuple(tags))


def _user(said: Any, where: str) -> tuple[str, Any]:
    """Read credentials: "user:password", or a user and the place of the password."""
    pair = said.split(":", 1) if isinstance(said, str) else said
    if len(pair) != 2 or not isinstance(pair[0], str):
        raise Usage(f'{where}: expected "user:password" or ["user", {{file = "/path"}}]')
    return pair[0], _secret(pair[1], where)


def _secret(said: Any, where: str) -> Any:
    """A secret, or where it is: ``{env = "NAME"}`` or ``{file = "/path"}``. It is read when it is used."""
    if isinstance(said, str):
        return said
    from ..client import Secret

    if not (isinstance(said, dict) and len(said) == 1 and set(said) <= {"env", "file"}):
        raise Usage(f'{where}: expected a secret, or {{env = "NAME"}} or {{file = "/path"}}')
    [(kind, place)] = said.items()
    return Secret(kind, str(Path(place).expanduser()) if kind == "file" else str(place))


def is_address(word: str) -> bool:
    """Return whether a text has the form of an address.

    >>> is_address("udp:127.0.0.1:8080"), is_address("edge1"), is_address("usrloc:dump")
    (True, False, False)
    """
    return word.startswith(SCHEMES)


def find(word: str) -> Optional[Target]:
    """The server of an address or a name; None when it is neither."""
    return Target(word, word, {}) if is_address(word) else read_servers().targets.get(word)


def default() -> Optional[Target]:
    """Return the server to call if none is named: SIPMI_ADDRESS (an address or a name), or the file's default."""
    named = os.environ.get("SIPMI_ADDRESS") or read_servers().default
    return resolve(named) if named else None


def resolve(word: Optional[str]) -> Target:
    """The server of an address or a name, or else the default.

    :raises Usage: there is none.
    """
    if word is None:
        found = default()
        if found is None:
            raise Usage("no server is named", f"give an address, or set SIPMI_ADDRESS, or a default in {config_path()}")
        return found
    found = find(word)
    if found is None:
        names = list(read_servers().targets)
        near = difflib.get_close_matches(word, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"an address begins with {', '.join(SCHEMES)}"
        raise Usage(f"{word!r} is neither an address nor a server in {config_path()}", hint)
    return found


def take_target(words: list[str]) -> Target:
    """Takes the server off a list of words, where the first one names one; else it is the default.

    :raises Usage: the first word names none, and there is no default.
    """
    found = find(words[0]) if words else None
    if found is not None:
        del words[0]
        return found
    fallback = default()
    return fallback if fallback is not None else resolve(words[0] if words else None)
