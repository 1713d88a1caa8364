"""Who is at the two ends of a channel: addresses, roles, and the keys that speak for each.

The role of protocol server follows from the two addresses (LIP-1, "Protocol Server and Client Roles");
it decides between two commands that are both unanswered, and nothing else.

LIP-1 takes a party's key from its account on the chain. Here the owner of a party states its key, with a
serial number, and a key that was lost is replaced by a statement with a higher one. The old key then
verifies what exists already: evidence, commands that are stored, and answers to what was asked before
the replacement. Nothing new may be signed with it, because whoever found it could do that too.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.channel_store import ChannelStore, Note
from protocol.errors import Refused
from protocol.messages.offchain import Address
from protocol.signing import BadSignature, KeyRing, PublicKey, Signed, verify_key_statement


@dataclass(frozen=True)
class Vasp:
    """What both sides know of a party: its name for people, its address, its owner's key and its first own key."""

    name: str
    address: Address
    owner: PublicKey
    key: PublicKey

    def __repr__(self) -> str:
        return f"{self.name} at {self.address}"


def is_protocol_server(mine: Address, theirs: Address) -> bool:
    """The lower address serves if the last bits of both are equal, else the higher one."""
    differ = (mine.account[15] ^ theirs.account[15]) & 1
    return mine.account > theirs.account if differ else mine.account < theirs.account


class Keys:
    """The keys of both parties, old and new, and which of them may sign now."""

    def __init__(self, parties: tuple[Vasp, Vasp], store: ChannelStore) -> None:
        self._store = store
        self._parties = {party.name: party for party in parties}
        self.ring = KeyRing([(party.name, party.key) for party in parties])
        self._current = {party.name: (0, party.key.kid) for party in parties}
        self._asked_before: set[str] = set()
        for name in self._parties:
            for statement in self._read_note(name)["statements"]:
                self._accept(name, str(statement))

    def add_statement(self, name: str, statement: str, pending: list[str]) -> None:
        """A key was replaced. `pending` are the cids of ours that are unanswered: their answers may exist already."""
        note = self._read_note(name)
        if statement in note["statements"] or not self._accept(name, statement):
            return
        changed = {"statements": [*note["statements"], statement], "asked": sorted({*note["asked"], *pending})}
        self._store.write([Note(f"keys of {name}", changed)])
        self._asked_before.update(pending)

    def verify(self, compact: str | bytes) -> Signed:
        """Form, key and signature, whichever key it is. Raises NotSigned or BadSignature."""
        return self.ring.verify(compact)

    def verify_is_current(self, signed: Signed, cid: str | None = None) -> None:
        """Refused if the key was replaced, unless this is an answer to what was asked before that."""
        if signed.kid != self._current[signed.signer][1] and cid not in self._asked_before:
            raise BadSignature(
                f"the key of {signed.signer} was replaced", expected=self._current[signed.signer][1], found=signed.kid
            )

    def _accept(self, name: str, statement: str) -> bool:
        said = verify_key_statement(statement, self._parties[name].owner, name)
        serial, kid = self._current[name]
        if said.serial <= serial:
            if said.key.kid != kid:
                raise Refused(
                    "a statement with this serial number, or a higher one, is known",
                    expected=serial + 1,
                    found=said.serial,
                )
            return False
        self.ring.add(name, said.key)
        self._current[name] = said.serial, said.key.kid
        return True

    def _read_note(self, name: str) -> dict[str, list[str]]:
        note = self._store.find_note(f"keys of {name}") or {"statements": [], "asked": []}
        self._asked_before.update(note["asked"])
        return note
