"""Every behaviour of a channel within bounds: two conflicting commands, a bad network, crashes, lost databases.

    explore_channel(crashes=1, losses=1)                 what may happen, and how often
    explore_channel(forgets=2, forgetful="B")            side B loses its database, twice

Both sides know a payment with one version, and each may write a version after it once. What is on its way outlives a
crash, so a message may arrive long after its author has forgotten it. A side that is down hears nothing: what arrives
then is lost. The runs that are found are texts for `channel_replays`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from protocol.channel_replays import NAMES, StillChannelWorld, label_post, make_update
from protocol.channel_units import ChannelUnit, ChannelView, own_cid, read_message
from protocol.errors import Misuse
from protocol.explorations import Found, list_found
from protocol.explorer import Explorer
from protocol.plans import Move, Plan, verify_count
from protocol.properties import Kind, Property, Scene
from protocol.replays import write_actions


@dataclass(frozen=True)
class ChannelBounds:
    """How much may happen in one behaviour. What is 0 does not happen."""

    crashes: int = 1  # of whoever can crash
    losses: int = 0  # messages that are lost by themselves
    duplicates: int = 0  # messages that arrive twice
    early: int = 0  # time-outs while an answer is still on its way
    forgets: int = 0  # how often a side that is down loses its database
    crashing: str = "AB"  # who can crash
    forgetful: str = "AB"  # who can lose its database
    aborting: str = ""  # whose command ends the payment; the others' say that they are ready

    def __post_init__(self) -> None:
        for name in ("crashes", "losses", "duplicates", "early", "forgets"):
            verify_count(name, getattr(self, name))
        if not set(self.crashing + self.forgetful + self.aborting) <= set(NAMES):
            raise Misuse(f"the sides are called {' and '.join(NAMES)}")


# ---------------------------------------------------------------------- what must hold


def _views(scene: Scene) -> tuple[ChannelView, ChannelView]:
    return scene.one, scene.other


def is_channel_rest(scene: Scene) -> bool:
    """Nothing more will happen by itself."""
    return scene.is_quiet and all(view.is_up and not view.is_busy and not view.is_asking for view in _views(scene))


def _names(view: ChannelView) -> list[str]:
    return [version.name for version in view.history]


def _agreement(scene: Scene) -> bool:
    """One history continues the other; at rest both are the same, signature by signature."""
    is_same = scene.one.history == scene.other.history
    return is_same or (_comparable(scene) and not is_channel_rest(scene))


def _comparable(scene: Scene) -> bool:
    return all(mine == theirs for mine, theirs in zip(*(view.history for view in _views(scene)), strict=False))


def _read_once(scene: Scene) -> bool:
    agreed: dict[str | None, set[str]] = {}
    for view in _views(scene):
        for name, reads in [*view.promised, *((each.name, each.reads) for each in view.history)]:
            agreed.setdefault(reads, set()).add(name)
    return all(len(names) == 1 for names in agreed.values())


def _nothing_lost(scene: Scene) -> bool:
    promised = {name for view in _views(scene) for name, _ in view.promised}
    return not is_channel_rest(scene) or all(promised <= {*_names(view)} for view in _views(scene))


def _one_wins(scene: Scene) -> bool:
    """At rest, of the commands on the first version that their sides still know, exactly one has been written."""
    views = _views(scene)
    first = views[0].history[:1]
    rivals = {
        cid: state for view in views for cid, reads, state, _ in view.commands if first and reads == first[0].name
    }
    if not is_channel_rest(scene) or not rivals:
        return True
    written = [{version.name for version in view.history[1:2]} for view in views]
    return written[0] == written[1] and all((cid in written[0]) is (said == "success") for cid, said in rivals.items())


def _no_dispute(scene: Scene) -> bool:
    return not any(view.is_disputed for view in _views(scene))


def _no_accusation(scene: Scene) -> bool:
    return not any(view.is_accusing for view in _views(scene))


def _no_breakdown(scene: Scene) -> bool:
    return not any(view.failure for view in _views(scene))


def _is_second(scene: Scene, name: str) -> bool:
    """At rest, and this side's command was written first."""
    return is_channel_rest(scene) and all(_names(view)[1:2] == [own_cid(name, 0)] for view in _views(scene))


def _tried_again(scene: Scene) -> bool:
    """The client's command has failed, and its change was written after the server's under another cid."""
    has_failed = any(state == "failure" for _, _, state, _ in scene.other.commands)
    return _is_second(scene, "A") and has_failed and len(scene.one.history) == 3


def _server_first(scene: Scene) -> bool:
    """Whoever lost its memory has to yield to what it is shown."""
    return scene.one.memories > 1 or not any(state == "failure" for _, _, state, _ in scene.one.commands)


def _restored(scene: Scene) -> bool:
    views = _views(scene)
    return is_channel_rest(scene) and any(view.memories > 1 and len(view.history) > 1 for view in views)


