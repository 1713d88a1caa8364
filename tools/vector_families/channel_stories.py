"""The situations of a channel as stories: each function tells one, and returns whether it came as it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.channel_steps import ChannelPlay
from protocol.channel_world import lab_cid
from protocol.operations import read_private_key
from protocol.outbox import to_request_id
from protocol.signing import KeyPair
from tools.vector_families import Json

READY = {"status": "ready_for_settlement"}
REVIEW = {"status": "pending_review"}
ABORT = {"status": "abort"}
USED, WAIT, MISSING = "used_dependencies", "wait", "missing_dependencies"


class Story:
    """Steps, and what each led to when it was played."""

    def __init__(self, c: str, d: str, parties: Json) -> None:
        self.play = ChannelPlay(parties)
        self.parties = parties
        self.addresses = {"C": c, "D": d}
        self.ref = f"{c}_1"
        self.steps: list[Json] = []
        self.said: list[Json] = []

    def do(self, what: str, **step: Any) -> Json:
        self.steps.append({"do": what, **step})
        self.said.append(self.play.step(self.steps[-1]))
        return self.said[-1]

    # A payment, and what is done to it

    def payment(self, side: str = "C", ref: str = "") -> Json:
        other = "D" if side == "C" else "C"
        mine, theirs = self.addresses[side], self.addresses[other]
        return {
            "reference_id": ref or self.ref,
            "sender": {"address": mine, "status": {"status": "needs_kyc_data"}, "metadata": []},
            "receiver": {"address": theirs},
            "action": {"amount": 1000, "currency": "LBR", "action": "charge", "timestamp": 1727956920},
        }

    def create(self, word: str = "abcd", side: str = "C", ref: str = "") -> None:
        self.do("create", side=side, cid=lab_cid(word), payment=self.payment(side, ref))

    def begin(self) -> None:
        """A payment of C's, with one version, abcd, at both sides."""
        self.create()
        self.do("run")

    def update(self, side: str, word: str, retry: bool = True, **fields: Any) -> Json:
        half = "sender" if side == "C" else "receiver"
        more = {} if retry else {"retry": False}
        return self.do("update", side=side, referenceId=self.ref, cid=lab_cid(word), change={half: fields}, **more)

    def write(self, reads: str | None, word: str, **payment: Any) -> Json:
        """A command, word by word."""
        return {
            "_ObjectType": "PaymentCommand",
            "_reads": {} if reads is None else {self.ref: lab_cid(reads)},
            "_writes": {self.ref: lab_cid(word)},
            "payment": {"reference_id": self.ref, **payment},
        }

    def issue(self, reads: str | None, word: str, **payment: Any) -> bool:
        """Whether C's engine takes it."""
        said = self.do("issue", side="C", cid=lab_cid(word), command=self.write(reads, word, **payment))
        return not said["refused"]

    def hand(self, command: Json, word: str, side: str = "C", /, **changes: Any) -> Json:
        """A request by hand; the answer."""
        request = {
            "_ObjectType": "CommandRequestObject",
            "command_type": command.get("_ObjectType"),
            "command": command,
            "cid": lab_cid(word),
            **changes,
        }
        request = {name: value for name, value in request.items() if value is not ...}
        return dict(self.do("hand", **{"from": side}, request=request)["answer"])

    def deliver(self, side: str, word: str, *, answer: bool = False, copy: bool = False) -> Json:
        more = ({"answer": True} if answer else {}) | ({"copy": True} if copy else {})
        said = self.do("deliver", **{"from": side}, cid=lab_cid(word), **more)
        return dict(said.get("answer", said))

    def command(self, at: str, author: str, word: str) -> Json | None:
        found: Json | None = self.play.look()["commands"][at][author].get(lab_cid(word))
        return found

    @property
    def is_same(self) -> bool:
        return all(each["same"] for each in self.play.look()["objects"].values())

    def versions(self, side: str = "C") -> int:
        return int(self.play.look()["objects"][self.ref][side]["versions"])


