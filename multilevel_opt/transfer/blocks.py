"""From neurons to parameters: a weight matrix that joins two layers is coarsened on both sides.

With one prolongation P_l of shape (r_l, n_l) per hidden layer, a block W of shape (out, in), row-major,
goes through P_out ⊗ P_in, a bias through P_out, and network inputs and outputs through the identity:

    vec(P_out W_c P_inᵀ) = (P_out ⊗ P_in) vec(W_c).

For one hidden layer this is diag(P, ..., P, 1) of Calandra, Gratton, Riccietti, Vasseur (arXiv 1904.04685).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import scipy.sparse
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError, UnsupportedCombination
from multilevel_opt.linalg.operator import Selection
from multilevel_opt.objective.layout import Block, Layout
from multilevel_opt.transfer.operator import TransferOperator


def coarse_layout(layout: Layout, widths: Sequence[int]) -> Layout:
    """The layout of the same network with other hidden widths.

    Args:
        layout: the fine layout.
        widths: number of neurons of every hidden layer, in order, each >= 1.

    Raises:
        ShapeError: another number of hidden layers, or a width below 1.
    """
    if len(widths) != len(layout.widths) or min(widths, default=1) < 1:
        raise ShapeError(f"{len(layout.widths)} hidden widths of at least 1 are needed, got {tuple(widths)}")
    blocks: list[Block] = []
    start = 0
    for block in layout.blocks:
        pairs = zip(block.shape, block.neurons, strict=True)
        shape = tuple(size if layer is None else int(widths[layer]) for size, layer in pairs)
        blocks.append(Block(block.name, start, shape, block.neurons))
        start += prod(shape)
    return Layout(tuple(blocks), tuple(int(width) for width in widths))


def parameter_prolongation(layout: Layout, prolongations: Sequence[Any]) -> Any:
    """The block-diagonal prolongation of all parameters.

    Args:
        layout: the fine layout, n parameters.
        prolongations: per hidden layer a scipy sparse or numpy matrix (r_l, n_l), or None for the identity.

    Returns:
        ``scipy.sparse.csr_array`` of shape (n, n_c); columns in the order of ``coarse_layout``.

    Raises:
        ShapeError: another number of matrices than hidden layers, or one with the wrong number of rows.
    """
    if len(prolongations) != len(layout.widths):
        raise ShapeError(f"{len(layout.widths)} prolongations are needed, got {len(prolongations)}")
    for layer, (matrix, width) in enumerate(zip(prolongations, layout.widths, strict=True)):
        if matrix is not None and (len(matrix.shape) != 2 or matrix.shape[0] != width):
            raise ShapeError(
                f"the prolongation of hidden layer {layer} must have {width} rows, got shape {tuple(matrix.shape)}"
            )

    def factor(size: int, layer: int | None) -> Any:
        matrix = None if layer is None else prolongations[layer]
        return scipy.sparse.eye_array(size) if matrix is None else scipy.sparse.csr_array(matrix)

    def whole(block: Block) -> Any:
        factors = [factor(*pair) for pair in zip(block.shape, block.neurons, strict=True)]
        return reduce(scipy.sparse.kron, factors, scipy.sparse.eye_array(1))

    wholes = [whole(block) for block in layout.blocks]
    return scipy.sparse.csr_array(scipy.sparse.block_diag(wholes, format="csr"))


def network_transfer(
    layout: Layout, prolongations: Sequence[Any], like: Tensor, points: Sequence[Any] | None = None
) -> TransferOperator:
    """The transfer operator of all parameters from neuron-level matrices, R = Pᵀ.

    Args:
        layout: the fine layout.
        prolongations: as in ``parameter_prolongation``.
        like: dtype and device.
        points: per hidden layer a matrix Q of shape (r_l, n_l) or None; iterates are restricted by the
            transpose of their extension (``interpolation.injection``, ``interpolation.averaging``).

    Raises:
        ShapeError: as ``parameter_prolongation``, and when ``points`` and ``prolongations`` differ in shape.
    """
    restriction = None if points is None else scipy.sparse.csr_array(parameter_prolongation(layout, points).T)
    return TransferOperator(parameter_prolongation(layout, prolongations), points=restriction, like=like)


def selection(layout: Layout, neurons: Tensor) -> TransferOperator:
    """Whole neurons of a network with one hidden layer, and everything that belongs to no neuron.

    Args:
        layout: a layout with one hidden layer.
        neurons: int64 indices without repetition, shape (k,); their device is that of the operator.

    Returns:
        P = selection of shape (n, n_c), parameters in the order of ``coarse_layout(layout, [k])``, with
        ``neurons`` set.

    Raises:
        UnsupportedCombination: more or fewer than one hidden layer.
        InputError: no indices, indices out of range, repeated, or not int64.
    """
    if len(layout.widths) != 1:
        raise UnsupportedCombination(
            f"selecting neurons needs a network with one hidden layer, this one has {len(layout.widths)}: "
            "use an interpolation per layer"
        )
    width = layout.widths[0]
    if neurons.dtype != torch.int64 or neurons.ndim != 1 or neurons.numel() == 0:
        raise InputError(
            f"neurons must be a non-empty int64 vector, got {neurons.dtype} of shape {tuple(neurons.shape)}"
        )
    inside = bool(((neurons >= 0) & (neurons < width)).all())
    if not inside or torch.unique(neurons).numel() != neurons.numel():
        raise InputError(f"neurons must be different indices in 0..{width - 1}")
    return TransferOperator(Selection(places(layout, neurons), layout.size), neurons=neurons)


def widening(layout: Layout, neurons: Tensor) -> TransferOperator:
    """Between a network with one hidden layer and the smaller one of some of its neurons, for nested iteration.

    An iterate of the smaller network goes up so that the function stays the same: the other neurons keep their input
    weights and biases and get the output weight zero.

    Args:
        layout: of the larger network, with one hidden layer.
        neurons: as for ``selection``.

    Raises:
        UnsupportedCombination, InputError: as ``selection``.
    """
    chosen = selection(layout, neurons)
    others = torch.ones(layout.widths[0], dtype=torch.bool, device=neurons.device)
    others[neurons] = False
    left = torch.nonzero(others)[:, 0]
    keeps = torch.cat([_places(block, left) for block in layout.blocks if block.neurons[0] is not None])
    return TransferOperator(chosen.P, neurons=neurons, lift=chosen.P, keeps=keeps)


def random_orthonormal(size: Layout | int, n_coarse: int, generator: torch.Generator, like: Tensor) -> TransferOperator:
    """A dense P with orthonormal columns, uniformly distributed (Haar).

    Args:
        size: n, or a layout with n parameters.
        n_coarse: n_c <= n.
        generator: source of randomness, on any device.
        like: dtype and device of P.

    Raises:
        ShapeError: n_c outside 1..n.
    """
    n = size.size if isinstance(size, Layout) else size
    if not 1 <= n_coarse <= n:
        raise ShapeError(f"a random subspace of {n} variables needs 1 to {n} columns, got {n_coarse}")
    gauss = torch.randn(n, n_coarse, generator=generator, device=generator.device, dtype=like.dtype)
    q, r = torch.linalg.qr(gauss)
    return TransferOperator((q * torch.where(r.diagonal() < 0, -1.0, 1.0).to(q.dtype)).to(like.device))


def places(layout: Layout, neurons: Tensor) -> Tensor:
    """Flat indices of the parameters of the chosen neurons and of those that belong to none, int64."""
    return torch.cat([_places(block, neurons) for block in layout.blocks])


def _places(block: Block, neurons: Tensor) -> Tensor:
    """Flat indices of the entries of a block that belong to the chosen neurons or to none."""
    index = torch.arange(block.size, device=neurons.device).reshape(block.shape) + block.start
    for axis, layer in enumerate(block.neurons):
        if layer is not None:
            index = index.index_select(axis, neurons)
    return index.reshape(-1)
