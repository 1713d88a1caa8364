"""The safety rules that can be switched off, and what the drafts do in their place; one boolean each.

A gateway never looks at anything but this object to know. Every safety rule is on by default. Switching one off does
not weaken a check in some hidden place: it removes exactly the line of code that carries the rule's name, so that a
run can show what the rule was for. Every behaviour of the drafts is off by default. Switching one on lets a gateway
do what a sentence of the drafts says, where the rules decided otherwise (drafts.py).

Each has the findings that it answers, or that speak against it, beside it (docs/findings.md: R of the recovery draft,
C of SATP core, N found by running it), and one sentence for people. `describe` returns them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from protocol.errors import Misuse


class Described(NamedTuple):
    """A rule or a behaviour of the drafts, for people. `findings` are names in docs/findings.md."""

    name: str
    findings: tuple[str, ...]
    sentence: str

    def __repr__(self) -> str:
        return f"{self.name} ({', '.join(self.findings)}): {self.sentence}"


def _rule(findings: str, sentence: str) -> Any:
    """A safety rule: on unless somebody wants to see what it is for."""
    return field(default=True, metadata={"findings": findings, "sentence": sentence})


def _draft(findings: str, sentence: str) -> Any:
    """What the drafts do: off unless somebody wants to see what comes of it."""
    return field(default=False, metadata={"findings": findings, "sentence": sentence})


@dataclass(frozen=True)
class Rules:
    """As it is made without arguments: the protocol. Anything else: an experiment."""

    # ------------------------------------------------------------------ safety rules: on

    log_before_acting: bool = _rule(
        "R3",
        "An entry says what is about to be done, before it is done; without it a restart cannot know what to ask.",
    )
    ask_the_ledger_before_repeating: bool = _rule(
        "R3 R17", "An action that was begun and has no outcome in the log is looked up on the ledger first."
    )
    ledger_acts_once: bool = _rule(
        "R3", "The ledger keeps the operation id of every action; a repeated one returns the first receipt."
    )
    same_reply_to_a_repeated_request: bool = _rule(
        "C14", "A repeated message is answered with the stored bytes, not refused for its old hashPrevMessage."
    )
    burn_only_under_a_live_lock: bool = _rule(
        "C4 C29", "The sender asks for the state of its lock right before it burns; the ledger checks it once more."
    )
    reconcile_before_serving: bool = _rule(
        "R24 R25", "After a restart nothing of a peer is served before both have compared where they stand."
    )
    fresh_connection_after_restart: bool = _rule(
        "R36", "What was on its way on the old connection can no longer arrive; only so a log can be lost safely."
    )
    back_out_only_with_the_receipt: bool = _rule(
        "R31 R33 C17",
        "An abort is said when the network has undone, and believed, once prepared, with that receipt.",
    )
    fence_the_replaced_primary: bool = _rule(
        "R18", "The shared log takes no entry of an older epoch; without it whoever was replaced goes on writing."
    )
    prepared_recipient_waits: bool = _rule(
        "R31 C6",
        "A recipient that may have said commit-ready does not decide alone to leave: its mint, once held, binds it.",
    )
    only_forward_after_burn: bool = _rule(
        "R30 C4 C16",
        "Once the asset is burned nobody leaves, whatever the application, an error or the peer's abort says.",
    )
    durable_before_sending: bool = _rule(
        "R3 R42", "No message leaves before the entry that contains it is durable; else a crash forgets a promise."
    )
    cancel_before_undoing: bool = _rule(
        "C4 R34", "An action that was begun is refused for good before it is undone; an order may still be on its way."
    )
    repeat_until_answered: bool = _rule(
        "C14 R48 R49",
        "The last own message is said again, at every time-out and after every recovery, until an answer comes.",
    )

    # ------------------------------------------------------------------ what the drafts do: off

    recipient_rolls_back_on_its_timer: bool = _draft(
        "R31 C17",
        "A prepared recipient that hears no commit-final in time destroys its mint and says so (recovery 5.4.3).",
    )
    sender_reissues: bool = _draft(
        "R30 R34",
        "A sender that has burned and hears no answer creates the asset again at the origin (recovery 5.2.3(8)).",
    )
    sender_terminates_on_its_timer: bool = _draft(
        "C4 C9 R36",
        "A sender whose lock is over, or that has burned and hears no answer in time, ends the session (core 10).",
    )
    errors_end_the_session: bool = _draft(
        "C14 C16",
        "An error of the peer ends the session at once, also when prepared and after the burn (core 10, 11.3).",
    )
    roll_back_by_the_drafts_list: bool = _draft(
        "R29",
        "The lock can be taken back from step 3.4 on, the mint from step 3.6 on (recovery 5.2.3), and not before.",
    )
    terminate_on_lost_connection: bool = _draft(
        "R36 C9",
        "Whoever comes back, or gets no answer, ends every session, releases what it holds, and hears no more of "
        "it (core 11.1, 11.2).",
    )

    def __repr__(self) -> str:
        off = [name for name in SAFETY if not getattr(self, name)]
        on = [name for name in DRAFTS if getattr(self, name)]
        rules = f"every rule but {', '.join(off)}" if off else "every rule"
        return rules + (f"; and as the drafts have it: {', '.join(on)}" if on else "")


SAFETY = tuple(each.name for each in fields(Rules) if each.default)
DRAFTS = tuple(each.name for each in fields(Rules) if not each.default)
NAMES = SAFETY + DRAFTS
_DESCRIBED = {
    each.name: Described(each.name, tuple(each.metadata["findings"].split()), each.metadata["sentence"])
    for each in fields(Rules)
}


class AskedRules(Rules):
    """The same rules, and in `asked` the names of those that somebody has looked at."""

    asked: set[str]

    def __init__(self, rules: Rules) -> None:
        object.__setattr__(self, "asked", set())
        super().__init__(**{name: getattr(rules, name) for name in NAMES})
        self.asked.clear()

    def __getattribute__(self, name: str) -> Any:
        if name in _DESCRIBED:
            object.__getattribute__(self, "asked").add(name)
        return object.__getattribute__(self, name)


def switch_off(*names: str) -> Rules:
    """Every rule but these. Misuse for a name that is none; it lists those that are."""
    _verify_known(names, SAFETY, "rule", "the rules are")
    return Rules(**dict.fromkeys(names, False))


def switch_on(*names: str) -> Rules:
    """Every rule, and these behaviours of the drafts. Misuse for a name that is none; it lists those that are."""
    _verify_known(names, DRAFTS, "behaviour of the drafts", "they are")
    return Rules(**dict.fromkeys(names, True))


def vary(*names: str) -> Rules:
    """The protocol with each of these turned over: a rule off, a behaviour of the drafts on. Misuse as above."""
    _verify_known(names, NAMES, "rule or behaviour of the drafts", "there are")
    return Rules(**{name: name in DRAFTS for name in names})


def describe(name: str) -> Described:
    """What stands beside a name: the findings, and the sentence. Misuse for a name that is none."""
    _verify_known((name,), NAMES, "rule or behaviour of the drafts", "there are")
    return _DESCRIBED[name]


def _verify_known(names: tuple[str, ...], known: tuple[str, ...], what: str, introduction: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Misuse(f"there is no {what} {', '.join(map(str, unknown))}; {introduction} {', '.join(known)}")
