"""Activations with their first three derivatives, from one evaluation of tanh or the logistic function.

A second-order equation needs σ'' in its residual and σ''' in its Jacobian. With t = tanh(z) and
s = 1 − t² they are σ' = s, σ'' = −2 t s, σ''' = s (4 − 6 s); with p = 1/(1 + e⁻ᶻ) and σ' = p (1 − p)
they are σ'' = σ' (1 − 2 p), σ''' = σ' (1 − 6 σ').
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multilevel_opt.errors import InputError


@dataclass(frozen=True)
class Activation:
    """An elementwise function with derivatives.

    Attributes:
        derivatives: (a, order) -> [σ(a), σ'(a), ..., σ^(order)(a)] for order 0..3, each of the shape,
            dtype and device of a; made of operations that ``torch.func`` takes.
        steepness: how fast the function varies with its argument, relative to tanh (tanh(z/2): 0.5);
            initial weights are divided by it.
    """

    derivatives: Callable[[Tensor, int], list[Tensor]]
    steepness: float = 1.0


def _tanh(a: Tensor, order: int) -> list[Tensor]:
    t = torch.tanh(a)
    if order == 0:
        return [t]
    s = torch.addcmul(a.new_ones(()), t, t, value=-1.0)
    out = [t, s]
    if order >= 2:
        out.append(torch.mul(t, s).mul(-2.0))
    if order >= 3:
        out.append(torch.addcmul(4.0 * s, s, s, value=-6.0))
    return out


def _half_tanh(a: Tensor, order: int) -> list[Tensor]:
    return [d * 0.5**k if k else d for k, d in enumerate(_tanh(0.5 * a, order))]


def _logistic_slopes(p: Tensor, order: int) -> list[Tensor]:
    """[p, p', ..., p^(order)] for the logistic function p, order 0..3."""
    if order == 0:
        return [p]
    s = torch.addcmul(p, p, p, value=-1.0)
    out = [p, s]
    if order >= 2:
        out.append(torch.addcmul(s, p, s, value=-2.0))
    if order >= 3:
        out.append(torch.addcmul(s, s, s, value=-6.0))
    return out


def _logistic(a: Tensor, order: int) -> list[Tensor]:
    return _logistic_slopes(torch.sigmoid(a), order)


def _softplus(a: Tensor, order: int) -> list[Tensor]:
    value = torch.logaddexp(a, torch.zeros_like(a))
    return [value] if order == 0 else [value, *_logistic_slopes(torch.sigmoid(a), order - 1)]


def _sin(a: Tensor, order: int) -> list[Tensor]:
    sine = torch.sin(a)
    if order == 0:
        return [sine]
    cosine = torch.cos(a)
    return [sine, cosine, -sine, -cosine][: order + 1] if order > 1 else [sine, cosine]


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(_tanh),
    "half-tanh": Activation(_half_tanh, steepness=0.5),
    "sigmoid": Activation(_logistic, steepness=0.5),
    "softplus": Activation(_softplus, steepness=0.5),
    "sin": Activation(_sin),
}


def activation(name: str) -> Activation:
    """The activation of that name.

    Raises:
        InputError: no activation has that name; the message lists those that exist.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"activation {name!r} is unknown: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
