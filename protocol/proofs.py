"""What a proof is: the documents' sentence, the run that it allows, the rule that forbids it, a text to adopt.

    sentence    the very words of a draft, with section and line of the Markdown source of the revision used
    replay()    the shortest run that they allow and that breaks a property, played; `picture` draws it with its end
    broken      the properties that do not hold at the end of it
    found       the search that found it: the same gateways, with a rule off or the drafts' own behaviour on
    mended()    the same search with the rule; it has to hold in every state
    text        what a draft could say instead

The first part of a run is what the search wrote, letter by letter; nothing is shorter. `onwards` is what is played
after it, so that its end can be seen. A `Takeover` is shown by a World with a backup gateway, a `Reading` by two
readers of one text and no run at all.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from html import escape
from typing import Final, NamedTuple

from protocol.bounds import Bounds, choose_properties, list_left_out, make_plan
from protocol.diagrams import Figure, Note
from protocol.errors import Misuse, Refused
from protocol.evidence import write_table
from protocol.explorations import Exploration, Found, Search, Task, run_search
from protocol.messages.recovery import MODELS, NAMES, RECOVERY_NAMESPACE, parse_recovery
from protocol.properties import ONE_IN_CHARGE, TRANSFER, Kind, Property, Scene, is_rest
from protocol.recovery import MyLog
from protocol.replays import Conditions, Replay, replay
from protocol.rules import DRAFTS, vary
from protocol.stories import Recovery
from protocol.takeovers import How, take_over
from protocol.units import View

WIDTH: Final = 96


class Quote(NamedTuple):
    """A sentence of a draft, or the words of a figure. `line` is the first one in the Markdown source."""

    document: str  # RECOVERY or SATP
    section: str
    line: int
    words: str

    def __repr__(self) -> str:
        return textwrap.fill(
            f'{self.document} {self.section}, l.{self.line}: "{self.words}"', WIDTH, subsequent_indent="  "
        )


class Quotes(tuple[Quote, ...]):
    """Sentences, one below the other."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))

    def _repr_html_(self) -> str:
        return "\n".join(
            f"<blockquote>{escape(each.words)}<br><small>{each.document} {escape(each.section)}, l.{each.line}</small>"
            "</blockquote>"
            for each in self
        )


class Text(str):
    """Words that a draft could adopt."""

    def __repr__(self) -> str:
        return textwrap.fill(str(self), WIDTH)

    def _repr_html_(self) -> str:
        return f"<blockquote>{escape(str(self))}</blockquote>"


# ---------------------------------------------------------------------- what a run is judged by


def _no_way_back(scene: Scene) -> bool:
    """Whoever asks later can only be told that it is over: nobody is left who would say commit-final."""
    return not any(each.actions[-1:] == ("burn",) and each.standing == MyLog.LEFT.value for each in scene.one.transfers)


FORWARD: Final = Property(
    "forward", Kind.ALWAYS, "a sender whose asset is burned does not end its session", _no_way_back
)


def choose_all(bounds: Bounds) -> tuple[Property, ...]:
    return (*choose_properties(bounds), FORWARD)


SEARCH: Final = Search(make_plan, choose_all, list_left_out)


@cache
def search(flipped: tuple[str, ...], bounds: Bounds) -> Exploration:
    """Searched once; the same comes of it every time."""
    return run_search(Task(flipped, bounds, SEARCH))


# ---------------------------------------------------------------------- proofs


@dataclass(frozen=True)
class Proof:
    """A finding that a search has shown.

    `flipped` are the rules that are off and the drafts' behaviours that are on; `mended_by` those among them that the
    mending turns back, all if it is empty.
    """

    names: tuple[str, ...]
    title: str
    sentence: Quotes
    breaks: str  # the property whose shortest counterexample is the run
    flipped: tuple[str, ...]
    bounds: Bounds
    run: str
    onwards: str
    text: Text
    mended_by: tuple[str, ...] = field(default=())

    @property
    def replay_text(self) -> str:
        """The run and how it goes on, to be given to `replay`."""
        return f"{self.bounds.make_conditions(self.flipped)}{self.run} {self.onwards}".rstrip()

    def replay(self) -> Replay:
        return replay(self.replay_text)

    @cached_property
    def broken(self) -> tuple[str, ...]:
        """Which properties do not hold at the end; for progress: whatever is said and waited for, no rest comes."""
        played = self.replay()
        names = [each.name for each in played.list_broken((*TRANSFER, FORWARD)) if each.kind is Kind.ALWAYS]
        played.world.run()
        stuck = () if is_rest(played.scene) else ("progress",)
        played.world.close()
        return (*names, *stuck)

    @property
    def found(self) -> Exploration:
        """The search that found the run."""
        return search(self.flipped, self.bounds)

    @property
    def shortest(self) -> Found:
        """What that search says of the property."""
        return self.found[self.breaks]

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that mend it, by name; where a draft's behaviour was on, it is off again."""
        return self.mended_by or self.flipped

    @property
    def rules_in_words(self) -> str:
        return ", ".join(f"not {name}" if name in DRAFTS else name for name in self.rules)

    def mended(self) -> Exploration:
        """The same search with the rule. What else was turned over stays so."""
        return search(tuple(name for name in self.flipped if name not in self.rules), self.bounds)

    @property
    def row(self) -> tuple[str, ...]:
        mended = self.mended()
        kept = "holds" if not mended.broken else "broken"
        shown = f"{self.breaks}, after {self.shortest.length}"
        return " ".join(self.names), self.title, shown, self.rules_in_words, f"{kept} in {mended.states:,} states"

    @property
    def picture(self) -> Figure:
        """The run, and below it what is broken, who owns the asset, and what both networks and both gateways say."""
        played = self.replay()
        ends = (show_end(name, view) for name, view in zip(played.trace.gateways, played.scene[:2], strict=True))
        end = played.end
        words = (f"{end.heading}.", *end.paragraphs, f"{'; '.join(ends)}.")
        note = Note(f"Broken: {', '.join(self.broken)}", words, "dispute")
        played.world.close()
        return Figure(played.trace, f"{', '.join(self.names)}: {self.title}", [note])

    def _repr_svg_(self) -> str:
        return self.picture.svg

    def __repr__(self) -> str:
        return f"{', '.join(self.names)}: {self.title}\n{self.sentence!r}\n{self.replay_text}\nbreaks {self.breaks}"


