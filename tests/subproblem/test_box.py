"""Steps in a box: feasibility, the decrease of the Cauchy point, exact minimizers of convex models."""

from dataclasses import replace
from itertools import product
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor

from multilevel_opt import Function, GradientStep, LeastSquares, Regularization, Taylor, TrustRegion
from multilevel_opt.objective.algebra import PowerNorm
from multilevel_opt.policy import Trial
from multilevel_opt.subproblem.base import Subproblem
from multilevel_opt.subproblem.box import InBox, recentred
from multilevel_opt.variants import SOLVERS

N = 6
KINDS = {name: SOLVERS[name] for name in SOLVERS if name != "rlm"}


def indefinite(seed: int) -> Taylor:
    generator = torch.Generator().manual_seed(seed)
    H = torch.randn(N, N, generator=generator, dtype=torch.float64)
    g = torch.randn(N, generator=generator, dtype=torch.float64)
    f = Function(lambda x: g @ x + 0.5 * x @ (H @ x) + 0.1 * (x**3).sum())
    return f.expand(torch.zeros(N, dtype=torch.float64), 3)


def squares(seed: int) -> Taylor:
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(N + 2, N, generator=generator, dtype=torch.float64)
    b = torch.randn(N + 2, generator=generator, dtype=torch.float64)
    return LeastSquares(lambda x: A @ x - 2 * b).expand(torch.zeros(N, dtype=torch.float64), 2)


def box(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 + seed)
    lower = -torch.rand(N, generator=generator, dtype=torch.float64)
    upper = torch.rand(N, generator=generator, dtype=torch.float64)
    lower[0], upper[1], lower[2], upper[3] = 0.0, 0.0, -inf, inf
    lower[4] = upper[4] = 0.0
    return lower, upper


def model_of(name: str, seed: int) -> Taylor:
    solver = KINDS[name]
    needs_residual = "lm" in name
    return squares(seed) if needs_residual else indefinite(seed).truncated(solver.order)


def started(name: str, model: Taylor, scalar: float) -> Any:
    kind = KINDS[name].globalization
    options = {"radius": scalar} if isinstance(kind, TrustRegion) else {"weight": scalar}
    return replace(kind, **options).start(model, KINDS[name].order)


def cauchy_gain(model: Taylor, globalization: Any, lower: Tensor, upper: Tensor) -> float:
    """The decrease of the globalized model at its first minimum along the projected path, finely sampled."""
    g = model.gradient
    best = 0.0
    for t in torch.logspace(-5, 3, 250, dtype=torch.float64):
        s = torch.clamp(-t * g, lower, upper)
        gain = float(model(0 * s) - model(s)) - globalization.price(float(s.norm()))
        if gain < best:
            break
        best = gain
    return best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scalar", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("name", KINDS)
def test_steps_are_feasible_and_as_good_as_the_projected_path(name: str, scalar: float, seed: int) -> None:
    model, (lower, upper) = model_of(name, seed), box(seed)
    globalization = started(name, model, scalar)
    inside = InBox(KINDS[name].subproblem, model, lower, upper)
    step = inside.solve(globalization)
    for _ in range(3):  # a step that is refused before f is evaluated raises σ, as in the loop of the solver
        if step is not None or name != "ar3":
            break
        globalization = globalization.update(Trial(-inf, 1.0, 0.0))
        step = inside.solve(globalization)
    assert step is not None
    assert bool(((step.s >= lower) & (step.s <= upper)).all())
    assert step.predicted == pytest.approx(float(model(0 * step.s) - model(step.s)), rel=1e-9, abs=1e-12)
    length = float(step.s.norm())
    gain = step.predicted - globalization.price(length)
    assert gain >= 0.2 * cauchy_gain(model, globalization, lower, upper)
    if isinstance(globalization, TrustRegion):
        assert length <= globalization.scalar * (1 + 1e-8)
        assert step.on_boundary == (length >= globalization.scalar * (1 - 1e-6))


class Wrong:
    """A solver that goes uphill."""

    def prepare(self, model: Taylor) -> Any:
        return self.Uphill(GradientStep().prepare(model))

    def describe(self, model: Taylor) -> str:
        return "uphill"

    class Uphill:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def solve(self, globalization: Any) -> Any:
            step = self.inner.solve(globalization)
            return replace(step, s=-step.s)


