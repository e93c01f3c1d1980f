"""A boundary value problem on a box, solved by a network: the class that users subclass.

The unknown u(·; x) is a fully connected network. With t interior and t_b boundary points the loss is

    L(x) = 1/(2t) ( Σ equation² + λ_p Σ boundary² ) = ½ ‖r(x)‖²
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.pde import sampling as points_of
from multilevel_opt.pde.activations import activation
from multilevel_opt.pde.equations import Block, Field
from multilevel_opt.pde.networks import MLP, check_init
from multilevel_opt.pde.residual import PDEResidual

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class PDEProblem:
    """A problem of which a subclass gives ``equation`` and ``exact`` (or ``boundary``).

    ::

        @dataclass(frozen=True, kw_only=True)
        class Cubic(PDEProblem):
            def equation(self, u, z):
                truth = self.exact(z)
                return -u.laplacian + u.value**3 - torch.pi**2 * truth - truth**3

            def exact(self, z):
                return torch.sin(torch.pi * z[:, 0])

    Attributes:
        dim: number of coordinates d.
        width: neurons of every hidden layer; None: ``default_width()``.
        depth: number of hidden layers.
        points: interior points in all, or per side as ``"30x30"``; None: ``default_points()``.
        activation: a key of ``ACTIVATIONS``; None: ``default_activation()``.
        init: a key of ``INITIALIZATIONS``.
        sampling: a key of ``SAMPLINGS``; None: equispaced up to two dimensions, else Sobol.
        boundary_weight: λ_p; None: ``default_boundary_weight(t, t_b)``.
        seed: of the starting vector and of random points.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a torch.device.
        dtype: ``"float64"``, ``"float32"`` or the torch.dtype.

    Raises:
        InputError: a value out of range, an unknown name, or a device that is not there.
    """

    group: ClassVar[str] = "differential equations solved by networks"

    dim: int = 1
    width: int | None = None
    depth: int = 1
    points: int | str | None = None
    activation: str | None = None
    init: str = "scaled"
    sampling: str | None = None
    boundary_weight: float | None = None
    seed: int = 0
    device: str | torch.device = "cpu"
    dtype: str | torch.dtype = "float64"

    def __post_init__(self) -> None:
        self._at_least("dim", 1)
        self._at_least("depth", 1)
        self._fill("width", self.default_width)
        self._at_least("width", 1)
        self._fill("points", self.default_points)
        self._fill("sampling", lambda: "equispaced" if self.dim <= 2 else "sobol")
        check_init(self.init)
        self._fill("activation", self.default_activation)
        activation(cast(str, self.activation))
        points_of.check_sampling(self._sampling)
        points_of.per_side(self._points, self.dim)
        self._set("dtype", str(self.dtype).removeprefix("torch."))
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r} is unknown: choose one of {', '.join(DTYPES)}")
        self._set("device", str(_available(self.device)))
        t, t_b = len(self.interior_points), len(self.boundary_points)
        self._fill("boundary_weight", lambda: self.default_boundary_weight(t, t_b))
        if not cast(float, self.boundary_weight) > 0:
            raise InputError(f"boundary_weight must be positive, got {self.boundary_weight}")

    # What a subclass may define

    @property
    def bounds(self) -> Sequence[tuple[float, float]]:
        """(low, high) of every coordinate; the unit cube."""
        return [(0.0, 1.0)] * self.dim

    def equation(self, u: Field, z: Tensor) -> Tensor:
        """Residual of the differential equation at the points z (m, d), shape (m,), row by row."""
        raise InputError(f"{type(self).__name__} has no equation: define equation(self, u, z)")

    def boundary(self, u: Field, z: Tensor) -> Tensor:
        """Residual of the boundary condition at z (m, d), shape (m,); u = exact by default."""
        return u.value - self.exact(z)

    def exact(self, z: Tensor) -> Tensor:
        """The solution at z (m, d), shape (m,), where it is known."""
        raise InputError(f"{type(self).__name__} has no exact solution: define exact(self, z), or boundary(self, u, z)")

    def frequency(self) -> float:
        """Largest wave number of the solution along a coordinate, in radians per unit length."""
        return float(torch.pi)

    def default_activation(self) -> str:
        """Activation where none is asked for: tanh; with ``init="normal"`` tanh(z/2), as in the published tables."""
        return "half-tanh" if self.init == "normal" else "tanh"

    def default_width(self) -> int:
        """Neurons of a hidden layer where none are asked for."""
        return 64

    def default_points(self) -> int:
        """Interior points where none are asked for."""
        return 100 if self.dim == 1 else 900 if self.dim == 2 else 1024

    def default_boundary_weight(self, t: int, t_b: int) -> float:
        """λ_p for t interior and t_b boundary points: the mean square on the boundary counts 100 times."""
        return 100.0 * t / t_b

    # What follows from them

    @cached_property
    def interior_points(self) -> Tensor:
        """(t, d)."""
        options = self._options | {"seed": self.seed}
        return points_of.interior(self.bounds, self._points, self._sampling, **options)

    @cached_property
    def boundary_points(self) -> Tensor:
        """(t_b, d)."""
        return points_of.boundary(self.bounds, self._points, seed=self.seed, **self._options)

    @cached_property
    def network(self) -> MLP:
        """The network."""
        return MLP(self.dim, (cast(int, self.width),) * self.depth, cast(str, self.activation))

    @cached_property
    def residual(self) -> PDEResidual:
        """r: interior rows, then boundary rows."""
        z, zb, weight = self.interior_points, self.boundary_points, cast(float, self.boundary_weight)
        t = len(z)
        blocks = [Block(z, self.equation, t**-0.5), Block(zb, self.boundary, (weight / t) ** 0.5)]
        return PDEResidual(self.network, blocks)

    @cached_property
    def objective(self) -> LeastSquares:
        """The loss ½‖r‖²."""
        return LeastSquares(self.residual)

    @cached_property
    def x0(self) -> Tensor:
        """The starting vector (n,)."""
        return self.network.start(self.init, seed=self.seed, frequency=self.frequency(), **self._options)

    @property
    def n_residuals(self) -> int:
        """Rows of the residual, t + t_b."""
        return self.residual.n_rows

    @property
    def parameters(self) -> dict[str, int | float | str]:
        """All fields, with defaults filled in, as JSON takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def solution(self, x: Tensor, z: Tensor) -> Tensor:
        """u(z; x) for z (m, d), shape (m,)."""
        with torch.no_grad():
            return cast(Tensor, self.network.channels(x.detach(), z).value)

    def picture_grid(self) -> Tensor:
        """Points (m, d) for a picture: 500 of a line, or 101 x 101 of the square in the middle of the box."""
        plane = self._grid(500 if self.dim == 1 else 101, min(self.dim, 2))
        middle = [(low + high) / 2 for low, high in self.bounds[2:]]
        rest = plane.new_tensor(middle).expand(len(plane), -1)
        return torch.cat([plane, rest], dim=1)

    @cached_property
    def metrics(self) -> dict[str, Callable[[Tensor], float]]:
        """``rmse`` and ``relative_l2`` by name.

        The test set has 1000 points of an interval, 101 x 101 of a rectangle, else 4096 Sobol points.
        Empty where ``exact`` is not defined.
        """
        return {} if type(self).exact is PDEProblem.exact else {"rmse": self.rmse, "relative_l2": self.relative_l2}

    def rmse(self, x: Tensor) -> float:
        """√mean((u − exact)²) on the test set; raises ``InputError`` without ``exact``."""
        last, version, value = self._last_error
        if last is not x or version != x._version:  # both measures of one iterate cost one evaluation
            value = float((self.solution(x, self._test_points) - self._truth).square().mean().sqrt())
            self._set("_last_error", (x, x._version, value))
        return value

    def relative_l2(self, x: Tensor) -> float:
        """Rmse / √mean(exact²) on the test set; NaN where the solution is zero, ``InputError`` without ``exact``."""
        size = float(self._truth.square().mean().sqrt())
        return self.rmse(x) / size if size else float("nan")

    @cached_property
    def _last_error(self) -> tuple[Tensor | None, int, float]:
        return None, 0, float("nan")

    @cached_property
    def _truth(self) -> Tensor:
        return self.exact(self._test_points)

    @cached_property
    def _test_points(self) -> Tensor:
        if self.dim > 2:
            return points_of.interior(self.bounds, 4096, "sobol", seed=1, **self._options)
        return self._grid(1000 if self.dim == 1 else 101, self.dim)

    def _grid(self, side: int, dim: int) -> Tensor:
        axes = [torch.linspace(low, high, side, **self._options) for low, high in self.bounds[:dim]]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, dim)

    @property
    def _options(self) -> dict[str, Any]:
        return {"dtype": DTYPES[cast(str, self.dtype)], "device": self.device}

    @property
    def _points(self) -> int | str:
        return cast("int | str", self.points)

    @property
    def _sampling(self) -> str:
        return cast(str, self.sampling)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _fill(self, name: str, default: Callable[[], object]) -> None:
        if getattr(self, name) is None:
            self._set(name, default())

    def _at_least(self, name: str, low: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or value < low:
            raise InputError(f"{name} must be a whole number >= {low}, got {value!r}")


def _available(device: str | torch.device) -> torch.device:
    """The device, once a number has been put there.

    Raises:
        InputError: it is unknown or not available.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"device {str(device)!r} is not available here: use 'cpu', or install a torch that has it"
        ) from error
    return found
