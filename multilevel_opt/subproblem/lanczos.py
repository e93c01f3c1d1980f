"""Second-order steps for many unknowns: the quadratic model in a Krylov space, solved there exactly.

With an orthonormal Lanczos basis Q and T = QᵀBQ the problem in span Q is of small dimension (``linalg/secular.py``):
the generalized Lanczos trust-region method (GLTR; Gould, Lucidi, Roma & Toint 1999) and its analogue with a penalty
(Cartis, Gould & Toint 2011, section 6.1). The basis is kept, so another σ or Δ costs no Hessian product; it grows when
‖∇m‖ > θ min(1, ‖s‖)‖g‖. In an invariant space (g orthogonal to some eigenvectors: the hard case) random vectors
follow, that look for negative curvature outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.linalg.krylov import Tridiagonal, lanczos
from multilevel_opt.linalg.secular import spectrum
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Prepared, Step
from multilevel_opt.subproblem.spectral import reduced_step


@dataclass(frozen=True)
class Lanczos:
    """Krylov solver for the quadratic model with a penalty or in a ball.

    Attributes:
        theta: stop when ‖∇m(s)‖ ≤ θ min(1, ‖s‖) ‖g‖ (a practical form of ≤ θ‖s‖^{p−1}).
        steps: size of the first Lanczos basis; doubled until the test holds.
        max_steps: largest basis.
        escape: in an invariant space, so many further vectors.
    """

    theta: float = 0.1
    steps: int = 10
    max_steps: int = 200
    escape: int = 5

    def prepare(self, model: Taylor) -> Prepared:
        """Start with an empty basis."""
        return _Krylov(model, self)

    def describe(self, model: Taylor) -> str:
        return "Lanczos and secular equation"


@dataclass(eq=False)
class _Krylov:
    model: Taylor
    options: Lanczos
    _basis: Tridiagonal | None = field(default=None)
    _outside: int = 0

    def solve(self, globalization: Any) -> Step | None:
        g = self.model.gradient
        norm = float(g.norm())
        if norm == 0.0:
            return Step(torch.zeros_like(g), 0.0)
        limit = min(self.options.max_steps, g.numel())
        basis = self._basis or self._extended(g, min(self.options.steps, limit))
        while True:
            e1 = torch.zeros_like(basis.diagonal)
            e1[0] = norm
            problem = spectrum(basis.matrix(), e1)
            if problem is None:
                return None
            step = reduced_step(problem, globalization)
            u, size = step.s, basis.diagonal.numel()
            error = basis.remainder * float(u[-1].abs())
            known = basis.remainder > 0 or self._outside >= self.options.escape
            if size >= limit or (known and error <= self.options.theta * min(1.0, float(u.norm())) * norm):
                return replace(step, s=basis.basis @ u)
            basis = self._extended(g, min(2 * size if basis.remainder > 0 else size + self.options.escape, limit))

    def _extended(self, g: Tensor, steps: int) -> Tridiagonal:
        known = self._basis
        before = known.diagonal.numel() if known is not None else 0
        invariant = known is not None and known.remainder == 0.0
        self._basis = lanczos(lambda v: self.model.hvp(torch.zeros_like(v), v), g, steps, known)
        if invariant or self._outside:
            self._outside += self._basis.diagonal.numel() - before
        return self._basis
