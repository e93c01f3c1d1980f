"""What the problems on uniform grids share: sizes, start points, error measures and the hierarchy.

The unknowns are values at the n^d interior points of the unit cube, with spacing h = 1/(n + 1), first coordinate
first; on the boundary they are zero. Energies approximate integrals, so that values do not depend on h, and a gradient
is h^d times the residual of the differential equation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import pi
from typing import Any, ClassVar

import torch
from torch import Tensor

import multilevel_opt as mlo

DTYPES = {"float64": torch.float64, "float32": torch.float32}
Bounds = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True, kw_only=True)
class GridProblem:
    """A problem of which a subclass gives ``energy(n)``, and ``exact(z)`` where the solution is known.

    Attributes:
        n: unknowns per side, at least 3.
        start: ``zero``; ``random``, uniform in [−1, 1]; ``positive``, uniform in [0, 1]; or ``smooth``, a product of
            sines.
        amplitude: factor of the start point.
        seed: of random start points.
        device: as in torch.
        dtype: ``float64`` or ``float32``.

    Raises:
        InputError: a value out of range or an unknown name.
    """

    n: int = 63
    start: str = "zero"
    amplitude: float = 1.0
    seed: int = 0
    device: str | torch.device = "cpu"
    dtype: str = "float64"
    group: ClassVar[str] = "discretized problems on grids"
    dim: ClassVar[int] = 2
    degree: ClassVar[int] = 1  # of the interpolation of steps; fourth-order energies want 3

    def __post_init__(self) -> None:
        if self.n < 3:
            raise mlo.InputError(f"n={self.n} is too small: give at least 3 unknowns per side")
        if self.start not in STARTS:
            raise mlo.InputError(f"unknown start {self.start!r}: use one of {', '.join(STARTS)}")
        if self.dtype not in DTYPES:
            raise mlo.InputError(f"unknown dtype {self.dtype!r}: use one of {', '.join(DTYPES)}")

    # What a subclass defines

    def energy(self, n: int) -> mlo.Objective:
        """The energy on a grid with n unknowns per side."""
        raise mlo.InputError(f"{type(self).__name__} has no energy: define energy(self, n)")

    def exact(self, *z: Tensor) -> Tensor | None:
        """The minimizer at points with coordinates z, each of the shape of a grid; None where it is not known."""
        return None

    def bounds_at(self, *z: Tensor) -> Bounds:
        """Lower and upper bounds at points with coordinates z; None where there is none."""
        return None, None

    # What solvers use

    @cached_property
    def objective(self) -> mlo.Objective:
        """The energy on the finest grid."""
        return self.energy(self.n)

    @cached_property
    def x0(self) -> Tensor:
        """The start point, shape (n^d,)."""
        return (self.amplitude * STARTS[self.start](self, self.points(self.n))).reshape(-1)

    @property
    def h(self) -> float:
        """Spacing of the finest grid."""
        return 1 / (self.n + 1)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What defines the problem, as plain values."""
        return {**asdict(self), "device": str(self.device)}

    @property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]:
        """``residual``, and ``rmse`` and ``relative_l2`` against the known minimizer.

        The residual is that of the differential equation in the norm of L²: ‖∇f‖₂ h^{−d/2}, since ∇f = h^d F and
        ‖F‖² ≈ h^d Σ F_i². It does not depend on the grid. Where there are bounds ∇f is projected.
        """
        known = self.exact(*self.points(self.n))
        measures: dict[str, Callable[[Tensor], float]] = {"residual": self.residual}
        if known is not None:
            truth = known.reshape(-1)
            measures["rmse"] = lambda x: float((x - truth).square().mean().sqrt())
            measures["relative_l2"] = lambda x: float((x - truth).norm() / truth.norm())
        return measures

    @property
    def x_bounds(self) -> Bounds | None:
        """Lower and upper bounds of the unknowns, each of shape (n^d,) or None; None where there is no bound."""
        lower, upper = self.bounds_at(*self.points(self.n))
        if lower is None and upper is None:
            return None
        return None if lower is None else lower.reshape(-1), None if upper is None else upper.reshape(-1)

    def residual(self, x: Tensor) -> float:
        """‖∇f(x)‖₂ h^{−d/2}, see ``metrics``."""
        gradient = self.objective.counted(mlo.Ledger()).expand(x, 1).gradient
        if self.x_bounds is not None:
            gradient = x - torch.clamp(x - gradient, *self.x_bounds)
        return float(gradient.norm()) * self.h ** (-self.dim / 2)

    def hierarchy(self, levels: int, coarsening: str = "geometric") -> mlo.Hierarchy:
        """Grids with n, n/2, … unknowns per side.

        Args:
            levels: number of levels, the finest included.
            coarsening: ``geometric`` for the energy of every grid, ``galerkin`` for the finest one on coarse spaces.

        Raises:
            InputError: n cannot be halved so often.
        """
        if levels == 1:
            return mlo.Hierarchy(self.n**self.dim)
        model = "galerkin" if coarsening == "galerkin" else "own"
        return mlo.geometric(self.energy, self.n, levels, self.dim, energy=True, model=model, degree=self.degree)

    # For subclasses

    def line(self, n: int, ends: bool = False) -> Tensor:
        """Coordinates of the interior points of one side (with the ends), shape (n,) or (n + 2,)."""
        first, last = (0, n + 2) if ends else (1, n + 1)
        return torch.arange(first, last, dtype=DTYPES[self.dtype], device=self.device) / (n + 1)

    def points(self, n: int) -> tuple[Tensor, ...]:
        """Coordinates of the interior points, d tensors of shape (n, …, n)."""
        return torch.meshgrid(*(self.line(n),) * self.dim, indexing="ij")


def _uniform(problem: GridProblem, z: tuple[Tensor, ...]) -> Tensor:
    generator = torch.Generator(device="cpu").manual_seed(problem.seed)
    drawn = torch.rand(z[0].shape, generator=generator, dtype=torch.float64, device="cpu")
    return drawn.to(z[0])


def _sines(problem: GridProblem, z: tuple[Tensor, ...]) -> Tensor:
    product = torch.ones_like(z[0])
    for number, coordinate in enumerate(z, start=1):
        product = product * torch.sin(number * pi * coordinate)
    return product


STARTS: dict[str, Callable[[GridProblem, tuple[Tensor, ...]], Tensor]] = {
    "zero": lambda problem, z: torch.zeros_like(z[0]),
    "random": lambda problem, z: 2 * _uniform(problem, z) - 1,
    "positive": _uniform,
    "smooth": _sines,
}
