"""What every field of every message means, in the documents' words: the text beside the models.

The models say which fields there are, which are REQUIRED and what may stand in them; here stands what they are for,
shortened from the document, with its section. Schemas, message tables and the description of the endpoints
are made of both. Nothing here decides anything, and no model reads it.

    = Model: name in the document (section, or whose it is)
    what it is for
    - field: meaning (its own section, where it is not the model's)

A field that a model inherits has the meaning given at the model it comes from, unless it is given again. What the
documents do not have is marked `OURS` at the field, in the model: an author sees from it what would have to be added.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

OURS: Any = Field(json_schema_extra={"x-ours": True})


class Meaning(NamedTuple):
    """What a model is called in its document, where that is, what it is for, and its fields by their names."""

    name: str
    section: str
    purpose: str
    fields: dict[str, str]


_SATP = """
= TransferInitClaim: Transfer Initialization Claim (SATP 8.1)
The artifacts pertaining to the asset that client and server must agree upon.
- digitalAssetId: The globally unique identifier of the digital asset in the origin network.
- assetProfileId: The globally unique identifier of the asset-profile definition on which the asset was issued.
- networkLockType: The default locking mechanism used for the asset.
- assetLockExpirationTime: The duration in seconds until a lock of the asset expires, if it is a HASH_TIME_LOCK or a
  TIME_LOCK.
- verifiedOriginatorEntityId: The identity data of the originator in the origin network, verified by the sender gateway.
- verifiedBeneficiaryEntityId: The identity data of the beneficiary in the destination network, verified by the
  receiver gateway.
- originatorPublicKey: The public key of the asset owner (originator) in the origin network.
- beneficiaryPublicKey: The public key of the beneficiary in the destination network.
- senderGatewaySignaturePublicKey: The public key with which the sender gateway signs assertions and receipts.
- receiverGatewaySignaturePublicKey: The public key with which the receiver gateway signs assertions and receipts.
- senderGatewayId: The identifier of the sender gateway.
- recipientGatewayId: The identifier of the receiver gateway.
- senderGatewayNetworkId: The identifier of the origin network or system behind the client.
- recipientGatewayNetworkId: The identifier of the destination network or system behind the server.
- senderGatewayDeviceIdentityPublicKey: The device public key of the sender gateway (client).
- receiverGatewayDeviceIdentityPublicKey: The device public key of the receiver gateway.
- senderGatewayOwnerId: The identity of the owner or operator of the sender gateway.
- receiverGatewayOwnerId: The identity of the owner or operator of the recipient gateway.

= Capabilities: Gateway and Network Capabilities (SATP 8.2)
The parameters of the networks, and the technical capabilities of the gateways.
- gatewayDefaultSignatureAlgorithm: The default digital signature algorithm with which a gateway signs claims, from the
  IANA registry "JSON Web Signature and Encryption Algorithms".
- gatewaySupportedSignatureAlgorithms: Other digital signature algorithms of that registry that the gateway supports.
- networkLockType: The default locking mechanism used by the network.
- networkLockExpirationTime: The duration in integer seconds for a lock to expire in the network.
- gatewayTlsScheme: The TLS 1.3 scheme.

= AssertionClaim: Claim about the state of an asset (SATP 5.3.17)
The statement of a gateway that its network has locked, minted, burned or assigned the asset.
- receipt: The network's own receipt of that action, as a compact JWS.

= Message: What all messages have (SATP 5.3)
The fields of every message of a session.
- messageType: The type of request or response that the message conveys (SATP 5.3.2).
- sessionId: The unique identifier chosen by the client to identify the current session (SATP 5.3.7).
- transferContextId: The unique identifier of the current transfer at the application layer (SATP 5.3.6).
- version: The SATP protocol version, as a string "major.minor" (SATP 5.3.1).
- hashPrevMessage: The cryptographic hash of the last message. The default hash algorithm is SHA-256.
- hashTransferInitClaim: The hash of the Transfer Initialization Claim in the Transfer Proposal Message.

