"""Sums f(x) = Σ Fᵢ(x) given as one vector-valued function F with a sparse Jacobian: each row is an element.

The pattern of the Jacobian says which variables a row has; it is given, or found by probing. Columns without a common
row get one color, and one directional derivative for each color gives all entries of the Jacobian (Curtis, Powell &
Reid 1974), hence the gradients of all elements. Rows of the same number of variables form a group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.func import jvp, vmap

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.incidence import Incidence
from multilevel_opt.objective.parts import Parts
from multilevel_opt.objective.taylor import Taylor

CHUNK = 64  # directional derivatives at once


class SparseRows(Objective):
    """Σ Fᵢ(x), where every Fᵢ has a few of the variables.

    Models of order 1 carry the gradients of the elements, from which ``Partitioned`` curvature learns.

    Args:
        function: F, from (n,) to (m,), differentiable in forward mode.
        x: a point, shape (n,), where the pattern is tried; it gives n, dtype and device.
        pattern: which entries of the Jacobian may differ from zero, anything that ``scipy.sparse.csr_array`` takes, of
            shape (m, n); None: found by n directional derivatives at each of three points near x.
        ledger: where evaluations are recorded.

    Raises:
        ShapeError: F gives no vector, or the pattern is of another shape.
        InputError: the Jacobian has entries outside the pattern.
    """

    joint = True

    def __init__(
        self, function: Callable[[Tensor], Tensor], x: Tensor, pattern: Any = None, ledger: Ledger | None = None
    ) -> None:
        super().__init__(ledger)
        self.function, self.n = function, x.numel()
        with torch.no_grad():
            rows = function(x)
        if rows.ndim != 1:
            raise ShapeError(f"a sum by rows must give a vector, got shape {tuple(rows.shape)}: flatten it")
        self.pattern = probed(function, x) if pattern is None else scipy.sparse.csr_array(pattern).astype(bool)
        if self.pattern.shape != (rows.numel(), self.n):
            raise ShapeError(
                f"the pattern has shape {self.pattern.shape}, the Jacobian {(rows.numel(), self.n)}: "
                "give one of this shape"
            )
        self.pattern.eliminate_zeros()
        self.pattern.sum_duplicates()
        self._sum = Function(lambda z: function(z).sum(), ledger=self.ledger)
        self._compile(x.device)
        defect = self.defect(x)
        if not defect <= 1e4 * torch.finfo(x.dtype).eps:
            raise InputError(
                f"the Jacobian has entries outside the pattern (relative defect {defect:.2g}): add them, or give none"
            )

    @property
    def colors(self) -> int:
        """Directional derivatives that one Jacobian takes."""
        return len(self._seeds)

    def counted(self, ledger: Ledger) -> SparseRows:
        other = super().counted(ledger)
        other._sum = self._sum.counted(ledger)
        return other

    def __call__(self, x: Tensor) -> Tensor:
        return self._sum(x)

    def expand(self, x: Tensor, order: int) -> Taylor:
        if order > 1:
            return self._sum.expand(x, order)
        gradients = self.incidence.joined(self.element_gradients(x))
        gradient = self.incidence.scattered(gradients)
        with torch.no_grad():
            value = self.function(x).sum()
        self.ledger.count("gradient", 0.0)
        parts = Parts(self.incidence, tuple(gradients))
        return Taylor(value, (lambda: gradient,), parts=(parts,))

    def element_gradients(self, x: Tensor) -> list[Tensor]:
        """The gradients of the rows in their own variables, one tensor (E, k) for each group."""
        compressed = _derivatives(self.function, x.detach(), self._seeds.to(x))
        return [compressed[colors, rows[:, None]] for colors, rows in self._places]

    def defect(self, x: Tensor) -> float:
        """Largest relative defect of J v, with the J of the pattern, at three points near x along random v."""
        worst = 0.0
        for seed in range(3):
            point, v = _near(x, seed), _near(torch.zeros_like(x), 10 + seed)
            direct = _derivatives(self.function, point, v[None])[0]
            ours = torch.zeros_like(direct)
            parts = zip(
                self.element_gradients(point),
                self.incidence.views(self.incidence.gathered(v)),
                self._places,
                strict=True,
            )
            for gradient, u, (_, rows) in parts:
                ours[rows] = (gradient * u).sum(1)
            worst = max(worst, float((ours - direct).norm() / direct.norm().clamp_min(1e-300)))
        return worst

    def _compile(self, device: torch.device) -> None:
        """Colors of the columns, and where each row's entries are found."""
        pattern = self.pattern.astype(np.int64)
        import networkx

        together = networkx.from_scipy_sparse_array(pattern.T @ pattern)
        together.remove_edges_from(networkx.selfloop_edges(together))
        found = networkx.greedy_color(together, strategy="largest_first")
        color = np.array([found[j] for j in range(self.n)])
        self._seeds = torch.as_tensor(color[None, :] == np.arange(color.max() + 1)[:, None], device=device)
        sizes = np.diff(self.pattern.indptr)
        tables, self._places = [], []
        for size in np.unique(sizes[sizes > 0]):
            rows = np.flatnonzero(sizes == size)
            table = self.pattern.indices[self.pattern.indptr[rows][:, None] + np.arange(size)].astype(np.int64)
            tables.append(torch.as_tensor(table, device=device))
            self._places.append((torch.as_tensor(color[table], device=device), torch.as_tensor(rows, device=device)))
        self.incidence = Incidence(tables, self.n)


def probed(function: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    """The pattern of the Jacobian of F by its columns at three points near x, a boolean ``csr_array``.

    An entry that is zero at all three is taken for zero; ``SparseRows`` verifies the outcome at other points.
    """
    unit = torch.eye(x.numel(), dtype=x.dtype, device=x.device)
    found = scipy.sparse.csr_array((x.numel(), function(x).numel()), dtype=bool)
    for seed in range(3):
        columns = [_derivatives(function, _near(x, 20 + seed), part) for part in unit.split(CHUNK)]
        entries = scipy.sparse.vstack([scipy.sparse.csr_array((part != 0).cpu().numpy()) for part in columns])
        found = found + entries
    return scipy.sparse.csr_array(found.T).astype(bool)


def _derivatives(function: Callable[[Tensor], Tensor], x: Tensor, directions: Tensor) -> Tensor:
    """J v for the rows v of ``directions``, shape (k, m)."""

    def along(v: Tensor) -> Tensor:
        derivative: Tensor = jvp(function, (x,), (v,))[1]
        return derivative

    found: Tensor = vmap(along, chunk_size=CHUNK)(directions)
    return found


def _near(x: Tensor, seed: int) -> Tensor:
    """The point x with noise of size 1, the same for the same seed."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return x.detach() + torch.randn(x.shape, generator=generator, dtype=torch.float64, device="cpu").to(x)
