"""What a takeover needs and what it leaves behind, to be looked at: certificates, lease, log and succession.

    BackupList(certificate)             whom a certificate authorises: the extension, its bytes, whose keys
    judge_candidates(ring, ...)         who may take over, and which condition everybody else fails
    watch_lease(world, "GW1", 40)       all that a backup ever sees of its primary
    SharedLog(world, "GW1")             the lease, and each entry with its epoch and its writer
    list_successions(world, "GW1")      who told whom in a session that another one acts, and who answered

Nothing here decides or changes anything: a ring of keys is asked, never told. Only the clock of a World that is watched
goes on.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from protocol.certificates import BACKUPS, Certificate, compute_key_hash
from protocol.log import LogEntry
from protocol.peers import CertifiedKeys, NotABackup
from protocol.replacement import PrimaryBackup
from protocol.signing import PublicKey
from protocol.steps import describe_step
from protocol.views import SignedMessage, read_message

WIDTH = 96
LEFT = ' style="text-align: left"'


@dataclass(frozen=True)
class BackupList:
    """Whom a certificate authorises to take over. `names` are the keys that the reader knows."""

    certificate: Certificate
    names: Mapping[str, PublicKey]

    @property
    def authorised(self) -> list[str]:
        """The names of the backups; "unknown" for a key that is not among `names`."""
        known = {compute_key_hash(key): name for name, key in self.names.items()}
        return [known.get(each, "unknown") for each in self.certificate.backups]

    def __repr__(self) -> str:
        lines = [repr(self.certificate)]
        found = [each for each in self.certificate.x509.extensions if each.oid == BACKUPS]
        if not found:
            return f"{lines[0]}\n  no extension: it authorises nobody"
        (extension,) = found
        value = extension.value.public_bytes()
        critical = "critical" if extension.critical else "not critical"
        lines.append(f"  extension  {BACKUPS.dotted_string}")
        lines.append(f"             {critical}, {len(value)} bytes: {value[:8].hex(' ')} ...")
        for name, name_hash in zip(self.authorised, self.certificate.backups, strict=True):
            lines.append(f"  backup     {name}: SHA-256 of its public key {name_hash[:16]}...")
        return "\n".join(lines)


class Candidates(dict[str, NotABackup | None]):
    """Who wanted to take over, in words, and the refusal; None for whoever may."""

    def rows(self) -> list[tuple[str, str, str]]:
        """Who, the condition that does not hold, and the counterparty's words."""
        return [
            (who, str(refused.condition), refused.reason) if refused else (who, "", "takes over")
            for who, refused in self.items()
        ]

    def _repr_html_(self) -> str:
        return write_table(("who wants to take over", "does not hold", "the counterparty says"), self.rows())

    def __repr__(self) -> str:
        lines = []
        for who, condition, words in self.rows():
            lines.append(f"{who} -> {f'refused: {condition}' if condition else words}")
            lines += [f"    {line}" for line in textwrap.wrap(words, WIDTH - 4)] if condition else []
        return "\n".join(lines)


def judge_candidates(
    ring: CertifiedKeys, gateway_id: str, candidates: Mapping[str, Certificate], epoch: int = 2
) -> Candidates:
    """What a counterparty with this ring says to each of them. It adopts nobody."""
    found = Candidates()
    for who, certificate in candidates.items():
        found[who] = None
        try:
            ring.verify_backup(certificate, gateway_id, epoch)
        except NotABackup as refused:
            found[who] = refused
    return found


def watch_lease(world: PrimaryBackup, who: str, seconds: int, every: int = 10) -> list[str]:
    """What the shared store says of a gateway's lease while time passes. It is all that a backup sees."""
    lines = []
    for passed in range(0, seconds + 1, every):
        if passed:
            world.wait(every)
        lease = world.lease(who)
        if lease is None:
            lines.append("no lease")
            continue
        left = (lease.until - datetime.fromisoformat(world.now)).total_seconds()
        lines.append(f"{lease.holder}, epoch {lease.epoch}, {f'{left:.0f} s left' if left > 0 else 'over'}")
    return lines


class SharedLog:
    """The log of a gateway that has backups: the lease, and the entries of one session from the n-th on."""

    def __init__(self, world: PrimaryBackup, who: str, session_id: str | None = None, *, since: int = 1) -> None:
        self.lease = world.lease(who)
        self.primary = world.primary_of(who)
        self.entries = [entry for entry in world.log(who, session_id) if entry.sequenceNumber >= since]

    @property
    def writers(self) -> list[str]:
        return [entry.writerId or self.primary for entry in self.entries]

    @property
    def epochs(self) -> list[int | None]:
        return [entry.epoch for entry in self.entries]

    def __repr__(self) -> str:
        width = max(map(len, [*self.writers, "writer"]))
        lines = [f"log of {self.primary}, lease: {self.lease}", f"epoch  {'writer':{width}}  entry"]
        for writer, entry in zip(self.writers, self.entries, strict=True):
            lines.append(f"{entry.epoch:>5}  {writer:{width}}  {_describe_entry(entry)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class ToldSuccession:
    """One succession as it stands in a session, with the message that told it and its answer, both verified."""

    gateway_id: str
    entry: LogEntry
    certificate: Certificate
    epoch: int
    message: SignedMessage
    answer: SignedMessage | None

    def __repr__(self) -> str:
        acts = self.certificate.gateway_id
        answer = f"{_describe_message(self.answer)}" if self.answer else "nothing yet"
        return "\n".join(
            [
                f"succession, entry {self.entry.sequenceNumber} of this session in the log of {self.entry.gatewayId}",
                f"  who acts     {acts}, for {self.gateway_id}, since epoch {self.epoch}",
                f"  certificate  {self.certificate!r}",
                f"  told by      {_describe_message(self.message)}",
                f"  answered by  {answer}",
            ]
        )


def list_successions(world: PrimaryBackup, who: str, session_id: str | None = None) -> list[ToldSuccession]:
    """The successions of a session in the log of one of its gateways, oldest first."""
    found = []
    for entry in world.log(who, session_id):
        if "succession" not in entry.payload:
            continue
        words = entry.payload["succession"]
        answer = read_message(world, words["answer"]) if "answer" in words else None
        certificate = Certificate.from_base64(words["certificate"])
        message = read_message(world, words["message"])
        epoch = words.get("epoch", 0)
        found.append(ToldSuccession(words["gatewayId"], entry, certificate, epoch, message, answer))
    return found


# ---------------------------------------------------------------------- words


def _describe_entry(entry: LogEntry) -> str:
    """A step that has a number has a name too; other steps are named by themselves."""
    name = describe_step(entry.step) if entry.step else f"phase {entry.satpPhase}"
    number = f"{entry.step} " if entry.step and entry.step != name else ""
    return f"{entry.sequenceNumber:>2}  {entry.operation:<4} {number}{name}"


def _describe_message(message: SignedMessage) -> str:
    return f"{message.name}, signed by {message.signer}, digest {message.digest[:8]}"


def write_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """HTML: a column of numbers stands to the right, every other to the left."""
    styles = ["" if all(cell.isdigit() for cell in column) else LEFT for column in zip(*rows, strict=True)]
    top = "".join(f"<th{style}>{escape(head)}</th>" for head, style in zip(heads, styles, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{style}>{escape(cell)}</td>" for cell, style in zip(row, styles, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def write_columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns beside each other. A row of one cell is a line of its own."""
    wide = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*wide, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) if len(row) > 1 else row[0]
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
