"""Steps of higher order: the regularized model T_q(s) + (σ/p)‖s‖^p, minimized by a solver of lower order.

The model is itself an objective (a polynomial plus a power of a norm), whose derivatives come from those of f along the
directions asked for: no tensor is formed, and no evaluation of f is spent (Birgin, Gardenghi, Martínez, Santos & Toint
2017). A step is returned when ‖∇m(s)‖ ≤ θ max(min(1, ‖s‖)^{q−1} ‖g‖, σ‖s‖^q): practical forms of ≤ θ‖s‖^q, the
second of which scales with f and x, so that short steps in badly scaled variables are not asked for digits in vain.

Pre-rejection (Cartis, Hauser, Liu, Welzel & Zhu 2025): along s the minimizer of the regularized line model moves
outwards from 0 as σ falls, as long as t(α) = T_q(αs) has t' < 0 and α t'' − q t' > 0. A step that lies beyond the first
root of either jumped to another basin of the model; it is refused before f is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import factorial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.objective.algebra import Polynomial, PowerNorm
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Form, MatrixForm, Taylor, matrix_of
from multilevel_opt.subproblem.base import Prepared, Step

Done = Callable[[Tensor, Tensor], bool]  # (s, ∇m(s)) -> whether it will do


class Minimizer(Protocol):
    """The solver that minimizes the model; ``Multilevel`` is one."""

    def descend(self, f: Objective, x: Tensor, done: Done, limit: int) -> Tensor:
        """The iterate of at most ``limit`` iterations from x at which ``done`` holds, or the last one."""
        ...


@dataclass(frozen=True)
class Nested:
    """The step of order q by a solver of lower order.

    Attributes:
        solver: minimizes the regularized model from s = 0.
        theta: of the test ‖∇m(s)‖ ≤ θ max(min(1, ‖s‖)^{q−1} ‖g‖, σ‖s‖^q).
        iterations: at most so many of ``solver``.
        prerejection: refuse steps that jumped to another basin of the model.
        stored: up to so many unknowns ∇²f, and D³f[s, ·, ·] at the last s, are kept as matrices.
    """

    solver: Minimizer
    theta: float = 1e-2
    iterations: int = 50
    prerejection: bool = False
    stored: int = 100

    def prepare(self, model: Taylor) -> Prepared:
        """Nothing is kept between weights."""
        few = model.gradient.numel() <= self.stored
        return _Recursive(remembered(model) if few else replace(model, value=torch.zeros_like(model.value)), self)

    def describe(self, model: Taylor) -> str:
        return f"model of order {model.order} minimized by a solver of lower order"


@dataclass(frozen=True, eq=False)
class _Recursive:
    model: Taylor  # with the value 0, so that its decrease keeps its digits
    options: Nested

    def solve(self, globalization: Any) -> Step | None:
        g, q = self.model.gradient, self.model.order
        norm = float(g.norm())
        zero = torch.zeros_like(g)
        if norm == 0.0:
            return Step(zero, 0.0)

        def done(s: Tensor, gradient: Tensor) -> bool:
            length = float(s.norm())
            if length > 0 and not self._believed(s):
                return True
            pull = float(globalization.scalar) * length**q
            return float(gradient.norm()) <= self.options.theta * max(min(1.0, length) ** (q - 1) * norm, pull)

        m = Polynomial(zero, self.model) + PowerNorm(globalization.scalar, globalization.power or q + 1, zero)
        s = self.options.solver.descend(m, zero, done, self.options.iterations)
        predicted = -sum(line_model(self.model, s))
        return Step(s, predicted) if predicted > 0 and self._believed(s) else None

    def _believed(self, s: Tensor) -> bool:
        line = line_model(self.model, s)
        return line[0] < 0 and (not self.options.prerejection or persistent(line))


def remembered(model: Taylor) -> Taylor:
    """The model with the value 0, its second form as a matrix and its third as the matrix at the last direction."""
    g, (_, second, *higher) = model.gradient, model.forms
    hessian = matrix_of(second, g)
    forms: list[Form] = [lambda: g, MatrixForm(lambda v: hessian @ v, lambda: hessian)]
    if higher:
        third = _AlongLast(higher[0], g)
        forms.append(MatrixForm(lambda u, v: third(u) @ v, third))
    return Taylor(torch.zeros_like(model.value), (*forms, *higher[1:]))


class _AlongLast:
    """s -> D³f[s, ·, ·], computed again only when s changes."""

    def __init__(self, form: Form, like: Tensor) -> None:
        self._form, self._s = form, torch.zeros_like(like)
        self._matrix = torch.zeros_like(torch.outer(like, like))

    def __call__(self, s: Tensor) -> Tensor:
        if not torch.equal(s, self._s):
            self._s, self._matrix = s, matrix_of(self._form, s, s)
        return self._matrix


def line_model(model: Taylor, s: Tensor) -> list[float]:
    """The coefficients of α, α², …, α^q of T_q(αs)."""
    return [float(form(*(s,) * k) @ s) / factorial(k + 1) for k, form in enumerate(model.forms)]


def persistent(line: list[float]) -> bool:
    """Whether t' < 0 and α t'' − q t' > 0 on (0, 1), for t(α) = Σ_k line[k−1] α^k with t'(0) < 0."""
    q = len(line)
    slope = [(k + 1) * c for k, c in enumerate(line)]  # t' by powers of α
    ascent = [(k - q) * c for k, c in enumerate(slope)]  # α t'' − q t'
    return not any(_has_root_inside(p) for p in (slope, ascent))


def _has_root_inside(coefficients: list[float]) -> bool:
    roots = np.roots(coefficients[::-1])
    real = roots[np.abs(roots.imag) <= 1e-12 * (1 + np.abs(roots))].real
    return bool(np.any((real > 0) & (real < 1)))
