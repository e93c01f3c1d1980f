"""The viscosity of Burgers' equation from measurements of its solution.

The equation, its initial and boundary values are those of ``burgers``; ν is unknown, and u is measured at points
of (-1, 1) x (0, 1]. The measurements are the truth of Cole and Hopf plus normal errors of a standard deviation
relative to the root mean square of u there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import pi

import numpy as np
import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde import Condition, Data, Field, Front
from problems.burgers import THICKNESS, Burgers

START = 3.0  # the first guess of the viscosity, relative to the true one


@dataclass(frozen=True, kw_only=True)
class BurgersInverse(Burgers):
    """Burgers' equation with unknown viscosity; the metric ``viscosity_error`` is |ν - ν*| / ν*.

    Attributes:
        viscosity: ν* > 0, with which the data are made.
        noise: standard deviation of the measurements relative to their root mean square, >= 0.
        measurements: how many there are.
        guess: the viscosity to start from, > 0; None: three times the true one.
    """

    viscosity: float = 0.01 / pi
    noise: float = 0.0
    measurements: int = 400
    guess: float | None = None

    def __post_init__(self) -> None:
        check_data(self.noise, self.measurements)
        if self.guess is not None and not self.guess > 0:
            raise InputError(f"guess must be positive, got {self.guess}")
        super().__post_init__()

    def unknowns(self) -> Mapping[str, float]:
        return {"viscosity": START * self.viscosity if self.guess is None else self.guess}

    def true_unknowns(self) -> Mapping[str, float]:
        return {"viscosity": self.viscosity}

    def front(self) -> Front:
        return Front(axis=0, at=0.0, thickness=THICKNESS * self.unknowns()["viscosity"])  # the true one is unknown

    def equation(self, u: Field, z: Tensor) -> Tensor:
        return u.t + u.value * u.x - u.unknown("viscosity") * u.xx

    def conditions(self) -> Sequence[Condition]:
        z = self.cloud.tensor(self.place.interior(self.measurements, "sobol", self.seed + 1))
        return [Data(z, measured(self.exact(z), self.noise, self.seed), weight=1.0)]

    def default_points(self) -> int:
        return 1000  # with the measurements more rows than parameters, so that errors of measurement are not fitted

    def default_width(self) -> int:
        return 16

    @cached_property
    def metrics(self) -> dict[str, Callable[[Tensor], float]]:
        """Those of every problem, and ``viscosity_error``."""
        return {**super().metrics, "viscosity_error": self.viscosity_error}

    def viscosity_error(self, x: Tensor) -> float:
        """|ν - ν*| / ν*."""
        return abs(self.estimates(x)["viscosity"] / self.viscosity - 1.0)


def measured(values: Tensor, noise: float, seed: int) -> Tensor:
    """Values (m,) with normal errors of the standard deviation ``noise`` relative to their root mean square."""
    errors = torch.as_tensor(np.random.default_rng(seed).normal(size=len(values)), device="cpu").to(values)
    return values + noise * values.square().mean().sqrt() * errors


def check_data(noise: float, measurements: int) -> None:
    """Raises InputError for a negative noise or no measurements."""
    if not noise >= 0:
        raise InputError(f"noise must be at least 0, got {noise}")
    if not measurements >= 1:
        raise InputError(f"measurements must be at least 1, got {measurements}")
