"""A transfer, to be looked at: its messages, log entries and ledgers, step by step.

Nothing here decides or changes anything. What is shown is read from what a run has left: the signed messages
and the entries in the logs, and the receipts of the networks. A view shows itself as text that is complete but
for hashes (first eight digits), keys (first eight letters of the thumbprint) and signed receipts (in words).

    Transfer(world)          one session of a World; the first one unless another is named
      .messages              its signed messages as a table: the chain
      .step("2.2")           message or order, log entries of both sides, both ledgers before and after
    read_message(world, data)  a signed message that came back, verified
    Dispute(world, who)      why a gateway has frozen a session: the place of the fork, both versions side by side

The ledgers as they were at a step are not remembered by anybody: `Transfer` lets an empty network carry out the
logged orders again, up to the receipt of that step. So they are the ledger's own words about its past.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from protocol.certificates import Certificate
from protocol.errors import Misuse, Refused
from protocol.ledger import Asset, Ledger, Order, Receipt, rfc3339, shorten
from protocol.log import LogEntry
from protocol.messages.recovery import RECOVERY_NAMESPACE, is_recovery, parse_recovery, write_recovery
from protocol.messages.satp import NAMESPACE, parse_message, short_name, write_message
from protocol.network import World
from protocol.objects import Json, digest
from protocol.signing import KeyRing, PublicKey, read_payload
from protocol.steps import Row, find_row, find_step

WIDTH = 96
SECTIONS = {  # where the draft describes a message; its actions stand in figure 2 (SATP 6)
    "1.1": "8.3",
    "1.2": "8.4",
    "1.3": "8.6",
    "1.4": "8.7",
    "2.2": "9.1",
    "2.4": "9.2",
    "3.1": "10.1",
    "3.3": "10.2",
    "3.5": "10.3",
    "3.7": "10.4",
    "3.9": "10.5",
}


@dataclass(frozen=True)
class SignedMessage:
    """A message whose signature was verified. `payload` is what was signed, `digest` its name in the chain."""

    signer: str
    payload: Json
    digest: str

    @property
    def name(self) -> str:
        return short_name(str(self.payload["messageType"]).removeprefix(RECOVERY_NAMESPACE))

    @property
    def step(self) -> str:
        """The step in TABLE 1; empty for errors and aborts."""
        return find_step(self.payload["messageType"])

    @property
    def reads(self) -> str | None:
        """The message before it in the chain."""
        found: str | None = self.payload.get("hashPrevMessage")
        return found

    @property
    def lines(self) -> list[str]:
        """Its fields, in the order of the draft's parameter lists."""
        try:
            if is_recovery(self.payload):
                ordered = write_recovery(parse_recovery(self.payload))
            else:
                ordered = write_message(parse_message(self.payload))
        except Refused:
            ordered = self.payload
        return list(_draw_fields(ordered, "  "))

    def __repr__(self) -> str:
        return "\n".join([f"{self.name} signed by {self.signer}, digest {self.digest[:8]}", *self.lines])


