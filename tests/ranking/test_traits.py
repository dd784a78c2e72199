"""Traits: what customers said or let us know, from one customer to a block and back."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from considerate.ranking.history import Histories
from considerate.ranking.traits import Traits, parted, trait_names
from considerate.ranking.weighting import as_histories

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
ROWS = st.lists(st.lists(NAMES, max_size=4), max_size=6)


@given(ROWS)
def test_each_customer_keeps_her_own_names(rows: list[list[str]]) -> None:
    traits = Traits.of(rows)
    assert [traits.at(c) for c in range(len(traits))] == [tuple(sorted(set(row))) for row in rows]
    assert list(traits.names) == sorted({name for row in rows for name in row})


@given(ROWS, st.data())
def test_taking_customers_leaves_no_name_of_the_others(rows: list[list[str]], data: st.DataObject) -> None:
    place = st.integers(0, max(len(rows) - 1, 0))
    picked = data.draw(st.lists(place, max_size=5)) if rows else []
    taken = Traits.of(rows).take(np.array(picked, np.int64))
    alone = Traits.of([rows[c] for c in picked])
    assert taken.names == alone.names
    assert taken.indptr.tolist() == alone.indptr.tolist()
    assert taken.code.tolist() == alone.code.tolist()


def test_a_name_that_is_no_column_is_left_out() -> None:
    traits = Traits.of([["gender=F", "region=94"], [], ["region=10"]])
    columns = {"region=10": 0, "gender=F": 1}
    assert traits.matrix(columns).toarray().tolist() == [[0, 1], [0, 0], [1, 0]]
    assert Traits.none(2).matrix(columns).toarray().tolist() == [[0, 0], [0, 0]]


def test_what_is_known_survives_the_way_to_a_block_and_back() -> None:
    traits = Traits.of([["age_band=25-34", "likes=A > B", "refuses=C=D"]])
    history = replace(Histories.empty(1), traits=traits)[0]
    assert history.attributes == {"age_band": "25-34"}
    assert history.liked_categories == ("A > B",)
    assert history.refused_categories == ("C=D",)
    back = as_histories(history).traits
    assert back is not None
    assert back.at(0) == traits.at(0)


def test_names_and_parts_are_each_others_inverse() -> None:
    parts: tuple[dict[str, str], tuple[str, ...], tuple[str, ...]] = ({"gender": "F"}, ("A",), ("B", "C"))
    assert parted(trait_names(*parts)) == parts
