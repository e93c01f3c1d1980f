"""Bounds: agreement with scipy, first-order conditions, nothing is evaluated outside, levels, checkpoints, input."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

import multilevel_opt as mlo
from multilevel_opt import cli
from multilevel_opt.bounds import EVERYWHERE, Box, region
from multilevel_opt.linalg.operator import Product
from multilevel_opt.transfer.geometric import bilinear_2d, linear_1d
from multilevel_opt.transfer.truncation import truncated
from multilevel_opt.variants import SOLVERS
from tests.references.hs import HS, Bounded
from tests.references.mgh import MGH
from tests.test_device_dtype import hostile

SECOND = ["ar2", "tr2"]
TIGHT = mlo.GradientNorm(1e-8) | mlo.MaxIterations(400)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def as_tensors(lower: Any, upper: Any, n: int) -> tuple[Tensor, Tensor]:
    box = region((lower, upper), torch.zeros(n, dtype=torch.float64))
    assert isinstance(box, Box)
    return box.lower, box.upper


class Guarded:
    """A function that must not be asked outside the box."""

    def __init__(self, f: Callable[[Tensor], Tensor], lower: Any, upper: Any) -> None:
        self.f, self.lower, self.upper = f, lower, upper

    def __call__(self, x: Tensor) -> Tensor:
        lower, upper = as_tensors(self.lower, self.upper, x.numel())
        assert bool(((x >= lower) & (x <= upper)).all()), f"asked outside, at {x}"
        return self.f(x)


def kkt(result: mlo.Result, lower: Any, upper: Any, tolerance: float) -> bool:
    """Zero gradient where x is free, the right sign where it is on a bound."""
    low, high = as_tensors(lower, upper, result.x.numel())
    g, x = result.grad, result.x
    free = (x > low) & (x < high)
    held_low, held_high = g[(x == low) & (low < high)], g[(x == high) & (low < high)]
    signs = bool((held_low >= -tolerance).all() and (held_high <= tolerance).all())
    return signs and bool((g[free].abs() <= tolerance).all() and ((x >= low) & (x <= high)).all())


# -- agreement with other software ------------------------------------------------------------------------------------


def by_scipy(problem: Bounded, method: str = "L-BFGS-B") -> Any:
    gradient = torch.func.grad(problem.f)
    return scipy.optimize.minimize(
        lambda x: float(problem.f(torch.from_numpy(x))),
        np.clip(problem.x0, problem.lower, problem.upper),
        jac=lambda x: gradient(torch.from_numpy(x)).numpy(),
        bounds=scipy.optimize.Bounds(problem.lower, problem.upper),
        method=method,
    )


@pytest.mark.parametrize("solver", SECOND)
@pytest.mark.parametrize("name", HS)
def test_second_order_solvers_solve_hock_schittkowski(name: str, solver: str) -> None:
    problem = HS[name]
    f = Guarded(problem.f, problem.lower, problem.upper)
    found = mlo.minimize(f, problem.x0, SOLVERS[solver], bounds=(problem.lower, problem.upper), stop=TIGHT)
    assert found.success
    assert kkt(found, problem.lower, problem.upper, 1e-7)
    # HS 2 has a second minimizer, where L-BFGS-B ends as well; HS 25 is flat at the start, where it stays
    known = [problem.fun, float(by_scipy(problem).fun)] if name == "2" else [problem.fun]
    assert any(found.fun == pytest.approx(fun, rel=1e-8, abs=1e-9) for fun in known)


@pytest.mark.parametrize("solver", ["ar1", "tr1"])
@pytest.mark.parametrize("name", ["3", "4", "5", "45", "110"])
def test_first_order_solvers_solve_the_easier_ones(name: str, solver: str) -> None:
    problem = HS[name]
    f = Guarded(problem.f, problem.lower, problem.upper)
    found = mlo.minimize(f, problem.x0, SOLVERS[solver], bounds=(problem.lower, problem.upper))
    assert found.fun == pytest.approx(problem.fun, rel=1e-8, abs=1e-6)
    assert kkt(found, problem.lower, problem.upper, 1e-5)


@pytest.mark.parametrize("name", ["1", "2", "25", "38"])
def test_levenberg_marquardt_solves_those_with_residuals(name: str) -> None:
    problem = HS[name]
    assert problem.residual is not None
    f = Guarded(problem.residual, problem.lower, problem.upper)
    found = mlo.least_squares(f, problem.x0, bounds=(problem.lower, problem.upper), stop=TIGHT)
    assert found.success
    known = [problem.fun, float(by_scipy(problem).fun)] if name == "2" else [problem.fun]
    assert any(2 * found.fun == pytest.approx(fun, rel=1e-8, abs=1e-9) for fun in known)


ROSENBROCK = {"1": (-2.0, -2.0, 0.5, 2.0), "2": (-2.0, 1.5, 2.0, 2.0), "3": (1.5, -3.0, 50.0, 100.0)}


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "trust-constr"])
@pytest.mark.parametrize("box", ROSENBROCK)
def test_bounded_rosenbrock_has_the_minimizers_of_scipy(box: str, method: str) -> None:
    *lower, c, d = ROSENBROCK[box]
    problem = Bounded(MGH["Rosenbrock"].value, [-1.2, 1.8], lower, [c, d], nan)
    reference = by_scipy(problem, method)
    for solver in SECOND:
        found = mlo.minimize(problem.f, problem.x0, SOLVERS[solver], bounds=(lower, [c, d]), stop=TIGHT)
        assert found.success
        assert found.fun <= reference.fun + 1e-9
        if reference.fun < found.fun + 1e-3:  # trust-constr stops early in the valley
            np.testing.assert_allclose(found.x, reference.x, atol=2e-2 if method == "trust-constr" else 1e-3)


@pytest.mark.parametrize("name", ["Rosenbrock", "Beale", "Bard", "Kowalik-Osborne", "Wood", "Box"])
@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_levenberg_marquardt_is_as_good_as_scipy(name: str, method: str) -> None:
    """In a box that cuts off the free minimizer: the same minimum, or a lower one."""
    problem = MGH[name]
    free = mlo.least_squares(problem.residual, problem.start, stop=TIGHT).x
    middle = problem.start
    lower, upper = torch.minimum(free, middle) - 0.5, torch.maximum(free, middle) + 0.5
    cut = free + 0.25 * (middle - free)
    upper[0], lower[0] = (cut[0], lower[0]) if free[0] > middle[0] else (upper[0], cut[0])
    found = mlo.least_squares(problem.residual, middle, bounds=(lower, upper), stop=TIGHT)
    reference = scipy.optimize.least_squares(
        lambda x: problem.residual(torch.from_numpy(x)).numpy(),
        middle.numpy(),
        bounds=(lower.numpy(), upper.numpy()),
        method=method,
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
        max_nfev=2000,
    )
    assert found.fun <= reference.cost * (1 + 1e-5) + 1e-10
    assert bool(((found.x == lower) | (found.x == upper)).any())  # a bound matters
    assert kkt(found, lower, upper, 1e-6)


def quadratic(seed: int, n: int, condition: float, room: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((n + 5, n), (n, n)))
    A = (U * np.geomspace(1, condition**-0.5, n)) @ V
    sides = -room * rng.random(n), room * rng.random(n)
    return torch.from_numpy(A), torch.from_numpy(3 * rng.standard_normal(n + 5)), *map(torch.from_numpy, sides)


@pytest.mark.parametrize("solver", [*SECOND, "lm"])
@pytest.mark.parametrize(("condition", "room"), [(10, 1), (1e3, 5), (1e3, 20), (1e5, 30), (1e5, 300)])
def test_quadratic_problems_have_the_minimizers_of_lsq_linear(solver: str, condition: float, room: float) -> None:
    for seed in (11, 12) if room < 30 else (11,):
        A, b, lower, upper = quadratic(seed, 25, condition, room)
        sides = (lower.numpy(), upper.numpy())
        reference = scipy.optimize.lsq_linear(A.numpy(), b.numpy(), sides, method="bvls", tol=1e-14, max_iter=1000)
        f = mlo.LeastSquares(lambda x, A=A, b=b: A @ x - b)
        found = mlo.minimize(f, [0.0] * 25, SOLVERS[solver], bounds=(lower, upper), stop=TIGHT)
        assert found.success
        np.testing.assert_allclose(found.x, reference.x, atol=1e-7 * condition)
        assert found.fun == pytest.approx(reference.cost, rel=1e-10)
        if solver == "lm":
            assert found.nit <= 15  # the model is the function: a few values of σ, and faces within a step


def by_enumeration(H: Tensor, g: Tensor, lower: Tensor, upper: Tensor) -> float:
    """The minimum of gᵀx + ½xᵀHx over a box, from all 3ⁿ faces."""
    best = inf
    for face in product((-1, 0, 1), repeat=len(g)):
        f = torch.tensor(face)
        x = torch.where(f < 0, lower, torch.where(f > 0, upper, torch.zeros_like(lower)))
        free = f == 0
        if bool(free.any()):
            x[free] = torch.linalg.solve(H[free][:, free], -(g + H @ x)[free])
        if bool(((x >= lower - 1e-12) & (x <= upper + 1e-12)).all()):
            best = min(best, float(g @ x + 0.5 * x @ (H @ x)))
    return best


@pytest.mark.parametrize("solver", ["ar1", "ar2", "tr1", "tr2"])
def test_small_quadratic_problems_by_enumeration(solver: str) -> None:
    for seed in range(4):
        A, b, lower, upper = quadratic(seed, 4, 20, 2)
        H, g = A.T @ A, -A.T @ b

        def f(x: Tensor, H: Tensor = H, g: Tensor = g) -> Tensor:
            return g @ x + 0.5 * x @ (H @ x)

        found = mlo.minimize(f, [0.0] * 4, SOLVERS[solver], bounds=(lower, upper), stop=mlo.GradientNorm(1e-6) | TIGHT)
        assert found.fun == pytest.approx(by_enumeration(H, g, lower, upper), abs=1e-9)


def test_a_concave_function_ends_in_a_corner() -> None:
    for solver in ("ar1", "ar2", "tr1", "tr2"):
        found = mlo.minimize(lambda x: -(x**2).sum() + 0.1 * x.sum(), [0.2, -0.3, 0.1], SOLVERS[solver], bounds=(-1, 2))
        assert (found.status, found.gradient_norm) == (mlo.Status.GRADIENT, 0.0)
        assert set(found.x.tolist()) <= {-1.0, 2.0}


def obstacle(n: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Energy of a loaded membrane on n × n points, and the obstacle below it."""
    h = 1 / (n + 1)
    line = torch.linspace(h, 1 - h, n, dtype=torch.float64)
    bowl = (line[:, None] - 0.5) ** 2 + (line[None, :] - 0.5) ** 2

    def energy(u: Tensor) -> Tensor:
        U = torch.nn.functional.pad(u.reshape(n, n), (1, 1, 1, 1))
        return 0.5 * ((U[1:] - U[:-1]) ** 2).sum() + 0.5 * ((U[:, 1:] - U[:, :-1]) ** 2).sum() + 5 * h * h * u.sum()

    return energy, (0.3 - 2 * bowl).reshape(-1)


