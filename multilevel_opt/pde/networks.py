"""Fully connected networks as a flat parameter vector, and their starting points.

Flat order, as in ``mlp_layout``: for every layer the weight (out, in) row by row, then the bias (out,).

A network of one hidden layer is a sum of r ridges v σ(w·z + b). It can follow a solution of wave number
ω only if some ridges are about as steep as the solution, |w| ~ ω, and their kinks w·z + b = 0 are spread
over the domain: the ``scaled`` start draws weights and biases on that scale, and output weights of
variance 1/r so that u starts of order one at every width. The ``normal`` start is N(0, 1) throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.layout import Layout, mlp_layout
from multilevel_opt.pde.activations import Activation, activation
from multilevel_opt.pde.operators import Channels, Needs, propagate

VALUE = Needs()
SPREAD = 0.7  # first-layer weights and biases of the scaled start, relative to ω


@dataclass(frozen=True)
class MLP:
    """A network R^d -> R with hidden layers of the given widths.

    Attributes:
        inputs: d.
        widths: neurons of every hidden layer, at least one layer.
        activation: a key of ``ACTIVATIONS``.

    Raises:
        InputError: no hidden layer, a size below 1, or an unknown activation.
    """

    inputs: int
    widths: tuple[int, ...]
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if self.inputs < 1 or not self.widths or min(self.widths) < 1:
            raise InputError(f"a network of {self.inputs} inputs and widths {self.widths} is empty: use sizes >= 1")
        activation(self.activation)

    @cached_property
    def layout(self) -> Layout:
        """Where the parameters lie in the flat vector."""
        return mlp_layout(self.inputs, self.widths)

    @property
    def size(self) -> int:
        """Number of parameters n."""
        return self.layout.size

    @property
    def sigma(self) -> Activation:
        """The activation with its derivatives."""
        return activation(self.activation)

    def resized(self, widths: Sequence[int]) -> MLP:
        """The same kind of network with other widths."""
        return replace(self, widths=tuple(int(w) for w in widths))

    def channels(self, x: Tensor, z: Tensor, needs: Needs = VALUE) -> Channels:
        """U and its derivatives at the points z (m, d) for parameters x (n,)."""
        return propagate(x, self.layout, self.sigma, z, needs)

    def start(
        self,
        init: str = "scaled",
        *,
        seed: int = 0,
        frequency: float = 1.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """A starting vector (n,), drawn on the CPU in float64: one seed, one start on every device.

        Args:
            init: a key of ``INITIALIZATIONS``.
            seed: of the random numbers.
            frequency: largest wave number ω of the solution along one coordinate, in 1/length.
            dtype: of the vector.
            device: of the vector.

        Raises:
            InputError: unknown ``init``.
        """
        check_init(init)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        parts = INITIALIZATIONS[init](self, frequency, generator)
        return torch.cat([part.reshape(-1) for part in parts]).to(device=device, dtype=dtype)


def check_init(name: str) -> None:
    """Raises InputError, listing the choices, if no initialization has that name."""
    if name not in INITIALIZATIONS:
        raise InputError(f"init {name!r} is unknown: choose one of {', '.join(INITIALIZATIONS)}")


Draws = list[Tensor]


def _sizes(net: MLP) -> list[tuple[int, int]]:
    """(in, out) of every layer."""
    sizes = (net.inputs, *net.widths, 1)
    return list(pairwise(sizes))


def _randn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")


def _uniform(generator: torch.Generator, bound: float, *shape: int) -> Tensor:
    unit = torch.rand(*shape, generator=generator, dtype=torch.float64, device="cpu")
    return (2.0 * unit - 1.0) * bound


def _slopes(generator: torch.Generator, bound: float, *shape: int) -> Tensor:
    unit = _uniform(generator, 1.0, *shape)
    return unit.sign() * unit.abs().sqrt() * bound


def _zeros(size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.float64, device="cpu")


def _normal(net: MLP, frequency: float, generator: torch.Generator) -> Draws:
    """Every weight and bias N(0, 1)."""
    return [_randn(generator, net.size)]


def _scaled(net: MLP, frequency: float, generator: torch.Generator) -> Draws:
    """First weights ±a√U(0, 1) and biases U(-a, a), a = SPREAD ω / steepness; then Glorot, output N(0, 1/r).

    The density of a weight grows with its size: fewer flat ridges than under U(-a, a) for the same
    steepest one, and it is the steepest ridges that limit the accuracy between collocation points.
    """
    bound = SPREAD * frequency / net.sigma.steepness
    first, *others, last = _sizes(net)
    parts = [_slopes(generator, bound, first[1], first[0]), _uniform(generator, bound, first[1])]
    for n_in, n_out in others:
        glorot = (6.0 / (n_in + n_out)) ** 0.5 / net.sigma.steepness
        parts += [_uniform(generator, glorot, n_out, n_in), _zeros(n_out)]
    return [*parts, _randn(generator, last[0]) * last[0] ** -0.5, _zeros(1)]


INITIALIZATIONS: dict[str, Callable[[MLP, float, torch.Generator], Draws]] = {
    "normal": _normal,
    "scaled": _scaled,
}
