"""Every situation of a channel, as a list of steps for two sides; the number in a name is that of the situation."""

from __future__ import annotations

from collections.abc import Callable

from protocol.channel_steps import play_channel
from protocol.channel_world import ChannelWorld
from protocol.objects import canonical
from protocol.parties import is_protocol_server
from tools.vector_families import Family, Json, case
from tools.vector_families import channel_stories as tell
from tools.vector_families.channel_stories import Story
from tools.vector_families.play import make_private_jwk

WORLD = ChannelWorld()


def make_shared() -> Json:
    """Addresses and keys of both parties: C is protocol server. Private keys, for whoever plays has to sign."""
    return {
        "time": WORLD.at,
        "parties": {
            name: {
                "address": str(place.vasp.address),
                "key": make_private_jwk(place.key),
                "owner": make_private_jwk(place.owner),
            }
            for name, place in WORLD.places.items()
        },
    }


SHARED = make_shared()
C, D = (WORLD.places[name].vasp.address for name in ("C", "D"))


def make_case(name: str, comment: str, build: Callable[[Story], bool]) -> Json:
    """`build` tells the story step by step, and says whether it showed what it is for."""
    story = Story(str(C), str(D), SHARED["parties"])
    holds = build(story)
    expect = play_channel({"steps": story.steps}, SHARED)
    assert expect["steps"] == story.said, f"{name}: played again it goes another way"
    return case(name, comment, {"steps": story.steps}, holds=holds, expect=expect)


