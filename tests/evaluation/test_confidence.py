"""Bootstrap intervals on figures whose spread is known."""

import numpy as np
import pytest

from considerate.evaluation.confidence import interval, paired


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
