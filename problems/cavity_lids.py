"""Stream functions that satisfy the boundary conditions of a driven cavity and leave a smooth rest.

Four walls: ψ = 0 and ∂ψ/∂n = 0, but ψ_y = lid(x) on y = 1. A lid of constant speed is discontinuous at the upper
corners; near one of them, with distances X to the wall and Y to the lid and θ = atan2(Y, X), the flow is that of the
paint scraper (Taylor 1960; taken out of the unknown as by Botella & Peyret, Comput. Fluids 27, 1998)

    ψ₁ = b Y + θ (c X + d Y) = r f(θ)    c = 1/(π²/4 - 1),  d = π c/2,  b = -π² c/4,    Δ²ψ₁ = 0

What the two of them leave on the other walls is taken away by Hermite interpolation between opposite walls. Their
convection is the next term, of opposite signs in the two corners, cut off at some distance:

    ψ₂ = ± Re r² F(θ)    F'''' + 4 F'' = (f (f + f''))',  F = F' = 0 on wall and lid
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

C = 1.0 / (pi**2 / 4 - 1)
D = pi * C / 2
B = -(pi**2) * C / 4
NEAR = 0.05  # square of the distance to a corner within which rows lose weight
REACH = 0.5  # distance from a corner at which its second term has ended
TINY = 1e-12  # keeps the angle differentiable in the corner itself


def scraper(x: Tensor, y: Tensor) -> Tensor:
    """ψ of the corner at distances x from the wall and y from the lid, which moves with speed one."""
    return B * y + torch.atan2(y, x + TINY) * (C * x + D * y)


def scraper_x(x: Tensor, y: Tensor) -> Tensor:
    """∂ψ/∂x of the corner."""
    return C * torch.atan2(y, x) - y * (C * x + D * y) / (x * x + y * y)


def scraper_y(x: Tensor, y: Tensor) -> Tensor:
    """∂ψ/∂y of the corner."""
    return B + D * torch.atan2(y, x) + x * (C * x + D * y) / (x * x + y * y)


def _convected() -> tuple[float, ...]:
    """F in terms of 1, θ and cos 2θ, sin 2θ times 1, θ, θ²."""
    right, quarter = (B * D, B * C, 2 * C * D, D**2 - C**2), pi / 2  # f (f + f'') in sin, cos, θ cos, θ sin of 2θ
    square = -right[2] / 16, -right[3] / 16
    linear = -right[1] / 8 - 3 * right[3] / 32, -right[0] / 8 + 3 * right[2] / 32
    slope = quarter * (linear[1] + square[0]) + quarter**2 * square[1]
    cosine = (quarter * (slope - linear[0]) - quarter**2 * square[0]) / 2
    return (-cosine, slope, cosine, -(slope + linear[0]) / 2, *linear, *square)


CONVECTED = _convected()


def convected(x: Tensor, y: Tensor) -> Tensor:
    """R² F(θ) of the corner."""
    angle = torch.atan2(y, x + TINY)
    cosine, sine = torch.cos(2 * angle), torch.sin(2 * angle)
    basis = (1.0, angle, cosine, sine, angle * cosine, angle * sine, angle**2 * cosine, angle**2 * sine)
    return (x * x + y * y) * sum(q * part for q, part in zip(CONVECTED, basis, strict=True))


def constant(z: Tensor, reynolds: float) -> Tensor:
    """Lid speed 1; z (m, 2), shape (m,)."""
    x, y = z[:, 0], 1.0 - z[:, 1]
    return _scraped(x, y) + reynolds * (_ended(x, y) - _ended(1.0 - x, y))


def _ended(x: Tensor, y: Tensor) -> Tensor:
    """R² F(θ) near the corner, and 0 beyond."""
    return convected(x, y) * (1.0 - (x * x + y * y) / REACH**2).clamp_min(0.0) ** 6


def _scraped(x: Tensor, y: Tensor) -> Tensor:
    """Both corners, with what they leave on the other walls taken away."""
    one = torch.ones_like(x)
    bow = x * (1.0 - x)
    value, slope = (sum(f(side, one) for side in (x, 1.0 - x)) for f in (scraper, scraper_y))
    value = value - scraper(one, one) + bow * scraper_x(one, one)
    slope = slope - scraper_y(one, one) + bow * (C - D) / 2
    walls = scraper(one, y) - bow * scraper_x(one, y)
    rest = walls + y * y * (3.0 - 2.0 * y) * value + y * y * (y - 1.0) * slope
    return scraper(x, y) + scraper(1.0 - x, y) - rest


def smooth(z: Tensor, reynolds: float) -> Tensor:
    """Lid speed 16 x² (1 - x)², which vanishes at the corners with its slope; z (m, 2), shape (m,)."""
    x, y = z[:, 0], z[:, 1]
    return 16.0 * (x * (1.0 - x)) ** 2 * y * y * (y - 1.0)


def weight(z: Tensor) -> Tensor:
    """Of the equation at z (m, 2), like the square of the distance near the upper corners; shape (m,)."""
    left, right = ((corner - z[:, 0]) ** 2 + (1.0 - z[:, 1]) ** 2 for corner in (0.0, 1.0))
    return left / (left + NEAR) * right / (right + NEAR)


LIDS: dict[str, Callable[[Tensor, float], Tensor]] = {"constant": constant, "smooth": smooth}
