"""A network in pieces: −u″ = f on (0, 1) by small networks, each of which is felt in its own part of the interval only.

    u(x) = x (1 − x) Σ_k w_k(x) N_k((x − c_k)/H),    w_k(x) = 1 − (10t³ − 15t⁴ + 6t⁵), t = |x − c_k|/H < 1

The windows w_k are twice differentiable and add up to one. Between two centers only two networks are felt, so the loss
is a sum of elements, one for each interval. The loss of one network for the whole interval has a single element.
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

Jet = tuple[Tensor, Tensor, Tensor]  # a function of x with two derivatives


@dataclass(frozen=True, kw_only=True)
class Subdomains:
    """The equation −u″ = f by a row of small networks with overlapping windows, as a sum of elements.

    The solution is sin(πx) + sin(kπx)/10.

    Attributes:
        networks: how many, at least 2.
        width: neurons of each, at least 1.
        points: of training between two centers, at least 1.
        frequency: k.
        seed: of the weights.
        device: as in torch.

    Source: windows as in finite-basis networks (Moseley, Markham & Nissen-Meyer 2023). Minimum near 0.
    """

    networks: int = 20
    width: int = 8
    points: int = 8
    frequency: int = 10
    seed: int = 0
    device: str = "cpu"
    group: ClassVar[str] = "differential equations by elements"

    def __post_init__(self) -> None:
        if self.networks < 2 or self.width < 1 or self.points < 1:
            raise mlo.InputError(
                f"networks={self.networks}, width={self.width}, points={self.points} is too small: "
                "give at least 2, 1 and 1"
            )

    @property
    def n(self) -> int:
        """Weights of all networks."""
        return self.networks * self.size

    @property
    def size(self) -> int:
        """Weights of one network: of the first layer, its biases, of the second layer, its bias."""
        return 3 * self.width + 1

    @cached_property
    def objective(self) -> mlo.SeparableSquares:
        """½ mean of the squared residuals."""
        return mlo.SeparableSquares(self.residuals(), self.n)

    def elements(self) -> list[mlo.Elements]:
        """One element for each interval between two centers, with the weights of two networks."""
        return [part.squares for part in self.residuals()]

    def residuals(self) -> list[mlo.ElementResiduals]:
        """The residuals at the points of each interval."""
        first = torch.arange(self.networks - 1, dtype=torch.int64, device=self.device)[:, None] * self.size
        table = first + torch.arange(2 * self.size, dtype=torch.int64, device=self.device)
        at = (torch.arange(self.points, dtype=torch.float64, device=self.device) + 0.5) / self.points
        x = (torch.arange(self.networks - 1, device=self.device)[:, None] + at) / (self.networks - 1)
        weight = (0.5 / x.numel()) ** 0.5

        def function(u: Tensor, x: Tensor) -> Tensor:
            return weight * (self._jet(u, x)[2] + self._load(x))

        return [mlo.ElementResiduals(table, function, (x,))]

    @cached_property
    def x0(self) -> Tensor:
        """Weights of unit size, zero in the second layers, shape (n,)."""
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        x = torch.randn(self.networks, self.size, generator=generator, dtype=torch.float64, device="cpu")
        x[:, 2 * self.width :] = 0
        return x.reshape(-1).to(self.device)

    @property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]:
        """``rmse`` at the points of training."""

        def rmse(x: Tensor) -> float:
            (group,) = self.residuals()
            at = group.data[0]
            return float((self._jet(x[group.indices], at)[0] - self.solution(at)).square().mean().sqrt())

        return {"rmse": rmse}

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All fields."""
        return asdict(self)

    def solution(self, x: Tensor) -> Tensor:
        """The solution at points of any shape."""
        return torch.sin(pi * x) + 0.1 * torch.sin(self.frequency * pi * x)

    def _load(self, x: Tensor) -> Tensor:
        k = self.frequency
        return pi**2 * torch.sin(pi * x) + 0.1 * (k * pi) ** 2 * torch.sin(k * pi * x)

    def _jet(self, u: Tensor, x: Tensor) -> Jet:
        """The network with two derivatives at points (E, P) of each interval, for weights (E, 2·size)."""
        H, left = 1 / (self.networks - 1), torch.arange(len(x), device=x.device, dtype=x.dtype)[:, None]
        pieces = [
            _product(_window(x, (left + side) * H, H), _network(part, x, (left + side) * H, H))
            for side, part in enumerate(u.split(self.size, 1))
        ]
        total = tuple(a + b for a, b in zip(*pieces, strict=True))
        return _product((x * (1 - x), 1 - 2 * x, torch.full_like(x, -2.0)), total)


def _product(a: Jet, b: Any) -> Jet:
    return a[0] * b[0], a[1] * b[0] + a[0] * b[1], a[2] * b[0] + 2 * a[1] * b[1] + a[0] * b[2]


def _window(x: Tensor, center: Tensor, H: float) -> Jet:
    t, sign = (x - center).abs() / H, torch.sign(x - center)
    value = 1 - t**3 * (10 - 15 * t + 6 * t**2)
    return value, -30 * t**2 * (1 - t) ** 2 * sign / H, -60 * t * (1 - t) * (1 - 2 * t) / H**2


def _network(weights: Tensor, x: Tensor, center: Tensor, H: float) -> Jet:
    """One hidden layer of tanh, at z = (x − c)/H."""
    width = weights.shape[1] // 3
    slope, shift, out, bias = weights.split([width, width, width, 1], 1)
    s = torch.tanh(((x - center) / H)[:, :, None] * slope[:, None] + shift[:, None])
    rate = 1 - s * s
    first, second = rate * (slope / H)[:, None], -2 * s * rate * (slope / H)[:, None] ** 2
    value, one, two = ((part * out[:, None]).sum(2) for part in (s, first, second))
    return value + bias, one, two
