"""The partially separable network of Raynaud & Orban (2022), and the LeNet beside it.

Both have two convolutions, each followed by the activation and 2 × 2 pooling. ``PSNet`` goes on with separable layers,
so that a score shares with another only the first convolution: already of the second one every score sees its own
channels. ``LeNet`` goes on with dense layers.

A chain of sigmoids with the usual small weights hides the input from the scores, and training starts with a plateau of
an epoch or two. ``glorot`` weights have the gain of the activation (4 for the sigmoid, whose slope at 0 is 1/4) and no
such plateau.

The poster says max-pooling; the authors' code takes means since 2022, to be twice differentiable, and so do these.

    network                                      weights of all scores    one score    two scores
    poster, 28 × 28: PSNet(**POSTER)                       12 200          1 373        2 576
    paper, 28 × 28: PSNet(**PAPER)                         46 740          5 610       10 180
    paper, 3 × 32 × 32: PSNet(**PAPER_COLOR)               81 750         12 279       19 998
    poster, LeNet(**LENET_POSTER)                          24 092
    paper, LeNet(**LENET_PAPER)                            44 426
    paper, 3 × 32 × 32: LeNet(**LENET_PAPER_COLOR)        104 182
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.separable.layers import PooledConv2d, SeparableLinear

POSTER: dict[str, Any] = {"shape": (1, 28, 28), "channels": (10, 20), "kernel": 4, "widths": (200, 100)}
PAPER: dict[str, Any] = {"shape": (1, 28, 28), "channels": (40, 30), "kernel": 5, "widths": (240, 150)}
PAPER_COLOR: dict[str, Any] = {"shape": (3, 32, 32), "channels": (60, 30), "kernel": 5, "widths": (350, 150)}
LENET_POSTER: dict[str, Any] = {"shape": (1, 28, 28), "channels": (6, 16), "kernel": 4, "widths": (84,)}
LENET_PAPER: dict[str, Any] = {"shape": (1, 28, 28), "channels": (6, 16), "kernel": 5, "widths": (120, 84)}
LENET_PAPER_COLOR: dict[str, Any] = {"shape": (3, 32, 32), "channels": (6, 16), "kernel": 5, "widths": (200, 100)}

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


@torch.no_grad()
def _glorot(net: nn.Module, activation: str) -> None:
    """Uniform weights up to gain · √(6/(inputs + outputs)) of a neuron or kernel, biases 0; last layer: gain 1."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear | SeparableLinear)]
    for layer in layers:
        w = layer.weight[0] if isinstance(layer, SeparableLinear) else layer.weight
        bound = (6 / (w[0].numel() + w[:, 0].numel())) ** 0.5
        layer.weight.uniform_(-bound, bound).mul_(1.0 if layer is layers[-1] else GAINS[activation])
        if layer.bias is not None:
            layer.bias.zero_()


def _mean(depth: int, channels: int, kernel: int, activation: nn.Module, options: dict[str, Any]) -> list[nn.Module]:
    return [PooledConv2d(depth, channels, kernel, activation, **options)]


def _max(depth: int, channels: int, kernel: int, activation: nn.Module, options: dict[str, Any]) -> list[nn.Module]:
    return [nn.Conv2d(depth, channels, kernel, **options), activation, nn.MaxPool2d(2)]


GAINS = {"sigmoid": 4.0, "tanh": 1.0, "relu": 2**0.5, "silu": 2**0.5, "softplus": 2**0.5}
INITIALIZATIONS: dict[str, Callable[[nn.Module, str], None]] = {
    "glorot": _glorot,
    "torch": lambda net, activation: None,
}
POOLINGS: dict[str, Callable[..., list[nn.Module]]] = {"mean": _mean, "max": _max}


class _Convolutional(nn.Module):
    """Convolutions with pooling, then linear layers; the subclasses say which."""

    def __init__(
        self,
        classes: int = 10,
        shape: tuple[int, int, int] = (1, 28, 28),
        channels: Sequence[int] = (10, 20),
        kernel: int = 4,
        widths: Sequence[int] = (200, 100),
        activation: str = "sigmoid",
        pooling: str = "mean",
        initialization: str = "glorot",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _known("activation", activation, ACTIVATIONS)
        _known("pooling", pooling, POOLINGS)
        _known("initialization", initialization, INITIALIZATIONS)
        self.classes, self.shape = classes, tuple(shape)
        options = {"device": device, "dtype": dtype}
        layers: list[nn.Module] = []
        depth, *sides = shape
        for channel in channels:
            layers += POOLINGS[pooling](depth, channel, kernel, ACTIVATIONS[activation](), options)
            depth, sides = channel, [(side - kernel + 1) // 2 for side in sides]
            if min(sides) < 1:
                raise InputError(f"images of {shape} are too small for these convolutions: use a smaller kernel")
        layers.append(nn.Flatten())
        features = [depth * sides[0] * sides[1], *widths, classes]
        for before, after in pairwise(features[:-1]):
            layers += [self.linear(before, after, options), ACTIVATIONS[activation]()]
        layers.append(self.linear(features[-2], features[-1], options))
        self.layers = nn.Sequential(*layers)
        INITIALIZATIONS[initialization](self, activation)

    def linear(self, before: int, after: int, options: dict[str, Any]) -> nn.Module:
        """A layer between so many features."""
        return nn.Linear(before, after, **options)

    def forward(self, images: Tensor) -> Tensor:
        """The scores: shapes (N, channels, height, width) -> (N, C); raises ``ShapeError``."""
        if tuple(images.shape[1:]) != self.shape:
            raise ShapeError(f"this network takes images {self.shape}, got {tuple(images.shape[1:])}: reshape them")
        scores: Tensor = self.layers(images)
        return scores


class PSNet(_Convolutional):
    """A network with a partially separable loss.

    Args:
        classes: C; ``channels[-1]`` and ``widths`` are multiples of it.
        shape: of an image: channels, height, width.
        channels: of the convolutions.
        kernel: side of their kernels, stride 1, no padding.
        widths: of the separable layers before the last.
        activation: sigmoid, tanh, relu, silu or softplus; the authors take sigmoid.
        pooling: mean or max.
        initialization: glorot, or torch for that of ``torch.nn.Linear``.
        device, dtype: of the weights.

    Raises:
        InputError: an unknown name, images too small, or widths that do not split into C blocks.
    """

    def linear(self, before: int, after: int, options: dict[str, Any]) -> nn.Module:
        """A separable layer."""
        return SeparableLinear(before, after, self.classes, **options)


class LeNet(_Convolutional):
    """The same with dense layers (LeCun et al. 1998): every score uses all weights below the last layer.

    Takes the arguments of ``PSNet``.
    """


def _known(name: str, value: str, table: dict[str, Any]) -> None:
    if value not in table:
        raise InputError(f"{name}={value} is unknown: choose one of {', '.join(table)}")
