"""How many random ridges a wave needs in a box, when one least-squares problem decides their outputs.

Polynomials of degree p resolve a wave of wave number ω on an interval of length L once p exceeds ωL/2, and then gain
digits with every further degree (Trefethen, Approximation Theory and Approximation Practice, 2013, chapter 8: the
Bessel functions J_p(ωL/2)). A tensor product of them has Π (ωᵢLᵢ/2 + MORE) members, and random ridges whose wave
numbers reach ω need about as many (docs/theory.md, "Random features").
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

MORE = 15.0  # degrees beyond resolution in every coordinate: eight digits
WIDEST = 2000  # more ridges cost minutes in one least-squares problem
PER_RIDGE = 2  # points


def ridges_for(sides: Sequence[tuple[float, float]], waves: Sequence[float]) -> int:
    """Ridges for waves up to the wave numbers ``waves`` (radians per unit length) in a box, at most ``WIDEST``."""
    found = prod(wave * (high - low) / 2 + MORE for (low, high), wave in zip(sides, waves, strict=True))
    return min(WIDEST, ceil(found))


def slabs_for(space: Sequence[tuple[float, float]], waves: Sequence[float], cycles: float) -> int:
    """Slabs of time in which ``ridges_for`` needs no more than ``WIDEST``, for ωL/2 = ``cycles`` in the whole time."""
    across = prod(wave * (high - low) / 2 + MORE for (low, high), wave in zip(space, waves, strict=True))
    return max(1, ceil(cycles / max(WIDEST / across - MORE, MORE)))
