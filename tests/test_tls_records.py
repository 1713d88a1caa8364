"""What a TLS connection between two gateways carries, what damages it, and what is gone when it is closed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from protocol.errors import Misuse, NotYet
from protocol.tls import LONGEST_MESSAGE, Connection, ConnectionLost
from tests.test_tls import Place


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture(params=[False, True], ids=["full", "resumed"])
def connection(request: pytest.FixtureRequest, place: Place) -> Iterator[Connection]:
    place.open()
    connection = place.open(resume=request.param)
    assert connection.is_resumed is request.param
    yield connection
    connection.close()


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 5_000_000])
def test_messages_of_every_size_go_both_ways(size: int, connection: Connection) -> None:
    data = os.urandom(size)
    assert connection.carry("GW1", data) == data
    assert connection.carry("GW2", data) == data


def test_a_message_that_is_too_long_is_not_sent(connection: Connection) -> None:
    with pytest.raises(Misuse, match="has at most 16000000 bytes"):
        connection.carry("GW1", bytes(LONGEST_MESSAGE + 1))
    assert connection.carry("GW1", b"short") == b"short"


def test_nothing_is_on_the_wire_in_clear(connection: Connection) -> None:
    connection.write("GW1", b"a secret that is long enough")
    assert b"secret" not in connection.in_flight["GW2"]


def test_what_is_written_arrives_in_order(connection: Connection) -> None:
    connection.write("GW1", b"1")
    connection.write("GW1", b"2")
    with pytest.raises(Misuse, match="in flight to GW2 already"):
        connection.carry("GW1", b"3")
    assert connection.carry("GW2", b"the other way") == b"the other way"
    assert [connection.read("GW2"), connection.read("GW2")] == [b"1", b"2"]
    with pytest.raises(NotYet, match="nothing is in flight to GW2"):
        connection.read("GW2")


def test_what_was_in_flight_is_gone_when_the_connection_is_closed(place: Place) -> None:
    """Losing a whole log is safe only because of this: nothing of before arrives after."""
    connection = place.open()
    connection.write("GW1", b"from before the crash")
    connection.close()
    assert repr(connection) == "TLSv1.3 between GW1 and GW2, full handshake, closed"
    assert not connection.in_flight["GW2"]
    for use in (
        lambda: connection.read("GW2"),
        lambda: connection.write("GW2", b"x"),
        lambda: connection.carry("GW1", b"x"),
    ):
        with pytest.raises(ConnectionLost, match="between GW1 and GW2 is closed"):
            use()
    with pytest.raises(NotYet):
        place.open().read("GW2")


def test_bytes_of_an_old_connection_mean_nothing_on_a_new_one(place: Place) -> None:
    old = place.open()
    old.write("GW1", b"from before the crash")
    kept = bytes(old.in_flight["GW2"])
    new = place.open()
    assert new.is_resumed
    new.in_flight["GW2"] += kept
    with pytest.raises(ConnectionLost):
        new.read("GW2")
    assert not new.is_open


def test_a_flipped_byte_ends_the_connection_wherever_it_is(place: Place) -> None:
    """Header, length, content, seal: every byte of a record is looked at."""
    connection = place.open()
    connection.write("GW1", b"burn")
    for number in range(len(connection.in_flight["GW2"])):
        connection = place.open()
        connection.write("GW1", b"burn")
        connection.in_flight["GW2"][number] ^= 0x01
        with pytest.raises(ConnectionLost):
            connection.read("GW2")
        with pytest.raises(ConnectionLost, match="is closed"):
            connection.carry("GW2", b"x")
    assert place.open().is_resumed, "the link was at fault, not the session"


def test_lost_and_repeated_records_end_the_connection(place: Place) -> None:
    for damage in (lambda records: records[:-1], lambda records: records * 2):
        connection = place.open()
        connection.write("GW1", b"burn")
        connection.in_flight["GW2"] = damage(connection.in_flight["GW2"])
        with pytest.raises(ConnectionLost):
            connection.read("GW2")
        assert not connection.is_open


def test_a_length_that_nobody_should_announce_ends_the_connection(place: Place) -> None:
    connection = place.open()
    end = connection._find("GW1")
    end.tls.write(b"\xff\xff\xff\xff")
    connection.in_flight["GW2"] += end.outgoing.read()
    with pytest.raises(ConnectionLost, match="announces a message of 4294967295 bytes"):
        connection.read("GW2")


def test_a_connection_is_of_two_gateways(connection: Connection) -> None:
    with pytest.raises(Misuse, match="between GW1 and GW2, not of GW3"):
        connection.carry("GW3", b"x")
