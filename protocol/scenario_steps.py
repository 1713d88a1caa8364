"""What happens to a transfer, as a list of JSON steps, and what is seen then: a replay for programs in any language.

    {"do": "start"}                                                  {"do": "wait", "seconds": 121}
    {"do": "deliver", "message": "3.3"}                              "copy": true leaves a second one on its way
    {"do": "lose", "message": "transfer-resume", "from": "sender"}   "nth": 2 is the second of that name
    {"do": "deliver", "message": "3.1", "crash": {"after": 2}}       its receiver crashes after its 2nd durable act
    {"do": "crash", "gateway": "sender"}                             restart (from: last-message or stage), time-out,
    {"do": "forget", "gateway": "sender", "entries": 3}              abort, cut, land, lose-key, keep-copy, put-back
    {"do": "look"}                                                   what there is to be seen is noted

`decide`, `play-scenario` and `receive-recovery` are operations for test vectors; tests/vectors/README.md describes
them. A step is played as the word of a replay that it stands for, so what replays.py says of those words holds here.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

from protocol.errors import Misuse, Refused
from protocol.facts import read_log
from protocol.link import ANSWER
from protocol.messages.recovery import RECOVERY_NAMESPACE, is_recovery
from protocol.messages.satp import ErrorMessage, parse_message, short_name
from protocol.objects import Json
from protocol.operations import Operation
from protocol.recovery import Facts, MyLedger, MyLog, Peer, decide
from protocol.replays import HOWS, OF_A_SIDE, TOKEN, Replay, read_conditions, write_letter
from protocol.session import Session, read_session
from protocol.signing import read_payload
from protocol.steps import Role
from protocol.trace import Delivered, Judged
from protocol.units import LOCK_S

ROLES: Final = {write_letter(role): role.value for role in Role}
VERBS: Final = {how: verb for verb, how in HOWS.items()}
OF_A_GATEWAY: Final = ("crash", "restart", "time-out", "abort", "cut", "land", "lose-key", "forget")


# ---------------------------------------------------------------------- text and steps


def read_steps(text: str) -> list[Json]:
    """The steps of a replay's text. Misuse for conditions: what is switched off in a run is nobody else's business."""
    conditions, tokens = read_conditions(text)
    if conditions.flipped or conditions.backup_of:
        raise Misuse("steps are of the protocol as it is, between two gateways without backups")
    return [_read_step(token) for token in tokens]


def _read_step(token: str) -> Json:
    found = TOKEN.fullmatch(token)
    if found is None:
        raise Misuse(f"{token!r} is no action of a replay")
    how, word, nth, _, when, number = found.groups()
    crash = {"crash": {"after" if when == "a" else "before": int(number)}} if when else {}
    of_a_side = OF_A_SIDE.fullmatch(word)
    if word == "start":
        return {"do": "start", **crash}
    if word == "wait":
        return {"do": "wait", "seconds": LOCK_S + 1}
    if of_a_side is not None:
        return _read_step_of(ROLES[of_a_side[1]], of_a_side[3], of_a_side[4]) | crash
    letter, dot, name = word.partition(".")
    is_named = dot and letter in ROLES
    step: Json = {"do": "lose" if how == "-" else "deliver", "message": name if is_named else word}
    step |= ({"from": ROLES[letter]} if is_named else {}) | ({"nth": int(nth)} if nth else {})
    return step | ({"copy": True} if how == "+" else {}) | crash


def _read_step_of(role: str, what: str, number: str | None) -> Json:
    if what.startswith("restart"):
        return {"do": "restart", "gateway": role, "from": "stage" if what.endswith("stage") else "last-message"}
    if what == "forget":
        return {"do": "forget", "gateway": role} | ({"entries": int(number)} if number else {})
    return {"do": what, "gateway": role}


def write_step(step: Json) -> str:
    """The word of a replay that a step stands for."""
    do, number = step["do"], step.get("crash")
    cut = "" if number is None else "".join(f":{when[0]}{count}" for when, count in number.items())
    if do == "start":
        return f"start{cut}"
    if do in ("deliver", "lose"):
        how = "-" if do == "lose" else "+" if step.get("copy") else ""
        letter = f"{write_letter(step['from'])}." if "from" in step else ""
        nth = f"~{step['nth']}" if "nth" in step else ""
        return f"{how}{letter}{step['message']}{nth}{cut}"
    if do not in OF_A_GATEWAY:
        raise Misuse(f"there is no step {do!r}; there are {', '.join(('start', 'deliver', 'lose', *OF_A_GATEWAY))}")
    stage = "-stage" if step.get("from") == "stage" else ""
    return f"{write_letter(step['gateway'])}.{do}{stage}{step.get('entries', '')}{cut}"


# ---------------------------------------------------------------------- played


class StepPlay(Replay):
    """A replay, step by step."""

    def __init__(self, lock_type: str | None = None) -> None:
        super().__init__(f"{lock_type}; " if lock_type else "")
        self.seen: list[Json] = []
        self._copies: dict[str, bytes] = {}

    def step(self, step: Json) -> None:
        """Misuse if it cannot be."""
        match step["do"]:
            case "look":
                self.seen.append(self.look())
            case "wait":
                self.world.wait(step["seconds"])
            case "keep-copy":
                self._copies[step["gateway"]] = self.world.keep_copy(step["gateway"])
            case "put-back":
                self.world.put_back(step["gateway"], self._copies[step["gateway"]])
            case _:
                self.play(write_step(step))

    def find(self, role: Role) -> Session | None:
        """The session as a gateway's log has it, also while it is down."""
        name, log = self.world.sessions[0], self.world.log(role)
        return read_session(name, self.world._side(role).id, log)

    def look(self) -> Json:
        """What both logs and both networks say now."""
        world, sessions = self.world, {role: self.find(role) for role in Role}
        chains = [[each.name for each in session.history] if session else [] for session in sessions.values()]
        return {
            "atRest": world.is_at_rest,
            "owners": [
                {"network": ledger.network_id, "owner": asset.owner}
                for ledger in world.ledgers
                for asset in ledger.assets
                if ledger.owner_of(asset.id)
            ],
            "assets": {
                ledger.network_id: next((asset.state.value for asset in ledger.assets), "none")
                for ledger in world.ledgers
            },
            "log": {role.value: read_log(session).value for role, session in sessions.items()},
            "messages": {role.value: len(session.history) if session else 0 for role, session in sessions.items()},
            "chains": compare_chains(*chains),
        }

    @property
    def letters(self) -> Json:
        """The rows of TABLE 2, by gateway: those it acted on, and those by which it answered an offer.

        One that decides several times in a row counts once.
        """
        roles = {self.world._side(role).id: role.value for role in Role}
        found = {role.value: {"acted": "", "answered": ""} for role in Role}
        for event in self.trace:
            if isinstance(event, Judged):
                _add(found[roles[event.gateway]], "acted", event.letter)
            elif isinstance(event, Delivered) and event.name == ANSWER:
                said = read_payload(event.data)
                for each in [*said["sessions"], *said["notNamed"]]:
                    _add(found[roles[event.source]], "answered", each["decidedBy"])
        return found


