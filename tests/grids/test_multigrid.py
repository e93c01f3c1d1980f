"""Multigrid as a preconditioner, and the steps that use it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
import problems
from multilevel_opt.coarse import rungs
from multilevel_opt.curvature import Exact
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.secular import Spectrum, ball_minimizer, regularized_minimizer, spectrum
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem import MultigridCG, Rung, Smoothing
from multilevel_opt.subproblem.multigrid import VCycle


def setting(problem: problems.GridProblem, levels: int) -> tuple[Taylor, Sequence[Rung], Tensor]:
    """The model at the start point, the levels below it, and the dense Hessian."""
    model = problem.objective.expand(problem.x0, 2)
    below = rungs(model, problem.hierarchy(levels), problem.x0, Exact(), [Ledger() for _ in range(levels - 1)])
    assert model.second is not None
    return model, below, model.second.matrix()


def factor(cycle: VCycle, matrix: Tensor) -> float:
    """Contraction of I − M⁻¹H, by power iterations; with M⁻¹ symmetric."""
    generator = torch.Generator().manual_seed(0)
    v, w = torch.randn(2, matrix.shape[0], generator=generator, dtype=torch.float64)
    assert float(w @ cycle(v)) == pytest.approx(float(v @ cycle(w)), rel=1e-6)
    largest = 0.0
    for _ in range(40):
        v = v / v.norm()
        image = v - cycle(matrix @ v)
        largest, v = float(image.norm()), image
    return largest


SMOOTH = {"start": "smooth", "amplitude": 0.5}
CASES = {
    "dirichlet": (problems.Dirichlet, 15, 3, 0.75),
    "bratu": (problems.Bratu, 15, 3, 0.75),
    "even": (problems.ConvexExponential, 14, 2, 0.75),
    "surface": (problems.MinimalSurface, 15, 3, 0.9),
    "line": (problems.Dirichlet1D, 63, 5, 0.75),
    "fourth order": (problems.OptimalControl, 15, 2, 0.97),
}


def decomposed(H: Tensor, g: Tensor) -> Spectrum:
    problem = spectrum(H, g)
    assert problem is not None
    return problem


@pytest.mark.parametrize("case", CASES)
def test_the_cycle_is_symmetric_and_contracts(case: str) -> None:
    kind, n, levels, bound = CASES[case]
    model, below, matrix = setting(kind(n=n, **SMOOTH), levels)  # type: ignore[arg-type]
    one, two = (factor(VCycle(model, below, Smoothing(sweeps=sweeps)), matrix) for sweeps in (1, 2))
    assert two < one < bound


def test_the_contraction_does_not_depend_on_the_grid() -> None:
    factors = []
    for n, levels in ((7, 2), (15, 3), (31, 4)):
        model, below, matrix = setting(problems.Dirichlet(n=n), levels)
        factors.append(factor(VCycle(model, below, Smoothing(direct=10)), matrix))
    assert max(factors) < 0.75
    assert factors[2] < factors[1] + 0.1


def test_without_a_coarse_grid_smoothing_does_not_contract() -> None:
    """Negative control."""
    model, below, matrix = setting(problems.Dirichlet(n=15), 2)
    silent = mlo.TransferOperator(1e-9 * below[0].transfer.P.dense(device="cpu"))
    assert factor(VCycle(model, [replace(below[0], transfer=silent)], Smoothing()), matrix) > 0.95


def test_levels_without_matrices_serve_as_well() -> None:
    """Autograd products alone: λ by power iterations, the coarsest matrix by columns."""
    problem = problems.ConvexExponential(n=15, **SMOOTH)  # type: ignore[arg-type]
    model, below, matrix = setting(problem, 3)
    bare = [replace(rung, model=replace(rung.model, second=None)) for rung in below]
    assert factor(VCycle(replace(model, second=None), bare, Smoothing()), matrix) < 0.75


def test_an_indefinite_coarsest_matrix_is_no_obstacle() -> None:
    problem = problems.Bratu(n=15, start="smooth", amplitude=4.0)
    model, below, matrix = setting(problem, 3)
    assert float(torch.linalg.eigvalsh(matrix)[0]) < 0
    step = MultigridCG().prepare(model, lambda: below).solve(mlo.TrustRegion(radius=5.0))
    assert step is not None
    assert float(step.s.norm()) == pytest.approx(5.0, rel=1e-6)
    assert step.predicted >= cauchy(model, 5.0)
    assert step.predicted == pytest.approx(float(model.value - model(step.s)), rel=1e-8)


def cauchy(model: Taylor, radius: float) -> float:
    """The decrease of the model at its minimizer along −g in the ball."""
    g = model.gradient
    curvature, norm = float(g @ model.forms[1](g)), float(g.norm())
    t = radius / norm if curvature <= 0 else min(radius / norm, norm**2 / curvature)
    return t * norm**2 - 0.5 * t**2 * curvature


@pytest.mark.parametrize("radius", [1e-3, 0.3, 3.0, 1e3])
def test_steps_stay_in_the_ball_and_beat_the_cauchy_step(radius: float) -> None:
    model, below, matrix = setting(problems.MinimalSurface(n=15, start="random", seed=4), 3)
    step = MultigridCG().prepare(model, lambda: below).solve(mlo.TrustRegion(radius=radius))
    assert step is not None
    assert float(step.s.norm()) <= radius * (1 + 1e-9)
    assert step.predicted >= cauchy(model, radius) * (1 - 1e-12)
    assert step.predicted == pytest.approx(float(model.value - model(step.s)), rel=1e-6)
    if not step.on_boundary:
        assert float((matrix @ step.s + model.gradient).norm()) <= 0.01 * float(model.gradient.norm())
    best, _ = ball_minimizer(decomposed(matrix, model.gradient), radius)
    assert step.predicted >= 0.5 * float(model.value - model(best))


@pytest.mark.parametrize("sigma", [1e-8, 1e-2, 1.0, 1e3])
def test_regularized_steps_minimize_over_their_space(sigma: float) -> None:
    model, below, matrix = setting(problems.ConvexExponential(n=15, start="random", seed=4), 3)
    prepared = MultigridCG(forcing=1e-10).prepare(model, lambda: below)
    g = mlo.Regularization(weight=sigma, power=3)
    step = prepared.solve(g)
    assert step is not None

    def total(s: Tensor) -> float:
        return float(model(s) - model.value) + sigma / 3 * float(s.norm()) ** 3

    best = total(regularized_minimizer(decomposed(matrix, model.gradient), sigma, 3))
    assert best * (1 + 1e-9) <= total(step.s) <= (0.99 if sigma <= 1e-2 else 0.7) * best
    again = prepared.solve(replace(g, weight=4 * sigma))
    assert again is not None
    assert float(again.s.norm()) <= float(step.s.norm()) * (1 + 1e-9)


def test_a_product_that_is_not_finite_gives_no_step() -> None:
    model, below, _ = setting(problems.Bratu(n=7), 2)
    broken = replace(model, forms=(model.forms[0], lambda v: v * float("nan")))
    assert MultigridCG().prepare(broken, lambda: below).solve(mlo.TrustRegion(radius=1.0)) is None


@pytest.mark.parametrize("seed", range(6))
def test_ball_minimizers_satisfy_the_conditions_of_more_and_sorensen(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix, g = matrix + matrix.T, torch.randn(6, generator=generator, dtype=torch.float64)
    if seed == 5:  # the hard case
        g = g - torch.linalg.eigh(matrix)[1][:, 0] * (torch.linalg.eigh(matrix)[1][:, 0] @ g)
    if seed == 4:  # an interior minimizer
        matrix = matrix @ matrix + torch.eye(6, dtype=torch.float64)
    radius = 10.0
    u, on_boundary = ball_minimizer(decomposed(matrix, g), radius)
    assert on_boundary == (seed != 4)
    nu = -float(u @ (matrix @ u + g)) / float(u @ u)
    assert float(u.norm()) <= radius * (1 + 1e-9)
    assert nu >= -1e-9
    torch.testing.assert_close(matrix @ u + nu * u, -g, rtol=1e-6, atol=1e-6)
    assert float(torch.linalg.eigvalsh(matrix)[0]) + nu >= -1e-8
    assert nu * (radius - float(u.norm())) == pytest.approx(0.0, abs=1e-6)
