"""Reduced curvature: the Hessian projected on a small basis, H̃ = V (VᵀHV) Vᵀ with VᵀV = I.

The basis spans the last m steps and gradient changes, the gradient, and what the user gives: columns of a prolongation,
or snapshots of states and adjoints. VᵀHV costs a Hessian product for each column; all products after that are with
small matrices. With an exact gradient and a globalization a bounded H̃ suffices to converge, and the error
‖(H − H̃)s‖/‖s‖ along the steps decides how fast (Heinkenschloss & Magruder 2022): ``error`` measures it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from multilevel_opt.curvature.base import Derived
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import MatrixForm, Taylor


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced(Derived):
    """H̃ on the span of recent steps.

    Attributes:
        memory: m.
        columns: further columns of the basis, shape (n, k), or None.
        snapshots: the steps and gradient changes so far, shape (n, 2m at most), or None.
    """

    memory: int = 10
    columns: Tensor | None = field(default=None, repr=False)
    snapshots: Tensor | None = field(default=None, repr=False)

    name: ClassVar[str] = "reduced"

    def __post_init__(self) -> None:
        if self.memory < 0 or (self.memory == 0 and self.columns is None):
            raise InputError(f"memory={self.memory} gives no basis: give 1 or more, or columns")

    def check(self, order: int, coherence: int) -> None:
        if order != 2:
            raise UnsupportedCombination(f"reduced curvature is for models of order 2, not {order}: use AR2 or TR2")

    def expand(self, f: Objective, x: Tensor, order: int) -> Taylor:
        model = f.exact.expand(x, order)
        if order == 1:
            return model
        V = self.basis(model.gradient)
        images = torch.stack([model.forms[1](v) for v in V.mT], 1)
        core = 0.5 * (V.mT @ images + images.mT @ V)
        form = MatrixForm(lambda v: V @ (core @ (V.mT @ v)), lambda: V @ core @ V.mT)
        return Taylor(model.value, (model.forms[0], form))

    def basis(self, gradient: Tensor) -> Tensor:
        """V at a point with this gradient, shape (n, k), k ≥ 1; its first column is along the gradient."""
        parts = [gradient[:, None], *(part for part in (self.snapshots, self.columns) if part is not None)]
        together = torch.cat([part.to(gradient) for part in parts], 1)
        sizes = torch.linalg.vector_norm(together, dim=0)
        together = together[:, sizes > 0] / sizes[sizes > 0]
        if together.shape[1] == 0:  # a stationary point, and nothing else known
            return torch.eye(len(gradient), 1, dtype=gradient.dtype, device=gradient.device)
        return _orthonormal(together)

    def taught(self, s: Tensor, before: Taylor, after: Taylor) -> Self:
        return self.updated(s, after.gradient - before.gradient)

    def updated(self, s: Tensor, y: Tensor) -> Self:
        """The curvature with the snapshots s and y of shape (n,); not where they are not finite."""
        if not self.memory:
            return self
        pair = torch.stack([s.reshape(-1), y.reshape(-1)], 1)
        if not bool(torch.isfinite(pair).all()):
            return self
        known = pair if self.snapshots is None else torch.cat([self.snapshots, pair], 1)
        return replace(self, snapshots=known[:, -2 * self.memory :])

    def fresh(self) -> Self:
        return replace(self, snapshots=None)

    def learned(self) -> dict[str, Tensor]:
        return {} if self.snapshots is None else {"snapshots": self.snapshots}

    def restored(self, learned: Mapping[str, Tensor], unknowns: int) -> Self:
        """A copy with these snapshots; raises ``KeyError`` or ``InputError`` for those of another curvature."""
        if not learned:
            return self.fresh()
        snapshots = learned["snapshots"]
        if snapshots.ndim != 2 or len(snapshots) != unknowns:
            raise InputError(
                f"the checkpoint has snapshots of {len(snapshots)} unknowns, not {unknowns}: resume the same problem"
            )
        return replace(self, snapshots=snapshots)


def error(model: Taylor, f: Objective, x: Tensor, s: Tensor) -> float:
    """‖(H − H̃)s‖/‖s‖ of any model of order 2 at x along s, both of shape (n,), by one exact Hessian product."""
    exact = f.exact.expand(x, 2).forms[1](s)
    return float(torch.linalg.vector_norm(exact - model.forms[1](s)) / torch.linalg.vector_norm(s))


def _orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis of the span of unit columns, in their order; dependent ones are left out."""
    kept: list[Tensor] = []
    smallest = float(torch.finfo(columns.dtype).eps) ** 0.5
    for column in columns.mT:
        v = column
        for _ in range(2 if kept else 0):  # twice is enough
            basis = torch.stack(kept, 1)
            v = v - basis @ (basis.mT @ v)
        size = torch.linalg.vector_norm(v)
        if float(size) > smallest and len(kept) < len(column):
            kept.append(v / size)
    return torch.stack(kept, 1)
