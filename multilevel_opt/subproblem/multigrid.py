"""One multigrid V-cycle for H e = r, as a preconditioner.

H belongs to the fine model, and on every level below it is the second form of that level's model at the restricted
point. Smoothing is damped Jacobi with the weights of a Chebyshev polynomial on the upper part [λ/β, λ] of the spectrum
of D⁻¹H, in reversed order after the coarse correction, so that the cycle is symmetric. The coarsest system is solved
by Cholesky factorization where it is small, and by smoothing where it is not (Briggs, Henson & McCormick 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, inf, pi

import torch
from torch import Tensor

from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.transfer.operator import TransferOperator


@dataclass(frozen=True, eq=False)
class Rung:
    """A level below, as the linear algebra of a step sees it.

    Attributes:
        transfer: between the level above and this one.
        model: of this level's objective at the restricted point, of order 2.
        ledger: of this level.
    """

    transfer: TransferOperator
    model: Taylor
    ledger: Ledger


@dataclass(frozen=True)
class Smoothing:
    """Jacobi sweeps with Chebyshev weights.

    Attributes:
        sweeps: before and after the coarse correction.
        ratio: β, the sweeps damp the eigenvalues in [λ/β, λ].
        direct: unknowns up to which the coarsest system is factored.
        power: power iterations that estimate λ.
    """

    sweeps: int = 1
    ratio: float = 4.0
    direct: int = 300
    power: int = 8

    def weights(self, largest: float) -> list[float]:
        """ω of every sweep for the largest eigenvalue λ of D⁻¹H."""
        middle, half = 0.5 * (1 + 1 / self.ratio) * largest, 0.5 * (1 - 1 / self.ratio) * largest
        angles = [(2 * k + 1) * pi / (2 * self.sweeps) for k in range(self.sweeps)]
        return [1 / (middle + half * cos(angle)) for angle in angles]


class _Grid:
    """Products, inverse diagonal and sweeps of one level."""

    def __init__(self, model: Taylor, smoothing: Smoothing) -> None:
        self.product = model.forms[1]
        gradient = model.gradient
        diagonal = model.second.diagonal() if model.second is not None else torch.ones_like(gradient)
        self.inverse = torch.where(diagonal > 0, 1 / diagonal, torch.zeros_like(diagonal))
        spread = model.second.spread() if model.second is not None else inf
        self.weights = smoothing.weights(spread if spread < inf else self._largest(gradient, smoothing.power))

    def _largest(self, like: Tensor, iterations: int) -> float:
        """The largest eigenvalue of D⁻¹H by power iterations from a rough vector, with 20 % to spare."""
        v = torch.cos(1e4 * torch.linspace(-1, 1, like.numel(), dtype=like.dtype, device=like.device))
        largest = 0.0
        for _ in range(iterations):
            w = self.inverse * self.product(v)
            largest = float(w.norm() / v.norm())
            v = w
        return 1.2 * largest


class VCycle:
    """r -> e ≈ H⁻¹ r, shapes (n,) -> (n,).

    Args:
        model: of the fine level.
        rungs: the levels below, finest first; at least one.
        smoothing: sweeps.
    """

    def __init__(self, model: Taylor, rungs: Sequence[Rung], smoothing: Smoothing) -> None:
        self.rungs = rungs
        self.factor = _factor(rungs[-1], smoothing.direct)
        smoothed = [model, *(rung.model for rung in (rungs if self.factor is None else rungs[:-1]))]
        self.grids = [_Grid(each, smoothing) for each in smoothed]

    def __call__(self, r: Tensor) -> Tensor:
        return self._cycle(r, 0)

    def _cycle(self, r: Tensor, level: int) -> Tensor:
        if level == len(self.rungs):
            return self._coarsest(r)
        grid = self.grids[level]
        e = (grid.weights[0] * grid.inverse) * r
        for weight in grid.weights[1:]:
            e.addcmul_(grid.inverse, r - grid.product(e), value=weight)
        rung = self.rungs[level]
        rung.ledger.work(4.0 * rung.transfer.nnz)
        below = rung.transfer.restrict(r - grid.product(e))
        e += rung.transfer.prolong(self._cycle(below, level + 1))
        for weight in reversed(grid.weights):
            e.addcmul_(grid.inverse, r - grid.product(e), value=weight)
        return e

    def _coarsest(self, r: Tensor) -> Tensor:
        if self.factor is not None:
            self.rungs[-1].ledger.work(2.0 * r.numel() ** 2)
            return torch.cholesky_solve(r[:, None], self.factor)[:, 0]
        grid = self.grids[-1]
        e = torch.zeros_like(r)
        for weight in [*grid.weights, *reversed(grid.weights)]:
            e.addcmul_(grid.inverse, r - grid.product(e), value=weight)
        return e


def _factor(rung: Rung, direct: int) -> Tensor | None:
    """The Cholesky factor of the coarsest matrix, shifted where it is not positive definite."""
    size = rung.model.gradient.numel()
    if size > direct:
        return None
    matrix = _dense(rung.model)
    rung.ledger.work(size**3 / 3)
    found = torch.linalg.cholesky_ex(matrix)
    if int(found.info) == 0:
        factor: Tensor = found.L
        return factor
    values, vectors = torch.linalg.eigh(matrix)
    rung.ledger.work(9.0 * size**3)
    clipped = values.abs().clamp_min(1e-3 * float(values.abs().max()))
    definite: Tensor = torch.linalg.cholesky((vectors * clipped) @ vectors.T)
    return definite


def _dense(model: Taylor) -> Tensor:
    if model.second is not None:
        return model.second.matrix()
    size = model.gradient.numel()
    identity = torch.eye(size, dtype=model.gradient.dtype, device=model.gradient.device)
    matrix = torch.stack([model.forms[1](row) for row in identity])
    return 0.5 * (matrix + matrix.T)
