"""The test functions have the values, minima and derivatives that the literature gives them."""

from collections.abc import Callable
from importlib.metadata import entry_points
from math import cos, exp, sin

import numpy as np
import pytest
import scipy.optimize
import torch

import problems.separable as gallery
from multilevel_opt import (
    TR2,
    Function,
    GradientNorm,
    InputError,
    LeastSquares,
    MaxIterations,
    PartiallySeparable,
    registry,
)
from multilevel_opt import minimize as minimize_ours

CLASSES = {
    point.name: point.load()
    for point in sorted(entry_points(group=registry.GROUP), key=lambda point: point.name)
    if point.value.startswith("problems.separable:")
}
CASES = [(name, {}) for name in CLASSES if name != "dixmaan"] + [("dixmaan", {"letter": x}) for x in "abcdefghijklmnop"]
IDS = [name + options.get("letter", "") for name, options in CASES]
N = 24
X = np.linspace(-1.3, 1.1, N) + 0.1 * np.cos(np.arange(N))


def test_every_function_is_registered() -> None:
    written = {getattr(gallery, name) for name in gallery.__all__} - {gallery.SeparableProblem}
    assert set(CLASSES.values()) == written
    assert len(written) >= 35


def valley(a: float, b: float) -> float:
    return 100 * (b - a**2) ** 2 + (1 - a) ** 2


def wood(a: float, b: float, c: float, d: float) -> float:
    return valley(a, b) + 90 * (d - c**2) ** 2 + (1 - c) ** 2 + 10 * (b + d - 2) ** 2 + 0.1 * (b - d) ** 2


def powell(a: float, b: float, c: float, d: float) -> float:
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