= TransferProposal: Transfer Proposal Message (SATP 8.3)
The sender gateway, as the client, initiates a transfer session with the receiver gateway, as the server.
- transferInitClaimFormat: The format of the claim. The default is JSON, with parts base64 encoded as needed.
- transferInitClaim: The set of artifacts and parameters that is the basis of the transfer.
- gatewayAndNetworkCapabilities: The parameters of the origin gateway and network, reported by the client to the server.

= ProposalReceipt: Transfer Proposal Receipt Message (SATP 8.4)
The server explicitly accepts the parameters in the claim of the proposal.
- timestamp: When the Transfer Proposal Message was received.

= TransferCommence: Transfer Commence Message (SATP 8.6)
The client signals that it is ready to start the transfer of the asset.

= AckCommence: Commence Response Message (ACK-Commence) (SATP 8.7)
The server agrees to proceed with the transfer, based on the artifacts of the proposal.

= LockAssertion: Lock Assertion Message (SATP 9.1)
The client conveys a signed claim that the asset has been locked or escrowed in the origin network.
- lockAssertionClaimFormat: The format of the claim. The default is JSON, with parts base64 encoded as needed.
- lockAssertionClaim: The lock assertion claim or statement by the client.
- lockAssertionExpiration: The date and time when the lock upon the asset in the origin network expires.

= AssertionReceipt: Lock Assertion Receipt Message (SATP 9.2)
The server accepts the claim of the lock assertion.

= CommitPrepare: Commit Preparation Message (Commit-Prepare) (SATP 10.1)
The client is ready to begin the commitment of the transfer.

= CommitReady: Commit Ready Message (Commit-Ready) (SATP 10.2)
The server has minted an equivalent asset in the destination network, assigned to itself, and is ready to go on.
- messageType: commit-ready-msg is sent (SATP 10.2); ack-prepare-msg (SATP 5.3.2) is accepted too.
- mintAssertionFormat: The format of the claim. The default is JSON, with parts base64 encoded as needed.
- mintAssertionClaim: The mint assertion claim or statement by the server.

= CommitFinal: Commit Final Assertion Message (Commit-Final) (SATP 10.3)
The client has completed the extinguishment (burn) of the asset in the origin network.
- burnAssertionClaimFormat: The format of the claim. The default is JSON, with parts base64 encoded as needed.
- burnAssertionClaim: The burn assertion signed claim or statement by the client.

= AckCommitFinal: Commit-Final Acknowledgement Receipt Message (ACK-Final-Receipt) (SATP 10.4)
The server has assigned the newly minted asset to the intended beneficiary in the destination network.
- assignmentAssertionClaimFormat: The format of the claim. The default is JSON, with parts base64 encoded as needed.
- assignmentAssertionClaim: The claim by the server that the asset has been assigned to the intended beneficiary.

= TransferComplete: Transfer Complete Message (SATP 10.5)
The client has completed the session; no further messages of this transfer are to be expected from it.
- hashTransferCommence: The hash of the Transfer Commence Message.

= ErrorMessage: Error Message (SATP 11.3)
An error has occurred within the protocol flow: a Problem Details object (RFC 9457) with a code of SATP 11.4.
- type: The URN of the error, `urn:ietf:params:satp:core:error:` and its code of SATP 11.4.
- status: The HTTP status code of this error, as SATP 11.4 lists it.
- title: A short, human-readable summary of the error type: its description in SATP 11.4.
- detail: A human-readable explanation of this occurrence of the error.
- instance: A URI reference that identifies this occurrence; it contains the transferContextId.
- prevMsgType: The message type of the message that triggered the error.
- hashPrevMessage: The cryptographic hash of the message that caused the rejection.
- hashRefusedMessage: The hash of the bytes that arrived: a payload can be copied under a damaged signature.
- timestamp: When this message was made.

