"""What a network is given in place of the bare coordinates: scaled, chosen, periodic or Fourier features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Embedding(Protocol):
    """A smooth function of the coordinates without parameters, row by row: (m, d) -> (m, p)."""

    def __call__(self, z: Tensor) -> Tensor:
        """φ(z)."""
        ...

    @property
    def features(self) -> int:
        """P."""
        ...

    def frequency(self, omega: float) -> float:
        """Largest wave number, in the features, of a solution with wave number ω in the coordinates."""
        ...


@dataclass(frozen=True)
class Scaled:
    """Coordinates mapped to [-1, 1] by the box: φ = (z - centre) / half width.

    Attributes:
        bounds: (low, high) of every coordinate.
    """

    bounds: tuple[tuple[float, float], ...]

    @property
    def features(self) -> int:
        return len(self.bounds)

    def __call__(self, z: Tensor) -> Tensor:
        centre = z.new_tensor([(low + high) / 2 for low, high in self.bounds])
        return (z - centre) / z.new_tensor([(high - low) / 2 for low, high in self.bounds])

    def frequency(self, omega: float) -> float:
        return omega * max(high - low for low, high in self.bounds) / 2


@dataclass(frozen=True)
class Paced:
    """Coordinates mapped to [-1, 1] by the box, but the last one, the time, to [-pace, pace].

    So the ridges of a network, drawn with one steepness for all inputs, are as steep in time as the solution is.

    Attributes:
        bounds: (low, high) of every coordinate.
        pace: wave number of the solution in the scaled time over that in the scaled space.
    """

    bounds: tuple[tuple[float, float], ...]
    pace: float

    @property
    def features(self) -> int:
        return len(self.bounds)

    def __call__(self, z: Tensor) -> Tensor:
        return Scaled(self.bounds)(z) * z.new_tensor([*[1.0] * (len(self.bounds) - 1), self.pace])

    def frequency(self, omega: float) -> float:
        return Scaled(self.bounds[:-1]).frequency(omega)


@dataclass(frozen=True)
class Columns:
    """Some of the coordinates, for a network that does not depend on the others."""

    axes: tuple[int, ...]

    @property
    def features(self) -> int:
        return len(self.axes)

    def __call__(self, z: Tensor) -> Tensor:
        return torch.stack([z[:, axis] for axis in self.axes], dim=1)

    def frequency(self, omega: float) -> float:
        return omega


@dataclass(frozen=True)
class Periodic:
    """Coordinates of which one enters by cos and sin of its harmonics: the network is exactly periodic in it.

    Attributes:
        dim: number of coordinates.
        axis: the periodic one.
        period: its period L.
        harmonics: k of cos(2πkz/L) and sin(2πkz/L), from 1.
    """

    dim: int
    axis: int
    period: float
    harmonics: int = 1

    @property
    def features(self) -> int:
        return self.dim - 1 + 2 * self.harmonics

    def __call__(self, z: Tensor) -> Tensor:
        angles = [2 * pi * k / self.period * z[:, self.axis] for k in range(1, self.harmonics + 1)]
        others = [z[:, k] for k in range(self.dim) if k != self.axis]
        return torch.stack([*others, *map(torch.cos, angles), *map(torch.sin, angles)], dim=1)

    def frequency(self, omega: float) -> float:
        return max(1.0, omega * self.period / (2 * pi * self.harmonics))


@dataclass(frozen=True)
class Fourier:
    """Random Fourier features cos(B z), sin(B z) (Tancik et al., NeurIPS 2020).

    Attributes:
        waves: B as rows of d wave numbers.
    """

    waves: tuple[tuple[float, ...], ...]

    @classmethod
    def random(cls, dim: int, count: int, scale: float, seed: int) -> Fourier:
        """``count`` normal wave vectors with standard deviation ``scale``, in radians per unit length."""
        drawn = np.random.default_rng(seed).normal(scale=scale, size=(count, dim))
        return cls(tuple(map(tuple, drawn.tolist())))

    @property
    def features(self) -> int:
        return 2 * len(self.waves)

    def __call__(self, z: Tensor) -> Tensor:
        angles = z @ z.new_tensor(self.waves).T
        return torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)

    def frequency(self, omega: float) -> float:
        return 2.0


@dataclass(frozen=True)
class Chain:
    """One embedding after another, the first applied first."""

    parts: Sequence[Embedding]

    @property
    def features(self) -> int:
        return self.parts[-1].features

    def __call__(self, z: Tensor) -> Tensor:
        for part in self.parts:
            z = part(z)
        return z

    def frequency(self, omega: float) -> float:
        for part in self.parts:
            omega = part.frequency(omega)
        return omega
