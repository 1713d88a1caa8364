"""Who may act for a gateway: each condition of RECOVERY 6.1, and what it leaves open, refused for itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from protocol.certificates import Certificate, OwnerCA, compute_key_hash
from protocol.errors import BAD_SIGNATURE, Refused
from protocol.operations import verify_backup
from protocol.peers import Condition
from tools.vector_families import Family, Json, case
from tools.vector_families.certificates import (
    AT,
    OWNER,
    PEER,
    PUBLIC,
    ROOT,
    SHARED,
    describe,
    is_signed_by,
    is_valid,
)
from tools.vector_families.play import key

EPOCH = 2


def certify(
    name: str, *backups: str, as_key: str = "", serial: int = 1, by: OwnerCA = OWNER, **more: Any
) -> Certificate:
    named = [key(backup).public for backup in backups]
    return by.certify(name, key(as_key or name).public, serial=serial, backups=named, **more)


PRIMARY = certify("GW1", "GW1-B")
BACKUP = certify("GW1-B", "GW1", "GW1-C")
THIRD = certify("GW1-C", "GW1", "GW1-B")
KNOWN = {
    "GW1": PRIMARY,
    "GW1 without backups": certify("GW1"),
    "GW1-B": BACKUP,
    "GW1-B second": certify("GW1-B", "GW1", serial=2),
    "GW1-C": THIRD,
    "GW2": certify("GW2", "GW2-B", by=PEER),
    "GW1 of Alpha": certify("GW1", "GW1-B", by=PUBLIC, organization="Alpha LTD"),
}
TAKEN_OVER = [{"gateway": "GW1", "certificate": "GW1-B", "epoch": EPOCH}]


def give(shown: Certificate, *, epoch: int = EPOCH, known: tuple[str, ...] = ("GW1", "GW2"), **more: Any) -> Json:
    """The input of a case; everything is right unless it says otherwise."""
    given: Json = {"gateway": "GW1", "known": list(known), "at": AT, "certificate": shown.base64, "epoch": epoch}
    return given | more


def share() -> Json:
    return SHARED | {"certificates": {name: certificate.base64 for name, certificate in KNOWN.items()}}


def accept(name: str, comment: str, given: Json, shown: Certificate, *, holds: object) -> Json:
    return case(name, comment, given, holds=holds, expect=describe(shown))


def refuse(name: str, comment: str, given: Json, condition: Condition, *, holds: object) -> Json:
    """Refused by this condition and no other: the package says so itself."""
    try:
        verify_backup(given, share())
        said = ""
    except Refused as refusal:
        said = refusal.reason
    assert said.startswith(f"{condition}: "), f"{name}: {said}"
    return case(name, comment, given, holds=holds, code=BAD_SIGNATURE, reason=str(condition))


def is_listed(backup: Certificate, by: Certificate) -> bool:
    return compute_key_hash(backup.key) in describe(by)["backups"]


def make_accepted() -> list[Json]:
    renewed = certify("GW1-B", "GW1", serial=9)
    later: Json = {"takeovers": TAKEN_OVER}
    return [
        accept("takes-over", "The current certificate names its key; issuer, owner and path are the same.",
               give(BACKUP), BACKUP, holds=is_listed(BACKUP, PRIMARY) and is_signed_by(BACKUP, OWNER.key)),
        accept("any-later-epoch", "Epochs need not follow each other.", give(BACKUP, epoch=40), BACKUP,
               holds=EPOCH + 1 < 40),
        accept("renewed-certificate", "A list names keys, so a renewed certificate for the same key is authorised too.",
               give(renewed), renewed, holds=is_listed(renewed, PRIMARY) and renewed.der != BACKUP.der),
        accept("acts-already", "Whoever acts says it again with its own epoch, after each restart.",
               give(BACKUP, **later), BACKUP, holds=TAKEN_OVER[0]["epoch"] == EPOCH),
        accept("acts-already-and-restarts", "The epoch of whoever acts may rise.",
               give(BACKUP, epoch=3, **later), BACKUP, holds=EPOCH < 3),
        accept("backup-of-the-backup", "The list that counts is that of the certificate that acts now.",
               give(THIRD, epoch=3, **later), THIRD, holds=is_listed(THIRD, BACKUP) and not is_listed(THIRD, PRIMARY)),
        accept("back-to-the-first", "The backup names the gateway in its turn: it comes back with a later epoch.",
               give(PRIMARY, epoch=3, **later), PRIMARY, holds=is_listed(PRIMARY, BACKUP)),
        accept("back-after-a-revocation", "The backup was taken back: the gateway itself needs nobody's leave.",
               give(PRIMARY, epoch=3, revoked=[{"gateway": "GW1-B", "serial": 1}], **later), PRIMARY,
               holds=describe(PRIMARY)["gateway"] == "GW1"),
    ]  # fmt: skip


def make_single() -> list[Json]:
    """One condition does not hold; all others do."""
    old, ends = datetime(2021, 1, 1, tzinfo=UTC), "2021-01-01T00:00:00Z"
    namesake = certify("GW1-B", "GW1", by=OwnerCA(OWNER.owner, key("Mallory LTD"), ROOT))
    other_parent = certify("GW1-B", "GW1", by=PEER)
    beta, alpha = (certify("GW1-B", by=PUBLIC, organization=name) for name in ("Beta LTD", "Alpha LTD"))
    expired = certify("GW1-B", "GW1", valid_until=old)
    stranger, stolen = certify("GW1-X"), certify("GW1-B", as_key="GW2", serial=5)
    return [
        refuse("path-ends-elsewhere", "Nobody whom a trusted root certifies has signed it.", give(namesake),
               Condition.PATH, holds=not is_signed_by(namesake, OWNER.key) and is_listed(namesake, PRIMARY)),
        refuse("other-parent", "Another owner has certified the key that is listed; both have the same root.",
               give(other_parent), Condition.PARENT,
               holds=is_signed_by(other_parent, PEER.key) and is_listed(other_parent, PRIMARY)),
        refuse("not-listed", "A gateway of the same owner whose key the current certificate does not name.",
               give(stranger), Condition.LISTED, holds=is_signed_by(stranger, OWNER.key)),
        refuse("no-list", "No extension means that there are no backups.", give(BACKUP, known=("GW1 without backups",)),
               Condition.LISTED, holds=describe(KNOWN["GW1 without backups"])["backups"] == []),
        refuse("other-organization", "Two customers of one public CA have one parent and are two organizations.",
               give(beta, known=("GW1 of Alpha",)), Condition.ORGANIZATION,
               holds=is_listed(beta, KNOWN["GW1 of Alpha"]) and describe(alpha)["owner"] == "Alpha LTD"),
        refuse("list-taken-back", "The certificate that holds the list was revoked; the list is void with it.",
               give(BACKUP, revoked=[{"gateway": "GW1", "serial": 1}]), Condition.PREDECESSOR,
               holds=is_listed(BACKUP, PRIMARY)),
        refuse("backup-revoked", "The owner has taken the backup's own certificate back.",
               give(BACKUP, revoked=[{"gateway": "GW1-B", "serial": 1}]), Condition.REVOKED,
               holds=is_listed(BACKUP, PRIMARY)),
        refuse("backup-expired", "Its certificate is not valid any more.", give(expired), Condition.VALIDITY,
               holds=is_valid(expired, ends) and not is_valid(expired)),
        refuse("newer-one-known", "A certificate of the same backup with a higher serial number is known.",
               give(BACKUP, epoch=4, takeovers=[*RENEWED, {"gateway": "GW1", "certificate": "GW1", "epoch": 3}]),
               Condition.SERIAL, holds=BACKUP.serial < KNOWN["GW1-B second"].serial),
        refuse("itself", "A gateway does not replace itself; a new certificate of it would be a successor.",
               give(certify("GW1", "GW1-B", serial=2)), Condition.IDENTITY, holds=True),
        refuse("a-peer", "GW2 is a peer of its own and acts for nobody else.", give(KNOWN["GW2"]), Condition.IDENTITY,
               holds=is_signed_by(KNOWN["GW2"], PEER.key)),
        refuse("key-of-a-peer", "Its certificate is for a key that another gateway has.", give(stolen), Condition.KEY,
               holds=stolen.key.kid == KNOWN["GW2"].key.kid),
        refuse("epoch-of-now", "Two would act in one epoch.", give(THIRD, takeovers=TAKEN_OVER), Condition.EPOCH,
               holds=is_listed(THIRD, BACKUP)),
        refuse("epoch-is-over", "The first gateway still believes that it acts: its epoch is over.",
               give(PRIMARY, epoch=1, takeovers=TAKEN_OVER), Condition.EPOCH, holds=is_listed(PRIMARY, BACKUP)),
        refuse("epoch-zero", "Nobody takes over in the epoch before the first takeover.", give(BACKUP, epoch=0),
               Condition.EPOCH, holds=is_listed(BACKUP, PRIMARY)),
    ]  # fmt: skip


RENEWED = [{"gateway": "GW1", "certificate": "GW1-B second", "epoch": EPOCH}]


def make() -> Family:
    return Family(
        name="backups",
        about="Another gateway shows its certificate and says that it acts for this one from an epoch on.",
        sections=("RECOVERY 6.1", "RFC 5280"),
        operation="verify-backup",
        shared=share(),
        cases=[*make_accepted(), *make_single()],
    )
