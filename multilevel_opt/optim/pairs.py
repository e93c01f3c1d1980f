"""Which secant pairs a stochastic method takes: a table of rules.

"cautious" takes a pair where sᵀy ≥ ε‖s‖² with ε = 1e-8 (Berahas, Nocedal & Takáč 2016, section 3), and leaves it out
elsewhere. "damped" takes all: where sᵀy < 0.2 yᵀHy, s is moved towards Hy until both are equal (Powell's rule for H, as
in the double damping of Goldfarb, Ren & Bahamou 2020).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multilevel_opt.curvature.inverse import InversePairs

CAUTIOUS, DAMPED = 1e-8, 0.2
Pair = tuple[Tensor, Tensor]
Rule = Callable[[InversePairs, Tensor, Tensor], tuple[Pair | None, bool]]


def cautious(h: InversePairs, s: Tensor, y: Tensor) -> tuple[Pair | None, bool]:
    """The pair as it is, or None; and whether it was damped (never)."""
    sy, ss, yy = _products(s, y)
    good = sy >= CAUTIOUS * ss and sy > torch.finfo(s.dtype).eps * (ss * yy) ** 0.5 and 0 < yy < float("inf")
    return ((s, y) if good else None), False


def damped(h: InversePairs, s: Tensor, y: Tensor) -> tuple[Pair | None, bool]:
    """The pair, damped where it must be, or None where it is not finite or zero; and whether it was damped."""
    sy, ss, yy = _products(s, y)
    if not (0 < ss < float("inf") and 0 < yy < float("inf")):
        return None, False
    if h.count == 0 and sy <= 0:
        return None, False  # H = I has no scale yet
    hy = h.product(y) if h.count else y * (sy / yy)
    q = float(y @ hy)
    if sy >= DAMPED * q:
        return (s, y), False
    t = (1 - DAMPED) * q / (q - sy)
    return (t * s + (1 - t) * hy, y), True


RULES: dict[str, Rule] = {"cautious": cautious, "damped": damped}


def _products(s: Tensor, y: Tensor) -> tuple[float, float, float]:
    """(sᵀy, ‖s‖², ‖y‖²)."""
    sy, ss, yy = torch.stack([s @ y, s @ s, y @ y]).tolist()
    return sy, ss, yy
