"""The coherence law: what a coarse level minimizes.

With y₀ = R x and coherence order k the coarse model of f at x is

    μ(y) = f_c(y) + [ α T_k(f, x) @ P − T_k(f_c, y₀) ](y − y₀)

so that its derivatives 1..k at y₀ are those of α f∘(x + P·) (docs/theory.md, 15 and 16; first order: Calandra,
Gratton, Riccietti & Vasseur 2020; order k: the same authors, SIAM J. Optim. 31, 2021). A Galerkin level has
μ(y) = f(x + P(y − y₀)) instead (17), coherent to every order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from multilevel_opt.curvature import Curvature
from multilevel_opt.hierarchy import Hierarchy, Level
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.algebra import Polynomial
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.subproblem.multigrid import Rung
from multilevel_opt.transfer.operator import TransferOperator


def coarse_model(
    f: Objective,
    model: Taylor,
    level: Level,
    transfer: TransferOperator,
    x: Tensor,
    order: int,
    curvature: Curvature,
    ledger: Ledger,
) -> tuple[Objective, Tensor]:
    """The function μ of the coarse level and its start point y₀, of shape (n_c,).

    Args:
        f: the objective above.
        model: its expansion at x, of at least the coherence order.
        level: the coarse level.
        transfer: its transfer operator at x.
        x: the iterate above, shape (n,).
        order: coherence order k (ignored for Galerkin levels).
        curvature: what stands for the second form, on both levels alike.
        ledger: where the coarse level records what it costs.
    """
    if level.objective is None:
        pulled, start = f.pullback(x, transfer)
        return pulled.counted(ledger), start
    coarse = level.objective.counted(ledger)
    start = transfer.restrict_point(x)
    projected = (model.truncated(order) @ transfer).scaled(transfer.scale)
    correction = projected - curvature.expand(coarse, start, order)
    centered = replace(correction, value=torch.zeros_like(correction.value))
    return coarse + Polynomial(start, centered, ledger), start


def rungs(
    model: Taylor, hierarchy: Hierarchy, x: Tensor, curvature: Curvature, ledgers: Sequence[Ledger]
) -> list[Rung]:
    """Quadratic models of all levels below x, for the linear algebra of one step.

    A level with an objective of its own is expanded at the restricted point; a Galerkin level has Pᵀ∇²f P.

    Args:
        model: of the level above, at x.
        hierarchy: whose levels lie below.
        x: the iterate, shape (n,).
        curvature: what stands for the second form.
        ledgers: of the levels below.
    """
    made: list[Rung] = []
    for level, ledger in zip(hierarchy.levels, ledgers, strict=True):
        transfer = level.transfer
        assert transfer is not None  # grids do not change from visit to visit
        x = transfer.restrict_point(x)
        if level.objective is None:
            model = model.truncated(2) @ transfer
        else:
            model = curvature.expand(level.objective.counted(ledger), x, 2)
        ledger.work(2.0 * transfer.nnz)
        made.append(Rung(transfer, model, ledger))
    return made
