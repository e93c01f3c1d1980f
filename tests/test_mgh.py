"""The problems of Moré, Garbow & Hillstrom against published facts and scipy, and our solvers on them."""

from math import inf

import numpy as np
import pytest
import scipy.optimize
import torch

import multilevel_opt as mlo
from problems import MGH
from problems.more_garbow_hillstrom import NAMES, TABLE

# Σ r² at the standard start where it follows by hand from the definition in the paper
AT_START = {
    "rosenbrock": 24.2,
    "freudenstein-roth": 400.5,
    "beale": 14.203125,
    "helical-valley": 2500.0,
    "powell-singular": 215.0,
    "wood": 19192.0,
    "watson": 30.0,
    "extended-rosenbrock": 121.0,
    "extended-powell-singular": 645.0,
    "broyden-tridiagonal": 21.0,
    "broyden-banded": 360.0,
    "linear-full-rank": 50.0,
}
# minimizers of the paper
MINIMIZERS = {
    "powell-badly-scaled": (1.098159e-5, 9.106147),
    "brown-badly-scaled": (1e6, 2e-6),
    "beale": (3.0, 0.5),
    "helical-valley": (1.0, 0.0, 0.0),
    "gulf": (50.0, 25.0, 1.5),
    "box": (1.0, 10.0, 1.0),
    "biggs": (1.0, 10.0, 1.0, 5.0, 4.0, 3.0),
    "wood": (1.0,) * 4,
    "variably-dimensioned": (1.0,) * 10,
    "brown-almost-linear": (1.0,) * 10,
}


@pytest.mark.parametrize("name", AT_START)
def test_value_at_the_standard_start(name: str) -> None:
    problem = MGH(name=name)
    assert float(problem.sum_of_squares(problem.x0)) == pytest.approx(AT_START[name], rel=1e-12)


@pytest.mark.parametrize("name", MINIMIZERS)
def test_value_at_the_published_minimizer(name: str) -> None:
    x = torch.tensor(MINIMIZERS[name], dtype=torch.float64)
    assert float(MGH(name=name).sum_of_squares(x)) <= 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_scipy_finds_a_known_minimum(name: str) -> None:
    problem = MGH(name=name)

    def residual(x: np.ndarray) -> np.ndarray:
        return problem.objective.residuals(torch.from_numpy(x.copy())).numpy()

    def jacobian(x: np.ndarray) -> np.ndarray:
        return problem.objective.jacobian(torch.from_numpy(x.copy()))[1].numpy()

    found = scipy.optimize.least_squares(
        residual, problem.x0.numpy(), jacobian, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=2000
    )
    gaps = [abs(2 * found.cost - minimum) / max(minimum, 1e-9) for minimum in problem.minima]
    assert min(gaps) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_both_views_agree_and_have_right_derivatives(name: str) -> None:
    problem = MGH(name=name, perturbation=0.1, seed=3)
    x = problem.x0
    r, jacobian = problem.objective.jacobian(x)
    plain = problem.sum_of_squares.expand(x, 2)
    torch.testing.assert_close(plain.value, r @ r, rtol=1e-12, atol=0.0)
    scale = float(jacobian.abs().max() * r.norm())
    torch.testing.assert_close(plain.gradient, 2 * jacobian.T @ r, rtol=1e-9, atol=1e-12 * scale)
    rows = torch.stack([plain.hvp(torch.zeros_like(x), e) for e in torch.eye(len(x), dtype=x.dtype)])
    torch.testing.assert_close(plain.hessian(), rows, rtol=1e-9, atol=1e-10 * float(rows.abs().max()))


def test_sizes_starts_and_numbers() -> None:
    assert len(TABLE) == len(set(NAMES)) == 35
    assert MGH(name="20").name == "watson"
    assert MGH(name="4").number == 4
    assert MGH(name="extended-rosenbrock", n=20).x0.numel() == 20
    assert bool((MGH(name="wood", start=10.0).x0 == 10 * MGH(name="wood").x0).all())
    assert MGH(name="watson", start=100.0).x0.tolist() == [100.0] * 6  # a start at zero
    assert not bool((MGH(perturbation=0.01, seed=1).x0 == MGH(perturbation=0.01, seed=2).x0).any())
    assert MGH(dtype="float32").x0.dtype == torch.float32
    for definition in TABLE:
        assert definition.allows(definition.n)
        for n in (definition.n, 2 * definition.n):
            if definition.allows(n):
                assert MGH(name=definition.name, n=n).x0.numel() == n


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"name": "nobody"}, "choose a name or a number"),
        ({"name": "36"}, "choose a name or a number"),
        ({"name": "wood", "n": 5}, "n=5 does not fit wood: give 4"),
        ({"name": "extended-powell-singular", "n": 10}, "a multiple of 4"),
        ({"start": float("inf")}, "finite"),
        ({"dtype": "int64"}, "choose one of"),
    ],
)
def test_bad_parameters_are_refused_in_one_sentence(parameters: dict[str, object], words: str) -> None:
    with pytest.raises(mlo.InputError, match=words):
        MGH(**parameters)  # type: ignore[arg-type]


