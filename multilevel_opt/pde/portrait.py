"""Where pictures look: the points of lines, planes and slices, the residual there, and the points of training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from multilevel_opt.pde.cloud import Cloud

if TYPE_CHECKING:
    from multilevel_opt.pde.problem import PDEProblem

LINE, PLANE, FINE, SLICE, MOVING = 500, 101, 201, 81, 61  # points per side
FRAMES = 25  # times at which a plane is looked at
CUTS = (1 / 2, 1 / 3, 1 / 4, 2 / 5)  # where a slice is laid: through the middle, elsewhere if nothing is there
VISIBLE = 0.1  # a slice shows a solution if it is as large there, relative to its size in the domain


class Portrait:
    """The part of ``PDEProblem`` that pictures use."""

    def picture_grid(self) -> Tensor:
        """Points (m, d) for one picture: 500 of a line, else a grid of the plane in the middle of the box."""
        return self._slice((0, 1)[: self._me.dim], self._sides(), CUTS[0])

    def views(self, x: Tensor) -> list[Tensor]:
        """Points (m, d) of every picture: a line or plane; planes of three coordinates; a plane at 25 times.

        Slices lie in the middle of the box, or elsewhere where the solution vanishes in the middle.
        """
        space = self._me.place.space
        moving = len(space) < self._me.dim
        if self._me.dim <= 2:
            return [self.picture_grid()]
        pairs = [space[:2]] if moving else list(combinations(space[:3], 2))
        side = (MOVING if moving else SLICE,) * 2
        for cut in CUTS:
            found = [self._slice(pair, side, cut) for pair in pairs]
            if self._shows(x, found):
                break
        if not moving:
            return found
        *_, (start, stop) = self._me.place.bounds
        times = [start + (stop - start) * k / (FRAMES - 1) for k in range(FRAMES)]
        return [torch.cat([plane[:, :-1], torch.full_like(plane[:, -1:], t)], 1) for plane in found for t in times]

    def inside(self, z: Tensor) -> Tensor:
        """Whether the points z (m, d) lie in the domain, (m,)."""
        return self._me.cloud.contains(z)

    def residual_at(self, x: Tensor, z: Tensor) -> Tensor:
        """Root of the sum of squares of the equations at z (m, d), weighted as in training; NaN outside, (m,)."""
        me, inside = self._me, self.inside(z)
        size = z.new_full((len(z),), float("nan"))
        if bool(inside.any()):
            rows = me.rows_of(z[inside], me.cloud, [])
            trained = me.residual.blocks[0]
            factors = [w * len(trained.points) ** 0.5 for w in trained.weights]
            with torch.no_grad():
                found = rows.with_blocks([rows.blocks[0].weighted(factors)])(x)
            size[inside] = found.view(trained.count, -1).square().sum(0).sqrt()
        return size

    def training_points(self) -> Mapping[str, Tensor]:
        """Points of training: ``interior``, ``boundary``, and those ``added`` by refinement."""
        me = self._me
        now = me.interior_points
        edges = [block.points for block in me.residual.blocks[1:]]
        new = me._added if len(me._added) == len(now) else now.new_zeros(len(now), dtype=torch.bool)
        return {"interior": now[~new], "added": now[new], "boundary": torch.cat(edges) if edges else now[:0]}

    @cached_property
    def _added(self) -> Tensor:
        """Which interior points a refinement has added, (t,); set by ``refinement.with_points``."""
        return torch.zeros(0, dtype=torch.bool, device="cpu")

    def _sides(self) -> tuple[int, ...]:
        me = self._me
        if me.dim == 1:
            return (LINE,)
        if len(me.place.space) < me.dim:
            return FINE, PLANE
        holed = me.place.measure < (1 - 1e-9) * me.place.volume_of_box
        return (FINE if holed else PLANE,) * 2

    def _slice(self, axes: tuple[int, ...], sides: tuple[int, ...], cut: float) -> Tensor:
        """A grid in the coordinates ``axes``; the others are ``cut`` of their way."""
        bounds, options = self._me.place.bounds, self._me._options
        lines = [torch.linspace(*bounds[k], n, **options) for k, n in zip(axes, sides, strict=True)]
        plane = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).reshape(-1, len(axes))
        z = plane.new_tensor([low + (high - low) * cut for low, high in bounds]).repeat(len(plane), 1)
        z[:, list(axes)] = plane
        return z

    def _shows(self, x: Tensor, planes: list[Tensor]) -> bool:
        """Whether the solution is there on every one of the planes."""
        me = self._me
        everywhere = Cloud(me.place, 512, "sobol", 1, **me._options).interior

        def size(z: Tensor) -> float:
            there = z[self.inside(z)]
            u = me.exact(there) if me.knows_truth else me.solution(x, there)
            return float(u.square().mean().sqrt()) if len(there) else 0.0

        whole = size(everywhere)
        return all(size(plane) >= VISIBLE * whole for plane in planes)

    @property
    def _me(self) -> PDEProblem:
        return cast("PDEProblem", self)
