"""Forged and replayed takeovers: who makes the counterparty believe in the wrong successor, and how it is refused.

Here each node's certificate names only the next one, GW1, GW1-B, GW1-C, GW1-D, as RECOVERY 6.1 has it: "The backup
gateway, on its turn, defines gateways to replace it". All signatures are real, and so is whoever makes them: the key
of the one who lies. What is refused is answered with a signed reason, and changes neither log nor ledger nor ring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from protocol.certificates import Certificate, OwnerCA, RootCA
from protocol.messages.recovery import MOST_TAKEOVERS, RECOVERY_NAMESPACE
from protocol.messages.satp import NAMESPACE
from protocol.network import START
from protocol.objects import Json
from protocol.signing import KeyPair, read_payload
from protocol.steps import find_row
from tests.at_rest import find_unsettled
from tests.conftest import check_transferred
from tests.line_of_backups import BAD_SIGNATURE, DAY, Bench, accepted, make_resume, stop_at

# ---------------------------------------------------------------------- Transfer-Resume


def of_another_organization(bench: Bench) -> bytes:
    """The owner of GW1 certifies gateways of customers too, and GW1-B's key is in the hands of one of them (R38)."""
    registry = bench.world.registry
    shared = replace(registry._owners["GW1"], customers=("Somebody LTD",))
    registry._owners["GW1"] = shared
    bench.world._remake(bench.world._side("recipient"))
    certificate = shared.certify("GW1-B", bench.world.key("GW1-B").public, organization="Somebody LTD")
    return bench.offer(certificate=certificate.base64)


def of_no_root(bench: Bench) -> bytes:
    """An owner of the same name and with the same key, under a root of its own making."""
    own = RootCA("Root of the owners", KeyPair.lab("somebody", "line"))
    owner = OwnerCA("GatewayOps LTD", KeyPair.lab("somebody", "line"), own)
    return bench.offer(certificate=owner.certify("GW1-B", bench.world.key("GW1-B").public).base64)


def revoked(bench: Bench) -> bytes:
    bench.world.registry.revoke(Certificate.from_base64(bench.certify("GW1-B")), [bench.ring])
    return bench.data


def of_a_revoked_primary(bench: Bench) -> bytes:
    """The list of backups stands in a certificate that its owner took back."""
    bench.world.registry.revoke(bench.ring.current("GW1"), [bench.ring])
    return bench.data


def for_another_gateway(bench: Bench) -> bytes:
    """GW3 is a peer too, of the same owner; GW1-B is a backup of GW1 alone."""
    registry = bench.world.registry
    registry._owners["GW3"] = registry._owners["GW1"]
    bench.world.registry.publish("GW3", bench.world.key("GW3").public)
    bench.world._remake(bench.world._side("recipient"))
    return bench.offer(gatewayId="GW3")


def of_another_peer(bench: Bench) -> bytes:
    """GW1's list names the key of GW3, a peer of its own; it speaks under that name."""
    for_another_gateway(bench)
    return bench.offer("GW3", certificate=bench.certify("GW3"))


