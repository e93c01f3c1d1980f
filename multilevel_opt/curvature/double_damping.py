"""Double damping of a pair: bounds for the matrix and for its inverse (Goldfarb, Ren & Bahamou 2020, algorithm 2).

With H the inverse before its update, the step is damped first (Powell's rule on H), then the gradient change:

    s̃ = θs + (1 − θ)Hy     so that  s̃ᵀy ≥ μ₁ yᵀHy     bounds H from above
    ỹ                        so that  s̃ᵀỹ ≥ μ₂ s̃ᵀs̃    bounds H from below

``powell``   ỹ = θy + (1 − θ)s̃, only where the bound is broken, as published; it divides by s̃ᵀs̃ − s̃ᵀy, which vanishes
             for some pair once μ₂ ≥ 1
``shift``    ỹ = y + μ₂s̃ always: regular for every μ₂ (Ren, Bahamou & Goldfarb 2021)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Damping = Callable[[Tensor, Tensor, float], Tensor]


def damped_step(s: Tensor, y: Tensor, image: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """(s̃ of shape (n,), whether it differs from s), from the pair, Hy and μ₁ in (0, 1)."""
    sy, q = torch.dot(s, y), torch.dot(y, image)
    theta = torch.where(sy <= fraction * q, (1 - fraction) * q / (q - sy), torch.ones_like(q))
    return torch.where(theta < 1, theta * s + (1 - theta) * image, s), theta < 1


def powell(s: Tensor, y: Tensor, fraction: float) -> Tensor:
    """ỹ by Powell's rule with the identity for the matrix."""
    sy, ss = torch.dot(s, y), torch.dot(s, s)
    theta = torch.where(sy <= fraction * ss, (1 - fraction) * ss / (ss - sy), torch.ones_like(ss))
    return torch.where(theta != 1, theta * y + (1 - theta) * s, y)


def shift(s: Tensor, y: Tensor, fraction: float) -> Tensor:
    """ỹ = y + μ₂s."""
    return y + fraction * s


DAMPINGS: Mapping[str, Damping] = {"shift": shift, "powell": powell}
