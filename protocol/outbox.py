"""What still has to be answered, and when it is sent again.

Every unanswered request has a clock of its own, so a hundred that are stuck hold up nobody. The pause
between two attempts doubles, from one second to about a minute. Nothing here is durable: after a crash
everything that is unanswered is due at once, and the pauses begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 64.0


@dataclass(frozen=True)
class Post:
    """What HTTP carries one way: the body, and the X-REQUEST-ID."""

    x_request_id: str | None
    body: str | bytes


def to_request_id(cid: str) -> str:
    """The X-REQUEST-ID of a request: its cid as a UUID, the same for every attempt."""
    return "-".join((cid[:8], cid[8:12], cid[12:16], cid[16:20], cid[20:]))


class Outbox:
    """Requests by cid."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._tries: dict[str, int] = {}
        self._next: dict[str, float] = {}
        self._clock: list[tuple[float, int, str]] = []
        self._turn = 0

    def put(self, cid: str, body: str, at: float = 0.0) -> None:
        """Send this from time `at` on, until `remove`. A second call begins the pauses anew."""
        self._bodies[cid], self._tries[cid] = body, 0
        self._set(cid, at)

    def remove(self, cid: str) -> None:
        self._bodies.pop(cid, None)
        self._tries.pop(cid, None)
        self._next.pop(cid, None)

    def hurry(self, now: float) -> None:
        """Every pause is over: what is unanswered is due, in the order in which it was put here."""
        for cid, body in self._bodies.items():
            self.put(cid, body, now)

    def take_due(self, now: float) -> Iterator[Post]:
        """What is due, in the order in which it became due. Each is sent again after its next pause."""
        while self._clock and self._clock[0][0] <= now:
            at, _, cid = heappop(self._clock)
            if self._next.get(cid) != at:
                continue  # answered, or put back, since
            self._tries[cid] += 1
            self._set(cid, now + min(FIRST_RETRY_S * 2 ** (self._tries[cid] - 1), LONGEST_RETRY_S))
            yield Post(to_request_id(cid), self._bodies[cid])

    def compute_next(self) -> float | None:
        """When `take_due` has something next; None if everything is answered."""
        while self._clock and self._next.get(self._clock[0][2]) != self._clock[0][0]:
            heappop(self._clock)
        return self._clock[0][0] if self._clock else None

    def _set(self, cid: str, at: float) -> None:
        self._turn += 1
        self._next[cid] = at
        heappush(self._clock, (at, self._turn, cid))

    def __contains__(self, cid: object) -> bool:
        return cid in self._bodies

    def __len__(self) -> int:
        return len(self._bodies)
