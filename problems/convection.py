"""Convection u_t + β u_x = 0 on a circle of length 2π: a sine wave that moves and keeps its shape.

u = sin(x - βt)

With the usual β = 30 or 40 it turns round five or six times: the failure mode of Krishnapriyan, Gholami, Zhe, Kirby &
Mahoney (NeurIPS 2021). The network is exactly periodic in x, and gets the time stretched so that
the solution is as steep in it as in x; it is one layer of sines, as wide as that asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import (
    MLP,
    Chain,
    Domain,
    Evolution,
    Field,
    Interval,
    Network,
    Paced,
    PeriodicFeatures,
    Time,
)


@dataclass(frozen=True, kw_only=True)
class Convection(Evolution):
    """u_t + β u_x = 0, periodic in x, from sin x.

    Attributes:
        beta: speed β > 0.
    """

    beta: float = 40.0
    smooth = True

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"beta must be positive, got {self.beta}")
        super().__post_init__()

    def domain(self) -> Domain:
        return Interval(0.0, 2 * pi) * Time(1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t + self.beta * u.x

    def start(self, z: Tensor) -> Tensor:
        return torch.sin(z[:, 0])

    def exact(self, z: Tensor) -> Tensor:
        return torch.sin(z[:, 0] - self.beta * z[:, 1])

    def make_network(self) -> Network:
        (_, (first, last)) = self.place.bounds
        paced = Paced(((-1.0, 1.0), (first, last)), max(1.0, self.beta * (last - first) / 2))
        features = Chain((paced, PeriodicFeatures(2, 0, 2 * pi)))
        return MLP(2, (self.width,) * self.depth, self.activation, 1, features)

    def frequency(self) -> float:
        return 1.0

    def rate(self) -> float:
        return self.beta

    def default_slabs(self) -> int:
        return super().default_slabs() if self.wide() else ceil(self.beta / 5)
