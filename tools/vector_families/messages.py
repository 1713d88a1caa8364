"""Every message of SATP, of an abort, an error and a recovery, as it was sent in a run, and its digest."""

from __future__ import annotations

import hashlib
import json

from protocol.messages import recovery, satp
from protocol.objects import Json as _Json
from protocol.objects import canonical
from protocol.signing import P256_ORDER, KeyRing, read_payload
from protocol.steps import TABLE_1, Role, find_row
from tools.vector_families import Family, Json, case
from tools.vector_families.places import sign_raw
from tools.vector_families.play import (
    Recording,
    find_name,
    key,
    make_public_jwk,
    play_abort,
    play_dispute,
    play_key_lost,
    play_rollback,
    play_tail_lost,
    play_transfer,
)
from tools.vector_families.signing import read_numbers
from tools.vector_families.thumbprints import compute_by_hand, decode, encode

KEYS = {"GW1": "GW1", "GW2": "GW2", "the new key of GW1": "GW1 key 2"}


def describe(compact: str) -> Json:
    """What a reader has to find, computed without the package: RFC 7515 7.1."""
    header, payload, _ = compact.split(".")
    read = json.loads(decode(header))
    thumbprints = {compute_by_hand(make_public_jwk(key(name)))["thumbprint"]: signer for signer, name in KEYS.items()}
    digest = hashlib.sha256(decode(payload)).hexdigest()
    return {
        "signer": thumbprints[read["kid"]],
        "header": read,
        "payload": json.loads(decode(payload)),
        "digest": digest,
    }


def show(name: str, comment: str, compact: str, *, holds: object) -> Json:
    ring = KeyRing((signer, key(lab).public) for signer, lab in KEYS.items())
    assert ring.verify(compact).payload == describe(compact)["payload"]
    return case(name, comment, {"message": compact}, holds=holds, expect=describe(compact))


def make_transfer() -> list[Json]:
    """The eleven messages, and the other name of one."""
    cases = []
    for number, compact in play_transfer().items():
        row = find_row(number)
        author = describe(compact)["signer"]
        words = f"Step {number} of TABLE 1, by the {row.actor}."
        is_right = satp.NAMESPACE + row.name == read_payload(compact)["messageType"]
        is_right = is_right and (author == "GW1") == (row.actor is Role.SENDER)
        cases.append(show(f"{number}-{satp.short_name(row.name)}", words, compact, holds=is_right))
    other = read_payload(play_transfer()["3.3"]) | {"messageType": satp.NAMESPACE + "ack-prepare-msg"}
    words = "The registry of SATP 5.3.2 has another type for 3.3 than section 10.2; both are taken."
    cases.append(show("3.3-ack-prepare", words, key("GW2").sign(other), holds=satp.parse_message(other)))
    return cases


def make_ends() -> list[Json]:
    """What is no step: an error, aborts."""
    world = Recording()
    world.start()
    world.run(until="2.1")
    wrong = read_payload(world.link.pop().data) | {"hashPrevMessage": "0" * 64}
    error = (world.recipient.receive(key("GW1").sign(wrong).encode()) or b"").decode()
    world.close()
    said = read_payload(error)
    aborts = [play_abort(role).find("session-abort") for role in Role]
    return [
        show("error", "Problem details (RFC 9457), signed like any message, about a wrong hashPrevMessage.",
             error, holds=said["type"].endswith("err_2.2.5") and said["status"] == 404),
        show("session-abort-with-receipt", "The sender has unlocked, and shows the receipt.", aborts[0],
             holds=len(read_payload(aborts[0])["receipts"]) == 1),
        show("session-abort-of-the-recipient", "The recipient has nothing to undo: there is no receipt.",
             aborts[1], holds=describe(aborts[1])["signer"] == "GW2" and not read_payload(aborts[1])["receipts"]),
    ]  # fmt: skip


