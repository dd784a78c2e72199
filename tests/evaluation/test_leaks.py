"""A planted future purchase must not help: whatever a model may learn or know is the same with it and without."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.small_worlds import dataset_of

from considerate.errors import ConfigError
from considerate.evaluation.evaluate import suggest
from considerate.evaluation.folds import Fold, Targets
from considerate.evaluation.item_sets import ItemSets
from considerate.evaluation.protocols import make_folds
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Histories, Kind
from considerate.recommenders.fitting import fit_model
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig
from considerate.settings.protocols import (
    ColdItemsProtocol,
    ConsentedProtocol,
    FixedProtocol,
    HeldOutCustomersProtocol,
    LeaveLastOutProtocol,
    ProtocolConfig,
    TemporalProtocol,
)

Row = tuple[str, str, float, Kind, float]
PLANTED = "i00"


def rows() -> list[Row]:
    """24 customers with twelve ratings each in 60 days; i20 to i22 are first sold on day 39, i23 and i24 on day 56."""
    rng = np.random.default_rng(8)
    found: list[Row] = [
        (f"{c:02}", f"i{item:02}", float(day), Kind.RATING, float(rng.integers(3, 6)))
        for c in range(24)
        for item, day in zip(rng.permutation(20)[:12], np.sort(rng.uniform(0, 60, 12)), strict=True)
    ]
    late = [(f"{c:02}", f"i{20 + c % 3}", day, Kind.RATING, 5.0) for c in range(9) for day in (39.0, 50.0, 59.0)]
    late += [(f"{c:02}", f"i{23 + c % 2}", 56.0, Kind.RATING, 5.0) for c in range(8)]
    return sorted([*found, *late, ("00", "i01", 60.0, Kind.RATING, 5.0)], key=lambda row: (row[0], row[2]))


def after(day: float) -> Callable[[list[Row]], list[Row]]:
    """Everybody takes the planted item, and more of it, behind the cut."""
    return lambda told: [*told, *((f"{c:02}", PLANTED, day, Kind.RATING, 5.0) for c in range(24) for _ in range(3))]


def last_ones(n: int) -> Callable[[list[Row]], list[Row]]:
    """Each customer's last n events become the planted item."""

    def plant(told: list[Row]) -> list[Row]:
        return [
            row if sum(other[0] == row[0] for other in told[place + 1 :]) >= n else (row[0], PLANTED, *row[2:])
            for place, row in enumerate(told)
        ]

    return plant


def ends_of(which: slice) -> Callable[[list[Row]], list[Row]]:
    """Each choice that held-out customers are asked for becomes the planted item."""
    drawn = {f"{c:02}" for c in np.random.default_rng(0).permutation(np.arange(24))[which].tolist()}

    def plant(told: list[Row]) -> list[Row]:
        new = []
        for row in told:
            mine = [other for other in told if other[0] == row[0] and other[4] >= 4]
            asked_for = row in mine and mine.index(row) >= np.ceil(0.8 * len(mine))
            new.append((row[0], PLANTED, *row[2:]) if row[0] in drawn and asked_for else row)
        return new

    return plant


HELD_OUT = HeldOutCustomersProtocol(kind="held_out_customers", min_rating=4, min_events=2, held_out=4)
CASES: dict[str, tuple[ProtocolConfig, bool, int, Callable[[list[Row]], list[Row]]]] = {
    "temporal, test": (TemporalProtocol(test_days=10), True, 0, after(55)),
    "temporal, development": (TemporalProtocol(test_days=10), False, 0, after(45)),
    "temporal, development, planted in the test part": (TemporalProtocol(test_days=10), False, 0, after(55)),
    "rolling, first cut": (TemporalProtocol(test_days=10, cuts=2), True, 0, after(45)),
    "rolling, second cut": (TemporalProtocol(test_days=10, cuts=2), True, 1, after(55)),
    "rolling, development, planted in the test part": (TemporalProtocol(test_days=10, cuts=2), False, 1, after(45)),
    "new products, test": (ColdItemsProtocol(kind="cold_items", test_days=10), True, 0, after(55)),
    "new products, development": (ColdItemsProtocol(kind="cold_items", test_days=20), False, 0, after(45)),
    "consented, test": (ConsentedProtocol(kind="consented", test_days=10), True, 0, after(55)),
    "consented, development": (ConsentedProtocol(kind="consented", test_days=10), False, 0, after(55)),
    "last out, test": (LeaveLastOutProtocol(kind="leave_last_out"), True, 0, last_ones(1)),
    "last out, development": (LeaveLastOutProtocol(kind="leave_last_out"), False, 0, last_ones(2)),
    "held out, test": (HELD_OUT, True, 0, ends_of(slice(4))),
    "held out, development": (HELD_OUT, False, 0, ends_of(slice(4, 8))),
    "held out, development, planted in the test part": (HELD_OUT, False, 0, ends_of(slice(4))),
}


