"""Deep autoencoders: the benchmark of Hinton & Salakhutdinov (2006) as used by Goldfarb, Ren & Bahamou (2020).

====== ======================================================= ==========================================
shape  widths, of the pixels first and last                    loss of a sample
====== ======================================================= ==========================================
mnist  784-1000-500-250-30-250-500-1000-784                    binary cross-entropy summed over the pixels
curves 784-400-200-100-50-25-6-25-50-100-200-400-784           the same
faces  625-2000-1000-500-30-500-1000-2000-625                  ½‖u − a‖²
====== ======================================================= ==========================================

Hidden layers have ReLU, the code and the output are linear. On pictures of other sizes the hidden widths are scaled
by the number of pixels, the code by its square root.

The curves are drawn here, since the published file cannot be had: quadratic Bézier curves through three control points,
uniform in [0.15, 0.85]², with pixels exp(−d²/(2·0.8²)) for the distance d to the nearest of 40 points of the curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multilevel_opt import InputError, Samples
from multilevel_opt.training import TrainingProblem
from problems.images import images

CURVE_POINTS, CURVE_WIDTH, CURVE_MARGIN = 40, 0.8, 0.15
CURVES_TRAIN, CURVES_TEST, SIDE = 20_000, 10_000, 28
Loss = Callable[[Tensor, Tensor], Tensor]


def entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the pixels, mean over the rows."""
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum") / len(outputs)


def half_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    """½‖u − a‖², mean over the rows."""
    return 0.5 * (outputs - targets).square().sum() / len(outputs)


@dataclass(frozen=True)
class Shape:
    """Widths of the encoder, for pictures of so many pixels, and the loss."""

    pixels: int
    hidden: tuple[int, ...]
    code: int
    loss: Loss

    def widths(self, pixels: int) -> list[int]:
        """All widths for pictures of another size."""
        factor = min(1.0, pixels / self.pixels)
        hidden = [max(2, round(factor * width)) for width in self.hidden]
        return [pixels, *hidden, max(2, round(factor**0.5 * self.code)), *hidden[::-1], pixels]


SHAPES: dict[str, Shape] = {
    "mnist": Shape(784, (1000, 500, 250), 30, entropy),
    "curves": Shape(784, (400, 200, 100, 50, 25), 6, entropy),
    "faces": Shape(625, (2000, 1000, 500), 30, half_squares),
}


@dataclass
class Autoencoder(TrainingProblem):
    """A deep autoencoder on pictures of digits, clothes or curves, or on files of MNIST or CIFAR-10.

    Source: D. Goldfarb, Y. Ren, A. Bahamou, "Practical quasi-Newton methods for training deep neural networks",
    NeurIPS 2020 (there with a weight decay of 1e-5).

    Attributes:
        shape: mnist, curves or faces.
        data: digits, fashion-mnist, curves, or a folder with files of MNIST or CIFAR-10.
        rows: so many of the training pictures; none: all.
        pool: side of the squares of pixels of which the mean is taken: 2 makes a small problem of a large one.
        weight_decay: τ of the term τ/2 ‖x‖² of the training loss; instead of an option of that name of a method.
    """

    batch: int = 1000
    shape: str = "mnist"
    data: str = "digits"
    rows: int | None = None
    pool: int = 1
    weight_decay: float = 0.0

    measures: ClassVar[Mapping[str, object]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape not in SHAPES:
            raise InputError(f"unknown shape {self.shape!r}: choose one of {', '.join(SHAPES)}")
        if self.pool < 1:
            raise InputError(f"pool={self.pool} is out of range: give 1 or more")
        self.measures = {"loss": SHAPES[self.shape].loss}  # type: ignore[misc]

    def made(self) -> tuple[Samples, Samples | None]:
        shape = SHAPES[self.shape]
        train, test = (self._pooled(part).flatten(1) for part in self._pictures())
        module = network(shape.widths(train.shape[1])).to(self.device, self.torch_dtype)
        rows = [part.to(self.device, self.torch_dtype) for part in (train, test)]
        learned = Samples(module, shape.loss, rows[0], rows[0], self.weight_decay)
        return learned, Samples(module, shape.loss, rows[1], rows[1])

    def _pooled(self, pictures: Tensor) -> Tensor:
        if self.pool > min(pictures.shape[-2:]):
            raise InputError(
                f"pool={self.pool} is out of range: the pictures have {min(pictures.shape[-2:])} pixels a side"
            )
        return F.avg_pool2d(pictures, self.pool) if self.pool > 1 else pictures

    def _pictures(self) -> tuple[Tensor, Tensor]:
        """Those to train on and those to test on, shape (rows, channels, height, width)."""
        if self.data == "curves":
            wanted = CURVES_TRAIN if self.rows is None else self.rows
            drawn = curves(wanted + (CURVES_TEST if self.rows is None else max(1, wanted // 2)), self.seed)
            drawn = drawn.reshape(-1, 1, SIDE, SIDE)
            return drawn[:wanted], drawn[wanted:]
        pictures = images(self.data, self.rows)
        return pictures.train, pictures.test


def network(widths: list[int]) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them, but for the one in the middle."""
    layers: list[nn.Module] = []
    middle = len(widths) // 2
    for k, (a, b) in enumerate(pairwise(widths), 1):
        layers.append(nn.Linear(a, b))
        if k not in (middle, len(widths) - 1):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def curves(rows: int, seed: int = 0, side: int = SIDE) -> Tensor:
    """Pictures of curves, float32 of shape (rows, side²) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    control = CURVE_MARGIN + (1 - 2 * CURVE_MARGIN) * torch.rand(rows, 3, 2, generator=generator)
    t = torch.linspace(0, 1, CURVE_POINTS)
    weights = torch.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], 1)
    points = (side - 1) * (weights @ control)  # (rows, 40, 2), in pixels
    axis = torch.arange(side, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    nearest = [torch.cdist(grid[None], part).amin(2) for part in points.split(500)]
    return torch.exp(-torch.cat(nearest).square() / (2 * CURVE_WIDTH**2))