def make_recovery() -> list[Json]:
    exchange = ("transfer-resume", "transfer-continue", "recover", "recover-update", "recover-update-ack",
                "recover-success")  # fmt: skip
    tail, new_key, back, dispute = play_tail_lost(), play_key_lost(), play_rollback(), play_dispute()
    cases = [
        show(name, f"After a crash that took the last entries of the sender's log, message {number} of 6.",
             tail.find(name), holds=[find_name(each) for each in tail.said].index(name) == 7 + number)
        for number, name in enumerate(exchange, 1)
    ]  # fmt: skip
    for name in ("transfer-resume", "recover"):
        compact = new_key.find(name)
        words = "The key was lost too: the message has the new key and its certificate, and is signed with it."
        is_new = describe(compact)["signer"] == "the new key of GW1"
        cases.append(
            show(f"{name}-with-new-key", words, compact, holds=is_new and "certificate" in read_payload(compact))
        )
    cases += [
        show("rollback", "The lock ran out before the sender came back; the receipt of that is the proof.",
             back.find("rollback"), holds=read_payload(back.find("rollback"))["proofs"]),
        show("rollback-ack", "What the other side has undone.", back.find("rollback-ack"), holds=True),
        show("recover-dispute", "Two agreed chains, and the signed messages that contradict each other.",
             dispute.find("recover-dispute"), holds=len(read_payload(dispute.find("recover-dispute"))["evidence"]) > 1),
    ]  # fmt: skip
    return cases


def make_free() -> list[Json]:
    """What the drafts leave open, and a reader must bear."""
    payload = read_payload(play_transfer()["3.1"])
    more: _Json = payload | {"aFieldOfTomorrow": {"b": 1, "a": [None, True]}}
    letters = payload | {"transferContextId": "\u00c5ngstr\u00f6m \u20ac \U0001d11e"}
    recover = read_payload(play_tail_lost().find("recover"))
    start, (r, s) = play_transfer()["3.1"].rpartition(".")[0], read_numbers(play_transfer()["3.1"])
    turned = sign_raw({"kid": key("GW1").public.kid, "alg": "ES256"}, canonical(payload), key("GW1"))
    alone = {name: recover[name] for name in recover if name not in ("position", "hashPrevMessage")}
    return [
        show("unknown-field", "A field that no draft names is kept: its author signed it, and the digest covers it.",
             key("GW1").sign(more), holds=canonical(more) != canonical(payload)),
        show("letters-beyond-ascii", "The signature is over UTF-8.", key("GW1").sign(letters),
             holds=not canonical(letters).isascii()),
        show("header-in-another-order", "The protected header need not be canonical: its bytes are signed as they are.",
             turned, holds=list(describe(turned)["header"]) == ["kid", "alg"]),
        show("the-other-s", "Of two signatures (r, s) and (r, n - s) both are right; the digest is the same.",
             f"{start}.{encode(r.to_bytes(32, 'big') + (P256_ORDER - s).to_bytes(32, 'big'))}",
             holds=P256_ORDER - s != s),
        show("recover-of-the-draft-alone", "RECOVER without what is ours, from a peer that has read the draft alone.",
             key("GW1").sign(alone), holds=recovery.parse_recovery(alone)),
    ]  # fmt: skip


def make() -> Family:
    cases = [*make_transfer(), *make_ends(), *make_recovery(), *make_free()]
    seen = {str(each["expect"]["payload"]["messageType"]).rpartition(":")[2] for each in cases}
    steps = {row.name for row in TABLE_1 if not row.is_action}
    wanted = steps | {f"{name}-msg" for name in (*recovery.NAMES, "error", "session-abort", "ack-prepare")}
    assert seen == wanted, f"not every message is here: {sorted(wanted - seen)}"
    return Family(
        name="messages",
        about="Every message, a compact JWS over canonical JSON. Signature and form are verified; its place is not.",
        sections=("SATP 8", "SATP 9", "SATP 10", "SATP 11.3", "RECOVERY 5.3", "RFC 7515"),
        operation="verify-message",
        shared={"keys": {signer: make_public_jwk(key(lab)) for signer, lab in KEYS.items()}},
        cases=cases,
    )
