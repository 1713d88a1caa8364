"""One crash, chosen from closed lists, and what came of it: what the lab and the reports are made of.

    Scenario()                                          the recipient crashes between mint and commit-ready
    Scenario("sender", "3.4", act=2, lost="log")        the sender right after the burn; its log is lost
    Scenario("both", "3.6", network="lossy").play()     a Run: text, figure, verdicts, ending, frames

A scenario is played as a reader would with replays.py: the oldest message on its way arrives, and when nothing is on
its way whoever waits times out; where only the expiry of a lock can end it, that time passes too. What was done is
written down as it is done, so `replay(run.text)` is the same run. Nothing here decides anything for a gateway.

What a Run shows was read while it was played; the World is gone then, and a Run can be kept. Messages travel bare:
the TLS of notebook 09 changes nothing in who says what.

A value that cannot be is refused when the Scenario is made, with a sentence that says what can be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from protocol.diagrams import Figure, Note
from protocol.errors import Misuse
from protocol.network import World
from protocol.properties import TRANSFER, Kind
from protocol.recovery import MyLog, RecoveryRow, find_recovery_row
from protocol.replays import Conditions, Replay, label_in_world, write_letter
from protocol.rules import DRAFTS, SAFETY, vary
from protocol.steps import RESTART, TABLE_1, Role, find_row
from protocol.stories import Recovery, shorten_owner
from protocol.trace import Crashed, Forgotten, Judged, Logged, Trace

STEPS: Final = tuple(row.number for row in TABLE_1)
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "crashed": ("sender", "recipient", "both", "nobody"),
    "step": STEPS,
    "when": ("before", "after"),
    "lost": ("nothing", "last entry", "last 3 entries", "log", "key"),
    "restart": ("last message", "stage"),
    "network": ("reliable", "lossy", "doubling"),
}
LOSSES: Final = {"last entry": ".forget1", "last 3 entries": ".forget3", "log": ".forget", "key": ".lose-key"}
RESTARTS: Final = {"last message": ".restart", "stage": ".restart-stage"}
STANDINGS: Final = {
    MyLog.COMPLETE.value: "says complete",
    MyLog.LEFT.value: "says ended",
    MyLog.NOTHING.value: "knows of no transfer",
    MyLog.FROZEN.value: "calls a human",
    "parked": "calls a human",
}
PATIENCE: Final = 4  # how often everybody times out in vain before the time of a lock passes
WAITS: Final = 2  # how often that time passes in vain before a run ends where it is


@dataclass(frozen=True)
class Scenario:
    """Who crashes where, what is lost, and how it comes back. Misuse for what cannot be.

    `act` counts the durable acts of the crashing gateway within the step: intent, action and outcome of an own action,
    one entry for a message. With "both" the gateway whose step it is crashes there, and the other one at once after
    it. `lost` is what a crash takes besides the process. A "lossy" network loses every message the first time that it
    is sent; a "doubling" one delivers every message twice. `off` are rules that are switched off, and behaviours of
    the drafts that are switched on.
    """

    crashed: str = "recipient"
    step: str = "3.2"
    when: str = "after"
    act: int = 2
    lost: str = "nothing"
    restart: str = "last message"
    network: str = "reliable"
    off: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in CHOICES:
            verify_choice(name, getattr(self, name))
        if not isinstance(self.off, tuple):
            raise Misuse(f"off is a tuple of names of rules, not {self.off!r}")
        vary(*self.off)
        if len(set(self.off)) < len(self.off):
            raise Misuse(f"off names each rule once; not {', '.join(self.off)}")
        is_number = isinstance(self.act, int) and not isinstance(self.act, bool) and self.act >= 1
        if self.crashed != "nobody":
            self._verify_act(is_number=is_number)
        elif not is_number:
            raise Misuse(f"act is a whole number from 1 on, not {self.act!r}")

    def _verify_act(self, *, is_number: bool) -> None:
        acts = list_acts(self.crashed, self.step)
        if not acts:
            name, steps = find_row(self.step).name, ", ".join(list_steps(self.crashed))
            raise Misuse(
                f"the {self.crashed} does nothing durable in step {self.step}: the {name} is the other gateway's; "
                f"step is one of {steps}"
            )
        if not is_number or self.act > len(acts):
            allowed = " or ".join(f"{number} ({words})" for number, words in enumerate(acts, 1))
            raise Misuse(f"act in step {self.step} is {allowed}; not {self.act!r}")

    @property
    def down(self) -> tuple[Role, ...]:
        """The gateways that crash, the one that crashes by itself first."""
        return find_down(self.crashed, self.step)

    @property
    def words(self) -> str:
        """The choice in one sentence."""
        if self.crashed == "nobody":
            return "Nobody crashes." + self._describe_rest()
        act = list_acts(self.crashed, self.step)[self.act - 1]
        first, *other = self.down
        verb = "are" if self.lost.endswith("entries") else "is"
        after = f", the {other[0]} right after it" if other else ""
        whose = f"of both the {self.lost}" if other else f"its {self.lost}"
        loss = after + ("" if self.lost == "nothing" else f", and {whose} {verb} lost")
        stage = "; they go on from the beginning of the stage" if self.restart == "stage" else ""
        return f"The {first} crashes {self.when} {act}{loss}{stage}.{self._describe_rest()}"

    def _describe_rest(self) -> str:
        network = {
            "reliable": "",
            "lossy": " Every message is lost the first time.",
            "doubling": " Every message arrives twice.",
        }
        off = ", ".join(name for name in self.off if name in SAFETY)
        on = ", ".join(name for name in self.off if name in DRAFTS)
        without = f" Without the rule {off}." if off else ""
        return network[self.network] + without + (f" As the drafts have it: {on}." if on else "")

    def play(self) -> Run:
        """The run of this scenario; made once."""
        return _play(self)


def verify_choice(name: str, value: object) -> None:
    """Misuse, with what there is, for a value that is not in the list of that name."""
    if value not in CHOICES[name]:
        raise Misuse(f"{name} is one of {', '.join(CHOICES[name])}; not {value!r}")


def find_down(crashed: str, step: str) -> tuple[Role, ...]:
    """Who crashes, the one that crashes by itself first."""
    verify_choice("crashed", crashed)
    verify_choice("step", step)
    if crashed == "nobody":
        return ()
    if crashed == "both":
        actor = find_row(step).actor
        return actor, actor.other
    return (Role(crashed),)


@lru_cache(maxsize=1)
def _list_all_acts() -> dict[tuple[str, str], tuple[str, ...]]:
    """By role and step, as a transfer without a crash has them."""
    world = World(tls=False)
    world.start()
    world.run()
    acts = {role: world.durable_acts(role) for role in Role}
    world.close()
    return {
        (role, step): tuple(words for number, words in acts[role] if number == step) for role in Role for step in STEPS
    }


def list_acts(crashed: str, step: str) -> tuple[str, ...]:
    """What becomes durable in this step at the gateway that crashes by itself, in order; empty if nothing does."""
    down = find_down(crashed, step)
    return _list_all_acts()[down[0], step] if down else ()


def list_steps(crashed: str) -> tuple[str, ...]:
    """The steps in which that gateway can crash; all of them where nobody does."""
    return tuple(step for step in STEPS if crashed == "nobody" or list_acts(crashed, step))


# ---------------------------------------------------------------------- what came of it


class Verdict(NamedTuple):
    """What TABLE 2 said at a gateway, with its row."""

    gateway: str
    row: RecoveryRow
    words: str
    facts: tuple[str, str, str]


def count_verdicts(verdicts: Iterable[Verdict]) -> list[tuple[Verdict, int, bool]]:
    """Each verdict once, in order, with how often it was given, and whether its row has not stood before."""
    counts = Counter(verdicts)
    letters = [verdict.row.letter for verdict in counts]
    return [
        (verdict, times, verdict.row.letter not in letters[:place])
        for place, (verdict, times) in enumerate(counts.items())
    ]


@dataclass(frozen=True)
class Frame:
    """The run after its first `number` events; `event` says in words what the last of them was.

    `logs` are the lines of each gateway's log, `ledgers` what each network says of its assets.
    """

    number: int
    event: str
    logs: dict[str, tuple[str, ...]]
    ledgers: dict[str, str]
    trace: Trace

    @property
    def figure(self) -> Figure:
        """The picture up to here."""
        return Figure(self.trace.until(self.number), "The run up to here")


@dataclass(frozen=True)
class Run:
    """A scenario that was played. `broken` names the properties that do not hold at the end."""

    scenario: Scenario
    text: str
    trace: Trace
    verdicts: tuple[Verdict, ...]
    notes: tuple[Note, ...]
    owners: tuple[str, ...]
    is_at_rest: bool
    ending: str
    broken: tuple[str, ...]
    frames: tuple[Frame, ...]

    @property
    def figure(self) -> Figure:
        return Figure(self.trace, self.scenario.words, self.notes)

    @property
    def has_recovered(self) -> bool:
        """At rest with one owner, and no property broken."""
        return self.is_at_rest and len(self.owners) == 1 and not self.broken

    def _repr_svg_(self) -> str:
        return self.figure.svg

    def __repr__(self) -> str:
        return f"{self.scenario.words}\n{self.ending}\n\n{self.figure.ascii}"


class Stage:
    """Plays a scenario, action by action, and looks on."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.tokens: list[str] = []
        self.failure = ""
        self.frames: list[Frame] = []
        self._lost: set[str] = set()
        self._ledgers: list[dict[str, str]] = []  # after each event that is in no frame yet
        self.replay = Replay(str(Conditions(scenario.off)))
        self.world, self.trace = self.replay.world, self.replay.trace
        self._logs: dict[str, tuple[str, ...]] = dict.fromkeys(self.trace.gateways, ())
        self.trace.watcher = lambda event: self._ledgers.append(self._read_ledgers())

    def run(self) -> Run:
        scenario = self.scenario
        if scenario.down:
            after = scenario.when == "after"
            before_act, after_act = (None, scenario.act) if after else (scenario.act, None)
            self.world.crash(scenario.down[0], at=scenario.step, before=before_act, after=after_act)
        if self._play("start"):
            self._go_on()
        if self._has_crashed:
            self._come_back()
            self._go_on()
        self.trace.watcher = None
        return self._tell()

    @property
    def _has_crashed(self) -> bool:
        return bool(self.trace.of(Crashed))

    def _come_back(self) -> None:
        """The other one crashes where both do; what is lost is lost; they come back in the order in which they went."""
        down = self.scenario.down
        for role in down[1:]:
            self._play(f"{write_letter(role)}.crash")
        if self.scenario.lost != "nothing":
            for role in down:
                self._play(write_letter(role) + LOSSES[self.scenario.lost])
        for role in down:
            self._play(write_letter(role) + RESTARTS[self.scenario.restart])

    def _go_on(self) -> None:
        """Until somebody crashes, or all is at rest, or nothing helps any more."""
        patience, waits = PATIENCE, WAITS
        while not self.failure and not self.world.is_at_rest and patience:
            entries = len(self.trace.of(Logged))
            if not all(self._play(token) for token in self._choose_next()):
                return
            if len(self.trace.of(Logged)) > entries:
                patience = PATIENCE
            elif not self.world.link:
                patience -= 1
            if not patience and waits:
                patience, waits = PATIENCE, waits - 1
                self._play("wait")

    def _choose_next(self) -> list[str]:
        """The oldest message that is on its way; or, if there is none, a time-out of everybody who waits."""
        message = next(iter(self.world.link), None)
        if message is None:
            return [f"{write_letter(role)}.time-out" for role in Role if self.world.is_waiting(role)]
        label = label_in_world(message)
        if self.scenario.network == "doubling":
            return [f"+{label}", label]
        if self.scenario.network == "lossy" and label not in self._lost:
            self._lost.add(label)
            return [f"-{label}"]
        return [label]

    def _play(self, token: str) -> bool:
        """One action; False if it ended with a crash, or a gateway broke down by a mistake of its own."""
        made = {role: len(self.world.durable_acts(role)) for role in Role}
        crashes = len(self.trace.of(Crashed))
        try:
            self.replay.play(token)
        except Misuse:
            raise
        except Exception as failure:  # what a rule that is off lets a gateway run into is a result, not an error
            self.failure = f"{type(failure).__name__}: {failure}"
        is_cut = len(self.trace.of(Crashed)) > crashes and not token.endswith(".crash")
        if is_cut:
            role, is_after = self.scenario.down[0], self.scenario.when == "after"
            number = len(self.world.durable_acts(role)) - made[role] + (not is_after)
            token += f":{'a' if is_after else 'b'}{number}"
        self.tokens.append(token)
        self._look()
        return not (is_cut or self.failure)

    def _read_ledgers(self) -> dict[str, str]:
        return {
            ledger.name: "; ".join(line.removeprefix(f"{ledger.name}: ") for line in repr(ledger).splitlines())
            for ledger in self.world.ledgers
        }

    def _look(self) -> None:
        """A frame for each event of the last action. Logs are read once; until an entry was logged they are shorter."""
        events = self.trace.events[len(self.frames) :]
        touched = {event.gateway for event in events if isinstance(event, Logged | Forgotten)}
        logs = self._logs | {name: tuple(map(repr, self.world.log(name))) for name in touched}
        for event, ledgers in zip(events, self._ledgers, strict=True):
            if isinstance(event, Logged) and event.step != RESTART.number:  # that one is in no session's log
                self._logs = {**self._logs, event.gateway: logs[event.gateway][: event.number]}
            self.frames.append(Frame(len(self.frames) + 1, str(event), self._logs, ledgers, self.trace))
        self._ledgers.clear()
        if self.frames:
            self._logs, self.frames[-1] = logs, replace(self.frames[-1], logs=logs)

    def _tell(self) -> Run:
        world, scenario = self.world, self.scenario
        verdicts = tuple(
            Verdict(each.gateway, find_recovery_row(each.letter), each.verdict, each.facts)
            for each in self.trace.events
            if isinstance(each, Judged)
        )
        broken = tuple(
            each.name for each in self.replay.list_broken(each for each in TRANSFER if each.kind is Kind.ALWAYS)
        )
        if self.failure:
            broken = (*broken, "no breakdown")
        conditions = str(Conditions(scenario.off))
        run = Run(
            scenario,
            conditions + " ".join(self.tokens),
            self.trace,
            verdicts,
            tuple(Recovery(world).notes),
            tuple(world.owners),
            world.is_at_rest and not self.failure,
            self._describe_end(),
            broken,
            tuple(self.frames),
        )
        world.close()
        return run

    def _describe_end(self) -> str:
        """Who owns the asset at the end, and what both gateways say."""
        if self.failure:
            return f"A gateway broke down: {self.failure}"
        world = self.world
        owners = " and ".join(map(shorten_owner, world.owners))
        scene = self.replay.scene
        says = [
            f"{name} {STANDINGS.get(transfer.standing, 'has not ended it')}"
            for name, view in zip(self.trace.gateways, (scene.one, scene.other), strict=True)
            for transfer in view.transfers
        ]
        rest = "At rest" if world.is_at_rest else "Not at rest"
        return (
            f"{rest}: {owners or 'nobody'} {'owns' if len(world.owners) < 2 else 'own'} the asset; {', '.join(says)}."
        )


@lru_cache(maxsize=256)
def _play(scenario: Scenario) -> Run:
    return Stage(scenario).run()
