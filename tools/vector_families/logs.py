"""Logs as files of lines: whole ones, torn ones, broken ones."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any

from protocol.log import LogEntry, Operation, compose_entry, compute_genesis, sign_entry
from protocol.network import World
from protocol.objects import canonical, digest
from protocol.signing import KeyPair
from protocol.witness import verify_log
from tools.vector_families import Family, Json, case
from tools.vector_families.play import make_public_jwk

SESSION = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
KEYS = {name: KeyPair.lab(name, "lab") for name in ("GW1", "GW2")}
SHARED: Json = {"keys": {name: make_public_jwk(key) for name, key in KEYS.items()}}


def fields(number: int, session: str, **changes: Any) -> Json:
    return {
        "version": "1.0",
        "sessionId": session,
        "contextId": "a context",
        "gatewayId": "GW1",
        "satpPhase": 2,
        "step": "2.1",
        "operation": Operation.EXEC,
        "timestamp": f"2024-10-03T12:02:{number:02}Z",
        "payload": {"order": {"number": number}},
    } | changes


def chain(length: int, session: str = SESSION, *, is_signed: bool = False, **last: Any) -> list[LogEntry]:
    """A short log; `last` are fields of its last entry."""
    entries: list[LogEntry] = []
    for number in range(1, length + 1):
        changes = last if number == length else {}
        before, signer = entries[-1] if entries else None, KEYS["GW1"] if is_signed else None
        entries.append(compose_entry(before, fields(number, session, **changes), signer=signer))
    return entries


def rechain(entries: Sequence[LogEntry]) -> list[LogEntry]:
    """The same entries, each bound to the one before it as it is now: so that only what was changed can be wrong."""
    bound: list[LogEntry] = []
    for entry in entries:
        before = bound[-1].compute_hash() if bound else compute_genesis(entry.sessionId, entry.gatewayId)
        bound.append(entry.model_copy(update={"lastEntryHash": before}))
    return bound


def write(entries: Sequence[LogEntry]) -> str:
    return "".join(entry.canonical_bytes.decode() + "\n" for entry in entries)


def make_case(name: str, comment: str, given: Json, standing: str, *, field: str = "", holds: object = True) -> Json:
    expect = verify_log(given, SHARED)
    assert expect["standing"] == standing, f"{name}: {expect}"
    assert expect.get("field", "") == field, f"{name}: {expect}"
    return case(name, comment, given, holds=holds, expect=expect)


def make_whole(world: World, session_id: str) -> list[Json]:
    logs = {who: world.log(who, session_id) for who in ("sender", "recipient")}
    short, other, ended = chain(3), chain(2, OTHER), chain(2, step="3.9", operation=Operation.ACK)
    mixed = [short[0], other[0], short[1], other[1], short[2]]
    return [
        *(
            make_case(
                f"the-drafts-example-{who}",
                f"The log of the {who} after the transfer of the draft's example.",
                {"text": write(log)},
                "whole",
                holds=len(log) > 11,
            )
            for who, log in logs.items()
        ),
        make_case("nothing", "An empty file is the log of no session.", {"text": ""}, "whole"),
        make_case("under-way", "No entry has ended the session: it is open.", {"text": write(short)}, "whole"),
        make_case(
            "complete", "The last step of the table is done: the session is not open.", {"text": write(ended)}, "whole"
        ),
        make_case(
            "a-failed-last-step",
            "The last step failed, so the session is still open.",
            {"text": write(chain(2, step="3.9", operation=Operation.FAIL))},
            "whole",
        ),
        make_case(
            "ended-by-an-undoing",
            "An entry that says ended closes a session too.",
            {"text": write(chain(2, step="abort", payload={"ended": True}))},
            "whole",
        ),
        make_case(
            "two-sessions",
            "Each session has a chain of its own, whatever stands between its lines.",
            {"text": write(mixed)},
            "whole",
            holds=mixed[1].lastEntryHash != mixed[0].compute_hash(),
        ),
        make_case(
            "a-line-twice",
            "The same entry again at its place is the same append, and counts once.",
            {"text": write([short[0], short[1], short[1], short[2], short[2]])},
            "whole",
        ),
    ]


def make_written() -> list[Json]:
    """How an entry is written as a line."""
    letters = chain(2, contextId="\u00c5ngstr\u00f6m \u20ac \U0001d11e")
    signed = chain(2, is_signed=True)
    return [
        make_case(
            "letters-beyond-ascii",
            "Lines are UTF-8; nothing is escaped that need not be.",
            {"text": write(letters)},
            "whole",
            holds="\\u" not in write(letters),
        ),
        make_case(
            "signed-entries",
            "Each signature is detached, over the canonical entry without it; the next entry's hash covers it.",
            {"text": write(signed), "keys": ["GW1"]},
            "whole",
            holds=".." in str(signed[0].messageSignature),
        ),
    ]


def make_torn() -> list[Json]:
    text = write(chain(3))
    last = text.rindex("\n", 0, -1) + 1
    letters = write(chain(3, contextId="\u20ac")).encode()
    middle = letters.rindex("\u20ac".encode()) + 1
    encoded = urlsafe_b64encode(letters[:middle]).rstrip(b"=").decode()
    return [
        make_case(
            "last-line-without-an-end",
            "The append was never answered as durable: the line is dropped.",
            {"text": text[:-100]},
            "torn",
            holds=not text[:-100].endswith("\n"),
        ),
        make_case(
            "only-the-end-is-missing",
            "Every byte but the line's end is there; it counts as torn all the same.",
            {"text": text[:-1]},
            "torn",
            holds=text[:-1].endswith("}"),
        ),
        make_case("one-byte-of-the-last-line", "The shortest torn line there is.", {"text": text[: last + 1]}, "torn"),
        make_case(
            "blocks-out-of-order",
            "The end of the last line reached the disk and its middle did not.",
            {"text": text[:-200] + "\0" * 199 + "\n"},
            "torn",
            holds=len(text) - last > 200,
        ),
        make_case(
            "torn-inside-a-letter",
            "The cut goes through a letter of three bytes, so the file is no UTF-8.",
            {"bytes": encoded},
            "torn",
            holds=letters[middle - 1 : middle + 2] == "\u20ac".encode(),
        ),
        make_case(
            "nothing-but-a-torn-line",
            "A log of one entry that was never durable is the log of no session.",
            {"text": text[: text.index("\n") - 5]},
            "torn",
        ),
        make_case(
            "whole-but-for-the-last",
            "The cut is exactly between two lines: nothing is torn, and the entry is gone unseen.",
            {"text": text[:last]},
            "whole",
            holds=text[:last].endswith("\n"),
        ),
    ]


def make_unreadable() -> list[Json]:
    lines = [entry.canonical_bytes.decode() for entry in chain(3)]
    whole = json.loads(lines[1])
    unsorted = json.dumps(dict(reversed(whole.items())), separators=(",", ":"))

    def second(name: str, comment: str, line: str, *, holds: object = True) -> Json:
        assert line != lines[1], f"{name}: the line is the good one"
        return make_case(name, comment, {"text": "\n".join([lines[0], line, lines[2], ""])}, "broken", holds=holds)

    return [
        second("no-json", "A line in the middle was durable once, so it is not torn but broken.", "{"),
        second("an-empty-line", "A blank line is no entry.", ""),
        second(
            "not-canonical",
            "One blank more than RFC 8785 allows: the bytes that were hashed were others.",
            lines[1].replace(":", ": ", 1),
        ),
        second(
            "members-in-another-order", "The same members, unsorted.", unsorted, holds=json.loads(unsorted) == whole
        ),
        second(
            "an-unknown-field",
            "An entry has the fields of the draft, four of ours, and no other.",
            canonical(whole | {"surprise": 1}).decode(),
        ),
        second(
            "a-missing-field",
            "An entry without its step.",
            canonical({name: value for name, value in whole.items() if name != "step"}).decode(),
        ),
        second(
            "a-field-of-nothing",
            "What an entry leaves out is absent, never null.",
            lines[1].replace('"satpPhase"', '"resourceUrl":null,"satpPhase"'),
        ),
        second(
            "an-unknown-operation",
            "The operations are init, exec, done, ack and fail.",
            lines[1].replace('"exec"', '"undo"'),
        ),
        second(
            "a-number-that-is-none",
            "Entries are counted from 1.",
            lines[1].replace('"sequenceNumber":2', '"sequenceNumber":0'),
        ),
    ]


def list_broken() -> list[tuple[str, str, Sequence[LogEntry], str, bool]]:
    """Name, comment, entries, the field that shows it, and why it is what it is called."""
    short, other = chain(3), chain(3, OTHER)
    changed = short[1].model_copy(update={"payload": {"order": {"number": 7}}})
    later = short[1].model_copy(update={"timestamp": "2024-10-03T12:59:59Z"})
    renumbered = rechain([short[0], short[1].model_copy(update={"sequenceNumber": 3}), short[2]])
    wrong = short[0].model_copy(update={"lastEntryHash": "0" * 64})
    of_other = short[0].model_copy(update={"lastEntryHash": compute_genesis(OTHER, "GW1")})
    fork = short[2].model_copy(update={"timestamp": "2024-10-03T12:59:59Z"})

    bound_anew = rechain([short[0], changed, short[2]])
    bound_to_first, first_hash = renumbered[1].lastEntryHash, short[0].compute_hash()
    return [
        ("first-is-missing", "The log begins with its second entry.", short[1:], "sequenceNumber", True),
        ("one-is-missing", "The second of three entries is gone.", [short[0], short[2]], "sequenceNumber", True),
        ("two-changed-places", "The numbers tell the order.", [short[0], short[2], short[1]], "sequenceNumber", True),
        (
            "wrong-number",
            "Every hash fits, and the second entry calls itself the third.",
            renumbered,
            "sequenceNumber",
            bound_to_first == first_hash,
        ),
        (
            "an-entry-was-changed",
            "Nothing of the changed entry contradicts itself; the next one was bound to other bytes.",
            [short[0], later, short[2]],
            "lastEntryHash",
            later.compute_hash() != short[2].lastEntryHash,
        ),
        ("wrong-beginning", "The first entry names no genesis value.", [wrong], "lastEntryHash", True),
        (
            "beginning-of-another-session",
            "The genesis value is bound to session and writer; this one is of another session.",
            [of_other],
            "lastEntryHash",
            of_other.lastEntryHash == other[0].lastEntryHash,
        ),
        (
            "two-entries-at-one-place",
            "Two writers have written the third entry; both follow the second.",
            [*short, fork],
            "sequenceNumber",
            fork.lastEntryHash == short[2].lastEntryHash,
        ),
        (
            "payload-was-changed",
            "The hash of the payload is the old one; every link between the entries was made anew.",
            bound_anew,
            "payloadHash",
            bound_anew[2].lastEntryHash == bound_anew[1].compute_hash(),
        ),
        ("second-session-is-broken", "The other one is good.", [*short, other[0], other[2]], "sequenceNumber", True),
    ]


def make_broken() -> list[Json]:
    return [
        make_case(name, comment, {"text": write(entries)}, "broken", field=field, holds=holds)
        for name, comment, entries, field, holds in list_broken()
    ]


def make_ill_signed() -> list[Json]:
    signed = chain(3, is_signed=True)

    def make(name: str, comment: str, spoil: Callable[[LogEntry], LogEntry]) -> Json:
        entries = rechain([signed[0], signed[1]])
        entries[1] = spoil(entries[1])
        given = {"text": write(entries), "keys": ["GW1", "GW2"]}
        verify = verify_log({"text": given["text"]}, SHARED)
        return make_case(name, comment, given, "broken", field="messageSignature", holds=verify["standing"] == "whole")

    def change(entry: LogEntry) -> LogEntry:
        return entry.model_copy(update={"timestamp": "2024-10-03T12:59:59Z"})

    return [
        make(
            "changed-after-signing",
            "The chain is good, for this entry is the last; its signature covers the time.",
            change,
        ),
        make("signed-by-another", "GW2 has signed an entry of GW1.", lambda entry: sign_entry(entry, KEYS["GW2"])),
        make(
            "signed-with-an-unknown-key",
            "A key that is not in the list.",
            lambda entry: sign_entry(entry, KeyPair.lab("somebody", "lab")),
        ),
        make(
            "not-signed",
            "Where signatures are asked for, every entry has one.",
            lambda entry: entry.model_copy(update={"messageSignature": None}),
        ),
        make(
            "no-detached-signature",
            "The draft's placeholder is no JWS.",
            lambda entry: entry.model_copy(update={"messageSignature": "ecdsa_signature_here"}),
        ),
    ]


def make() -> Family:
    world = World(tls=False)
    session_id = world.start()
    world.run()
    genesis = digest(canonical({"genesis": "log", "sessionId": SESSION, "gatewayId": "GW1"}))
    assert genesis == compute_genesis(SESSION, "GW1") == chain(1)[0].lastEntryHash
    cases = [
        *make_whole(world, session_id),
        *make_written(),
        *make_torn(),
        *make_unreadable(),
        *make_broken(),
        *make_ill_signed(),
    ]
    world.close()
    return Family(
        name="logs",
        about="A log as a file of lines, one canonical entry a line. Whole, torn at its end (the last line is dropped "
        "and named), or broken: then the line that cannot be read is named, or the first entry that does not follow "
        "and the field that shows it.",
        sections=("RECOVERY 3", "RECOVERY 4", "RFC 8785", "RFC 7515 appendix F"),
        operation="verify-log",
        cases=cases,
        shared=SHARED,
    )
