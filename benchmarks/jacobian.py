"""The row Jacobian beside one evaluation of the residual, its Gram product, and torch's vmap(grad) of the same rows.

vmap(grad) takes the first block alone, in chunks, one row a point. Below Poisson's equation on one hidden layer and on
2-64-64-64 with 1000 points: a nonlinear equation, hard constraints, systems of two and three functions with as many
equations, and derivatives of order three and four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import medians, show
from multilevel_opt.pde import PDEProblem
from problems import Kovasznay, Poisson

NET: dict[str, Any] = {"width": 64, "depth": 3, "points": 1000, "sampling": "sobol"}
DEEP = {"dim": 2, **NET}


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


@dataclass(frozen=True, kw_only=True)
class Dispersion(PDEProblem):
    """u_y + 6 u u_x + u_xxx = 0."""

    def equation(self, u: Any, z: Tensor) -> Tensor:
        return u.y + 6.0 * u.value * u.x + u.xxx

    def conditions(self) -> list[Any]:
        return []


@dataclass(frozen=True, kw_only=True)
class ConstrainedDispersion(Dispersion):
    """The same with u = 0 on the boundary by construction."""

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        return (z * (1.0 - z)).prod(1, keepdim=True) * n


@dataclass(frozen=True, kw_only=True)
class Plate(Dispersion):
    """u_xxxx + 2 u_xxyy + u_yyyy = 1."""

    def equation(self, u: Any, z: Tensor) -> Tensor:
        return u.xxxx + 2.0 * u.xxyy + u.yyyy - 1.0


PROBLEMS: dict[str, PDEProblem] = {
    "2-500-1": Poisson(dim=2, width=500, points="45x45"),
    "2-64-64-64-1": Poisson(**DEEP),
    "nonlinear": Bratu(**DEEP),
    "hard constraint": Constrained(**DEEP),
    "two functions": Reaction(**DEEP),
    "three functions": Kovasznay(**NET),
    "third order": Dispersion(**DEEP),
    "third order, hard": ConstrainedDispersion(**DEEP),
    "fourth order, mixed": Plate(**DEEP),
}


def run(seeds: Sequence[int]) -> None:
    header = ["network", "m", "n", "residual ms", "Jacobian ms", "ratio", "Gram ms", "vmap(grad) ms"]
    show("Jacobian", header, [measured(name, problem) for name, problem in PROBLEMS.items()])


def measured(name: str, problem: PDEProblem) -> list[str]:
    residual, x = problem.residual, problem.x0
    _, jacobian = residual.linearize(x)
    wide = jacobian if jacobian.shape[0] < jacobian.shape[1] else jacobian.T
    fast = medians({"residual": lambda: problem.objective.residuals(x), "jacobian": lambda: residual.linearize(x)})
    fast |= medians({"gram": lambda: wide @ wide.T}, repeat=3)
    general = medians({"rows": lambda: per_row(problem)}, repeat=3)["rows"]
    ratio = f"{fast['jacobian'] / fast['residual']:.1f}"
    times = [f"{1e3 * seconds:.1f}" for seconds in (*fast.values(), general)]
    return [name, *(str(size) for size in jacobian.shape), *times[:2], ratio, *times[2:]]


def per_row(problem: PDEProblem, chunk: int = 128) -> Tensor:
    """The gradients of the summed channels at the points of the first block by torch's own tools, shape (t, n)."""
    block = problem.residual.blocks[0]
    assert block.needs is not None
    network, needs, n = problem.network, block.needs, problem.network.size

    def summed(x: Tensor, z: Tensor) -> Tensor:
        return network.channels(x, z[None], needs).sum()

    rows: Tensor = torch.func.vmap(torch.func.grad(summed), in_dims=(None, 0), chunk_size=chunk)(
        problem.x0[:n], block.points
    )
    return rows
