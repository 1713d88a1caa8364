"""An asset network, as a gateway sees it: it acts on assets, and it answers whether it has acted.

The network is the simulated part of the world, behind the seam where a real one would stand. It survives
every crash of a gateway. The ledger says what happened; a log entry only says what was intended.

    act(order)              once per operation id; a repeated one returns the first receipt
    receipt(operation id)   whether it has happened *yet*, and the proof
    cancel(operation id)    for good: the receipt, or a cancellation after which it is refused for ever
    end_of(operation id)    the receipt of what ended a lock or a mint; None while it stands
    state(lock id)          where a lock or mint stands: another question than whether an operation ran

A lock is named by the operation that made it. Burn, unlock and expiry exclude each other on one lock,
assign and destroy on one mint: whoever comes second is refused. Expiry is an event with a receipt.

    TIME_LOCK        frees the asset at its expiry and not before; an unlock is pending until then
    HASH_LOCK        never expires; an unlock shows the preimage, which the locker keeps
    HASH_TIME_LOCK   both

A refusal changes nothing. Receipts are signed by the network, so a gateway can show them to its peer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from heapq import heappop, heappush

from protocol.errors import Misuse, Refused
from protocol.objects import Json
from protocol.rules import Rules
from protocol.signing import KeyPair


def shorten(asset_id: str) -> str:
    """The first part of a UUID, or the whole of any other name."""
    return asset_id[:8] if len(asset_id) == 36 and asset_id.count("-") == 4 else asset_id


class State(StrEnum):
    """Where an asset stands in one network."""

    FREE = "free"  # its owner can use it
    LOCKED = "locked"  # under a lock of a gateway (2.1)
    BURNED = "burned"  # extinguished here (3.4)
    HELD = "held"  # minted and self-assigned to the gateway (3.2, SATP 10.2)
    DESTROYED = "destroyed"  # a mint that was taken back


@dataclass(frozen=True)
class Asset:
    """`under` names the operation that made the lock or the mint which holds the asset."""

    id: str
    owner: str
    state: State
    under: str | None = None
    expiry: datetime | None = None
    hash_lock: str | None = None

    def __repr__(self) -> str:
        return f"{shorten(self.id)} {self.state}, owner {self.owner}"


@dataclass(frozen=True)
class Order:
    """What a gateway asks its network to do. `under` names the lock or mint that the action builds on.

    `hashLock` is the SHA-256 of the bytes that the hexadecimal `preimage` stands for.
    """

    operationId: str
    action: str
    assetId: str
    sessionId: str
    gateway: str
    peer: str
    originator: str
    beneficiary: str
    under: str | None = None
    lockType: str | None = None
    lock_s: int | None = None
    hashLock: str | None = None
    preimage: str | None = None
    recordHash: str | None = None

    def as_json(self) -> Json:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Receipt:
    """The network's word that an action happened. `signed` is the compact JWS over all the rest."""

    networkId: str
    operationId: str
    action: str
    assetId: str
    sessionId: str
    gateway: str
    peer: str
    beneficiary: str
    height: int
    timestamp: str
    expiry: str | None = None
    under: str | None = None
    recordHash: str | None = None
    signed: str = field(default="", repr=False)

    def as_json(self) -> Json:
        return {name: value for name, value in vars(self).items() if value is not None and name != "signed"}

    def __repr__(self) -> str:
        return f"{self.action} {shorten(self.assetId)} on {self.networkId} at height {self.height}"


@dataclass(frozen=True)
class Cancellation:
    """The network's word that an operation has not happened and never will."""

    networkId: str
    operationId: str
    timestamp: str
    signed: str = field(default="", repr=False)

    def as_json(self) -> Json:
        cancelled = {"networkId": self.networkId, "operationId": self.operationId, "action": "cancel"}
        return cancelled | {"timestamp": self.timestamp}


class LedgerRefused(Refused):
    """The network did not act: the asset is not in the state that the action needs."""


class PendingUntil(LedgerRefused):
    """The network does not allow an early unlock: the lock frees the asset at `until` (RFC 3339) by itself."""

    def __init__(self, until: str) -> None:
        super().__init__(f"a TIME_LOCK frees the asset at {until} and not before")
        self.until = until


# The state that an action needs, and the state that it leaves; None stands for "not in this network".
ACTIONS: dict[str, tuple[frozenset[State | None], State]] = {
    "lock": (frozenset({State.FREE}), State.LOCKED),
    "unlock": (frozenset({State.LOCKED}), State.FREE),
    "expire": (frozenset({State.LOCKED}), State.FREE),
    "burn": (frozenset({State.LOCKED}), State.BURNED),
    "mint": (frozenset({None, State.BURNED, State.DESTROYED}), State.HELD),
    "assign": (frozenset({State.HELD}), State.FREE),
    "destroy": (frozenset({State.HELD}), State.DESTROYED),
}
REISSUE = (frozenset({State.BURNED}), State.FREE)  # by the drafts (R30, R34); the issuer would have to agree
END_WORDS = {
    "burn": "burned",
    "unlock": "unlocked",
    "expire": "expired",
    "assign": "assigned",
    "destroy": "destroyed",
}


