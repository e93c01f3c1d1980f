"""The local model in a box: any subproblem solver becomes one for lower ≤ s ≤ upper (docs/theory.md, "Bounds").

1. The generalized Cauchy point: along the projected path s(t) = P(−t g), backtrack until the globalized model m
   has a fraction of the decrease that its slope promises (Conn, Gould & Toint 1988; Lin & Moré 1999).
2. Faces: fix the variables that the Cauchy point put on a bound, minimize over the free ones with the same
   subproblem solver, cut the minimizer z back to the box. Variables that z leaves the box by are fixed, fixed ones
   whose multiplier has the wrong sign are freed, and the next face is solved: the primal-dual active-set iteration
   of Hintermüller, Ito & Kunisch (2002). A face that comes again ends it.
3. The step is the best of these points by m, so it decreases m at least as much as the Cauchy point does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isfinite, isinf
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.linalg.operator import Selection
from multilevel_opt.objective.algebra import Polynomial
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Prepared, Step, Subproblem
from multilevel_opt.subproblem.gradient import GradientStep
from multilevel_opt.transfer.operator import TransferOperator

SLOPE = 0.1  # fraction of the promised decrease that the Cauchy point must have
HALVINGS = 80
STRIDE = 4.0
FACES = 12  # at most so many per step


@dataclass(eq=False)
class InBox:
    """A model made ready for steps in a box.

    Attributes:
        solver: of the model on the free variables.
        model: at the iterate.
        lower, upper: bounds of s, shape (n,), with lower ≤ 0 ≤ upper; may be infinite.
    """

    solver: Subproblem
    model: Taylor
    lower: Tensor
    upper: Tensor
    _prepared: dict[bytes, Prepared] = field(default_factory=dict)

    def __post_init__(self) -> None:
        normal = self.model.normal
        if normal is not None:  # geodesic acceleration would evaluate outside the box
            self.model = replace(self.model, normal=replace(normal, second=None))
        self._change = replace(self.model, value=torch.zeros_like(self.model.value))
        g = self.model.gradient
        blocked = ((self.lower == 0) & (g > 0)) | ((self.upper == 0) & (g < 0))
        self._inward = torch.where(blocked, torch.zeros_like(g), -g)
        self._curvature = float(self._inward @ self.model.hvp(torch.zeros_like(g), self._inward))

    def solve(self, globalization: Any) -> Step | None:
        """The best point of the projected path and of the faces; None when the model cannot be minimized."""
        best = self._cauchy(globalization)
        if best is None or best.predicted == 0.0:
            return best
        found = self._settle(best, globalization)
        if found is None:
            return None
        best, settled = found
        if not settled:
            best = self._descend(best, globalization)
        edge = isinf(globalization.price(float(best.s.norm()) * (1 + 1e-6)))
        return replace(best, on_boundary=edge)

    def _step(self, s: Tensor) -> Step:
        s = torch.clamp(s, self.lower, self.upper)
        return Step(s, -float(self._change(s)))

    def _cauchy(self, globalization: Any) -> Step | None:
        """The generalized Cauchy point; None when the model is not finite along the whole path."""
        g, length = self.model.gradient, float(self._inward.norm())
        if length == 0.0:
            return Step(torch.zeros_like(g), 0.0)
        slope = Taylor(self.model.value, (lambda: self._inward,))
        first = GradientStep().prepare(slope).solve(globalization)
        t = float(first.s.norm()) / length if first is not None else 1.0
        t = min(t, length**2 / self._curvature) if self._curvature > 0 else t
        for _ in range(HALVINGS):
            step = self._step(-t * g)
            gain = self._gain(step, globalization)
            if isfinite(gain) and gain >= -SLOPE * float(g @ step.s):
                return self._further(step, t, globalization)
            t *= 0.5
        return None

    def _further(self, step: Step, t: float, globalization: Any) -> Step:
        """Along the path for as long as m falls: where variables stop at bounds, the curvature ahead is another."""
        stride = STRIDE
        while stride > 1.1:
            ahead = torch.clamp(-stride * t * self.model.gradient, self.lower, self.upper)
            if isinf(globalization.price(float(ahead.norm()))):
                stride **= 0.5  # close to the boundary of a ball
                continue
            further = self._step(ahead)
            if not self._gain(further, globalization) > self._gain(step, globalization):
                return step
            step, t = further, stride * t
        return step

    def _touched(self, s: Tensor) -> Tensor:
        """The face of the Cauchy point: −1 on the lower bound, 1 on the upper, 0 free; int8 of shape (n,)."""
        g = self.model.gradient
        low, high = (s <= self.lower) & (g > 0), (s >= self.upper) & (g < 0)
        return high.to(torch.int8) - (low | self._single).to(torch.int8)

    @property
    def _single(self) -> Tensor:
        """Variables whose bounds are equal."""
        return self.lower == self.upper

    def _gain(self, step: Step, globalization: Any) -> float:
        """Decrease of the globalized model."""
        return step.predicted - float(globalization.price(float(step.s.norm())))

    def _settle(self, best: Step, globalization: Any) -> tuple[Step, bool] | None:
        """Primal-dual iteration: the best point, and whether the last face gave itself again; None: no minimizer."""
        face, seen = self._touched(best.s), set[bytes]()
        while len(seen) < FACES:
            seen.add(face.cpu().numpy().tobytes())
            z = self._minimizer(face, globalization)
            if z is None:
                return (best, False) if len(seen) > 1 else None
            step = self._step(z)
            if self._gain(step, globalization) >= self._gain(best, globalization):
                best = step
            following = self._next(face, z)
            if bool((following == face).all()):
                return best, True
            if following.cpu().numpy().tobytes() in seen:
                return best, False
            face = following
        return best, False

    def _descend(self, best: Step, globalization: Any) -> Step:
        """Searches from the best point to the minimizers over ever smaller faces, each with a decrease of m."""
        for _ in range(FACES):
            face = (best.s >= self.upper).to(torch.int8) - (best.s <= self.lower).to(torch.int8)
            face = torch.where(self._single, -torch.ones_like(face), face)
            z = self._minimizer(face, globalization)
            if z is None:
                return best
            step, share = best, 1.0
            while share > 1e-6:
                step = self._step(best.s + share * (z - best.s))
                if self._gain(step, globalization) > self._gain(best, globalization):
                    break
                share /= 2
            else:
                return best
            best = step
            if bool((best.s == z).all()):
                return best
        return best

    def _minimizer(self, face: Tensor, globalization: Any) -> Tensor | None:
        """The minimizer z over a face, shape (n,), which may leave the box; None when there is none."""
        fixed = torch.where(face < 0, self.lower, torch.where(face > 0, self.upper, torch.zeros_like(self.lower)))
        free = torch.nonzero(face == 0)[:, 0]
        rest = globalization.beside(float(fixed.norm()))
        if rest is None or free.numel() == 0:
            return None if rest is None else fixed
        key = face.cpu().numpy().tobytes()
        if key not in self._prepared:
            model = recentred(self.model, fixed)
            if free.numel() < fixed.numel():
                model = model @ TransferOperator(Selection(free, fixed.numel()))
            self._prepared[key] = self.solver.prepare(model)
        step = self._prepared[key].solve(rest)
        return None if step is None else fixed.index_add(0, free, step.s)

    def _next(self, face: Tensor, z: Tensor) -> Tensor:
        """Fix what z leaves the box by; free what has a multiplier of the wrong sign."""
        gradient, moved = self.model.grad(z), torch.where(face == 0, z, torch.zeros_like(z))
        square = float(moved @ moved)
        # at a minimizer over the face the globalization pulls back by ν z, whatever its kind
        pull = max(0.0, -float(gradient @ moved) / square) if square > 0 else 0.0
        multiplier = (gradient + pull * z) * face
        face = torch.where((multiplier > 0) & ~self._single, torch.zeros_like(face), face)
        face = torch.where(z < self.lower, -torch.ones_like(face), face)
        return torch.where(z > self.upper, torch.ones_like(face), face)


def recentred(model: Taylor, s: Tensor) -> Taylor:
    """The same polynomial in the displacement from s, its normal form kept."""
    if not bool(s.any()):
        return model
    moved = Polynomial(torch.zeros_like(s), model).expand(s, model.order)
    normal = model.normal
    if normal is not None:
        pull = normal.shift * s if normal.shift else None
        linear = [c for c in (normal.linear, pull) if c is not None]
        residual = normal.residual + normal.jacobian.matvec(s)
        normal = replace(normal, residual=residual, linear=sum(linear[1:], linear[0]) if linear else None)
    return replace(moved, normal=normal)
