"""A network and its derivatives in one forward pass.

A hidden layer maps a = W h + b to h = σ(a). Together with h travel, as stacked channels, its first
derivatives in the directions k that are needed and the second-order terms q = Σ ∂ᵢ∂ⱼ (sums over pairs of
directions, such as a Laplacian or one mixed derivative):

    ∂ₖh = σ'(a) ∂ₖa        q h = σ'(a) q a + σ''(a) S_q,   S_q = Σ ∂ᵢa ∂ⱼa

In a first layer that takes the points themselves ∂ₖa = W[:, k] is constant and q a = 0. One that takes an
embedding φ(z) gets the channels of φ as inputs and is a layer like the others. A layer with a skip adds its
inputs: h = σ(W h₋ + b) + h₋. The reverse pass is in ``adjoints``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.objective.layout import Layout
from multilevel_opt.pde.activations import Activation
from multilevel_opt.pde.terms import Needs

Pairs = tuple[tuple[tuple[int, int], ...], ...]
Weights = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class HiddenLayer:
    """What the reverse pass needs of one hidden layer with r neurons, D directions and Q second-order terms.

    Attributes:
        weight: (r, n_in).
        inputs: stacked channels of the layer below, (C, m, n_in); the points alone, (1, m, d), for a first layer.
        first: ∂ₖa of shape (D, m, r), or (D, 1, r) where it is constant, or None.
        second: q a of shape (Q, m, r), or None where it is zero or not needed.
        square: S_q of shape (Q, m, r) or (Q, 1, r), or None.
        sigma: σ(a), σ'(a), ..., each (m, r).
        skip: whether the inputs are added to the outputs.
    """

    weight: Tensor
    inputs: Tensor
    first: Tensor | None
    second: Tensor | None
    square: Tensor | None
    sigma: list[Tensor]
    skip: bool = False

    @cached_property
    def outputs(self) -> Tensor:
        """Stacked channels (C, m, r) that this layer hands on."""
        parts = [self.sigma[0][None]]
        if self.first is not None:
            parts.append(self.first * self.sigma[1])
        if self.square is not None:
            bend = self.square * self.sigma[2]
            parts.append(bend if self.second is None else bend + self.second * self.sigma[1])
        out = torch.cat(parts) if len(parts) > 1 else parts[0]
        return out + self.inputs if self.skip else out


def parameters(x: Tensor, layout: Layout) -> list[Weights]:
    """(weight, bias) of every layer as views of the flat vector x (n,).

    Raises:
        ShapeError: x has not the size of the network.
    """
    if x.shape != (layout.size,):
        raise ShapeError(f"the network takes a vector of {layout.size} parameters, got shape {tuple(x.shape)}")
    views = [x[b.start : b.start + b.size].reshape(b.shape) for b in layout.blocks]
    return list(zip(views[::2], views[1::2], strict=True))


def chosen(a: Tensor, rows: Sequence[int]) -> Tensor:
    """The rows of a in that order; a itself where these are all of them."""
    return a if list(rows) == list(range(a.shape[0])) else torch.stack([a[row] for row in rows])


def squares(first: Tensor, pairs: Pairs) -> Tensor:
    """S_q (Q, ..., r) from ∂ₖa (D, ..., r)."""
    sums = []
    for term in pairs:
        total = first[term[0][0]] * first[term[0][1]]
        for i, j in term[1:]:
            total = total + first[i] * first[j]
        sums.append(total)
    return torch.stack(sums)


def hidden_layers(
    layers: Sequence[Weights],
    inputs: Tensor,
    sigma: Activation,
    needs: Needs,
    *,
    more: int = 0,
    skip: bool = False,
) -> list[HiddenLayer]:
    """All hidden layers, carrying the derivatives of ``needs``, of order at most 2.

    Args:
        layers: (weight, bias) of every layer, the output layer last.
        inputs: points (m, d), or the stacked channels (C, m, p) of an embedding of them.
        sigma: the activation.
        needs: terms of order at most 2.
        more: how many further derivatives of σ to keep (1 for a Jacobian).
        skip: whether every hidden layer but the first adds its inputs.
    """
    order, d = needs.order + more, len(needs.directions)
    done: list[HiddenLayer] = []
    (weight, bias), *others = layers[:-1]
    if inputs.ndim == 2:
        first = chosen(weight.T, needs.directions)[:, None] if d else None
        square = squares(first, needs.pairs) if first is not None and needs.pairs else None
        values = sigma.derivatives(torch.addmm(bias, inputs, weight.T), order)
        done.append(HiddenLayer(weight, inputs[None], first, None, square, values))
    else:
        others = [(weight, bias), *others]
    for weight, bias in others:
        below = done[-1].outputs if done else inputs
        stacked = below @ weight.T
        first = stacked[1 : 1 + d] if d else None
        square = squares(first, needs.pairs) if first is not None and needs.pairs else None
        second = stacked[1 + d :] if needs.pairs else None
        values = sigma.derivatives(stacked[0] + bias, order)
        done.append(HiddenLayer(weight, below, first, second, square, values, skip and bool(done)))
    return done


def output(last: HiddenLayer, head: Weights, needs: Needs) -> Tensor:
    """The channels (R, m, K) of u = V h + c, one for each term of ``needs``.

    Args:
        last: the last hidden layer, which carries them.
        head: V (K, r) and c (K,).
        needs: the terms.
    """
    weight, bias = head
    if not needs.terms:
        return weight.new_empty(0, last.sigma[0].shape[-2], weight.shape[0])
    if last.skip or (last.first is not None and last.first.shape[1] > 1 and needs == needs.carried):
        stacked = last.outputs @ weight.T
        value = stacked[:1] + bias
        kept = [needs.carried.index(term) for term in needs.terms[int(needs.reads_value) :]]
        return torch.cat([value] * needs.reads_value + [stacked[k][None] for k in kept])
    parts = [(last.sigma[0] @ weight.T + bias)[None]] if needs.reads_value else []
    if needs.first:
        parts.append(_first_output(last, weight, [needs.directions.index(axis) for axis in needs.first]))
    if needs.second:
        assert last.square is not None
        if last.second is None:
            parts.append(_thin(last.sigma[2], last.square, weight))
        else:
            parts.append((last.second * last.sigma[1] + last.square * last.sigma[2]) @ weight.T)
    return torch.cat(parts)


def _first_output(last: HiddenLayer, weight: Tensor, rows: list[int]) -> Tensor:
    assert last.first is not None
    first = chosen(last.first, rows)
    if first.shape[1] == 1:
        return _thin(last.sigma[1], first, weight)
    return (first * last.sigma[1]) @ weight.T


def _thin(slope: Tensor, constant: Tensor, weight: Tensor) -> Tensor:
    """(slope * constant) @ weightᵀ of shape (D, m, K) for slope (m, r), constant (D, 1, r): one product."""
    d, k = constant.shape[0], weight.shape[0]
    columns = (constant * weight).reshape(d * k, -1)
    return (slope @ columns.T).reshape(-1, d, k).permute(1, 0, 2)


def propagate(x: Tensor, layout: Layout, sigma: Activation, inputs: Tensor, needs: Needs, skip: bool = False) -> Tensor:
    """The channels (R, m, K) of u(·; x) at points: a pure function of the flat parameters x (n,)."""
    layers = parameters(x, layout)
    return output(hidden_layers(layers, inputs, sigma, needs, skip=skip)[-1], layers[-1], needs)