def fold_of(told: list[Row], protocol: ProtocolConfig, final: bool, place: int) -> Fold:
    dataset = dataset_of(told, items=[f"i{i:02}" for i in range(25)])
    dataset = replace(dataset, catalogue=Catalogue.of_ids(dataset.items.ids))
    return make_folds(dataset, protocol, final=final, rng=np.random.default_rng(0))[place]


def columns(events: Histories) -> list[list[Any]]:
    return [column.tolist() for column in (events.indptr, events.item, events.kind, events.time, events.position)]


def lists(fold: Fold) -> Any:
    """What item_knn suggests to everybody who may be asked, in names."""
    model, consent = ModelConfig(algorithm="item_knn"), ConsentConfig(source="assumed", k_item=1, k_pair=1)
    artefact = fit_model(model, Path("models/item_knn.toml"), fold.train, consent, np.random.default_rng(0))
    nothing = ItemSets(np.zeros(len(fold.asked) + 1, np.int64), np.empty(0, np.int32))
    found = suggest(artefact, fold, Targets("repeat", np.arange(len(fold.asked)), nothing, nothing))
    return [[fold.train.items.ids[i] for i in row if i >= 0] for row in found]


@pytest.mark.parametrize("case", CASES)
def test_a_planted_future_purchase_changes_nothing_that_a_model_may_learn_or_know(case: str) -> None:
    protocol, final, place, plant = CASES[case]
    told = rows()
    planted = plant(told)
    assert planted != told
    before, later = (fold_of(which, protocol, final, place) for which in (told, planted))
    assert before.train.digest == later.train.digest
    assert before.train.customers.ids == later.train.customers.ids
    assert columns(before.asked) == columns(later.asked)
    assert before.customer.tolist() == later.customer.tolist()
    assert before.at == later.at
    assert (None if before.allowed is None else before.allowed.tolist()) == (
        None if later.allowed is None else later.allowed.tolist()
    )
    assert lists(before) == lists(later)


def test_the_public_test_file_of_a_fixed_protocol_teaches_nothing() -> None:
    train = dataset_of([(row[0], row[1], float("nan")) for row in rows()])
    tests = [dataset_of([(f"{c:02}", what, float("nan")) for c in range(24)]) for what in (PLANTED, "i01")]
    protocol = FixedProtocol(kind="fixed", test="t")
    folds = [
        make_folds(train, protocol, final=True, public_test=test, rng=np.random.default_rng(0))[0] for test in tests
    ]
    assert folds[0].train.digest == folds[1].train.digest == train.digest
    assert lists(folds[0]) == lists(folds[1])


def test_the_plant_is_seen_where_it_may_be() -> None:
    """The same plant before the cut changes what is learnt: the test above can fail."""
    protocol = TemporalProtocol(test_days=10)
    before, later = (fold_of(told, protocol, True, 0) for told in (rows(), after(45)(rows())))
    assert before.train.digest != later.train.digest
    assert lists(before) != lists(later)


def test_a_public_test_part_must_be_read_before_it_is_judged() -> None:
    with pytest.raises(ConfigError, match="the test part is the file named by test; read it first"):
        make_folds(
            dataset_of([("ann", "apple", 0.0)]),
            FixedProtocol(kind="fixed", test="t"),
            final=True,
            rng=np.random.default_rng(0),
        )
