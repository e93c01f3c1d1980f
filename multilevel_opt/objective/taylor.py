"""The local model: a frozen Taylor polynomial, closed under ``+``, ``−`` and ``@ P``.

    T_q(s) = f + Σ_{k=1..q} (1/k!) D^k f[s, …, s]

Form k is stored as a map (v₁, …, v_{k−1}) ↦ D^k f[v₁, …, v_{k−1}, ·], a vector: no tensor of order three is
ever built, and the gradient of T_q(f) is T_{q−1}(∇f). A least-squares model keeps its normal form

    ½‖r + J s‖² + cᵀs + ½μ‖s‖²

through the same algebra, so that solvers that can use J find it, however deep in the hierarchy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import factorial, inf
from typing import Protocol

import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.operator import Dense, LinearOperator, composed
from multilevel_opt.objective.parts import Parts
from multilevel_opt.objective.second import SecondForm

Form = Callable[..., Tensor]


class Prolongation(Protocol):
    """What a model needs of a transfer operator."""

    @property
    def P(self) -> LinearOperator:
        """The prolongation, shape (n, n_c)."""
        ...


@dataclass(frozen=True, eq=False)
class NormalForm:
    """½‖r + J s‖² + cᵀs + ½μ‖s‖².

    Attributes:
        residual: r of shape (m,).
        jacobian: J of shape (m, n), dense or matrix-free.
        linear: c of shape (n,), or None for zero.
        shift: μ ≥ 0.
        ledger: where linear algebra on this form is recorded.
        second: s -> d²/dt² r(x + ts) at t = 0, shape (m,), for geodesic acceleration; or None.
        memory: bytes that linear algebra on this form may hold.
        channels: derivative channels of a row, see ``Residual``.
    """

    residual: Tensor
    jacobian: LinearOperator
    linear: Tensor | None
    shift: float
    ledger: Ledger
    second: Form | None = None
    memory: float = inf
    channels: int = 1

    def __add__(self, other: NormalForm) -> NormalForm | None:
        mine, yours = self.residual.numel(), other.residual.numel()
        if mine and yours:
            return None
        kept = other if yours else self
        linear = [c for c in (self.linear, other.linear) if c is not None]
        return replace(kept, linear=sum(linear[1:], linear[0]) if linear else None, shift=self.shift + other.shift)

    def pulled_back(self, P: LinearOperator) -> NormalForm | None:
        """The same form of s = P s_c; None when μ ≠ 0 and P is not an isometry known as such."""
        if self.shift and not P.isometric:
            return None
        jacobian: LinearOperator
        if isinstance(self.jacobian, Dense):
            jacobian = Dense(P.after(self.jacobian.matrix))
            self.ledger.work(2.0 * self.residual.numel() * P.nnz)
        else:
            jacobian = composed(self.jacobian, P)
        linear = None if self.linear is None else P.rmatvec(self.linear)
        return replace(self, jacobian=jacobian, linear=linear, second=None)


@dataclass(frozen=True, eq=False)
class MatrixForm:
    """A form that also knows D^k f[v₁, …, v_{k−2}, ·, ·] as a matrix, cheaper than by n products.

    Attributes:
        products: the form itself.
        matrix: (v₁, …, v_{k−2}) -> matrix of shape (n, n).
        solve: of a second form: v -> H⁻¹v where a factorization is cheap and H positive definite, else None.
        upright: of a second form: one near it without negative curvature, for steps where H is not positive definite.
    """

    products: Form
    matrix: Form
    solve: Callable[[Tensor], Tensor | None] | None = None
    upright: Callable[[], Form] | None = None

    def __call__(self, *v: Tensor) -> Tensor:
        return self.products(*v)


def matrix_of(form: Form, like: Tensor, *fixed: Tensor) -> Tensor:
    """D^k f[fixed…, ·, ·] of shape (n, n), n and dtype of ``like``: at once where the form can, else row by row."""
    matrix: Form | None = getattr(form, "matrix", None)
    if matrix is not None:
        return matrix(*fixed)
    unit = torch.eye(like.numel(), dtype=like.dtype, device=like.device)
    return torch.stack([form(*fixed, e) for e in unit])


@dataclass(frozen=True, eq=False)
class Taylor:
    """A polynomial in the displacement s from a point.

    Attributes:
        value: f, a scalar tensor.
        forms: form k at index k − 1; ``forms[0]()`` is the gradient.
        normal: the least-squares normal form when there is one (order ≥ 2).
        second: form 2 where it is known as a matrix.
        parts: the gradients of the elements of f, one entry for each partially separable term; None where f has a term
            whose elements are not known. Terms without second derivatives need none.
    """

    value: Tensor
    forms: tuple[Form, ...]
    normal: NormalForm | None = None
    second: SecondForm | None = None
    parts: tuple[Parts, ...] | None = None

    @property
    def order(self) -> int:
        """Degree q of the polynomial."""
        return len(self.forms)

    @property
    def gradient(self) -> Tensor:
        """∇f, shape (n,)."""
        return self.forms[0]()

    def __call__(self, s: Tensor) -> Tensor:
        """T_q(s), a scalar tensor."""
        total = self.value
        for k, form in enumerate(self.forms, start=1):
            total = total + (form(*(s,) * (k - 1)) @ s) / factorial(k)
        return total

    def grad(self, s: Tensor) -> Tensor:
        """∇T_q(s), shape (n,)."""
        total = self.gradient
        for k, form in enumerate(self.forms[1:], start=1):
            total = total + form(*(s,) * k) / factorial(k)
        return total

    def hvp(self, s: Tensor, v: Tensor) -> Tensor:
        """∇²T_q(s) v, shape (n,)."""
        if self.order < 2:
            return torch.zeros_like(v)
        total = self.forms[1](v)
        for k, form in enumerate(self.forms[2:], start=1):
            total = total + form(*(s,) * k, v) / factorial(k)
        return total

    def hessian(self) -> Tensor:
        """∇²T_q(0) as a symmetric matrix of shape (n, n)."""
        rows = matrix_of(self.forms[1], self.gradient)
        return 0.5 * (rows + rows.T)

    def truncated(self, order: int) -> Taylor:
        """The terms up to ``order``."""
        if order > self.order:
            raise UnsupportedCombination(
                f"a model of order {self.order} has no terms of order {order}: expand it further"
            )
        if order < 2:
            return Taylor(self.value, self.forms[:order], parts=self.parts)
        return replace(self, forms=self.forms[:order])

    def __add__(self, other: Taylor) -> Taylor:
        forms = _frozen(
            a if b is None else b if a is None else _sum(a, b) for a, b in zip_longest(self.forms, other.forms)
        )
        mine, yours = self._as_normal(), other._as_normal()
        normal = None if mine is None or yours is None else mine + yours
        second = self.second if other.order < 2 else other.second if self.order < 2 else None
        parts = None if self.parts is None or other.parts is None else (*self.parts, *other.parts)
        return Taylor(self.value + other.value, forms, normal if len(forms) >= 2 else None, second, parts)

    def scaled(self, factor: float) -> Taylor:
        """The polynomial times a number; the normal form is lost unless the factor is one."""
        if factor == 1.0:
            return self
        parts = None if self.parts is None else tuple(part.scaled(factor) for part in self.parts)
        return Taylor(factor * self.value, _frozen(_scaled(form, factor) for form in self.forms), parts=parts)

    def __neg__(self) -> Taylor:
        return self.scaled(-1.0)

    def __sub__(self, other: Taylor) -> Taylor:
        return self + (-other)

    def __matmul__(self, transfer: Prolongation) -> Taylor:
        P = transfer.P
        normal = None if self.normal is None else self.normal.pulled_back(P)
        parts = None if self.parts is None else tuple(part.pulled_back(P) for part in self.parts)
        return Taylor(self.value, _frozen(_pulled(form, P) for form in self.forms), normal, parts=parts)

    def _as_normal(self) -> NormalForm | None:
        if self.normal is not None or self.order != 1:
            return self.normal
        g = self.gradient
        return NormalForm(g.new_zeros(0), Dense(g.new_zeros(0, g.numel())), g, 0.0, Ledger())


def _frozen(forms: Iterable[Form]) -> tuple[Form, ...]:
    """The forms with the gradient evaluated once: it has no argument, and the solver asks for it often."""
    first, *rest = forms
    gradient = first()
    return (lambda: gradient, *rest)


def _sum(a: Form, b: Form) -> Form:
    return combined((a, b), (1.0, 1.0))


def _scaled(a: Form, factor: float) -> Form:
    return combined((a,), (factor,))


def combined(parts: Sequence[Form], factors: Sequence[float]) -> Form:
    """The linear combination of forms of one order; it knows its matrix when all parts do."""

    def products(*v: Tensor) -> Tensor:
        total = parts[0](*v) * factors[0]
        for part, factor in zip(parts[1:], factors[1:], strict=True):
            total = total + part(*v) * factor
        return total

    def matrix(*fixed: Tensor) -> Tensor:
        return torch.stack([f * part.matrix(*fixed) for part, f in zip(parts, factors, strict=True)]).sum(0)  # type: ignore[attr-defined]

    return MatrixForm(products, matrix) if all(hasattr(part, "matrix") for part in parts) else products


def _pulled(form: Form, P: LinearOperator) -> Form:
    return lambda *v: P.rmatvec(form(*(P.matvec(u) for u in v)))