= SessionAbort: Session Abort Message (SATP 10.7)
One of the gateways has decided not to proceed with the session.
- reason: Why, in words.
- code: The code of SATP 11.4, if there is one for the reason.
- receipts: The networks' receipts for the locks and mints that were ended, each a compact JWS.
- hashPrevMessage: The hash of the last message of the peer that the author knew.
- timestamp: When this message was made.
"""

_RECOVERY = """
= Position: Position of a session (the thread of December 2020)
Where a session stands at one gateway. It carries no content, so it may travel before TLS is back.
- sessionId: The unique identifier of the session.
- satpPhase: The latest SATP phase registered; 0 before the first message.
- sequenceNumber: The latest sequence number registered in the writer's own log; 0 where there is no entry.
- step: The last step of SATP figure 2 that is done.
- role: The role of this gateway in the session.
- messages: How many messages of the session this gateway holds.
- headHash: The hash of the last of them: equal numbers can hide different contents.
- log: What this gateway's log says of the session, as a word of TABLE 2.
- ledger: What this gateway's network says of the session, as a word of TABLE 2.
- peerKey: The thumbprint (RFC 7638) of the key under which it believes the peer, if that is not the claim's any more.

= Answer: Answer about a session (the thread of December 2020)
The answerer's position in a session that an offer named, and what follows for it.
- verdict: Continue, complete, back out, unknown, or dispute.
- continueWith: The step to continue with.
- decidedBy: The row of TABLE 2 that decided.

= Takeover: Takeover by a backup gateway (ours)
A backup that acted for the gateway before the one that speaks.
- certificate: Its X.509 certificate, as base64 of the DER form.
- epoch: The number of the takeover, counted from 1.

= _Recovery: What all messages of a recovery have (RECOVERY 5.3)
The fields of every message of a recovery.
- messageType: The type of the message.
- sessionId: The unique identifier of the session.
- contextId: The unique identifier of the session context.
- hashPrevMessage: The hash of the message that this one answers.
- newIdentityPublicKey: The public key of the sender, if it is a backup gateway or its key was replaced.
- certificate: The X.509 certificate of a new key, as base64 of the DER form.
- epoch: The number of the takeover under which the sender acts; 0 or absent if it is no backup.
- receipts: What the sender's network says of this session: its receipts, each a compact JWS.
- position: Where the session stands at the sender.
- takeovers: The backups that acted for this gateway before the one that speaks.
- timestamp: When this message was made.
- success: Whether it was done.

= TransferResume: Transfer-Resume (the thread of December 2020)
A gateway that comes back offers to continue, with all its open sessions. The offer by itself changes nothing.
- gatewayId: The identifier of the gateway that comes back.
- peerId: The identifier of the gateway that the offer is for.
- crashErrorCode: What was lost: the process, power, a tail of the log, the log, the key, the connection, the gateway.
- sessions: Where each open session with that peer stands.
- isWhole: Whether no session was left out between `after` and `upTo`.
- after: The offer begins after this session id; absent if it begins at the first.
- upTo: The offer ends with this session id; absent if it goes to the last.
- isBackup: Whether the sender is a backup gateway.
- restartFrom: Whether open sessions go on from the last message before the crash, or from the first one of the stage.
- nonce: A text never used before, which the answer repeats.
- incarnation: How often this gateway has been started; a replayed offer has an old number.
- epoch: How often a backup has taken over for this gateway.

= TransferContinue: Transfer-Continue (the thread of December 2020)
The peer's answer to an offer: a verdict for each session, and whether TLS may be resumed.
- gatewayId: The identifier of the gateway that answers.
- sessions: The answer about each session that the offer named.
- notNamed: The answer about each session with that gateway that the offer did not name.
- tlsResume: Whether the TLS session may be resumed; else a full handshake follows.
- nonce: The nonce of the offer.
- highestIncarnation: The highest incarnation of the offering gateway that the answerer knows.
- upTo: The last session id that was answered, where one message has no room for all.
- hashPrevMessage: The hash of the offer.

= Recover: RECOVER (RECOVERY 5.3.1)
The crashed gateway sends its most recent state to the counterparty gateway.
- satpPhase: The latest SATP phase registered.
- sequenceNumber: The latest sequence number registered.
- isBackup: Whether the sender is a backup gateway.
- lastEntryTimestamp: The timestamp of the last known log entry.
- hashPrevMessage: The hash of the Transfer-Continue before it.

= RecoverUpdate: RECOVER-UPDATE (RECOVERY 5.3.2)
The counterparty gateway sends what the recovered gateway needs to update its log.
- hashRecoverMessage: The hash of the RECOVER that this message answers.
- recoveredLogs: The signed messages of the session that the recovered gateway lacks, each a compact JWS.

