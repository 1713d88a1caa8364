"""What a benchmark claims to measure, it does."""

from pathlib import Path

import pytest

from protocol.explorations import explore
from protocol.messages.recovery import RECOVERY_NAMESPACE, CrashErrorCode
from protocol.signing import read_payload
from protocol.steps import Role
from tools import bench_explorer, bench_recovery, bench_transfers
from tools.bench import Pair


def test_half_of_the_payments_of_the_growing_store_stay_open() -> None:
    pair = Pair()
    for _ in range(3):
        pair.half_open()
    for side in ("C", "D"):
        store = pair.world[side].store
        assert len(store.list_open()) == len(store.list_closed()) == 3 and not store.list_pending()


def test_the_transfers_that_are_measured_are_complete() -> None:
    assert bench_transfers.measure_transfers("sqlite", 2, 2) > 0


@pytest.mark.parametrize(("loss", "said"), [("process", {}), ("storage-tail", {"recover"}), ("storage", {"recover"})])
def test_a_measured_recovery_brings_every_session_to_its_next_step(
    loss: CrashErrorCode, said: set[str], tmp_path: Path
) -> None:
    pair = bench_recovery.make_pair(tmp_path, 6)
    stood = {each.id: set(each.done) for each in pair.sender._journal.find_open()}
    assert sorted(map(len, stood.values())) == [3, 3, 6, 6, 8, 8]
    bench_recovery.crash(pair, loss, 6)
    run = bench_recovery.recover(pair, loss)
    types = [read_payload(message)["messageType"] for message in run.messages]
    recovery = [name for name in types if name.startswith(RECOVERY_NAMESPACE)]
    assert bool(said) == any("recover" in name for name in recovery)
    assert len(types) - len(recovery) == 6
    assert all(stood[each.id] <= each.done for each in pair.sender._journal.find_open() if each.role is Role.SENDER)
    assert run.exchanges == {"process": 0, "storage-tail": 2, "storage": 6}[loss]
    assert set(run.seconds) >= set(bench_recovery.PARTS[2:])
    pair.close()


def test_the_limit_of_a_recovery_is_what_that_recovery_did(tmp_path: Path) -> None:
    pair = bench_recovery.make_pair(tmp_path, 3)
    bench_recovery.crash(pair, "process", 3)
    work = bench_recovery.Work.record(pair, "process")
    assert (len(work.signed), len(work.verified), len(work.written), work.flushes) == (2, 2, 1, 1)
    assert len(work.read) == 3
    assert work.measure() > 0
    pair.close()


def test_the_pages_of_a_small_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_recovery.main(["--sessions", "1", "3", "--lost", "3", "--repeat", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("->") for line in lines) == 4
    assert "cores" in lines[0]


def test_the_page_of_a_small_exploration(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_explorer.main(["--small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("->") for line in lines) == 3
    assert "cores" in lines[0] and "times the signatures" in "".join(lines)


def test_the_limit_of_an_exploration_is_its_own_signatures() -> None:
    found = explore(crashes=0)
    assert bench_explorer.compute_limit(found, 2.0, 0.5) == found.messages * 2.0 + found.steps * 0.5