SITUATIONS: list[tuple[str, str, Callable[[Story], bool]]] = [
    (
        "situation-1-unknown-version-is-not-sent",
        "C reads a version that it does not know: refused locally.",
        tell.unknown_version_locally,
    ),
    (
        "situation-2-unknown-version",
        "D does not know the version, and stores nothing: the same cid may come again.",
        tell.unknown_version,
    ),
    (
        "situation-2-history-is-offered",
        "D has lost a version that it had signed; C shows it, and sends again.",
        tell.history_is_offered,
    ),
    (
        "situation-3-used-version-is-not-sent",
        "C reads a version that it knows to be used: refused locally.",
        tell.used_version_locally,
    ),
    ("situation-4-used-version", "Final, and stored; C fetches the version that it lacks.", tell.used_version),
    (
        "situation-4-tried-again",
        "The same change on the newer version, under a cid of its own.",
        tell.used_version_tried_again,
    ),
    (
        "situation-4-the-newer-version-forbids-it",
        "D has aborted meanwhile: the change is given up.",
        tell.used_version_that_forbids,
    ),
    (
        "situation-5-held-version",
        "A second command on a version that an unanswered one of ours reads: refused locally.",
        tell.held_version_locally,
    ),
    (
        "situation-6-7-both-at-once",
        "The server says wait; the client yields, and then reads a used version.",
        tell.both_at_once,
    ),
    ("situation-7-tried-again", "The client's change comes after the server's.", tell.both_at_once_tried_again),
    (
        "situation-8-used-and-held",
        "The version is used, and the newer one is held: used wins, for it is final.",
        tell.used_and_held,
    ),
    (
        "situation-9-same-command-success",
        "Answered once, and again with the same bytes.",
        tell.same_command_again(tell.READY, "success"),
    ),
    ("situation-9-same-command-failure", "A failure too.", tell.same_command_again({"status": "none"}, "failure")),
    ("situation-10-other-command", "A cid stands for one command.", tell.other_command),
    (
        "situation-10-right-answer-later",
        "The command stays pending, and an answer to the very command still counts.",
        tell.right_answer_later,
    ),
    (
        "situation-11-abandoned-cid",
        "A cid that was given up stays taken; the same command again is no mistake.",
        tell.abandoned_cid,
    ),
    ("situation-12-one-cid-for-two", "Commands are known by author and cid.", tell.one_cid_for_two),
    ("situation-13-answer-twice", "The second answer changes nothing.", tell.answer_twice),
    (
        "situation-14-two-answers",
        "Success and failure, both signed: a dispute, and the object stands still.",
        tell.two_answers,
    ),
    ("situation-15-unknown-answer", "An answer to no command of ours.", tell.unknown_answer),
    (
        "situation-16-version-name-again",
        "The object had a version of this name, by the other side.",
        tell.version_name_again,
    ),
    (
        "situation-17-cid-is-not-the-version",
        "The version that is written has the name of the cid.",
        tell.wrong_mapping({"self": "abcd"}, {"self": "beef"}),
    ),
    (
        "situation-17-nothing-is-written",
        "A payment command writes one version.",
        tell.wrong_mapping({"self": "abcd"}, {}),
    ),
    (
        "situation-17-two-are-written",
        "And no more than one.",
        tell.wrong_mapping({"self": "abcd"}, {"self": "2", "other": "2"}),
    ),
    (
        "situation-17-another-is-written",
        "And that of its own payment.",
        tell.wrong_mapping({"self": "abcd"}, {"other": "2"}),
    ),
    ("situation-17-another-is-read", "It reads its own payment.", tell.wrong_mapping({"other": "abcd"}, {"self": "2"})),
    (
        "situation-17-two-are-read",
        "And no other.",
        tell.wrong_mapping({"self": "abcd", "other": "abcd"}, {"self": "2"}),
    ),
    (
        "situation-18-written-once",
        "The action of a payment never changes.",
        tell.broken_rule(
            "invalid_overwrite", action={"amount": 1, "currency": "LBR", "action": "charge", "timestamp": 1}
        ),
    ),
    (
        "situation-18-the-others-half",
        "C writes into D's half.",
        tell.broken_rule("invalid_overwrite", receiver={"status": tell.READY}),
    ),
    (
        "situation-18-status-falls",
        "A status never goes back.",
        tell.broken_rule("invalid_transition", sender={"status": {"status": "none"}}),
    ),
    (
        "situation-18-not-its-signature",
        "Only the receiver signs as recipient.",
        tell.broken_rule("invalid_command_producer", recipient_signature="00"),
    ),
    ("situation-18-three-at-once", "Every broken rule is named, with its field.", tell.three_broken_rules),
    ("situation-18-after-the-end", "An aborted payment changes no more.", tell.finished_payment),
    ("situation-18-reference-id-again", "A reference id is used once.", tell.reference_again),
    ("situation-19-no-jws", "Not a compact JWS.", tell.body("invalid_jws", lambda story: (tell.ID, "not a jws"))),
    (
        "situation-19-a-strangers-key",
        "A key that nobody knows.",
        tell.body("invalid_jws_signature", lambda story: (tell.ID, tell.STRANGER.sign({"a": 1}))),
    ),
    (
        "situation-19-signed-by-its-receiver",
        "D gets what D has signed.",
        tell.body("invalid_jws_signature", lambda story: (tell.ID, tell.key_of(story, "D").sign({"a": 1}))),
    ),
    (
        "situation-19-bad-json",
        "Signed, and no JSON.",
        tell.body("invalid_json", lambda story: (tell.ID, tell.key_of(story, "C").sign_canonical(b"{"))),
    ),
    (
        "situation-19-not-canonical",
        "Signed JSON with a blank too many.",
        tell.body(
            "invalid_json",
            lambda story: (tell.ID, tell.key_of(story, "C").sign_canonical(canonical({"a": 1}).replace(b":", b": "))),
        ),
    ),
    (
        "situation-19-no-object",
        "Signed, and a list.",
        tell.body("invalid_object", lambda story: (tell.ID, tell.key_of(story, "C").sign_canonical(b"[1]"))),
    ),
    (
        "situation-19-no-request-id",
        "A request without X-REQUEST-ID.",
        tell.body("missing_http_header", lambda story: (None, tell.key_of(story, "C").sign({"a": 1}))),
    ),
    (
        "situation-19-unknown-command",
        "The cid could be read, so it is in the answer.",
        tell.wrong_form("unknown_command_type", "command_type", command_type="Dance"),
    ),
    ("situation-19-unknown-field", "No field is ignored.", tell.wrong_form("unknown_field", "surprise", surprise=1)),
    ("situation-19-missing-field", "The command is missing.", tell.wrong_form("missing_field", "command", command=...)),
    (
        "situation-20-21-crash-after-storing",
        "Response and version are stored together; after the restart C gets the same answer.",
        tell.crash_while_deciding("after"),
    ),
    (
        "situation-21-crash-before-storing",
        "Neither is stored; after the restart the command is judged as if for the first time.",
        tell.crash_while_deciding("before"),
    ),
    (
        "situation-20-crash-of-the-requester",
        "C crashes before it has stored the answer, and asks again.",
        tell.crash_of_the_requester,
    ),
    (
        "situation-22-a-hundred-stuck",
        "A hundred commands have no answer, and the next one is served all the same.",
        tell.hundred_stuck,
    ),
    ("situation-22-pauses-double", "One second, two, four: each command has a clock of its own.", tell.pauses_double),
    (
        "after-a-loss-of-the-client",
        "D has lost its database; C has kept every signature, and D is given it back.",
        tell.lost_database("D"),
    ),
    ("after-a-loss-of-the-server", "The same at the other side.", tell.lost_database("C")),
    (
        "after-a-loss-nothing-new-at-once",
        "Whoever may have forgotten something asks before it writes.",
        tell.nothing_new_before_it_has_asked,
    ),
]


def make() -> Family:
    assert is_protocol_server(C, D), "C is protocol server"
    cases = [make_case(name, comment, build) for name, comment, build in SITUATIONS]
    numbers = {int(each["name"].split("-")[1]) for each in cases if each["name"].startswith("situation")}
    assert numbers == set(range(1, 23)), f"situations without a case: {sorted(set(range(1, 23)) - numbers)}"
    return Family(
        name="channel",
        about="Two parties of LIP-1 and the network between them, step by step: what each answers, what is stored, and "
        "which versions both have at the end. C is the protocol server.",
        sections=("LIP-1", "DIP-1"),
        operation="play-channel",
        cases=cases,
        shared=SHARED,
    )
