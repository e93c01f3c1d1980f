"""Problems that evolve in time: the state at the start is exact, and long times are marched in slabs.

With the state u₀ (and the velocity v₀, if the equation has two time derivatives) at the start T, and the width w of the
time, the network enters as

    u = u₀(x) + s b(x, t) N(x, t)                       one time derivative, s = (t - T) / w
    u = u₀(x) + (t - T) v₀(x) + s² b(x, t) N(x, t)      two

where b vanishes on those parts of the boundary on which the values of the start stay. A slab is the same problem for a
part of the time; its start is the end of the slab before, at any x, so that u is continuous whatever the networks do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TypeVar, cast

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde.domains import SpaceTime, Time
from multilevel_opt.pde.embeddings import Chain, Paced
from multilevel_opt.pde.networks import MLP, Network
from multilevel_opt.pde.problem import PDEProblem
from multilevel_opt.pde.resolution import slabs_for
from multilevel_opt.pde.slabs import Slabs

State = tuple[Tensor, ...]
Start = Callable[[Tensor], State]

E = TypeVar("E", bound="Evolution")


@dataclass(frozen=True, kw_only=True)
class Evolution(Slabs, PDEProblem):
    """A problem on a domain of space times ``Time``, of which a subclass gives ``start`` beside the equation.

    ::

        @dataclass(frozen=True, kw_only=True)
        class Heat(Evolution):
            def domain(self):
                return Interval(0, 1) * Time(1)

            def equation(self, u, z):
                return u.t - 0.1 * u.xx

            def start(self, z):
                return torch.sin(torch.pi * z[:, 0])

            def fading(self, z):
                return z[:, 0] * (1 - z[:, 0])

    Attributes:
        slabs: number of slabs of equal width, each with a network and ``points`` of its own, or "auto": as wide as the
            residual at held-out points allows; None: ``default_slabs()``.
    """

    slabs: int | str | None = None

    def __post_init__(self) -> None:
        self._fill("slabs", self.default_slabs)
        if self.slabs != "auto":
            told = str(self.slabs)
            if not told.isdecimal() or int(told) < 1:
                raise InputError(f"slabs must be a whole number >= 1 or auto, got {self.slabs!r}")
            self._set("slabs", int(told))
        super().__post_init__()

    def start(self, z: Tensor) -> Tensor:
        """u₀ at z (m, d), shape (m,), or (m, K') of several functions.

        It is asked at all times of the first slab: a function that is u₀ at the start only will do as well.
        """
        raise InputError(f"{type(self).__name__} has no initial state: define start(self, z)")

    def velocity(self, z: Tensor) -> Tensor:
        """∂u/∂t at the start, like ``start``, for an equation of two time derivatives; left out for one of one."""
        raise InputError(f"{type(self).__name__} has no initial velocity: define velocity(self, z)")

    def fading(self, z: Tensor) -> Tensor:
        """The factor b at z (m, d), (m,): zero where the values of the start stay for all times; one by default."""
        return torch.ones_like(z[:, 0])

    def rate(self) -> float | None:
        """Largest wave number of the solution in time, in radians per unit of time; None: as steep as in space."""
        return None

    def make_network(self) -> Network:
        made, space, (first, last) = super().make_network(), self.place.bounds[:-1], self.place.bounds[-1]
        rate, whole = self.rate(), self.slabs == 1 and self.place == self.domain()
        if not isinstance(made, MLP) or isinstance(made.embedding, Chain) or (whole and rate is None):
            return made
        steepest = self.frequency() * max(high - low for low, high in space)
        pace = 1.0 if rate is None else rate * (last - first) / steepest
        return replace(made, embedding=Paced(self.place.bounds, pace))

    def waves(self) -> Sequence[float]:
        """Those of a slab: ``rate`` is divided among all of them."""
        rate, count = self.rate(), 1 if self.slabs == "auto" else cast(int, self.slabs)
        return [*[self.frequency()] * (self.dim - 1), self.frequency() if rate is None else rate / count]

    def default_slabs(self) -> int:
        """Slabs where none are asked for: one, or so many that one wide layer is affordable in each."""
        (*space, (first, last)), rate = self.place.bounds, self.rate()
        if rate is None or not self.wide():
            return 1
        return slabs_for(space, [self.frequency()] * len(space), rate * (last - first) / 2)

    @cached_property
    def place(self) -> SpaceTime:
        """Space and time.

        Raises:
            InputError: ``domain()`` is not a domain of space times ``Time``.
        """
        found = self.domain()
        if not isinstance(found, SpaceTime):
            raise InputError(f"{type(self).__name__} has no time: return a domain of space * Time(stop) from domain()")
        return found

    @property
    def given(self) -> list[Callable[[Tensor], Tensor]]:
        """``start``, and ``velocity`` where there is one."""
        return [self.start, self.velocity] if type(self).velocity is not Evolution.velocity else [self.start]

    @cached_property
    def begun(self) -> Start:
        """Initial data of this slab at z (m, d): u₀, and v₀ where the problem has a velocity, (m, K') each."""

        def first(z: Tensor) -> State:
            return tuple(_column(part(z)) for part in self.given)

        return first

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        data, time = self.begun(z), self.place.time
        later = z[:, -1:] - time.start
        added = (later / (time.stop - time.start)) ** len(data) * _column(self.fading(z)) * n
        return _taylor(data, later) + added

    def ended(self, x: Tensor) -> Start:
        """What ``begun`` is for the slab after this one: the data at the last time, with the parameters x (n,)."""
        held, stop = x.detach()[: self.network.size].clone(), self.place.time.stop
        width = stop - self.place.time.start

        def last(z: Tensor) -> State:
            times = torch.full_like(z[:, :1], stop)
            data = self.begun(torch.cat([z[:, :-1], times], dim=1))  # outside of the derivative: nothing is nested

            def share(t: Tensor) -> Tensor:
                y = torch.cat([z[:, :-1], t], dim=1)
                return _column(self.fading(y)) * self.network.value(held, y)

            if len(data) == 1:
                return (data[0] + share(times),)
            pair = torch.func.jvp(share, (times,), (torch.ones_like(times),))
            w, slope = cast(tuple[Tensor, Tensor], pair)
            return data[0] + width * data[1] + w, data[1] + 2.0 * w / width + slope

        return last

    def during(self: E, start: float, stop: float, begun: Start | None, x: Tensor | None) -> E:
        """The same problem from ``start`` to ``stop``, from these initial data, with the first point x (n,)."""
        other = copy(self)
        for name in set(vars(other)) - {field.name for field in fields(self)}:
            del vars(other)[name]
        place = replace(self.place, time=Time(stop, start, self.place.time.name))
        vars(other).update(place=place, slabs=1, frame=self.frame)
        if begun is not None:
            vars(other).update(begun=begun)
        if x is not None:
            vars(other).update(x0=x.detach().clone())
        return other

    @cached_property
    def _at_test_points(self) -> tuple[Tensor, Tensor]:
        """What the transform makes of N = 0, and adds for N = 1, at the test points."""
        with torch.no_grad():
            zero = self._test_points.new_zeros(len(self._test_points), len(self.functions()))
            base = self.transform(self._test_points, zero)
            return base, self.transform(self._test_points, zero + 1.0) - base


def _taylor(data: State, later: Tensor) -> Tensor:
    return data[0] if len(data) == 1 else data[0] + later * data[1]


def _column(values: Tensor) -> Tensor:
    return values if values.ndim == 2 else values[:, None]
