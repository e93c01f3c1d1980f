"""Sums of squares of element residuals, f(x) = Σᵢ ‖ρᵢ(Uᵢ x)‖², as least squares and as a partially separable function.

In the notation of least squares f = ½‖r‖² with r = √2 (ρ₁, ρ₂, …). The Jacobian has one small dense block (k, nᵢ) for
each element; it is stored as those blocks, or scattered into a dense matrix where that is small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.operator import LinearOperator
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.residual import Residual
from multilevel_opt.objective.separable import Elements, PartiallySeparable

DENSE_WORK = 1e8  # a dense Jacobian is formed where its Gram matrix costs at most so many operations
SCALE = sqrt(2.0)


@dataclass(frozen=True, eq=False)
class ElementResiduals:
    """Residuals of one form.

    Attributes:
        indices: the variables of each element, int64 of shape (E, nᵢ).
        function: (u, *data) -> residuals of shape (E, k) for u of shape (E, nᵢ), row by row.
        data: constants of the elements, each with a leading axis of length E.
    """

    indices: Tensor
    function: Callable[..., Tensor]
    data: tuple[Tensor, ...] = ()

    @property
    def squares(self) -> Elements:
        """The elements fᵢ = ‖ρᵢ‖²."""
        return Elements(self.indices, lambda u, *data: self.function(u, *data).square().sum(1), self.data)

    @property
    def rows(self) -> int:
        """Number of residuals E k, found by calling the function once, at zero."""
        zero = torch.zeros(self.indices.shape, dtype=torch.float64, device=self.indices.device)
        with torch.no_grad():
            return self.residuals(zero).numel()

    def residuals(self, u: Tensor) -> Tensor:
        """ρ of shape (E, k); raises ``ShapeError``."""
        found: Tensor = self.function(u, *self.data)
        if found.ndim != 2 or len(found) != len(self.indices):
            raise ShapeError(
                f"{len(self.indices)} element residuals must be of shape ({len(self.indices)}, k), "
                f"got {tuple(found.shape)}: return one row for each element"
            )
        return found

    def blocks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(ρ, ∂ρ/∂u) of shapes (E, k) and (E, k, nᵢ), detached; k reverse passes."""
        u = x.detach()[self.indices].requires_grad_()
        with torch.enable_grad():
            rho = self.residuals(u)
            columns = [column.sum() for column in rho.unbind(1)]
        lines = [
            torch.autograd.grad(c, u, retain_graph=True, materialize_grads=True)[0]
            if c.requires_grad
            else torch.zeros_like(u)
            for c in columns
        ]
        return rho.detach(), torch.stack(lines, dim=1)


class BlockJacobian(LinearOperator):
    """The Jacobian of all residuals as its blocks.

    Args:
        indices: for each group (E, nᵢ).
        blocks: for each group (E, k, nᵢ).
        n: number of variables.
        ledger: where products are recorded.
    """

    def __init__(self, indices: Sequence[Tensor], blocks: Sequence[Tensor], n: int, ledger: Ledger) -> None:
        self._parts = tuple(zip(indices, blocks, strict=True))
        self._ledger, self._sizes = ledger, [block.shape[0] * block.shape[1] for block in blocks]
        self.shape = (sum(self._sizes), n)
        self.nnz = sum(block.numel() for block in blocks)

    def matvec(self, v: Tensor) -> Tensor:
        self._ledger.count("jvp", 2.0 * self.nnz)
        return torch.cat([(block * v[index][:, None, :]).sum(2).reshape(-1) for index, block in self._parts])

    def rmatvec(self, w: Tensor) -> Tensor:
        self._ledger.count("vjp", 2.0 * self.nnz)
        total = w.new_zeros(self.shape[1])
        for (index, block), rows in zip(self._parts, w.split(self._sizes), strict=True):
            parts = (block * rows.reshape(block.shape[:2])[:, :, None]).sum(1)
            total.index_add_(0, index.reshape(-1), parts.reshape(-1))
        return total

    def after(self, dense: Tensor) -> Tensor:
        return dense @ self.matrix

    @property
    def matrix(self) -> Tensor:
        """The dense matrix, shape (m, n)."""
        first = self._parts[0][1]
        full, start = first.new_zeros(self.shape), 0
        for (index, block), size in zip(self._parts, self._sizes, strict=True):
            rows = torch.arange(start, start + size, device=first.device).reshape(block.shape[:2])[:, :, None]
            full.index_put_((rows.expand_as(block), index[:, None, :].expand_as(block)), block, accumulate=True)
            start += size
        return full


class _StackedResidual(Residual):
    """r = √2 (ρ₁, ρ₂, …) of shape (m,), the groups one after another."""

    def __init__(self, groups: Sequence[ElementResiduals], n: int) -> None:
        self.groups, self.n = tuple(groups), n

    def __call__(self, x: Tensor) -> Tensor:
        return SCALE * torch.cat([group.residuals(x[group.indices]).reshape(-1) for group in self.groups])

    def linearize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r, operator = self.operator(x, Ledger())
        return r, operator.matrix

    def operator(self, x: Tensor, ledger: Ledger) -> tuple[Tensor, BlockJacobian]:
        """(r, J) with J as blocks."""
        found = [group.blocks(x) for group in self.groups]
        r = SCALE * torch.cat([rho.reshape(-1) for rho, _ in found])
        return r, BlockJacobian([g.indices for g in self.groups], [SCALE * b for _, b in found], self.n, ledger)


class SeparableSquares(LeastSquares):
    """Least squares over element residuals; its exact expansions are those of the partially separable function.

    Args:
        groups: the residuals.
        n: number of variables.
        matrix_free: keep J as blocks; None: where the dense matrix would be large.
        ledger: where evaluations are recorded.
    """

    by_rows = False

    def __init__(
        self,
        groups: Sequence[ElementResiduals],
        n: int,
        matrix_free: bool | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.stacked = _StackedResidual(groups, n)
        self.structure = PartiallySeparable([group.squares for group in groups], n)
        self.n_rows = sum(group.rows for group in groups)
        large = float(self.n_rows) * n * min(self.n_rows, n) > DENSE_WORK
        super().__init__(self.stacked, large if matrix_free is None else matrix_free, ledger)

    @property
    def exact(self) -> Objective:
        """The partially separable function, with its exact derivatives of every order."""
        return self.structure.counted(self.ledger)

    def unit(self, r: Tensor, x: Tensor) -> float:
        self._rows = r.numel()
        return self.structure.work

    def _linearized(self, x: Tensor) -> tuple[Tensor, LinearOperator]:
        if not self.matrix_free:
            return super()._linearized(x)
        r, operator = self.stacked.operator(x, self.ledger)
        self.ledger.count("jacobian", 3 * self.unit(r, x))
        return r, operator
