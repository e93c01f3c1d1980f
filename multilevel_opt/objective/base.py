"""Objectives: scalar functions f: R^n -> R with one verb, ``expand(x, order) -> Taylor``.

``Function`` is a torch callable whose forms come from one reverse-mode chain on one retained graph:

    D f = ∇f,   D²f[v] = ∇⟨∇f, v⟩,   D³f[v, w] = ∇⟨D²f[v], w⟩,  …

The structured kinds (least squares, sums, shifts, pull-backs) override ``expand`` and keep what they know.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.taylor import Form, MatrixForm, Taylor

if TYPE_CHECKING:
    from multilevel_opt.transfer.operator import TransferOperator


class Objective(ABC):
    """A scalar function of a flat vector.

    Attributes:
        ledger: where this objective records what its evaluations cost.
        joint: whether a gradient costs little more than a value, so that trial points are expanded at once.
    """

    joint: bool = False

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger if ledger is not None else Ledger()

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """f(x), a scalar tensor without graph, for x of shape (n,)."""

    @abstractmethod
    def expand(self, x: Tensor, order: int) -> Taylor:
        """The Taylor polynomial of degree ``order`` at x."""

    @property
    def exact(self) -> Objective:
        """The same function with its exact second derivatives (differs for least squares)."""
        return self

    @property
    def has_residual(self) -> bool:
        """Whether expansions of order 2 have a normal form, as Gauss–Newton methods need it."""
        return False

    def counted(self, ledger: Ledger) -> Self:
        """The same objective, recording into another ledger."""
        other = copy.copy(self)
        other.ledger = ledger
        return other

    def deferred(self) -> Objective:
        """The same function, whose expansions compute second derivatives only when these are asked for."""
        return self

    def held_out(self) -> Objective | None:
        """The same loss of rows that are not trained on; None where there are none to be had."""
        return None

    def refined(self, x: Tensor, seed: int) -> Self | None:
        """The same loss with as many rows again, see ``Residual.refined``; None where there are none to be had."""
        return None

    def pullback(self, x: Tensor, transfer: TransferOperator) -> tuple[Objective, Tensor]:
        """The function y -> f(x + P (y − y₀)) and its start point y₀; coherent with f to every order."""
        from multilevel_opt.objective.algebra import Pullback

        return Pullback(self, x, transfer), x.new_zeros(transfer.n_coarse)

    def __add__(self, other: Objective) -> Objective:
        from multilevel_opt.objective.algebra import Sum

        return Sum((self, other))

    def at(self, x: Tensor) -> Objective:
        """The shifted function s -> f(x + s)."""
        from multilevel_opt.objective.algebra import Shifted

        return Shifted(self, x)

    def __matmul__(self, transfer: TransferOperator) -> Objective:
        """The pulled-back function s -> f(P s)."""
        from multilevel_opt.objective.algebra import Pullback

        return Pullback(self, None, transfer)


class Function(Objective):
    """A torch callable R^n -> R.

    Args:
        function: takes a tensor of shape (n,), returns a scalar tensor; differentiable by autograd.
        flops: floating-point operations of one evaluation, if known; a gradient is counted as three
            evaluations (one forward, one reverse sweep at twice its cost), a Hessian product as six.
        ledger: where evaluations are recorded.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], flops: float = 0.0, ledger: Ledger | None = None) -> None:
        super().__init__(ledger)
        self.function = function
        self._flops = flops

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            value = self.function(x)
        self.ledger.count("function", self.cost(x))
        return _scalar(value)

    def cost(self, x: Tensor) -> float:
        """Floating-point operations of one evaluation, asked for after it."""
        return self._flops

    def expand(self, x: Tensor, order: int) -> Taylor:
        point = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = _scalar(self.function(point))
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value, point, create_graph=order > 1, materialize_grads=True)
            else:
                gradient = torch.zeros_like(point)
        self.ledger.count("gradient", 3 * self.cost(x))
        flat = gradient.detach()
        forms: list[Form] = [lambda: flat]
        forms += [self._form(gradient, point, k) for k in range(1, order)]
        return Taylor(value.detach(), tuple(forms))

    def _form(self, gradient: Tensor, point: Tensor, directions: int) -> Form:
        def along(vectors: Sequence[Tensor]) -> Tensor:
            t = gradient
            for v in vectors:
                if not t.requires_grad:
                    return torch.zeros_like(v)
                (t,) = torch.autograd.grad(t, point, v, create_graph=True, materialize_grads=True)
            return t

        def products(*vectors: Tensor) -> Tensor:
            assert len(vectors) == directions
            with torch.enable_grad():
                t = along(vectors[:-1])
                if t.requires_grad:
                    (t,) = torch.autograd.grad(t, point, vectors[-1], retain_graph=True, materialize_grads=True)
                else:
                    t = torch.zeros_like(point)
            self.ledger.count("hvp", 6 * self.cost(point) * directions, times=directions)
            return t.detach()

        def matrix(*fixed: Tensor) -> Tensor:
            n = point.numel()
            with torch.enable_grad():
                rows = _jacobian(along(fixed), point)
            times = len(fixed) + n
            self.ledger.count("hvp", 6 * self.cost(point) * times, times=times)
            return rows.detach()

        return MatrixForm(products, matrix)


def _jacobian(t: Tensor, point: Tensor) -> Tensor:
    """∂t/∂point of shape (n, n), all rows at once where the operations have batching rules, else row by row."""
    n = point.numel()
    if not t.requires_grad:
        return point.new_zeros(n, n)
    unit = torch.eye(n, dtype=point.dtype, device=point.device)
    try:
        (rows,) = torch.autograd.grad(t, point, unit, retain_graph=True, is_grads_batched=True, materialize_grads=True)
    except RuntimeError:
        each = [torch.autograd.grad(t, point, e, retain_graph=True, materialize_grads=True)[0] for e in unit]
        rows = torch.stack(each)
    return rows


def _scalar(value: Tensor) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(f"the objective must return one number, got {shape}: reduce it with .sum() or .mean()")
    return value.reshape(())
