"""Two VASPs with a channel between them, on a network that loses, doubles and reorders what it carries.

The world is the only place that knows both sides, and the only one that breaks things. It stands where HTTP,
the disk and the clock would stand: a party cannot tell. A crash throws the party away in the middle of
whatever it does; a restart makes a new one from the same store. Time passes only when nothing else happens.

Everything follows from the seed: keys, addresses, cids. `lab_cid` turns a word into a cid that begins with
it, so that a story can call its versions by name.

What happens is written down as one line each; `story` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.channel_store import Change, ChannelStore


class PowerCut(Exception):
    """The party is gone; nothing after this line of it runs."""


class Breakable:
    """A store that survives its party. It can be told to cut the power at one of its writes."""

    def __init__(self, store: ChannelStore) -> None:
        self.store, self.writes = store, 0
        self.cut: tuple[int, str] | None = None

    def write(self, changes: Sequence[Change]) -> None:
        self.writes += 1
        number, side = self.cut or (0, "")
        if number == self.writes and side == "before":
            self.cut = None
            raise PowerCut
        self.store.write(changes)
        if number == self.writes:
            self.cut = None
            raise PowerCut

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)
