"""A linear layer in blocks: the outputs of a block depend on the inputs of the same block only.

    y_j = W_j x_j + b_j,   j = 1..C

With C classes for the C blocks it has C times fewer weights than a dense layer, and a network that ends in such layers
has scores that share no weight but those of its first layers (Raynaud & Orban 2022). Whatever acts on every entry by
itself keeps the blocks apart: activations, dropout, and identity skips ``x + layer(x)``.

A convolution with its activation and 2 × 2 means as one layer stands beside it, since the derivatives of many scores by
its weights are several times cheaper together than one after the other (``rules``).
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError, ShapeError


class SeparableLinear(nn.Module):
    """Blocks of dense layers, evaluated by one batched product.

    Args:
        in_features, out_features: numbers of inputs and outputs, of all blocks together; multiples of ``blocks``.
        blocks: C.
        bias: add b_j.
        device, dtype: of the weights.

    Attributes:
        weight: shape (C, out/C, in/C), drawn as in ``torch.nn.Linear``, uniformly up to 1/√(in/C).
        bias: shape (C, out/C), or None.

    Raises:
        InputError: numbers of features that are no multiples of ``blocks``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        blocks: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if blocks < 1 or in_features < 1 or out_features < 1 or in_features % blocks or out_features % blocks:
            raise InputError(
                f"{in_features} inputs and {out_features} outputs do not split into {blocks} blocks: use multiples of "
                f"{blocks}"
            )
        self.blocks, self.in_features, self.out_features = blocks, in_features, out_features
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        shape = (blocks, out_features // blocks, in_features // blocks)
        self.weight = nn.Parameter(torch.empty(shape, **options))
        self.bias = nn.Parameter(torch.empty(shape[:2], **options)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        bound = 1 / sqrt(self.weight.shape[2])
        for parameter in self.parameters():
            parameter.uniform_(-bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes (N, in) -> (N, out); raises ``ShapeError``."""
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ShapeError(
                f"this separable layer takes (samples, {self.in_features}), got {tuple(x.shape)}: flatten the "
                "features of a sample, those of a block side by side"
            )
        parts = x.reshape(len(x), self.blocks, -1).transpose(0, 1)
        out = torch.bmm(parts, self.weight.transpose(1, 2)).transpose(0, 1)
        return (out if self.bias is None else out + self.bias).reshape(len(x), self.out_features)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{self.in_features}, {self.out_features}, blocks={self.blocks}, bias={self.bias is not None}"


class PooledConv2d(nn.Conv2d):
    """Convolution, activation, and means over 2 × 2 outputs; an odd last row or column is left out, and not computed.

    Args:
        in_channels, out_channels, kernel_size: as of ``torch.nn.Conv2d``; stride 1, no padding.
        activation: acts on every entry by itself.
        device, dtype: of the weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        activation: nn.Module,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, device=device, dtype=dtype)
        self.activation = activation

    def used(self, images: Tensor) -> Tensor:
        """The part of the images (N, channels, height, width) that the means need."""
        k = int(self.kernel_size[0])
        height, width = ((side - k + 1) // 2 * 2 + k - 1 for side in images.shape[2:])
        return images[..., :height, :width]

    def forward(self, images: Tensor) -> Tensor:
        """Shapes (N, in, height, width) -> (N, out, (height − k + 1)//2, (width − k + 1)//2)."""
        pooled: Tensor = torch.nn.functional.avg_pool2d(self.activation(super().forward(self.used(images))), 2)
        return pooled
