"""The row Jacobian beside one evaluation of the residual, its Gram product, and torch's vmap(grad) of the same rows.

vmap(grad) takes the interior rows alone, in chunks. Below Poisson's equation: a nonlinear one, one with a hard
constraint, and a system of two functions and two equations, each on 2-64-64-64 with 1000 points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import medians, show
from multilevel_opt.pde import Needs, PDEProblem
from multilevel_opt.pde.terms import laplacian
from problems import Poisson

DEEP = {"dim": 2, "width": 64, "depth": 3, "points": 1000, "sampling": "sobol"}
LAPLACIAN = Needs((laplacian((0, 1)),))


@dataclass(frozen=True, kw_only=True)
class Bratu(PDEProblem):
    """Δu + eᵘ + u u_x = 0."""

    def equation(self, u: Any, z: Tensor) -> Tensor:
        return u.laplacian + torch.exp(u.value) + u.value * u.x

    def boundary(self, u: Any, z: Tensor) -> Tensor:
        return u.value


@dataclass(frozen=True, kw_only=True)
class Constrained(Bratu):
    """The same with u = 0 on the boundary by construction."""

    def conditions(self) -> list[Any]:
        return []

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        return (z * (1.0 - z)).prod(1, keepdim=True) * n


@dataclass(frozen=True, kw_only=True)
class Reaction(PDEProblem):
    """Two functions, two equations."""

    def functions(self) -> tuple[str, ...]:
        return ("u", "v")

    def equation(self, w: Any, z: Tensor) -> tuple[Tensor, ...]:
        u, v = w
        return u.laplacian + u.value * v.value**2 - u.value, v.laplacian - u.value * v.value**2 + v.x

    def conditions(self) -> list[Any]:
        return []


PROBLEMS: dict[str, PDEProblem] = {
    "2-500-1": Poisson(dim=2, width=500, points="45x45"),
    "2-64-64-64-1": Poisson(**DEEP),
    "nonlinear": Bratu(**DEEP),
    "hard constraint": Constrained(**DEEP),
    "two functions": Reaction(**DEEP),
}


def run(seeds: Sequence[int]) -> None:
    header = ["network", "m", "n", "residual ms", "Jacobian ms", "ratio", "Gram ms", "vmap(grad) ms"]
    show("Jacobian", header, [measured(name, problem) for name, problem in PROBLEMS.items()])


def measured(name: str, problem: PDEProblem) -> list[str]:
    residual, x = problem.residual, problem.x0
    _, jacobian = residual.linearize(x)
    wide = jacobian if jacobian.shape[0] < jacobian.shape[1] else jacobian.T
    fast = medians(
        {
            "residual": lambda: problem.objective.residuals(x),
            "jacobian": lambda: residual.linearize(x),
            "gram": lambda: wide @ wide.T,
        }
    )
    general = medians({"rows": lambda: per_row(problem)}, repeat=3)["rows"]
    ratio = f"{fast['jacobian'] / fast['residual']:.1f}"
    times = [f"{1e3 * seconds:.1f}" for seconds in (*fast.values(), general)]
    return [name, *(str(size) for size in jacobian.shape), *times[:2], ratio, *times[2:]]


def per_row(problem: PDEProblem, chunk: int = 128) -> Tensor:
    """The gradients of the Laplacian at the interior points by torch's own tools, shape (t, n)."""

    def summed(x: Tensor, z: Tensor) -> Tensor:
        return problem.network.channels(x, z[None], LAPLACIAN).sum()

    rows: Tensor = torch.func.vmap(torch.func.grad(summed), in_dims=(None, 0), chunk_size=chunk)(
        problem.x0, problem.interior_points
    )
    return rows
