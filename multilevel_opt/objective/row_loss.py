"""The mean of a loss over rows, f(x) = (1/m) Σᵢ φ(uᵢ(x), yᵢ): what training minimizes when the loss is not a square.

With U = ∂u/∂x the gradient is Uᵀφ'/m, and the generalized Gauss–Newton form Uᵀ diag(h) U / m with a curvature h > 0
of the loss: φ'' where φ is convex, or a larger weight such as that of iteratively reweighted least squares,
h = φ'(r)/r for a loss of r = u − y. In normal form (residual φ'/√(h m), Jacobian √(h/m) U) it is a linear least-squares
problem with the gradient of f, so that the solvers of least squares take it, on subnetworks too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.operator import Dense, LinearOperator, Product
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.layout import Layout
from multilevel_opt.objective.residual import Residual, ResidualFunction, as_residual
from multilevel_opt.objective.taylor import NormalForm, Taylor

if TYPE_CHECKING:
    from multilevel_opt.transfer.operator import TransferOperator

RowFunction = Callable[[Tensor, Tensor], Tensor]
FLOOR = 1e-8  # smallest curvature of a row, relative to the largest


class RowLoss(Objective):
    """The mean over rows of a loss of outputs and data.

    Args:
        outputs: x -> u(x) of shape (m,), a ``Residual`` or any torch callable.
        data: y, shape (m,).
        loss: (u, y) -> φ of shape (m,), row by row and twice differentiable.
        curvature: (u, y) -> h of shape (m,); None for φ''. Where it is below 1e-8 of its largest entry, that is used.
        ledger: where evaluations are recorded.

    Flops are counted as for ``LeastSquares``.
    """

    def __init__(
        self,
        outputs: Residual | ResidualFunction,
        data: Tensor,
        loss: RowFunction,
        curvature: RowFunction | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__(ledger)
        self.outputs, self.data, self.loss, self.curvature = as_residual(outputs), data, loss, curvature
        self.matrix_free = False

    @property
    def layout(self) -> Layout | None:
        """Where the parameters of a network lie, or None."""
        return self.outputs.layout

    @property
    def has_residual(self) -> bool:
        return True

    @property
    def exact(self) -> Objective:
        """The same function with its exact Hessian."""
        return Function(self._mean, 2.0 * self._unit(self.outputs.layout), self.ledger)

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            value = self._mean(x)
        self.ledger.count("residual", self._cost(x))
        return value

    def expand(self, x: Tensor, order: int) -> Taylor:
        u, operator = self._linearized(x)
        value, slope, curvature = self._row_derivatives(u)
        m = u.numel()
        gradient = operator.rmatvec(slope / m)
        self.ledger.count("gradient", 2.0 * operator.nnz if isinstance(operator, Dense) else 0.0)
        if order == 1:
            return Taylor(value, (lambda: gradient,))
        if order > 2:
            return self.exact.expand(x, order)

        def hvp(v: Tensor) -> Tensor:
            self.ledger.count("hvp", 4.0 * operator.nnz if isinstance(operator, Dense) else 0.0)
            return operator.rmatvec(curvature * operator.matvec(v) / m)

        root = (curvature / m).sqrt()
        normal = NormalForm(slope / (m * root), _row_scaled(operator, root), None, 0.0, self.ledger)
        return Taylor(value, (lambda: gradient, hvp), normal)

    def without_matrix(self) -> Self:
        """The same objective, whose expansions carry products with U only."""
        other = copy.copy(self)
        other.matrix_free = True
        return other

    def pullback(self, x: Tensor, transfer: TransferOperator) -> tuple[Objective, Tensor]:
        """As for any objective; a selection of whole neurons freezes the rest of the network once."""
        if transfer.neurons is None:
            return super().pullback(x, transfer)
        outputs, indices = self.outputs.subnetwork(x, transfer.neurons)
        self.ledger.count("residual", self._cost(x))
        coarse = RowLoss(outputs, self.data, self.loss, self.curvature, self.ledger)
        coarse.matrix_free = self.matrix_free
        return coarse, x[indices]

    def _mean(self, x: Tensor) -> Tensor:
        return self._rows(self.outputs(x)).mean()

    def _rows(self, u: Tensor) -> Tensor:
        if u.shape != self.data.shape:
            raise ShapeError(
                f"the outputs have shape {tuple(u.shape)}, the data {tuple(self.data.shape)}: make both of shape (m,)"
            )
        rows = self.loss(u, self.data)
        if rows.shape != u.shape:
            raise ShapeError(f"the loss must return one number per row, got {tuple(rows.shape)}: leave out the mean")
        return rows

    def _row_derivatives(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(f, φ', h), the last two of shape (m,)."""
        leaf = u.detach().requires_grad_()
        with torch.enable_grad():
            rows = self._rows(leaf)
            (slope,) = torch.autograd.grad(rows.sum(), leaf, create_graph=self.curvature is None)
            if self.curvature is not None:
                h = self.curvature(u, self.data)
            else:
                (h,) = torch.autograd.grad(slope.sum(), leaf, materialize_grads=True)
        largest = float(h.abs().max()) if h.numel() else 1.0
        return rows.detach().mean(), slope.detach(), h.detach().clamp_min(max(FLOOR * largest, 1e-300))

    def _linearized(self, x: Tensor) -> tuple[Tensor, LinearOperator]:
        if not self.matrix_free:
            with torch.no_grad():
                u, jacobian = self.outputs.linearize(x)
            self.ledger.count("jacobian", 3 * self._cost(x))
            return u, Dense(jacobian)
        with torch.no_grad():
            u = self.outputs(x)
        cost = self._cost(x)
        self.ledger.count("residual", cost)

        def jvp(v: Tensor) -> Tensor:
            self.ledger.count("jvp", 2 * cost)
            return self.outputs.jvp(x, v)

        def vjp(w: Tensor) -> Tensor:
            self.ledger.count("vjp", 3 * cost)
            return self.outputs.vjp(x, w)

        return u, Product((u.numel(), x.numel()), jvp, vjp)

    def _cost(self, x: Tensor) -> float:
        return 2.0 * self.outputs.channels * self.data.numel() * x.numel()

    def _unit(self, layout: Layout | None) -> float:
        return 0.0 if layout is None else self.outputs.channels * self.data.numel() * layout.size


def _row_scaled(operator: LinearOperator, root: Tensor) -> LinearOperator:
    """diag(root) U."""
    if isinstance(operator, Dense):
        return Dense(operator.matrix * root[:, None])
    return Product(operator.shape, lambda v: root * operator.matvec(v), lambda w: operator.rmatvec(root * w))
