"""Living numbers: users that register, calls that come and go, and the statistics that they move."""

from __future__ import annotations

import itertools
import random
import threading
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from .opensips import FakeOpenSIPS

#: Seconds between two changes.
STEP = 0.25
#: The shared memory of a user and of a call, in bytes.
USER_BYTES, CALL_BYTES = 1500, 4200

#: The growth of statistics when a call begins, and when it ends.
_AT_BEGIN = {
    "core:rcv_requests": 3, "core:fwd_requests": 2, "core:rcv_replies": 4, "core:fwd_replies": 3,
    "tm:received_replies": 4, "tm:relayed_replies": 3, "tm:UAS_transactions": 1, "tm:UAC_transactions": 1,
    "tm:2xx_transactions": 1, "sl:received_ACKs": 1,
}  # fmt: skip
_AT_END = {
    "core:rcv_requests": 1, "core:fwd_requests": 1, "core:rcv_replies": 1, "core:fwd_replies": 1,
    "tm:received_replies": 1, "tm:relayed_replies": 1, "tm:UAS_transactions": 1, "tm:UAC_transactions": 1,
    "tm:2xx_transactions": 1,
}  # fmt: skip
_AT_REGISTRATION = {"core:rcv_requests": 2, "registrar:accepted_regs": 1, "sl:4xx_replies": 1, "sl:sent_replies": 2}


class Traffic:
    """Users and calls of a fake server, and their changes over time.

    >>> from sipmi.testing import FakeOpenSIPS
    >>> fake = FakeOpenSIPS("4.0")
    >>> Traffic(fake, users=3, calls=2).step()
    >>> fake.statistics["usrloc:registered_users"], len(fake.dialog.calls) in (1, 2, 3)
    (3, True)
    """

    def __init__(self, fake: FakeOpenSIPS, *, users: int = 0, calls: int = 0, seed: int = 1) -> None:
        self._fake, self._calls = fake, calls
        # The same numbers in each run: pictures and tests repeat.
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._users = [f"user{number:04}@example.org" for number in range(1, users + 1)]
        self._ended = threading.Event()
        self._thread: Optional[threading.Thread] = None
        for user in self._users:
            self._register(user)
        for _ in range(calls):
            self._begin()
        self._fill()

    def start(self) -> None:
        """Change the numbers four times a second from now on, until :meth:`stop`."""
        self._thread = threading.Thread(target=self._run, name="sipmi traffic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the changes."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def step(self) -> None:
        """Let some users register again, and some calls begin and end."""
        for user in self._random.sample(self._users, min(len(self._users), 1 + len(self._users) // 40)):
            self._register(user)
        changes = self._random.randint(0, max(self._calls // 10, 1)) if self._calls else 0
        for _ in range(changes):
            going = self._fake.dialog.calls
            if len(going) > self._calls or (going and self._random.random() < 0.5):
                self._fake.dialog.end(self._random.choice(going))
                self._count(_AT_END)
            else:
                self._begin()
        self._fill()

    def _run(self) -> None:
        while not self._ended.wait(STEP):
            self.step()

    def _register(self, user: str) -> None:
        if self._fake.loads("usrloc"):
            self._fake.usrloc.add(user, f"sip:{user.partition('@')[0]}@192.0.2.{1 + hash_of(user) % 250}:5060")
        self._count(_AT_REGISTRATION)

    def _begin(self) -> None:
        number = next(self._numbers)
        caller, callee = (self._random.choice(self._users or ["alice@example.org"]) for _ in range(2))
        if self._fake.loads("dialog"):
            self._fake.dialog.add(
                f"{number:08x}-call@192.0.2.1",
                from_uri=f"sip:{caller}",
                to_uri=f"sip:{callee}",
            )
        self._count(_AT_BEGIN)

    def _count(self, growth: dict[str, int]) -> None:
        statistics = self._fake.statistics
        for name, more in growth.items():
            if name in statistics:
                statistics[name] += more

    def _fill(self) -> None:
        """Bring memory, transactions and load up to the users and calls."""
        statistics, going = self._fake.statistics, len(self._fake.dialog.calls)
        used = 6_000_000 + len(self._users) * USER_BYTES + going * CALL_BYTES
        load = min(2 + going // 4 + self._random.randint(0, 3), 100)
        values = {
            "shmem:used_size": used,
            "shmem:real_used_size": used + used // 9,
            "shmem:free_size": (64 << 20) - used - used // 9,
            "tm:inuse_transactions": self._random.randint(0, 1 + going // 3),
            "load:load": load,
            "load:load-all": load,
            "load:load1m": load,
            "load:load10m": load,
        }
        for name, value in values.items():
            if name in statistics:
                statistics[name] = value
        peak = "shmem:max_used_size"
        if peak in statistics:
            statistics[peak] = max(statistics[peak], used + used // 9)


def hash_of(text: str) -> int:
    """Return a number of a text that is the same in each run."""
    return sum(text.encode())
