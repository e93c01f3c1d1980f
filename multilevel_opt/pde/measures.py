"""What is measured of a solution: errors where the truth is known, and the residual at points held out of training.

A small residual at the points of training says nothing about other points. So every problem keeps a second
set of points of its own, and when the residual there is several times that of training, it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from multilevel_opt.pde import sampling as points_of
from multilevel_opt.pde.derivatives import channels_of
from multilevel_opt.pde.terms import Needs, Term

if TYPE_CHECKING:
    from multilevel_opt.pde.problem import PDEProblem
    from multilevel_opt.pde.residual import PDEResidual

OVERFIT = 3.0  # held-out over training residual that is remarked on
NEGLIGIBLE = 1e-4  # held-out residual, relative to that at the start, that no remark is made of
HELD_OUT = 2000  # at most so many held-out points
TEST = 4096  # points of the test set where it is no grid
OTHER_SEED = 7919  # of held-out points, added to the seed


class Measures:
    """The measuring part of ``PDEProblem``."""

    @cached_property
    def metrics(self) -> dict[str, Callable[[Tensor], float]]:
        """``rmse`` and ``relative_l2`` where ``exact`` is defined, ``residual`` and ``held_out``, by name.

        The test set has 1000 points of an interval, 101 x 101 of a rectangle, else 4096 Sobol points.
        """
        errors = {"rmse": self.rmse, "relative_l2": self.relative_l2} if self.knows_truth else {}
        return {**errors, "residual": self.training, "held_out": self.held_out}

    @property
    def knows_truth(self) -> bool:
        """Whether ``exact`` is defined."""
        return self._me.overrides("exact")

    def solution(self, x: Tensor, z: Tensor) -> Tensor:
        """The functions at z (m, d): shape (m,), or (m, K') where there are several."""
        with torch.no_grad():
            return self.function(x)(z)

    def function(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """The functions as a map of points z (m, d) that torch can differentiate; x is held."""
        network, held = self._me.network, x.detach()[: self._me.network.size].clone()

        def u(z: Tensor) -> Tensor:
            values = network.value(held, z)
            values = self._me.transform(z, values) if self._me.constrained() else values
            return values[:, 0] if len(self._me.functions()) == 1 else values

        return u

    def estimates(self, x: Tensor) -> dict[str, float]:
        """Values of the unknown scalars by name."""
        found = x.detach()[self._me.network.size :].tolist()
        pairs = zip(self._me.unknowns().items(), found, strict=True)
        return {name: value * (abs(start) or 1.0) for (name, start), value in pairs}

    def rmse(self, x: Tensor) -> float:
        """√mean((u − exact)²) on the test set; raises ``InputError`` without ``exact``."""
        last, version, value = self._last_error
        if last is not x or version != x._version:  # both measures of one iterate cost one evaluation
            value = float((self.solution(x, self._test_points) - self._truth).square().mean().sqrt())
            self._me._set("_last_error", (x, x._version, value))
        return value

    def relative_l2(self, x: Tensor) -> float:
        """Rmse / √mean(exact²) on the test set; NaN where the solution is zero, ``InputError`` without ``exact``."""
        size = float(self._truth.square().mean().sqrt())
        return self.rmse(x) / size if size else float("nan")

    def training(self, x: Tensor) -> float:
        """‖r(x)‖ at the points of training."""
        with torch.no_grad():
            return float(self._me.residual(x).norm())

    def held_out(self, x: Tensor) -> float:
        """‖r(x)‖ at points that were not trained on, with the weights of training."""
        with torch.no_grad():
            return float(self.held_out_residual(x).norm())

    def remarks(self, x: Tensor) -> list[str]:
        """What should be known of a solution: that it fits its points and no others."""
        trained, held = self.training(x), self.held_out(x)
        if held <= max(OVERFIT * trained, NEGLIGIBLE * self._held_out_at_start) or not held < float("inf"):
            return []
        return [
            f"overfit: the residual is {held:.2g} at held-out points and {trained:.2g} at those of training; "
            f"take more points than {self._me.points}, or refine them"
        ]

    def defects(self) -> dict[str, float]:
        """Largest residual of the equation and of every condition at the exact solution: zero, if all is right.

        Raises:
            InputError: no exact solution is given.
        """
        found: dict[str, float] = {}
        for block in self._me.residual.blocks:
            sets = [block.points] if block.partners is None else [block.points, block.partners]
            readers = [self._true_reader(z) for z in sets]
            scalars = [self._true_unknowns.get(name, float("nan")) for name in self._me.frame.unknowns]
            given = block.points.new_tensor(scalars).expand(len(block.points), -1) if scalars else None
            rows = block.called(readers, given)
            source = 0.0 if block.source is None else block.source
            worst = max(float((row - source).abs().max()) for row in rows)
            found[block.name] = max(worst, found.get(block.name, 0.0))
        return found

    def true_unknowns(self) -> Mapping[str, float]:
        """Values of the unknown scalars, where they are known."""
        return {}

    @cached_property
    def held_out_residual(self) -> PDEResidual:
        """R at held-out points."""
        me = self._me
        count = min(HELD_OUT, len(me.interior_points))
        sampling = points_of.no_grid(cast(str, me.sampling))
        cloud = me._cloud_of(count, sampling, me.seed + OTHER_SEED)
        made = me.rows_of(cloud.interior, cloud, list(me.conditions()))
        pairs = zip(made.blocks, me.residual.blocks, strict=True)
        return made.with_blocks([held.weighted(_rescaled(trained, len(held.points))) for held, trained in pairs])

    @cached_property
    def _last_error(self) -> tuple[Tensor | None, int, float]:
        return None, 0, float("nan")

    @cached_property
    def _truth(self) -> Tensor:
        return self._me.exact(self._test_points)

    @cached_property
    def _true_unknowns(self) -> Mapping[str, float]:
        return self.true_unknowns()

    @cached_property
    def _held_out_at_start(self) -> float:
        return self.held_out(self._me.x0)

    @cached_property
    def _test_points(self) -> Tensor:
        me = self._me
        if me.dim > 2 or abs(prod(high - low for low, high in me.place.bounds) / me.place.measure - 1) > 1e-9:
            return me.cloud.tensor(me.place.interior(TEST, "sobol", 1))
        return self._grid(1000 if me.dim == 1 else 101, me.dim)

    def _true_reader(self, z: Tensor) -> Callable[[Term], Tensor]:
        def exact(y: Tensor) -> Tensor:
            values = self._me.exact(y)
            return values if values.ndim == 2 else values[:, None]

        def read(term: Term) -> Tensor:
            return channels_of(exact, z, Needs((term,)))[0]

        return read

    def _grid(self, side: int, dim: int) -> Tensor:
        options: dict[str, Any] = self._me._options
        axes = [torch.linspace(low, high, side, **options) for low, high in self._me.place.bounds[:dim]]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, dim)

    @property
    def _me(self) -> PDEProblem:
        return cast("PDEProblem", self)


def _rescaled(trained: Any, count: int) -> Sequence[float]:
    """Row factors of a block for another number of points: the same weights of mean squares."""
    share = (len(trained.points) / count) ** 0.5
    return tuple(factor * share for factor in trained.weights)
