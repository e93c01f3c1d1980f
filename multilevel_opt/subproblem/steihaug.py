"""Second-order trust-region step by truncated conjugate gradients (Steihaug 1983).

A second form that can be factorized cheaply is: where H is positive definite and Newton's step lies in the ball, it is
the minimizer there, and no iteration is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import torch
from torch import Tensor

from multilevel_opt.globalization import TrustRegion
from multilevel_opt.linalg.krylov import steihaug
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Step


@dataclass(frozen=True)
class Steihaug:
    """min gᵀs + ½sᵀBs, ‖s‖ ≤ Δ.

    Attributes:
        forcing: relative residual min(forcing, √‖g‖) at which to stop.
        max_products: limit on Hessian products per solve; 0 means 2n.
    """

    forcing: float = 0.5
    max_products: int = 0

    def prepare(self, model: Taylor) -> _Ball:
        """Nothing but Newton's step is kept between radii."""
        return _Ball(model, self)

    def describe(self, model: Taylor) -> str:
        first = "" if _factorized(model) is None else "Newton's step by a factorization, outside the ball "
        return first + "truncated conjugate gradients"


@dataclass(frozen=True, eq=False)
class _Ball:
    model: Taylor
    options: Steihaug

    @cached_property
    def newton(self) -> tuple[Step, float] | None:
        """Newton's step and its length, where it is the minimizer of the model."""
        solve, g = _factorized(self.model), self.model.gradient
        s = None if solve is None else solve(-g)
        if s is None:
            return None
        predicted = -float(g @ s + 0.5 * (s @ self.model.forms[1](s)))
        return (Step(s, predicted), float(torch.linalg.vector_norm(s))) if predicted > 0 else None

    def solve(self, globalization: TrustRegion) -> Step | None:
        if self.newton is not None and self.newton[1] <= globalization.scalar:
            return self.newton[0]
        g, zero = self.model.gradient, torch.zeros_like(self.model.gradient)
        out = steihaug(
            lambda v: self.model.hvp(zero, v),
            g,
            radius=globalization.scalar,
            tol=min(self.options.forcing, sqrt(float(torch.linalg.vector_norm(g)))),
            max_products=self.options.max_products,
        )
        predicted = -float(g @ out.step + 0.5 * (out.step @ out.product))
        return Step(out.step, predicted, out.on_boundary)


def _factorized(model: Taylor) -> Callable[[Tensor], Tensor | None] | None:
    return getattr(model.forms[1], "solve", None) if model.order == 2 else None