@pytest.mark.parametrize("solver", SECOND)
def test_the_obstacle_problem(solver: str) -> None:
    energy, psi = obstacle(15)
    start = torch.zeros_like(psi)
    found = mlo.minimize(Guarded(energy, psi, None), start, SOLVERS[solver], bounds=(psi, None), stop=TIGHT)
    reference = by_scipy(Bounded(energy, start.tolist(), psi.tolist(), [inf] * 225, nan))
    assert found.success
    assert found.nit <= 10
    assert found.fun <= reference.fun + 1e-12
    contact = found.x == psi
    assert 40 < int(contact.sum()) < 150
    assert float((found.grad * (found.x - psi)).abs().max()) < 1e-9  # complementarity
    assert bool((found.grad[contact] >= 0).all())


# -- the active set ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SECOND)
def test_convergence_is_quadratic_on_a_degenerate_active_set(solver: str) -> None:
    """All multipliers are zero: exp(x) − x has its free minimizer on the bound."""
    points: list[Tensor] = []
    mlo.minimize(
        lambda x: (torch.exp(x) - x).sum() + 0.1 * (x[0] * x[1]) ** 2,
        [1.0, 0.5, 2.0],
        SOLVERS[solver],
        bounds=(0, None),
        stop=mlo.GradientNorm(1e-12) | mlo.MaxIterations(40),
        callback=lambda event, x: points.append(x),
    )
    errors = [float(x.norm()) for x in points if float(x.norm()) > 0]
    late = [e for e in errors if e < 0.3]
    assert len(points) <= 15
    assert all(b <= 2 * a**1.9 or b < 1e-8 for a, b in pairwise(late))


