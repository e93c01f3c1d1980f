"""The matrix B = Σ Wᵢᵀ Bᵢ Wᵢ of a partitioned curvature as an operator; nothing is computed before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.curvature.forms import DenseForm, SymmetricForm, upright
from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.linalg.banded import Band
from multilevel_opt.linalg.krylov import steihaug
from multilevel_opt.linalg.operator import Product
from multilevel_opt.objective.element_sum import ElementSum
from multilevel_opt.objective.parts import Parts

DIRECT = 500  # systems of so many unknowns are solved by a dense factorization
Forms = Callable[[], list[SymmetricForm]]


class PartitionedForm:
    """A symmetric matrix of size n.

    Args:
        parts: the elements of each term of f.
        forms: for each term a function that gives the matrices Bᵢ, one form for each batch.
        like: a vector of shape (n,), which gives dtype and device.
        turned: whether no Bᵢ has a negative eigenvalue, by ``upright``.
    """

    def __init__(self, parts: Sequence[Parts], forms: Sequence[Forms], like: Tensor, turned: bool = False) -> None:
        self._terms = [_Term(*each) for each in zip(parts, forms, strict=True)]
        self._like, self._turned = like, turned

    @cached_property
    def flops(self) -> float:
        """Floating-point operations of one product."""
        return sum(term.flops for term in self._terms)

    @property
    def solve_flops(self) -> float:
        """Those of ``factored``; zero where B has no narrow band."""
        band = self._terms[0].band if len(self._terms) == 1 else None
        return 0.0 if band is None else band.flops

    def matvec(self, v: Tensor) -> Tensor:
        """B v, shapes (n,) -> (n,)."""
        return self._sum([term.matvec(v) for term in self._terms])

    def diagonal(self) -> Tensor:
        """The diagonal, shape (n,)."""
        return self._sum([term.diagonal() for term in self._terms])

    def dense(self) -> Tensor:
        """The matrix, shape (n, n)."""
        n = self._like.numel()
        return sum((term.dense() for term in self._terms), self._like.new_zeros(n, n))

    def norm_bound(self) -> Tensor:
        """An upper bound of the spectral norm, a scalar: the largest sum of ‖Bᵢ‖ over the elements of a variable."""
        return self._sum([term.norm_bound() for term in self._terms]).amax()

    def factored(self, v: Tensor, shift: float = 0.0) -> Tensor | None:
        """(B + σI)⁻¹v by factors within a narrow band; None without one, or where it is not positive definite."""
        return self._terms[0].elements.solve(v, shift) if self.solve_flops else None

    def solve(self, v: Tensor, shift: float = 0.0, tolerance: float = 1e-12) -> Tensor:
        """(B + σI)⁻¹ v.

        By factors within a narrow band where B has one and B + σI is positive definite, otherwise up to 500 unknowns by
        a dense factorization and beyond by conjugate gradients with the diagonal as preconditioner. Elements overlap,
        so their matrices cannot be inverted one by one.

        Returns:
            A tensor of shape (n,); NaN where the matrix is singular or, beyond 500 unknowns, not positive definite.
        """
        found = self.factored(v, shift)
        if found is not None:
            return found
        if v.numel() <= DIRECT:
            solution: Tensor = torch.linalg.solve_ex(self.dense() + shift * torch.diag(torch.ones_like(v)), v)[0]
            return solution
        root = (self.diagonal() + shift).rsqrt()
        steps = steihaug(lambda u: root * (self.matvec(root * u) + shift * root * u), -root * v, tol=tolerance)
        x = root * steps.step
        good = (self.matvec(x) + shift * x - v).norm() <= tolerance**0.5 * v.norm()
        return torch.where(good, x, torch.full_like(x, torch.nan))

    @property
    def upright_flops(self) -> float:
        """Floating-point operations of ``upright``; zero where elements are not small, and for that itself."""
        sizes = [g.shape for term in self._terms for g in term.parts.gradients]
        small = all(small for term in self._terms for small in term.parts.incidence.small)
        return sum(4.0 / 3 * count * n**3 for count, n in sizes) if small and not self._turned else 0.0

    def upright(self) -> PartitionedForm:
        """Σ WᵢᵀL|D|LᵀWᵢ ≽ B with Bᵢ = LDLᵀ, where all elements are small: nowhere of negative curvature."""
        parts, forms = [term.parts for term in self._terms], [term.upright for term in self._terms]
        return PartitionedForm(parts, forms, self._like, turned=True)

    def to_scipy(self) -> Any:
        """The matrix as ``scipy.sparse.linalg.LinearOperator``."""
        n = self._like.numel()
        return Product((n, n), self.matvec, self.matvec).to_scipy(self._like)

    def to_sparse(self) -> Any:
        """The matrix as ``scipy.sparse.csr_array``.

        Raises:
            UnsupportedCombination: elements of more than 32 variables are never written out, and on Galerkin levels
                the matrix is not sparse.
        """
        return sum((term.sparse() for term in self._terms[1:]), self._terms[0].sparse())

    def _sum(self, vectors: Sequence[Tensor]) -> Tensor:
        return sum(vectors[1:], vectors[0]) if vectors else torch.zeros_like(self._like)


class _Term:
    """The matrix of one partially separable term."""

    def __init__(self, parts: Parts, forms: Forms) -> None:
        self.parts, self._make = parts, forms

    @cached_property
    def forms(self) -> list[SymmetricForm]:
        return self._make()

    def upright(self) -> list[SymmetricForm]:
        return [DenseForm(upright(form.dense())) for form in self.forms]

    @cached_property
    def elements(self) -> ElementSum:
        kinds = list(zip(self.forms, self.parts.incidence.small, strict=True))
        return ElementSum(
            self.parts.incidence,
            [form.dense for form, small in kinds if small],
            [form.matvec for form, small in kinds if not small],
        )

    @property
    def band(self) -> Band | None:
        return self.parts.incidence.band if self.parts.P is None else None

    @property
    def flops(self) -> float:
        P, kinds = self.parts.P, zip(self.forms, self.parts.incidence.small, strict=True)
        entries = self.parts.incidence.nnz if self.band is None else self.band.nnz
        own = 2.0 * entries + sum(form.flops for form, small in kinds if not small)
        return own if P is None else own + 4.0 * P.nnz

    def matvec(self, v: Tensor) -> Tensor:
        return self.parts.lowered(self.elements.matvec(self.parts.lifted(v)))

    def diagonal(self) -> Tensor:
        if self.parts.P is not None or self.parts.incidence.repeats:
            return self.dense().diagonal()
        return self.parts.incidence.scattered([form.diagonal() for form in self.forms])

    def dense(self) -> Tensor:
        P, B = self.parts.P, self.elements.dense(self.parts.gradients[0])
        return B if P is None else P.after(P.after(B).T)

    def sparse(self) -> Any:
        if self.parts.P is not None or not all(self.parts.incidence.small):
            raise UnsupportedCombination(
                "a matrix with elements of more than 32 variables, or on a Galerkin level, is not written "
                "out: use to_scipy() or dense()"
            )
        matrix = self.elements.matrix
        parts = (matrix.values(), matrix.col_indices(), matrix.crow_indices())
        return scipy.sparse.csr_array(tuple(t.cpu().numpy() for t in parts), shape=tuple(matrix.shape))

    def norm_bound(self) -> Tensor:
        """For each variable the sum of the norms of its elements; with P the largest of them times ‖P‖²."""
        bounds = [form.norm_bound()[:, None] for form in self.forms]
        spread = [
            b.expand(batch.count, batch.size) for b, batch in zip(bounds, self.parts.incidence.batches, strict=True)
        ]
        own, P = self.parts.incidence.scattered(spread), self.parts.P
        if P is None:
            return own
        norm = own.new_tensor(1.0) if P.isometric else torch.linalg.matrix_norm(P.dense(own.dtype, own.device), 2)
        return (own.amax() * norm**2).expand(P.shape[1])
