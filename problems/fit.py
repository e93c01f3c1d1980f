"""Function fitting: train a network on samples y = g(z) by a loss of one's choice.

The losses, as means over the t samples, with r = u(z) − y:

l2             ½ r²: half the mean square, as a least-squares residual
l1             √(r² + δ²) − δ, which is |r| up to δ and twice differentiable; curvature 1/√(r² + δ²), the weight of
               iteratively reweighted least squares, since the second derivative all but vanishes away from r = 0
logistic       log(1 + exp(−c u)) with the class c = sign(y): classification of the sign of g
talk-logistic  1/(1 + exp(y − u)), as written in the talk below

From E. Riccietti, H. Calandra, S. Gratton, X. Vasseur, "Artificial neural networks: scalable optimization methods for
large-scale training problems", EURO 2018. Errata: its logistic loss is a logistic function of r. It falls as u falls
and has no minimizer, its infimum is 0 at u → −∞, and it does not fit y. Its activation "sigmoid", (eᶻ−1)/(eᶻ+1), is
tanh(z/2), here ``half-tanh``; its "logit" is the logistic function, here ``logistic``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from math import ceil, pi
from typing import Any, ClassVar

import torch
from torch import Tensor

from multilevel_opt import InputError, LeastSquares, Objective, Residual, RowLoss
from multilevel_opt.pde import ACTIVATIONS, MLP, Block, PDEResidual

DTYPES = {"float64": torch.float64, "float32": torch.float32}
ALIASES = {"logistic": "sigmoid"}
Loss = Callable[["Fit", Residual, Tensor], Objective]


@dataclass(frozen=True)
class Target:
    """A function g on the unit interval or square.

    Attributes:
        dim: 1 or 2.
        value: (z, ν) -> g, shapes (m, dim) -> (m,).
        frequency: ν -> largest wave number of g.
    """

    dim: int
    value: Callable[[Tensor, float], Tensor]
    frequency: Callable[[float], float]


TARGETS: dict[str, Target] = {
    "cos": Target(1, lambda z, nu: torch.cos(nu * z[:, 0]), lambda nu: nu),
    "polynomial": Target(1, lambda z, nu: _legendre(2 * z[:, 0] - 1), lambda nu: 5.0 * pi),
    "step": Target(1, lambda z, nu: torch.tanh(nu * (z[:, 0] - 0.5)), lambda nu: nu),
    "waves": Target(2, lambda z, nu: torch.cos(nu * z[:, 0]) * torch.sin(nu * z[:, 1]), lambda nu: nu),
    "bump": Target(2, lambda z, nu: torch.exp(-nu * (z - 0.5).square().sum(1)) - 0.5, lambda nu: 2 * nu**0.5),
    "ripple": Target(2, lambda z, nu: torch.cos(nu * (z + 1e-9).norm(dim=1)), lambda nu: nu),
}


def _legendre(s: Tensor) -> Tensor:
    """The Legendre polynomial of degree 5."""
    return (63 * s**5 - 70 * s**3 + 15 * s) / 8


def _l2(problem: Fit, outputs: Residual, y: Tensor) -> Objective:
    return LeastSquares(problem.residual)


def _l1(problem: Fit, outputs: Residual, y: Tensor) -> Objective:
    delta = problem.delta

    def size(u: Tensor, y: Tensor) -> Tensor:
        return ((u - y).square() + delta**2).sqrt()

    return RowLoss(outputs, y, lambda u, y: size(u, y) - delta, lambda u, y: 1 / size(u, y))


def _logistic(problem: Fit, outputs: Residual, y: Tensor) -> Objective:
    return RowLoss(outputs, y.sign(), lambda u, c: torch.nn.functional.softplus(-c * u))


def _talk_logistic(problem: Fit, outputs: Residual, y: Tensor) -> Objective:
    return RowLoss(outputs, y, lambda u, y: torch.sigmoid(u - y))


LOSSES: dict[str, Loss] = {"l2": _l2, "l1": _l1, "logistic": _logistic, "talk-logistic": _talk_logistic}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fitting a function by a network, with losses l2, l1, logistic.

    Source: the talk of Riccietti et al., EURO 2018; errata in the module ``problems.fit``. With noise 0 a wide network
    reaches an rmse near rounding under l2.

    Attributes:
        target: cos, polynomial or step on (0, 1); waves, bump or ripple on the unit square.
        nu: frequency or steepness ν of the target.
        width: neurons of every hidden layer.
        depth: number of hidden layers.
        points: samples t; none: 3ν + 1 on the interval, 900 on the square (rounded up to a full grid).
        noise: standard deviation of what is added to the samples.
        loss: l2, l1, logistic or talk-logistic.
        delta: δ of the smoothed l1 loss.
        activation: tanh, half-tanh, logistic, softplus or sin.
        init: scaled, or normal for N(0, 1).
        seed: of the start and of the noise.
        device: of all tensors.
        dtype: float64 or float32.
    """

    group: ClassVar[str] = "training of networks"

    target: str = "cos"
    nu: float = 20.0
    width: int = 64
    depth: int = 1
    points: int | None = None
    noise: float = 0.0
    loss: str = "l2"
    delta: float = 1e-3
    activation: str = "tanh"
    init: str = "scaled"
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float64"

    def __post_init__(self) -> None:
        _known("target", self.target, TARGETS)
        _known("loss", self.loss, LOSSES)
        _known("activation", self.activation, {**ACTIVATIONS, **ALIASES})
        _known("dtype", str(self.dtype).removeprefix("torch."), DTYPES)
        object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        for name in ("nu", "delta"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.noise >= 0:
            raise InputError(f"noise must be 0 or more, got {self.noise}")
        for name in ("width", "depth", "points"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be a whole number >= 1, got {value}")

    @cached_property
    def network(self) -> MLP:
        """The network."""
        kind = ALIASES.get(self.activation, self.activation)
        return MLP(self._target.dim, (self.width,) * self.depth, kind)

    @cached_property
    def samples(self) -> Tensor:
        """Z of shape (t, d): equispaced, or a full grid of the square."""
        if self._target.dim == 1:
            return _grid(self.points or ceil(3 * self.nu) + 1, 1, self._options)
        return _grid(ceil((self.points or 900) ** 0.5), 2, self._options)

    @cached_property
    def data(self) -> Tensor:
        """Y = g(z) + noise, shape (t,)."""
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        noise = torch.randn(len(self.samples), generator=generator, dtype=torch.float64, device="cpu")
        clean = self.exact(self.samples)
        return clean + self.noise * noise.to(clean)

    @cached_property
    def residual(self) -> PDEResidual:
        """R = (u(z) − y)/√t, whose half sum of squares is the l2 loss."""
        t = len(self.samples)
        return PDEResidual(self.network, [Block(self.samples, _value, t**-0.5, source=self.data)])

    @cached_property
    def objective(self) -> Objective:
        """The loss."""
        return LOSSES[self.loss](self, self._outputs(self.samples), self.data)

    @cached_property
    def x0(self) -> Tensor:
        """The starting vector (n,)."""
        frequency = self._target.frequency(self.nu)
        return self.network.start(self.init, seed=self.seed, frequency=frequency, **self._options)

    @cached_property
    def metrics(self) -> dict[str, Callable[[Tensor], float]]:
        """``rmse`` and ``relative_l2`` on points held out, against g; ``train_rmse`` on the samples, against y.

        Of the logistic loss ``error_rate`` and ``train_error_rate``: shares of wrong signs.
        """
        side = 1000 if self._target.dim == 1 else 71
        held_out = _grid(side, self._target.dim, self._options, inner=True)
        test, train, truth = self._outputs(held_out), self._outputs(self.samples), self.exact(held_out)
        if self.loss == "logistic":
            return {
                "error_rate": lambda x: _wrong(test(x), truth),
                "train_error_rate": lambda x: _wrong(train(x), self.data),
            }
        size = float(truth.square().mean().sqrt())
        return {
            "rmse": lambda x: _rms(test(x) - truth),
            "relative_l2": lambda x: _rms(test(x) - truth) / size,
            "train_rmse": lambda x: _rms(train(x) - self.data),
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """All fields, as JSON takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def n_residuals(self) -> int:
        """Number of samples t."""
        return len(self.samples)

    def exact(self, z: Tensor) -> Tensor:
        """g(z) for z (m, d), shape (m,)."""
        return self._target.value(z, self.nu)

    def solution(self, x: Tensor, z: Tensor) -> Tensor:
        """u(z; x) for z (m, d), shape (m,)."""
        with torch.no_grad():
            return self._outputs(z)(x.detach())

    def picture_grid(self) -> Tensor:
        """Points (m, d) for a picture."""
        return _grid(500 if self._target.dim == 1 else 101, self._target.dim, self._options)

    def _outputs(self, z: Tensor) -> PDEResidual:
        """X -> u(z; x)."""
        return PDEResidual(self.network, [Block(z, _value)])

    @property
    def _target(self) -> Target:
        return TARGETS[self.target]

    @property
    def _options(self) -> dict[str, Any]:
        return {"dtype": DTYPES[self.dtype], "device": self.device}


def _value(u: Any, z: Tensor) -> Tensor:
    value: Tensor = u.value
    return value


def _grid(side: int, dim: int, options: dict[str, Any], inner: bool = False) -> Tensor:
    """A grid of the unit cube with its ends, or of the middles of its cells."""
    ends = (0.5 / side, 1 - 0.5 / side) if inner else (0.0, 1.0)
    axes = [torch.linspace(*ends, side, **options)] * dim
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, dim)


def _rms(r: Tensor) -> float:
    return float(r.square().mean().sqrt())


def _wrong(u: Tensor, y: Tensor) -> float:
    return float((u.sign() != y.sign()).double().mean())


def _known(name: str, value: str, table: dict[str, Any]) -> None:
    if value not in table:
        raise InputError(f"{name}={value} is unknown: choose one of {', '.join(table)}")
