"""Second-order steps by conjugate gradients that are preconditioned by a multigrid cycle through the levels below.

Preconditioned conjugate gradients make H-conjugate directions d_1, d_2, …; their sum minimizes the quadratic model
over the span, and while the globalization does not interfere, that is the step. Where it does (the minimizer leaves
the ball, the regularization matters, or a direction has no positive curvature) the model is minimized exactly, with
ball or regularization, over the span of the directions and of the gradient:

    min gᵀs + ½sᵀHs  in the ball or + (σ/p)‖s‖^p,   s = Bᵀu,

a problem of few unknowns after orthonormalization of the rows of B. The gradient is there so that the step decreases
the model at least as much as the Cauchy step does, whatever the preconditioner (Conn, Gould & Toint 2000, section
6.3). The directions are kept between trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Protocol

import torch
from torch import Tensor

from multilevel_opt.globalization import Regularization, TrustRegion
from multilevel_opt.linalg.secular import spectrum
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Prepared, Step, Subproblem
from multilevel_opt.subproblem.multigrid import Rung, Smoothing, VCycle
from multilevel_opt.subproblem.spectral import reduced_step

Rungs = Callable[[], Sequence[Rung]]


class Smoother(Protocol):
    """How Taylor steps are computed on a level that has others below it."""

    def prepare(self, model: Taylor, rungs: Rungs) -> Prepared:
        """As ``Subproblem.prepare``; ``rungs()`` makes the models of the levels below, if they are wanted."""
        ...

    def describe(self, model: Taylor) -> str:
        """Which linear algebra such a model gets, in words."""
        ...


@dataclass(frozen=True)
class OnOneLevel:
    """A smoother that does without the levels below: a few steps of a single-level solver.

    Attributes:
        subproblem: for example ``Steihaug(max_products=5)``.
    """

    subproblem: Subproblem

    def prepare(self, model: Taylor, rungs: Rungs) -> Prepared:
        """Prepare the single-level solver."""
        return self.subproblem.prepare(model)

    def describe(self, model: Taylor) -> str:
        return self.subproblem.describe(model)


@dataclass(frozen=True)
class MultigridCG:
    """Conjugate gradients preconditioned by a V-cycle.

    Attributes:
        forcing: relative residual at which to stop.
        max_products: directions at most.
        smoothing: sweeps of the V-cycle.
    """

    forcing: float = 0.01
    max_products: int = 30
    smoothing: Smoothing = field(default_factory=Smoothing)

    def prepare(self, model: Taylor, rungs: Rungs) -> _Directions:
        """Start without a direction; the cycle is made when it is first needed."""
        return _Directions(model, rungs, self)

    def describe(self, model: Taylor) -> str:
        return "conjugate gradients, preconditioned by multigrid"


@dataclass(eq=False)
class _Directions:
    model: Taylor
    rungs: Rungs
    options: MultigridCG
    directions: list[Tensor] = field(default_factory=list)
    products: list[Tensor] = field(default_factory=list)
    curvatures: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.residual = self.model.gradient
        self.step = torch.zeros_like(self.residual)
        self.decrease = 0.0
        self.target = self.options.forcing * float(self.residual.norm())
        self._cycle: Callable[[Tensor], Tensor] | None = None
        self._last = (inf, self.step)
        self._gradient_product: Tensor | None = None

    @property
    def convex(self) -> bool:
        """Whether every direction so far has positive curvature."""
        return not self.curvatures or self.curvatures[-1] > 0

    def solve(self, globalization: Any) -> Step | None:
        """The step for this σ or Δ; None where a product is not finite."""
        excess, tolerated = _EXCESS[type(globalization)]
        while self._wanted() and excess(globalization, self.step, self.decrease) <= 1.0:
            if not self._extend():
                return None
        if self.convex and excess(globalization, self.step, self.decrease) <= tolerated:
            return Step(self.step, self.decrease)
        return self._constrained(globalization)

    def _wanted(self) -> bool:
        if len(self.directions) >= self.options.max_products or not self.convex:
            return False
        return not self.directions or float(self.residual.norm()) > self.target

    def _extend(self) -> bool:
        """One more direction; False where it is not finite."""
        rz, z = self._preconditioned(self.residual)
        before, last = self._last
        d = -z if before == inf else (rz / before) * last - z
        hd = self.model.forms[1](d)
        curvature = float(d @ hd)
        if not (isfinite(curvature) and isfinite(rz)):
            return False
        self.directions.append(d)
        self.products.append(hd)
        self.curvatures.append(curvature)
        self._last = (rz, d)
        if curvature > 0:
            alpha = rz / curvature
            self.step = self.step + alpha * d
            self.residual = self.residual + alpha * hd
            self.decrease += 0.5 * alpha * rz
        return True

    def _preconditioned(self, r: Tensor) -> tuple[float, Tensor]:
        """(rᵀz, z) with z = M⁻¹r; without the cycle once it proves not to be positive definite."""
        if self._cycle is None:
            self._cycle = VCycle(self.model, self.rungs(), self.options.smoothing)
        z = self._cycle(r)
        rz = float(r @ z)
        if rz > 0 and isfinite(rz):
            return rz, z
        self._cycle, self._last = torch.clone, (inf, self.step)
        return float(r @ r), r

    def _constrained(self, globalization: Any) -> Step | None:
        g = self.model.gradient
        if self._gradient_product is None:
            self._gradient_product = self.model.forms[1](g)
        rows, images = torch.stack([g, *self.directions]), torch.stack([self._gradient_product, *self.products])
        if not bool(torch.isfinite(images).all()):
            return None
        lengths = rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
        rows, images = rows / lengths, images / lengths
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        kept = values > 1e-12 * values[-1]
        basis = (vectors[:, kept] / values[kept].sqrt()).T  # its rows times ``rows`` are orthonormal
        small = basis @ (rows @ images.T) @ basis.T
        linear = basis @ (rows @ g)
        problem = spectrum(0.5 * (small + small.T), linear)
        if problem is None:
            return None
        step = reduced_step(problem, globalization)
        u = step.s
        s = (basis.T @ u) @ rows
        return Step(s, step.predicted, float(u.norm()) >= (1 - 1e-6) * _radius(globalization))


def _beyond(globalization: TrustRegion, step: Tensor, decrease: float) -> float:
    """‖s‖/Δ."""
    return float(step.norm()) / globalization.scalar


def _share(globalization: Regularization, step: Tensor, decrease: float) -> float:
    """The regularization at s over the decrease of the model without it."""
    power = globalization.power or 3
    return globalization.scalar / power * float(step.norm()) ** power / decrease if decrease > 0 else 0.0


def _radius(globalization: Any) -> float:
    return globalization.scalar if isinstance(globalization, TrustRegion) else inf


_EXCESS: dict[type, tuple[Callable[[Any, Tensor, float], float], float]] = {
    TrustRegion: (_beyond, 1.0),
    Regularization: (_share, 1e-3),
}