@pytest.mark.parametrize("name", ["ar1", "ar2", "tr1", "tr2"])
def test_fixed_variables_never_move(name: str) -> None:
    lower, upper = [-inf, 0.7, -inf], [inf, 0.7, inf]
    f = Guarded(MGH["Rosenbrock"].value, None, None).f

    def chain(x: Tensor) -> Tensor:
        return f(x[:2]) + f(x[1:])

    found = mlo.minimize(chain, [0.5, 0.7, 0.3], SOLVERS[name], bounds=(lower, upper), stop=mlo.MaxIterations(30))
    assert float(found.x[1]) == 0.7
    reduced = mlo.minimize(
        lambda y: chain(torch.stack([y[0], y.new_tensor(0.7), y[1]])), [0.5, 0.3], mlo.TR2, stop=TIGHT
    )
    exact = mlo.minimize(chain, [0.5, 0.7, 0.3], mlo.TR2, bounds=(lower, upper), stop=TIGHT)
    torch.testing.assert_close(exact.x[[0, 2]], reduced.x, rtol=1e-7, atol=1e-7)
    everything = mlo.minimize(chain, [0.5, 0.7, 0.3], SOLVERS[name], bounds=([0.5, 0.7, 0.3], [0.5, 0.7, 0.3]))
    assert (everything.nit, everything.gradient_norm, everything.success) == (0, 0.0, True)


