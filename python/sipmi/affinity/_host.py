"""The machine with its devices, interrupts and processes: :class:`Host`."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union

from .._core import CpuSet, HostProcess, Plan, set_thread_affinity
from .._core import Host as CoreHost
from .._numbers import Seconds
from .._options import check_option
from ._evidence import Caller, Evidence, Wakeups, call_for, roles_of, wait_for
from ._interrupts import InterruptWatch

Cpus = Union[CpuSet, str, Iterable[int]]
"""CPUs as users write them: a CpuSet, the text of a list (`"0-3,8"`), or numbers."""

Processes = Union[str, int, HostProcess, Iterable[Union[str, int, HostProcess]]]
"""Processes as users write them: names, pids, what `Host.processes` returns, or several of these."""

#: The parts of a measurement, which show its noise.
_PARTS = 5


class Host(CoreHost):
    """A machine: this one, or the tree of one that was captured.

    `root` is `/`, a folder with `proc/` and `sys/` in it, or a file that `capture` wrote. A captured machine takes
    writes as its kernel would, so that a plan can be rehearsed. `faults` maps paths to what shall go wrong there: an
    error name (`"EIO"`, `"read:EACCES"`), `"ignored"` (accepted, nothing changes) or `"stuck"` (accepted, the
    interrupt stays where it is); `kill_after` ends this process by SIGKILL after that many writes.

    Errors: OSError of the fitting kind with path and errno, LookupError for what does not exist, ProcessLookupError
    for a process that does not, ValueError for arguments and for files that say something else than they should.

    >>> host = Host()
    >>> host.live
    True
    """

    def __new__(
        cls,
        root: Union[str, os.PathLike[str]] = "/",
        *,
        faults: Optional[Mapping[str, str]] = None,
        kill_after: Optional[int] = None,
    ) -> Host:
        extracted = None
        if os.path.isfile(root):
            from ._capture import extract

            root = extracted = extract(root)
        host = super().__new__(cls, root, faults=None if faults is None else dict(faults), kill_after=kill_after)
        if extracted is not None:
            weakref.finalize(host, shutil.rmtree, extracted, ignore_errors=True)
        return host

    def processes(
        self,
        name: Optional[str] = None,
        *,
        pidfile: Union[str, os.PathLike[str], None] = None,
        cgroup: Optional[str] = None,
        mi: Optional[Caller] = None,
        roles: Optional[Mapping[int, str]] = None,
        threads: Optional[str] = None,
    ) -> list[HostProcess]:
        """All processes of a server: by name, pidfile (with all descendants), control group, or as its MI `ps` says.

        With `mi` (a client of the server) each process has its `role`: `attendant`, `SIP receiver`, `timer`. A name
        and `mi` together: the name's processes, with the roles that the server gives them. With `threads` (a name, or
        its beginning and `*`) only those threads count: `processes("rtpengine", threads="poller*")`.

        >>> Host().processes(cgroup="/")[0].pid > 0
        True
        """
        if mi is not None:
            roles = {**roles_of(mi.call("ps")), **(roles or {})}
        known = None if roles is None else dict(roles)
        return super().processes(name, pidfile=pidfile, cgroup=cgroup, roles=known, threads=threads)

    def plan(
        self,
        *,
        device: Union[str, Iterable[str], None] = None,
        process: Optional[Processes] = None,
        cpus: Optional[Cpus] = None,
        policy: str = "auto",
        steering: bool = True,
        reuse_port: bool = False,
        irqbalance: bool = True,
    ) -> Plan:
        """Say what would have to change so that devices and processes work on the same CPUs. Changes nothing.

        - `device`: a network or block device, or several (`["eth0", "sda"]`)
        - `process`: a name, a pid, processes from `processes()`, or several of these (`["opensips", "rtpengine"]`)
        - `cpus`: where; None takes the last-level cache domain nearest to the devices
        - `policy`: `"auto"` (each of several queues on a CPU of its own; of more than 4 CPUs, processes get the others,
          in proportion to the numbers of queues and processes), `"same"` (one set for all), `"siblings"` (interrupts on
          the first thread of each core, processes on the others), `"spread"` (each queue on a CPU of the one set)
        - `steering`: also set RPS and XPS
        - `reuse_port`: each worker has its own socket, so that `"spread"` may give each a CPU
        - `irqbalance`: tell a running irqbalance to leave the interrupts alone

        The CPUs to choose from are those that are online and in the cpuset, never what a thread is pinned to now: made
        twice, a plan is the same plan.

        >>> plan = Host().plan(process=os.getpid(), cpus=thread_affinity())
        >>> [item["kind"] for item in plan.items]
        ['process']
        """
        devices = [device] if isinstance(device, str) else list(device or ())
        return self._plan(
            devices=devices,
            processes=self._resolve(process),
            cpus=cpus,
            policy=policy,
            steering=steering,
            reuse_port=reuse_port,
            irqbalance=irqbalance,
        )

    def _resolve(self, process: Optional[Processes]) -> list[HostProcess]:
        if process is None:
            return []
        if isinstance(process, str):
            return self.processes(process)
        if isinstance(process, int):
            return [self.process(process)]
        if isinstance(process, HostProcess):
            return [process]
        return [found for each in process for found in self._resolve(each)]

    def run(self, command: Sequence[str], *, cpus: Cpus, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command on these CPUs, as `taskset` does, and wait for it; `options` are those of `subprocess.run`.

        `taskset 3 cmd` means the mask 3: `run(cmd, cpus=CpuSet.from_mask("3"))`. The caller's affinity stays as it is.

        >>> Host().run(["true"], cpus=thread_affinity()).returncode
        0
        """
        wait = {name: options.pop(name) for name in ("input", "timeout") if name in options}
        check = options.pop("check", False)
        if options.pop("capture_output", False):
            options.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if wait.get("input") is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(command, cpus=cpus, **options) as child:
            try:
                output, errors = child.communicate(**wait)
            except BaseException:
                child.kill()
                raise
        done: subprocess.CompletedProcess[Any] = subprocess.CompletedProcess(command, child.returncode, output, errors)
        if check:
            done.check_returncode()
        return done

    def popen(self, command: Sequence[str], *, cpus: Cpus, **options: Any) -> subprocess.Popen[Any]:
        """Start a command on these CPUs (`sched_setaffinity` in the thread that forks it).

        `options` are those of `subprocess.Popen`.
        """
        if not self.live:
            raise ValueError(f"expected a live machine to run a command on, found the captured one in {self.root}")
        outcome: list[subprocess.Popen[Any]] = []
        failure: list[BaseException] = []

        # A thread of its own is moved, and the child inherits that thread's CPUs.
        def start() -> None:
            try:
                set_thread_affinity(cpus)
                outcome.append(subprocess.Popen(command, **options))
            except BaseException as error:
                failure.append(error)

        starter = threading.Thread(target=start, name="sipmi-run")
        starter.start()
        starter.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def capture(self, file: Union[str, os.PathLike[str]]) -> int:
        """Write what this module reads of the machine into a tar.gz, and return the number of files in it.

        `Host(root=file)` reads it anywhere. Command lines are cut to their first word; nothing else of processes but
        names, states and affinities is taken.
        """
        from ._capture import write

        return write(self.root, file)

    def watch_interrupts(
        self,
        *,
        device: Optional[str] = None,
        action: Optional[str] = None,
        interval: float = 1.0,
        count: Optional[int] = None,
    ) -> InterruptWatch:
        """How many interrupts a second arrive on which CPU, again and again: an iterable of samples.

        The last thing in a notebook's cell, it is a live heat map. `device` and `action` pick rows as
        `InterruptTable.select_rows` does; all by default. `count` samples, or without end.

        >>> [sample.cpus for sample in Host().watch_interrupts(interval=0.01, count=1)] == [Host().topology().online]
        True
        """
        return InterruptWatch(self, device=device, action=action, interval=interval, count=count)

    def measure(
        self,
        *,
        device: Union[str, Iterable[str], None] = None,
        process: Optional[Processes] = None,
        seconds: float = 1.0,
        mi: Optional[Caller] = None,
        command: str = "uptime",
    ) -> Evidence:
        """Count for some seconds, in five equal parts, what a plan is meant to change.

        That is: interrupts per queue and CPU; packets lost by cards, in the backlog, by UDP and UDP6 in all and by each
        socket; context switches of the processes and their run delay, the time for which they were ready and waited
        for a CPU; on this machine, how late a thread wakes up on their CPUs; and with `mi` (a client) the latency of
        its `command`.

        >>> Host().measure(seconds=0.01).seconds > 0
        True
        """
        check_option("measure()", "seconds", seconds, Seconds)
        devices = [device] if isinstance(device, str) else list(device or ())
        irqs = sorted({irq for name in devices for irq in self.device(name).irqs}) if devices else None
        found = self._resolve(process)
        pids = [each.pid for each in found]
        samples, parts = [self.sample(pids)], []
        with Wakeups(found[0].affinity if found and self.live else None) as wakeups:
            for _ in range(_PARTS):
                span = seconds / _PARTS
                latencies = call_for(span, mi, command) if mi is not None else wait_for(span)
                samples.append(self.sample(pids))
                counted = samples[-1].since(samples[-2], irqs=irqs)
                parts.append(Evidence(counted, tuple(latencies), wakeups=wakeups.taken()))
        taken = tuple(latency for part in parts for latency in part.latencies)
        late = tuple(lateness for part in parts for lateness in part.wakeups)
        return Evidence(samples[-1].since(samples[0], irqs=irqs), taken, tuple(parts), late)
