"""Domains given by a function: the set {f < 0} in a box of the plane, for example of a signed distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import contourpy
import numpy as np
import shapely
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.pde.regions import Level, Region, onto
from multilevel_opt.pde.sampling import Array

CELLS = 200  # per side of the grid on which a level set is traced


def Implicit(  # noqa: N802 - reads as the class it makes
    function: Callable[[Tensor], Tensor], bounds: Sequence[tuple[float, float]], cells: int = CELLS
) -> Region:
    """The set {f < 0} in a box, for example of a signed distance.

    Args:
        function: f, smooth near its zeros, (m, 2) -> (m,), in torch and row by row.
        bounds: (low, high) of x and of y.
        cells: per side of the grid on which the boundary is traced; features smaller than a cell are missed.

    Raises:
        InputError: f is nowhere negative on that grid, or not finite.
        ShapeError: f does not return one number per point.
    """
    (left, right), (bottom, top) = bounds
    if not (left < right and bottom < top):
        raise InputError(f"the bounds {list(bounds)} of the domain are empty: give low < high for x and y")
    x, y = np.linspace(left, right, cells + 1), np.linspace(bottom, top, cells + 1)
    grid = np.stack(np.meshgrid(x, y), axis=-1)

    def level(z: Array) -> tuple[Array, Array]:
        there = torch.as_tensor(z, device="cpu").requires_grad_()
        with torch.enable_grad():
            f = _checked(function(there), len(z))
            (slope,) = torch.autograd.grad(f.sum(), there, materialize_grads=True)
        return f.detach().numpy(), slope.nan_to_num().numpy()

    f = level(grid.reshape(-1, 2))[0].reshape(grid.shape[:2])
    if not np.isfinite(f).all():
        raise InputError("the function of the domain is NaN or infinite in the bounds given: correct it there")
    if not (f < 0).any():
        raise InputError("the domain is empty: its function is nowhere negative in the bounds given")
    padded = np.pad(f, 1, constant_values=float(np.abs(f).max()) or 1.0)
    wide_x = np.concatenate([[left], x, [right]])
    wide_y = np.concatenate([[bottom], y, [top]])
    rings = contourpy.contour_generator(wide_x, wide_y, padded).lines(0.0)
    shape = shapely.Polygon()
    polygons = (shapely.Polygon(_moved(level, np.asarray(r), bounds, cells)) for r in rings if len(r) > 3)
    for ring in sorted(polygons, key=lambda p: -p.area):
        shape = shapely.symmetric_difference(shape, shapely.make_valid(ring))
    return Region(shape, (level,))


def _checked(f: object, count: int) -> Tensor:
    """The values of a level function; raises ``ShapeError`` where they are not one number per point."""
    if not isinstance(f, Tensor) or f.shape != (count,):
        got = tuple(f.shape) if isinstance(f, Tensor) else type(f).__name__
        raise ShapeError(f"the function of a domain must return one number per point, ({count},), but returned {got}")
    if not f.requires_grad:
        raise InputError("the function of a domain does not depend on its points by torch: write it in torch, of z")
    return f


def _moved(level: Level, ring: Array, bounds: Sequence[tuple[float, float]], cells: int) -> Array:
    """The vertices of a traced ring on {f = 0}; those on the edge of the box stay there."""
    low, high = np.array(bounds, dtype=np.float64).T
    near = 1e-9 * (high - low)
    inner = ((ring > low + near) & (ring < high - near)).all(axis=1)
    found = onto(level, ring[inner])[0]
    close = np.linalg.norm(found - ring[inner], axis=1) <= np.max(high - low) / cells
    out = ring.copy()
    out[inner] = np.where(close[:, None], found, ring[inner])  # at kinks Newton's method may leave
    return out
