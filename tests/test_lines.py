"""A log as a file of lines: torn, damaged, doubled, and brought into every store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import Misuse
from protocol.lines import export_lines, import_lines, read_lines, write_lines
from protocol.log import BrokenChain, MemoryLog
from protocol.network import World
from protocol.objects import canonical
from protocol.stores import SQLiteLog
from tests.places import Place
from tests.test_log import OTHER, SESSION, make_chain


def test_a_log_goes_into_lines_and_comes_back(world: World, place: Place, tmp_path: Path) -> None:
    world.start()
    world.run()
    world.start("00000000-0000-4000-8000-00000000000a")
    world.run(until="2.2", of=world.sessions[1])
    world.start("00000000-0000-4000-8000-00000000000b")
    world.run(until="2.2", of=world.sessions[2])
    world.abort("sender", "enough is shown", world.sessions[2])
    log = SQLiteLog(world.directory / "GW1.sqlite")
    path = tmp_path / "GW1.jsonl"
    count = export_lines(log, path)
    assert count == sum(log.getLogLength(session) for session in world.sessions)
    found = read_lines(path)
    assert repr(found) == f"{count} entries of 3 sessions"
    for other in (place.open(), MemoryLog()):
        import_lines(other, path)
        assert [other.getLog(session) for session in world.sessions] == [log.getLog(each) for each in world.sessions]
        assert other.getOpenSessions() == log.getOpenSessions() == world.sessions[1:2], "one is complete, one was ended"
        assert import_lines(other, path).length == count, "once more changes nothing"
        assert other.getLogLength(world.sessions[0]) == 17
    log.close()


@given(cut=st.integers(0, 3000), flip=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_torn_anywhere_lose_the_last_one_at_most(cut: int, flip: bool, tmp_path: Path) -> None:
    chain = make_chain(4)
    path = tmp_path / "log.jsonl"
    write_lines(chain, path)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    place = last + cut % (len(whole) - last)
    path.write_bytes(whole[:place] + (b"\0" * (len(whole) - place) if flip else b""))
    found = read_lines(path)
    assert found.sessions[SESSION] == chain[:3]
    assert (found.torn is None) == (place == last and not flip)
    assert not found.torn or found.torn.startswith("line 4: ")


def test_a_last_line_with_an_end_and_no_sense_is_torn_too(tmp_path: Path) -> None:
    """Blocks of a file reach the disk in any order: the end may be there and the middle not."""
    path = tmp_path / "log.jsonl"
    chain = make_chain(3)
    write_lines(chain, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-300] + b"\0" * 299 + b"\n")
    found = read_lines(path)
    assert found.sessions[SESSION] == chain[:2]
    assert "dropped line 3: the payload is not JSON" in repr(found)


def test_any_other_line_that_cannot_be_read_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    chain = make_chain(3)
    lines = [entry.canonical_bytes + b"\n" for entry in chain]
    path.write_bytes(lines[0] + b"{\n" + lines[2])
    with pytest.raises(BrokenChain, match="line 2 cannot be read"):
        read_lines(path)
    path.write_bytes(lines[0] + lines[1].replace(b'"2.1"', b'"2.3"') + lines[2])
    with pytest.raises(BrokenChain, match=r"entry 3 .* does not follow"):
        read_lines(path)
    path.write_bytes(lines[0] + lines[1].replace(b'"step"', b'"stop"') + lines[2])
    with pytest.raises(BrokenChain, match=r"line 2 cannot be read: log entry: (step|stop)"):
        read_lines(path)
    path.write_bytes(lines[0] + canonical(chain[1].as_json() | {"resourceUrl": None}) + b"\n" + lines[2])
    with pytest.raises(BrokenChain, match="line 2 cannot be read: not the canonical form"):
        read_lines(path)
    path.write_bytes(lines[1])
    with pytest.raises(BrokenChain, match=r"entry 1 of session .* is missing"):
        read_lines(path)


def test_a_line_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    chain = make_chain(3)
    write_lines([chain[0], chain[1], chain[1], chain[2], chain[2]], path)
    assert read_lines(path).sessions[SESSION] == chain


def test_lines_are_imported_for_all_sessions_or_for_none(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_lines([*make_chain(2, OTHER), *make_chain(2, step="3.4")], path)
    log = MemoryLog()
    log.writeLogEntry(make_chain(1)[0])
    with pytest.raises(Exception, match="the logs part at entry 1"):
        import_lines(log, path)
    assert log.getSessions() == [SESSION]
    with pytest.raises(Misuse):
        log.getLogEntry(SESSION, 2)