def codes(answer: Json) -> list[tuple[str, str]]:
    return [(error["type"], error["code"]) for error in answer["errors"]]


def fails(answer: Json, kind: str, code: str) -> bool:
    return codes(answer) == [(kind, code)]


# ---------------------------------------------------------------------- 1 to 8: versions


def unknown_version_locally(story: Story) -> bool:
    story.begin()
    return not story.issue("bad", "2") and story.command("C", "C", "2") is None


def unknown_version(story: Story) -> bool:
    story.begin()
    refused = story.hand(story.write("bad", "2"), "2")
    accepted = story.hand(story.write("abcd", "2"), "2")
    return fails(refused, "protocol_error", MISSING) and accepted["status"] == "success"


def history_is_offered(story: Story) -> bool:
    story.begin()
    story.do("keep-copy", side="D")
    story.update("C", "2", metadata=["a"])
    story.do("run")
    story.do("put-back", side="D")
    story.do("restart", side="D")
    story.update("C", "3", metadata=["a", "b"])
    answer = story.deliver("C", "3")
    story.do("run")
    return fails(answer, "protocol_error", MISSING) and story.is_same and story.versions() == 3


def used_version_locally(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.do("run")
    return not story.issue("abcd", "3")


def _old_copy_of_c(story: Story, status: Json) -> None:
    """C gets back a copy of its database from before D's change."""
    story.begin()
    story.do("keep-copy", side="C")
    story.update("D", "2", status=status)
    story.do("run")
    story.do("put-back", side="C")
    story.do("restart", side="C")


def used_version(story: Story) -> bool:
    _old_copy_of_c(story, REVIEW)
    story.update("C", "3", retry=False, metadata=["mine"])
    answer = story.deliver("C", "3")
    story.do("run")
    return fails(answer, "command_error", USED) and story.is_same and story.versions() == 2


def used_version_tried_again(story: Story) -> bool:
    _old_copy_of_c(story, REVIEW)
    story.update("C", "3", metadata=["mine"])
    story.do("run")
    own = story.command("C", "C", "3") or {}
    return own["state"] == "failure" and story.is_same and story.versions() == 3


def used_version_that_forbids(story: Story) -> bool:
    _old_copy_of_c(story, ABORT)
    story.update("C", "3", status=READY)
    story.do("run")
    return story.is_same and story.versions() == 2


def held_version_locally(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    return not story.issue("abcd", "3", sender={"metadata": ["b"]})


def both_at_once(story: Story) -> bool:
    story.begin()
    story.update("C", "c0", status=READY)
    story.update("D", "d0", retry=False, status=REVIEW)
    waits = story.deliver("D", "d0")
    yields = story.deliver("C", "c0")
    story.do("run")
    own = story.command("D", "D", "d0") or {}
    lost = own["state"] == "failure" and own["errors"][0]["code"] == USED
    return fails(waits, "protocol_error", WAIT) and yields["status"] == "success" and lost and story.is_same


def both_at_once_tried_again(story: Story) -> bool:
    story.begin()
    story.update("C", "c0", status=READY)
    story.update("D", "d0", status=REVIEW)
    story.do("run")
    return story.is_same and story.versions() == 3


def used_and_held(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.do("run")
    story.update("C", "3", metadata=["a", "b"])
    return fails(story.hand(story.write("abcd", "d0"), "d0", "D"), "command_error", USED)


# ---------------------------------------------------------------------- 9 to 16: names


def same_command_again(status: Json, word: str) -> Callable[[Story], bool]:
    def tell(story: Story) -> bool:
        story.begin()
        command = story.write("abcd", "2", sender={"status": status})
        first, second = story.hand(command, "2"), story.hand(command, "2")
        return first["status"] == word and second["again"] is True

    return tell


def other_command(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.do("run")
    answer = story.hand(story.write("abcd", "2", sender={"metadata": ["b"]}), "2")
    return fails(answer, "protocol_error", "conflict") and story.is_same


def right_answer_later(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.hand(story.write("abcd", "2", sender={"metadata": ["b"]}), "2")
    refused = story.deliver("C", "2")
    pending = story.deliver("D", "2", answer=True)["outcome"]
    response = {"_ObjectType": "CommandResponseObject", "status": "success", "cid": lab_cid("2")}
    outcome = story.do("hand", **{"from": "D"}, response=response, of=lab_cid("2"))["outcome"]
    return fails(refused, "protocol_error", "conflict") and (pending, outcome) == ("pending", "success")


def abandoned_cid(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.do("give-up", side="C", cid=lab_cid("2"))
    other = story.issue("abcd", "2", sender={"metadata": ["b"]})
    same = story.issue("abcd", "2", sender={"metadata": ["a"]})
    return not other and same


def one_cid_for_two(story: Story) -> bool:
    story.create("aa", "C")
    story.create("aa", "D", f"{story.addresses['D']}_1")
    story.do("run")
    own = [story.command(name, name, "aa") for name in ("C", "D")]
    return own == [{"state": "success"}] * 2 and story.is_same


def answer_twice(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.deliver("C", "2")
    first = story.deliver("D", "2", answer=True, copy=True)
    again = story.deliver("D", "2", answer=True)
    return first == again == {"outcome": "success"} and story.versions() == 2


def two_answers(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.do("run")
    lie = {
        "_ObjectType": "CommandResponseObject",
        "status": "failure",
        "cid": lab_cid("2"),
        "error": [{"type": "command_error", "field": "command.payment.sender", "code": "invalid_overwrite"}],
    }
    story.do("hand", **{"from": "D"}, response=lie, of=lab_cid("2"))
    stopped = story.update("C", "3", metadata=["a", "b"])["refused"]
    answer = story.hand(story.write("2", "d0"), "d0", "D")
    return stopped and fails(answer, "protocol_error", "conflict") and story.play.look()["disputes"]["C"] == 1


def unknown_answer(story: Story) -> bool:
    story.begin()
    response = {"_ObjectType": "CommandResponseObject", "status": "success", "cid": lab_cid("99")}
    said = story.do("hand", **{"from": "D"}, response=response, of=lab_cid("99"))
    return bool(said == {"outcome": "unknown"})


def version_name_again(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.do("run")
    return fails(story.hand(story.write("2", "abcd"), "abcd", "D"), "command_error", "conflict")


# ---------------------------------------------------------------------- 17 to 19: form and rules


def wrong_mapping(reads: Json, writes: Json) -> Callable[[Story], bool]:
    """`self` stands for the payment's reference id."""

    def tell(story: Story) -> bool:
        story.begin()
        other = story.ref.replace("_1", "_9")
        names = {"self": story.ref, "other": other}
        mappings = (({names[name]: lab_cid(word) for name, word in each.items()}) for each in (reads, writes))
        wrong = story.write("abcd", "2") | dict(zip(("_reads", "_writes"), mappings, strict=True))
        return fails(story.hand(wrong, "2"), "command_error", "invalid_field_value")

    return tell


def broken_rule(code: str, **payment: Any) -> Callable[[Story], bool]:
    """A change by C that the payment does not allow, whatever the channel says."""

    def tell(story: Story) -> bool:
        story.begin()
        return fails(story.hand(story.write("abcd", "2", **payment), "2"), "command_error", code)

    return tell


def three_broken_rules(story: Story) -> bool:
    story.begin()
    action = {"amount": 1, "currency": "LBR", "action": "charge", "timestamp": 1}
    wrong = story.write("abcd", "2", action=action, sender={"status": {"status": "none"}}, receiver={"status": READY})
    return len(story.hand(wrong, "2")["errors"]) == 3


def finished_payment(story: Story) -> bool:
    story.begin()
    story.update("D", "2", status=ABORT)
    story.do("run")
    return fails(story.hand(story.write("2", "3"), "3"), "command_error", "invalid_transition")


def reference_again(story: Story) -> bool:
    story.begin()
    again = story.write(None, "2", **{**story.payment(), "description": "another one"})
    return fails(story.hand(again, "2"), "command_error", "conflict")


def body(code: str, make: Callable[[Story], tuple[str | None, str]]) -> Callable[[Story], bool]:
    """Bytes that no engine would send; the X-REQUEST-ID comes first."""

    def tell(story: Story) -> bool:
        story.begin()
        request_id, text = make(story)
        said = story.do("hand", **{"from": "C"}, body=text, requestId=request_id)["answer"]
        return [code] == [error["code"] for error in said["errors"]]

    return tell


def key_of(story: Story, name: str) -> KeyPair:
    return read_private_key(story.parties[name]["key"])


ID = to_request_id(lab_cid("2"))
STRANGER = KeyPair.lab_ed25519("stranger", "x")


def wrong_form(code: str, field: str, **changes: Any) -> Callable[[Story], bool]:
    """A request with its cid, and one thing wrong: ... stands for a field that is left out."""

    def tell(story: Story) -> bool:
        story.begin()
        answer = story.hand(story.write("abcd", "2"), "2", **changes)
        found = [(error["code"], error.get("field")) for error in answer["errors"]]
        return found == [(code, field)] and answer["cid"] == lab_cid("2")

    return tell


# ---------------------------------------------------------------------- 20 to 22: crashes and patience


def crash_while_deciding(when: str) -> Callable[[Story], bool]:
    def tell(story: Story) -> bool:
        story.begin()
        story.do("crash", side="D", **{when: 1})
        story.update("C", "2", metadata=["a"])
        crashed = story.deliver("C", "2")
        seen = story.do("look")
        is_stored = lab_cid("2") in seen["commands"]["D"]["C"]
        has_version = seen["objects"][story.ref]["D"]["versions"] == 2
        story.do("restart", side="D")
        story.do("pass", seconds=1)
        answer = story.deliver("C", "2")
        story.do("run")
        held = is_stored == has_version == (when == "after")
        return crashed == {"crashed": True} and held and answer["status"] == "success" and story.is_same

    return tell


def crash_of_the_requester(story: Story) -> bool:
    story.begin()
    story.update("C", "2", metadata=["a"])
    story.deliver("C", "2")
    story.do("crash", side="C", before=1)
    story.deliver("D", "2", answer=True)
    story.do("restart", side="C")
    answer = story.deliver("C", "2")
    story.do("run")
    return answer["again"] is True and story.is_same and story.versions() == 2


def hundred_stuck(story: Story) -> bool:
    for number in range(100):
        word = f"{number:04d}aa"
        story.create(word, ref=f"{story.addresses['C']}_s{number}")
        story.do("lose", **{"from": "C"}, cid=lab_cid(word))
    story.create("beef")
    story.deliver("C", "beef")
    return story.deliver("D", "beef", answer=True) == {"outcome": "success"}


def pauses_double(story: Story) -> bool:
    story.do("crash", side="D")
    story.create()
    sent = story.do("pass", seconds=40)["sent"]
    return bool(sent == [1, 3, 7, 15, 31])


# ---------------------------------------------------------------------- after a loss


def lost_database(side: str) -> Callable[[Story], bool]:
    """The worked example: a side that has lost everything is given back what both had agreed on."""

    def tell(story: Story) -> bool:
        story.begin()
        story.do("lose-database", side=side)
        story.do("restart", side=side)
        story.do("run")
        story.update("C", "1234", metadata=["on chain soon"])
        story.do("run")
        return story.is_same and story.versions(side) == 2

    return tell


def nothing_new_before_it_has_asked(story: Story) -> bool:
    story.begin()
    story.do("lose-database", side="C")
    story.do("restart", side="C")
    return not story.issue(None, "2")