= RecoverUpdateAck: RECOVER-UPDATE-ACK (RECOVERY 5.3.3)
The recovered gateway tells whether its log has been updated.
- hashRecoverUpdateMessage: The hash of the RECOVER-UPDATE that this message answers.
- entriesChanged: The hashes of the messages that were appended to the recovered gateway's log.
- recoveredLogs: The signed messages of the session that the other gateway lacks, each a compact JWS.

= RecoverSuccess: RECOVER-SUCCESS (RECOVERY 5.3.3)
The counterparty gateway acknowledges that the state is synchronized.
- hashRecoverUpdateAckMessage: The hash of the RECOVER-UPDATE-ACK that this message answers.
- entriesChanged: The hashes of the messages that were appended to the counterparty gateway's log.

= RecoverDispute: RECOVER-DISPUTE (RECOVERY 5.3.3)
Inconsistencies were detected: the session is frozen at the sender.
- reason: Why, in words.
- evidence: The signed messages and receipts that contradict each other, each a compact JWS.
- hashPrevMessage: The hash of the message that this one answers.

= Rollback: ROLLBACK (RECOVERY 5.3.4)
A gateway that has rolled back reports what it has undone.
- actionsPerformed: The actions performed to roll back, such as unlock.
- proofs: The proofs of the network: its receipts of these actions, each a compact JWS.
- reason: Why, in words.
- code: The code of SATP 11.4, if there is one for the reason.
- hashPrevMessage: The hash of the last message of the peer in this session; absent if no message is left anywhere.

= RollbackAck: ROLLBACK-ACK (RECOVERY 5.3.5)
The counterparty gateway acknowledges that the rollback has been performed.
- actionsPerformed: The actions performed to roll back, such as destroy.
- proofs: The proofs of the network: its receipts of these actions, each a compact JWS.
- hashPrevMessage: The hash of the ROLLBACK.

= LogEntry: Log entry (RECOVERY 4)
An entry of a gateway's log. What it leaves out stands in the proposal, or has its default.
- version: The SATP protocol version (major, minor).
- sessionId: The unique identifier of the session.
- contextId: The unique identifier of the session context.
- gatewayId: The gateway whose log it is.
- sequenceNumber: A counter that increases by one with each entry of the session in this log.
- satpPhase: The current SATP phase.
- step: The step of SATP figure 2 that the entry is about.
- operation: The high-level operation of the entry: intended, begun, done, acknowledged or failed.
- timestamp: When the entry was generated.
- payload: A message, an operation of the network, or a receipt.
- payloadHash: The hash of the payload.
- lastEntryHash: The hash of the entry before this one.
- messageSignature: The signature of the gateway over the entry.
- resourceUrl: The location of the resource to be accessed.
- developerUrn: The identity of the developer or application.
- actionResponse: GET or POST and arguments, or the response code.
- credentialProfile: The type of authentication (e.g. SAML, OAuth, X.509).
- credentialBlock: The digest of the credential; never the credential, since logs are shared.
- payloadProfile: The asset profile's provenance and capabilities.
- applicationProfile: A profile of vendor or application.
- originGatewayId: The identifier of the gateway that initiates the transfer.
- originGatewayPubkey: The public key of the gateway that initiates the transfer.
- originGatewaySystem: The identifier of the source network.
- destinationGatewayId: The identifier of the other gateway of the transfer.
- destinationGatewayPubkey: The public key of the other gateway of the transfer.
- destinationGatewaySystem: The identifier of the destination network.
- loggingProfile: The profile of the logging procedure. The default is a local store.
- accessControlProfile: The profile of the confidentiality of the entries. By default only their gateway has access.
- recoveryMessage: The type of the recovery message, in a recovery.
- recoveryPayload: The payload of the recovery message.
- writerId: The backup that wrote the entry in the gateway's name, where the log is shared.
- epoch: The number of the takeover under which it was written, where the log is shared.
"""

_LIP_1 = """
= CommandRequestObject: CommandRequestObject (LIP-1 "CommandRequestObject")
A request between two VASPs.
- object_type: Always `CommandRequestObject`.
- command_type: The type of the command in the request.
- command: The command to sequence.
- cid: The unique identifier of the command: 16 random bytes in hex (LIP-1 "Command Sequencing: Object Versioning").

