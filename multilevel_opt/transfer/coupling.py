"""How strongly the neurons of one hidden layer are coupled by the least squares problem.

For every kind b of parameter that each neuron owns exactly once (one input weight per input, the bias, one
output weight per output), A_bb = J_bᵀ J_b is an r x r block of the Gauss-Newton matrix, and

    A = Σ_b A_bb / ‖A_bb‖_∞

is the coupling matrix of the r neurons (Calandra, Gratton, Riccietti, Vasseur, arXiv 1904.04685).
It is symmetric and positive semidefinite, and dense.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from multilevel_opt.errors import InputError, NonFiniteError, ShapeError
from multilevel_opt.objective.layout import Block, Layout

CHUNK_ENTRIES = 1 << 24
"""Entries of the stack of blocks A_bb held at once (128 MiB in float64)."""


@dataclass(frozen=True, eq=False)
class Coupling:
    """A coupling matrix and its price.

    Attributes:
        matrix: A, shape (r, r), dtype and device of the Jacobian.
        kinds: number of parameter kinds b that were added.
        flops: 2 m r² for each kind.
    """

    matrix: Tensor
    kinds: int
    flops: float


def coupling(jacobian: Tensor, layout: Layout | None = None, layer: int = 0) -> Coupling:
    """The coupling matrix of the neurons of one hidden layer.

    Args:
        jacobian: J, shape (m, n).
        layout: where the parameters lie, n of them; None couples the n variables themselves, A = JᵀJ/‖JᵀJ‖_∞.
        layer: index of the hidden layer.

    Returns:
        The matrix of shape (r, r), or (n, n) without a layout. Kinds with A_bb = 0 add nothing.

    Raises:
        ShapeError: J is no matrix, or its columns are not those of the layout.
        NonFiniteError: J has NaN or infinite entries.
        InputError: there is no such layer, or J is zero in all its parameters.
    """
    if jacobian.ndim != 2 or (layout is not None and jacobian.shape[1] != layout.size):
        wanted = "two dimensions" if layout is None else f"{layout.size} columns, as the layout"
        raise ShapeError(f"the Jacobian must have {wanted}, got shape {tuple(jacobian.shape)}")
    if not bool(torch.isfinite(jacobian).all()):
        raise NonFiniteError("the Jacobian has entries that are NaN or infinite: check the start point")
    if layout is not None and not 0 <= layer < len(layout.widths):
        raise InputError(f"there is no hidden layer {layer}: the layout has {len(layout.widths)}")
    rows, size = jacobian.shape[0], jacobian.shape[1] if layout is None else layout.widths[layer]
    pieces = iter([jacobian[None]]) if layout is None else _kinds(jacobian, layout, layer)
    total, kinds = jacobian.new_zeros(size, size), 0
    for piece in pieces:
        for part in torch.split(piece, max(1, CHUNK_ENTRIES // max(1, size * size))):
            total += _normalized_sum(part)
            kinds += part.shape[0]
    if not bool(total.any()):
        raise InputError(f"the Jacobian is zero in hidden layer {layer}, so nothing couples its neurons")
    return Coupling(0.5 * (total + total.T), kinds, 2.0 * rows * size * size * kinds)


def couplings(jacobian: Tensor, layout: Layout) -> tuple[Coupling, ...]:
    """The coupling matrices of all hidden layers in turn; raises as ``coupling``."""
    return tuple(coupling(jacobian, layout, layer) for layer in range(len(layout.widths)))


def _kinds(jacobian: Tensor, layout: Layout, layer: int) -> Iterator[Tensor]:
    """For each block axis counted by the layer's neurons, the stack of J_b of shape (kinds, m, r)."""
    for block in layout.blocks:
        for axis, owner in enumerate(block.neurons):
            if owner == layer:
                yield _stacked(jacobian, block, axis)


def _stacked(jacobian: Tensor, block: Block, axis: int) -> Tensor:
    columns = jacobian[:, block.start : block.start + block.size]
    split = columns.reshape(jacobian.shape[0], *block.shape)
    return split.movedim(axis + 1, -1).flatten(1, -2).movedim(1, 0) if len(block.shape) > 1 else split[None]


def _normalized_sum(stack: Tensor) -> Tensor:
    """Σ_b A_bb/‖A_bb‖_∞ for the stack (k, m, r) of J_b, shape (r, r)."""
    gram = stack.mT @ stack
    norms = gram.abs().sum(-1).amax(-1)
    inverse = 1.0 / norms.clamp_min(torch.finfo(norms.dtype).tiny)
    weights = torch.where(norms > 0, inverse, torch.zeros_like(norms))
    return torch.einsum("k,kij->ij", weights, gram)
