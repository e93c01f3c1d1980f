"""Nonlinear least squares f(x) = ½‖r(x)‖²: an objective with better information.

Its expansion has the Gauss–Newton form JᵀJ as second form, and carries (r, J) for the solvers that can use
them. The Jacobian is dense, or a pair of products where it would not fit the memory budget.
"""

from __future__ import annotations

import copy
from math import inf
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError, UnsupportedCombination
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.operator import ByRows, Deferred, Dense, LinearOperator
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.layout import Layout
from multilevel_opt.objective.residual import Residual, ResidualFunction, as_residual
from multilevel_opt.objective.taylor import NormalForm, Taylor

if TYPE_CHECKING:
    from multilevel_opt.transfer.operator import TransferOperator


SECOND_STEP = 1e-3  # of the central difference d²/dt² r(x + t s): truncation 1e-7, rounding 1e-10 of r


class LeastSquares(Objective):
    """½‖r(x)‖² for a residual r: R^n -> R^m.

    Args:
        residual: a ``Residual``, or any torch callable from shape (n,) to shape (m,).
        matrix_free: never form J; expansions then carry products only.
        ledger: where evaluations are recorded.

    Flops counted for m rows, n parameters and c derivative channels: residual 2cmn, Jacobian 6cmn (forward
    and reverse sweep), J v 4cmn, Jᵀw 6cmn, and 2mn for a product with a stored J.
    """

    by_rows: ClassVar[bool] = True  # single rows of a J that is not formed can be had

    def __init__(
        self,
        residual: Residual | ResidualFunction,
        matrix_free: bool = False,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__(ledger)
        self.residual = as_residual(residual)
        self.matrix_free = matrix_free
        self.memory = inf
        self._rows = 0
        self._deferred = False

    @property
    def layout(self) -> Layout | None:
        """Where the parameters of a network lie, or None."""
        return self.residual.layout

    @property
    def evaluated_rows(self) -> int:
        """m, once a residual has been evaluated; 0 before."""
        return self._rows

    def residuals(self, x: Tensor) -> Tensor:
        """r(x), shape (m,), counted."""
        with torch.no_grad():
            r = _vector(self.residual(x))
        self.ledger.count("residual", self.unit(r, x))
        return r

    def __call__(self, x: Tensor) -> Tensor:
        r = self.residuals(x)
        return 0.5 * (r @ r)

    def jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(r, J) of shapes (m,) and (m, n), counted."""
        with torch.no_grad():
            r, jacobian = self.residual.linearize(x)
        _vector(r)
        self.ledger.count("jacobian", 3 * self.unit(r, x))
        return r, jacobian

    def columns(self, x: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """(r, J[:, own]), counted as J is."""
        with torch.no_grad():
            r, columns = self.residual.columns(x, own)
        self.ledger.count("jacobian", 3 * self.unit(r, x))
        return r, columns

    def expand(self, x: Tensor, order: int) -> Taylor:
        if order > 2:
            raise UnsupportedCombination(
                f"a least-squares model has order at most 2, asked for {order}: use Exact() curvature for higher orders"
            )
        if self._deferred and not self.matrix_free:
            return self._expanded_later(x, order)
        r, operator = self._linearized(x)
        stored = 2.0 * operator.nnz if isinstance(operator, Dense) else 0.0  # other products count themselves
        gradient = operator.rmatvec(r)
        self.ledger.count("gradient", stored)
        value = 0.5 * (r @ r)
        if order == 1:
            return Taylor(value, (lambda: gradient,))

        return self._normal_model(x, r, value, gradient, operator, stored)

    def _expanded_later(self, x: Tensor, order: int) -> Taylor:
        """The expansion with the gradient by one reverse sweep, and J when it is first used."""
        point = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            found = _vector(self.residual(point))
        r, gradient = found.detach(), torch.zeros_like(x)
        if found.requires_grad:
            (gradient,) = torch.autograd.grad(found, point, r, materialize_grads=True)
        value = 0.5 * (r @ r)
        self.ledger.count("residual")
        self.ledger.count("vjp", 3 * self.unit(r, x))
        if order == 1:
            return Taylor(value, (lambda: gradient,))
        operator = Deferred((r.numel(), x.numel()), lambda: self.jacobian(x)[1])
        return self._normal_model(x, r, value, gradient, operator, 2.0 * operator.nnz)

    def _normal_model(
        self, x: Tensor, r: Tensor, value: Tensor, gradient: Tensor, operator: LinearOperator, stored: float
    ) -> Taylor:
        def hvp(v: Tensor) -> Tensor:
            self.ledger.count("hvp", 2 * stored)
            return operator.rmatvec(operator.matvec(v))

        def second(s: Tensor) -> Tensor:
            ahead, behind = self.residuals(x + SECOND_STEP * s), self.residuals(x - SECOND_STEP * s)
            return (ahead - 2 * r + behind) / SECOND_STEP**2

        channels = self.residual.channels
        normal = NormalForm(r, operator, None, 0.0, self.ledger, second, self.memory, channels)
        return Taylor(value, (lambda: gradient, hvp), normal)

    def _linearized(self, x: Tensor) -> tuple[Tensor, LinearOperator]:
        if not self.matrix_free:
            r, jacobian = self.jacobian(x)
            return r, Dense(jacobian)
        r = self.residuals(x)
        unit = self.unit(r, x)

        def jvp(v: Tensor) -> Tensor:
            self.ledger.count("jvp", 2 * unit)
            return self.residual.jvp(x, v)

        def vjp(w: Tensor) -> Tensor:
            self.ledger.count("vjp", 3 * unit)
            return self.residual.vjp(x, w)

        def some(ids: Tensor) -> Tensor:
            self.ledger.count("jacobian", 3 * unit * ids.numel() / r.numel())
            with torch.no_grad():
                return self.residual.rows(ids).linearize(x)[1]

        return r, ByRows((r.numel(), x.numel()), jvp, vjp, some)

    @property
    def exact(self) -> Objective:
        """½‖r‖² as a plain function, with its exact Hessian."""
        return _HalfSquares(self)

    @property
    def has_residual(self) -> bool:
        return True

    def held_out(self) -> LeastSquares | None:
        found = self.residual.held_out()
        return None if found is None else LeastSquares(found, ledger=self.ledger)

    def refined(self, x: Tensor, seed: int) -> Self | None:
        found = self.residual.refined(x, seed)
        if found is None:
            return None
        other = copy.copy(self)
        other.residual = found
        return other

    def deferred(self) -> Self:
        other = copy.copy(self)
        other._deferred = True
        return other

    def without_matrix(self) -> Self:
        """The same objective, whose expansions carry products with J only."""
        other = copy.copy(self)
        other.matrix_free = True
        return other

    def within(self, memory: float) -> Self:
        """The same objective, with a budget in bytes for the linear algebra of its models."""
        other = copy.copy(self)
        other.memory = memory
        return other

    def rows(self, ids: Tensor) -> LeastSquares:
        """The objective of the rows ``ids`` (int64, shape (k,)) alone."""
        return LeastSquares(self.residual.rows(ids), self.matrix_free)

    def pullback(self, x: Tensor, transfer: TransferOperator) -> tuple[Objective, Tensor]:
        """As for any objective; a selection of whole neurons freezes the rest of the network once."""
        if transfer.neurons is None:
            return super().pullback(x, transfer)
        residual, indices = self.residual.subnetwork(x, transfer.neurons)
        self.ledger.count("residual", 2.0 * residual.channels * self._rows * x.numel())
        return LeastSquares(residual, self.matrix_free, self.ledger), x[indices]

    def unit(self, r: Tensor, x: Tensor) -> float:
        """Floating-point operations of one residual."""
        self._rows = r.numel()
        return 2.0 * self.residual.channels * r.numel() * x.numel()


class _HalfSquares(Function):
    """½‖r‖² of a least-squares objective as a plain function, at the cost of its residual."""

    def __init__(self, owner: LeastSquares) -> None:
        super().__init__(self._value, ledger=owner.ledger)
        self._owner = owner
        self._cost = 0.0

    def _value(self, x: Tensor) -> Tensor:
        r = _vector(self._owner.residual(x))
        self._cost = self._owner.unit(r, x)
        return 0.5 * (r @ r)

    def cost(self, x: Tensor) -> float:
        return self._cost


def _vector(r: Tensor) -> Tensor:
    if not isinstance(r, Tensor) or r.ndim != 1:
        shape = tuple(r.shape) if isinstance(r, Tensor) else type(r).__name__
        raise ShapeError(f"the residual must return a tensor of shape (m,), got {shape}: use .reshape(-1)")
    return r