def test_a_bad_solver_cannot_spoil_the_decrease() -> None:
    """The safeguard: with minimizers that are none, the Cauchy point remains."""
    for seed in range(4):
        model, (lower, upper) = indefinite(seed).truncated(1), box(seed)
        globalization = Regularization(weight=1.0).start(model, 1)
        solver: Subproblem = Wrong()
        step = InBox(solver, model, lower, upper).solve(globalization)
        assert step is not None
        gain = step.predicted - globalization.price(float(step.s.norm()))
        assert gain >= 0.2 * cauchy_gain(model, globalization, lower, upper)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weight", [1e-6, 0.1, 10.0])
def test_a_damped_least_squares_step_is_the_exact_one(seed: int, weight: float) -> None:
    """Convex: the minimum over the box is that of one of its 3ⁿ faces."""
    model, (lower, upper) = squares(seed), box(seed)
    globalization = Regularization(power=2, weight=weight)
    step = InBox(SOLVERS["lm"].subproblem, model, lower, upper).solve(globalization)
    assert step is not None
    assert model.normal is not None
    J = model.normal.jacobian.dense()
    H, g = J.T @ J + weight * torch.eye(N, dtype=torch.float64), model.gradient
    best = inf
    for sides in product((-1, 0, 1), repeat=N):
        face = torch.tensor(sides)
        s = torch.where(face < 0, lower, torch.where(face > 0, upper, torch.zeros_like(lower)))
        if not bool(torch.isfinite(s).all()):
            continue
        free = face == 0
        if bool(free.any()):
            s[free] = torch.linalg.solve(H[free][:, free], -(g + H @ s)[free])
        if bool(((s >= lower - 1e-12) & (s <= upper + 1e-12)).all()):
            best = min(best, float(g @ s + 0.5 * s @ (H @ s)))
    found = float(g @ step.s + 0.5 * step.s @ (H @ step.s))
    assert found == pytest.approx(best, rel=1e-9)


def test_without_bounds_near_it_is_the_step_of_the_solver() -> None:
    for name in KINDS:
        model = squares(1) if "lm" in name else squares(1).truncated(KINDS[name].order if KINDS[name].order < 3 else 2)
        globalization = started(name, model, 0.5)
        far = torch.full((N,), 1e9, dtype=torch.float64)
        bounded = InBox(KINDS[name].subproblem, model, -far, far).solve(globalization)
        free = KINDS[name].subproblem.prepare(model).solve(globalization)
        assert bounded is not None
        assert free is not None
        torch.testing.assert_close(bounded.s, free.s)


def test_a_point_that_satisfies_the_conditions_stays() -> None:
    model = Function(lambda x: x.sum()).expand(torch.zeros(3, dtype=torch.float64), 2)
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    step = InBox(SOLVERS["ar2"].subproblem, model, zero, one).solve(Regularization(weight=1.0, power=3))
    assert step is not None
    assert (step.s.tolist(), step.predicted) == ([0.0] * 3, 0.0)


def test_a_model_that_is_not_finite_gives_no_step() -> None:
    f = Function(lambda x: (x**2).sum())
    model = f.expand(torch.ones(3, dtype=torch.float64), 2)
    broken = replace(model, forms=(model.forms[0], lambda v: v * torch.nan))
    box = torch.ones(3, dtype=torch.float64)
    assert InBox(SOLVERS["tr2"].subproblem, broken, -box, box).solve(TrustRegion(radius=1.0)) is None


def test_recentred_models_are_the_same_polynomial() -> None:
    shift = torch.linspace(-1, 1, N, dtype=torch.float64)
    penalty = PowerNorm(3.0, 2, 0 * shift).expand(0 * shift, 2)  # an inherited term: shift and linear part
    for model in (indefinite(1), squares(1), squares(1) + penalty):
        moved = recentred(model, shift)
        w = torch.randn(N, dtype=torch.float64)
        assert float(moved(w)) == pytest.approx(float(model(shift + w)))
        torch.testing.assert_close(moved.grad(w), model.grad(shift + w))
        torch.testing.assert_close(moved.hvp(w, shift), model.hvp(shift + w, shift))
        normal = moved.normal
        if normal is not None:
            r = normal.residual + normal.jacobian.matvec(w)
            linear = normal.linear if normal.linear is not None else 0 * w
            value = 0.5 * r @ r + linear @ w + 0.5 * normal.shift * w @ w
            assert float(value - 0.5 * normal.residual @ normal.residual) == pytest.approx(
                float(moved(w) - moved(0 * w))
            )
