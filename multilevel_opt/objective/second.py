"""A second form that is known as a matrix: beside products it has a diagonal and can be written out.

Objectives with hand-written derivatives give it to their ``Taylor`` models; smoothers and direct solvers on coarse
grids use it. Everything else needs products only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from multilevel_opt.ledger import Ledger


class SymmetricMatrix(Protocol):
    """What is needed of the matrix; ``linalg.stencil.Stencil`` is one."""

    @property
    def flops(self) -> float:
        """Of one product."""
        ...

    def __call__(self, v: Tensor) -> Tensor:
        """A v, shapes (..., n) -> (..., n)."""
        ...

    def diagonal(self, like: Tensor) -> Tensor:
        """The diagonal, shape (n,)."""
        ...

    def matrix(self, like: Tensor) -> Tensor:
        """The dense matrix, shape (n, n)."""
        ...

    def spread(self, like: Tensor) -> float:
        """An upper bound of the eigenvalues of D⁻¹A with D the diagonal; infinite where D is not positive."""
        ...


@dataclass(frozen=True, eq=False)
class SecondForm:
    """v -> A v, counted as a Hessian product.

    Attributes:
        operator: A.
        ledger: where products are recorded.
        like: dtype and device.
    """

    operator: SymmetricMatrix
    ledger: Ledger
    like: Tensor

    def __call__(self, v: Tensor) -> Tensor:
        self.ledger.count("hvp", self.operator.flops)
        return self.operator(v)

    def diagonal(self) -> Tensor:
        """Of A, shape (n,)."""
        return self.operator.diagonal(self.like)

    def spread(self) -> float:
        """An upper bound of the eigenvalues of D⁻¹A; counted as one product."""
        self.ledger.count("hvp", self.operator.flops)
        return self.operator.spread(self.like)

    def matrix(self) -> Tensor:
        """A as a dense matrix, shape (n, n); counted as one product."""
        self.ledger.count("hvp", self.operator.flops)
        return self.operator.matrix(self.like)
