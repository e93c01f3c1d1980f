from math import inf, nan

import numpy as np
import pytest

from multilevel_opt.study.spread import spread


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_quantiles_of_finite_values_are_those_of_numpy(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    found = spread(values)
    expected = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    assert (found.low, found.q25, found.median, found.q75, found.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_failures_count_as_the_worst_value() -> None:
    found = spread([3.0, inf, 1.0, nan, 2.0])
    assert (found.low, found.q25, found.median, found.q75, found.high, found.n) == (1, 2, 3, inf, inf, 5)


def test_an_interpolation_that_touches_a_failure_is_one() -> None:
    assert spread([1.0, inf]).median == inf
    assert spread([inf, inf]).median == inf


def test_nothing_has_no_quantiles() -> None:
    assert spread([]).median is None