class Chain(tuple[SignedMessage, ...]):
    """The messages of a session, oldest first, as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        rows = [f"{'step':5} {'message':26} {'signed by':10} {'digest':9} hashPrevMessage"]
        for message in self:
            reads = message.reads[:8] if message.reads else "none: the first message"
            rows.append(f"{message.step:5} {message.name:26} {message.signer:10} {message.digest[:8]:9} {reads}")
        return "\n".join(rows)


@dataclass(frozen=True)
class Book:
    """What a network says of its assets after its `height`-th action."""

    height: int
    assets: tuple[Asset, ...]

    def __repr__(self) -> str:
        return f"height {self.height}: " + ("; ".join(map(_describe_asset, self.assets)) or "no asset")


@dataclass(frozen=True)
class Step:
    """One step of a transfer as it happened: `message` or `order` is None, and so is `receipt` of a message.

    `entries` are the log entries about it, by gateway; `before` and `after` the ledgers, by network.
    """

    row: Row
    actor: str
    message: SignedMessage | None
    order: Json | None
    receipt: Receipt | None
    entries: dict[str, list[LogEntry]]
    before: dict[str, Book]
    after: dict[str, Book]

    @property
    def section(self) -> str:
        """Where the draft describes it."""
        if self.row.number.endswith("/undo"):
            return "SATP 11.5"
        return f"SATP {SECTIONS[self.row.number]}" if self.message else "SATP 6, figure 2"

    def __repr__(self) -> str:
        return "\n".join([*self._draw_content(), *self._draw_logs(), *self._draw_ledgers()])

    def _draw_content(self) -> Iterator[str]:
        head = f"{self.row.number} {short_name(self.row.name)}"
        if self.message is not None:
            yield f"{head}, signed by {self.actor}, digest {self.message.digest[:8]} ({self.section})"
            yield from self.message.lines
        elif self.order is not None:
            yield f"{head}, asked by {self.actor} of its network ({self.section})"
            yield from _draw_fields(Order(**self.order).as_json(), "  ")
        if self.receipt is not None:
            yield f"{'receipt':<16}{_describe_receipt(self.receipt.as_json())}"

    def _draw_logs(self) -> Iterator[str]:
        for gateway, entries in self.entries.items():
            for number, entry in enumerate(entries):
                yield f"{'' if number else f'log of {gateway}':<16}{entry!r}"

    def _draw_ledgers(self) -> Iterator[str]:
        if self.message is not None:
            return
        for name, book in self.before.items():
            yield f"{name:<16}{book!r}"
            if self.after[name] != book:
                yield f"{'->':>15} {self.after[name]!r}"


def read_message(world: World, data: bytes | str | None) -> SignedMessage:
    """A message of one of the two gateways; BadSignature or NotSigned if it is none, Misuse for silence."""
    if data is None:
        raise Misuse("there was no answer to read")
    keys = [(name, key(name).public) for key in (world.key, world.find_key) for name in world.trace.gateways]
    signed = KeyRing(keys).verify(data)
    return SignedMessage(signed.signer, signed.payload, signed.digest)


class Transfer:
    """One session of a World. Reads both logs, also of a gateway that is down."""

    def __init__(self, world: World, session_id: str | None = None) -> None:
        self.world = world
        self.id = session_id or next(iter(world.sessions), "")
        if self.id not in world.sessions:
            raise Misuse("this World has no such session; start one first")
        self._gateways = world.trace.gateways

    @property
    def messages(self) -> Chain:
        """The steps that are messages, as either log has them."""
        return self._read_messages()

    def _read_messages(self, number: str = "") -> Chain:
        """All of them, or the one of a step: to verify eleven signatures for one message takes eleven times as long."""
        found: dict[str, SignedMessage] = {}
        for entries in self._logs().values():
            for entry in entries:
                if "message" in entry.payload and entry.step != "abort" and number in ("", entry.step):
                    message = read_message(self.world, entry.payload["message"])
                    found.setdefault(message.step, message)
        return Chain(sorted((m for m in found.values() if m.step), key=lambda message: message.step))

    def step(self, number: str) -> Step:
        """What a step was, in both logs and on both ledgers. Misuse if it has not happened."""
        row = find_row(number)
        entries = {name: [e for e in log if e.step == number] for name, log in self._logs().items()}
        message = next((message for message in self._read_messages(number) if message.step == number), None)
        receipt = self._find_receipt(number, entries)
        if message is None and receipt is None:
            raise Misuse(f"step {number} of session {self.id[:8]} has not happened")
        orders = (entry.payload.get("order") for log in entries.values() for entry in log)
        actor = message.signer if message else receipt.gateway if receipt else ""
        order = next(filter(None, orders), None)
        before, after = (self._compute_books(message, receipt, is_after) for is_after in (False, True))
        return Step(row, actor, message, order, receipt, entries, before, after)

    def _find_receipt(self, number: str, entries: dict[str, list[LogEntry]]) -> Receipt | None:
        """The receipt of an action, as its network has it. A lock may have been ended by its expiry instead."""
        logged = [
            e.payload["receipt"]["operationId"] for log in entries.values() for e in log if "receipt" in e.payload
        ]
        found = (ledger.receipt(name) for name in [f"{self.id}/{number}", *logged] for ledger in self.world.ledgers)
        return next(filter(None, found), None)

    def _logs(self) -> dict[str, list[LogEntry]]:
        return {name: self.world.log(name, self.id) for name in self._gateways}

    def _compute_books(self, message: SignedMessage | None, receipt: Receipt | None, is_after: bool) -> dict[str, Book]:
        """Both ledgers at this step. The network that acted is cut at the receipt, the other one at its time."""
        books: dict[str, Book] = {}
        if message is not None or receipt is None:
            return books
        for ledger in self.world.ledgers:
            past = sorted((r for name in self._gateways for r in ledger.actions_of(name)), key=lambda r: r.height)
            if ledger.network_id == receipt.networkId:
                past = [r for r in past if r.height < receipt.height + is_after]
            else:
                past = [r for r in past if r.timestamp <= receipt.timestamp]
            books[ledger.name] = self._replay(ledger, past)
        return books

    def _replay(self, ledger: Ledger, past: list[Receipt]) -> Book:
        """An empty network of the same name that carries out the logged orders behind these receipts."""
        time = [self.world.now]
        key = self.world.key(f"network {ledger.network_id}")
        again = Ledger(ledger.network_id, key, lambda: datetime.fromisoformat(time[0]), self.world.rules)
        orders = dict(self._orders())
        for asset_id, owner in self._issues():
            if ledger is self.world.origin:
                again.issue(asset_id, owner)
        for receipt in past:
            time[0] = receipt.timestamp
            if receipt.operationId in orders:  # an expiry has no order: the network lets it happen when it is time
                again.act(orders[receipt.operationId])
        assets = tuple(again.assets)
        return Book(again.height, assets)

    def _orders(self) -> Iterator[tuple[str, Order]]:
        """Every order that a gateway has logged, by operation id."""
        for session_id in self.world.sessions:
            for name in self._gateways:
                for entry in self.world.log(name, session_id):
                    if "order" in entry.payload:
                        order = Order(**entry.payload["order"])
                        yield order.operationId, order

    def _issues(self) -> Iterator[tuple[str, str]]:
        """The assets that the proposals are about, once each, and their originators."""
        claims = [
            Transfer(self.world, name)._read_messages("1.1")[0].payload["transferInitClaim"]
            for name in self.world.sessions
        ]
        yield from {claim["digitalAssetId"]: claim["verifiedOriginatorEntityId"] for claim in claims}.items()

    def __repr__(self) -> str:
        return f"session {self.id}: {len(self.messages)} of 11 messages"


@dataclass(frozen=True)
class Fork:
    """Two messages that follow the same one: `own` is in the chain of the gateway that is asked, `other` is not."""

    after: SignedMessage
    own: SignedMessage
    other: SignedMessage

    @property
    def differences(self) -> list[str]:
        """The fields in which the two versions differ."""
        names = dict.fromkeys([*self.own.payload, *self.other.payload])
        return [name for name in names if self.own.payload.get(name) != self.other.payload.get(name)]

    def __repr__(self) -> str:
        rows = [f"fork after {self.after.step} {self.after.name}, digest {self.after.digest[:8]}"]
        names = list(dict.fromkeys([*self.own.payload, *self.other.payload]))
        cells = [["", "this gateway's", "the other's"], ["digest", self.own.digest[:8], self.other.digest[:8]]]
        cells.append(["signed by", self.own.signer, self.other.signer])
        cells += [[name, *(self._draw(each, name) for each in (self.own, self.other))] for name in names]
        first, second = (max(len(row[column]) for row in cells) for column in (0, 1))
        for row in cells:
            mark = "  <- differs" if row[0] in [*self.differences, "digest"] else ""
            rows.append(f"  {row[0]:{first}}  {row[1]:{second}}  {row[2]}{mark}")
        return "\n".join(rows)

    @staticmethod
    def _draw(message: SignedMessage, name: str) -> str:
        return _describe(name, message.payload[name]) if name in message.payload else "absent"


class Dispute:
    """A session that a gateway has frozen, for the human who has to decide. Every piece of evidence is verified."""

    def __init__(self, world: World, who: str, session_id: str | None = None) -> None:
        gateway = world.sender if who in ("sender", world.sender.id) else world.recipient
        self.id, self.gateway = session_id or next(iter(gateway.disputes), ""), gateway.id
        if self.id not in gateway.disputes:
            raise Misuse(f"{gateway.id} has frozen no such session")
        self.reason: str = gateway.disputes[self.id]["reason"]
        self.messages: list[SignedMessage] = []
        self.receipts: list[Json] = []
        networks = KeyRing((each.network_id, world.key(f"network {each.network_id}").public) for each in world.ledgers)
        for compact in gateway.disputes[self.id]["evidence"]:
            try:
                self.messages.append(read_message(world, compact))
            except Refused:
                self.receipts.append(networks.verify(compact).payload)
        self._own = {version.name for version in gateway.session(self.id).history}

    @property
    def fork(self) -> Fork | None:
        """The first place where two messages follow the same one; None where only the ledgers disagree."""
        by_digest = {message.digest: message for message in self.messages}
        for other in self.messages:
            for own in self.messages:
                is_fork = own.digest in self._own and other.digest not in self._own and own.reads == other.reads
                if is_fork and own.reads in by_digest:
                    return Fork(by_digest[own.reads or ""], own, other)
        return None

    def __repr__(self) -> str:
        rows = [f"session {self.id[:8]}, frozen at {self.gateway}", f"reason: {self.reason}", "evidence:"]
        for message in self.messages:
            whose = "in this chain" if message.digest in self._own else "in the other chain"
            cites = f"cites {message.reads[:8]}" if message.reads else "the first message"
            rows.append(f"  {message.step:4} {message.name:22} {message.signer} {message.digest[:8]}, {cites}, {whose}")
        rows += [f"  receipt of {_describe_receipt(receipt)}" for receipt in self.receipts]
        return "\n".join([*rows, *([repr(self.fork)] if self.fork else [])])


# ---------------------------------------------------------------------- words for values


def _draw_fields(fields: Json, indent: str) -> Iterator[str]:
    """One line per field, names in a column; objects are indented, long texts are wrapped."""
    column = len(indent) + 2 + max((len(name) for name, value in fields.items() if not _is_object(value)), default=0)
    for name, value in fields.items():
        if _is_object(value):
            yield f"{indent}{name}"
            yield from _draw_fields(value, indent + "  ")
            continue
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            for number, each in enumerate(value, 1):
                yield f"{indent}{name}, {number} of {len(value)}"
                yield from _draw_fields(each, indent + "  ")
            continue
        words = textwrap.wrap(_describe(name, value), WIDTH - column, break_long_words=False, break_on_hyphens=False)
        yield f"{indent}{name}".ljust(column) + (words or [""])[0]
        yield from (" " * column + part for part in words[1:])


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and "kty" not in value and set(value) != {"receipt"}


def _describe(name: str, value: object) -> str:
    if isinstance(value, dict) and "kty" in value:
        return f"{value['crv']} key {_read_thumbprint(value)[:8]}"
    if isinstance(value, dict):  # an assertion claim: the receipt of a network
        return f"receipt of {_describe_receipt(read_payload(value['receipt']))}"
    if name in ("receipts", "proofs", "recoveredLogs", "evidence") and isinstance(value, list):
        return "; ".join(_describe_signed(read_payload(each)) for each in value) or "none"
    if name == "certificate":
        certificate = Certificate.from_base64(str(value))
        return f"of {certificate.gateway_id}, serial {certificate.serial}, for the key {certificate.key.kid[:8]}"
    text = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
    if name in ("messageType", "prevMsgType"):
        text = text.removeprefix(NAMESPACE).removeprefix(RECOVERY_NAMESPACE)
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1...", text)


def _describe_signed(payload: Json) -> str:
    """A signed text inside a message: a receipt, or a message of the transfer."""
    if "messageType" not in payload:
        return _describe_receipt(payload)
    return f"{find_step(payload['messageType'])} {short_name(payload['messageType'])}".strip()


def _read_thumbprint(jwk: Json) -> str:
    try:
        return PublicKey.from_jwk(jwk).kid
    except Refused:
        return digest(jwk)


def _describe_receipt(receipt: Json) -> str:
    """A receipt's subject; what it says besides is in the claim itself."""
    until = f", until {receipt['expiry']}" if "expiry" in receipt else ""
    record = f", of {receipt['recordHash'][:8]}" if "recordHash" in receipt else ""
    what = f"{receipt['action']} {shorten(receipt['assetId'])}{record}{until}"
    return f"network {receipt['networkId']}: {what}, height {receipt['height']}"


def _describe_asset(asset: Asset) -> str:
    common = re.search(r"CN=([^,]+)", asset.owner)
    until = f", until {rfc3339(asset.expiry)}" if asset.expiry else ""
    return f"{shorten(asset.id)} {asset.state}, owner {common[1] if common else asset.owner}{until}"
