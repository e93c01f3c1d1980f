"""Second-order regularized step: min gᵀs + ½sᵀBs + (σ/p)‖s‖^p in a Krylov space.

With an orthonormal Lanczos basis Q and T = QᵀBQ the problem is of small dimension and is solved exactly by
the secular equation (Cartis, Gould & Toint 2011, section 6.1):

    (T + ν I) u = −‖g‖ e₁,   ν = σ‖u‖^{p−2},   T + ν I ⪰ 0

The basis is kept, so a rejected step costs no new Hessian product; it grows when ‖∇m‖ > θ‖s‖^{p−1}.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from multilevel_opt.globalization import Regularization
from multilevel_opt.linalg.krylov import Tridiagonal, lanczos
from multilevel_opt.linalg.secular import regularized_minimizer
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.base import Step


@dataclass(frozen=True)
class CubicLanczos:
    """Krylov solver for the regularized quadratic model.

    Attributes:
        theta: stop when ‖∇m(s)‖ ≤ θ min(1, ‖s‖) ‖g‖ (a practical form of ≤ θ‖s‖^{p−1}).
        steps: size of the first Lanczos basis; doubled until the test holds.
        max_steps: largest basis.
    """

    theta: float = 0.1
    steps: int = 10
    max_steps: int = 200

    def prepare(self, model: Taylor) -> _Krylov:
        """Start with an empty basis."""
        return _Krylov(model, self)

    def describe(self, model: Taylor) -> str:
        return "Lanczos and secular equation"


@dataclass(eq=False)
class _Krylov:
    model: Taylor
    options: CubicLanczos
    _basis: Tridiagonal | None = field(default=None)

    def solve(self, globalization: Regularization) -> Step | None:
        g = self.model.gradient
        norm = float(g.norm())
        if norm == 0.0:
            return Step(torch.zeros_like(g), 0.0)
        limit = min(self.options.max_steps, g.numel())
        steps = self._basis.diagonal.numel() if self._basis is not None else min(self.options.steps, limit)
        while True:
            basis = self._extended(steps, g)
            if not bool(torch.isfinite(basis.diagonal).all()):
                return None
            small = basis.matrix()
            e1 = torch.zeros_like(basis.diagonal)
            e1[0] = norm
            u = regularized_minimizer(small, e1, globalization.scalar, globalization.power or 3)
            s = basis.basis @ u
            predicted = -float(e1 @ u + 0.5 * (u @ (small @ u)))
            error = basis.remainder * float(u[-1].abs())
            if steps >= limit or error <= self.options.theta * min(1.0, float(u.norm())) * norm:
                return Step(s, predicted)
            steps = min(2 * steps, limit)

    def _extended(self, steps: int, g: Tensor) -> Tridiagonal:
        basis = self._basis
        if basis is None or (basis.diagonal.numel() < steps and basis.remainder > 0):
            basis = self._basis = lanczos(lambda v: self.model.hvp(torch.zeros_like(v), v), g, steps, basis)
        return basis
