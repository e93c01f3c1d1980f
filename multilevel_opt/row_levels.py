"""Levels of fewer rows: the same unknowns, fewer collocation points or residuals; transfers are the identity.

With the rows of one kind in an order whose beginnings are spread over all of them, level ℓ keeps the first
m φ^ℓ, so that levels are nested, and weights them so that

    f_ℓ(x) = ½ Σ_b (m_b/m_bℓ) Σ_{i ≤ m_bℓ} r_{b,i}(x)²

approximates f. The rows that follow, as many again, are not trained on at this level: their loss tells when it fits
its own rows and no others (docs/theory.md, "Row levels").
"""

from __future__ import annotations

from torch import Tensor

from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.hierarchy import Hierarchy, Level
from multilevel_opt.linalg.operator import Identity
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.residual import Residual, Strip
from multilevel_opt.subproblem.router import memory_budget, plan
from multilevel_opt.transfer.operator import TransferOperator


def rows(
    objective: Objective, x0: Tensor, levels: int = 3, *, fraction: float = 0.5, fewest: int = 1, seed: int = 0
) -> Hierarchy:
    """A hierarchy of m, φm, φ²m, ... rows.

    Of a PDE the points are thinned, those of conditions so that they stay as dense as those of the equation.

    Args:
        objective: a least-squares objective.
        x0: where its rows can be counted, shape (n,).
        levels: number of levels, the finest included; fewer where one would have less than ``fewest`` rows.
        fraction: φ, between 0 and 1.
        fewest: rows of the coarsest level.
        seed: of the orders of the rows.

    Raises:
        UnsupportedCombination: the objective has no rows.
        InputError: ``fraction`` or ``levels`` out of range.
    """
    if not isinstance(objective, LeastSquares):
        raise UnsupportedCombination(
            f"levels of fewer rows need a least-squares objective, got {type(objective).__name__}: "
            "give the coarse objectives yourself by from_objectives"
        )
    if not 0 < fraction < 1 or levels < 1:
        raise InputError(f"fraction={fraction}, levels={levels} out of range: give a fraction in (0, 1), levels >= 1")
    strips = objective.residual.strips(x0, seed)
    made: list[Level] = []
    before = [len(strip.order) for strip in strips]
    for number in range(1, levels):
        counts = [strip.kept(fraction**number) for strip in strips]
        if sum(counts) < fewest or counts == before:
            break
        made.append(_level(objective, x0, strips, counts))
        before = counts
    total = sum(len(strip.order) for strip in strips)
    notes = () if len(made) == levels - 1 else (f"{len(made) + 1} levels of {levels}: {total} rows allow no more",)
    return Hierarchy(x0.numel(), tuple(made), notes=notes, objective=objective)


def _level(objective: LeastSquares, x0: Tensor, strips: list[Strip], counts: list[int]) -> Level:
    residual = objective.residual
    pairs = list(zip(strips, counts, strict=True))
    own = residual.sampled([strip.order[:k] for strip, k in pairs], strips)
    others = residual.sampled([_following(strip.order, k) for strip, k in pairs], strips)
    size = own(x0).numel()
    identity = Identity(x0.numel())
    return Level(
        x0.numel(),
        TransferOperator(identity, points=identity, lift=identity),
        _objective(own, size, objective, x0),
        kind=f"{size} rows",
        rows=size,
        held_out=LeastSquares(others),
    )


def _following(order: Tensor, k: int) -> Tensor:
    """As many entries again as the first k; those themselves where no others are left."""
    found = order[k : 2 * k]
    return found if len(found) else order[:k]


def _objective(residual: Residual, size: int, above: LeastSquares, x0: Tensor) -> LeastSquares:
    """Matrix-free only where the rows of this level do not fit the memory either."""
    if not above.matrix_free:
        return LeastSquares(residual)
    chosen = plan(size, x0.numel(), x0.element_size(), memory_budget(x0.device))
    return LeastSquares(residual, chosen.form == "matrix-free")
