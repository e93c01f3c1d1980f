"""Second-order trust-region step by truncated conjugate gradients (Steihaug 1983)."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

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
        """Nothing is kept between radii."""
        return _Ball(model, self)

    def describe(self, model: Taylor) -> str:
        return "truncated conjugate gradients"


@dataclass(frozen=True, eq=False)
class _Ball:
    model: Taylor
    options: Steihaug

    def solve(self, globalization: TrustRegion) -> Step | None:
        g = self.model.gradient
        tol = min(self.options.forcing, sqrt(float(g.norm())))
        out = steihaug(
            lambda v: self.model.hvp(v.new_zeros(v.shape), v),
            g,
            radius=globalization.scalar,
            tol=tol,
            max_products=self.options.max_products,
        )
        predicted = -float(g @ out.step + 0.5 * (out.step @ out.product))
        return Step(out.step, predicted, out.on_boundary)
