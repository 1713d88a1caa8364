"""Every field of every message, changed at random: a signed error or silence, never an exception, never a write.

A changed message that is still a right one may be accepted; which fields allow that is listed, so that the test
notices if another field stops being looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import SATP_CODES
from protocol.messages.satp import NAMESPACE, ErrorMessage, parse_message
from protocol.network import World
from protocol.objects import Json, digest
from protocol.signing import read_payload
from protocol.steps import TABLE_1, Kind, Role, find_row
from tests.test_bad_input import fingerprint, stop_before

STEPS = [row.number for row in TABLE_1 if row.kind is Kind.MESSAGE]
EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

# What the other side cannot check, because it is the sender's to say (or the time of a receipt).
FREE = {
    "1.1": {
        "sessionId", "transferContextId", "digitalAssetId", "assetProfileId", "networkLockType",
        "assetLockExpirationTime", "networkLockExpirationTime", "verifiedOriginatorEntityId",
        "verifiedBeneficiaryEntityId", "originatorPublicKey", "beneficiaryPublicKey", "senderGatewayNetworkId",
        "senderGatewayDeviceIdentityPublicKey", "receiverGatewayDeviceIdentityPublicKey", "senderGatewayOwnerId",
        "receiverGatewayOwnerId", "gatewaySupportedSignatureAlgorithms", "lab",
    },
    "1.2": {"timestamp"},
}  # fmt: skip

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
)
TEXTS = st.text(max_size=40) | st.sampled_from(["", "0" * 64, "err_1.1.1", NAMESPACE, "2024-10-03T12:02+00Z"])
VALUES = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*prefix, name)
        yield from paths(child, (*prefix, name))


class Stage:
    """A world that waits for the message of one step, made again whenever an accepted message has moved it."""

    def __init__(self, step: str, *, may_be_silent: bool = False) -> None:
        self.step = step
        self.may_be_silent = may_be_silent or step == "3.9"  # accepted without an answer
        self.world: World | None = None
        self.renew()

    def renew(self) -> None:
        if self.world is not None:
            self.world.close()
        self.world = World(seed="mutations")
        self.world.admit("GW3")
        self.data = stop_before(self.world, self.step)
        self.before = fingerprint(self.world)

    def receive(self, data: bytes) -> str:
        """`accepted`, `silence`, or the code of the error; and whatever it is, only acceptance may have written."""
        assert self.world is not None
        is_sender = find_row(self.step).actor is Role.SENDER
        target, peer = (self.world.recipient, "GW1") if is_sender else (self.world.sender, "GW2")
        reply = target.receive(data)
        message = parse_message(read_payload(reply)) if reply else None
        is_refused = isinstance(message, ErrorMessage) or (reply is None and not self.may_be_silent)
        if is_refused:
            assert fingerprint(self.world) == self.before, f"a refused message of {peer} was written"
        elif fingerprint(self.world) != self.before:
            self.renew()
            return "accepted"
        if isinstance(message, ErrorMessage):
            assert message.type.rpartition(":")[2] in SATP_CODES
            return message.type.rpartition(":")[2]
        return "silence"


@pytest.mark.parametrize("step", STEPS)
def test_a_changed_field(step: str) -> None:
    stage = Stage(step)
    assert stage.world is not None
    author = "GW1" if find_row(step).actor is Role.SENDER else "GW2"
    key = stage.world.key(author)
    original = read_payload(stage.data)
    places = sorted(paths(original), key=repr)

    @EXAMPLES
    @given(place=st.sampled_from(places), value=VALUES, remove=st.booleans())
    def check(place: tuple[Any, ...], value: Any, remove: bool) -> None:
        payload: Json = copy.deepcopy(original)
        inner: Any = payload
        for name in place[:-1]:
            inner = inner[name]
        if not remove and inner[place[-1]] == value:
            return
        if remove:
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
        outcome = stage.receive(key.sign(payload).encode())
        if outcome == "accepted":
            assert set(place) & FREE.get(step, set()), f"{place} of {step} is not looked at"

    check()


@pytest.mark.parametrize("step", STEPS)
def test_an_added_field(step: str) -> None:
    """In any object of the message, under any name: refused, or kept as it was signed."""
    stage = Stage(step)
    assert stage.world is not None
    author = "GW1" if find_row(step).actor is Role.SENDER else "GW2"
    key = stage.world.key(author)
    original = read_payload(stage.data)
    objects = [(), *(place for place in paths(original) if isinstance(look_up(original, place), dict))]

    @EXAMPLES
    @given(place=st.sampled_from(objects), name=TEXTS, value=VALUES)
    def check(place: tuple[Any, ...], name: str, value: Any) -> None:
        payload: Json = copy.deepcopy(original)
        inner = look_up(payload, place)
        if name in inner:
            return
        inner[name] = value
        stage.receive(key.sign(payload).encode())

    check()


def look_up(value: Any, place: tuple[Any, ...]) -> Any:
    for name in place:
        value = value[name]
    return value


def make_special(stage: Stage, kind: str) -> Json:
    """A right error, or a right abort, of GW2 to a sender that waits for 2.4."""
    assert stage.world is not None
    session = stage.world.sender.session(stage.world.sessions[0])
    mine = [version for version in session.history if version.author == "GW2"]
    common: Json = {"sessionId": session.id, "transferContextId": session.context, "timestamp": stage.world.now}
    if kind == "abort":
        abort = {"messageType": NAMESPACE + "session-abort-msg", "reason": "a reason", "receipts": []}
        return common | abort | {"code": "err_2.2.8", "hashPrevMessage": mine[-1].name}
    refusal = read_payload(stage.world.recipient.receive(b"hello") or b"")
    last = digest((session.compute_last_own_message() or "").encode())
    return refusal | common | {"hashPrevMessage": session.history.head, "hashRefusedMessage": last}


@pytest.mark.parametrize("kind", ["error", "abort"])
def test_a_changed_error_or_abort(kind: str) -> None:
    """What is not quite right is refused or ignored; nothing is undone because of it."""
    stage = Stage("2.4", may_be_silent=True)
    assert stage.world is not None
    key = stage.world.key("GW2")
    original = make_special(stage, kind)
    free = {"error": {"status", "title", "detail", "instance", "prevMsgType", "timestamp", "version", "type",
                      "transferContextId", "hashRefusedMessage"},
            "abort": {"reason", "code", "receipts", "timestamp"}}[kind]  # fmt: skip

    @EXAMPLES
    @given(name=st.sampled_from(sorted(original)), value=VALUES, remove=st.booleans())
    def check(name: str, value: Any, remove: bool) -> None:
        payload = {each: held for each, held in original.items() if each != name}
        if not remove:
            payload[name] = value
        if payload == original:
            return
        outcome = stage.receive(key.sign(payload).encode())
        if outcome == "accepted":
            assert name in free, f"{name} of an {kind} is not looked at"

    check()


@pytest.mark.parametrize("step", STEPS)
def test_changed_bytes(step: str) -> None:
    """Anywhere in the compact JWS: header, payload, signature, dots."""
    stage = Stage(step)

    @EXAMPLES
    @given(
        place=st.integers(0, len(stage.data) - 1),
        change=st.binary(max_size=3),
        cut=st.integers(0, 5),
    )
    def check(place: int, change: bytes, cut: int) -> None:
        data = stage.data[:place] + change + stage.data[place + cut :]
        if data != stage.data:
            assert stage.receive(data) != "accepted"

    check()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("who", ["GW1", "GW2", "GW3", "somebody", "network 1"])
def test_signed_by_another_key(step: str, who: str) -> None:
    stage = Stage(step)
    assert stage.world is not None
    author = "GW1" if find_row(step).actor is Role.SENDER else "GW2"
    outcome = stage.receive(stage.world.key(who).sign(read_payload(stage.data)).encode())
    assert (outcome in ("accepted", "silence")) == (who == author)


def test_anything_at_all() -> None:
    stage = Stage("2.2")

    @EXAMPLES
    @given(data=st.binary(max_size=200))
    def check(data: bytes) -> None:
        assert stage.receive(data).startswith("err_")

    check()


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"ES256","b64":false,"crit":["b64"],"kid":"KID"}',
        '{"alg":"ES256","crit":["exp"],"exp":1,"kid":"KID"}',
        '{"alg":"none","kid":"KID"}',
        '{"alg":"HS256","kid":"KID"}',
        '{"alg":"ES256"}',
        '{"alg":"ES256","kid":7}',
        '{"alg":"ES256","kid":"\\ud800"}',
        '{"alg":["ES256"],"kid":"KID"}',
        '{"alg":"ES256","jku":"http://example.org","kid":"KID"}',
        "[]",
        "7",
        "{",
    ],
)
@pytest.mark.parametrize("payload", [b'{"a":"\xc3\xa9"}', b"{}", b"\xff\xfe", b"[" * 5000])
def test_odd_headers(header: str, payload: bytes, world: World) -> None:
    from base64 import urlsafe_b64encode

    stop_before(world, "2.2")
    before = fingerprint(world)
    text = header.replace("KID", world.key("GW1").public.kid).encode(errors="surrogatepass")
    encoded = urlsafe_b64encode(text).rstrip(b"=")
    for body in (urlsafe_b64encode(payload).rstrip(b"="), payload):
        reply = world.recipient.receive(encoded + b"." + body + b"." + b"A" * 86)
        assert isinstance(parse_message(read_payload(reply or b"")), ErrorMessage)
    assert fingerprint(world) == before


@pytest.mark.parametrize("payload", [b'{"a":"\xc3\xa9"}', b'{"a":1}'])
def test_an_unencoded_payload_is_refused_even_if_rightly_signed(payload: bytes, world: World) -> None:
    """RFC 7797 is another serialisation than the one every message here has."""
    from joserfc import jws

    stop_before(world, "2.2")
    key = world.key("GW1")
    header = {"alg": "ES256", "b64": False, "crit": ["b64"], "kid": key.public.kid}
    compact = jws.serialize_compact(header, payload.decode(), key.key, algorithms=["ES256"])
    detached = compact.split(".", 1)
    for data in (compact.encode(), b".".join([detached[0].encode(), payload, compact.rsplit(".", 1)[1].encode()])):
        before = fingerprint(world)
        reply = world.recipient.receive(data)
        assert isinstance(parse_message(read_payload(reply or b"")), ErrorMessage)
        assert fingerprint(world) == before
