"""Value, gradient and Laplacian of a network in one pass, and their parameter Jacobian row by row.

A hidden layer maps a = W h + b to h = σ(a). Together with h travel its derivatives with respect to the
d inputs of the network, as stacked channels (h, ∂₁h, ..., ∂_d h, Δh):

    ∂ₖh = σ'(a) ∂ₖa        Δh = σ'(a) Δa + σ''(a) S,   S = Σₖ (∂ₖa)²

Given row seeds (c_u, c_g, c_l), the scalar of a row c_u u + c_g·∇u + c_l Δu has with respect to the last
hidden layer, E = c_g·∇a + c_l Δa, T = c_l S and output weights v,

    d/dv = c_u σ + E σ' + T σ''        d/da = v (c_u σ' + E σ'' + T σ''')

and the adjoints of (a, ∂ₖa, Δa) are passed back from layer to layer, so that a row of the Jacobian costs
about as much as a few evaluations. In the first layer ∂ₖa = W[:, k] is constant and Δa = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from multilevel_opt.errors import ShapeError
from multilevel_opt.objective.layout import Layout
from multilevel_opt.pde.activations import Activation


class Channels(NamedTuple):
    """Three quantities per row, each None where it is not needed.

    They are either u and its derivatives, or the seeds: derivatives of a row with respect to these.

    Attributes:
        value: (m,).
        gradient: (m, d).
        laplacian: (m,).
    """

    value: Tensor | None = None
    gradient: Tensor | None = None
    laplacian: Tensor | None = None

    @property
    def order(self) -> int:
        """The highest derivative of the activation that the channels contain."""
        return 2 if self.laplacian is not None else int(self.gradient is not None)


class Needs(NamedTuple):
    """Which of the three channels are used."""

    value: bool = True
    gradient: bool = False
    laplacian: bool = False

    @property
    def order(self) -> int:
        """The highest derivative of the activation that the channels contain."""
        return 2 if self.laplacian else int(self.gradient)


@dataclass(frozen=True)
class HiddenLayer:
    """What the reverse pass needs of one hidden layer with r neurons.

    Attributes:
        weight: (r, n_in).
        inputs: stacked channels of the layer below, (C, m, n_in), C = 1, 1 + d or 2 + d.
        gradient: ∂ₖa of shape (d, m, r), or (d, 1, r) in the first layer, or None.
        laplacian: Δa of shape (m, r), or None where it is zero or not needed.
        square: S of shape (m, r) or (1, r), or None.
        sigma: σ(a), σ'(a), ..., each (m, r).
    """

    weight: Tensor
    inputs: Tensor
    gradient: Tensor | None
    laplacian: Tensor | None
    square: Tensor | None
    sigma: list[Tensor]

    def outputs(self) -> Tensor:
        """Stacked channels (C, m, r) that this layer hands on."""
        parts = [self.sigma[0][None]]
        if self.gradient is not None:
            parts.append(self.gradient * self.sigma[1])
        if self.square is not None:
            lap = self.square * self.sigma[2]
            parts.append((lap if self.laplacian is None else lap + self.laplacian * self.sigma[1])[None])
        return torch.cat(parts)


def parameters(x: Tensor, layout: Layout) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of every layer as views of the flat vector x (n,).

    Raises:
        ShapeError: x has not the size of the network.
    """
    if x.shape != (layout.size,):
        raise ShapeError(f"the network takes a vector of {layout.size} parameters, got shape {tuple(x.shape)}")
    views = [x[b.start : b.start + b.size].reshape(b.shape) for b in layout.blocks]
    return list(zip(views[::2], views[1::2], strict=True))


