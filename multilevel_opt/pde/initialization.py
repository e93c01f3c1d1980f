"""Starting points of fully connected networks.

A network of one hidden layer is a sum of r ridges v σ(w·z + b). It can follow a solution of wave number
ω only if some ridges are about as steep as the solution, |w| ~ ω, and their kinks w·z + b = 0 are spread
over the domain: the ``scaled`` start draws weights and biases on that scale, and output weights of
variance 1/r so that u starts of order one at every width. The ``normal`` start is N(0, 1) throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multilevel_opt.errors import InputError

SPREAD = 0.7  # first-layer weights and biases of the scaled start, relative to ω


@dataclass(frozen=True)
class Plan:
    """What a start depends on.

    Attributes:
        sizes: (in, out) of every layer.
        frequency: largest wave number ω of the solution along one input.
        steepness: of the activation.
    """

    sizes: Sequence[tuple[int, int]]
    frequency: float
    steepness: float


Draws = list[Tensor]


def check_init(name: str) -> None:
    """Raises InputError, listing the choices, if no initialization has that name."""
    if name not in INITIALIZATIONS:
        raise InputError(f"init {name!r} is unknown: choose one of {', '.join(INITIALIZATIONS)}")


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


def _normal(plan: Plan, generator: torch.Generator) -> Draws:
    """Every weight and bias N(0, 1)."""
    return [_randn(generator, sum(n_in * n_out + n_out for n_in, n_out in plan.sizes))]


def _scaled(plan: Plan, generator: torch.Generator) -> Draws:
    """First weights ±a√U(0, 1) and biases U(-a, a), a = SPREAD ω / steepness; then Glorot, output N(0, 1/r).

    The density of a weight grows with its size: fewer flat ridges than under U(-a, a) for the same
    steepest one, and it is the steepest ridges that limit the accuracy between collocation points.
    """
    bound = SPREAD * plan.frequency / plan.steepness
    first, *others, last = plan.sizes
    parts = [_slopes(generator, bound, first[1], first[0]), _uniform(generator, bound, first[1])]
    for n_in, n_out in others:
        glorot = (6.0 / (n_in + n_out)) ** 0.5 / plan.steepness
        parts += [_uniform(generator, glorot, n_out, n_in), _zeros(n_out)]
    return [*parts, _randn(generator, last[1] * last[0]) * last[0] ** -0.5, _zeros(last[1])]


INITIALIZATIONS: dict[str, Callable[[Plan, torch.Generator], Draws]] = {
    "normal": _normal,
    "scaled": _scaled,
}


def draw(init: str, plan: Plan, seed: int) -> Tensor:
    """A starting vector (n,), drawn on the CPU in float64: one seed, one start on every device.

    Raises:
        InputError: unknown ``init``.
    """
    check_init(init)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    parts = INITIALIZATIONS[init](plan, generator)
    return torch.cat([part.reshape(-1) for part in parts])
