"""Activations with their derivatives of any order, from one evaluation of tanh, the logistic function or sin.

A second-order equation needs σ'' in its residual and σ''' in its Jacobian. With t = tanh(z) and
s = 1 − t² they are σ' = s, σ'' = −2 t s, σ''' = s (4 − 6 s); with p = 1/(1 + e⁻ᶻ) and s = p (1 − p)
they are σ'' = s (1 − 2 p), σ''' = s (1 − 6 s). In general σ^(k) = s Q_k with polynomials Q_k in t or p,

    Q₁ = 1,    Q_(k+1) = (s Q_k)'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from multilevel_opt.errors import InputError


@dataclass(frozen=True)
class Activation:
    """An elementwise function with derivatives.

    Attributes:
        derivatives: (a, order) -> [σ(a), σ'(a), ..., σ^(order)(a)] for order >= 0, each of the shape,
            dtype and device of a; made of operations that ``torch.func`` takes.
        steepness: how fast the function varies with its argument, relative to tanh (tanh(z/2): 0.5);
            initial weights are divided by it.
    """

    derivatives: Callable[[Tensor, int], list[Tensor]]
    steepness: float = 1.0


TANH = (1.0, 0.0, -1.0)  # s as a polynomial in t
LOGISTIC = (0.0, 1.0, -1.0)  # s as a polynomial in p


@lru_cache(maxsize=64)
def _cofactor(slope: tuple[float, ...], order: int) -> tuple[float, ...]:
    """Coefficients of Q_k, from the constant on, for s of the coefficients ``slope`` and k >= 1."""
    q = Polynomial([1.0])
    for _ in range(order - 1):
        q = (Polynomial(slope) * q).deriv()
    return tuple(map(float, q.coef))


def _further(value: Tensor, s: Tensor, slope: tuple[float, ...], orders: range) -> list[Tensor]:
    """S Q_k(value) for the orders k."""
    found = []
    for order in orders:
        *rest, top = _cofactor(slope, order)
        q = torch.full_like(value, top)
        for coefficient in reversed(rest):
            q = q * value + coefficient
        found.append(s * q)
    return found


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
    return out + _further(t, s, TANH, range(4, order + 1))


def _half_tanh(a: Tensor, order: int) -> list[Tensor]:
    return [d * 0.5**k if k else d for k, d in enumerate(_tanh(0.5 * a, order))]


def _logistic_slopes(p: Tensor, order: int) -> list[Tensor]:
    """[p, p', ..., p^(order)] for the logistic function p."""
    if order == 0:
        return [p]
    s = torch.addcmul(p, p, p, value=-1.0)
    out = [p, s]
    if order >= 2:
        out.append(torch.addcmul(s, p, s, value=-2.0))
    if order >= 3:
        out.append(torch.addcmul(s, s, s, value=-6.0))
    return out + _further(p, s, LOGISTIC, range(4, order + 1))


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
    turn = [sine, cosine, -sine, -cosine] if order > 1 else [sine, cosine]
    return [turn[k % 4] for k in range(order + 1)]


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(_tanh),
    "half-tanh": Activation(_half_tanh, steepness=0.5),
    "sigmoid": Activation(_logistic, steepness=0.5),
    "softplus": Activation(_softplus, steepness=0.5),
    "sin": Activation(_sin, steepness=0.7),  # one wave number each, where tanh has many: those drawn reach ω
}


def activation(name: str) -> Activation:
    """The activation of that name.

    Raises:
        InputError: no activation has that name; the message lists those that exist.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"activation {name!r} is unknown: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
