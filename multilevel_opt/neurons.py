"""Levels of fewer neurons, for networks with one hidden layer.

``subnetwork``   Galerkin levels on some whole neurons, the rest of the network frozen, chosen anew at every visit
``widths``       smaller networks with objectives of their own, for nested iteration over width
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from multilevel_opt.build import FRACTION
from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.hierarchy import Hierarchy, Level, TransferRule
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.layout import Layout
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.transfer import blocks
from multilevel_opt.transfer.operator import TransferOperator
from multilevel_opt.transfer.rules import choose

ENOUGH = 24


def subnetwork(
    objective: LeastSquares,
    x0: Tensor,
    levels: int = 2,
    *,
    fraction: int = FRACTION,
    rule: str = "largest",
    seed: int = 0,
) -> Hierarchy:
    """Galerkin levels on r/fraction, r/fraction², … neurons, the rest of the network frozen.

    Small networks are coarsened less: a level has at least 24 neurons, or a quarter of the level above.

    Args:
        objective: least squares for a network with one hidden layer.
        x0: start point, shape (n,).
        levels: number of levels, the finest included.
        fraction: neurons of a level over those of the next.
        rule: how neurons are chosen at each visit, see ``transfer.rules``.
        seed: of the random rules.

    Raises:
        UnsupportedCombination: the objective is not of that kind.
    """
    layout, made = _one_layer(objective), list[Level]()
    for number, width in enumerate(_sizes(layout.widths[0], levels, fraction), start=1):
        size = blocks.coarse_layout(layout, (width,)).size
        made.append(
            Level(
                size,
                rule=_neuron_rule(width, rule, (seed, number)),
                kind=f"Galerkin, {width} neurons, {rule}",
            )
        )
    return Hierarchy(x0.numel(), tuple(made), objective=objective)


def widths(
    objective: LeastSquares, x0: Tensor, levels: int = 2, *, fraction: int = FRACTION, rule: str = "largest"
) -> Hierarchy:
    """Networks of r/fraction, r/fraction², … neurons with objectives of their own, for nested iteration over width.

    The sizes are those of ``subnetwork``. The neurons are chosen once, at x0, and each set contains the next.

    Args:
        objective: least squares for a network with one hidden layer.
        x0: start point, shape (n,).
        levels: number of levels, the finest included.
        fraction: neurons of a level over those of the next.
        rule: how neurons are chosen, see ``transfer.rules``.

    Raises:
        UnsupportedCombination: the objective is not of that kind.
    """
    layout, made, n = _one_layer(objective), list[Level](), x0.numel()
    for width in _sizes(layout.widths[0], levels, fraction):
        transfer = blocks.widening(layout, choose(rule, x0, layout, width, 0))
        small = LeastSquares(objective.residual.resized((width,)), matrix_free=objective.matrix_free)
        made.append(Level(transfer.n_coarse, transfer, small, kind=f"smaller network, {width} neurons, {rule}"))
        x0, layout = transfer.restrict_point(x0), blocks.coarse_layout(layout, (width,))
    return Hierarchy(n, tuple(made), objective=objective)


def _one_layer(objective: Any) -> Layout:
    layout = getattr(objective, "layout", None)
    if not isinstance(layout, Layout) or len(layout.widths) != 1:
        raise UnsupportedCombination(
            "subnetwork levels need a least-squares objective of a network with one hidden layer: "
            "use coarsening 'amg' or 'random'"
        )
    return layout


def _sizes(width: int, levels: int, fraction: int) -> list[int]:
    """Neurons of every coarse level."""
    found: list[int] = []
    for _ in range(1, levels):
        width = max(1, width // fraction, min(ENOUGH, width // 4))
        found.append(width)
    return found


def _neuron_rule(width: int, rule: str, seed: tuple[int, int]) -> TransferRule:
    def chosen(f: Objective, x: Tensor, visit: int) -> TransferOperator:
        layout = getattr(f, "layout", None)
        if not isinstance(layout, Layout):
            raise UnsupportedCombination(
                "a subnetwork level lies below another subnetwork or the network itself, not below a corrected or "
                "penalized model: use LM, or AMG levels"
            )
        return blocks.selection(layout, choose(rule, x, layout, width, (*seed, visit)))

    return chosen
