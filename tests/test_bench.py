"""What a benchmark claims to measure, it does."""

from tools.bench import Pair


def test_half_of_the_payments_of_the_growing_store_stay_open() -> None:
    pair = Pair()
    for _ in range(3):
        pair.half_open()
    for side in ("C", "D"):
        store = pair.world[side].store
        assert len(store.list_open()) == len(store.list_closed()) == 3 and not store.list_pending()
