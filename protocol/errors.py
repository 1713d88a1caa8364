"""Refusals, and the documents' error codes as data.

A gateway meets four kinds of trouble, and they must not be mixed up:

    Refused    the peer's input breaks a rule. It becomes a signed error message with the document's
               code, and nothing else happens: log and ledger stay as they were.
    Fault      our own disk, or somebody who writes where only we should. The peer is told nothing.
    NotYet     the input is fine but comes too early for us. Nothing happens; the peer sends again.
    Misuse     our own caller asked for something impossible. It never reaches the wire.

A mistake of our own is an `assert`, and an `assert` never looks at a peer's input.

The codes are those of SATP 11.4, word for word. The draft has codes for single fields, for mismatches
with the session, and three general ones; `satp_code` finds the one that fits a step and a field.
"""

from __future__ import annotations

from dataclasses import dataclass


class ProtocolError(Exception):
    """The root of the tree; never raised itself."""


class Explained(ProtocolError):
    """A reason in words and the compared values, so that nobody need guess. `field` is the path of what is wrong."""

    def __init__(
        self,
        reason: str,
        *,
        code: str = "",
        field: str | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.field = field
        self.expected = expected
        self.found = found

    def in_words(self) -> str:
        """Reason and compared values, without the code."""
        if self.expected is None and self.found is None:
            return self.reason
        expected = f"expected {self.expected}, " if self.expected is not None else ""
        return f"{self.reason} ({expected}found {self.found})"

    def __str__(self) -> str:
        return f"{self.in_words()} [{self.code}]" if self.code else self.in_words()


class Refused(Explained):
    """The peer broke a rule. `code` is the document's code."""


class Unanswered(Refused):
    """Refused, and nobody is told: an answer could only do harm, or start a quarrel."""


class Fault(Explained):
    """Trouble of our own: a damaged file, another writer. Never the peer's, and never told to it."""


class NotYet(ProtocolError):
    """Not wrong, only too early: the same input may be accepted later."""


class Misuse(ProtocolError):
    """Our own caller asked for something that cannot be; the sentence says what would be allowed."""


@dataclass(frozen=True)
class ErrorCode:
    """One row of the registry of SATP 11.4."""

    code: str
    category: str
    kind: str
    description: str
    status: int

    @property
    def step(self) -> str:
        """The step that the code belongs to: `err_1.3.4` is of step `1.3`."""
        return self.code.removeprefix("err_").rpartition(".")[0]

    @property
    def subject(self) -> str:
        """The last word of the description, which is the field: `mismatch hashPrevMessage`."""
        return self.description.rpartition(" ")[2]

    @property
    def urn(self) -> str:
        return f"urn:ietf:params:satp:core:error:{self.code}"


_REGISTRY = """
# General errors
err_0.1.1  400  badly formed message    invalid message type
err_0.1.2  403  authorization error     insufficient permissions
err_0.1.3  422  badly formed message    bad signature
# Transfer Proposal/Receipt errors
err_1.1.1  422  badly formed message    invalid transferContextId
err_1.1.2  422  badly formed message    invalid sessionId
err_1.1.3  422  badly formed message    incorrect transferInitClaimFormat
err_1.1.11 422  badly formed claim      invalid digitalAssetId
err_1.1.12 422  badly formed claim      invalid assetProfileId
err_1.1.13 422  badly formed claim      invalid verifiedOriginatorEntityId
err_1.1.14 422  badly formed claim      invalid verifiedBeneficiaryEntityId
err_1.1.15 422  badly formed claim      invalid originatorPublicKey
err_1.1.16 422  badly formed claim      invalid beneficiaryPublicKey
err_1.1.17 422  badly formed claim      invalid senderGatewaySignaturePublicKey
err_1.1.18 422  badly formed claim      invalid receiverGatewaySignaturePublicKey
err_1.1.19 422  badly formed claim      invalid senderGatewayId
err_1.1.20 422  badly formed claim      invalid recipientGatewayId
err_1.1.31 415  badly formed parameter  unsupported gatewayDefaultSignatureAlgorithm
err_1.1.32 415  badly formed parameter  unsupported networkLockType
err_1.1.33 415  badly formed parameter  unsupported networkLockExpirationTime
err_1.1.34 415  badly formed parameter  unsupported gatewayTlsScheme
err_1.1.35 415  badly formed parameter  unsupported gatewayLoggingProfile
err_1.1.36 415  badly formed parameter  unsupported gatewayAccessControlProfile
err_1.2.1  404  badly formed message    mismatch transferContextId
err_1.2.2  404  badly formed message    mismatch sessionId
err_1.2.3  404  badly formed message    mismatch hashTransferInitClaim
# Transfer Commence errors
err_1.3.1  404  badly formed message    mismatch transferContextId
err_1.3.2  404  badly formed message    mismatch sessionId
err_1.3.3  404  badly formed message    mismatch hashTransferInitClaim
err_1.3.4  404  badly formed message    mismatch hashPrevMessage
# ACK Commence errors
err_1.4.1  404  badly formed message    mismatch transferContextId
err_1.4.2  404  badly formed message    mismatch sessionId
err_1.4.3  404  badly formed message    mismatch hashPrevMessage
# Lock Assertion errors
err_2.2.1  404  badly formed message    mismatch transferContextId
err_2.2.2  404  badly formed message    mismatch sessionId
err_2.2.3  415  badly formed message    unsupported lockAssertionClaimFormat
err_2.2.4  415  badly formed message    unsupported lockAssertionExpiration
err_2.2.5  404  badly formed message    mismatch hashPrevMessage
err_2.2.7  404  semantic error          asset not found
err_2.2.8  409  semantic error          asset already locked
err_2.2.9  410  semantic error          asset lock expired
# Lock Assertion Receipt errors
err_2.4.1  404  badly formed message    mismatch transferContextId
err_2.4.2  404  badly formed message    mismatch sessionId
err_2.4.3  404  badly formed message    mismatch hashPrevMessage
# Commit Preparation errors
err_3.1.1  404  badly formed message    mismatch transferContextId
err_3.1.2  404  badly formed message    mismatch sessionId
err_3.1.3  404  badly formed message    mismatch hashPrevMessage
# Commit Ready errors
err_3.3.1  404  badly formed message    mismatch transferContextId
err_3.3.2  404  badly formed message    mismatch sessionId
err_3.3.3  404  badly formed message    mismatch hashPrevMessage
err_3.3.4  415  badly formed message    unsupported mintAssertionFormat
# Commit Final Assertion errors
err_3.5.1  404  badly formed message    mismatch transferContextId
err_3.5.2  404  badly formed message    mismatch sessionId
err_3.5.3  404  badly formed message    mismatch hashPrevMessage
err_3.5.4  415  badly formed message    unsupported burnAssertionClaimFormat
# Commit Final Ack Receipt errors
err_3.7.1  404  badly formed message    mismatch transferContextId
err_3.7.2  404  badly formed message    mismatch sessionId
err_3.7.3  404  badly formed message    mismatch hashPrevMessage
err_3.7.4  415  badly formed message    unsupported assignmentAssertionClaimFormat
# Transfer Complete errors
err_3.9.1  404  badly formed message    mismatch transferContextId
err_3.9.2  404  badly formed message    mismatch sessionId
err_3.9.3  404  badly formed message    mismatch hashPrevMessage
err_3.9.4  404  badly formed message    mismatch hashTransferCommence
"""


def _read_registry(text: str) -> dict[str, ErrorCode]:
    codes, category = {}, ""
    for line in text.strip().splitlines():
        if line.startswith("# "):
            category = line[2:]
            continue
        code, status, rest = line.split(maxsplit=2)
        kind, description = (part.strip() for part in rest.split("  ", 1))
        codes[code] = ErrorCode(code, category, kind, description, int(status))
    return codes


SATP_CODES: dict[str, ErrorCode] = _read_registry(_REGISTRY)

INVALID_MESSAGE_TYPE = "err_0.1.1"  # also our answer to what is no message at all: SATP 11.4 has no other general code
INSUFFICIENT_PERMISSIONS = "err_0.1.2"
BAD_SIGNATURE = "err_0.1.3"


_BY_STEP_AND_FIELD = {(entry.step, entry.subject): entry.code for entry in reversed(SATP_CODES.values())}


def satp_code(step: str, field: str) -> str:
    """The code of SATP 11.4 for a wrong `field` in the message of `step`; the general one where the draft has none."""
    return _BY_STEP_AND_FIELD.get((step, field), INVALID_MESSAGE_TYPE)
