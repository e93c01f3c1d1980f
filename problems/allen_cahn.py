"""The Allen-Cahn equation u_t = d u_xx + 5 (u - u³) on (-1, 1), periodic, from x² cos(πx).

The initial state is even but has a kink at x = ±1, as a periodic function; diffusion rounds it off. It is no matter for
a smooth network. So the network adds to the heat flow of that state, which keeps the kink where it is and for as long:

    u = Σ a_k e^(-d k²π² t) cos(kπx) + t N(cos πx, sin πx, t)      in the first slab

The truth comes from the same series, advanced in time by exponential Runge-Kutta steps (``problems.etd``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import MLP, Chain, Domain, Evolution, Field, Interval, Network, PeriodicFeatures, Scaled, Time
from problems.etd import cosine_coefficients, reference

MODES = 1000  # of the heat flow: 5e-6 of the initial state lies beyond
RATE = 5.0
CHUNK = 1024  # points at a time


@dataclass(frozen=True, kw_only=True)
class AllenCahn(Evolution):
    """u_t = d u_xx + 5 (u - u³): two phases and the thin layers between them.

    Attributes:
        diffusion: d >= 1e-5.
    """

    diffusion: float = 1e-4
    depth: int = 3

    def __post_init__(self) -> None:
        if not self.diffusion >= 1e-5:
            raise InputError(f"diffusion must be at least 1e-5, got {self.diffusion}: the truth is not computed below")
        super().__post_init__()

    def domain(self) -> Domain:
        return Interval(-1.0, 1.0) * Time(1.0)

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t - self.diffusion * u.xx - RATE * (u.value - u.value**3)

    def start(self, z: Tensor) -> Tensor:
        """The heat flow of x² cos(πx), which is that state at t = 0."""
        a, k = (z.new_tensor(part) for part in cosine_coefficients(MODES))
        decay = torch.exp(-self.diffusion * (pi * k) ** 2 * z[:, 1:])
        return (a * decay * torch.cos(pi * k * z[:, :1])).sum(1)

    def exact(self, z: Tensor) -> Tensor:
        truth = reference(self.diffusion, RATE)
        return torch.cat([truth(part) for part in z.split(CHUNK)])

    def make_network(self) -> Network:
        _, times = self.place.bounds
        features = Chain((Scaled(((-1.0, 1.0), times)), PeriodicFeatures(2, 0, 2.0)))
        return MLP(2, (self.width,) * self.depth, self.activation, 1, features)

    def frequency(self) -> float:
        return 2 * pi

    def default_width(self) -> int:
        return 20

    def default_points(self) -> int:
        return 1200

    def default_slabs(self) -> int:
        return 8
