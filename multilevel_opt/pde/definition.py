"""What a subclass of ``PDEProblem`` may define, with what holds where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde.architectures import architecture
from multilevel_opt.pde.conditions import Boundary, Condition
from multilevel_opt.pde.domains import Box, Domain
from multilevel_opt.pde.fronts import Front
from multilevel_opt.pde.networks import Network
from multilevel_opt.pde.resolution import PER_RIDGE, ridges_for

if TYPE_CHECKING:
    from multilevel_opt.pde.problem import PDEProblem


class Definition:
    """The part of ``PDEProblem`` that users override.

    Attributes:
        smooth: whether the solution has no thin layers and no kinks where ``front`` says nothing, so that the network
            may be one wide layer, see ``wide``.
    """

    smooth: ClassVar[bool] = False

    @property
    def bounds(self) -> Sequence[tuple[float, float]]:
        """(low, high) of every coordinate; the unit cube."""
        return [(0.0, 1.0)] * self._me.dim

    def domain(self) -> Domain:
        """Where the equation holds; the box of ``bounds``."""
        return Box(self.bounds)

    def functions(self) -> tuple[str, ...]:
        """Names of the unknown functions."""
        return ("u",)

    def unknowns(self) -> Mapping[str, float]:
        """Unknown scalars by name, with the values they start from; an equation reads ``u.unknown("name")``."""
        return {}

    def equation(self, u: Any, z: Tensor) -> Any:
        """Residual of the differential equation at the points z (m, d), shape (m,), or several; row by row."""
        raise InputError(f"{type(self).__name__} has no equation: define equation(self, u, z)")

    def equation_weight(self) -> float | Sequence[float] | None:
        """Weights of the mean squares of the equations; None: 1 for the first, the others balanced with it."""
        return None

    def conditions(self) -> Sequence[Condition]:
        """Conditions beside the equation; ``boundary`` alone by default, none where there is a ``transform``."""
        if self.constrained() and not self.overrides("boundary"):
            return []
        factor = ((self._me.boundary_weight or 1.0) / len(self._me.interior_points)) ** 0.5
        return [Boundary(self.boundary, factor=factor)]

    def boundary(self, u: Any, z: Tensor) -> Any:
        """Residual of the boundary condition at z (m, d), shape (m,); u = exact by default."""
        return u.value - self.exact(z)

    def transform(self, z: Tensor, n: Tensor) -> Tensor:
        """Functions u (m, K') from points z (m, d) and outputs n (m, K) of the network, so that conditions hold."""
        return n

    def constrained(self) -> bool:
        """Whether ``transform`` is used: wherever it is defined, unless a subclass says otherwise."""
        return self.overrides("transform")

    def exact(self, z: Tensor) -> Tensor:
        """The solution at z (m, d), shape (m,), or (m, K') of several functions, where it is known."""
        raise InputError(f"{type(self).__name__} has no exact solution: define exact(self, z), or boundary(self, u, z)")

    def make_network(self) -> Network:
        """The network, by ``architecture``, ``width`` and ``depth``; one output for each function."""
        me = self._me
        make, name = architecture(me.architecture), cast(str, me.activation)
        widths = (cast(int, me.width),) * cast(int, me.depth)
        return make(me.place, len(self.functions()), widths, name, self.frequency(), me.seed)

    def frequency(self) -> float:
        """Largest wave number of the solution along a coordinate, in radians per unit length."""
        return float(torch.pi)

    def waves(self) -> Sequence[float]:
        """Largest wave numbers of the solution, one for every coordinate; ``frequency`` for all."""
        return [self.frequency()] * self._me.dim

    def wide(self) -> bool:
        """Whether one layer of sines, as wide as the wave numbers ask for, is what a ``smooth`` problem gets.

        It does in up to two coordinates, where neither ``depth`` nor ``init`` asks for something else.
        """
        return self.smooth and self._me.depth in (None, 1) and self._me.init == "scaled" and self._me.dim <= 2

    def front(self) -> Front | None:
        """A thin layer of the solution, if one is known to be there: points, inputs and weights heed it."""
        return None

    def default_activation(self) -> str:
        """Activation where none is asked for: tanh, and sines where it is ``wide``.

        With ``init="normal"`` it is tanh(z/2), as in the published tables.
        """
        if self.wide():
            return "sin"
        return "half-tanh" if self._me.init == "normal" else "tanh"

    def default_width(self) -> int:
        """Neurons of a hidden layer where none are asked for.

        As many as ridges where it is ``wide``; 26 in several layers, and in one 64 in one coordinate, 200 in more.
        """
        if self.wide():
            return ridges_for(self._me.place.bounds, self.waves())
        if self._me.depth not in (None, 1):
            return 26
        return 64 if self._me.dim == 1 else 200

    def default_depth(self) -> int:
        """Hidden layers where none are asked for."""
        return 1

    def default_points(self) -> int:
        """Interior points where none are asked for; where it is ``wide`` twice the neurons, on a full grid if any."""
        if self.wide():
            wanted, side = PER_RIDGE * cast(int, self._me.width), 1 / self._me.dim
            equispaced = (self._me.sampling or self.default_sampling()) == "equispaced"
            return ceil(wanted**side) ** self._me.dim if equispaced else wanted
        return 100 if self._me.dim == 1 else 900 if self._me.dim == 2 else 1024

    def default_sampling(self) -> str:
        """How points are chosen where nothing is asked for."""
        return "equispaced" if self._me.dim <= 2 and not self.overrides("domain") else "sobol"

    def default_boundary_weight(self, t: int, t_b: int) -> float:
        """λ_p for t interior and t_b boundary points: the mean square on the boundary counts 100 times."""
        return 100.0 * t / t_b

    def overrides(self, name: str) -> bool:
        """Whether a subclass defines the method."""
        return getattr(type(self), name) is not getattr(Definition, name)

    @property
    def _me(self) -> PDEProblem:
        return cast("PDEProblem", self)
