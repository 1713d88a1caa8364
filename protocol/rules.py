"""The safety rules that can be switched off, one boolean each.

Every rule is on by default and a gateway never looks at anything but this object to know. Switching a
rule off does not weaken a check in some hidden place: it removes exactly the line of code that carries
the rule's name, so that a run can show what the rule was for.

The finding that a rule answers stands beside it (docs/findings.md: R of the recovery draft, C of SATP core).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from protocol.errors import Misuse


@dataclass(frozen=True)
class Rules:
    """All on: the protocol. Any off: an experiment."""

    log_before_acting: bool = True
    """R3: an entry says what is about to be done, before it is done. Without it a restart cannot know what to ask."""

    ask_the_ledger_before_repeating: bool = True
    """R3, R17: an action that was begun and has no outcome in the log is looked up on the ledger first."""

    ledger_acts_once: bool = True
    """R3: the ledger keeps the operation id of every action; a repeated one returns the first receipt."""

    same_reply_to_a_repeated_request: bool = True
    """C14: a repeated message is answered with the stored bytes, not refused for its old hashPrevMessage."""

    burn_only_under_a_live_lock: bool = True
    """C4, C29: the sender asks for the state of its lock right before it burns; the ledger checks it once more."""

    reconcile_before_serving: bool = True
    """R24, R25: after a restart nothing of a peer is served before both have compared where they stand."""

    fresh_connection_after_restart: bool = True
    """R36: what was on its way on the old connection can no longer arrive. Only so a log can be lost safely."""

    back_out_only_with_the_receipt: bool = True
    """R31, R33, C17: an abort is said when the network has undone, and believed, once prepared, with that receipt."""

    fence_the_replaced_primary: bool = True
    """R18: the shared log takes no entry of an older epoch. Without it whoever was replaced goes on writing."""

    def __repr__(self) -> str:
        off = [field.name for field in fields(self) if not getattr(self, field.name)]
        return f"every rule but {', '.join(off)}" if off else "every rule"


NAMES = tuple(field.name for field in fields(Rules))


def switch_off(*names: str) -> Rules:
    """Every rule but these. Misuse for a name that is none; it lists those that are."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise Misuse(f"there is no rule {', '.join(unknown)}; the rules are {', '.join(NAMES)}")
    return Rules(**dict.fromkeys(names, False))
