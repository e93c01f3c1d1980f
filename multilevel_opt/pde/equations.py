"""Equations at points: what a user writes, and its derivatives with respect to the few numbers that it reads.

An equation e(u, z) holds row by row: row i depends on the channels of u at its own point (and its partner
point), and on the unknown scalars. So one backward pass of Σᵢ eᵢ, on tensors of a few numbers per point, gives
all the seeds ∂eᵢ/∂channelᵢ, whatever the equation. The chain rule with the channels' parameter Jacobian
makes the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.pde.fields import Frame, Local, Read
from multilevel_opt.pde.sites import Site
from multilevel_opt.pde.terms import Needs, Term

Equation = Callable[[Any, Tensor], "Tensor | Sequence[Tensor]"]


@dataclass(frozen=True)
class Block:
    """One equation, or several that share their points.

    Attributes:
        points: z, (m, d); their dtype and device are those of the computation.
        equation: e(u, z) -> (m,), or a sequence of E such, row by row: it is called with any subset of the points.
        weight: factor of the rows; one number, or one for each of the E equations.
        source: numbers (m,) subtracted from e, for data that cannot be computed from z.
        needs: what the equation reads; found by calling it once if None.
        normals: outward unit normals (m, d), or None.
        partners: a second point (m, d) for every row, for conditions that join two points, or None.
        name: for messages.
        frame: the names that the equation uses; filled in by ``PDEResidual``.
        only: which of the E equations to take; None: all. Filled in with E by ``PDEResidual``.
        sites: the functions at ``points`` and ``partners``; filled in by ``PDEResidual``.
    """

    points: Tensor
    equation: Equation
    weight: float | Sequence[float] = 1.0
    source: Tensor | None = None
    needs: Needs | None = None
    normals: Tensor | None = None
    partners: Tensor | None = None
    name: str = "equation"
    frame: Frame | None = None
    only: tuple[int, ...] | None = None
    sites: tuple[Site, ...] = ()

    @property
    def count(self) -> int:
        """Number of equations."""
        return 1 if self.only is None else len(self.only)

    @property
    def rows(self) -> int:
        """Number of rows: points times equations."""
        return self.points.shape[0] * self.count

    @property
    def weights(self) -> tuple[float, ...]:
        """One factor for each equation that is taken."""
        if isinstance(self.weight, Sequence):
            return tuple(self.weight[e] for e in self.only or range(len(self.weight)))
        return (self.weight,) * self.count

    def take(self, ids: Tensor | slice) -> Block:
        """The same equations at some of the points."""

        def part(a: Tensor | None) -> Tensor | None:
            return None if a is None else a[ids]

        return replace(
            self,
            points=self.points[ids],
            source=part(self.source),
            normals=part(self.normals),
            partners=part(self.partners),
            sites=tuple(site.take(ids) for site in self.sites),
        )

    def weighted(self, factors: Sequence[float]) -> Block:
        """The same rows with other factors, one for each equation."""
        return replace(self, weight=tuple(factors))

    def evaluate(self, channels: Sequence[Tensor], unknowns: Tensor | None = None) -> Tensor:
        """Weighted rows (E, m) from the channels (R, m, K') of u at every site."""
        rows = self.called([self._reader(c) for c in channels], unknowns)
        if self.source is not None:
            rows = [row - self.source for row in rows]
        return torch.stack([w * row for w, row in zip(self.weights, rows, strict=True)])

    def called(self, readers: Sequence[Read], unknowns: Tensor | None = None) -> list[Tensor]:
        """The equations that are taken, each (m,), unweighted."""
        assert self.frame is not None
        partner = Local(self.frame, readers[1], unknowns) if len(readers) > 1 else None
        found = self.equation(Local(self.frame, readers[0], unknowns, self.normals, partner).view(), self.points)
        rows = [found] if isinstance(found, Tensor) else list(found)
        return rows if self.only is None else [rows[e] for e in self.only]

    def seeds(self, channels: Sequence[Tensor], unknowns: Tensor | None = None) -> tuple[Tensor, list[list[Tensor]]]:
        """Rows (E, m); for each equation its derivatives with respect to the channels of every site and the unknowns.

        They have the shapes of ``channels`` and of ``unknowns`` (m, P).
        """
        with torch.enable_grad():
            given = [*channels, *([] if unknowns is None else [unknowns])]
            leaves = [a.detach().requires_grad_() for a in given]
            rows = self.evaluate(leaves[: len(channels)], None if unknowns is None else leaves[-1])
            if not rows.requires_grad:
                return rows.detach(), [[torch.zeros_like(a) for a in leaves] for _ in rows]
            found = [
                list(torch.autograd.grad(row.sum(), leaves, retain_graph=True, materialize_grads=True)) for row in rows
            ]
        return rows.detach(), found

    def _reader(self, channels: Tensor) -> Read:
        needs = self.needs
        assert needs is not None

        def read(term: Term) -> Tensor:
            if term not in needs.terms:
                raise InputError(f"an equation read {spoken(term, self.frame)} only sometimes: read it in every call")
            return channels[needs.index(term)]

        return read


def spoken(term: Term, frame: Frame | None) -> str:
    """A term as it is written in an equation."""
    if frame is None or term == ((),):
        return "u.value"
    if term == frame.laplacian:
        return "u.laplacian"
    sums = (".".join(frame.coordinates[axis] for axis in axes) for axes in term)
    return " + ".join(f"u.d({part})" for part in sums)


def probed(block: Block, frame: Frame) -> Block:
    """The block with frame, ``needs`` and the number of equations filled in, checked on half of its points.

    Raises:
        ShapeError: an equation does not return one number per point, or takes no subset of the points.
        InputError: its rows depend on each other, or it reads what there is not.
    """
    block = replace(block, frame=frame)
    part = replace(block.take(slice(0, (block.points.shape[0] + 1) // 2)), weight=1.0)
    m, outputs = part.points.shape[0], len(frame.outputs)
    seen: list[Term] = []

    def read(term: Term) -> Tensor:
        seen.append(term)
        return _numbers(part.points, m, outputs, float(sum(map(sum, term))) + len(term))

    unknowns = _numbers(part.points, m, len(frame.unknowns), 0.0) if frame.unknowns else None
    readers: list[Read] = [read] * (1 if part.partners is None else 2)
    try:
        rows = part.called(readers, unknowns)
        shapes = [tuple(row.shape) for row in rows]
    except RuntimeError as error:
        raise ShapeError(f"an equation must take any subset of the points, but {m} of them gave: {error}") from error
    except (TypeError, AttributeError) as error:
        raise ShapeError(
            f"{block.name} must return one number per point, a tensor ({m},) or a tuple of them, but: {error}"
        ) from error
    if not rows or any(shape != (m,) for shape in shapes):
        got = ", ".join(map(str, shapes)) or "nothing"
        raise ShapeError(f"an equation must return one number per point, ({m},), but returned {got}")
    if isinstance(block.weight, Sequence) and len(block.weight) != len(rows):
        raise InputError(f"{block.name} has {len(rows)} equations, but {len(block.weight)} weights: give one for each")
    needs = Needs(tuple(seen))
    part = replace(part, needs=needs, only=tuple(range(len(rows))))
    shape = (len(needs.terms), m, outputs)
    channels = [_numbers(part.points, shape[0] * m, outputs, float(k)).view(shape) for k in range(len(readers))]
    _check_row_wise(part, channels, unknowns)
    return replace(block, needs=needs, only=block.only or part.only)


def _numbers(like: Tensor, m: int, columns: int, shift: float) -> Tensor:
    line = torch.linspace(0.3, 0.7, m * columns, dtype=like.dtype, device=like.device)
    return (line * (1.0 + 0.1 * shift)).view(m, columns)


def _check_row_wise(block: Block, channels: list[Tensor], unknowns: Tensor | None) -> None:
    """Scaling row i by fᵢ must scale its seeds by fᵢ and change no others."""
    factor = torch.linspace(1.0, 2.0, block.points.shape[0], dtype=block.points.dtype, device=block.points.device)

    def scaled(u: Any, z: Tensor) -> list[Tensor]:
        found = block.equation(u, z)
        return [factor * row for row in ([found] if isinstance(found, Tensor) else found)]

    other = replace(block, equation=scaled)
    pairs = zip(block.seeds(channels, unknowns)[1], other.seeds(channels, unknowns)[1], strict=True)
    for a, b in ((a, b) for before, after in pairs for a, b in zip(before, after, strict=True)):
        expected = a * (factor[:, None] if a.ndim == 2 else factor[None, :, None])
        if not torch.allclose(expected, b, rtol=1e-4, atol=0.0, equal_nan=True):
            raise InputError("the rows of an equation depend on each other: each may use its own point only")