CHANNEL: Final = (
    Property("agreement", Kind.ALWAYS, "one history continues the other; at rest they are the same", _agreement),
    Property("one version is read once", Kind.ALWAYS, "no two agreed versions read the same one", _read_once),
    Property("nothing agreed is lost", Kind.ALWAYS, "at rest both have all that either was told of", _nothing_lost),
    Property("one wins", Kind.ALWAYS, "at rest one of two commands on one version is written, for both", _one_wins),
    Property("server first", Kind.ALWAYS, "no command of the server fails, unless it has lost a memory", _server_first),
    Property("no dispute", Kind.ALWAYS, "no two statements of honest sides contradict each other", _no_dispute),
    Property("no accusation", Kind.ALWAYS, "no honest side is taken for one that hides something", _no_accusation),
    Property("no breakdown", Kind.ALWAYS, "no side ends by a mistake of its own program", _no_breakdown),
    Property("progress", Kind.EVENTUALLY, "from every state some way leads to rest", is_channel_rest),
)
HAPPENS: Final = (
    Property("A first", Kind.SOMETIMES, "the server's command is written", lambda scene: _is_second(scene, "A")),
    Property("B first", Kind.SOMETIMES, "the client's command is written", lambda scene: _is_second(scene, "B")),
)
BOTH: Final = (
    Property("A, then B", Kind.SOMETIMES, "the client's fails, and its change is written again after it", _tried_again),
    Property(
        "B, then A",
        Kind.SOMETIMES,
        "the server's is written after the client's",
        lambda scene: _is_second(scene, "B") and len(scene.other.history) == 3,
    ),
)
RESTORED: Final = Property("restored", Kind.SOMETIMES, "a lost database is whole again", _restored)


LOST_TOGETHER: Final = Property(
    "no fork", Kind.ALWAYS, "one history continues the other, however little is left", _comparable
)


def list_properties(bounds: ChannelBounds) -> list[Property]:
    """Those that these bounds leave to be asked. Two databases that are lost at once take what was agreed with them."""
    forgetful = set(bounds.forgetful) & set(bounds.crashing)
    loses_both = bounds.forgets > 1 and len(forgetful) > 1
    kept = [LOST_TOGETHER, *CHANNEL[-2:]] if loses_both else [*CHANNEL]
    can_forget = bool(bounds.forgets and bounds.crashes and forgetful)
    return [*kept, *HAPPENS, *([] if bounds.aborting else BOTH), *([RESTORED] if can_forget else [])]


# ---------------------------------------------------------------------- what is explored


def make_channel_plan(bounds: ChannelBounds) -> Plan:
    world = StillChannelWorld()
    sides = [
        ChannelUnit(
            world,
            name,
            world.reference_id,
            [make_update(name, bounds.aborting)],
            forgets=name in bounds.forgetful,
        )
        for name in NAMES
    ]
    slots = {each.name: getattr(bounds, each.name) for each in fields(bounds) if each.type == "int"}
    slots |= {f"update {name}": 1 for name in NAMES}
    return Plan(
        (sides[0], sides[1]),
        slots,
        tuple((side, Move(("update", 0), f"update {name}")) for side, name in enumerate(NAMES)),
        (Move(("time out", None)),),
        (Move(("restart", None)), Move(("forget", None), "forgets")),
        lambda source, data: label_post(source, *read_message(data)),
        crashing=tuple(side for side, name in enumerate(NAMES) if name in bounds.crashing),
        loses_connection=False,
        keeps_messages=True,
    )


@dataclass(frozen=True)
class ChannelExploration:
    """What one search has found."""

    bounds: ChannelBounds
    states: int
    local_states: tuple[int, int]
    steps: int  # computed with the real code
    depth: int
    is_whole: bool
    verdicts: tuple[Found, ...]

    @property
    def broken(self) -> list[Found]:
        return [verdict for verdict in self.verdicts if not verdict.holds]

    def __repr__(self) -> str:
        one, other = self.local_states
        rows = [
            f"{self.states:,} states, {one:,} of A and {other:,} of B, {self.steps:,} steps of the real code,"
            f" at most {self.depth} actions deep{'' if self.is_whole else '; stopped before the end'}"
        ]
        width = max(len(verdict.name) for verdict in self.verdicts)
        rows += [f"  {verdict.name:{width}}  {self._tell(verdict)}" for verdict in self.verdicts]
        return "\n".join(rows)

    def _tell(self, verdict: Found) -> str:
        so_far = "" if self.is_whole else " so far"
        if verdict.kind is Kind.SOMETIMES:
            return f"{'happens' if verdict.holds else f'NEVER{so_far}'}: {verdict.words}"
        if verdict.holds:
            return f"holds{so_far}: {verdict.words}"
        return f"BROKEN: {verdict.words}\n    {verdict.text}"


def explore_channel(*, most_states: int | None = None, **bounds: Any) -> ChannelExploration:
    """Search all behaviours within bounds, which are those of ChannelBounds."""
    return search_channel(ChannelBounds(**bounds), most_states)


def search_channel(bounds: ChannelBounds, most_states: int | None = None) -> ChannelExploration:
    properties = list_properties(bounds)
    search = Explorer(make_channel_plan(bounds), properties, most_states=most_states).run()
    before = f"{bounds.aborting} aborts; " if bounds.aborting else ""
    return ChannelExploration(
        bounds,
        len(search.states),
        (len(search.tables[0].states), len(search.tables[1].states)),
        search.computed,
        len(search.depths) - 1,
        search.is_whole,
        list_found(search, lambda place: before + write_actions(search, place)),
    )
