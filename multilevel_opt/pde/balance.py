"""Weights of equations and conditions, from the sizes of their Jacobian rows at the start.

A row of −Δu is larger than one of u by the square of a wave number, and in other units by any factor. With

    w_b = (mean ‖J row‖² of the equation) / (mean ‖J row‖² of block b)

all blocks pull equally hard at the start: the trace of the tangent kernel is shared equally (Wang, Yu &
Perdikaris, J. Comput. Phys. 449, 2022, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor

from multilevel_opt.pde.equations import Block
from multilevel_opt.pde.residual import PDEResidual

SAMPLE = 64  # points of a block that are looked at

Weights = Sequence[float] | None


def row_sizes(residual: PDEResidual, x: Tensor) -> list[list[float]]:
    """Mean square norm of the Jacobian rows of every block and equation, from a sample of the points."""
    sizes = []
    for block in residual.blocks:
        m = len(block.points)
        step = max(1, m // SAMPLE)
        ids = torch.arange(0, m, step, device=x.device)[:SAMPLE]
        part = residual.with_blocks([replace(block.take(ids), weight=1.0)])
        norms = part.linearize(x)[1].square().sum(1).view(block.count, -1).mean(1)
        sizes.append([float(size) for size in norms])
    return sizes


def balanced(residual: PDEResidual, x: Tensor, given: Sequence[Weights]) -> list[Block]:
    """The blocks with row factors √(w / m_b).

    Args:
        residual: with the equation as its first block.
        x: start point (n,).
        given: for every block the weights w of its equations, or None where they are to be found.
    """
    sizes = row_sizes(residual, x) if any(w is None for w in given) else [[1.0] * b.count for b in residual.blocks]
    reference = sizes[0][0]
    blocks = []
    for block, size, own in zip(residual.blocks, sizes, given, strict=True):
        weights = [_ratio(reference, s) for s in size] if own is None else list(own)
        weights = weights * block.count if len(weights) == 1 else weights
        blocks.append(replace(block, weight=tuple(w**0.5 * len(block.points) ** -0.5 for w in weights)))
    return blocks


def _ratio(reference: float, size: float) -> float:
    """Their quotient, 1 where it makes no sense."""
    found = reference / size if size > 0 else 1.0
    return found if isfinite(found) and found > 0 else 1.0
