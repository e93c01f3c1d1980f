"""Equations at points: what a user writes about u, and its derivatives with respect to u, ∇u and Δu.

An equation e(u, z) reads ``u.value``, ``u.gradient`` and ``u.laplacian`` and holds row by row: row i depends
on the channels of u at its own point alone. So one backward pass of Σᵢ eᵢ gives all the seeds

    c_u = ∂e/∂value    c_g = ∂e/∂gradient    c_l = ∂e/∂laplacian
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.pde.operators import Channels, Needs


class Field:
    """A function u at m points, as equations see it.

    Raises:
        InputError: a channel is read that the equation did not read when it was first called.
    """

    __slots__ = ("_channels", "_seen")

    def __init__(self, channels: Channels, seen: set[str] | None = None) -> None:
        self._channels = channels
        self._seen = seen

    @property
    def value(self) -> Tensor:
        """u, shape (m,)."""
        return self._get("value")

    @property
    def gradient(self) -> Tensor:
        """∇u, shape (m, d)."""
        return self._get("gradient")

    @property
    def laplacian(self) -> Tensor:
        """Δu, shape (m,)."""
        return self._get("laplacian")

    def _get(self, name: str) -> Tensor:
        if self._seen is not None:
            self._seen.add(name)
        channel: Tensor | None = getattr(self._channels, name)
        if channel is None:
            raise InputError(f"an equation read u.{name} only sometimes: read it in every call")
        return channel


Equation = Callable[[Field, Tensor], Tensor]


@dataclass(frozen=True)
class Block:
    """One equation at some points.

    Attributes:
        points: z, (m, d); their dtype and device are those of the computation.
        equation: e(u, z) -> (m,), row by row: it is called with any subset of the points.
        weight: factor of the rows.
        source: numbers (m,) subtracted from e, for data that cannot be computed from z.
        needs: which channels the equation reads; found by calling it once if None.
        offset: channels added to those of the network (its frozen part), or None.
    """

    points: Tensor
    equation: Equation
    weight: float = 1.0
    source: Tensor | None = None
    needs: Needs | None = None
    offset: Channels | None = None

    @property
    def rows(self) -> int:
        """Number of points."""
        return self.points.shape[0]

    def take(self, ids: Tensor | slice) -> Block:
        """The same equation at some of the points."""
        source = None if self.source is None else self.source[ids]
        offset = self.offset and Channels(*(None if c is None else c[ids] for c in self.offset))
        return replace(self, points=self.points[ids], source=source, offset=offset)

    def evaluate(self, channels: Channels) -> Tensor:
        """Weighted rows (m,) for the given channels of u."""
        e = self.equation(Field(channels), self.points)
        return self.weight * (e if self.source is None else e - self.source)

    def seeds(self, channels: Channels) -> tuple[Tensor, Channels]:
        """The rows, and their derivatives with respect to the channels."""
        with torch.enable_grad():
            leaves = Channels(*(None if c is None else c.detach().requires_grad_() for c in channels))
            r = self.evaluate(leaves)
            used = [c for c in leaves if c is not None]
            if not used or not r.requires_grad:
                return r.detach(), Channels()
            found = iter(torch.autograd.grad(r.sum(), used, allow_unused=True))
        return r.detach(), Channels(*(None if c is None else next(found) for c in leaves))


def probed(block: Block) -> Block:
    """The block with ``needs`` filled in, checked on half of its points.

    Raises:
        ShapeError: the equation does not return one number per point, or takes no subset of the points.
        InputError: its rows depend on each other.
    """
    part = replace(block.take(slice(0, (block.rows + 1) // 2)), weight=1.0)
    m, d = part.points.shape
    numbers = torch.linspace(0.3, 0.7, m * (d + 2), dtype=block.points.dtype, device=block.points.device)
    every = Channels(numbers[:m], numbers[2 * m :].view(m, d), numbers[m : 2 * m])
    seen: set[str] = set()
    try:
        shape = block.equation(Field(every, seen), part.points).shape
    except RuntimeError as error:
        raise ShapeError(f"an equation must take any subset of the points, but {m} of them gave: {error}") from error
    if shape != (m,):
        raise ShapeError(f"an equation must return one number per point, ({m},), but returned {tuple(shape)}")
    needs = Needs(*(name in seen for name in Channels._fields))
    _check_row_wise(part, Channels(*(c if need else None for c, need in zip(every, needs, strict=True))))
    return replace(block, needs=needs)


def _check_row_wise(block: Block, channels: Channels) -> None:
    """Scaling row i by fᵢ must scale its seeds by fᵢ and change no others."""
    factor = torch.linspace(1.0, 2.0, block.rows, dtype=block.points.dtype, device=block.points.device)
    scaled = replace(block, equation=lambda u, z: factor * block.equation(u, z))
    for a, b in zip(block.seeds(channels)[1], scaled.seeds(channels)[1], strict=True):
        if a is not None and b is not None:
            expected = a * (factor if a.ndim == 1 else factor[:, None])
            if not torch.allclose(expected, b, rtol=1e-4, atol=0.0, equal_nan=True):
                raise InputError("the rows of an equation depend on each other: each may use its own point only")
