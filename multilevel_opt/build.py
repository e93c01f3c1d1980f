"""Ways to make a hierarchy.

``amg``               C/F splitting of the coupling matrix of neurons (Calandra, Gratton, Riccietti & Vasseur
                      2020; docs/theory.md, 24-27), coarse model Galerkin or the smaller network
``random_subspace``   a random orthonormal subspace, drawn anew at every visit
``from_objectives``   the user's own objectives and transfer operators
``galerkin``          the user's transfer operators, coarse models f∘(x + P·)
``geometric``         the user's objectives on nested uniform grids

``neurons.py`` has the levels of fewer neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError, UnsupportedCombination
from multilevel_opt.hierarchy import Hierarchy, Level, TransferRule
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.layout import Layout
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.transfer import blocks
from multilevel_opt.transfer import geometric as grids
from multilevel_opt.transfer.coupling import Coupling, coupling
from multilevel_opt.transfer.interpolation import averaging, injection, interpolate
from multilevel_opt.transfer.operator import TransferOperator
from multilevel_opt.transfer.splitting import CFSplitting, split

FRACTION = 16
POINTS: dict[str, Callable[[Any, CFSplitting], Any]] = {
    "transpose": lambda matrix, splitting: None,
    "injection": lambda matrix, splitting: injection(splitting),
    "averaging": lambda matrix, splitting: averaging(matrix),
}


def from_objectives(
    objectives: Sequence[Objective | Callable[[Tensor], Tensor]], transfers: Sequence[Any]
) -> Hierarchy:
    """A hierarchy of the user's own functions.

    Args:
        objectives: finest first; callables become ``Function``.
        transfers: one fewer; a ``TransferOperator``, or a prolongation matrix P of shape (n, n_c).

    Raises:
        ShapeError: the numbers of objectives and transfers, or the shapes of the P, do not fit.
    """
    if not objectives or len(transfers) != len(objectives) - 1:
        raise ShapeError(
            f"{len(objectives)} objectives need {max(len(objectives) - 1, 0)} transfer operators, "
            f"got {len(transfers)}: give one between each level and the next"
        )
    operators = [_transfer(t) for t in transfers]
    levels = tuple(
        Level(t.n_coarse, t, f if isinstance(f, Objective) else Function(f), kind="own objective")
        for f, t in zip(objectives[1:], operators, strict=True)
    )
    if not operators:
        raise ShapeError("one objective makes no hierarchy: call the solver without one")
    finest = objectives[0] if isinstance(objectives[0], Objective) else Function(objectives[0])
    return Hierarchy(operators[0].n_fine, levels, objective=finest)


def galerkin(transfers: Sequence[Any]) -> Hierarchy:
    """Galerkin levels f∘(x + P·) on the given prolongations, finest first; raises ``ShapeError``."""
    operators = [_transfer(t) for t in transfers]
    if not operators:
        raise ShapeError("a Galerkin hierarchy needs at least one prolongation: give a P of shape (n, n_c)")
    return Hierarchy(operators[0].n_fine, tuple(Level(t.n_coarse, t, kind="Galerkin") for t in operators))


def geometric(
    objective: Callable[[int], Objective | Callable[[Tensor], Tensor]],
    n: int,
    levels: int,
    dim: int = 1,
    *,
    energy: bool = False,
    model: str = "own",
    degree: int = 1,
) -> Hierarchy:
    """Levels on uniform grids with n, n/2 (rounded down), … interior unknowns per side, zero on the boundary.

    Args:
        objective: unknowns per side -> the function on that grid.
        n: unknowns per side of the finest grid; nested grids want an odd number at every level, energies take any.
        levels: number of levels, at least 2.
        dim: 1 or 2; energies also 3.
        energy: the functions approximate one integral, so that R = Pᵀ; iterates can then be lifted by cubic
            interpolation, and the solvers use nested iteration and multigrid steps.
        model: "own" for the function of every grid, "galerkin" for f∘(x + P·).
        degree: of the interpolation of steps between grids of energies; 3 where second derivatives are squared.

    Raises:
        InputError: dim, levels or model out of range, or n cannot be halved that often.
    """
    most = 3 if energy else 2
    if not 1 <= dim <= most or levels < 2:
        raise InputError(
            f"geometric hierarchies have dim 1 to {most} and at least 2 levels, got dim={dim}, levels={levels}"
        )
    if model not in ("own", "galerkin"):
        raise InputError(f"unknown coarse model {model!r}: use 'own' or 'galerkin'")
    sides = [n]
    for _ in range(levels - 1):
        sides.append(grids.coarse_side(sides[-1]))
    nested = grids.linear_1d if dim == 1 else grids.bilinear_2d
    transfers = [grids.energy_transfer(side, dim, degree) if energy else nested(side) for side in sides[:-1]]
    if model == "galerkin":
        return galerkin(transfers)
    return from_objectives([objective(side) for side in sides], transfers)


def amg(
    objective: Objective,
    x0: Tensor,
    levels: int = 2,
    *,
    model: str = "galerkin",
    theta: float = 0.25,
    rule: str = "negative",
    kind: str = "direct",
    points: str = "transpose",
) -> Hierarchy:
    """A hierarchy by algebraic coarsening of the neurons (of the variables, where there is no network).

    Built once, from the Jacobian at x0; the coupling matrices of coarser levels are Galerkin products.

    Args:
        objective: a least-squares objective.
        x0: where J is taken, shape (n,).
        levels: number of levels, the finest included.
        model: "galerkin" for f∘(x + P·), "network" for the same equations on a smaller network.
        theta: threshold of strong coupling.
        rule: "negative" (the talk's) or "absolute".
        kind: interpolation, see ``transfer.interpolation``.
        points: how iterates are restricted to a smaller network: "transpose" for R x = Pᵀx as published,
            "injection" for the values at the coarse neurons, "averaging" for weighted means.

    Raises:
        UnsupportedCombination: the objective has no residual, no smaller network, or is matrix-free.
        InputError: a layer cannot be split (the message says how often it was tried).
    """
    if not isinstance(objective, LeastSquares):
        raise UnsupportedCombination(
            f"AMG coarsening reads the Jacobian of a least-squares objective, got {type(objective).__name__}: "
            "use from_objectives or galerkin with your own P"
        )
    if objective.matrix_free:
        raise UnsupportedCombination(
            "AMG coarsening needs the dense Jacobian, which does not fit the memory budget: "
            "raise it, or use coarsening 'subnetwork' or 'random'"
        )
    if model not in ("galerkin", "network"):
        raise InputError(f"unknown coarse model {model!r}: use 'galerkin' or 'network'")
    if points not in POINTS:
        raise InputError(f"unknown restriction of points {points!r}: use one of {', '.join(POINTS)}")
    ledger = Ledger()
    _, jacobian = objective.counted(ledger).jacobian(x0)
    layout, made, notes = objective.layout, list[Level](), list[str]()
    for number in range(1, levels):
        transfer, layout, remarks = _coarsened(jacobian, layout, x0, ledger, theta, rule, kind, points)
        notes += [f"level {number}: {remark}" for remark in remarks]
        if number + 1 < levels:
            ledger.work(2.0 * jacobian.shape[0] * transfer.nnz)
            jacobian = transfer.pull_jacobian(jacobian)
        coarse = None
        if model == "network":
            coarse = LeastSquares(objective.residual.resized(() if layout is None else layout.widths))
        what = "smaller network, AMG" if coarse is not None else "Galerkin, AMG"
        made.append(Level(transfer.n_coarse, transfer, coarse, kind=what))
    return Hierarchy(x0.numel(), tuple(made), ledger.flops, tuple(notes), objective)


def random_subspace(x0: Tensor, levels: int = 2, *, fraction: int = FRACTION, seed: int = 0) -> Hierarchy:
    """Galerkin levels on random orthonormal subspaces of n/fraction, n/fraction², … dimensions."""
    made: list[Level] = []
    size = x0.numel()
    for number in range(1, levels):
        size = max(1, size // fraction)
        made.append(Level(size, rule=_subspace_rule(size, (seed, number)), kind="Galerkin, random subspace"))
    return Hierarchy(x0.numel(), tuple(made))


def _transfer(value: Any) -> TransferOperator:
    return value if isinstance(value, TransferOperator) else TransferOperator(value)


def _subspace_rule(size: int, seed: tuple[int, int]) -> TransferRule:
    def chosen(f: Objective, x: Tensor, visit: int) -> TransferOperator:
        generator = torch.Generator(device="cpu").manual_seed(
            int(np.random.SeedSequence((*seed, visit)).generate_state(1)[0])
        )
        return blocks.random_orthonormal(x.numel(), size, generator, x)

    return chosen


def _coarsened(
    jacobian: Tensor,
    layout: Layout | None,
    like: Tensor,
    ledger: Ledger,
    theta: float,
    rule: str,
    kind: str,
    points: str,
) -> tuple[TransferOperator, Layout | None, list[str]]:
    """One step of algebraic coarsening: operator, coarse layout, remarks."""
    remarks: list[str] = []
    matrices: list[Any] = []
    restrictions: list[Any] = []
    for layer in range(1 if layout is None else len(layout.widths)):
        found: Coupling = coupling(jacobian, layout, layer)
        ledger.work(found.flops)
        splitting = split(found.matrix, theta, rule)
        matrix, report = interpolate(found.matrix, splitting, kind)
        remarks += [note for note in (splitting.note,) if note]
        remarks.append(str(report))
        matrices.append(matrix)
        restrictions.append(POINTS[points](matrix, splitting))
    if layout is None:
        own = None if restrictions[0] is None else restrictions[0].T
        return TransferOperator(matrices[0], points=own, like=like), None, remarks
    coarse = blocks.coarse_layout(layout, [matrix.shape[1] for matrix in matrices])
    own_map = None if restrictions[0] is None else restrictions
    return blocks.network_transfer(layout, matrices, like, own_map), coarse, remarks
