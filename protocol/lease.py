"""Who may write a shared log: a lease that says when somebody may take over, and an epoch that says who writes.

RECOVERY 5.1(2) lets a backup "detect that failure unequivocally" by a time-out. No time-out can: a primary that
is slow, or cut off, looks like one that is dead (R18). So the two questions have two answers here:

    when    a lease with an end. It is renewed by heartbeats; whoever finds it over may claim it. That it is
            over proves nothing about its holder. A clock that is wrong therefore costs at most an unnecessary
            takeover, or a late one.
    who     an epoch, raised by one with every claim, in the store. Every entry carries the epoch under which it
            is appended, and the store compares the two in the same transaction: `Fenced`. A holder that was
            only slow learns it at its next append, and until then it has written nothing after its successor.

A restarted process of the holder claims at once, without waiting for its own lease: that raises the epoch too, so
a forgotten earlier process of the same gateway is fenced like any other.

The draft has no period, no message and no addressee for its heartbeats (R19). Here they are writes to the shared
store, which both gateways need anyway, and the period is conservative: a lease lasts three heartbeats, so two may
be lost before anybody takes over, and half a minute without an answer is long beside any restart of a process.

Nothing here reads a clock. A store measures by the one that it was given, or by that of its database, which is the
one clock that several machines share.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from protocol.errors import Fault, Misuse
from protocol.log import LogStorage

LEASE_S = 30.0
BEAT_S = 10.0


@dataclass(frozen=True)
class Lease:
    """Who holds a log, under which epoch, and until when if it is not renewed."""

    holder: str
    epoch: int
    until: datetime

    def is_over(self, now: datetime) -> bool:
        return now >= self.until

    def __repr__(self) -> str:
        return f"{self.holder}, epoch {self.epoch}, until {self.until:%Y-%m-%dT%H:%M:%SZ}"


class Fenced(Fault):
    """Another gateway has taken over, or a later process of this one. Whoever gets it acts no more.

    `epoch` is that of the appender, None if its entry has none; `lease` is the present one.
    """

    def __init__(self, epoch: int | None, lease: Lease) -> None:
        super().__init__(f"{lease.holder} has taken over: another epoch", expected=lease.epoch, found=epoch)
        self.epoch = epoch
        self.lease = lease


class SharedLogStorage(LogStorage, Protocol):
    """The Log Storage API over a log that several processes can open, of which one at a time may write."""

    epoch: int
    """Of this connection's own claim; 0 before it has claimed. It does not change when somebody else claims."""

    def read_clock(self) -> datetime:
        """The one clock by which the leases of this log are measured."""

    def read_lease(self) -> Lease | None:
        """The present lease, over or not. None if nobody ever claimed this log."""

    def claim(self, holder: str, lease_s: float) -> Lease:
        """Take the lease and raise the epoch. NotYet while another holder's lease runs; one's own may be claimed again.

        It waits for an append that is under way, or fences it. StorageFailed if the store cannot tell: claim again.
        """

    def renew(self, lease_s: float) -> Lease:
        """The heartbeat: the lease runs `lease_s` from now, also after its end. Fenced if somebody claimed since."""

    def release(self) -> None:
        """Hand over: the lease is over now, and another may claim. The epoch stays until then. Fenced as `renew`."""

    def raise_epoch(self, at_least: int) -> None:
        """Ours only: where a store was lost and a peer remembers a higher epoch than the new one. Fenced as `renew`."""


class Heartbeat:
    """One node's side of the lease: it claims, beats while it serves, and watches while another one does.

    `beat()` may be called as often as one likes; it writes when `beat_s` have passed since the last time.
    """

    def __init__(self, store: SharedLogStorage, holder: str, lease_s: float = LEASE_S, beat_s: float = BEAT_S) -> None:
        if not 0 < 2 * beat_s <= lease_s:
            raise Misuse(f"a lease lasts several heartbeats: {lease_s} s is too short for one every {beat_s} s")
        self.store, self.holder, self.lease_s, self.beat_s = store, holder, lease_s, beat_s
        self._beaten_at: datetime | None = None

    def is_over(self) -> bool:
        """For the one that watches: whether the lease may be claimed. No lease at all counts as over."""
        lease = self.store.read_lease()
        return lease is None or lease.is_over(self.store.read_clock())

    def claim(self) -> Lease:
        """NotYet while another holder's lease runs."""
        now = self.store.read_clock()
        lease = self.store.claim(self.holder, self.lease_s)
        self._beaten_at = now
        return lease

    def beat(self) -> bool:
        """Renew the lease if it is time to, and say whether it was. Fenced if somebody else has claimed since."""
        now = self.store.read_clock()
        if self._beaten_at is not None and now - self._beaten_at < timedelta(seconds=self.beat_s):
            return False
        self.store.renew(self.lease_s)
        self._beaten_at = now
        return True

    def release(self) -> None:
        """Hand over. Fenced if it was already taken."""
        self.store.release()
        self._beaten_at = None
