"""Partially separable functions: sums of element functions, each of a few of the variables.

    f(x) = Σᵢ fᵢ(Uᵢ x)        ∇f = Σᵢ Uᵢᵀ ∇fᵢ        ∇²f = Σᵢ Uᵢᵀ ∇²fᵢ Uᵢ

(Griewank & Toint 1982). Uᵢ picks nᵢ variables, so a group of elements of one form is an array of indices, one row
for each element, and one vectorized function of (E, nᵢ) numbers. Since no element sees the variables of another,
one reverse pass over the (E, nᵢ) copies gives the gradients of all elements at once, and nᵢ further passes all
their Hessians; what remains is a gather and a scatter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.batches import Batch
from multilevel_opt.objective.element_sum import ElementSum
from multilevel_opt.objective.incidence import Incidence
from multilevel_opt.objective.parts import Parts
from multilevel_opt.objective.taylor import Form, Taylor

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, eq=False)
class Elements:
    """Elements of one form.

    Attributes:
        indices: the variables of each element, int64 of shape (E, nᵢ); a variable may appear twice in a row.
        function: (u, *data) -> values of shape (E,) for u of shape (E, nᵢ), row by row.
        data: constants of the elements, each with a leading axis of length E, passed to ``function``.
        flops: of one element, if known; None: two for each of its variables.
        convex: declared convex, so that ``Partitioned`` may keep their matrices positive definite
            (``check.elements`` looks for counterexamples).

    Raises:
        ShapeError: indices that are no table of variables, or data that do not fit it.
    """

    indices: Tensor
    function: Callable[..., Tensor]
    data: tuple[Tensor, ...] = ()
    flops: float | None = None
    convex: bool = False

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.dtype != torch.int64:
            raise ShapeError(
                f"the indices of elements must be int64 of shape (elements, variables of one), "
                f"got {self.indices.dtype} of shape {tuple(self.indices.shape)}: make one row for each element"
            )
        wrong = [tuple(t.shape) for t in self.data if t.ndim == 0 or len(t) != self.count]
        if wrong:
            raise ShapeError(
                f"data of {self.count} elements must have a leading axis of that length, got shape {wrong[0]}: "
                "give one entry for each element"
            )

    @property
    def count(self) -> int:
        """Number of elements E."""
        return int(self.indices.shape[0])

    @property
    def size(self) -> int:
        """Variables nᵢ of one element."""
        return int(self.indices.shape[1])

    @property
    def work(self) -> float:
        """Floating-point operations of one evaluation of all elements."""
        return self.count * (2.0 * self.size if self.flops is None else self.flops)

    def values(self, u: Tensor) -> Tensor:
        """The values (E,) for the variables u of shape (E, nᵢ); raises ``ShapeError``."""
        found: Tensor = self.function(u, *self.data)
        if found.shape != (self.count,):
            raise ShapeError(
                f"{self.count} elements must return one number each, got shape {tuple(found.shape)}: "
                "return a tensor of shape (elements,)"
            )
        return found

    def gathered(self, x: Tensor) -> Tensor:
        """Uᵢ x for all elements, shape (E, nᵢ)."""
        return x[self.indices]

    def scattered(self, parts: Tensor, n: int) -> Tensor:
        """Σ Uᵢᵀ pᵢ for parts of shape (E, nᵢ), shape (n,)."""
        return parts.new_zeros(n).index_add_(0, self.indices.reshape(-1), parts.reshape(-1))

    def take(self, ids: Tensor) -> Elements:
        """Some of the elements, by their numbers (int64, shape (k,))."""
        return replace(self, indices=self.indices[ids], data=tuple(t[ids] for t in self.data))


class PartiallySeparable(Objective):
    """The sum of all elements of all groups; one pass gives value and gradient.

    Args:
        groups: the elements.
        n: number of variables.
        ledger: where evaluations are recorded.

    Raises:
        InputError: no group, or a variable outside 0..n−1.
    """

    joint = True

    def __init__(self, groups: Sequence[Elements], n: int, ledger: Ledger | None = None) -> None:
        super().__init__(ledger)
        if not groups:
            raise InputError("a partially separable function needs elements: give at least one group")
        for group in groups:
            if group.count and not (int(group.indices.min()) >= 0 and int(group.indices.max()) < n):
                raise InputError(f"elements use variables outside 0..{n - 1}: their indices must be below n={n}")
        self.groups, self.n = tuple(groups), n
        self.incidence = Incidence([group.indices for group in groups], n, [group.convex for group in groups])

    @property
    def work(self) -> float:
        """Floating-point operations of one evaluation."""
        return sum(group.work for group in self.groups)

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            total = self.plain(x)
        self.ledger.count("function", self.work)
        return total

    def plain(self, x: Tensor) -> Tensor:
        """f(x) as one differentiable function of x, without the structure."""
        self._check(x)
        return torch.stack([group.values(group.gathered(x)).sum() for group in self.groups]).sum()

    def expand(self, x: Tensor, order: int) -> Taylor:
        self._check(x)
        points = self.incidence.gathered(x.detach())
        local = self._local(points, order)
        self.ledger.count("gradient", 3 * self.work)
        value = torch.stack([part.value for part in local]).sum()
        gradients = self.incidence.joined([part.gradient for part in local])
        gradient = self.incidence.scattered(gradients)
        forms: list[Form] = [lambda: gradient]
        forms += [self._form(local, k) for k in range(1, order)]
        return Taylor(value, tuple(forms), parts=(Parts(self.incidence, tuple(gradients), points=tuple(points)),))

    def element_values(self, x: Tensor) -> list[Tensor]:
        """The values of the elements, one tensor (E,) for each group."""
        with torch.no_grad():
            return [group.values(group.gathered(x)) for group in self.groups]

    def element_gradients(self, x: Tensor) -> list[Tensor]:
        """The gradients of the elements in their own variables, one tensor (E, nᵢ) for each group."""
        self.ledger.count("gradient", 3 * self.work)
        return [part.gradient for part in self._local(self.incidence.gathered(x.detach()), 1)]

    def element_hessians(self, x: Tensor) -> list[Tensor]:
        """The Hessians of the elements in their own variables, one tensor (E, nᵢ, nᵢ) for each group."""
        self.ledger.count("hvp", 6 * sum(g.work * g.size for g in self.groups), max(g.size for g in self.groups))
        return [part.hessians for part in self._local(self.incidence.gathered(x.detach()), 2)]

    def hessian(self, x: Tensor) -> Any:
        """∇²f(x) as ``scipy.sparse.csr_array`` of shape (n, n)."""
        return self._sparse([blocks.cpu().numpy() for blocks in self.element_hessians(x)])

    def pattern(self) -> Any:
        """Where the Hessian may differ from zero, a boolean ``scipy.sparse.csr_array`` of shape (n, n)."""
        return self._sparse([np.ones((g.count, g.size, g.size)) for g in self.groups]).astype(bool)

    def graph(self) -> networkx.Graph[Any]:
        """The bipartite graph of elements ``("element", group, i)`` and variables ``("variable", j)``."""
        import networkx

        graph: networkx.Graph[Any] = networkx.Graph()
        graph.add_nodes_from((("variable", j) for j in range(self.n)), bipartite=1)
        for number, group in enumerate(self.groups):
            for i, row in enumerate(group.indices.tolist()):
                graph.add_node(("element", number, i), bipartite=0)
                graph.add_edges_from((("element", number, i), ("variable", j)) for j in row)
        return graph

    def _sparse(self, blocks: Sequence[Any]) -> Any:
        rows, columns = [], []
        for group in self.groups:
            index = group.indices.cpu().numpy()
            rows.append(np.repeat(index, group.size, axis=1).reshape(-1))
            columns.append(np.tile(index, (1, group.size)).reshape(-1))
        entries = np.concatenate([block.reshape(-1) for block in blocks])
        places = (np.concatenate(rows), np.concatenate(columns))
        return scipy.sparse.coo_array((entries, places), shape=(self.n, self.n)).tocsr()

    def _local(self, points: Sequence[Tensor], order: int) -> list[_Local]:
        found = self.incidence.views(points)
        small = {k for batch in self.incidence.batches if batch.small for k in batch.groups}
        return [
            _Local(group, u, order, k in small) for k, (group, u) in enumerate(zip(self.groups, found, strict=True))
        ]

    def _form(self, local: Sequence[_Local], directions: int) -> Form:
        def block(batch: Batch) -> Tensor:
            return batch.squares([local[k].hessians for k in batch.groups])

        batches = self.incidence.batches
        second = ElementSum(
            self.incidence,
            [partial(block, batch) for batch in batches if batch.small],
            [local[batch.groups[0]].along for batch in batches if not batch.small],
        )

        def form(*vectors: Tensor) -> Tensor:
            assert len(vectors) == directions
            self.ledger.count("hvp", sum(part.cost(directions) for part in local), times=directions)
            if directions == 1:
                return second.matvec(*vectors)
            gathered = zip(*(self.incidence.views(self.incidence.gathered(v)) for v in vectors), strict=True)
            parts = [part.along(*u) for part, u in zip(local, gathered, strict=True)]
            return self.incidence.scattered(self.incidence.joined(parts))

        return form

    def _check(self, x: Tensor) -> None:
        if x.shape != (self.n,):
            raise ShapeError(f"this function has {self.n} variables, got x of shape {tuple(x.shape)}")


class _Local:
    """The elements of a group at a point u of shape (E, nᵢ), with the graph of their derivatives."""

    def __init__(self, group: Elements, u: Tensor, order: int, small: bool) -> None:
        self.group, self.small = group, small
        self._u = u.detach().requires_grad_()
        with torch.enable_grad():
            values = group.values(self._u)
            self._slopes = _derivative(values.sum(), self._u, None, create_graph=order > 1)
        self.value, self.gradient = values.detach().sum(), self._slopes.detach()

    @cached_property
    def hessians(self) -> Tensor:
        """(E, nᵢ, nᵢ): column k of every element by one pass."""
        columns = []
        for k in range(self.group.size):
            direction = torch.zeros_like(self._u)
            direction[:, k] = 1.0
            columns.append(_derivative(self._slopes, self._u, direction))
        return torch.stack([column.T for column in columns]).movedim(2, 0)

    def cost(self, directions: int) -> float:
        """Floating-point operations of the form with so many directions."""
        if directions > 1 or not self.small:
            return 6.0 * self.group.work * directions
        product = 2.0 * self.group.count * self.group.size**2
        return product if "hessians" in vars(self) else product + 6.0 * self.group.work * self.group.size

    def along(self, *directions: Tensor) -> Tensor:
        """D^{k+1}fᵢ[Uᵢv₁, …, Uᵢv_k] for all elements, shape (E, nᵢ), for Uᵢv of that shape."""
        t = self._slopes
        with torch.enable_grad():
            for k, v in enumerate(directions, 1):
                t = _derivative(t, self._u, v, create_graph=k < len(directions))
        return t.detach()


def _derivative(value: Tensor, at: Tensor, weights: Tensor | None, create_graph: bool = False) -> Tensor:
    """∇⟨value, weights⟩; zero where the value does not depend on ``at``."""
    if not value.requires_grad:
        return torch.zeros_like(at)
    (found,) = torch.autograd.grad(
        value, at, weights, create_graph=create_graph, retain_graph=True, materialize_grads=True
    )
    return found