@pytest.mark.parametrize("name", SOLVERS)
def test_infinite_bounds_change_nothing(name: str) -> None:
    f, start = mlo.LeastSquares(MGH["Wood"].residual), MGH["Wood"].start
    runs = [
        mlo.minimize(f, start, SOLVERS[name], bounds=bounds, stop=mlo.MaxIterations(8))
        for bounds in (None, (None, None), (-inf, inf), (None, [inf] * 4))
    ]
    for run in runs[1:]:
        assert [event.loss for event in run.history] == [event.loss for event in runs[0].history]


FAR = -1e6, 1e6


@pytest.mark.parametrize("name", SOLVERS)
def test_bounds_far_away_change_no_step(name: str) -> None:
    """A bounded run takes the same steps as long as no bound is near."""
    f, start = mlo.LeastSquares(MGH["Beale"].residual), MGH["Beale"].start
    free, bounded = (
        mlo.minimize(f, start, SOLVERS[name], bounds=bounds, stop=mlo.MaxIterations(4)) for bounds in (None, FAR)
    )
    for a, b in zip(free.history, bounded.history, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-6)


# -- every point is inside --------------------------------------------------------------------------------------------


def logarithms(x: Tensor) -> Tensor:
    """Defined for 0 < x < 4 only, and the user's code says so loudly."""
    if bool((x <= 0).any()) or bool((x >= 4).any()):
        raise ArithmeticError("outside")
    return torch.cat([3 * torch.log(x) + 5, torch.log(4 - x) - 3, x.sum(0, keepdim=True)])


INSIDE = (1e-8, 4 - 1e-8)


@pytest.mark.parametrize("name", SOLVERS)
def test_nothing_is_evaluated_outside(name: str) -> None:
    f = mlo.LeastSquares(logarithms)
    found = mlo.minimize(f, [2.0, 3.0, 1.0, 3.9], SOLVERS[name], bounds=INSIDE, stop=mlo.MaxIterations(60))
    assert found.fun < 0.9 * float(f(tensor(2.0, 3.0, 1.0, 3.9)))


