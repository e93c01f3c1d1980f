"""The row Jacobian beside one evaluation of the residual, its Gram product, and torch's vmap(grad) of the same rows.

vmap(grad) takes the interior rows alone, in chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.measure import medians, show
from multilevel_opt.pde import Needs
from problems import Poisson

NETWORKS = {
    "2-500-1": {"width": 500, "points": "45x45"},
    "2-64-64-64-1": {"width": 64, "depth": 3, "points": 1000, "sampling": "sobol"},
}


def run(seeds: Sequence[int]) -> None:
    header = ["network", "m", "n", "residual ms", "Jacobian ms", "ratio", "Gram ms", "vmap(grad) ms"]
    rows = [measured(name, Poisson(dim=2, seed=seeds[0], **options)) for name, options in NETWORKS.items()]
    show("Jacobian", header, rows)


def measured(name: str, problem: Poisson) -> list[str]:
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


def per_row(problem: Poisson, chunk: int = 128) -> Tensor:
    """The gradients of the Laplacian at the interior points by torch's own tools, shape (t, n)."""

    def laplacian(x: Tensor, z: Tensor) -> Tensor:
        channel = problem.network.channels(x, z[None], Needs(laplacian=True)).laplacian
        assert channel is not None
        return channel[0]

    rows: Tensor = torch.func.vmap(torch.func.grad(laplacian), in_dims=(None, 0), chunk_size=chunk)(
        problem.x0, problem.interior_points
    )
    return rows
