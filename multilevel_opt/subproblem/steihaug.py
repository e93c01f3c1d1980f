"""Second-order trust-region step by truncated conjugate gradients (Steihaug 1983).

A second form that can be factorized cheaply is. Where H is positive definite no iteration is needed then: Newton's step
is the minimizer if it lies in the ball, and otherwise the dogleg (Powell 1970) leads towards it. A form that is not
positive definite, but knows one near it without negative curvature, is exchanged for that one: among thousands of
elements with learned matrices some always err, and a step that follows them to the boundary is worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import torch
from torch import Tensor

from multilevel_opt.globalization import TrustRegion
from multilevel_opt.linalg.krylov import steihaug, to_boundary
from multilevel_opt.objective.taylor import Form, Taylor
from multilevel_opt.subproblem.base import Step

ROUGH = 0.3  # relative residual where a form stands for another one


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
        first = "" if _factorized(model) is None else "dogleg by a factorization; without one "
        return first + "truncated conjugate gradients"


@dataclass(frozen=True, eq=False)
class _Ball:
    model: Taylor
    options: Steihaug
    rough: bool = False

    @cached_property
    def newton(self) -> tuple[Step, float] | None:
        """Newton's step and its length, where it is the minimizer of the model."""
        solve, g = _factorized(self.model), self.model.gradient
        s = None if solve is None else solve(-g)
        if s is None:
            return None
        predicted = -0.5 * float(g @ s)  # since Bs = −g
        return (Step(s, predicted), float(torch.linalg.vector_norm(s))) if predicted > 0 else None

    @cached_property
    def upright(self) -> _Ball | None:
        """The same with a second form near H that has no negative curvature, where there is one."""
        turn: Callable[[], Form] | None = getattr(self.model.forms[-1], "upright", None)
        if turn is None:
            return None
        return _Ball(Taylor(self.model.value, (self.model.forms[0], turn())), self.options, rough=True)

    def solve(self, globalization: TrustRegion) -> Step | None:
        if self.newton is not None:
            step, length = self.newton
            return step if length <= globalization.scalar else self._dogleg(step.s, globalization.scalar)
        if _factorized(self.model) is not None and self.upright is not None:
            return self.upright.solve(globalization)
        g, zero = self.model.gradient, torch.zeros_like(self.model.gradient)
        out = steihaug(
            lambda v: self.model.hvp(zero, v),
            g,
            radius=globalization.scalar,
            tol=ROUGH if self.rough else min(self.options.forcing, sqrt(float(torch.linalg.vector_norm(g)))),
            max_products=self.options.max_products,
        )
        if out.bent and self.upright is not None:
            return self.upright.solve(globalization)
        predicted = -float(g @ out.step + 0.5 * (out.step @ out.product))
        return Step(out.step, predicted, out.on_boundary)

    def _dogleg(self, newton: Tensor, radius: float) -> Step:
        """Where the path from zero over the minimizer along −g to Newton's step, outside, leaves the ball."""
        g, second = self.model.gradient, self.model.forms[1]
        gg, bent = float(g @ g), float(g @ second(g))
        cauchy = g * (-gg / bent)
        s = g * (-radius / sqrt(gg))
        if float(torch.linalg.vector_norm(cauchy)) < radius:
            s = cauchy.add(newton - cauchy, alpha=to_boundary(cauchy, newton - cauchy, radius))
        return Step(s, -float(g @ s + 0.5 * (s @ second(s))), True)


def _factorized(model: Taylor) -> Callable[[Tensor], Tensor | None] | None:
    solve: Callable[[Tensor], Tensor | None] | None = getattr(model.forms[-1], "solve", None)
    return solve if model.order == 2 else None