= Command: Command (LIP-1 "PaymentCommand Object")
A command on shared objects.
- object_type: The type of the command.
- reads: Maps the reference_id of each object that is read to its latest version: the cid that last changed it.
- writes: Maps the reference_id of each object that is written to its new version: the cid of this command.
- payment: Creates a new payment, or updates an existing one.

= PaymentCommand: PaymentCommand (LIP-1 "PaymentCommand Object")
Creates a payment (reads nothing) or updates one (reads its latest version).

= EmptyCommand: EmptyCommand (ours)
A command on no object at all: what sequencing alone costs.

= GetPaymentByRef: GetPaymentByRef (ours)
Asks for a payment and its history.
- object_type: Always `GetPaymentByRef`.
- reference_id: The payment.

= GetPaymentHistoryByRef: GetPaymentHistoryByRef (ours)
Asks for the history of a payment.
- object_type: Always `GetPaymentHistoryByRef`.
- reference_id: The payment.
- since: A version that the asking side has; only what came after it is wanted.

= ChannelHealthCheck: ChannelHealthCheck (ours)
Asks what the other side knows of this channel.
- object_type: Always `ChannelHealthCheck`.
- state_lost: The asking side has no memory, and will judge pending commands before it does anything new.

= HistoryOffer: HistoryOffer (ours)
Evidence that was not asked for.
- object_type: Always `HistoryOffer`.
- reference_id: The payment.
- history: Its versions, each with both signatures.

= Evidence: Evidence of a version (ours)
A version that both sides agreed on.
- request: The signed request that wrote it, as a compact JWS.
- response: The signed response of the other side, as a compact JWS.

= PaymentObject: PaymentObject (LIP-1 "PaymentObject")
A full payment, or just the fields of an existing payment that are to be changed.
- sender: Information about the sender. Required for payment creation.
- receiver: Information about the receiver. Required for payment creation.
- reference_id: The unique reference of the payment: `<creator's on-chain address in bech32>_<unique_id>`. Immutable.
- original_payment_reference_id: The reference of the original payment, for a refund for example. Invalid on updates.
- recipient_signature: The recipient's signature for on-chain attestation, in hex (LIP-1 "Recipient Signature").
- action: Amount, currency and type of action. Required for payment creation, and immutable.
- description: A description to be displayed to the user. It can be written once.

= PaymentActorObject: PaymentActorObject (LIP-1 "PaymentActorObject")
A participant in a payment: sender or receiver.
- address: The account of the sender or receiver, in bech32. Required for payment creation, and immutable.
- kyc_data: The KYC data of this account. Immutable once it is set.
- status: The status of the payment from the perspective of this actor, who alone may set it.
- metadata: Texts that the VASP associates with the payment. New ones can be appended, none deleted.

= KYCDataObject: KYCDataObject (LIP-1 "KYCDataObject")
The information required for a single subaddress.
- payload_type: Always `KYC_DATA`.
- payload_version: The version of this object: 1; a string in LIP-1's table and a number in its example.
- type: Either `individual` or `entity`.
- given_name: The legal given name of the user.
- surname: The legal surname of the user.
- address: The physical address of this account.
- dob: The date of birth, as an ISO 8601 calendar date.
- place_of_birth: The place of birth; without line1 and line2.
- national_id: The national ID of the holder.
- legal_entity_name: The name of the legal entity, where the subaddress represents one rather than an individual.
- additional_kyc_data: Freeform KYC data that can clear a soft match.

= AddressObject: AddressObject (LIP-1 "AddressObject")
A physical address.
- city: The city, district, suburb, town or village.
- country: The two-letter country code (ISO 3166-1 alpha-2).
- line1: Address line 1.
- line2: Address line 2: apartment, unit, etc.
- postal_code: The ZIP or postal code.
- state: The state, county, province or region.