def hidden_layers(
    layers: Sequence[tuple[Tensor, Tensor]], z: Tensor, sigma: Activation, order: int, more: int = 0
) -> list[HiddenLayer]:
    """All hidden layers at the points z (m, d), carrying derivatives in z up to ``order`` (0, 1 or 2).

    Args:
        layers: (weight, bias) of every layer, the output layer last.
        z: points (m, d).
        sigma: the activation.
        order: 0 for values only, 1 with gradients, 2 with Laplacians too.
        more: how many further derivatives of σ to keep (1 for a Jacobian).
    """
    weight, bias = layers[0]
    grad = weight.T[:, None, :] if order else None
    square = (weight * weight).sum(1)[None] if order == 2 else None
    values = sigma.derivatives(torch.addmm(bias, z, weight.T), order + more)
    done = [HiddenLayer(weight, z[None], grad, None, square, values)]
    d = z.shape[1]
    for weight, bias in layers[1:-1]:
        inputs = done[-1].outputs()
        stacked = inputs @ weight.T
        grad = stacked[1 : 1 + d] if order else None
        square = stacked[1 : 1 + d].square().sum(0) if order == 2 else None
        lap = stacked[1 + d] if order == 2 else None
        values = sigma.derivatives(stacked[0] + bias, order + more)
        done.append(HiddenLayer(weight, inputs, grad, lap, square, values))
    return done


def output(last: HiddenLayer, head: tuple[Tensor, Tensor], needs: Needs) -> Channels:
    """The channels of u = v·h + c from the last hidden layer and (v, c) of shapes (1, r) and (1,)."""
    v, sigma = head[0][0], last.sigma
    value = torch.mv(sigma[0], v) + head[1] if needs.value else None
    gradient = laplacian = None
    if needs.gradient:
        assert last.gradient is not None
        if last.gradient.shape[1] == 1:
            gradient = sigma[1] @ (last.gradient[:, 0] * v).T
        else:
            gradient = (last.gradient * (sigma[1] * v)).sum(-1).T
    if needs.laplacian:
        assert last.square is not None
        if last.laplacian is None:
            laplacian = torch.mv(sigma[2], last.square[0] * v)
        else:
            laplacian = torch.mv(last.laplacian * sigma[1] + last.square * sigma[2], v)
    return Channels(value, gradient, laplacian)


def propagate(x: Tensor, layout: Layout, sigma: Activation, z: Tensor, needs: Needs) -> Channels:
    """The channels of u(·; x) at the points z (m, d): a pure function of the flat parameters x (n,)."""
    layers = parameters(x, layout)
    return output(hidden_layers(layers, z, sigma, needs.order)[-1], layers[-1], needs)


def row_jacobian(
    hidden: Sequence[HiddenLayer], head: tuple[Tensor, Tensor], seeds: Channels, layout: Layout, out: Tensor
) -> None:
    """Writes row i of d/dx [c_u u + c_g·∇u + c_l Δu](zᵢ) into ``out``.

    Args:
        hidden: the layers at these points, made with ``order >= seeds.order`` and ``more=1``.
        head: output weights (1, r) and bias (1,).
        seeds: (c_u, c_g, c_l) of shapes (m,), (m, d), (m,).
        layout: where the parameters lie in a row.
        out: (m, n) with unit column stride; every entry is overwritten.
    """
    views = [out[:, b.start : b.start + b.size].unflatten(1, b.shape) for b in layout.blocks]
    v = head[0][0]
    views[-1].copy_(seeds.value[:, None]) if seeds.value is not None else views[-1].zero_()
    parts = _parts(hidden[-1], seeds)
    _combine(parts, hidden[-1].sigma, 0, views[-2][:, 0])
    bias = views[-3] if len(hidden) == 1 else torch.empty_like(hidden[-1].sigma[0])
    adjoint = _combine(parts, hidden[-1].sigma, 1, bias).mul_(v)
    if len(hidden) == 1:
        _first_layer_from_seeds(hidden[0], v, seeds, adjoint, views[0])
        return
    adjoints = _last_adjoints(hidden[-1], v, seeds, adjoint)
    for index in range(len(hidden) - 1, 0, -1):
        layer = hidden[index]
        views[2 * index + 1].copy_(adjoints[0])
        inputs = layer.inputs[: adjoints.shape[0]]
        views[2 * index].copy_(torch.bmm(adjoints.permute(1, 2, 0), inputs.permute(1, 0, 2)))
        adjoints = _through_activation(hidden[index - 1], adjoints @ layer.weight)
    views[1].copy_(adjoints[0])
    z = hidden[0].inputs[0]
    for k in range(z.shape[1]):
        column = adjoints[0] * z[:, k, None]
        views[0][:, :, k] = column.add_(adjoints[1 + k]) if adjoints.shape[0] > 1 else column


