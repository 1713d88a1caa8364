"""What is on its way where a gateway has two nodes: a message, who has sent it, and for whom it is.

A message names its gateway, and not the node: both act for the same one. So it travels with the names of the two nodes
between which it goes. Whoever spoke is answered; what a gateway says by itself goes to the node that it believes to act
for its peer. What waits for a node that stands still stays on its way. An offer for a node that does not answer goes
to the other one of its gateway.

A connection is one between two nodes, so what ends with it is said by their names: `is_lost`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from protocol.errors import Misuse
from protocol.link import PLAIN, read_label
from protocol.replays import label_message

PRIMARY: Final = ""  # what a node's name has after that of its gateway
BACKUP: Final = "-B"
AFTER: Final = (PRIMARY, BACKUP)


class Letter(NamedTuple):
    """A message and the two nodes between which it is on its way."""

    source: str
    target: str
    data: bytes

    def seal(self) -> bytes:
        return f"{self.source} {self.target} ".encode() + self.data

    @classmethod
    def open(cls, sealed: bytes) -> Letter:
        source, target, data = sealed.split(b" ", 2)
        return cls(source.decode(), target.decode(), data)


def is_lost(name: str, letter: Letter) -> bool:
    """What ends with a connection: "to X", "of X" (with a node, both ways), "of X but offers"."""
    match name.split(" "):
        case ["to", node]:
            return letter.target == node
        case ["of", node]:
            return node in (letter.source, letter.target)
        case ["of", node, "but", "offers"]:
            return node in (letter.source, letter.target) and read_label(letter.data)[1] not in PLAIN
    raise Misuse(f"nothing is lost by {name!r}")


def label_letter(side: str, sealed: bytes) -> str:
    """What a message is called: its step, or which node has sent it and its name."""
    letter = Letter.open(sealed)
    return label_message(side + (BACKUP if letter.source.endswith(BACKUP) else PRIMARY), letter.data)
