"""The parameter Jacobian of a network's channels, row by row, by a reverse pass written by hand.

Row i has seeds c: its derivatives with respect to u, ∂ₖu and q u at point i. For one output with weights v,
slope E = Σ cₖ ∂ₖa + Σ c_q q a and T = Σ c_q S_q in the last hidden layer,

    d/dv = c₀ σ + E σ' + T σ''        d/da = v (c₀ σ' + E σ'' + T σ''')

For several outputs, and for derivatives above order two, the channels of h have the adjoints Σ_K c_K v_K. From
layer to layer they become those of a (``layers``, ``jets``), so that a row costs about as much as a few evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multilevel_opt.objective.layout import Layout
from multilevel_opt.pde.layers import HiddenLayer, Weights, add_squares, chosen
from multilevel_opt.pde.operators import Hidden
from multilevel_opt.pde.terms import Needs

Parts = list[tuple[int, Tensor]]


class Seeds(NamedTuple):
    """Seeds of one output: of the value (m,), of first derivatives (D', m) and of second-order terms (Q, m)."""

    value: Tensor | None
    first: Tensor | None
    second: Tensor | None


def row_jacobian(
    hidden: Sequence[Hidden], head: Weights, seeds: Tensor, needs: Needs, layout: Layout, out: Tensor
) -> None:
    """Writes row i of d/dx Σ seeds · channels(zᵢ) into ``out``.

    Args:
        hidden: the layers at these points, made for ``needs`` with ``more=1``.
        head: output weights V (K, r) and bias (K,).
        seeds: (R, m, K), one for each term of ``needs``.
        needs: the terms.
        layout: where the parameters lie in a row.
        out: (m, n) with unit column stride; every entry is overwritten.
    """
    views = [out[:, b.start : b.start + b.size].unflatten(1, b.shape) for b in layout.blocks]
    views[-1].copy_(seeds[0]) if needs.reads_value else views[-1].zero_()
    last, passed = hidden[-1], None
    if isinstance(last, HiddenLayer) and head[0].shape[0] == 1 and not last.skip:
        bias = views[-3] if len(hidden) == 1 and last.inputs.shape[0] == 1 else torch.empty_like(last.sigma[0])
        v, c = head[0][0], _split(seeds[:, :, 0], needs)
        parts = _parts(last, c, needs)
        _combine(parts, last.sigma, 0, views[-2][:, 0])
        adjoint = _combine(parts, last.sigma, 1, bias).mul_(v)
        if bias is views[-3]:
            _points_from_seeds(last, v, c, needs, adjoint, views[0])
            return
        adjoints = _from_seeds(last, v, c, needs, adjoint)
    else:
        carried = _carried(seeds, needs)
        _outer(carried, last.outputs, views[-2])
        adjoints, passed = _through(last, carried @ head[0])
    for index in range(len(hidden) - 1, -1, -1):
        layer = hidden[index]
        views[2 * index + 1].copy_(adjoints[0])
        if layer.inputs.shape[0] < adjoints.shape[0]:
            _points_from_adjoints(layer.inputs[0], adjoints, needs, views[0])
        else:
            _outer(adjoints, layer.inputs, views[2 * index])
        if index:
            below = adjoints @ layer.weight
            below = below if passed is None else below.add_(passed)
            adjoints, passed = _through(hidden[index - 1], below)


def _outer(adjoints: Tensor, inputs: Tensor, out: Tensor) -> None:
    """Σ over channels of adjoints (C, m, r) times inputs (C, m, p), for every point: (m, r, p)."""
    out.copy_(torch.bmm(adjoints.permute(1, 2, 0), inputs.permute(1, 0, 2)))


def _through(layer: Hidden, above: Tensor) -> tuple[Tensor, Tensor | None]:
    """Adjoints of the channels of a layer before its activation, and what a skip passes on."""
    passed = above.clone() if layer.skip else None
    return layer.adjoint(above), passed


def _split(seeds: Tensor, needs: Needs) -> Seeds:
    """The seeds (R, m) of one output."""
    a = int(needs.reads_value)
    b = a + len(needs.first)
    return Seeds(seeds[0] if a else None, seeds[a:b] if b > a else None, seeds[b:] if needs.second else None)


def _carried(seeds: Tensor, needs: Needs) -> Tensor:
    """The seeds of all channels that travel, zero where they are not read."""
    every = needs.carried
    if every.terms == needs.terms:
        return seeds
    out = seeds.new_zeros(len(every.terms), *seeds.shape[1:])
    for term, row in zip(needs.terms, seeds, strict=True):
        for channel in needs.sources(term):
            out[channel] += row
    return out


def _parts(last: HiddenLayer, seeds: Seeds, needs: Needs) -> Parts:
    """The factors (k, F) with d/dv = Σ F σ^(k): c₀, E and T of the module docstring."""
    value, first, second = seeds
    parts: Parts = []
    if value is not None:
        parts.append((0, value[:, None]))
    slope = None
    if first is not None:
        assert last.first is not None
        grad = chosen(last.first, [needs.directions.index(axis) for axis in needs.first])
        slope = first.T @ grad[:, 0] if grad.shape[1] == 1 else (grad * first[:, :, None]).sum(0)
    if second is not None:
        assert last.square is not None
        if last.second is not None:
            scaled = _contracted(last.second, second)
            slope = scaled if slope is None else slope + scaled
        bend = _contracted(last.square, second)
    if slope is not None:
        parts.append((1, slope))
    if second is not None:
        parts.append((2, bend))
    return parts


def _contracted(a: Tensor, seeds: Tensor) -> Tensor:
    """Σ_q a_q c_q of shape (m, r) for a (Q, m or 1, r) and c (Q, m)."""
    out = a[0] * seeds[0][:, None]
    for q in range(1, len(seeds)):
        out = torch.addcmul(out, a[q], seeds[q][:, None])
    return out


def _combine(parts: Parts, sigma: list[Tensor], shift: int, out: Tensor) -> Tensor:
    """Out = Σ F σ^(k + shift) over the parts (k, F)."""
    if not parts:
        return out.zero_()
    k, factor = parts[0]
    torch.mul(sigma[k + shift], factor, out=out)
    for k, factor in parts[1:]:
        out.addcmul_(sigma[k + shift], factor)
    return out


def _points_from_seeds(layer: HiddenLayer, v: Tensor, seeds: Seeds, needs: Needs, adjoint: Tensor, out: Tensor) -> None:
    """Weight block (m, r, d) of a network with one hidden layer on the points: adjoint zₖ + adjoint of ∂ₖa."""
    z, sigma, (_, first, second) = layer.inputs[0], layer.sigma, seeds
    bent = None if second is None else [sigma[2] * c[:, None] for c in second]
    for axis in range(z.shape[1]):
        column = adjoint * z[:, axis, None]
        if bent is not None and axis in needs.directions:
            assert layer.first is not None
            for q, other in _neighbours(needs, needs.directions.index(axis)):
                column.addcmul_(bent[q], layer.first[other, 0] * v)
        if first is not None and axis in needs.first:
            column.addcmul_(sigma[1], first[needs.first.index(axis)][:, None] * v)
        out[:, :, axis] = column


def _neighbours(needs: Needs, direction: int) -> list[tuple[int, int]]:
    """(q, j) for which ∂S_q/∂(∂ᵢa) contains ∂ⱼa, i the direction; ∂ᵢa itself twice."""
    found = []
    for q, pairs in enumerate(needs.pairs):
        for i, j in pairs:
            found += [(q, j)] if i == direction else []
            found += [(q, i)] if j == direction else []
    return found


def _from_seeds(layer: HiddenLayer, v: Tensor, seeds: Seeds, needs: Needs, adjoint: Tensor) -> Tensor:
    """Stacked adjoints (C, m, r) of (a, ∂ₖa, q a) in the last hidden layer."""
    if layer.first is None:
        return adjoint[None]
    _, first, second = seeds
    d = len(needs.directions)
    out = adjoint.new_empty(needs.channels, *adjoint.shape)
    out[0] = adjoint
    slope = layer.sigma[1] * v
    for k, axis in enumerate(needs.directions):
        if first is not None and axis in needs.first:
            torch.mul(slope, first[needs.first.index(axis)][:, None], out=out[1 + k])
        else:
            out[1 + k].zero_()
    if second is not None:
        torch.mul(slope, second[:, :, None], out=out[1 + d :])
        bend = layer.sigma[2] * v
        add_squares(out[1 : 1 + d], layer.first, [bend * c[:, None] for c in second], needs.pairs)
    return out


def _points_from_adjoints(z: Tensor, adjoints: Tensor, needs: Needs, out: Tensor) -> None:
    """Weight block (m, r, d) of a first layer on the points."""
    for axis in range(z.shape[1]):
        column = adjoints[0] * z[:, axis, None]
        if axis in needs.directions:
            column.add_(adjoints[1 + needs.directions.index(axis)])
        out[:, :, axis] = column
