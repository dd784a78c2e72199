"""Returns cancel what they belong to."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from written import histories_of, history_of

from considerate.ranking.history import History, Kind
from considerate.ranking.returns import cancel_returns, cancel_returns_of

BUY, BACK = Kind.PURCHASE, Kind.RETURN


def left(history: History) -> list[tuple[int, float]]:
    return [(int(item), float(value)) for item, value in zip(history.item, history.value, strict=True)]


def test_a_return_cancels_the_latest_purchase_of_the_item() -> None:
    history = history_of([(1, 9, BUY, 1), (2, 8, BUY, 1), (1, 7, BUY, 1), (1, 6, BACK, 1)])
    assert left(cancel_returns_of(history)) == [(1, 1.0), (2, 1.0)]


def test_a_partial_return_leaves_the_rest() -> None:
    assert left(cancel_returns_of(history_of([(1, 9, BUY, 10), (1, 6, BACK, 3)]))) == [(1, 7.0)]


def test_a_large_return_reaches_back_over_several_purchases() -> None:
    history = history_of([(1, 9, BUY, 4), (1, 8, BUY, 2), (1, 7, BUY, 2), (1, 6, BACK, 5)])
    assert left(cancel_returns_of(history)) == [(1, 3.0)]


def test_a_return_without_quantity_cancels_one_purchase_whole() -> None:
    history = history_of([(1, 9, BUY, 4), (1, 8, BUY, 6), (1, 7, BACK)])
    assert left(cancel_returns_of(history)) == [(1, 4.0)]


def test_a_return_of_nothing_on_record_just_goes() -> None:
    assert left(cancel_returns_of(history_of([(1, 9, BACK, 1), (1, 8, BUY, 1)]))) == [(1, 1.0)]


def test_a_return_leaves_views_and_other_items_alone() -> None:
    history = history_of([(1, 9, BUY, 1), (1, 8, Kind.VIEW), (2, 8, BUY, 1), (1, 7, BACK, 1)])
    assert cancel_returns_of(history).kind.tolist() == [Kind.VIEW, BUY]


def test_order_lines_stay_with_their_events() -> None:
    plain = history_of([(1, 9, BUY, 1), (2, 8, BUY, 1), (1, 7, BACK, 1)])
    lines = History(
        **{name: getattr(plain, name) for name in ("item", "kind", "value", "time", "position", "channel")},
        order_line=("a", "b", "c"),
    )
    assert cancel_returns_of(lines).order_line == ("b",)


def test_one_customers_return_does_not_cancel_anothers_purchase() -> None:
    both = histories_of([history_of([(1, 9, BUY, 1)]), history_of([(1, 7, BACK, 1)])])
    assert np.diff(cancel_returns(both).indptr).tolist() == [1, 0]


def test_without_returns_nothing_is_copied() -> None:
    histories = histories_of([history_of([(1, 9)])])
    assert cancel_returns(histories) is histories


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 50), st.sampled_from([BUY, BACK]), st.integers(1, 5))))
def test_what_is_left_is_never_more_than_was_bought_less_what_came_back(
    events: list[tuple[int, float, Kind, float]],
) -> None:
    history = history_of(events)
    netted = cancel_returns_of(history)
    assert not (netted.kind == BACK).any()
    for item in range(3):
        bought = history.value[(history.item == item) & (history.kind == BUY)].sum()
        returned = history.value[(history.item == item) & (history.kind == BACK)].sum()
        assert max(bought - returned, 0) <= netted.value[netted.item == item].sum() <= bought
