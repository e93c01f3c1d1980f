"""Conditions beside the equation: on the boundary or a part of it, at the start, between points, at data.

``on`` chooses a part by a predicate of the points, for example ``on=lambda z: z[:, 0] == 0``. With several
functions ``output`` names the one that is meant. Values are numbers, or functions of z that return (m,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.pde.cloud import Cloud, Places
from multilevel_opt.pde.equations import Block
from multilevel_opt.pde.fields import Field, Fields

Value = float | Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Base class; a subclass gives ``places`` and ``residual``.

    Attributes:
        on: z (m, d) -> bool (m,), where the condition holds; None: everywhere it could.
        output: name of the function, if there are several.
        weight: of the mean square of its rows in the loss; None: balanced with the equation.
        factor: of its rows, in place of a weight; None: from the weight.
    """

    on: Callable[[Tensor], Tensor] | None = None
    output: str | None = None
    weight: float | None = None
    factor: float | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"the {type(self).__name__} condition"

    def places(self, cloud: Cloud) -> Places:
        """The points where it may hold."""
        return cloud.boundary

    def residual(self, u: Field, z: Tensor) -> Tensor:
        """What must vanish, (m,)."""
        raise InputError(f"{self.name} has no residual: define residual(self, u, z)")

    def block(self, cloud: Cloud) -> Block:
        """The condition at its points.

        Raises:
            InputError: no point satisfies ``on``, or the points lie outside the domain.
            ShapeError: ``on`` does not return one truth value per point.
        """
        places = self.places(cloud)
        if self.on is not None:
            kept = self.on(places.points)
            if not isinstance(kept, Tensor) or kept.shape != (len(places.points),) or kept.dtype != torch.bool:
                raise ShapeError(f"on(z) of {self.name} must return {len(places.points)} truth values, one per point")
            places = places.take(kept)
        if not len(places.points):
            raise InputError(f"{self.name} holds at no point: its predicate 'on' is true at none of them")
        return Block(
            places.points,
            self.equation,
            source=self.source(places.points),
            normals=places.normals,
            partners=places.partners,
            name=self.name,
        )

    def equation(self, u: Any, z: Tensor) -> Any:
        """The residual for the function that is meant."""
        return self.residual(self._meant(u), z)

    def source(self, z: Tensor) -> Tensor | None:
        """Numbers (m,) subtracted from the residual, or None."""
        return None

    def _meant(self, u: Field | Fields) -> Field:
        if isinstance(u, Field):
            return u
        if self.output is None:
            raise InputError(f"{self.name} must say which function it means: give output=")
        return u[self.output]


def at(value: Value, z: Tensor) -> Tensor:
    """A number or function of z at the points, (m,)."""
    return value(z) if callable(value) else torch.full_like(z[:, 0], value)


@dataclass(frozen=True)
class Dirichlet(Condition):
    """u = value on the boundary."""

    value: Value = 0.0

    def residual(self, u: Field, z: Tensor) -> Tensor:
        return u.value - at(self.value, z)


@dataclass(frozen=True)
class Neumann(Condition):
    """∂u/∂n = value on the boundary, n outward."""

    value: Value = 0.0

    def residual(self, u: Field, z: Tensor) -> Tensor:
        return u.normal_derivative - at(self.value, z)


@dataclass(frozen=True)
class Robin(Condition):
    """a u + b ∂u/∂n = value on the boundary, n outward."""

    a: Value = 1.0
    b: Value = 1.0
    value: Value = 0.0

    def residual(self, u: Field, z: Tensor) -> Tensor:
        return at(self.a, z) * u.value + at(self.b, z) * u.normal_derivative - at(self.value, z)


@dataclass(frozen=True)
class Boundary(Condition):
    """Any equation e(u, z) on the boundary; ``u.normal`` is the outward normal."""

    law: Callable[[Any, Tensor], Any] = lambda u, z: u.value

    def equation(self, u: Any, z: Tensor) -> Any:
        return self.law(u, z)


@dataclass(frozen=True)
class Initial(Condition):
    """u = value at the start of the time; and ∂u/∂t = rate, for an equation of second order in time.

    ``value`` may be the solution of an earlier problem: ``lambda z: earlier.solution(x, z)``.
    """

    value: Value = 0.0
    rate: Value | None = None

    def places(self, cloud: Cloud) -> Places:
        return cloud.initial

    def equation(self, u: Any, z: Tensor) -> Any:
        field = self._meant(u)
        rows = [field.value - at(self.value, z)]
        if self.rate is not None:
            rows.append(field.d(field.names[-1]) - at(self.rate, z))
        return rows


@dataclass(frozen=True)
class Periodic(Condition):
    """u, and its normal derivative, agree on the two faces of a coordinate.

    Attributes:
        coordinate: its name.
        derivative: whether the normal derivatives must agree, too.
    """

    coordinate: str = "x"
    derivative: bool = True

    def places(self, cloud: Cloud) -> Places:
        return cloud.pairs(self.coordinate)

    def equation(self, u: Any, z: Tensor) -> Any:
        here = self._meant(u)
        there = here.partner
        rows = [there.value - here.value]
        if self.derivative:
            rows.append(there.d(self.coordinate) - here.d(self.coordinate))
        return rows


@dataclass(frozen=True)
class Data(Condition):
    """u = values at points of the domain, for measured data.

    Attributes:
        points: (m, d).
        values: (m,).

    Raises:
        ShapeError: points and values do not fit.
    """

    points: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.values.shape != (len(self.points),):
            raise ShapeError(
                f"data need points (m, d) and values (m,), got {tuple(self.points.shape)} and "
                f"{tuple(self.values.shape)}"
            )

    def places(self, cloud: Cloud) -> Places:
        z = self.points.to(device=cloud.device, dtype=cloud.dtype)
        if z.shape[1] != cloud.domain.dim:
            raise ShapeError(f"data points have {z.shape[1]} coordinates, but the domain has {cloud.domain.dim}")
        outside = int((~cloud.contains(z)).sum())
        if outside:
            raise InputError(f"{outside} of {len(z)} data points lie outside the domain: leave them out")
        return Places(z)

    def residual(self, u: Field, z: Tensor) -> Tensor:
        return u.value

    def source(self, z: Tensor) -> Tensor:
        values = self.values.to(z)
        return values if self.on is None else values[self.on(self.points.to(z))]