@lru_cache(maxsize=1024)
def rfc3339(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def compute_hash_lock(preimage: str) -> str:
    """SHA-256, lower-case hex, of the bytes that the hexadecimal `preimage` stands for."""
    return hashlib.sha256(bytes.fromhex(preimage)).hexdigest()


class Ledger:
    """One simulated network: assets, receipts by operation id, and a clock that it is given."""

    def __init__(self, network_id: str, key: KeyPair, now: Callable[[], datetime], rules: Rules | None = None) -> None:
        self.network_id = network_id
        self._key = key
        self._now = now
        self._rules = rules or Rules()
        self._assets: dict[str, Asset] = {}
        self._receipts: dict[str, Receipt] = {}
        self._ends: dict[str, Receipt] = {}
        self._cancelled: dict[str, Cancellation] = {}
        self._history: list[Receipt] = []
        self._of_session: dict[str, list[Receipt]] = {}
        self._expiring: list[tuple[datetime, int, str]] = []  # a heap: when, at which height it was locked, what

    @property
    def name(self) -> str:
        return f"network {self.network_id}"

    @property
    def height(self) -> int:
        """How many actions this network has carried out."""
        return len(self._history)

    def issue(self, asset_id: str, owner: str) -> None:
        """Put an asset into the network, outside of any transfer."""
        if asset_id in self._assets:
            raise Misuse(f"network {self.network_id} has asset {asset_id} already")
        self._assets[asset_id] = Asset(asset_id, owner, State.FREE)

    # ------------------------------------------------------------------ acting

    def act(self, order: Order) -> Receipt:
        """Do it, once. LedgerRefused if the asset does not allow it; then nothing changed."""
        self.let_locks_expire()
        earlier = self._receipts.get(order.operationId)
        if earlier is not None and self._rules.ledger_acts_once:
            if (earlier.action, earlier.assetId) != (order.action, order.assetId):
                raise LedgerRefused("this operation id was used for something else", found=earlier)
            return earlier
        if order.operationId in self._cancelled:
            raise LedgerRefused("this operation was cancelled for good", found=order.operationId)
        return self._write(order, None if order.action == "record" else self._compute_next(order))

    def cancel(self, operation_id: str) -> Receipt | Cancellation:
        """The receipt if it has happened; otherwise it never will, and here is the proof of that."""
        self.let_locks_expire()
        if operation_id in self._receipts:
            return self._receipts[operation_id]
        if operation_id not in self._cancelled:
            cancellation = Cancellation(self.network_id, operation_id, rfc3339(self._now()))
            signed = self._key.sign(cancellation.as_json())
            self._cancelled[operation_id] = replace(cancellation, signed=signed)
        return self._cancelled[operation_id]

    def _compute_next(self, order: Order) -> Asset:
        """The asset after the order, or the reason why not."""
        actions = ACTIONS | ({"reissue": REISSUE} if self._rules.sender_reissues else {})
        if order.action not in actions or order.action == "expire":
            raise LedgerRefused("this network knows no such action", found=order.action)
        allowed, after = actions[order.action]
        asset = self._assets.get(order.assetId)
        is_repeated_mint = order.action == "mint" and not self._rules.ledger_acts_once
        if (asset.state if asset else None) not in allowed and not is_repeated_mint:
            raise self._refusal(order, asset)
        if order.action == "mint":
            copy = f"{order.assetId}/2" if asset is not None and is_repeated_mint else order.assetId
            return Asset(copy, order.gateway, after, under=order.operationId)
        assert asset is not None, "every other action needs a state that only an existing asset has"
        if order.action == "lock":
            return self._compute_locked(order, asset)
        if order.action == "reissue":
            return self._compute_reissued(order, asset)
        if asset.under != order.under:
            raise LedgerRefused("the asset is under another operation", expected=asset.under, found=order.under)
        if order.action == "unlock":
            self._verify_unlock(order, asset)
        owner = order.beneficiary if order.action == "assign" else asset.owner
        return Asset(asset.id, owner, after)

    def _compute_reissued(self, order: Order, asset: Asset) -> Asset:
        """Free again, its owner's as before: once for each burn."""
        burn = self._receipts.get(order.under or "")
        if burn is None or (burn.action, burn.assetId) != ("burn", asset.id) or order.under in self._ends:
            raise LedgerRefused("no such burn is to be made good", found=order.under)
        return Asset(asset.id, asset.owner, State.FREE)

    def _compute_locked(self, order: Order, asset: Asset) -> Asset:
        if asset.owner != order.originator:
            raise LedgerRefused("the asset is not the originator's", expected=asset.owner, found=order.originator)
        if order.lockType not in ("TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK"):
            raise LedgerRefused("this network knows no such lock", found=order.lockType)
        is_timed, is_hashed = order.lockType != "HASH_LOCK", order.lockType != "TIME_LOCK"
        if is_timed and order.lock_s is None:
            raise LedgerRefused(f"a {order.lockType} needs the seconds after which it expires")
        if is_hashed and order.hashLock is None:
            raise LedgerRefused(f"a {order.lockType} needs the hash of a preimage")
        expiry = self._now() + timedelta(seconds=order.lock_s or 0) if is_timed else None
        hash_lock = order.hashLock if is_hashed else None
        return Asset(asset.id, asset.owner, State.LOCKED, order.operationId, expiry, hash_lock)

    def _verify_unlock(self, order: Order, asset: Asset) -> None:
        if asset.hash_lock is None:
            assert asset.expiry is not None, "a lock without hash is a TIME_LOCK"
            raise PendingUntil(rfc3339(asset.expiry))
        if order.preimage is None or compute_hash_lock(order.preimage) != asset.hash_lock:
            raise LedgerRefused("an unlock needs the preimage of the hash lock")

    def _refusal(self, order: Order, asset: Asset | None) -> LedgerRefused:
        if asset is None:
            return LedgerRefused("asset not found", code="err_2.2.7", found=order.assetId)
        if order.action == "lock" and asset.state is State.LOCKED:
            return LedgerRefused("asset already locked", code="err_2.2.8", found=asset.under)
        end = self._ends.get(order.under or "")
        if end is not None and end.action == "expire":
            return LedgerRefused("asset lock expired", code="err_2.2.9", found=order.under)
        return LedgerRefused(f"the asset is {asset.state}", expected=f"what {order.action} needs", found=asset.state)

    def _write(self, order: Order, asset: Asset | None) -> Receipt:
        receipt = Receipt(
            networkId=self.network_id,
            operationId=order.operationId,
            action=order.action,
            assetId=order.assetId,
            sessionId=order.sessionId,
            gateway=order.gateway,
            peer=order.peer,
            beneficiary=order.beneficiary,
            height=len(self._history) + 1,
            timestamp=rfc3339(self._now()),
            expiry=rfc3339(asset.expiry) if asset and asset.expiry else None,
            under=order.under,
            recordHash=order.recordHash,
        )
        receipt = replace(receipt, signed=self._key.sign(receipt.as_json()))
        if asset is not None:
            self._assets[asset.id] = asset
            if asset.expiry is not None:
                heappush(self._expiring, (asset.expiry, receipt.height, asset.id))
        if order.under is not None:
            self._ends[order.under] = receipt
        self._receipts[order.operationId] = receipt
        self._history.append(receipt)
        self._of_session.setdefault(receipt.sessionId, []).append(receipt)
        return receipt

    def let_locks_expire(self) -> list[Receipt]:
        """Whatever lock is over by now is ended, before anything else is looked at. Their receipts."""
        now, expired = self._now(), []
        while self._expiring and self._expiring[0][0] <= now:
            expiry, _, asset_id = heappop(self._expiring)
            asset = self._assets[asset_id]
            if asset.expiry != expiry:
                continue  # burned or unlocked before
            lock = self._receipts[asset.under or ""]
            order = Order(
                f"{asset.under}/expire",
                "expire",
                asset.id,
                lock.sessionId,
                lock.gateway,
                lock.peer,
                asset.owner,
                lock.beneficiary,
                under=asset.under,
            )
            expired.append(self._write(order, Asset(asset.id, asset.owner, State.FREE)))
        return expired

    # ------------------------------------------------------------------ answering

    def receipt(self, operation_id: str) -> Receipt | None:
        """Whether the operation has happened yet, and the proof. None says nothing about later."""
        self.let_locks_expire()
        return self._receipts.get(operation_id)

    def end_of(self, operation_id: str) -> Receipt | None:
        """What ended the lock or the mint that this operation made: burn, unlock, expiry, assign or destroy."""
        self.let_locks_expire()
        return self._ends.get(operation_id)

    def state(self, lock_id: str) -> str:
        """Where a lock stands: `live`, `burned`, `unlocked`, `expired`, or `unknown`. Not whether an operation ran.

        Of a mint: `live`, `assigned`, `destroyed`, or `unknown`.
        """
        self.let_locks_expire()
        made, end = self._receipts.get(lock_id), self._ends.get(lock_id)
        if made is None or made.action not in ("lock", "mint"):
            return "unknown"
        return END_WORDS[end.action] if end else "live"

    def actions_of(self, gateway: str, session_id: str | None = None) -> list[Receipt]:
        """All that this network did for a gateway, oldest first: what is left when both logs are lost.

        Or what it did in one session; that is found without reading the history of the network.
        """
        found = self._history if session_id is None else self._of_session.get(session_id, [])
        return [receipt for receipt in found if receipt.gateway == gateway]

    @property
    def assets(self) -> list[Asset]:
        self.let_locks_expire()
        return list(self._assets.values())

    def owner_of(self, asset_id: str) -> str | None:
        """Who can use the asset here; None while it is locked, held, burned or absent."""
        self.let_locks_expire()
        asset = self._assets.get(asset_id)
        return asset.owner if asset and asset.state is State.FREE else None

    def __repr__(self) -> str:
        return "\n".join(f"{self.name}: {asset!r}" for asset in self.assets) or f"{self.name}: no asset"