= NationalIdObject: NationalIdObject (LIP-1 "NationalIdObject")
A national ID.
- id_value: The value of the national ID, for example a social security number.
- country: The two-letter country code (ISO 3166-1 alpha-2).
- type: The type of the ID.

= StatusObject: StatusObject (LIP-1 "StatusObject")
The status of a payment from the perspective of one actor.
- status: One of the values of LIP-1 "StatusEnum".
- abort_code: The reason of an abort, as a code.
- abort_message: Additional details about it.

= PaymentActionObject: PaymentActionObject (LIP-1 "PaymentActionObject")
What is to be paid.
- amount: The amount, in the base units of the on-chain currency.
- currency: One of the supported on-chain currencies.
- action: The requested action: `charge` is the only one.
- timestamp: The Unix time at which the payment command was created.

= CommandResponseObject: CommandResponseObject (LIP-1 "CommandResponseObject")
The response to a CommandRequestObject.
- object_type: Always `CommandResponseObject`.
- status: Either `success` or `failure`.
- error: Details on the errors, when the status is `failure`.
- cid: The command to which this is a response; it may be omitted if the request could not be read.
- result: The answer to a question.

= OffChainErrorObject: OffChainErrorObject (LIP-1 "OffChainErrorObject")
An error that occurred in response to a command.
- type: `command_error`: the command cannot be applied. `protocol_error`: a failure of the lower-level protocol.
- field: The field on which the error occurred.
- code: The code of the error.
- message: Additional details about the error.

= PaymentByRef: PaymentByRef (ours)
A payment as its history makes it, and that history.
- object_type: Always `PaymentByRef`.
- payment: The payment, in full.
- history: Its versions, each with both signatures.

= PaymentHistoryByRef: PaymentHistoryByRef (ours)
The history of a payment.
- object_type: Always `PaymentHistoryByRef`.
- reference_id: The payment.
- history: Its versions, each with both signatures.

= ChannelHealth: ChannelHealth (ours)
What the answering side knows of the channel.
- object_type: Always `ChannelHealth`.
- known: False where nothing is remembered of this channel.
- open: Maps each open object to its head.
- mine: The memories that the answering side has had, the present one last.
- yours: The memories that the asking side has had, as far as is known.
- closed: Maps each finished object that is still kept to its head. Only for a side that lost its state.
- pending: The answering side's signed requests that have no answer yet. Only for a side that lost its state.
"""


def _read(text: str) -> dict[str, Meaning]:
    found = {}
    for block in re.sub(r"\n {2}", " ", text).strip().split("\n\n"):
        head, purpose, *lines = block.splitlines()
        model, name, section = re.fullmatch(r"= (\w+): (.+) \(([^()]+)\)", head).groups()  # type: ignore[union-attr]
        found[model] = Meaning(name, section, purpose, dict(line[2:].split(": ", 1) for line in lines))
    return found


MEANINGS: dict[str, Meaning] = _read(_SATP) | _read(_RECOVERY) | _read(_LIP_1)


def find_meaning(model: type[BaseModel]) -> Meaning:
    """What a model is, in its own words or in those of the one that it specialises."""
    return next(MEANINGS[each.__name__] for each in model.__mro__ if each.__name__ in MEANINGS)


def describe_field(model: type[BaseModel], field: str) -> str:
    """What a field means, with the section that says so; "ours" where no document does."""
    meanings = [MEANINGS[each.__name__] for each in model.__mro__ if each.__name__ in MEANINGS]
    owner = next(meaning for meaning in meanings if field in meaning.fields)
    text = owner.fields[field]
    if re.search(r"\((SATP|RECOVERY|LIP-1)\b[^()]*\)", text):
        return text
    section = meanings[0].section if owner is not meanings[0] and owner.name.startswith("What all") else owner.section
    if is_ours(model, field):
        section = "ours"
    return f"{text.removesuffix('.')} ({section})."


def is_ours(model: type[BaseModel], field: str) -> bool:
    """Whether the documents do not have this field."""
    extra = model.model_fields[field].json_schema_extra
    return find_meaning(model).section == "ours" or (isinstance(extra, dict) and extra.get("x-ours") is True)
