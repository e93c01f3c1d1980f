"""Which neurons make the subnetwork of the next cycle.

A rule is a function of the current point, chosen anew at every cycle, and keeps no state: the random ones
draw from a generator seeded by (seed, cycle), so an interrupted run continues with the same choices.
In w_i (input weights) and v_i (output weights) of neuron i of a network with one hidden layer:

    largest         ‖w_i‖ is among the largest
    largest-output  ‖v_i‖ ‖w_i‖² is among the largest (the neuron's share in second derivatives)
    random          any, all alike
    weighted        drawn one after the other with probability proportional to ‖w_i‖
                    (by exponential keys: Efraimidis and Spirakis 2006)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from multilevel_opt.errors import InputError, NonFiniteError, ShapeError, UnsupportedCombination
from multilevel_opt.objective.layout import Layout

Seed = int | tuple[int, ...]
NeuronRule = Callable[[Tensor, Layout, int, Seed], Tensor]
"""(x of shape (n,), layout, count, seed or (seed, cycle)) -> ascending int64 indices of shape (count,)."""


def choose(name: str, x: Tensor, layout: Layout, count: int, seed: Seed) -> Tensor:
    """Neurons by the rule of that name.

    Args:
        name: a key of ``RULES``.
        x: the parameters, shape (n,); the indices come on its device.
        layout: layout of x, with one hidden layer.
        count: how many neurons, 1 to r.
        seed: non-negative, for the random rules: (seed, cycle).

    Raises:
        UnsupportedCombination: unknown name, or a layout without exactly one hidden layer.
        ShapeError: x is not of the layout's size.
        NonFiniteError: x has NaN or infinite entries.
        InputError: count outside 1..r.
    """
    if name not in RULES:
        raise UnsupportedCombination(f"unknown rule '{name}' of choice: use one of {', '.join(RULES)}")
    return RULES[name](x, layout, count, seed)


def largest(x: Tensor, layout: Layout, count: int, seed: Seed) -> Tensor:
    """The neurons with the largest ‖w_i‖; arguments and errors as ``choose``, the seed is not used."""
    _checked(x, layout, count)
    return _top(_norms(x, layout, axis=0), count, x)


def largest_output(x: Tensor, layout: Layout, count: int, seed: Seed) -> Tensor:
    """The neurons with the largest ‖v_i‖ ‖w_i‖²; arguments and errors as ``choose``, the seed is not used."""
    _checked(x, layout, count)
    return _top(_norms(x, layout, axis=1) * _norms(x, layout, axis=0) ** 2, count, x)


def random(x: Tensor, layout: Layout, count: int, seed: Seed) -> Tensor:
    """Any neurons, all alike; arguments and errors as ``choose``."""
    _checked(x, layout, count)
    return _top(np.random.default_rng(seed).random(layout.widths[0]), count, x)


def weighted(x: Tensor, layout: Layout, count: int, seed: Seed) -> Tensor:
    """Neurons drawn with probability proportional to ‖w_i‖, without repetition; as ``choose``."""
    _checked(x, layout, count)
    waits = np.random.default_rng(seed).standard_exponential(layout.widths[0])
    weights = _norms(x, layout, axis=0)
    return _top(weights / np.maximum(waits, np.finfo(np.float64).tiny), count, x)


RULES: dict[str, NeuronRule] = {
    "largest": largest,
    "largest-output": largest_output,
    "random": random,
    "weighted": weighted,
}


def _checked(x: Tensor, layout: Layout, count: int) -> None:
    if len(layout.widths) != 1:
        raise UnsupportedCombination(
            f"neurons are chosen in networks with one hidden layer, this one has {len(layout.widths)}: "
            "use an interpolation per layer"
        )
    if x.shape != (layout.size,):
        raise ShapeError(f"the point must have shape ({layout.size},), got {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        raise NonFiniteError("the point has NaN or infinite entries: no neuron can be chosen by size")
    if not 1 <= count <= layout.widths[0]:
        raise InputError(f"a subnetwork has 1 to {layout.widths[0]} neurons, got {count}")


def _norms(x: Tensor, layout: Layout, axis: int) -> npt.NDArray[np.float64]:
    """Norms of the weights whose hidden neurons are counted by ``axis`` (0: w_i, 1: v_i), shape (r,)."""
    squares = np.zeros(layout.widths[0])
    for block in layout.blocks:
        if len(block.shape) == 2 and block.neurons[axis] == 0:
            weights = x.detach()[block.start : block.start + block.size].reshape(block.shape)
            squares += weights.to(torch.float64).square().sum(1 - axis).cpu().numpy()
    return np.sqrt(squares)


def _top(scores: npt.NDArray[Any], count: int, x: Tensor) -> Tensor:
    """Ascending indices of the largest scores; of equal ones the first."""
    order = np.argsort(-scores, kind="stable")
    return torch.as_tensor(np.sort(order[:count]).astype(np.int64), device=x.device)
