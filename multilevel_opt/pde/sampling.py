"""Points in a box and on its boundary.

Points are made on the CPU in float64 and then moved, so that every device sees the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc
from torch import Tensor

from multilevel_opt.errors import InputError

Bounds = Sequence[tuple[float, float]]
Array = NDArray[np.float64]


def per_side(points: int | str, dim: int) -> tuple[int, ...]:
    """Points along each side of a box: of ``"30x20"`` the numbers given, of a total its dim-th root.

    Raises:
        InputError: not a positive number, or not one number per dimension.
    """
    try:
        counts = [int(n) for n in points.lower().split("x")] if isinstance(points, str) else [int(points)]
    except ValueError:
        counts = []
    if len(counts) not in (1, dim) or min(counts) < 1:
        raise InputError(f"points={points!r} must be a number >= 1, or {dim} such numbers joined by 'x'")
    if len(counts) == dim:
        return tuple(counts)
    return (max(1, round(counts[0] ** (1.0 / dim))),) * dim


def is_grid(points: int | str, sampling: str) -> bool:
    """Whether the points form a tensor grid, so that their number is a product."""
    return sampling == "equispaced" or (isinstance(points, str) and "x" in points.lower())


def no_grid(sampling: str) -> str:
    """The sampling for points of which any number may be asked."""
    return "sobol" if sampling == "equispaced" else sampling


def total(points: int | str, dim: int, sampling: str) -> int:
    """Number of interior points that ``interior`` makes."""
    return prod(per_side(points, dim)) if is_grid(points, sampling) else int(points)


def _equispaced(sides: Sequence[int], count: int, seed: int) -> Array:
    if len(sides) == 1:
        return np.linspace(0.0, 1.0, sides[0])[:, None] if sides[0] > 1 else np.full((1, 1), 0.5)
    axes = [np.arange(1, n + 1) / (n + 1) for n in sides]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(sides))


def _lhs(sides: Sequence[int], count: int, seed: int) -> Array:
    return np.asarray(qmc.LatinHypercube(len(sides), rng=seed).random(count))


def _sobol(sides: Sequence[int], count: int, seed: int) -> Array:
    return _sobol_points(len(sides), count, seed)


def _sobol_points(dim: int, count: int, seed: int) -> Array:
    """The first ``count`` points of a scrambled Sobol sequence in the unit cube."""
    power = max(0, count - 1).bit_length()
    return np.asarray(qmc.Sobol(dim, scramble=True, rng=seed).random_base2(power))[:count]


def _uniform(sides: Sequence[int], count: int, seed: int) -> Array:
    return np.random.default_rng(seed).random((count, len(sides)))


SAMPLINGS: dict[str, Callable[[Sequence[int], int, int], Array]] = {
    "equispaced": _equispaced,
    "lhs": _lhs,
    "sobol": _sobol,
    "uniform": _uniform,
}


def check_sampling(name: str) -> None:
    """Raises InputError, listing the choices, if no sampling has that name."""
    if name not in SAMPLINGS:
        raise InputError(f"sampling {name!r} is unknown: choose one of {', '.join(SAMPLINGS)}")


def interior(
    bounds: Bounds,
    points: int | str,
    sampling: str = "equispaced",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Points (t, d) of the box; equispaced ones include both ends if d = 1 and no boundary if d > 1.

    Args:
        bounds: (low, high) of every coordinate.
        points: their number, or ``"30x30"``; equispaced totals are rounded to a tensor grid.
        sampling: a key of ``SAMPLINGS``.
        seed: of the random points.
        dtype: of the points.
        device: of the points.

    Raises:
        InputError: unknown ``sampling`` or bad ``points``.
    """
    check_sampling(sampling)
    dim = len(bounds)
    unit = SAMPLINGS[sampling](per_side(points, dim), total(points, dim, sampling), seed)
    return _placed(unit, bounds, dtype, device)


def boundary(
    bounds: Bounds,
    points: int | str,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Points (t_b, d) on the boundary of the box, as dense as the interior ones.

    The two ends if d = 1; equispaced along the four sides, corners once, if d = 2; a Sobol sequence on
    every face if d > 2, in all at most about as many as interior points. Equally dense on all faces.
    """
    lengths = [high - low for low, high in bounds]
    return _placed(unit_boundary(len(bounds), points, "equispaced", seed, lengths)[0], bounds, dtype, device)


def unit_boundary(
    dim: int, points: int | str, sampling: str, seed: int, lengths: Sequence[float] | None = None
) -> tuple[Array, NDArray[np.intp]]:
    """Points (t_b, d) on the boundary of the unit cube, and the face of each: 2k where z_k = 0, 2k + 1 where z_k = 1.

    In the plane they are equispaced, or one at random in each of as many equal pieces. ``lengths`` of the sides
    of a box, all equal if None, make them as dense on every face, unless numbers per side were asked for.
    """
    lengths = (1.0,) * dim if lengths is None else lengths
    sides = per_side(points, dim)
    if dim == 1:
        return np.array([[0.0], [1.0]]), np.array([0, 1])
    if dim == 2:
        if not (isinstance(points, str) and "x" in points.lower()):
            mean = sum(lengths) / 2
            sides = tuple(max(1, round(n * length / mean)) for n, length in zip(sides, lengths, strict=True))
        shift = 0.0 if sampling == "equispaced" else np.random.default_rng(seed).random(2 * sum(sides))
        return _perimeter(sides[0], sides[1], shift)
    return _faces(dim, total(points, dim, "sobol"), seed, lengths)


def _perimeter(nx: int, ny: int, shift: float | Array) -> tuple[Array, NDArray[np.intp]]:
    counts = (nx, ny, nx, ny)
    side = np.repeat(np.arange(4), counts)
    place = (np.concatenate([np.arange(n) for n in counts]) + shift) / np.repeat(counts, counts)
    zero, one = 0.0 * place, 0.0 * place + 1.0
    x = np.choose(side, [place, one, 1.0 - place, zero])
    y = np.choose(side, [zero, place, one, 1.0 - place])
    return np.stack([x, y], axis=1), np.array([2, 1, 3, 0])[side]


def _faces(dim: int, count: int, seed: int, lengths: Sequence[float]) -> tuple[Array, NDArray[np.intp]]:
    """Sobol points on every face, in numbers as its area."""
    mean = max(1, min(round(count ** ((dim - 1) / dim)), count // (2 * dim)))
    areas = 1.0 / np.array(lengths)  # in units of the volume
    each = np.repeat(np.maximum(1, np.round(mean * areas / areas.mean())).astype(int), 2)
    flat = _sobol_points(dim - 1, int(each.sum()), seed)
    pairs = zip(np.split(flat, np.cumsum(each)[:-1]), range(2 * dim), strict=True)
    z = np.concatenate([np.insert(part, face // 2, float(face % 2), axis=1) for part, face in pairs])
    return z, np.repeat(np.arange(2 * dim), each)


def _placed(unit: Array, bounds: Bounds, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    low, high = np.array(bounds, dtype=np.float64).T
    return torch.as_tensor(low + (high - low) * unit, device="cpu").to(device=device, dtype=dtype)