def _parts(last: HiddenLayer, seeds: Channels) -> list[tuple[int, Tensor]]:
    """The factors (k, F) with d/dv = Σ F σ^(k): c_u, E and T of the module docstring."""
    parts: list[tuple[int, Tensor]] = []
    if seeds.value is not None:
        parts.append((0, seeds.value[:, None]))
    grad, lap, slope = last.gradient, last.laplacian, None
    if seeds.gradient is not None:
        assert grad is not None
        thin = grad.shape[1] == 1
        slope = seeds.gradient @ grad[:, 0] if thin else (grad * seeds.gradient.T[:, :, None]).sum(0)
    if seeds.laplacian is not None and lap is not None:
        scaled = lap * seeds.laplacian[:, None]
        slope = scaled if slope is None else slope + scaled
    if slope is not None:
        parts.append((1, slope))
    if seeds.laplacian is not None:
        assert last.square is not None
        parts.append((2, last.square * seeds.laplacian[:, None]))
    return parts


def _combine(parts: list[tuple[int, Tensor]], sigma: list[Tensor], shift: int, out: Tensor) -> Tensor:
    """Out = Σ F σ^(k + shift) over the parts (k, F)."""
    if not parts:
        return out.zero_()
    k, factor = parts[0]
    torch.mul(sigma[k + shift], factor, out=out)
    for k, factor in parts[1:]:
        out.addcmul_(sigma[k + shift], factor)
    return out


def _first_layer_from_seeds(layer: HiddenLayer, v: Tensor, seeds: Channels, adjoint: Tensor, out: Tensor) -> None:
    """Weight block (m, r, d) of a network with one hidden layer: adjoint zₖ + adjoint of ∂ₖa."""
    z, weight, sigma = layer.inputs[0], layer.weight, layer.sigma
    bent = None if seeds.laplacian is None else sigma[2] * (2.0 * seeds.laplacian)[:, None]
    for k in range(z.shape[1]):
        column = adjoint * z[:, k, None]
        if bent is not None:
            column.addcmul_(bent, weight[:, k] * v)
        if seeds.gradient is not None:
            column.addcmul_(sigma[1], seeds.gradient[:, k, None] * v)
        out[:, :, k] = column


def _last_adjoints(layer: HiddenLayer, v: Tensor, seeds: Channels, adjoint: Tensor) -> Tensor:
    """Stacked adjoints (C, m, r) of (a, ∂ₖa, Δa) in the last hidden layer."""
    order = seeds.order
    if order == 0:
        return adjoint[None]
    assert layer.gradient is not None
    d = layer.gradient.shape[0]
    out = adjoint.new_empty(d + order, *adjoint.shape)
    out[0] = adjoint
    slope = layer.sigma[1] * v
    grad = out[1 : 1 + d]
    if seeds.gradient is not None:
        torch.mul(slope, seeds.gradient.T[:, :, None], out=grad)
    else:
        grad.zero_()
    if seeds.laplacian is not None:
        c = seeds.laplacian[:, None]
        torch.mul(slope, c, out=out[1 + d])
        grad.addcmul_(layer.gradient, layer.sigma[2] * (v * (2.0 * c)))
    return out


def _through_activation(layer: HiddenLayer, above: Tensor) -> Tensor:
    """Adjoints (C, m, r) of (a, ∂ₖa, Δa) from those of (h, ∂ₖh, Δh), in place."""
    sigma, channels = layer.sigma, above.shape[0]
    above[0] *= sigma[1]
    if channels == 1:
        return above
    assert layer.gradient is not None
    d = layer.gradient.shape[0]
    grad = above[1 : 1 + d]
    above[0].addcmul_((grad * layer.gradient).sum(0), sigma[2])
    grad *= sigma[1]
    if channels == d + 2:
        assert layer.square is not None
        lap = above[1 + d]
        bend = layer.square * sigma[3]
        if layer.laplacian is not None:
            bend.addcmul_(layer.laplacian, sigma[2])
        above[0].addcmul_(lap, bend)
        grad.addcmul_(layer.gradient, (2.0 * lap) * sigma[2])
        lap *= sigma[1]
    return above
