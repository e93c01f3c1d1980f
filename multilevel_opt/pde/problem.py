"""A problem of differential equations solved by networks: the class that users subclass.

The unknown u(·; x) is a network, perhaps with an output transform. With the equation at t points and
conditions at t_b points each the loss is

    L(x) = ½ Σ_b w_b mean_b(e²) = ½ ‖r(x)‖²
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from multilevel_opt.errors import InputError, NonFiniteError
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.pde import sampling as points_of
from multilevel_opt.pde.activations import activation
from multilevel_opt.pde.architectures import architecture
from multilevel_opt.pde.balance import balanced
from multilevel_opt.pde.cloud import Cloud
from multilevel_opt.pde.conditions import Condition, listed
from multilevel_opt.pde.definition import Definition
from multilevel_opt.pde.domains import Domain
from multilevel_opt.pde.equations import Block
from multilevel_opt.pde.fields import Frame
from multilevel_opt.pde.initialization import check_init
from multilevel_opt.pde.measures import Measures
from multilevel_opt.pde.networks import Network
from multilevel_opt.pde.portrait import Portrait
from multilevel_opt.pde.residual import PDEResidual
from multilevel_opt.pde.supply import Reserve

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class PDEProblem(Definition, Measures, Portrait):
    """A problem of which a subclass gives ``equation``, and where it holds and with which conditions.

    ::

        @dataclass(frozen=True, kw_only=True)
        class Heat(PDEProblem):
            a: float = 0.1

            def domain(self):
                return Interval(0, 1) * Time(1)

            def equation(self, u, z):
                return u.t - self.a * u.xx

            def conditions(self):
                return [Dirichlet(0.0), Initial(lambda z: torch.sin(torch.pi * z[:, 0]))]

    Attributes:
        dim: number of coordinates d, where the domain is a box of any dimension; else that of ``domain()``.
        width: neurons of every hidden layer; None: ``default_width()``.
        depth: number of hidden layers; None: ``default_depth()``.
        points: interior points in all, or per side as ``"30x30"``; None: ``default_points()``.
        activation: a key of ``ACTIVATIONS``; None: ``default_activation()``.
        architecture: a key of ``ARCHITECTURES``.
        init: a key of ``INITIALIZATIONS``.
        sampling: a key of ``SAMPLINGS``; None: ``default_sampling()``.
        boundary_weight: λ_p of the condition ``boundary``, Σ over boundary points against Σ over interior
            points; None: ``default_boundary_weight(t, t_b)``.
        seed: of the starting vector and of random points.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a torch.device.
        dtype: ``"float64"``, ``"float32"`` or the torch.dtype.

    Raises:
        InputError: a value out of range, an unknown name, or a device that is not there.
    """

    group: ClassVar[str] = "differential equations solved by networks"

    dim: int = 1
    width: int | None = None
    depth: int | None = None
    points: int | str | None = None
    activation: str | None = None
    architecture: str = "mlp"
    init: str = "scaled"
    sampling: str | None = None
    boundary_weight: float | None = None
    seed: int = 0
    device: str | torch.device = "cpu"
    dtype: str | torch.dtype = "float64"

    def __post_init__(self) -> None:
        self._at_least("dim", 1)
        if self.overrides("domain"):
            self._adopt(self.place.dim)
        if (front := self.front()) is not None:
            front.check(self.place)
        self._fill("width", self.default_width)
        self._at_least("width", 1)
        self._fill("depth", self.default_depth)
        self._at_least("depth", 1)
        self._fill("points", self.default_points)
        self._fill("sampling", self.default_sampling)
        check_init(self.init)
        self._fill("activation", self.default_activation)
        activation(cast(str, self.activation))
        architecture(self.architecture)
        points_of.check_sampling(cast(str, self.sampling))
        points_of.per_side(cast("int | str", self.points), self.dim)
        self._set("dtype", str(self.dtype).removeprefix("torch."))
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r} is unknown: choose one of {', '.join(DTYPES)}")
        self._set("device", str(_available(self.device)))
        if not self.overrides("conditions") and not self.constrained():
            t, t_b = len(self.interior_points), len(self.boundary_points)
            self._fill("boundary_weight", lambda: self.default_boundary_weight(t, t_b))
        if self.boundary_weight is not None and not self.boundary_weight > 0:
            raise InputError(f"boundary_weight must be positive, got {self.boundary_weight}")

    @cached_property
    def place(self) -> Domain:
        """The domain; raises ``InputError`` where ``domain()`` returns something else."""
        found = self.domain()
        if not isinstance(found, Domain):
            raise InputError(
                f"domain() must return a domain such as Interval(0, 1) or Disc((0, 0), 1), got {type(found).__name__}"
            )
        return found

    @cached_property
    def frame(self) -> Frame:
        """The names of coordinates, functions and unknown scalars."""
        return Frame(self.place.names, tuple(self.functions()), tuple(self.unknowns()), self.place.space)

    @cached_property
    def cloud(self) -> Cloud:
        """The points of training."""
        points = cast("int | str", self.points)
        return self._cloud_of(points, cast(str, self.sampling), self.seed)

    @cached_property
    def interior_points(self) -> Tensor:
        """(t, d)."""
        return self.cloud.interior

    @cached_property
    def boundary_points(self) -> Tensor:
        """(t_b, d)."""
        return self.cloud.boundary.points

    @cached_property
    def network(self) -> Network:
        """The network; where the problem has a front, with its stretched coordinate."""
        made, front = self.make_network(), self.front()
        return made if front is None else made.beside(front, self.place.bounds)

    @cached_property
    def residual(self) -> PDEResidual:
        """r: rows of the equation, then of the conditions.

        Raises:
            NonFiniteError: it is NaN or infinite at the start.
            InputError: equations, conditions and network do not fit.
        """
        conditions = listed(self.conditions())
        plain = self.rows_of(self.interior_points, self.cloud, conditions)
        own = self.equation_weight()
        first = [1.0] if own is None and plain.blocks[0].count == 1 else _listed(own)
        found = balanced(plain, self.x0, [first, *(_listed(c.weight or c.factor) for c in conditions)])
        made = plain.with_blocks([_factored(b, c) for b, c in zip(found, [None, *conditions], strict=True)])
        self._check_finite(made)
        made.supply = Reserve(self)
        return made

    def rows_of(self, z: Tensor, cloud: Cloud, conditions: Sequence[Condition]) -> PDEResidual:
        """The equation at the points z (t, d) and conditions at those of a cloud, all rows with weight one."""
        front = self.front()
        equation = self.equation if front is None else front.weighted(self.equation, self.place.bounds)
        blocks = [Block(z, equation, name="the equation"), *(c.block(cloud) for c in conditions)]
        transform = self.transform if self.constrained() else None
        scales = [abs(value) or 1.0 for value in self.unknowns().values()]
        return PDEResidual(self.network, blocks, frame=self.frame, transform=transform, scales=scales)

    @cached_property
    def objective(self) -> LeastSquares:
        """The loss ½‖r‖²."""
        return LeastSquares(self.residual)

    @cached_property
    def x0(self) -> Tensor:
        """The starting vector (n,): that of the network, then the unknown scalars in units of their scales."""
        start = self.network.start(self.init, seed=self.seed, frequency=self.frequency(), **self._options)
        scalars = [value / (abs(value) or 1.0) for value in self.unknowns().values()]
        return torch.cat([start, start.new_tensor(scalars)]) if scalars else start

    @property
    def n_residuals(self) -> int:
        """Rows of the residual."""
        return self.residual.n_rows

    @property
    def parameters(self) -> dict[str, int | float | str]:
        """All fields, with defaults filled in, as JSON takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def _options(self) -> dict[str, Any]:
        return {"dtype": DTYPES[cast(str, self.dtype)], "device": self.device}

    def _cloud_of(self, points: int | str, sampling: str, seed: int) -> Cloud:
        """Other points of the problem, as dense where its front is."""
        return Cloud(self.place, points, sampling, seed, **self._options, front=self.front())

    def _check_finite(self, residual: PDEResidual) -> None:
        with torch.no_grad():
            for block in residual.blocks:
                r = residual.with_blocks([block])(self.x0).view(block.count, -1)
                bad = ~torch.isfinite(r).all(0)
                if bool(bad.any()):
                    where = [round(float(c), 6) for c in block.points[bad][0]]
                    raise NonFiniteError(
                        f"{block.name} is NaN or infinite at {int(bad.sum())} of {len(bad)} points at the start, "
                        f"first at z = {where}: correct it, or start elsewhere"
                    )

    def _adopt(self, dim: int) -> None:
        """Take the dimension of the domain where none was given."""
        if self.dim not in (1, dim):
            raise InputError(f"dim={self.dim} does not fit the domain of {dim} coordinates: leave dim out")
        self._set("dim", dim)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _fill(self, name: str, default: Callable[[], object]) -> None:
        if getattr(self, name) is None:
            self._set(name, default())

    def _at_least(self, name: str, low: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or value < low:
            raise InputError(f"{name} must be a whole number >= {low}, got {value!r}")


def _listed(weight: float | Sequence[float] | None) -> Sequence[float] | None:
    return [weight] if isinstance(weight, int | float) else weight


def _factored(block: Block, condition: Condition | None) -> Block:
    """The block with the factor that its condition gives, if it gives one."""
    if condition is None or condition.factor is None:
        return block
    return block.weighted((condition.factor,) * block.count)


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
