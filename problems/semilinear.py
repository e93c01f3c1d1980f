"""Energies of semilinear equations on a uniform grid of the unit interval, square or cube, by second differences.

    f(u) = ½ uᵀA u + h^d Σ_i W(u_i, z_i),      ∇f = A u + h^d W'(u),      ∇²f = A + h^d diag W''(u)

where A is −Δ in the scaling of ½∫|∇u|² (or with coefficients on the edges) and the sum approximates ∫W. Minimizers
solve −Δu + W'(u, z) = 0. The Hessian is a stencil, made once per expansion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import multilevel_opt as mlo

TRANSCENDENTAL = 10.0  # flops of exp or sqrt: one of 65025 numbers takes as long as a product with the stencil
Reaction = Callable[[Tensor, int], "tuple[Any, ...]"]


class Semilinear(mlo.Objective):
    """The energy above.

    Args:
        stencil: A.
        reaction: (u, k) -> (W, W', …, W^(k)) at every point, each of the shape of u or a number.
        cell: h^d.
        cost: flops of the reaction for each point.
        ledger: where evaluations are recorded.
    """

    joint = True

    def __init__(
        self,
        stencil: mlo.Stencil,
        reaction: Reaction,
        cell: float,
        cost: float = 4.0,
        ledger: mlo.Ledger | None = None,
    ) -> None:
        super().__init__(ledger)
        self.stencil, self.reaction, self.cell, self.cost = stencil, reaction, cell, cost

    def __call__(self, x: Tensor) -> Tensor:
        u = x.reshape(self.stencil.grid)
        self.ledger.count("function", self._flops(x))
        (density,) = self.reaction(u, 0)
        return 0.5 * (x @ self.stencil(x)) + self.cell * density.sum()

    def expand(self, x: Tensor, order: int) -> mlo.Taylor:
        u = x.reshape(self.stencil.grid)
        self.ledger.count("gradient", self._flops(x))
        rates = self.reaction(u, order)
        product = self.stencil(x)
        value = 0.5 * (x @ product) + self.cell * rates[0].sum()
        gradient = product.add_(self._vector(rates[1], x), alpha=self.cell)
        forms: list[Callable[..., Tensor]] = [lambda: gradient]
        if order >= 2:
            second = mlo.SecondForm(self.stencil.shifted(self.cell * rates[2]), self.ledger, x)
            forms.append(second)
        forms += [self._pointwise(self._vector(rate, x)) for rate in rates[3:]]
        return mlo.Taylor(value, tuple(forms), second=second if order >= 2 else None)

    def _flops(self, x: Tensor) -> float:
        return self.stencil.flops + (self.cost + 4) * x.numel()

    def _vector(self, rate: Any, x: Tensor) -> Tensor:
        return rate.reshape(-1) if isinstance(rate, Tensor) else torch.full_like(x, rate)

    def _pointwise(self, rate: Tensor) -> Callable[..., Tensor]:
        weight = self.cell * rate

        def form(*vectors: Tensor) -> Tensor:
            self.ledger.count("hvp", float(len(vectors) * weight.numel()), times=len(vectors))
            product = weight
            for v in vectors:
                product = product * v
            return product

        return form
