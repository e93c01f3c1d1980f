"""PSNet and LeNet on pictures of ten classes, with the loss of pairs of scores or the negative log-likelihood.

From P. Raynaud, D. Orban, "Limited-memory stochastic partitioned quasi-Newton training", Edge Intelligence Workshop
2022: PSNet has 12 200 weights on pictures of 28×28 pixels, LeNet 24 092. The authors trained on MNIST, which is read
from a folder (``data=FOLDER``); Fashion-MNIST has its shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from multilevel_opt import InputError, Samples
from multilevel_opt.separable import LOSSES, LeNet, PSNet
from problems.classification import Classification
from problems.images import Images


@dataclass
class _Pictures(Classification):
    """Base of both."""

    loss: str = "nll"
    activation: str = "sigmoid"
    pooling: str = "mean"
    initialization: str = "glorot"

    small: ClassVar[Mapping[str, Any]]
    usual: ClassVar[Mapping[str, Any]]
    kind: ClassVar[type[nn.Module]]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES:
            raise InputError(f"loss={self.loss} is unknown: choose one of {', '.join(LOSSES)}")

    def network(self, pictures: Images, classes: int) -> nn.Module:
        shape = tuple(pictures.train.shape[1:])
        sizes = self.small if min(shape[1:]) < 20 else self.usual
        named = {name: getattr(self, name) for name in ("activation", "pooling", "initialization")}
        return self.kind(**{**sizes, "classes": classes, "shape": shape}, **named)

    def made(self) -> tuple[Samples, Samples | None]:
        train, test = super().made()
        made = Samples(train.module, LOSSES[self.loss], train.inputs, train.targets)
        return made, test


@dataclass
class PSNetPictures(_Pictures):
    """A network whose scores share only the first convolution, on pictures of ten classes.

    Source: Raynaud & Orban 2022 (12 200 weights on 28×28 pixels; on 8×8 a smaller one).

    Attributes:
        loss: exp, exp-squared, softplus, squared-hinge, one-vs-rest, or nll.
        activation: sigmoid, tanh, relu, silu or softplus.
        pooling: mean or max.
        initialization: glorot or torch.
    """

    loss: str = "softplus"

    default_method: ClassVar[str] = "pggn"
    kind: ClassVar[type[nn.Module]] = PSNet
    usual: ClassVar[Mapping[str, Any]] = {"channels": (10, 20), "kernel": 4, "widths": (200, 100)}
    small: ClassVar[Mapping[str, Any]] = {"channels": (10, 40), "kernel": 2, "widths": (80,)}


@dataclass
class LeNetPictures(_Pictures):
    """LeNet on pictures of ten classes; every score uses nearly all weights, so partitioned methods refuse it.

    Source: LeCun et al. 1998, sizes of Raynaud & Orban 2022 (24 092 weights on 28×28 pixels; on 8×8 a smaller one).

    Attributes:
        loss: exp, exp-squared, softplus, squared-hinge, one-vs-rest, or nll.
        activation: sigmoid, tanh, relu, silu or softplus.
        pooling: mean or max.
        initialization: glorot or torch.
    """

    kind: ClassVar[type[nn.Module]] = LeNet
    usual: ClassVar[Mapping[str, Any]] = {"channels": (6, 16), "kernel": 4, "widths": (84,)}
    small: ClassVar[Mapping[str, Any]] = {"channels": (6, 16), "kernel": 2, "widths": (84,)}
