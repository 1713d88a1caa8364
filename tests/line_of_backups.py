"""A gateway with three backups, and a place to stop right before the counterparty hears of the first takeover.

Each node's certificate names only the next one, GW1, GW1-B, GW1-C, GW1-D, as RECOVERY 6.1 has it: "The backup
gateway, on its turn, defines gateways to replace it". All signatures are real, and so is whoever makes them: the key
of the one who lies.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from protocol.certificates import Certificate
from protocol.link import Side
from protocol.messages.recovery import RECOVERY_NAMESPACE
from protocol.messages.satp import NAMESPACE, ErrorMessage, parse_message
from protocol.objects import Json, digest
from protocol.peers import CertifiedKeys
from protocol.replacement import PrimaryBackup
from protocol.session import Session
from protocol.signing import KeyRing, read_payload
from protocol.steps import Role, find_row
from tests.at_rest import find_unsettled
from tests.conftest import check_transferred
from tests.test_bad_input import fingerprint

LINE = ("GW1", "GW1-B", "GW1-C", "GW1-D")
DAY = timedelta(days=1)
BAD_SIGNATURE = "err_0.1.3"


class Line(PrimaryBackup):
    """Of the backups of GW1 each is named by the one before it, and by no other. It keeps what was sent."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, bytes]] = []
        super().__init__("sender", backups=len(LINE) - 1, seed="line", tls=False)

    def _publish(self, side: Side) -> None:
        if side.role is Role.RECIPIENT:
            super()._publish(side)
            return
        for node in self._list_nodes(side.role):
            if node.name == LINE[0]:
                self.registry.publish(node.name, node.identity.key.public, backups=self.find_next(node.name))
            else:
                node.successor = self.certify(node.name)

    def find_next(self, name: str) -> list[Any]:
        place = LINE.index(name) if name in LINE else len(LINE)
        return [self.key(each).public for each in LINE[place + 1 : place + 2]]

    def certify(self, name: str, **words: Any) -> Certificate:
        """By the owner of GW1, unless `owner_of` names another."""
        words = {"owner_of": "GW1", "backups": self.find_next(name)} | words
        return self.registry.certify(name, self.key(words.pop("key", name)).public, **words)

    def _send(self, source: Side, target: Side, data: bytes) -> None:
        self.said.append((source.name, target.id, data))
        super()._send(source, target, data)

    def pass_on(self, *names: str) -> None:
        """Each of these takes over from the one before, which stands still, and is heard by the counterparty."""
        for name in names:
            self.pause(self.in_charge["GW1"])
            self.wait(40)
            self.take_over(name)
            self.run()

    def find_said(self, by: str, name: str) -> bytes:
        """The last message of this name, which is that of a recovery message or of a step."""
        namespace = NAMESPACE if "." in name else RECOVERY_NAMESPACE
        name = find_row(name).name if "." in name else f"{name}-msg"
        found = [data for source, _, data in self.said if source == by]
        return next(data for data in reversed(found) if read_payload(data)["messageType"] == namespace + name)


class Bench:
    """GW1 stands still, GW1-B has taken over, and its Transfer-Resume has not arrived yet at GW2."""

    def __init__(self, until: str = "2.4", *, transfers: int = 1) -> None:
        self.world = world = Line()
        for number in range(transfers):
            world.start(asset=f"asset {number}" if number else None)
        for session_id in world.sessions:
            world.run(until=until, of=session_id)
        world.link.clear()
        world.pause("GW1")
        world.wait(40)
        world.take_over("GW1-B")
        self.data = world.link.pop().data
        assert read_payload(self.data)["messageType"].endswith("transfer-resume-msg")

    @property
    def ring(self) -> CertifiedKeys:
        ring = self.world._side("recipient").ring
        assert ring is not None
        return ring

    @property
    def session(self) -> Session:
        return self.world.recipient.session(self.world.sessions[0])

    def offer(self, by: str = "GW1-B", **fields: Any) -> bytes:
        """GW1-B's Transfer-Resume with other fields (None removes one), signed by the key of `by`."""
        key = {"newIdentityPublicKey": self.world.key(by).public.jwk}
        return self.sign(read_payload(self.data) | key | fields, by)

    def sign(self, payload: Json, by: str) -> bytes:
        kept = {name: value for name, value in payload.items() if value is not None}
        return self.world.key(by).sign(kept).encode()

    def certify(self, name: str, **words: Any) -> str:
        return self.world.certify(name, **words).base64

    def takeover(self, name: str, epoch: int, **words: Any) -> Json:
        return {"certificate": self.certify(name, **words), "epoch": epoch}

    def see(self) -> tuple[object, ...]:
        """All that a refused message must not change: logs, ledgers, and whom the counterparty believes."""
        ring = [(name, each.copy()) for name, each in vars(self.ring).items() if isinstance(each, dict | set)]
        keys = [(name, known) for name, known in ring if name != "_seals"]  # what was verified before is kept there
        sessions = [dict(session.keys) for session in self.world.recipient._journal.known]
        return fingerprint(self.world), keys, self.ring.current("GW1"), self.ring.epoch_of("GW1"), sessions

    def refused(self, data: bytes) -> tuple[str, str]:
        """The code and the words of the signed error."""
        before = self.see()
        reply = self.world.recipient.receive(data)
        assert self.see() == before, "a refused message changed something"
        assert self.world.recipient.collect() == []
        assert reply is not None, "it was not answered"
        signed = KeyRing([("GW2", self.world.key("GW2").public)]).verify(reply)
        error = parse_message(signed.payload)
        assert isinstance(error, ErrorMessage), f"it was answered with {error.messageType}"
        assert error.hashRefusedMessage == digest(data)
        return error.type.rpartition(":")[2], str(error.detail)

    def finish(self) -> None:
        """The real message arrives after all, and everything ends well."""
        self.hand(self.data, "GW1-B")
        self.world.run()
        check_transferred(self.world)
        assert not find_unsettled(self.world)

    def hand(self, data: bytes, source: str) -> None:
        self.world._send(self.world._side(source), self.world._side("recipient"), data)


def accepted(until: str = "2.4") -> Bench:
    """GW2 has heard that GW1-B acts, and nothing else has been said since."""
    bench = Bench(until)
    bench.world.recipient.receive(bench.data)
    assert (bench.ring.current("GW1").gateway_id, bench.ring.epoch_of("GW1")) == ("GW1-B", 2)
    return bench


def make_resume(bench: Bench) -> Json:
    """As a primary that knows of no takeover says it."""
    own = {
        "isBackup": False,
        "epoch": 1,
        "certificate": None,
        "newIdentityPublicKey": None,
        "crashErrorCode": "process",
    }
    return read_payload(bench.data) | own


def stop_at(world: Line, name: str) -> bytes:
    """The next message of this name, taken off the link before it arrives."""
    for _ in range(60):
        found = [message for message in world.link if message.name == name]
        if found:
            world.link.remove(found[0])
            return found[0].data
        world.deliver_next() if world.link else world._time_out()
    raise AssertionError(f"no {name} came")
