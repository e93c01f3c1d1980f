"""The layers of a module whose curvature block is a Kronecker product, and what an evaluation tells of them.

A layer a = Wh + b with Ŵ = [W b] and ĥ = [h; 1] has the block A ⊗ G, A = E[ĥĥᵀ] and G the second derivative with
respect to a. A convolution is such a layer at each of its T output positions, with h the patch under the kernel
(Grosse & Martens 2016): then A is summed and G averaged over the positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

Rows = Callable[[Any, Tensor], Tensor]


def _linear_inputs(layer: nn.Linear, h: Tensor) -> Tensor:
    return h.reshape(-1, h.shape[-1])


def _linear_outputs(layer: nn.Linear, a: Tensor) -> Tensor:
    return a.reshape(-1, a.shape[-1])


def _patches(layer: nn.Conv2d, h: Tensor) -> Tensor:
    padding: Any = layer.padding
    if isinstance(padding, str):
        same = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        sides = [s for total in reversed(same) for s in (total // 2, total - total // 2)]
        h, padding = nn.functional.pad(h, sides if padding == "same" else [0, 0, 0, 0]), 0
    found = nn.functional.unfold(h, layer.kernel_size, layer.dilation, padding, layer.stride)
    return found.transpose(1, 2).reshape(-1, found.shape[1])


def _channels(layer: nn.Conv2d, a: Tensor) -> Tensor:
    return a.movedim(1, -1).reshape(-1, a.shape[1])


def _plain_convolution(layer: nn.Conv2d) -> bool:
    return layer.groups == 1 and layer.padding_mode == "zeros"


KINDS: dict[type[nn.Module], tuple[Rows, Rows, Callable[[Any], bool]]] = {
    nn.Linear: (_linear_inputs, _linear_outputs, lambda layer: True),
    nn.Conv2d: (_patches, _channels, _plain_convolution),
}


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with its places among the trained weights.

    Attributes:
        module: the layer.
        weight: index of W.
        bias: index of b, or None.
    """

    module: nn.Module
    weight: int
    bias: int | None

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """[W b] of tensors that are shaped as the weights, shape (d_o, d_i (+ 1))."""
        matrix = parts[self.weight].flatten(1)
        return matrix if self.bias is None else torch.cat([matrix, parts[self.bias][:, None]], 1)

    def split(self, matrix: Tensor, into: list[Tensor]) -> None:
        """Inverse of ``joined``."""
        shape = into[self.weight].shape
        if self.bias is not None:
            into[self.bias] = matrix[:, -1]
            matrix = matrix[:, :-1]
        into[self.weight] = matrix.reshape(shape)


@dataclass(frozen=True, eq=False)
class Pass:
    """What one evaluation tells of a layer; all but what is given is computed when it is asked for.

    Attributes:
        layer: which one.
        h: its input, the samples along the first axis.
        a: its output.
        gradient: derivative of the mean loss with respect to a, or None where it was not wanted.
    """

    layer: Layer
    h: Tensor
    a: Tensor
    gradient: Tensor | None

    @cached_property
    def inputs(self) -> Tensor:
        """ĥ at all samples and positions, shape (mT, d_i + 1), or (mT, d_i) without a bias."""
        rows = KINDS[type(self.layer.module)][0](self.layer.module, self.h)
        return rows if self.layer.bias is None else torch.cat([rows, rows.new_ones(len(rows), 1)], 1)

    @cached_property
    def slopes(self) -> Tensor:
        """Derivative of a sample's loss with respect to a, at all samples and positions, shape (mT, d_o)."""
        assert self.gradient is not None
        return self._outputs(self.gradient) * self.samples

    @cached_property
    def input(self) -> Tensor:
        """Mean of ĥ."""
        return self.inputs.mean(0)

    @cached_property
    def output(self) -> Tensor:
        """Mean of a, shape (d_o,)."""
        return self._outputs(self.a).mean(0)

    @cached_property
    def slope(self) -> Tensor:
        """Mean of ``slopes``, shape (d_o,)."""
        assert self.gradient is not None
        return self._outputs(self.gradient).sum(0) / self.positions

    @property
    def samples(self) -> int:
        """The number m."""
        return len(self.h)

    @property
    def positions(self) -> int:
        """The number T."""
        return len(self._outputs(self.a)) // self.samples

    def _outputs(self, a: Tensor) -> Tensor:
        return KINDS[type(self.layer.module)][1](self.layer.module, a)


def layers_of(module: nn.Module, weights: Sequence[Tensor]) -> list[Layer]:
    """The layers of the kinds in ``KINDS`` whose weights and biases are trained and shared with nobody."""
    places = {id(w): k for k, w in enumerate(weights)}
    owners: dict[int, int] = {}
    for part in module.modules():
        for p in part.parameters(recurse=False):
            owners[id(p)] = owners.get(id(p), 0) + 1
    found = []
    for part in module.modules():
        if type(part) not in KINDS or not KINDS[type(part)][2](part):
            continue
        own = list(part.parameters(recurse=False))
        if all(id(p) in places and owners[id(p)] == 1 for p in own):
            weight, bias = part.weight, part.bias
            found.append(Layer(part, places[id(weight)], None if bias is None else places[id(bias)]))
    return found


@contextmanager
def watched(layers: Sequence[Layer]) -> Iterator[dict[int, list[tuple[Tensor, Tensor]]]]:
    """Inputs and outputs of every call of the layers, by their number, while the context lasts."""
    calls: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def note(k: int) -> Callable[..., Tensor]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            calls.setdefault(k, []).append((inputs[0], output))
            return output.clone()  # an activation in place must not change what is noted

        return hook

    handles = [layer.module.register_forward_hook(note(k)) for k, layer in enumerate(layers)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
