import numpy as np
import pytest

from multilevel_opt.errors import ShapeError
from multilevel_opt.study.profiles import data_profiles, performance_profiles

INF = float("inf")
COSTS = [[1.0, 2.0, 4.0], [3.0, 1.5, INF], [INF, INF, INF], [2.0, INF, 2.0]]


def test_performance_profiles_by_hand() -> None:
    first, second, third = performance_profiles(COSTS)
    assert (first.steps.tolist(), first.shares.tolist()) == ([1.0, 2.0], [0.5, 0.75])
    assert (second.steps.tolist(), second.shares.tolist()) == ([1.0, 2.0], [0.25, 0.5])
    assert (third.steps.tolist(), third.shares.tolist()) == ([1.0, 4.0], [0.25, 0.5])


def test_profiles_are_continuous_from_the_right() -> None:
    profile = performance_profiles(COSTS)[0]
    assert [profile.at(x) for x in (0.9, 1.0, 1.999, 2.0, 1e9)] == [0.0, 0.5, 0.5, 0.75, 0.75]
    assert profile.solved == 0.75


def test_data_profiles_by_hand() -> None:
    first, second, third = data_profiles(COSTS, [1.0, 3.0, 1.0, 4.0])
    assert (first.steps.tolist(), first.shares.tolist()) == ([0.5, 1.0], [0.25, 0.75])
    assert (second.steps.tolist(), second.shares.tolist()) == ([0.5, 2.0], [0.25, 0.5])
    assert (third.steps.tolist(), third.shares.tolist()) == ([0.5, 4.0], [0.25, 0.5])


def test_profiles_are_the_definition() -> None:
    random = np.random.default_rng(0)
    costs = random.lognormal(size=(40, 3))
    costs[random.random((40, 3)) < 0.3] = INF
    best = costs.min(axis=1)
    for method, profile in enumerate(performance_profiles(costs)):
        for tau in (1.0, 1.5, 3.0, 50.0):
            within = [np.isfinite(t) and t <= tau * b for t, b in zip(costs[:, method], best, strict=True)]
            assert profile.at(tau) == pytest.approx(np.mean(within))


def test_nan_is_a_failure() -> None:
    assert performance_profiles([[1.0, float("nan")]])[1].solved == 0


def test_a_cost_of_nothing_is_the_best_and_no_ratio_to_it_exists() -> None:
    first, second = performance_profiles([[0.0, 1.0], [0.0, 0.0]])
    assert first.at(1) == 1
    assert second.at(1e9) == 0.5


def test_no_instance_and_one_method() -> None:
    (empty,) = performance_profiles(np.empty((0, 1)))
    assert (empty.at(1), empty.solved, empty.n) == (0.0, 0.0, 0)
    (alone,) = performance_profiles([[5.0], [INF]])
    assert alone.at(1) == 0.5


@pytest.mark.parametrize("costs", [[1.0, 2.0], [[-1.0]]])
def test_bad_costs_are_refused(costs: object) -> None:
    with pytest.raises(ShapeError, match="costs has"):
        performance_profiles(costs)  # type: ignore[arg-type]


@pytest.mark.parametrize("units", [[1.0], [1.0, 0.0]])
def test_bad_units_are_refused(units: list[float]) -> None:
    with pytest.raises(ShapeError, match="units has shape"):
        data_profiles([[1.0], [2.0]], units)
