"""A network and its derivatives in one forward pass.

The channels that a hidden layer hands on are in ``layers`` for derivatives up to order two, in ``jets`` beyond.
A first layer takes the points themselves, or the channels of an embedding φ(z) as a layer like the others. A
layer with a skip adds its inputs: h = σ(W h₋ + b) + h₋. The reverse pass is in ``adjoints``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.objective.layout import Layout
from multilevel_opt.pde.activations import Activation
from multilevel_opt.pde.jets import JetLayer
from multilevel_opt.pde.layers import HiddenLayer, Weights, chosen
from multilevel_opt.pde.terms import Needs

Hidden = HiddenLayer | JetLayer


def parameters(x: Tensor, layout: Layout) -> list[Weights]:
    """(weight, bias) of every layer as views of the flat vector x (n,).

    Raises:
        ShapeError: x has not the size of the network.
    """
    if x.shape != (layout.size,):
        raise ShapeError(f"the network takes a vector of {layout.size} parameters, got shape {tuple(x.shape)}")
    views = [x[b.start : b.start + b.size].reshape(b.shape) for b in layout.blocks]
    return list(zip(views[::2], views[1::2], strict=True))


def hidden_layers(
    layers: Sequence[Weights],
    inputs: Tensor,
    sigma: Activation,
    needs: Needs,
    *,
    more: int = 0,
    skip: bool = False,
) -> list[Hidden]:
    """All hidden layers, carrying the derivatives of ``needs``.

    Args:
        layers: (weight, bias) of every layer, the output layer last.
        inputs: points (m, d), or the stacked channels (C, m, p) of an embedding of them.
        sigma: the activation.
        needs: the terms that are read.
        more: how many further derivatives of σ to keep (1 for a Jacobian).
        skip: whether every hidden layer but the first adds its inputs.
    """
    kind: type[HiddenLayer] | type[JetLayer] = HiddenLayer if needs.order <= 2 else JetLayer
    done: list[Hidden] = []
    rest = list(layers[:-1])
    if inputs.ndim == 2:
        done.append(kind.on_points(rest.pop(0), inputs, sigma, needs, more))
    for layer in rest:
        below = done[-1].outputs if done else inputs
        done.append(kind.on_channels(layer, below, sigma, needs, more, skip and bool(done)))
    return done


def output(last: Hidden, head: Weights, needs: Needs) -> Tensor:
    """The channels (R, m, K) of u = V h + c, one for each term of ``needs``.

    Args:
        last: the last hidden layer, which carries them.
        head: V (K, r) and c (K,).
        needs: the terms.
    """
    weight, bias = head
    if not needs.terms:
        return weight.new_empty(0, last.sigma[0].shape[-2], weight.shape[0])
    if isinstance(last, JetLayer) or last.skip or (last.travels and needs == needs.carried):
        value, *others = last.outputs @ weight.T
        stacked = [value + bias, *others]
        return torch.stack([_sum([stacked[k] for k in needs.sources(term)]) for term in needs.terms])
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


def _sum(parts: Sequence[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])


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