def show_end(gateway: str, view: View) -> str:
    """What a gateway says of the session at the end of a run."""
    said = ", ".join(transfer.standing for transfer in view.transfers)
    return f"{gateway} says: {said}{'' if view.is_up else ' (it is down)'}"


@dataclass(frozen=True)
class Takeover:
    """R18: two gateways under one name. The primary was only slow, and it comes back after `comes_back` deliveries."""

    names: tuple[str, ...]
    title: str
    sentence: Quotes
    who: str
    at: str
    how: How
    comes_back: int
    leaves: bool
    flipped: tuple[str, ...]
    run: str
    text: Text

    def _play(self, *flipped: str) -> Recovery:
        rules = vary(*flipped)
        return take_over(
            self.who, self.at, how=self.how, comes_back=self.comes_back, leaves=self.leaves, rules=rules, tls=False
        )

    def replay(self) -> Recovery:
        return self._play(*self.flipped)

    def mended(self) -> Recovery:
        return self._play()

    def replay_shortest(self, *flipped: str) -> Replay:
        """The shortest run that a search with a backup has found, under these rules."""
        return replay(f"{Conditions(flipped, backup_of=self.who)}{self.run}")

    @property
    def broken(self) -> tuple[str, ...]:
        """What does not hold at the end of it."""
        return self._list_broken(*self.flipped)

    @property
    def broken_with_the_rule(self) -> tuple[str, ...]:
        return self._list_broken()

    def _list_broken(self, *flipped: str) -> tuple[str, ...]:
        always = [each for each in (*TRANSFER, ONE_IN_CHARGE) if each.kind is Kind.ALWAYS]
        return tuple(each.name for each in self.replay_shortest(*flipped).list_broken(always))

    def without(self, *names: str) -> Recovery:
        """The same story with these rules off."""
        return self._play(*names)


# ---------------------------------------------------------------------- R22: no run, but two readers


class NameRead(NamedTuple):
    """A name of a message as a text has it, whom it lets send that message, and what a reader makes of it."""

    name: str
    place: str
    sender: str
    answer: str


class Reading(tuple[NameRead, ...]):
    """Every name under which a text speaks of the last two messages of a recovery, given to the reader of this code."""

    heads = ("the text calls it", "where", "sent by", "the reader says")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [tuple(each) for each in self]

    @property
    def refused(self) -> list[NameRead]:
        return [each for each in self if each.answer.startswith("refused")]

    def _repr_html_(self) -> str:
        return write_table(self.heads, self.rows)

    def __repr__(self) -> str:
        return "\n".join(" | ".join(row) for row in (self.heads, *self.rows))


def read_names(names: Iterable[tuple[str, str, str]]) -> Reading:
    """Each name as the type that it would have on the wire, read by the code."""
    return Reading(NameRead(name, place, sender, read_type(name)) for name, place, sender in names)


def read_type(name: str) -> str:
    """What the reader makes of a message of this name, with every other field as it should be."""
    known = dict(zip(NAMES, MODELS, strict=True))
    try:
        parse_recovery({"messageType": f"{RECOVERY_NAMESPACE}{name.lower()}-msg"})
    except Refused as refused:
        if refused.field == "messageType":
            return "refused: no such message"
    return f"read as {known[name.lower()].__name__}" if name.lower() in known else "refused: no such message"


# ---------------------------------------------------------------------- all of them


class ProofTable(dict[str, Proof]):
    """The proofs by the first of their names; as a table it plays and searches all."""

    heads = ("finding", "what goes wrong", "breaks", "mended by", "then")

    def find(self, name: str) -> Proof:
        """The proof of a finding. Misuse, with the names that there are, if it has none."""
        for proof in self.values():
            if name in proof.names:
                return proof
        known = [each for proof in self.values() for each in proof.names]
        raise Misuse(f"there is no proof of {name}; there are {', '.join(known)}")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [proof.row for proof in self.values()]

    def _repr_html_(self) -> str:
        return write_table(self.heads, self.rows)

    def __repr__(self) -> str:
        return "\n".join(" | ".join(row) for row in (self.heads, *self.rows))