Values = np.ndarray
# One line each, with the indices of the papers moved to start from 0.
WRITTEN: dict[str, Callable[[Values], float]] = {
    "rosenbrock": lambda x: sum(valley(x[i], x[i + 1]) for i in range(N - 1)),
    "extended-rosenbrock": lambda x: sum(valley(x[i], x[i + 1]) for i in range(0, N, 2)),
    "fletchcr": lambda x: sum(valley(x[i], x[i + 1]) for i in range(N - 1)),
    "genrose": lambda x: 1 + sum(100 * (x[i] - x[i - 1] ** 2) ** 2 + (x[i] - 1) ** 2 for i in range(1, N)),
    "extrosnb": lambda x: (x[0] - 1) ** 2 + sum(100 * (x[i] - x[i - 1] ** 2) ** 2 for i in range(1, N)),
    "nondia": lambda x: (x[0] - 1) ** 2 + sum(100 * (x[0] - x[i - 1] ** 2) ** 2 for i in range(1, N)),
    "liarwhd": lambda x: sum(4 * (v**2 - x[0]) ** 2 + (v - 1) ** 2 for v in x),
    "tquartic": lambda x: (x[0] - 1) ** 2 + sum((x[0] ** 2 - x[i] ** 2) ** 2 for i in range(1, N)),
    "chained-wood": lambda x: 1 + sum(wood(*x[i : i + 4]) for i in range(0, N - 2, 2)),
    "woods": lambda x: sum(wood(*x[i : i + 4]) for i in range(0, N, 4)),
    "chained-powell": lambda x: sum(powell(*x[i : i + 4]) for i in range(0, N - 2, 2)),
    "extended-powell": lambda x: sum(powell(*x[i : i + 4]) for i in range(0, N, 4)),
    "dqdrtic": lambda x: sum(x[i] ** 2 + 100 * x[i + 1] ** 2 + 100 * x[i + 2] ** 2 for i in range(N - 2)),
    "tridia": lambda x: (x[0] - 1) ** 2 + sum((i + 1) * (2 * x[i] - x[i - 1]) ** 2 for i in range(1, N)),
    "arwhead": lambda x: sum((x[i] ** 2 + x[-1] ** 2) ** 2 - 4 * x[i] + 3 for i in range(N - 1)),
    "engval1": lambda x: sum((x[i] ** 2 + x[i + 1] ** 2) ** 2 - 4 * x[i] + 3 for i in range(N - 1)),
    "edensch": lambda x: (
        16 + sum((x[i] - 2) ** 4 + (x[i] * x[i + 1] - 2 * x[i + 1]) ** 2 + (x[i + 1] + 1) ** 2 for i in range(N - 1))
    ),
    "bdqrtic": lambda x: sum(
        (3 - 4 * x[i]) ** 2
        + (x[i] ** 2 + 2 * x[i + 1] ** 2 + 3 * x[i + 2] ** 2 + 4 * x[i + 3] ** 2 + 5 * x[-1] ** 2) ** 2
        for i in range(N - 4)
    ),
    "nondquar": lambda x: (
        (x[0] - x[1]) ** 2 + (x[-2] - x[-1]) ** 2 + sum((x[i] + x[i + 1] + x[-1]) ** 4 for i in range(N - 2))
    ),
    "quartc": lambda x: sum((x[i] - (i + 1)) ** 4 for i in range(N)),
    "cosine": lambda x: sum(cos(x[i] ** 2 - 0.5 * x[i + 1]) for i in range(N - 1)),
    "eg2": lambda x: sum(sin(x[0] + x[i] ** 2 - 1) for i in range(N - 1)) + 0.5 * sin(x[-1] ** 2),
    "genhumps": lambda x: sum(
        sin(20 * x[i]) ** 2 * sin(20 * x[i + 1]) ** 2 + 0.05 * (x[i] ** 2 + x[i + 1] ** 2) for i in range(N - 1)
    ),
    "tointgss": lambda x: sum(
        (10 / (N - 2) + x[i + 2] ** 2) * (2 - exp(-((x[i] - x[i + 1]) ** 2) / (0.1 + x[i + 2] ** 2)))
        for i in range(N - 2)
    ),
    "curly": lambda x: sum(q * (q * (q**2 - 20) - 0.1) for q in (x[i : i + 11].sum() for i in range(N))),
    "power": lambda x: sum((i + 1) * x[i] ** 2 for i in range(N)) ** 2,
    "penalty1": lambda x: 1e-5 * sum((v - 1) ** 2 for v in x) + (sum(v**2 for v in x) - 0.25) ** 2,
    "sinquad": lambda x: (
        (x[0] - 1) ** 4
        + sum((sin(x[i] - x[-1]) - x[0] ** 2 + x[i] ** 2) ** 2 for i in range(1, N - 1))
        + (x[-1] ** 2 - x[0] ** 2) ** 2
    ),
    "sparsine": lambda x: sum(
        0.5 * i * sum(sin(x[(k * i - 1) % N]) for k in (1, 2, 3, 5, 7, 11)) ** 2 for i in range(1, N + 1)
    ),
    "broyden-tridiagonal": lambda x: sum(
        ((3 - 2 * x[i]) * x[i] - (x[i - 1] if i else 0) - 2 * (x[i + 1] if i + 1 < N else 0) + 1) ** 2 for i in range(N)
    ),
    "broyden-banded": lambda x: sum(
        (x[i] * (2 + 5 * x[i] ** 2) + 1 - sum(x[j] * (1 + x[j]) for j in range(max(0, i - 5), min(N, i + 2)) if j != i))
        ** 2
        for i in range(N)
    ),
    "ncb20b": lambda x: (
        sum(100 * v**4 + 2 for v in x)
        + sum(10 / (i + 1) * (w / (1 + w**2)).sum() ** 2 - 0.2 * w.sum() for i in range(5) for w in [x[i : i + 20]])
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_values_are_those_of_the_formula(name: str) -> None:
    problem = CLASSES[name](n=N)
    assert float(problem.objective(torch.tensor(X))) == pytest.approx(WRITTEN[name](X), rel=1e-12)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_derivatives_are_those_of_the_plain_sum(name: str, options: dict[str, str]) -> None:
    problem = CLASSES[name](n=N, **options)
    x, u, v = (problem.x0 + 0.01 * torch.randn(N, dtype=torch.float64) for _ in range(3))
    plain = Function(PartiallySeparable(problem.elements(), N).plain).expand(x, 3)
    ours = problem.objective.exact.expand(x, 3)
    for vectors in ((), (u,), (u, v)):
        expected = plain.forms[len(vectors)](*vectors)
        error = (ours.forms[len(vectors)](*vectors) - expected).norm()
        assert float(error) <= 1e-11 * max(float(expected.norm()), 1e-300)
    if isinstance(problem.objective, LeastSquares):
        gradient = problem.objective.expand(x, 2).gradient
        torch.testing.assert_close(gradient, plain.gradient, rtol=1e-10, atol=1e-10 * float(plain.gradient.norm()))


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_the_gradient_vanishes_at_the_minimizer(name: str, options: dict[str, str]) -> None:
    problem = CLASSES[name](n=N, **options)
    x = problem.minimizer()
    if x is None:
        assert problem.reported or problem.minimum() == 0  # then a solver has to find it, below
        return
    model = problem.objective.exact.expand(x, 1)
    assert float(model.value) == pytest.approx(problem.minimum(), abs=1e-12)
    assert float(model.gradient.norm()) < 1e-12


REPORTED = [(name, n) for name, problem in CLASSES.items() for n in problem.reported if n <= 100]


@pytest.mark.parametrize(("name", "n"), REPORTED)
def test_the_minimum_of_the_literature_is_reached(name: str, n: int) -> None:
    problem = CLASSES[name](n=n)
    found = minimize_ours(problem.objective, problem.x0, TR2, stop=GradientNorm(1e-6) | MaxIterations(500))
    assert found.fun == pytest.approx(problem.reported[n], rel=1e-4, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n"), [(name, n) for name, problem in CLASSES.items() for n in problem.reported if n > 100]
)
def test_the_minimum_of_the_literature_is_reached_by_large_ones(name: str, n: int) -> None:
    problem = CLASSES[name](n=n)
    found = minimize_ours(problem.objective, problem.x0, TR2, stop=GradientNorm(1e-4) | MaxIterations(2000))
    assert found.fun == pytest.approx(problem.reported[n], rel=1e-4, abs=1e-6)


CONVEX_ENOUGH = ["arwhead", "bdqrtic", "cragglvy", "dixmaan", "engval1", "freuroth", "schmvett", "tridia", "woods"]


@pytest.mark.parametrize("name", CONVEX_ENOUGH)
def test_scipy_finds_the_same_minimum(name: str) -> None:
    problem = CLASSES[name](n=N)
    f = PartiallySeparable(problem.elements(), N)

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        model = f.expand(torch.tensor(x), 1)
        return float(model.value), model.gradient.numpy()

    theirs = scipy.optimize.minimize(
        value_and_gradient,
        problem.x0.numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": 1e-9, "ftol": 0.0, "maxiter": 5000},
    )
    ours = minimize_ours(problem.objective, problem.x0, TR2, stop=GradientNorm(1e-8) | MaxIterations(500))
    assert ours.success
    assert ours.fun == pytest.approx(theirs.fun, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", CLASSES)
def test_starts_are_those_of_the_seed(name: str) -> None:
    make = CLASSES[name]
    assert torch.equal(make(n=N).x0, make(n=N, seed=1).x0)
    noisy = make(n=N, start_noise=0.1, seed=1)
    assert torch.equal(noisy.x0, make(n=N, start_noise=0.1, seed=1).x0)
    assert not torch.equal(noisy.x0, make(n=N, start_noise=0.1, seed=2).x0)
    assert noisy.x0.shape == (N,)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("rosenbrock", {"n": 1}, "n >= 2"),
        ("woods", {"n": 10}, "multiple of 4"),
        ("dixmaan", {"n": 10}, "multiple of 3"),
        ("dixmaan", {"letter": "q"}, "a to p"),
        ("tridia", {"start_noise": -1.0}, "start_noise"),
        ("tridia", {"dtype": "float16"}, "dtype"),
        ("tridia", {"device": "tpu"}, "device"),
        ("curly", {"n": 5}, "width"),
    ],
)
def test_what_there_is_not_is_told(name: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        CLASSES[name](**options)


def test_float32_stays_float32() -> None:
    problem = CLASSES["bdqrtic"](n=N, dtype="float32")
    assert problem.objective.expand(problem.x0, 2).forms[1](problem.x0).dtype == torch.float32
