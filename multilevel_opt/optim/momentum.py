"""What momentum does, by modified equations (Kovachki & Stuart 2021): conversions and a diagnostic.

For u⁺ = u + μ(u − u⁻) − h ∇Φ(u + a(u − u⁻)), with a = 0 (heavy ball) or a = μ (Nesterov) and μ̄ = 1/(1 − μ), the
iterates follow, up to O(h) and O(h²),

    u̇ = −μ̄ ∇Φ(u),     u̇ = −μ̄ ∇Φ_h(u),   Φ_h = Φ + ½ h (μ̄ − ½ − a) μ̄ ‖∇Φ‖².

So momentum is gradient descent with the learning rate h μ̄, and with a penalty on the gradient: for μ = 0.9 of 47.5 h
in place of 0.25 h.
"""

from __future__ import annotations

from multilevel_opt.errors import InputError


def effective_rate(lr: float, momentum: float) -> float:
    """The learning rate h/(1 − μ) of the gradient descent that momentum amounts to; raises ``InputError``."""
    _check(lr, momentum)
    return lr / (1.0 - momentum)


def converted_rate(lr: float, momentum: float, to: float) -> float:
    """The learning rate for momentum ``to`` with the same effective rate; raises ``InputError``."""
    _check(lr, to)
    return effective_rate(lr, momentum) * (1.0 - to)


def implicit_penalty(lr: float, momentum: float = 0.0, *, nesterov: bool = False) -> float:
    """The weight c of the penalty c‖∇Φ‖² that is added to Φ implicitly.

    Args:
        lr: h.
        momentum: μ in [0, 1).
        nesterov: a = μ in place of a = 0.

    Raises:
        InputError: an argument out of range.
    """
    slow = effective_rate(1.0, momentum)
    _check(lr, momentum)
    return 0.5 * lr * (slow - 0.5 - (momentum if nesterov else 0.0)) * slow


def _check(lr: float, momentum: float) -> None:
    if not (0 < lr < float("inf") and 0 <= momentum < 1):
        raise InputError(f"lr={lr}, momentum={momentum}: give lr > 0 and 0 <= momentum < 1")
