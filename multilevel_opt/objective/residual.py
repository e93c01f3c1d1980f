"""Residuals r: R^n -> R^m, and what a structured one can say about itself.

A plain callable becomes a ``Residual`` whose Jacobian comes from ``torch.func``. A residual that knows
more (a network, a grid) overrides ``linearize`` with a faster path, and answers the two questions that
multilevel methods ask: which smaller residual lives on some of the neurons, and which on fewer rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.objective.layout import Layout

ResidualFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Strip:
    """Rows of one kind, in an order whose beginnings are spread over all of them.

    Attributes:
        order: int64 numbers (k,), each once; what they count (rows, points) is known to the residual.
        exponent: of a coarse level with the fraction φ of the rows, φ^exponent of these stay.
    """

    order: Tensor
    exponent: float = 1.0

    def kept(self, fraction: float) -> int:
        """How many stay; at least one."""
        return max(1, min(len(self.order), int(len(self.order) * float(fraction**self.exponent) + 0.5)))


class Residual:
    """Base class; a subclass gives ``__call__`` and may override the rest.

    Attributes:
        layout: where the parameters of a network lie, or None for an unstructured vector.
        channels: derivative channels carried through the network per row (1 without derivatives);
            an evaluation of m rows with n parameters is counted as 2·channels·m·n flops.
    """

    layout: Layout | None = None
    channels: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """r(x), shapes (n,) -> (m,)."""
        raise UnsupportedCombination(f"{type(self).__name__} defines no residual: give it a __call__(x)")

    def linearize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(r(x), J(x)) of shapes (m,) and (m, n)."""
        r = self(x)
        return r, dense_jacobian(self, x, r.numel())

    def columns(self, x: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """(r(x), J(x)[:, own]) for the parameters ``own``, int64 of shape (k,)."""
        r, jacobian = self.linearize(x)
        return r, jacobian[:, own.to(x.device)]

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        """J(x) v, shape (m,), without forming J."""
        return torch.func.jvp(self, (x,), (v,))[1]  # type: ignore[no-any-return]

    def vjp(self, x: Tensor, w: Tensor) -> Tensor:
        """J(x)ᵀ w, shape (n,), without forming J."""
        return torch.func.vjp(self, x)[1](w)[0]  # type: ignore[no-any-return]

    def rows(self, ids: Tensor) -> Residual:
        """The residual of the rows ``ids`` (int64 of shape (k,)) alone."""
        return FunctionResidual(lambda x: self(x)[ids])

    def strips(self, x: Tensor, seed: int = 0) -> list[Strip]:
        """The kinds of rows, for levels of fewer of them; here all rows are of one kind, in random order."""
        with torch.no_grad():
            m = self(x).numel()
        order = torch.randperm(m, generator=torch.Generator(device="cpu").manual_seed(seed), device="cpu")
        return [Strip(order.to(x.device))]

    def sampled(self, ids: Sequence[Tensor], strips: Sequence[Strip]) -> Residual:
        """Of every strip some entries (k,), weighted so that ½‖r‖² approximates that of all rows."""
        (chosen,), (strip,) = ids, strips
        return _Scaled(self.rows(chosen.sort().values), (len(strip.order) / max(len(chosen), 1)) ** 0.5)

    def held_out(self) -> Residual | None:
        """Other rows that sample the same, weighted alike; None where there are none to be had."""
        return None

    def refined(self, x: Tensor, seed: int) -> Residual | None:
        """These rows and as many others, more of them where the residual is large at x; None where there are none."""
        return None

    def resized(self, widths: Sequence[int]) -> Residual:
        """The same equations for a network with other hidden widths (the published coarse problem)."""
        raise UnsupportedCombination(
            f"{type(self).__name__} has no smaller network: use Galerkin levels, or give the coarse objectives yourself"
        )

    def subnetwork(self, x: Tensor, neurons: Tensor) -> tuple[Residual, Tensor]:
        """The residual of some neurons with the rest of the network frozen at x, and their parameter indices.

        The pair (ρ, idx) satisfies ρ(y) = r(x with x[idx] replaced by y) exactly, at a cost that
        grows with the number of chosen neurons only.
        """
        raise UnsupportedCombination(
            f"{type(self).__name__} cannot freeze a part of its network: use coarsening='amg' or 'random'"
        )


class FunctionResidual(Residual):
    """A plain callable as a residual."""

    def __init__(self, function: ResidualFunction) -> None:
        self.function = function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)


class _Scaled(Residual):
    """A residual times a number."""

    def __init__(self, base: Residual, factor: float) -> None:
        self.base, self.factor = base, factor
        self.layout, self.channels = base.layout, base.channels

    def __call__(self, x: Tensor) -> Tensor:
        return self.factor * self.base(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r, jacobian = self.base.linearize(x)
        return self.factor * r, self.factor * jacobian


def as_residual(residual: Residual | ResidualFunction) -> Residual:
    """A ``Residual`` as it is; any other callable wrapped."""
    return residual if isinstance(residual, Residual) else FunctionResidual(residual)


def dense_jacobian(residual: ResidualFunction, x: Tensor, rows: int, chunk: int = 256) -> Tensor:
    """J(x) of shape (rows, n) by ``torch.func``, in the cheaper mode, a chunk of directions at a time.

    Falls back to one reverse pass per row where the residual uses operations that ``torch.func.vmap``
    does not take.
    """
    wide = rows <= x.numel()
    try:
        jacobian: Tensor = torch.func.jacrev(residual, chunk_size=chunk)(x) if wide else torch.func.jacfwd(residual)(x)
        return jacobian.detach()
    except RuntimeError:
        point = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            r = residual(point)
        unit = torch.eye(rows, dtype=r.dtype, device=r.device)
        lines = [torch.autograd.grad(r, point, e, retain_graph=True, materialize_grads=True)[0] for e in unit]
        return torch.stack(lines).detach() if lines else x.new_zeros(0, x.numel())