FORGED: dict[str, tuple[Callable[[Bench], bytes], str]] = {
    "not on the list": (
        lambda bench: bench.offer("GW1-C", certificate=bench.certify("GW1-C")),
        "the key of GW1-C is not among the authorised backups of GW1",
    ),
    "of another owner": (
        lambda bench: bench.offer(certificate=bench.certify("GW1-B", owner_of="GW2")),
        "the certificate of GW1-B has another parent than that of GW1",
    ),
    "of another organization under the same parent": (of_another_organization, "belongs to another organization"),
    "of no root that is trusted": (of_no_root, "no certification path leads from GW1-B to a trusted root"),
    "expired": (
        lambda bench: bench.offer(certificate=bench.certify("GW1-B", valid_until=START - DAY)),
        "the certificate of GW1-B is expired at",
    ),
    "not valid yet": (
        lambda bench: bench.offer(certificate=bench.certify("GW1-B", valid_from=START + DAY)),
        "the certificate of GW1-B is not valid before",
    ),
    "revoked": (revoked, "certificate 1 of GW1-B was revoked"),
    "the primary's certificate was revoked": (of_a_revoked_primary, "certificate 1 of GW1 was revoked"),
    "for another gateway": (for_another_gateway, "the key of GW1-B is not among the authorised backups of GW3"),
    "for whoever receives it": (
        lambda bench: bench.offer(gatewayId="GW2"),
        "no certificate of GW2 is known here",
    ),
    "for nobody": (lambda bench: bench.offer(gatewayId="GW9"), "no certificate of GW9 is known here"),
    "under the name of another peer": (of_another_peer, "between other gateways"),
    "the primary is its own backup": (
        lambda bench: bench.offer("GW1", certificate=bench.ring.current("GW1").base64),
        "GW1 does not replace itself",
    ),
    "the primary, with a new certificate": (
        lambda bench: bench.offer("GW1", certificate=bench.certify("GW1", serial=2)),
        "GW1 does not replace itself",
    ),
    "under the primary's name": (
        lambda bench: bench.offer(certificate=bench.certify("GW1", key="GW1-B", serial=2)),
        "GW1 does not replace itself",
    ),
    "with the primary's key": (
        lambda bench: bench.offer("GW1", certificate=bench.certify("GW1-B", key="GW1")),
        "certificate 1 of GW1-B is for a key of GW1",
    ),
    "another key than the one that signed": (
        lambda bench: bench.offer(newIdentityPublicKey=bench.world.key("GW1").public.jwk),
        "newIdentityPublicKey is not the key that signed",
    ),
    "the backup's certificate, and a stranger signs": (
        lambda bench: bench.offer("GW1-C"),
        "",
    ),
    "the backup's certificate, and the primary signs": (
        lambda bench: bench.offer("GW1"),
        "the certificate is not of the gateway and the key that signed",
    ),
    "of no epoch": (lambda bench: bench.offer(epoch=0), "no certificate of GW1-B is known here"),
    "without its certificate": (lambda bench: bench.offer(certificate=None), ""),
    "a certificate that is none": (lambda bench: bench.offer(certificate="AAAA"), "not a certificate"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_takeover_is_refused(case: str) -> None:
    bench = Bench()
    make, words = FORGED[case]
    code, detail = bench.refused(make(bench))
    assert code == ("err_0.1.2" if case == "under the name of another peer" else BAD_SIGNATURE)
    assert words in detail


def test_for_another_receiver() -> None:
    bench = Bench()
    code, detail = bench.refused(bench.offer(peerId="GW3"))
    assert code == "err_0.1.2"
    assert "between other gateways" in detail
    bench.finish()


# ---------------------------------------------------------------------- the line of takeovers


def of_somebody(bench: Bench, name: str) -> str:
    """A certificate that names GW1-D, by somebody who says to be the owner."""
    owner = OwnerCA("GatewayOps LTD", KeyPair.lab("somebody", "line"), bench.world.registry.root)
    return owner.certify(name, bench.world.key(name).public, backups=[bench.world.key("GW1-D").public]).base64


LINES: dict[str, tuple[Callable[[Bench], list[Json]], str]] = {
    "nothing before": (lambda bench: [], "the key of GW1-D is not among the authorised backups of GW1"),
    "a gap at its end": (
        lambda bench: [bench.takeover("GW1-B", 2)],
        "the key of GW1-D is not among the authorised backups of GW1-B",
    ),
    "a gap at its beginning": (
        lambda bench: [bench.takeover("GW1-C", 3)],
        "the key of GW1-C is not among the authorised backups of GW1",
    ),
    "another order": (
        lambda bench: [bench.takeover("GW1-C", 3), bench.takeover("GW1-B", 2)],
        "the key of GW1-C is not among the authorised backups of GW1",
    ),
    "epochs in another order": (
        lambda bench: [bench.takeover("GW1-B", 3), bench.takeover("GW1-C", 2)],
        "the key of GW1-D is not among the authorised backups of GW1-B",
    ),
    "epochs that end later": (
        lambda bench: [bench.takeover("GW1-B", 2), bench.takeover("GW1-C", 9)],
        "",
    ),
    "a forged link": (
        lambda bench: [{"certificate": of_somebody(bench, "GW1-B"), "epoch": 2}],
        "no certification path leads from GW1-B to a trusted root",
    ),
    "a link of another owner": (
        lambda bench: [bench.takeover("GW1-B", 2, owner_of="GW2"), bench.takeover("GW1-C", 3)],
        "the certificate of GW1-B has another parent than that of GW1",
    ),
    "a link that is not valid yet": (
        lambda bench: [bench.takeover("GW1-B", 2), bench.takeover("GW1-C", 3, valid_from=START + DAY)],
        "the certificate of GW1-C is not valid before",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_a_line_of_takeovers_that_is_none(case: str) -> None:
    """GW1-D speaks, under epoch 4."""
    bench = Bench()
    make, words = LINES[case]
    code, detail = bench.refused(
        bench.offer("GW1-D", certificate=bench.certify("GW1-D"), epoch=4, takeovers=make(bench))
    )
    assert code == BAD_SIGNATURE
    assert words in detail
    bench.finish()


def test_a_line_of_takeovers_that_is_too_long() -> None:
    bench = Bench()
    line = [bench.takeover("GW1-B", number + 2) for number in range(MOST_TAKEOVERS + 1)]
    data = bench.offer("GW1-D", certificate=bench.certify("GW1-D"), epoch=100, takeovers=line)
    code, detail = bench.refused(data)
    assert (code, "takeovers" in detail) == (BAD_SIGNATURE, True)
    bench.finish()


def test_a_whole_line_of_takeovers_is_believed() -> None:
    """The same message with nothing wrong in it."""
    bench = Bench()
    line = [bench.takeover("GW1-B", 2), bench.takeover("GW1-C", 3)]
    bench.world.recipient.receive(bench.offer("GW1-D", certificate=bench.certify("GW1-D"), epoch=4, takeovers=line))
    assert (bench.ring.current("GW1").gateway_id, bench.ring.epoch_of("GW1")) == ("GW1-D", 4)


# ---------------------------------------------------------------------- old words of those who were replaced


def make_next(bench: Bench) -> Json:
    """3.1, which comes next."""
    return bench.session.compute_payload(find_row("3.1"), bench.world.now)


def make_abort(bench: Bench) -> Json:
    words = {"reason": "a reason", "receipts": [], "timestamp": bench.world.now}
    return make_next(bench) | {"messageType": NAMESPACE + "session-abort-msg"} | words


def make_recover(bench: Bench) -> Json:
    session = bench.session
    position = read_payload(bench.data)["sessions"][0]
    fields = {"sessionId": session.id, "contextId": session.context, "satpPhase": 2, "sequenceNumber": 7}
    words = {"isBackup": False, "lastEntryTimestamp": bench.world.now, "position": position}
    return {"messageType": RECOVERY_NAMESPACE + "recover-msg"} | fields | words


def make_backup_recover(bench: Bench) -> Json:
    key = bench.world.key("GW1-B").public.jwk
    certificate = {"certificate": bench.certify("GW1-B"), "newIdentityPublicKey": key, "epoch": 2}
    return make_recover(bench) | certificate | {"isBackup": True}


NEW_WORDS = {"transfer-resume": make_resume, "recover": make_recover, "next message": make_next, "abort": make_abort}


@pytest.mark.parametrize("name", NEW_WORDS)
def test_who_was_replaced_says_something_new(name: str) -> None:
    bench = accepted()
    code, detail = bench.refused(bench.sign(NEW_WORDS[name](bench), "GW1"))
    assert code == BAD_SIGNATURE
    assert "GW1 was replaced: GW1-B acts for GW1 since epoch 2" in detail
    bench.finish()


def test_who_was_replaced_says_something_again() -> None:
    """It is in the chain and was answered: the answer comes again, and nothing happens."""
    bench = accepted()
    before = bench.see()
    old = bench.world.find_said("GW1", "2.2")
    assert bench.world.recipient.receive(old) == bench.world.find_said("GW2", "2.4")
    assert bench.see() == before
    bench.finish()


def test_an_older_takeover_replayed_after_a_later_one() -> None:
    """The very bytes of GW1-B, which were good once."""
    bench = accepted()
    bench.world.pass_on("GW1-C")
    assert bench.ring.current("GW1").gateway_id == "GW1-C"
    code, detail = bench.refused(bench.data)
    assert code == BAD_SIGNATURE
    assert "GW1-B was replaced: GW1-C acts for GW1 since epoch 3" in detail


def test_an_older_takeover_signed_anew_under_a_later_epoch() -> None:
    """GW1-B is on no list of GW1-C: what it says of epochs moves nobody."""
    bench = accepted()
    bench.world.pass_on("GW1-C")
    code, detail = bench.refused(bench.offer("GW1-B", epoch=9))
    assert code == BAD_SIGNATURE
    assert "the key of GW1-B is not among the authorised backups of GW1-C" in detail


# ---------------------------------------------------------------------- in a session


@pytest.mark.parametrize("name", ["next message", "abort"])
def test_a_message_of_the_backup_before_its_succession(name: str) -> None:
    """Who acts is believed, and this session does not know it yet (R40)."""
    bench = accepted()
    code, detail = bench.refused(bench.sign(NEW_WORDS[name](bench), "GW1-B"))
    assert code == BAD_SIGNATURE
    assert "no succession in this session names this key of GW1" in detail
    bench.finish()


def test_a_succession_of_one_session_does_not_count_in_another() -> None:
    """RECOVER was said in the first of two; the backup goes on in both."""
    bench = Bench(transfers=2)
    world = bench.world
    bench.hand(bench.data, "GW1-B")
    found = stop_at(world, "recover")
    said = read_payload(found)
    other = next(name for name in world.sessions if name != said["sessionId"])
    context = world.recipient.session(other).context
    code, detail = bench.refused(bench.sign(said | {"sessionId": other, "contextId": context}, "GW1-B"))
    assert (code, "mismatch position.sessionId" in detail) == ("err_0.1.1", True)
    world.recipient.receive(found)
    assert world.recipient.session(said["sessionId"]).kid_of("GW1") == world.key("GW1-B").public.kid
    payload = world.recipient.session(other).compute_payload(find_row("3.1"), world.now)
    code, detail = bench.refused(bench.sign(payload, "GW1-B"))
    assert (code, "no succession in this session names this key" in detail) == (BAD_SIGNATURE, True)


def test_recover_of_a_backup_that_nobody_has_told_of() -> None:
    bench = Bench()
    code, detail = bench.refused(bench.sign(make_backup_recover(bench), "GW1-B"))
    assert (code, "no certificate of GW1-B is known here" in detail) == (BAD_SIGNATURE, True)
    bench.finish()


@pytest.mark.parametrize("link", [None, "0" * 64])
def test_recover_with_a_succession_that_answers_nothing(link: str | None) -> None:
    """It would be answered, and not written: so it is not answered."""
    bench = accepted()
    before = bench.see()
    said = make_backup_recover(bench) | {"hashPrevMessage": link}
    assert bench.world.recipient.receive(bench.sign(said, "GW1-B")) is None
    assert bench.see() == before
    bench.finish()


FOREIGN: dict[str, tuple[Callable[[Bench], Json], str]] = {
    "of its own backup": (
        lambda bench: {"certificate": bench.certify("GW1-C"), "epoch": 3},
        "",
    ),
    "of the primary": (
        lambda bench: {"certificate": bench.world.registry._published["GW1", 1].base64, "epoch": 3},
        "",
    ),
    "of the counterparty": (
        lambda bench: {"certificate": bench.world.registry._published["GW2", 1].base64, "epoch": 3},
        "",
    ),
    "of another owner": (
        lambda bench: {"certificate": bench.certify("GW1-B", owner_of="GW2"), "epoch": 3},
        "",
    ),
    "another key": (
        lambda bench: {"newIdentityPublicKey": bench.world.key("GW1").public.jwk},
        "newIdentityPublicKey is not the key that signed",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("name", ["recover", "recover-update", "transfer-continue"])
def test_a_foreign_certificate_in_another_message(name: str, case: str) -> None:
    """Signed by GW1-B, which acts for GW1."""
    bench = Bench("2.2")
    if name == "recover":
        bench.hand(bench.data, "GW1-B")
    else:
        bench.hand(bench.data, "GW1-B")
        bench.world.run(until="2.4")
        bench.world.link.clear()
        bench.world.crash("recipient")
        if name == "recover-update":
            bench.world.forget("recipient")
        bench.world.restart("recipient")
    found = stop_at(bench.world, name)
    make, words = FOREIGN[case]
    if name == "transfer-continue" and case == "another key":
        return  # it has no such field
    code, detail = bench.refused(bench.sign(read_payload(found) | make(bench), "GW1-B"))
    assert code == BAD_SIGNATURE
    assert words in detail
    bench.hand(found, "GW1-B")
    bench.world.run()
    check_transferred(bench.world)
    assert not find_unsettled(bench.world)


@pytest.mark.parametrize("known", [None, "x" * 43])
def test_a_position_with_a_wrong_peer_key_only_leads_to_another_recover(known: str | None) -> None:
    bench = Bench("2.2")
    world = bench.world
    bench.hand(bench.data, "GW1-B")
    world.run(until="2.4")
    world.link.clear()
    world.crash("GW1-B")
    world.restart("GW1-B")
    found = stop_at(world, "transfer-continue")
    answer = read_payload(found)
    assert answer["sessions"][0]["peerKey"] == world.key("GW1-B").public.kid
    answer["sessions"][0] = {key: value for key, value in answer["sessions"][0].items() if key != "peerKey"}
    answer["sessions"][0] |= {"peerKey": known} if known else {}
    world._send(world._side("recipient"), world._side("GW1-B"), bench.sign(answer, "GW2"))
    world.deliver_next()
    assert [message.name for message in world.link] == ["recover"]
    world.run()
    check_transferred(world)
    assert not find_unsettled(world)
