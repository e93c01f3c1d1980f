"""What nobody likes to be given: every method ends with a finite point and the right message, and none crashes."""

from typing import Any

import pytest
import torch
from torch import Tensor

import multilevel_opt as mlo
from problems import Poisson

METHODS = [None, "rows", "lm"]
ROUNDING = ("gradient", "stalled")  # where the tolerance is below the rounding of f, either is an honest end


def stretched(x: Tensor) -> Tensor:
    return torch.cat([1e6 * x[:1] - 3, 1e-6 * x[1:2] - 1e-6, x[2:] - 1])


HOSTILE: dict[str, tuple[Any, tuple[str, ...]]] = {
    "one row": (lambda x: (x.sum() - 3).reshape(1), ROUNDING),
    "as many rows as unknowns": (lambda x: x**3 + x - 1, ROUNDING),
    "fewer rows than unknowns": (lambda x: x[:2] ** 2 - 2, ROUNDING),
    "all rows the same": (lambda x: (x.sum() - 3).expand(8), ROUNDING),
    "an unknown that does nothing": (lambda x: torch.outer(x[:3] - 1, torch.arange(1.0, 5.0)).flatten(), ROUNDING),
    "solved at the start": (lambda x: (x - 1.5).repeat(4), ("gradient",)),
    "zero": (lambda x: 0 * x.repeat(4), ("gradient",)),
    "rows of size 1e6": (lambda x: 1e6 * (x**3 + x - 1).repeat(4), ROUNDING),
    "rows of size 1e-6": (lambda x: 1e-6 * (x**3 + x - 1).repeat(4), ROUNDING),
    "unknowns of size 1e6": (stretched, ROUNDING),
    "not finite near the start": (lambda x: torch.sqrt(x - 1).repeat(3) - 2, ROUNDING),
    "not finite anywhere else": (lambda x: torch.where(x == 1.5, x, torch.nan).repeat(3), ("non_finite",)),
}


class Hostile:
    """A residual and where to start."""

    def __init__(self, residual: Any, dtype: torch.dtype, n: int = 4, start: float = 1.5) -> None:
        self.residual = lambda x: residual(x).to(dtype)
        self.x0 = torch.full((n,), start, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("method", METHODS)
def test_a_hostile_residual_ends_as_it_must(method: str | None, name: str, dtype: torch.dtype) -> None:
    residual, ends = HOSTILE[name]
    problem = Hostile(residual, dtype)
    before = float(problem.residual(problem.x0).square().sum()) / 2
    tolerance = 1e-10 * (min(1.0, before) or 1.0)
    run = mlo.solve(problem, method, until={"gradient_norm": tolerance}, max_iterations=300)
    record, x = run.record, run.result.x
    assert record["status"] in ends, record["message"]
    assert (x.dtype, x.shape, bool(torch.isfinite(x).all())) == (dtype, problem.x0.shape, True)
    size = torch.finfo(dtype).eps * max(1.0, float(residual(problem.x0).abs().max()))
    assert run.result.fun <= (before if ends == ("non_finite",) else 1e-12 * before + 1e3 * size**2)
    assert run.result.fun == pytest.approx(float(problem.residual(x).square().sum()) / 2, rel=1e-3, abs=1e-30)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_at_the_start_is_told_in_a_sentence(method: str | None, bad: float) -> None:
    with pytest.raises(mlo.NonFiniteError, match="at the start point is") as caught:
        mlo.solve(Hostile(lambda x: x * bad, torch.float64), method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("points", [1, 19, 2000])
def test_an_equation_at_one_point_or_at_as_many_as_unknowns(method: str | None, points: int) -> None:
    """One point; as many rows as unknowns; and so many that auto takes fewer first."""
    problem = Poisson(dim=2, k=1, width=4, depth=1, points=points, activation="tanh", dtype="float32")
    run = mlo.solve(problem, method, max_iterations=5, cycle={"nested_iterations": 3})
    assert bool(torch.isfinite(run.result.x).all())
    assert run.result.fun <= float(problem.objective(problem.x0))
    assert run.record["message"]
