"""The core's commands: which, help, version, uptime, ps, pwd, arg, kill, log_level and debug."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from ..._core import Node, Tree
from ...errors import AmbiguousMethod, Fault
from .commands import LEGACY, MODERN, SINCE_3_4, Module, array, invalid_params, mi, texts

if TYPE_CHECKING:
    from .deployment import Deployment

RELEASES = {
    "1.8": "1.8.8-notls", "1.11": "1.11.11-notls", "2.4": "2.4.11", "3.2": "3.2.19", "3.4": "3.4.18", "3.6": "3.6.8",
    "4.0": "4.0.1", "4.1": "4.1.0-dev",
}  # fmt: skip
HELP_USAGE = "help mi_cmd - returns information about 'mi_cmd'"


@dataclasses.dataclass
class FakeProcess:
    """One line of ``ps``."""

    number: int
    pid: int
    type: str
    log_level: int


class Core(Module):
    """A process as it describes itself.

    :ivar started: when it was started, in seconds since 1970.
    :ivar log_level: the level of all processes that have none of their own.
    """

    def __init__(self, fake: Deployment) -> None:
        super().__init__(fake)
        self.started: float = time.time()
        self.log_level: int = 3
        self.xlog_level: int = 3
        self.arguments: list[str] = ["opensips", "-f", "opensips.cfg"]
        self.working_directory: str = os.getcwd()
        self.filters: dict[str, int] = {}
        self.muted: dict[str, int] = {}
        self._levels: dict[int, int] = {}

    @property
    def release(self) -> str:
        """The reply of the command ``version``."""
        return f"OpenSIPS ({RELEASES[self.fake.version]} (x86_64/linux))"

    @property
    def processes(self) -> list[FakeProcess]:
        """The processes that the version would have; the first is this one, the others exist on paper."""
        pid = os.getpid()
        types = process_types(self.fake.version, self.fake.sip_socket, self.fake.http_socket)
        return [
            FakeProcess(number, pid + number, type, self._levels.get(pid + number, self.log_level))
            for number, type in enumerate(types)
        ]

    @mi("which", LEGACY, no_input=True, read_only=True)
    def which_all(self) -> Tree:
        """lists all available MI commands"""
        return texts(command.name for command in self.fake.server.commands)

    @mi("which", MODERN, read_only=True)
    def which(self, command: str = "") -> Any:
        """lists all available MI commands"""
        if not command:
            return self._names(self.fake.server.commands)
        if command.endswith(":") and self.modular:
            names = self._names(c for c in self.fake.server.commands if c.module == command[:-1])
            if not names:
                raise Fault(404, "unknown MI command")
            return names
        return self._find(command).recipes

    @mi("help", read_only=True)
    def help(self, mi_cmd: str = "") -> Any:
        """prints information about MI commands usage"""
        if not mi_cmd:
            return {"Usage": HELP_USAGE} if self.legacy else f"Usage: {HELP_USAGE}"
        found = self._find(mi_cmd)
        return {"Help": found.help or "not available for this command", "Exported by": found.module}

    @mi("version", LEGACY, no_input=True, read_only=True)
    def version_alone(self) -> dict[str, str]:
        """prints the version string of a runningOpenSIPS"""
        return {"Server": self.release}

    @mi("version", MODERN, read_only=True)
    def version(self, revision: str = "") -> dict[str, str]:
        """prints the version string of a runningOpenSIPS"""
        # A server built from a tarball does not know its revision.
        return {"Server": self.release, **({"unknown": "unknown"} if revision else {})}

    @mi("uptime", no_input=True, read_only=True)
    def uptime(self) -> dict[str, str]:
        """prints various time information about OpenSIPS - when it started to run, for how long it runs"""
        now = time.time()
        return {
            "Now": time.ctime(now),
            "Up since": time.ctime(self.started),
            "Up time": f"{int(now - self.started)} [sec]",
        }

    @mi("pwd", no_input=True, read_only=True)
    def pwd(self) -> dict[str, str]:
        """prints the working directory of OpenSIPS"""
        return {"WD": self.working_directory}

    @mi("arg", no_input=True, read_only=True)
    def arg(self) -> Any:
        """returns the full list of arguments used at startup"""
        return texts(self.arguments) if self.legacy else list(self.arguments)

    @mi("ps", no_input=True, read_only=True)
    def ps(self) -> Any:
        """lists all processes used by OpenSIPS"""
        if not self.legacy:
            return {"Processes": [{"ID": p.number, "PID": p.pid, "Type": p.type} for p in self.processes]}
        return array(*(attributes("Process", ID=p.number, PID=p.pid, Type=p.type) for p in self.processes))

    @mi("kill", no_input=True)
    def kill(self) -> None:
        """terminates OpenSIPS"""
        threading.Timer(0.05, self.fake.stop).start()  # once the reply is out

    @mi("debug", ("1.8", "1.11"))
    def debug(self, level: int = -1000, *more: str) -> dict[str, int]:
        """gets/sets the value of core's debug level"""
        if level != -1000:
            self.log_level = level
        return {"DEBUG": self.log_level}

    @mi("log_level", ("2.4",))
    def log_level_of_text(self, level: int = -1000, pid: int = 0, *more: str) -> Any:
        """gets/sets the per process or global log level in OpenSIPS"""
        if more:
            raise Fault(400, "Bad parameter")
        if level == -1000:
            shown = [(p.pid, p.log_level, p.type) for p in self.processes]
            nodes = (attributes("Process", **{"PID": a, "Log level": b, "Type": c}) for a, b, c in shown)
            return array(*nodes)
        return self._set_level(level, pid, Fault(400, "Bad parameter"))

    @mi("log_level", MODERN, recipes=[[], ["level"], ["level", "pid"]])
    def log_level_of_json(self, level: int = -1000, pid: int = 0) -> Any:
        """gets/sets the per process or global log level in OpenSIPS"""
        if level == -1000:
            shown = [{"PID": p.pid, "Log level": p.log_level, "Type": p.type} for p in self.processes]
            return {"Processes": shown}
        return self._set_level(level, pid, invalid_params("Bad PID"))

    @mi("xlog_level", MODERN, recipes=[[], ["level"]])
    def xlog(self, level: int = -1000) -> dict[str, int]:
        """gets/sets the per process or global xlog level in OpenSIPS"""
        if level == -1000:
            return {"xLog Level": self.xlog_level}
        self.xlog_level = level
        return {"New xLog level": level}

    @mi("log_level_filter", SINCE_3_4, recipes=[["consumer"], ["consumer", "level_filter"]])
    def log_level_filter(self, consumer: str, level_filter: int = -1000) -> Any:
        """sets the log level filter for a log consumer"""
        return self._of_consumer(self.filters, "Log level filter", consumer, level_filter)

    @mi("log_mute_state", SINCE_3_4, recipes=[["consumer"], ["consumer", "mute_state"]])
    def log_mute_state(self, consumer: str, mute_state: int = -1000) -> Any:
        """sets the mute state for a log consumer"""
        return self._of_consumer(self.muted, "mute state", consumer, mute_state)

    def _of_consumer(self, states: dict[str, int], name: str, consumer: str, state: int) -> Any:
        if consumer not in ("stderror", "syslog", "event"):
            raise Fault(404, "Unknown log consumer")
        if state == -1000:
            return {name: states.get(consumer, 0)}
        states[consumer] = state
        return None

    def _set_level(self, level: int, pid: int, no_such_process: Fault) -> dict[str, int]:
        if not pid:
            self.log_level = level
            self._levels.clear()
            return {"New global log level": level}
        if all(process.pid != pid for process in self.processes):
            raise no_such_process
        self._levels[pid] = level
        return {"Log level": level}

    def _names(self, commands: Any) -> list[str]:
        return [f"{command.module}:{command.name}" if self.modular else command.name for command in commands]

    def _find(self, name: str) -> Any:
        try:
            found = self.fake.server.lookup(name)
        except AmbiguousMethod:
            found = None
        if found is None:
            raise Fault(404, "unknown MI command")
        return found


def attributes(name: str, **values: Any) -> Node:
    """A node of attributes alone."""
    node = Node(name)
    for key, value in values.items():
        node.add_attr(key, value)
    return node


def process_types(version: str, sip: str, http: str) -> list[str]:
    """Return the names that ``ps`` gives to the processes of a version, the attendant first."""
    first = ["attendant", f"HTTPD {http}"]
    if version in ("1.8", "1.11"):
        first += ["MI XMLRPC", "MI Datagram", "MI FIFO", *[f"SIP receiver {sip} "] * 2, "time_keeper"]
        return [*first, "timer: tm-utimer", "timer: rl-timer", "TCP receiver", "TCP receiver", "TCP main"]
    receiver = f"SIP receiver {sip} " if version == "2.4" else f"SIP receiver {sip}"
    routes = ["event-route handler"] if version == "2.4" else []
    return [*first, "MI Datagram", "MI FIFO", *routes, "time_keeper", "timer", receiver, receiver, "Timer handler"]
