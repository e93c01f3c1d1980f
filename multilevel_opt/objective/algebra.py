"""Combinators: sums, shifts, pull-backs, polynomials and powers of a norm. Each forwards ``expand``.

``expand`` is a homomorphism: (f + g).expand = f.expand + g.expand, f.at(a).expand(s) = f.expand(a + s),
and (f @ P).expand(s) = f.expand(P s) @ P; the tests state it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.operator import Dense
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Form, MatrixForm, NormalForm, Taylor, matrix_of

if TYPE_CHECKING:
    from multilevel_opt.transfer.operator import TransferOperator


class Sum(Objective):
    """The sum f₁ + f₂ + … of objectives."""

    def __init__(self, terms: Sequence[Objective]) -> None:
        super().__init__(terms[0].ledger)
        self.terms = tuple(terms)
        self.joint = all(term.joint for term in terms)

    def __call__(self, x: Tensor) -> Tensor:
        total = self.terms[0](x)
        for term in self.terms[1:]:
            total = total + term(x)
        return total

    def expand(self, x: Tensor, order: int) -> Taylor:
        total = self.terms[0].expand(x, order)
        for term in self.terms[1:]:
            total = total + term.expand(x, order)
        return total

    @property
    def exact(self) -> Objective:
        return Sum([term.exact for term in self.terms])

    @property
    def has_residual(self) -> bool:
        return any(term.has_residual for term in self.terms)

    def counted(self, ledger: Ledger) -> Self:
        return type(self)([term.counted(ledger) for term in self.terms])


class Shifted(Objective):
    """s -> f(x + s)."""

    def __init__(self, base: Objective, x: Tensor) -> None:
        super().__init__(base.ledger)
        self.base, self.x, self.joint = base, x, base.joint

    def __call__(self, s: Tensor) -> Tensor:
        return self.base(self.x + s)

    def expand(self, s: Tensor, order: int) -> Taylor:
        return self.base.expand(self.x + s, order)

    @property
    def exact(self) -> Objective:
        return Shifted(self.base.exact, self.x)

    def counted(self, ledger: Ledger) -> Self:
        return type(self)(self.base.counted(ledger), self.x)


class Pullback(Objective):
    """s -> f(x + P s); x may be None for zero."""

    def __init__(self, base: Objective, x: Tensor | None, transfer: TransferOperator) -> None:
        super().__init__(base.ledger)
        self.base, self.x, self.transfer, self.joint = base, x, transfer, base.joint

    def _point(self, s: Tensor) -> Tensor:
        step = self.transfer.prolong(s)
        return step if self.x is None else self.x + step

    def __call__(self, s: Tensor) -> Tensor:
        return self.base(self._point(s))

    def expand(self, s: Tensor, order: int) -> Taylor:
        return self.base.expand(self._point(s), order) @ self.transfer

    @property
    def exact(self) -> Objective:
        return Pullback(self.base.exact, self.x, self.transfer)

    def counted(self, ledger: Ledger) -> Self:
        return type(self)(self.base.counted(ledger), self.x, self.transfer)


class Polynomial(Objective):
    """A frozen Taylor model as a function of the iterate y: T(y − y₀)."""

    joint = True

    def __init__(self, center: Tensor, model: Taylor, ledger: Ledger | None = None) -> None:
        super().__init__(ledger)
        self.center, self.model = center, model

    def __call__(self, y: Tensor) -> Tensor:
        return self.model(y - self.center)

    def expand(self, y: Tensor, order: int) -> Taylor:
        s = y - self.center
        forms = [self._shifted(k, s) for k in range(1, min(order, self.model.order) + 1)]
        gradient = forms[0]()
        forms[0] = lambda: gradient
        return Taylor(self.model(s), tuple(forms), parts=() if self.model.order < 2 else None)

    def _shifted(self, k: int, s: Tensor) -> Form:
        """D^k T(s)[v…] = Σ_{j≥k} D^j f[s^{j−k}, v…] / (j − k)!"""
        forms = self.model.forms

        def form(*v: Tensor) -> Tensor:
            total = forms[k - 1](*v)
            for j in range(k + 1, len(forms) + 1):
                total = total + forms[j - 1](*(s,) * (j - k), *v) / factorial(j - k)
            return total

        def matrix(*fixed: Tensor) -> Tensor:
            total = matrix_of(forms[k - 1], s, *fixed)
            for j in range(k + 1, len(forms) + 1):
                total = total + matrix_of(forms[j - 1], s, *(s,) * (j - k), *fixed) / factorial(j - k)
            return total

        return MatrixForm(form, matrix)


class PowerNorm(Objective):
    """The regularization term (σ/p) ‖y − y₀‖^p, expanded up to order three.

    Args:
        weight: σ ≥ 0.
        power: p ≥ 2.
        center: y₀ of shape (n,).
    """

    def __init__(self, weight: float, power: int, center: Tensor, ledger: Ledger | None = None) -> None:
        super().__init__(ledger)
        self.weight, self.power, self.center = weight, power, center

    def __call__(self, y: Tensor) -> Tensor:
        value: Tensor = torch.linalg.vector_norm(y - self.center).pow(self.power) * (self.weight / self.power)
        return value

    def expand(self, y: Tensor, order: int) -> Taylor:
        if order > 3:
            raise UnsupportedCombination(f"the penalty is expanded up to order 3, asked for {order}: use q ≤ 3")
        s = y - self.center
        w, p = self.weight, self.power
        rho: Tensor = torch.linalg.vector_norm(s)
        a, b, c = rho.pow(p - 2) * w, _over(w * (p - 2), rho, p - 4), _over(w * (p - 2) * (p - 4), rho, p - 6)
        gradient = a * s

        def second(u: Tensor) -> Tensor:
            along: Tensor = b * (s @ u) * s
            return a * u + along

        def third(u: Tensor, v: Tensor) -> Tensor:
            su, sv = s @ u, s @ v
            mixed: Tensor = su * v + sv * u + (u @ v) * s
            total: Tensor = b * mixed + (c * su * sv) * s
            return total

        def hessian() -> Tensor:
            unit = torch.eye(s.numel(), dtype=s.dtype, device=s.device)
            rows: Tensor = a * unit + b * torch.outer(s, s)
            return rows

        forms: tuple[Form, ...] = (lambda: gradient, MatrixForm(second, hessian), third)
        normal = None
        if p == 2 and order >= 2:
            empty = Dense(s.new_zeros(0, s.numel()))
            normal = NormalForm(s.new_zeros(0), empty, gradient, w, self.ledger)
        return Taylor(rho.pow(p) * (w / p), forms[:order], normal)


def _over(factor: float, rho: Tensor, power: int) -> Tensor:
    """Factor · ρ^power with the limit 0 at ρ = 0, where the term is multiplied by s twice or more."""
    if factor == 0.0 or (power < 0 and float(rho) == 0.0):
        return torch.zeros_like(rho)
    return rho.pow(power) * factor