EASY = ("rosenbrock", "beale", "bard", "kowalik-osborne", "brown-dennis", "brown-almost-linear", "linear-rank-1")


def solved(problem: MGH, result: mlo.Result, factor: float = 1.0) -> bool:
    gradient = problem.sum_of_squares.expand(result.x, 1).gradient
    value = float(problem.sum_of_squares(result.x))
    return float(gradient.abs().max()) <= 1e-6 or value <= problem.minima[0] * (1 + 1e-5) + 1e-14


@pytest.mark.parametrize("name", EASY)
@pytest.mark.parametrize("solver", ["ar2", "ar3", "tr2", "tr2-gltr", "ar3-prerejection"])
def test_default_solvers_on_some(name: str, solver: str) -> None:
    problem = MGH(name=name, perturbation=0.01, seed=11)
    stop = mlo.GradientNorm(1e-6, inf) | mlo.MaxIterations(1000)
    assert solved(problem, mlo.minimize(problem.sum_of_squares, problem.x0, mlo.METHODS[solver].solver, stop=stop))


@pytest.mark.parametrize("name", [*EASY, "powell-badly-scaled", "brown-badly-scaled", "wood"])
@pytest.mark.parametrize("solver", ["lm", "lm-short"])
def test_damped_least_squares_on_some(name: str, solver: str) -> None:
    problem = MGH(name=name)
    stop = mlo.GradientNorm(5e-7, inf) | mlo.MaxIterations(1000)
    assert solved(problem, mlo.minimize(problem.objective, problem.x0, mlo.METHODS[solver].solver, stop=stop))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("solver", ["ar2", "tr2", "lm", "lm-short"])
def test_second_order_solvers_solve_all(name: str, solver: str) -> None:
    problem = MGH(name=name)
    f = problem.objective if solver in ("lm", "lm-short") else problem.sum_of_squares
    assert solved(problem, mlo.minimize(f, problem.x0, mlo.METHODS[solver].solver))


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("solver", ["ar2", "ar3", "tr2"])
def test_a_multiple_of_the_function_is_solved_by_the_same_iterates(solver: str, scale: float) -> None:
    """σ₀, Δ₀, acceptance and updates are free of the scale of f."""
    problem = MGH(name="beale")
    stop = mlo.MaxIterations(4)
    plain = mlo.minimize(problem.sum_of_squares, problem.x0, mlo.METHODS[solver].solver, stop=stop)
    scaled = mlo.minimize(
        lambda x: scale * problem.definition.residual(x).square().sum(),
        problem.x0,
        mlo.METHODS[solver].solver,
        stop=stop,
    )
    torch.testing.assert_close(scaled.x, plain.x, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("solver", ["ar2", "ar3", "tr2", "tr2-gltr"])
def test_a_run_to_an_unreachable_tolerance_ends_as_stalled_after_few_trials(solver: str) -> None:
    problem = MGH(name="freudenstein-roth")  # the minimum reached, 48.98, hides what is left of the decrease
    stop = mlo.GradientNorm(1e-30) | mlo.MaxIterations(200)
    result = mlo.minimize(problem.sum_of_squares, problem.x0, mlo.METHODS[solver].solver, stop=stop)
    assert result.status is mlo.Status.STALLED
    assert float(result.grad.norm()) <= 1e-5
    assert result.nfev <= 60


def test_the_largest_entry_of_the_gradient_can_stop_a_run() -> None:
    problem = MGH(name="broyden-tridiagonal")
    loose = mlo.minimize(problem.sum_of_squares, problem.x0, mlo.AR2, stop=mlo.GradientNorm(1e-3, inf))
    assert float(loose.grad.abs().max()) <= 1e-3
    assert loose.status is mlo.Status.GRADIENT