def compare_chains(one: list[str], other: list[str]) -> str:
    """Whether two copies of one history have the same head; else whether one only goes on where the other ends."""
    if one == other:
        return "same"
    common = min(len(one), len(other))
    return "one is longer" if one[:common] == other[:common] else "forked"


def _add(found: dict[str, str], kind: str, letter: str) -> None:
    if not found[kind].endswith(letter):
        found[kind] += letter


def play_scenario(given: Json, shared: Json) -> Json:
    """What is seen at each `look`, and the rows of TABLE 2 that decided on the way."""
    play = StepPlay(given.get("lockType"))
    with closing(play.world):
        for step in given["steps"]:
            play.step(step)
        return {"seen": play.seen, "letters": play.letters}


def decide_by_table(given: Json, shared: Json) -> Json:
    """TABLE 2."""
    try:
        facts = Facts(MyLog(given["log"]), MyLedger(given["ledger"]), Peer(given["peer"]))
    except ValueError as error:
        raise Misuse(str(error)) from error
    row = decide(facts)
    return {"letter": row.letter, "verdict": row.verdict.value, "exchange": row.exchange.value}


# ---------------------------------------------------------------------- a message in the middle of a recovery


def reach(state: Json) -> StepPlay:
    """The place of a recovery where a message is to arrive."""
    play = StepPlay()
    for name in state.get("known", []):
        play.world.admit(name)
    for step in state["steps"]:
        play.step(step)
    return play


def receive_recovery(given: Json, shared: Json) -> Json:
    """What a gateway answers to a message in a state of `shared`. Refused, with the code, if that is an error."""
    play = reach(shared["states"][given["state"]])
    with closing(play.world):
        role = Role(given["to"])
        reply = play.world._gateway(role).receive(given["message"].encode())
        answer = "nothing" if reply is None else _name_answer(read_payload(reply))
        return {"answer": answer, "log": read_log(play.find(role)).value}


def _name_answer(payload: Json) -> str:
    """The name of a message. Raises Refused, as its peer did, for an error."""
    if is_recovery(payload):
        return str(payload["messageType"]).removeprefix(RECOVERY_NAMESPACE).removesuffix("-msg")
    message: Any = parse_message(payload)
    if isinstance(message, ErrorMessage):
        raise Refused(message.detail or message.title, code=message.type.rpartition(":")[2])
    return short_name(message.messageType)


OPERATIONS: dict[str, Operation] = {
    "decide": decide_by_table,
    "play-scenario": play_scenario,
    "receive-recovery": receive_recovery,
}