def test_without_bounds_it_is() -> None:
    """Negative control: the same runs leave the box where nothing keeps them inside."""
    with pytest.raises(ArithmeticError, match="outside"):
        mlo.minimize(mlo.LeastSquares(logarithms), [2.0, 3.0, 1.0, 3.9], mlo.LM, stop=mlo.MaxIterations(60))


@pytest.mark.parametrize("name", SOLVERS)
def test_nothing_is_evaluated_outside_on_levels(name: str) -> None:
    P = np.kron(np.eye(2), np.array([[0.7], [-0.4]]))  # entries of both signs
    solver = SOLVERS[name].replace(cycle=mlo.Cycle(kappa=0.0, coarse_iterations=4))
    three = [mlo.galerkin([linear(4, 3), linear(3, 2)])] if name != "rlm" else []
    for levels in (mlo.galerkin([P]), *three):
        f = mlo.LeastSquares(logarithms)
        stop = mlo.MaxIterations(12)
        found = mlo.minimize(f, [2.0, 3.0, 1.0, 3.9], solver, bounds=INSIDE, hierarchy=levels, stop=stop)
        assert found.coarse_steps[0] > found.coarse_steps[1]


def linear(n: int, coarse: int) -> Any:
    P = np.zeros((n, coarse))
    for i, x in enumerate(np.linspace(0, coarse - 1, n)):
        j = min(int(x), coarse - 2)
        P[i, j : j + 2] = 1 - (x - j), x - j
    return P


def test_geodesic_acceleration_is_left_out_with_bounds() -> None:
    solver = mlo.LM.replace(subproblem=mlo.DampedLeastSquares(geodesic=True))
    stop = mlo.MaxIterations(30)
    found, plain = (
        mlo.least_squares(logarithms, [1e-8, 3.0, 1.0, 3.9], each, bounds=INSIDE, stop=stop)
        for each in (solver, mlo.LM)
    )
    assert torch.equal(found.x, plain.x)
    assert found.ledgers[0].counts == plain.ledgers[0].counts


def test_geodesic_acceleration_is_there_without_bounds() -> None:
    """Negative control of the test above."""
    solver = mlo.LM.replace(subproblem=mlo.DampedLeastSquares(geodesic=True))
    rosenbrock, stop = MGH["Rosenbrock"], mlo.MaxIterations(5)
    found, plain = (
        mlo.least_squares(rosenbrock.residual, rosenbrock.start, each, stop=stop) for each in (solver, mlo.LM)
    )
    assert not torch.equal(found.x, plain.x)


def test_a_matrix_free_jacobian() -> None:
    A, b, lower, upper = quadratic(3, 12, 10, 1)
    reference = scipy.optimize.lsq_linear(A.numpy(), b.numpy(), (lower.numpy(), upper.numpy()), method="bvls")
    stop = mlo.GradientNorm(1e-7) | mlo.MaxIterations(200)
    found = mlo.least_squares(lambda x: A @ x - b, [0.0] * 12, bounds=(lower, upper), memory=1.0, stop=stop)
    assert "matrix-free" in found.linear_algebra
    assert found.fun == pytest.approx(reference.cost, rel=1e-9)


# -- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ar1", "ar2", "tr2"])
def test_levels_solve_the_obstacle_problem(name: str) -> None:
    energy, psi = obstacle(15)
    start = torch.zeros_like(psi)
    levels = mlo.galerkin([bilinear_2d(15), bilinear_2d(7)])
    f, stop = Guarded(energy, psi, None), mlo.GradientNorm(1e-5) | mlo.MaxIterations(300)
    alone, together = (
        mlo.minimize(f, start, SOLVERS[name], bounds=(psi, None), hierarchy=hierarchy, stop=stop)
        for hierarchy in (None, levels)
    )
    assert together.success
    assert together.fun == pytest.approx(alone.fun, abs=1e-8)
    tried, rejected = together.coarse_steps
    assert tried > rejected
    if name == "ar1":
        assert together.njev < alone.njev / 2  # coarse steps see the part that is free


