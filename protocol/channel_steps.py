"""What happens on a channel, as a list of JSON steps for both sides, and what comes of it, in any language.

    {"do": "create", "side": "C", "cid": CID, "payment": {...}}        a new payment; `update`: referenceId and change;
    {"do": "issue", "side": "C", "cid": CID, "command": {...}}         a command, word by word
    {"do": "deliver", "from": "C", "cid": CID}                         a request arrives; "answer": true for its answer;
    {"do": "lose", "from": "D", "cid": CID, "answer": true}            "copy": true leaves a second one on its way
    {"do": "hand", "from": "C", "request": {...}}                      a request that the engine would not send, signed
    {"do": "hand", "from": "D", "response": {...}, "of": CID}          by hand; or any `body` with any `requestId`
    {"do": "crash", "side": "D", "after": 1}                           when its next write is done; or before; or now
    restart, lose-database, keep-copy, put-back, give-up               of a side
    {"do": "pass", "seconds": 2}   {"do": "run"}   {"do": "look"}      run: until everything is answered

`play-channel` is an operation for test vectors; tests/vectors/README.md describes it. What is due is on its way after
every step. Time stands still but for `pass` and `run`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.channel_store import ChannelStore
from protocol.channel_world import Breakable, ChannelWorld, Ids, InFlight, Place
from protocol.errors import Misuse, NotYet
from protocol.messages.offchain import Address, read_address
from protocol.objects import History, Json
from protocol.operations import Operation, read_private_key
from protocol.outbox import Post, to_request_id
from protocol.parties import Vasp
from protocol.signing import read_payload

NO_DIGEST = "0" * 64


class GivenWorld(ChannelWorld):
    """A ChannelWorld of two parties that are given: addresses and keys."""

    def __init__(self, parties: Json) -> None:
        self._parties = parties
        first, second = parties
        super().__init__(names=(first, second))

    def _make_addresses(self, server: str) -> dict[str, Address]:
        return {name: read_address(party["address"]) for name, party in self._parties.items()}

    def _make_place(self, name: str, address: Address) -> Place:
        key, owner = (read_private_key(self._parties[name][which]) for which in ("key", "owner"))
        vasp = Vasp(name, address, owner.public, key.public)
        return Place(vasp, owner, key, Breakable(self._make_store()), Ids(self.seed, name))


class ChannelPlay:
    """Two sides, step by step."""

    def __init__(self, parties: Json) -> None:
        self.world = GivenWorld(parties)
        self._cids: dict[str, list[str]] = {name: [] for name in parties}  # by author, as the steps name them
        self._copies: dict[str, ChannelStore] = {}
        self._answers: dict[tuple[str, str], list[str | bytes]] = {}  # by responder and cid

    def step(self, step: Json) -> Json:
        """What there is to be said of a step. Misuse if it cannot be."""
        play: dict[str, Callable[[Json], Json]] = {
            "create": self._create,
            "update": self._update,
            "issue": self._issue,
            "deliver": self._deliver,
            "lose": self._lose,
            "hand": self._hand,
            "pass": self._pass,
            "run": self._run,
            "look": lambda _: self.look(),
        }
        do = step["do"]
        if do not in play and do not in ("crash", "restart", "lose-database", "keep-copy", "put-back", "give-up"):
            raise Misuse(f"there is no step {do!r}")
        said = play[do](step) if do in play else self._befall(do, step["side"], step)
        self.world.collect()
        return said

    # What a side does

    def _create(self, step: Json) -> Json:
        now = self.world.now
        return self._act(step, lambda channel: channel.create(step["payment"], now, step["cid"]))

    def _update(self, step: Json) -> Json:
        now, change, retry = self.world.now, step["change"], step.get("retry", True)
        return self._act(step, lambda channel: channel.update(step["referenceId"], change, now, step["cid"], retry))

    def _issue(self, step: Json) -> Json:
        now = self.world.now
        return self._act(step, lambda channel: channel.issue(step["command"], now, step["cid"]))

    def _act(self, step: Json, action: Callable[[Any], Any]) -> Json:
        name = step["side"]
        self._name(name, step["cid"])
        try:
            self.world.act(name, action)
        except (Misuse, NotYet):
            return {"refused": True}
        return {"refused": False}

    def _name(self, author: str, cid: str) -> None:
        if cid not in self._cids[author]:
            self._cids[author].append(cid)

    # What the network does

    def _deliver(self, step: Json) -> Json:
        place = self._find(step)
        message = self.world.link[place]
        before = len(self.world.link)
        self.world.deliver(place, keep=step.get("copy", False))
        if self.world.places[message.target].channel is None:
            return {"crashed": True}
        if not message.is_request:
            return self._say_outcome(message.target, step["cid"])
        reply = self.world.link[-1]
        assert len(self.world.link) >= before and not reply.is_request
        return self._say_answer(message.target, step["cid"], reply.post.body)

    def _lose(self, step: Json) -> Json:
        self.world.drop(self.world.link.pop(self._find(step)))
        return {}

    def _find(self, step: Json) -> int:
        """The oldest message of this name that is on its way."""

        def fits(message: InFlight) -> bool:
            is_answer = step.get("answer", False)
            cid = read_payload(message.post.body).get("cid")
            return (message.source, message.is_request, cid) == (step["from"], not is_answer, step["cid"])

        found = [place for place, message in enumerate(self.world.link) if fits(message)]
        if not found:
            raise Misuse(f"no such message is on its way: {step}")
        return found[0]

    def _hand(self, step: Json) -> Json:
        """What its sender's engine would not say, signed with its key all the same; or bytes that nobody signed."""
        source = step["from"]
        target = self.world._other(source)
        if "response" in step:
            return self._hand_response(step, source, target)
        place = self.world.places[source]
        cid = step.get("request", {}).get("cid")
        if "body" in step:
            post = Post(step.get("requestId"), step["body"])
        else:
            post = Post(to_request_id(cid or ""), place.key.sign(step["request"], memory=self._memory(source)))
        if cid:
            self._name(source, cid)
        reply = self.world[target].on_request(post, self.world.now)
        return self._say_answer(target, cid or "", reply.body)

    def _hand_response(self, step: Json, source: str, target: str) -> Json:
        record = self.world[target].store.find_record(target, step["of"])
        key, of = self.world.places[source].key, NO_DIGEST if record is None else record.digest
        body = key.sign(step["response"], request_digest=of)
        self.world.act(
            target, lambda channel: channel.on_response(Post(to_request_id(step["of"]), body), self.world.now)
        )
        return self._say_outcome(target, step["of"])

    def _memory(self, name: str) -> str:
        return self.world[name].recovery.memory

    def _pass(self, step: Json) -> Json:
        """Second by second, and at which of them something was sent."""
        sent = []
        for second in range(1, step["seconds"] + 1):
            self.world.now += 1
            before = len(self.world.link)
            self.world.collect()
            sent += [second] * (len(self.world.link) - before)
        return {"sent": sent}

    def _run(self, step: Json) -> Json:
        self.world.run()
        return {}

    # What befalls a side

    def _befall(self, do: str, name: str, step: Json) -> Json:
        world = self.world
        match do:
            case "crash":
                world.crash(name, after=step.get("after", 0), before=step.get("before", 0))
            case "restart":
                world.restart(name)
            case "lose-database":
                world.lose_database(name)
            case "keep-copy":
                self._copies[name] = world.copy_database(name)
            case "put-back":
                world.put_back(name, self._copies[name])
            case "give-up":
                world[name].give_up(step["cid"], "no longer wanted")
        return {}

    # What is seen

    def _say_answer(self, responder: str, cid: str, body: str | bytes) -> Json:
        """Status and errors; `again` if these very bytes were the answer to this cid before."""
        payload, before = read_payload(body), self._answers.setdefault((responder, cid), [])
        said = {"status": payload["status"], "errors": _list_errors(payload)}
        said |= {"cid": payload["cid"]} if "cid" in payload else {}
        said |= {"again": body in before} if before else {}
        before.append(body)
        return {"answer": said}

    def _say_outcome(self, name: str, cid: str) -> Json:
        record = self.world[name].store.find_record(name, cid)
        return {"outcome": record.state if record is not None else "unknown"}

    def look(self) -> Json:
        """What both sides have stored; also of a side that is down."""
        stores = {name: place.disk for name, place in self.world.places.items()}
        references = sorted({ref for store in stores.values() for ref in [*store.list_open(), *store.list_closed()]})
        histories = {ref: {name: store.read_history(ref) for name, store in stores.items()} for ref in references}
        return {
            "objects": {ref: self._describe(copies) for ref, copies in histories.items()},
            "commands": {name: self._list_commands(name, store) for name, store in stores.items()},
            "disputes": {name: len(store.list_disputes()) for name, store in stores.items()},
        }

    def _describe(self, copies: dict[str, History]) -> Json:
        one, other = copies.values()
        named = {cid for cids in self._cids.values() for cid in cids}
        heads = {
            name: {"versions": len(history), "head": history.head if history.head in (named | {None}) else "another"}
            for name, history in copies.items()
        }
        return {**heads, "same": list(one) == list(other)}

    def _list_commands(self, name: str, store: Any) -> Json:
        """The commands that the steps name, by author, as this side has them."""
        found: Json = {}
        for author, cids in self._cids.items():
            records = ((cid, store.find_record(author, cid)) for cid in cids)
            found[author] = {cid: _describe_record(record) for cid, record in records if record is not None}
        return found


def _describe_record(record: Any) -> Json:
    errors = _list_errors(read_payload(record.response)) if record.response else []
    return {"state": record.state} | ({"errors": errors} if errors else {})


def _list_errors(payload: Json) -> list[Json]:
    """In the order of their fields: LIP-1 has a list and says of no order."""
    names = ("type", "code", "field")
    errors = [{name: error[name] for name in names if name in error} for error in payload.get("error", [])]
    return sorted(errors, key=lambda error: (error.get("field", ""), error["code"]))


def play_channel(given: Json, shared: Json) -> Json:
    """What each step led to, and what both sides have stored at the end."""
    play = ChannelPlay(shared["parties"])
    steps = [play.step(step) for step in given["steps"]]
    return {"steps": steps, "end": play.look()}


OPERATIONS: dict[str, Operation] = {
    "play-channel": play_channel,
}
