"""Gradients of single samples by the weights of a layer, from its input a and the cotangent δ of its output.

    dense       ∂/∂W = δ aᵀ             convolution   ∂/∂W = δ (patches of a)ᵀ           bias   ∂/∂b = Σ_positions δ

and, for a layer whose outputs are grouped by score, the cotangents of its input that belong to each score. A layer of
another kind needs a line in ``RULES``; a module with weights in layers without a rule is differentiated in another way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from multilevel_opt.separable.layers import PooledConv2d, SeparableLinear


class Rule(ABC):
    """What a kind of layer knows of its derivatives."""

    def fits(self, layer: Any) -> bool:
        """The rule covers the options of this layer."""
        return True

    def prepared(self, layer: Any, inputs: Tensor) -> Any:
        """What the gradients need of the input, the same for every cotangent."""
        return inputs

    @abstractmethod
    def gradients(self, layer: Any, prepared: Any, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients by weight and by bias, each (N, anything) with the entries of the parameter in its order."""

    @abstractmethod
    def split(self, layer: Any, inputs: Tensor, prepared: Any, cotangent: Tensor, classes: int) -> list[Tensor]:
        """For every score the cotangent of the input, each of the shape of ``inputs``."""


class _Dense(Rule):
    def gradients(self, layer: Any, prepared: Any, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        a, d = (t.reshape(len(t), -1, t.shape[-1]) for t in (prepared, cotangent))
        return torch.bmm(d.transpose(1, 2), a).flatten(1), d.sum(1)

    def split(self, layer: Any, inputs: Tensor, prepared: Any, cotangent: Tensor, classes: int) -> list[Tensor]:
        parts = zip(cotangent.chunk(classes, -1), layer.weight.detach().chunk(classes, 0), strict=True)
        return [d @ w for d, w in parts]


class _Blocks(Rule):
    def gradients(self, layer: Any, prepared: Any, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        a, d = (t.reshape(len(t), layer.blocks, -1) for t in (prepared, cotangent))
        return (d[:, :, :, None] * a[:, :, None, :]).flatten(1), cotangent

    def split(self, layer: Any, inputs: Tensor, prepared: Any, cotangent: Tensor, classes: int) -> list[Tensor]:
        d = cotangent.reshape(len(cotangent), layer.blocks, -1).transpose(0, 1)
        blocks = torch.bmm(d, layer.weight.detach()).transpose(0, 1).flatten(1)
        keep = torch.eye(classes, dtype=blocks.dtype, device=blocks.device)
        return [blocks * mask for mask in keep.repeat_interleave(blocks.shape[1] // classes, 1)]


class _Convolution(Rule):
    def fits(self, layer: Any) -> bool:
        return bool(layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str))

    def prepared(self, layer: Any, inputs: Tensor) -> Any:
        """Patches, shape (N, in · kernel, positions)."""
        return _patches(layer, inputs).flatten(2)

    def gradients(self, layer: Any, prepared: Any, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        d = cotangent.flatten(2)
        return torch.bmm(d, prepared.transpose(1, 2)).flatten(1), d.sum(2)

    def split(self, layer: Any, inputs: Tensor, prepared: Any, cotangent: Tensor, classes: int) -> list[Tensor]:
        # one small convolution for each score: the grouped transposed one is several times slower on a CPU
        parts = zip(cotangent.chunk(classes, 1), layer.weight.detach().chunk(classes, 0), strict=True)
        return [_transposed(layer, inputs, w, d) for d, w in parts]


class _PooledConvolution(_Convolution):
    """The positions are sorted by their place in a 2 × 2 cell, so that the cotangent of the means meets four rows."""

    def prepared(self, layer: Any, inputs: Tensor) -> Any:
        """Patches (N, in · kernel, positions), and slopes of the activation over 4 (N, out, 4, cells)."""
        patches = _sorted(_patches(layer, layer.used(inputs))).flatten(2)
        flat = torch.matmul(layer.weight.detach().flatten(1), patches) + layer.bias.detach()[:, None]
        with torch.enable_grad():
            z = flat.requires_grad_()
            (slopes,) = torch.autograd.grad(layer.activation(z).sum(), z)
        return patches, (slopes / 4).reshape(*slopes.shape[:2], 4, -1)

    def gradients(self, layer: Any, prepared: Any, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        return super().gradients(layer, prepared[0], self._before(prepared, cotangent))

    def split(self, layer: Any, inputs: Tensor, prepared: Any, cotangent: Tensor, classes: int) -> list[Tensor]:
        count, channels, h, w = cotangent.shape
        cells = self._before(prepared, cotangent).reshape(count, channels, 2, 2, h, w)
        full = cells.permute(0, 1, 4, 2, 5, 3).reshape(count, channels, 2 * h, 2 * w)
        used = layer.used(inputs)
        room = [side - kept for side, kept in zip(inputs.shape[:1:-1], used.shape[:1:-1], strict=True)]
        found = super().split(layer, used, None, full, classes)
        return [torch.nn.functional.pad(part, (0, room[0], 0, room[1])) for part in found]

    def _before(self, prepared: Any, cotangent: Tensor) -> Tensor:
        """The cotangent of the convolution, positions sorted, shape (N, out, 4, cells)."""
        found: Tensor = cotangent.flatten(2)[:, :, None] * prepared[1]
        return found


def _transposed(layer: Any, inputs: Tensor, w: Tensor, d: Tensor) -> Tensor:
    """The cotangent of the input; with unit stride as an ordinary convolution, which is three times faster on a CPU."""
    room = [k - 1 - p for k, p in zip(layer.kernel_size, layer.padding, strict=True)]
    if set(layer.stride + layer.dilation) != {1} or min(room) < 0:
        found: Tensor = conv2d_input(inputs.shape, w, d, layer.stride, layer.padding, layer.dilation)
        return found
    return torch.nn.functional.conv2d(d, w.flip(2, 3).transpose(0, 1), padding=tuple(room))


def _patches(layer: Any, inputs: Tensor) -> Tensor:
    """Shape (N, in · kernel, height, width); a strided view copied once, several times faster than ``unfold``."""
    (ph, pw), (sh, sw), (dh, dw), (kh, kw) = layer.padding, layer.stride, layer.dilation, layer.kernel_size
    padded = torch.nn.functional.pad(inputs, (pw, pw, ph, ph)) if ph or pw else inputs
    spans = padded.unfold(2, dh * (kh - 1) + 1, sh).unfold(3, dw * (kw - 1) + 1, sw)
    return spans[..., ::dh, ::dw].permute(0, 1, 4, 5, 2, 3).flatten(1, 3)


def _sorted(images: Tensor) -> Tensor:
    """(N, channels, 2h, 2w) -> (N, channels, 4, hw): by place in a 2 × 2 cell."""
    count, channels, height, width = images.shape
    cells = images.reshape(count, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 1, 3, 5, 2, 4).reshape(count, channels, 4, -1)


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _Dense(),
    SeparableLinear: _Blocks(),
    nn.Conv2d: _Convolution(),
    PooledConv2d: _PooledConvolution(),
}