def test_levels_with_objectives_of_their_own() -> None:
    """Coarse points are restrictions of the whole iterate, whatever is on a bound."""
    energy, psi = obstacle(15)
    coarse, _ = obstacle(7)
    levels = mlo.from_objectives([energy, lambda y: 0.25 * coarse(y)], [bilinear_2d(15)])
    stop = mlo.GradientNorm(1e-6) | mlo.MaxIterations(300)
    found = mlo.minimize(
        Guarded(energy, psi, None), torch.zeros_like(psi), mlo.AR2, bounds=(psi, None), hierarchy=levels, stop=stop
    )
    alone = mlo.minimize(energy, torch.zeros_like(psi), mlo.TR2, bounds=(psi, None), stop=stop)
    assert found.success
    assert found.coarse_steps[0] > found.coarse_steps[1]
    assert found.fun == pytest.approx(alone.fun, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_prolonged_coarse_steps_stay_inside(seed: int) -> None:
    """x + P s is inside for every s within the coarse bounds, and not for all s within twice those."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    n, n_coarse = 12, 5
    matrix = torch.randn(n, n_coarse, **options) * (torch.rand(n, n_coarse, **options) < 0.5)
    matrix[:n_coarse] += torch.eye(n_coarse, dtype=torch.float64)
    x = torch.rand(n, **options)
    lower, upper = x - torch.rand(n, **options), x + torch.rand(n, **options)
    upper[3], lower[4] = inf, x[4]
    box, start = Box(lower, upper), torch.randn(n_coarse, **options)
    gradient = torch.randn(n, **options)
    gradient[4] = 1.0
    transfer = box.truncated(mlo.TransferOperator(matrix), x, gradient)
    coarse = box.coarse(transfer, x, start)
    assert bool((coarse.lower <= start).all() and (start <= coarse.upper).all())
    low, high = coarse.lower.clamp(min=-9) - start, coarse.upper.clamp(max=9) - start
    left = 0
    for _ in range(200):
        corner = torch.where(torch.rand(n_coarse, **options) < 0.5, low, high)
        assert torch.equal(box.nearest(x + transfer.prolong(corner)), x + transfer.prolong(corner))
        assert float(transfer.prolong(corner)[4]) == 0.0
        far = x + 2 * transfer.prolong(corner)
        left += not torch.equal(box.nearest(far), far)
    assert left > 0
    torch.testing.assert_close(transfer.restrict_point(x), matrix.T @ x)


def test_a_truncated_operator_maps_points_and_lifts_iterates_as_the_whole_one_does() -> None:
    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator, "dtype": torch.float64}
    keeps = torch.tensor([4, 5])
    whole = mlo.TransferOperator(torch.rand(6, 3, **options), lift=torch.rand(6, 3, **options), keeps=keeps)
    kept = torch.tensor([True, False, True, True, True, True])
    part = truncated(whole, kept)
    x, s = torch.rand(6, **options), torch.rand(3, **options)
    assert torch.equal(part.prolong(s), torch.where(kept, whole.prolong(s), 0.0))
    assert torch.equal(part.restrict_point(x), whole.restrict_point(x))
    assert torch.equal(part.lifted(s, x), whole.lifted(s, x))
    assert part.keeps is keeps


def test_a_prolongation_without_entries_is_refused_with_bounds() -> None:
    P = torch.eye(4, dtype=torch.float64)[:, :2]
    by_functions = Product((4, 2), lambda v: P @ v, lambda w: P.T @ w)
    levels = mlo.galerkin([mlo.TransferOperator(by_functions)])
    solver = mlo.TR2.replace(cycle=mlo.Cycle(kappa=0.0))
    with pytest.raises(mlo.UnsupportedCombination, match="need the entries of the prolongation") as caught:
        mlo.minimize(lambda x: (x**2).sum(), [1.0] * 4, solver, bounds=(0.5, None), hierarchy=levels)
    assert "\n" not in str(caught.value)


# -- checkpoints, dtypes, problems ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("several", [False, True])
def test_interrupted_and_resumed_equals_uninterrupted(name: str, several: bool, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    solver = SOLVERS[name].replace(cycle=mlo.Cycle(kappa=1e-3, coarse_iterations=2))
    problem = MGH["Broyden tridiagonal"]
    x0 = torch.linspace(-1, 1, 15, dtype=torch.float64)

    def run(limit: int, **options: Any) -> mlo.Result:
        levels = mlo.galerkin([linear_1d(15)]) if several else None
        f = mlo.LeastSquares(problem.residual)
        return mlo.minimize(
            f, x0, solver, bounds=(-0.6, 1.0), hierarchy=levels, stop=mlo.MaxIterations(limit), **options
        )

    whole = run(6)
    run(3, checkpoint=file)
    rest = run(6, checkpoint=file, resume=True)
    assert [replace(e, seconds=0.0) for e in rest.history] == [replace(e, seconds=0.0) for e in whole.history]
    assert torch.equal(rest.x, whole.x)
    assert rest.gradient_norm == whole.gradient_norm
    with pytest.raises(mlo.InputError, match="outside the bounds"):
        mlo.minimize(
            mlo.LeastSquares(problem.residual),
            x0,
            solver,
            bounds=(2.0, 3.0),
            hierarchy=mlo.galerkin([linear_1d(15)]) if several else None,
            checkpoint=file,
            resume=True,
        )


def test_single_precision() -> None:
    bounds = ([-1.5, -3.0], [4.0, 3.0])  # of the problem: a wider box has another minimum
    found = mlo.minimize(HS["5"].f, torch.zeros(2, dtype=torch.float32), mlo.TR2, bounds=bounds)
    assert found.x.dtype == torch.float32
    assert found.fun == pytest.approx(HS["5"].fun, rel=1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_torch_defaults_do_not_matter(name: str) -> None:
    start = torch.linspace(0.1, 2, 15, dtype=torch.float64, device="cpu")

    def residual(x: Tensor) -> Tensor:
        return torch.cat([x**2 - 0.5, x[1:] - x[:-1]])

    def run() -> mlo.Result:
        solver = SOLVERS[name].replace(cycle=mlo.Cycle(kappa=0.0, coarse_iterations=2))
        levels = mlo.galerkin([linear_1d(15)])
        f = mlo.LeastSquares(residual)
        return mlo.minimize(f, start, solver, bounds=(0.2, [0.9] * 15), hierarchy=levels, stop=mlo.MaxIterations(6))

    usual = run()
    with hostile():
        found = run()
    assert torch.equal(found.x, usual.x)


@dataclass
class Bowl:
    """½‖x − 3‖² for x ≤ bound."""

    bound: float = 2.0
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"bound": self.bound}

    @property
    def x0(self) -> Tensor:
        return torch.zeros(3, dtype=torch.float64)

    @property
    def objective(self) -> mlo.LeastSquares:
        return mlo.LeastSquares(lambda x: x - 3)

    @property
    def x_bounds(self) -> tuple[None, float]:
        return None, self.bound


@pytest.mark.parametrize("method", ["lm", "ar2", "tr1"])
def test_a_problem_brings_its_bounds(method: str) -> None:
    run = mlo.solve(Bowl(), method)
    assert run.result.success
    assert run.result.x.tolist() == [2.0, 2.0, 2.0]
    assert run.record["gradient_norm"] == run.result.gradient_norm == 0.0
    assert float(run.result.grad.norm()) == pytest.approx(3**0.5)


def test_the_command_line_solves_within_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bowl.py"
    file.write_text(
        "import torch, multilevel_opt as mlo\n"
        "class Bowl:\n"
        "    metrics, parameters, x_bounds = {}, {}, (None, 2.0)\n"
        "    x0 = torch.full((3,), 2.5, dtype=torch.float64)\n"
        "    objective = mlo.LeastSquares(lambda x: x - 3)\n",
        encoding="utf-8",
    )
    assert cli.main(["solve", f"{file}:Bowl"]) == 0
    assert "3 of 3 entries of x0 were outside the bounds" in capsys.readouterr().out


# -- input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds",
    [
        (0.0, 2.0),
        ([0.0, 0.0], 2),
        (torch.zeros(2), np.array([2.0, 2.0])),
        scipy.optimize.Bounds([0, 0], [2, 2]),
        scipy.optimize.Bounds(0, 2),
        [0, (2, 2)],
        ([None, 0], 2),
    ],
)
def test_kinds_of_bounds(bounds: Any) -> None:
    found = mlo.minimize(lambda x: ((x - 3) ** 2).sum() + x[0], tensor(1.0, 1.0), mlo.TR2, bounds=bounds)
    assert found.x.tolist() == [2.0, 2.0]


def test_a_start_outside_is_moved_to_the_box_with_a_remark() -> None:
    f = Guarded(lambda x: ((x - 1) ** 2).sum(), 0.0, 2.0)
    for call in (
        lambda: mlo.minimize(f, [5.0, 1.5, -3.0], mlo.AR2, bounds=(0, 2)),
        lambda: mlo.least_squares(Guarded(lambda x: x - 1, 0.0, 2.0), [5.0, 1.5, -3.0], bounds=(0, 2)),
    ):
        found = call()
        assert found.success
        assert "2 of 3 entries of x0 were outside the bounds" in found.message
    assert "outside" not in mlo.minimize(f, [0.5], mlo.AR2, bounds=(0, 2)).message


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((2.0, 1.0), r"no number lies between the lower bound 2 and the upper bound 1 of x\[0\]"),
        (([0, 3], [1, 2]), r"of x\[1\]"),
        ((inf, inf), "no number lies"),
        ((-inf, -inf), "no number lies"),
        ((nan, 1.0), "lower bounds contain NaN"),
        ((0.0, [1.0, nan]), "upper bounds contain NaN"),
        (([0.0, nan], [None, 1.0]), "lower bounds contain NaN"),
        (([0.0, 0.0, 0.0], 1.0), r"lower bounds have shape \(3,\), x0 has \(2,\)"),
        (([[0.0, 0.0]], 1.0), "lower bounds have shape"),
        (("a", 1.0), "lower bounds are not numbers"),
        (3.0, r"a pair \(lower, upper\)"),
        ((1.0, 2.0, 3.0), r"a pair \(lower, upper\)"),
    ],
)
def test_bad_bounds_are_refused_in_one_sentence(bounds: Any, message: str) -> None:
    calls: list[int] = []
    with pytest.raises(mlo.InputError, match=message) as caught:
        mlo.minimize(lambda x: calls.append(1) or x.sum(), tensor(1.0, 1.0), mlo.AR2, bounds=bounds)  # type: ignore[func-returns-value]
    assert "\n" not in str(caught.value)
    assert not calls


# -- the parts --------------------------------------------------------------------------------------------------------


def test_the_projected_gradient() -> None:
    box = Box(tensor(0, 0, 0, -inf), tensor(1, 1, 1, inf))
    x, g = tensor(0, 1, 0.5, 1e9), tensor(3, 3, 0.1, 1e-9)
    assert box.projected_gradient(x, g).tolist() == [0.0, -1.0, -0.1, -1e-9]  # no digit is lost where nothing bounds
    assert box.active(x, g).tolist() == [True, False, False, False]
    odd = Box(tensor(-0.1, -0.3, 0, -inf), tensor(0.7, 1, 1, inf))
    start = tensor(0.65, 0.9, 0.3, 1e-3)
    assert torch.equal(odd.moved(start, torch.clamp(odd.lower - start, min=-5))[:3], odd.lower[:3])
    assert torch.equal(odd.moved(start, torch.clamp(odd.upper - start, max=5))[:3], odd.upper[:3])
    assert bool((start + (odd.lower - start) != odd.lower)[:2].any())  # what plain addition makes of it
    assert np.isnan(box.criticality(x, g * inf))
    assert EVERYWHERE.criticality(x, g) == float(g.norm())


def test_the_largest_entry_that_stops_a_run_is_that_of_the_projected_gradient() -> None:
    x0 = torch.full((3,), 0.5, dtype=torch.float64, device="cpu")
    center = torch.tensor([2.0, -1.0, 0.3], dtype=torch.float64, device="cpu")
    stop = mlo.GradientNorm(1e-9, torch.inf) | mlo.MaxIterations(50)
    result = mlo.minimize(lambda x: ((x - center) ** 2).sum(), x0, mlo.TR2, bounds=(0.0, 1.0), stop=stop)
    assert result.status is mlo.Status.GRADIENT
    assert float(result.grad.abs().max()) > 1
    torch.testing.assert_close(result.x, center.clamp(0, 1), rtol=0, atol=1e-9)
