"""What an equation sees: unknown functions at points, by the names of coordinates and outputs.

With coordinates x, t and one unknown function u an equation e(u, z) is written as it is on paper:

    u.t + u.value * u.x - 0.01 * u.xx            u.d("x", "x", "x")            u.laplacian

With several unknown functions it gets all of them: ``u, v, p = w`` or ``w.u.x + w.v.y``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde.terms import VALUE, Term, laplacian, partial

RESERVED = ("names", "value", "gradient", "laplacian", "lap", "d", "normal", "normal_derivative", "partner", "unknown")


@dataclass(frozen=True)
class Frame:
    """Names.

    Attributes:
        coordinates: of the points, one for each column of z.
        outputs: of the unknown functions.
        unknowns: of the unknown scalars.
        space: the coordinates, by number, over which the Laplacian goes; None: all.

    Raises:
        InputError: a name that is no identifier, is taken, or is given twice.
    """

    coordinates: tuple[str, ...]
    outputs: tuple[str, ...] = ("u",)
    unknowns: tuple[str, ...] = ()
    space: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for what, names in (("coordinate", self.coordinates), ("output", self.outputs), ("unknown", self.unknowns)):
            for name in names:
                if not name.isidentifier() or name.startswith("_") or name in RESERVED or names.count(name) > 1:
                    raise InputError(f"{what} name {name!r} is no identifier, taken, or given twice: choose another")

    def axes(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Numbers of coordinates by name.

        Raises:
            InputError: there is no such coordinate.
        """
        for name in names:
            if name not in self.coordinates:
                raise InputError(
                    f"the equation takes a derivative with respect to {name!r}, but the coordinates are "
                    f"{', '.join(self.coordinates)}: use one of them"
                )
        return tuple(self.coordinates.index(name) for name in names)

    @property
    def laplacian(self) -> Term:
        """Δ over the coordinates of space."""
        return laplacian(range(len(self.coordinates)) if self.space is None else self.space)


def named(dim: int) -> tuple[str, ...]:
    """x; x, y; x, y, z; then x1, x2, ..."""
    return ("x", "y", "z")[:dim] if dim <= 3 else tuple(f"x{k}" for k in range(1, dim + 1))


Read = Callable[[Term], Tensor]


@dataclass(frozen=True)
class Local:
    """What is known at m points.

    Attributes:
        frame: the names.
        read: term -> its channel (m, K).
        unknowns: (m, P), the unknown scalars repeated for every point, or None.
        normals: outward unit normals (m, d), or None away from a boundary.
        partner: the same at the partner points of a condition that joins two points, or None.
    """

    frame: Frame
    read: Read
    unknowns: Tensor | None = None
    normals: Tensor | None = None
    partner: Local | None = None

    def view(self) -> Field | Fields:
        """What an equation gets: the only function, or all of them."""
        return Field(self) if len(self.frame.outputs) == 1 else Fields(self)

    def unknown(self, name: str) -> Tensor:
        """An unknown scalar, (m,)."""
        if self.unknowns is None or name not in self.frame.unknowns:
            known = ", ".join(self.frame.unknowns) or "none: define unknowns()"
            raise InputError(f"the equation reads the unknown {name!r}, but the unknowns are {known}")
        return self.unknowns[:, self.frame.unknowns.index(name)]


class Field:
    """A function u at m points, as equations see it.

    ``u.x``, ``u.xt`` and the like are derivatives where every coordinate has a name of one letter; ``u.d`` takes
    any names.

    Raises:
        InputError: an unknown coordinate; a channel that the equation did not read when it was first called.
    """

    __slots__ = ("_at", "_k")

    def __init__(self, at: Local, k: int = 0) -> None:
        self._at = at
        self._k = k

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return self._at.frame.coordinates

    @property
    def value(self) -> Tensor:
        """u, shape (m,)."""
        return self._channel(VALUE)

    @property
    def gradient(self) -> Tensor:
        """∇u in all coordinates, shape (m, d)."""
        return torch.stack([self._channel(partial(k)) for k in range(len(self._at.frame.coordinates))], dim=1)

    @property
    def laplacian(self) -> Tensor:
        """Δu over the coordinates of space (all but the time), shape (m,)."""
        return self._channel(self._at.frame.laplacian)

    def lap(self, *names: str) -> Tensor:
        """Σ ∂²u/∂zₖ² over the coordinates named, shape (m,)."""
        return self._channel(laplacian(self._at.frame.axes(names)))

    def d(self, *names: str) -> Tensor:
        """The derivative with respect to the coordinates named, one after the other; shape (m,)."""
        return self._channel(partial(*self._at.frame.axes(names)))

    @property
    def normal(self) -> Tensor:
        """The outward unit normal, (m, d); on a boundary only."""
        if self._at.normals is None:
            raise InputError("the equation reads the normal, but its points are not on a boundary: use a condition")
        return self._at.normals

    @property
    def normal_derivative(self) -> Tensor:
        """n·∇u, (m,); on a boundary only."""
        return (self.normal * self.gradient).sum(1)

    @property
    def partner(self) -> Field:
        """The same function at the partner points, for conditions that join two points."""
        if self._at.partner is None:
            raise InputError("the equation reads partner points, but has none: use a Periodic condition")
        return Field(self._at.partner, self._k)

    def unknown(self, name: str) -> Tensor:
        """An unknown scalar, (m,); raises ``InputError`` for a name that is none."""
        return self._at.unknown(name)

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.d(*((name,) if name in self._at.frame.coordinates else name))

    def _channel(self, term: Term) -> Tensor:
        return self._at.read(term)[:, self._k]


class Fields:
    """Several functions at m points: ``u, v = w``, or ``w.u``."""

    __slots__ = ("_at",)

    def __init__(self, at: Local) -> None:
        self._at = at

    def __iter__(self) -> Iterator[Field]:
        return (Field(self._at, k) for k in range(len(self._at.frame.outputs)))

    def __len__(self) -> int:
        return len(self._at.frame.outputs)

    def __getitem__(self, name: str) -> Field:
        if name not in self._at.frame.outputs:
            known = ", ".join(self._at.frame.outputs)
            raise InputError(f"the equation reads the function {name!r}, but the functions are {known}: correct it")
        return Field(self._at, self._at.frame.outputs.index(name))

    @property
    def partner(self) -> Fields:
        """All functions at the partner points."""
        return Fields(Field(self._at).partner._at)

    @property
    def normal(self) -> Tensor:
        """The outward unit normal, (m, d); on a boundary only."""
        return Field(self._at).normal

    def unknown(self, name: str) -> Tensor:
        """An unknown scalar, (m,)."""
        return self._at.unknown(name)

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]
