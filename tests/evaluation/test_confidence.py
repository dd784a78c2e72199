"""Bootstrap intervals on figures whose spread is known."""

import numpy as np
import pytest

from considerate.evaluation.confidence import interval, intervals, paired, resampled_means


def test_the_interval_of_a_constant_is_a_point() -> None:
    found = interval(np.full(50, 0.25), np.random.default_rng(0))
    assert (found.mean, found.low, found.high) == (0.25, 0.25, 0.25)


def test_the_interval_is_about_two_standard_errors_wide() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(3.0, 2.0, 2_000)
    found = interval(values, rng)
    error = values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(2).random(100)
    assert interval(values, np.random.default_rng(7)) == interval(values, np.random.default_rng(7))


def test_the_interval_does_not_depend_on_the_order_of_customers() -> None:
    values = np.random.default_rng(5).random(200)
    shuffled = np.random.default_rng(6).permutation(values)
    one, other = (interval(order, np.random.default_rng(7)) for order in (values, shuffled))
    np.testing.assert_allclose([other.low, other.high], [one.low, one.high], atol=1e-12)


def test_nobody_has_no_interval() -> None:
    assert np.isnan(interval(np.empty(0), np.random.default_rng(0)).mean)


def test_pairing_sees_a_small_difference_between_customers_who_differ_much() -> None:
    rng = np.random.default_rng(3)
    b = rng.normal(0.0, 10.0, 500)
    a = b + rng.normal(0.2, 0.5, 500)
    found = paired(a, b, rng)
    assert found.mean == pytest.approx((a - b).mean())
    assert found.low > 0
    assert found.p_value < 0.01


def test_equal_models_do_not_differ() -> None:
    values = np.random.default_rng(4).random(80)
    found = paired(values, values, np.random.default_rng(0))
    assert (found.mean, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_other_customers_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="must be the same ones"):
        paired(np.ones(3), np.ones(4), np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one"):
        paired(np.ones(0), np.ones(0), np.random.default_rng(0))


def test_a_person_with_several_rows_is_drawn_with_all_of_them_or_not_at_all() -> None:
    rng = np.random.default_rng(8)
    per_person = rng.normal(0.0, 1.0, 300)
    values, clusters = np.repeat(per_person, 4), np.repeat(np.arange(300), 4)
    told, wide = interval(per_person, np.random.default_rng(1)), interval(values, np.random.default_rng(1))
    right = interval(values, np.random.default_rng(1), clusters=clusters)
    # Four copies of each person tell no more than one does.
    assert (right.mean, right.low, right.high) == pytest.approx((told.mean, told.low, told.high))
    assert right.high - right.low > 1.8 * (wide.high - wide.low)


def test_people_with_more_rows_weigh_more_and_the_mean_is_over_rows() -> None:
    values, clusters = np.array([1.0, 1.0, 1.0, 0.0]), np.array([7, 7, 7, 9])
    assert interval(values, np.random.default_rng(0), clusters=clusters).mean == 0.75
    means = resampled_means(values, np.random.default_rng(0), 200, clusters=clusters)
    assert set(means.round(6)) == {0.0, 0.75, 1.0}


def test_a_person_each_gives_the_interval_without_clusters() -> None:
    values = np.random.default_rng(9).random((60, 2))
    people = np.random.default_rng(9).permutation(60)
    told, again = (intervals(values, np.random.default_rng(2), clusters=one) for one in (None, people))
    for one, other in zip(told, again, strict=True):
        assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))


def test_every_figure_needs_a_person_behind_it() -> None:
    with pytest.raises(ValueError, match="2 clusters for 3 figures; name the person behind every figure"):
        interval(np.ones(3), np.random.default_rng(0), clusters=np.arange(2))


def test_a_difference_over_several_cuts_is_as_sure_as_its_people_are_many() -> None:
    rng = np.random.default_rng(3)
    own = np.repeat(rng.normal(0.1, 1.0, 100), 4)
    b = rng.normal(0.0, 1.0, 400)
    clusters = np.repeat(np.arange(100), 4)
    alone, together = (paired(b + own, b, np.random.default_rng(0), clusters=one) for one in (None, clusters))
    assert alone.mean == together.mean
    assert together.p_value > alone.p_value
