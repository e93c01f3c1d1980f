"""Newton's method with sparse direct solves, for energies on grids."""

from __future__ import annotations

import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

import multilevel_opt as mlo


def newton(objective: mlo.Objective, x: Tensor, steps: int = 30) -> Tensor:
    """The point where the gradient is as small as the precision allows, from x; full steps."""
    best = float("inf")
    for _ in range(steps):
        model = objective.expand(x, 2)
        norm = float(model.gradient.norm())
        if norm >= 0.5 * best:
            return x
        best = norm
        assert model.second is not None
        columns = model.second.matrix().numpy()
        x = x - torch.from_numpy(scipy.sparse.linalg.spsolve(scipy.sparse.csc_matrix(columns), model.gradient.numpy()))
    return x
