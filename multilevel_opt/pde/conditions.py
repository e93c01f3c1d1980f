"""Conditions beside the equation: on the boundary or a part of it, at the start, between points, at data.

``on`` chooses a part by a predicate of the points, for example ``on=lambda z: z[:, 0] == 0``. With several
functions ``output`` names the one that is meant. Values are numbers, or functions of z that return (m,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
            places = places.take(chosen(self.on, places.points, self.name))
        if not len(places.points):
            low, high = (", ".join(f"{end[k]:g}" for end in cloud.domain.bounds) for k in (0, 1))
            raise InputError(
                f"{self.name} holds at no point: its predicate 'on' is true at none of them, though they fill "
                f"the box from ({low}) to ({high})"
            )
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
    """A number or function of z at the points, (m,).

    Raises:
        InputError: the value is neither.
        ShapeError: the function does not return one number per point.
    """
    if not callable(value):
        if not isinstance(value, int | float) and getattr(value, "ndim", 1) != 0:
            raise InputError(f"the value of a condition must be a number or a function of z, got {_kind(value)}")
        return torch.full_like(z[:, 0], float(value))
    found = value(z)
    if not isinstance(found, Tensor) or found.shape not in {(len(z),), ()}:
        told = ": write z[:, 0], not z[:, :1], in it" if getattr(found, "shape", ()) == (len(z), 1) else ""
        raise ShapeError(
            f"the value of a condition must return one number per point, ({len(z)},), but returned {_kind(found)}{told}"
        )
    return found


def chosen(on: Callable[[Tensor], Tensor], z: Tensor, name: str) -> Tensor:
    """Which points z (m, d) a predicate chooses, (m,); arrays of numpy will do.

    Raises:
        InputError: it does not take the points.
        ShapeError: it does not return one truth value per point.
    """
    try:
        kept = on(z)
    except (TypeError, RuntimeError, IndexError) as error:
        told = str(error).partition("\n")[0]
        raise InputError(
            f"on(z) of {name} takes all points at once, z of shape {tuple(z.shape)}, but raised: {told}; "
            "join comparisons by & and |"
        ) from error
    kept = torch.as_tensor(kept, device=z.device) if isinstance(kept, np.ndarray) else kept
    if not isinstance(kept, Tensor) or kept.shape != (len(z),) or kept.dtype != torch.bool:
        raise ShapeError(f"on(z) of {name} must return {len(z)} truth values, one per point, got {_kind(kept)}")
    return kept


def _kind(value: object) -> str:
    """What a value is, for messages."""
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"a {type(value).__name__} of shape {tuple(shape)}"


def listed(conditions: object) -> list[Condition]:
    """The conditions of a problem as a list.

    Raises:
        InputError: they are no list, or one of them is no condition.
    """
    if not isinstance(conditions, Sequence):
        raise InputError(f"conditions() must return a list of conditions, got {_kind(conditions)}: put it in [ ]")
    for one in conditions:
        if not isinstance(one, Condition):
            raise InputError(
                f"conditions() must return conditions such as Dirichlet(0.0), but one of them is {_kind(one)}"
            )
    return list(conditions)


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
        InputError: they are not finite.
    """

    points: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.values.shape != (len(self.points),):
            raise ShapeError(
                f"data need points (m, d) and values (m,), got {tuple(self.points.shape)} and "
                f"{tuple(self.values.shape)}"
            )
        bad = int((~torch.isfinite(self.values)).sum()) + int((~torch.isfinite(self.points)).any(1).sum())
        if bad:
            raise InputError(f"{bad} of {len(self.points)} data points or values are NaN or infinite: leave them out")

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
        return values if self.on is None else values[chosen(self.on, self.points.to(z), self.name)]
