import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from multilevel_opt.study.rates import Estimate, asymptotic, lack_of_fit, order_of_convergence, power_law

Array = NDArray[np.float64]


def sequence(order: float, first: float, factor: float, n: int) -> Array:
    """e, C e^p, C (C e^p)^p, ... of n errors."""
    errors = [first]
    while len(errors) < n:
        errors.append(factor * errors[-1] ** order)
    return np.asarray(errors)


SEQUENCES = {
    "linear": sequence(1, 1.0, 0.3, 9),
    "superlinear": sequence(1.618, 0.5, 1.0, 8),
    "quadratic": sequence(2, 0.5, 1.0, 6),
    "cubic": sequence(3, 0.7, 1.0, 5),
}
ORDERS = {"linear": 1, "superlinear": 1.618, "quadratic": 2, "cubic": 3}


def found(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


@pytest.mark.parametrize("kind", SEQUENCES)
def test_the_order_of_a_clean_sequence_is_exact(kind: str) -> None:
    estimate = found(order_of_convergence([SEQUENCES[kind]]))
    assert estimate.value == pytest.approx(ORDERS[kind], rel=1e-10)
    assert estimate.high - estimate.low < 1e-6


@pytest.mark.parametrize("kind", SEQUENCES)
def test_the_interval_of_the_order_covers_it_under_noise(kind: str) -> None:
    random = np.random.default_rng(1)
    noise = np.exp(0.1 * random.standard_normal((400, len(SEQUENCES[kind]))))
    covered = [found(order_of_convergence([SEQUENCES[kind] * factors])).covers(ORDERS[kind]) for factors in noise]
    assert np.mean(covered) > 0.93  # the noise of neighbours cancels, so that the interval errs on the safe side


def test_noise_does_not_bias_the_order_as_it_does_least_squares() -> None:
    random = np.random.default_rng(2)
    errors = SEQUENCES["linear"] * np.exp(0.8 * random.standard_normal((400, 9)))
    ours = np.median([found(order_of_convergence([e])).value for e in errors])
    plain = np.median([stats.linregress(np.log(e[:-1]), np.log(e[1:])).slope for e in errors])
    assert ours == pytest.approx(1, abs=0.03)
    assert plain < 0.95


def test_orders_are_told_apart() -> None:
    assert not found(order_of_convergence([SEQUENCES["linear"]])).covers(2)
    assert not found(order_of_convergence([SEQUENCES["quadratic"]])).covers(1)


def test_several_sequences_have_one_order_and_a_constant_each() -> None:
    estimate = found(order_of_convergence([sequence(2, 0.5, 1.0, 5), sequence(2, 0.1, 3.0, 5), np.asarray([1.0, 0.1])]))
    assert estimate.value == pytest.approx(2, rel=1e-10)
    assert estimate.n == 8


@pytest.mark.parametrize("sequences", [[], [[1.0, 0.1, 0.01]], [[], [1.0]]])
def test_short_sequences_have_no_order(sequences: list[list[float]]) -> None:
    assert order_of_convergence(sequences) is None


def test_only_the_end_of_a_sequence_counts() -> None:
    errors = [3.0, 5.0, 1.0, 0.1, 0.01, 1e-9, 2e-9, float("nan"), 1e-20]
    assert asymptotic(errors).tolist() == [5.0, 1.0, 0.1, 0.01, 1e-9]
    assert asymptotic(errors, floor=1e-8).tolist() == [5.0, 1.0, 0.1, 0.01]
    assert asymptotic(errors, last=2).tolist() == [0.1, 0.01, 1e-9]
    assert asymptotic([float("nan"), 1.0]).size == 0
    assert asymptotic([1.0, 0.0, 1e-3]).tolist() == [1.0]


def test_a_power_law_without_noise_is_exact() -> None:
    sizes = np.asarray([10.0, 20, 40, 80])
    estimate = found(power_law(sizes, 7 * sizes**1.5))
    assert estimate.value == pytest.approx(1.5, rel=1e-12)
    assert estimate.remark == ""


def test_the_interval_of_an_exponent_is_that_of_scipy() -> None:
    random = np.random.default_rng(3)
    sizes = np.repeat([8.0, 16, 32, 64], 5)
    costs = sizes**2 * np.exp(0.3 * random.standard_normal(20))
    estimate = found(power_law(sizes, costs, level=0.9))
    fit = stats.linregress(np.log(sizes), np.log(costs))
    low, high = stats.t.interval(0.9, 18, fit.slope, fit.stderr)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((fit.slope, low, high), rel=1e-12)


@pytest.mark.parametrize("exponent", [-2.0, 1.3])
def test_the_interval_of_an_exponent_covers_it_in_19_of_20_cases(exponent: float) -> None:
    random = np.random.default_rng(4)
    sizes = np.repeat([32.0, 64, 128, 256], 4)
    noise = np.exp(0.5 * random.standard_normal((500, 16)))
    covered = [found(power_law(sizes, sizes**exponent * factors)).covers(exponent) for factors in noise]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)  # three standard errors of the simulation


def test_a_law_that_bends_is_told_and_one_that_does_not_rarely() -> None:
    random = np.random.default_rng(5)
    sizes = np.repeat([32.0, 64, 128, 256], 5)
    noise = np.exp(0.05 * random.standard_normal((300, 20)))
    straight = [bool(found(power_law(sizes, sizes * factors)).remark) for factors in noise]
    bent = [bool(found(power_law(sizes, (sizes + 1e-3 * sizes**3) * factors)).remark) for factors in noise]
    assert np.mean(straight) == pytest.approx(0.05, abs=0.04)
    assert np.mean(bent) == 1


def test_the_lack_of_fit_is_the_textbook_f_test() -> None:
    x, y = np.asarray([1.0, 1, 2, 2, 3, 3]), np.asarray([1.0, 1.2, 2.5, 2.3, 2.9, 3.1])
    fit = stats.linregress(x, y)
    residual = float(((y - fit.intercept - fit.slope * x) ** 2).sum())
    pure = 0.02 + 0.02 + 0.02
    statistic = (residual - pure) / 1 / (pure / 3)
    assert lack_of_fit(x, y) == pytest.approx(stats.f.sf(statistic, 1, 3), rel=1e-9)
    assert lack_of_fit(x[::2], y[::2]) == 1


def test_two_sizes_and_missing_values_have_no_exponent() -> None:
    assert power_law([1.0, 2, 2], [1.0, 2, 3]) is None
    assert power_law([1.0, 2, 4], [1.0, float("nan"), float("inf")]) is None
    assert power_law([], []) is None
