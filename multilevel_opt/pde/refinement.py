"""New points where the residual is large, for the same network and parameters.

``rad``  all points are drawn anew with density |e|^k / mean |e|^k + c (Wu, Zhu, Tan, Kartha & Lu, Comput.
         Methods Appl. Mech. Eng. 403, 2023, equation 2 with k = c = 1)
``rar``  the points stay, and those candidates with the largest |e| join them (Lu, Meng, Mao & Karniadakis,
         SIAM Review 63, 2021, procedure 2.4)
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde.problem import PDEProblem
from multilevel_opt.pde.supply import candidates, drawn

P = TypeVar("P", bound=PDEProblem)


def refined(
    problem: P,
    x: Tensor,
    method: str = "rad",
    *,
    points: int | None = None,
    k: float = 1.0,
    c: float = 1.0,
    seed: int = 0,
) -> P:
    """The same problem with other interior points, chosen by the residual at x, starting from x.

    Args:
        problem: any.
        x: parameters (n,).
        method: a key of ``METHODS``.
        points: of the new problem ("rad") or to be added ("rar"); None: as many as now, or a tenth.
        k: exponent of the residual ("rad").
        c: share of uniform points ("rad").
        seed: of the draw.

    Raises:
        InputError: unknown ``method``, or the residual is not finite at x.
    """
    if method not in METHODS:
        raise InputError(f"refinement {method!r} is unknown: choose one of {', '.join(METHODS)}")
    now = problem.interior_points
    z, size = candidates(problem, x, len(now), seed)
    if not bool(torch.isfinite(size).all()):
        raise InputError("the residual is not finite at the point given: refine at a point that the solver returned")
    chosen = METHODS[method](now, z, size, points, k, c, seed)
    return with_points(problem, chosen, x)


def with_points(problem: P, z: Tensor, x: Tensor) -> P:
    """The same problem with the interior points z (t, d), starting from x; its weights are found anew."""
    other = copy(problem)
    kept = {field.name for field in fields(problem)} | {"place", "frame", "cloud", "network", "_test_points", "_truth"}
    for name in set(vars(other)) - kept:
        del vars(other)[name]
    known = set(map(tuple, problem.interior_points.tolist()))
    new = torch.tensor([tuple(point) not in known for point in z.tolist()], device=z.device)
    vars(other).update(interior_points=z, x0=x.detach().clone(), points=len(z))
    if not bool(new.all()):  # where all points are others, none of them were added
        vars(other).update(_added=new)
    return other


def _rad(now: Tensor, z: Tensor, size: Tensor, points: int | None, k: float, c: float, seed: int) -> Tensor:
    return z[drawn(size, len(now) if points is None else points, k, c, seed)]


def _rar(now: Tensor, z: Tensor, size: Tensor, points: int | None, k: float, c: float, seed: int) -> Tensor:
    count = max(1, len(now) // 10) if points is None else points
    return torch.cat([now, z[size.topk(min(count, len(z))).indices]])


METHODS: dict[str, Callable[[Tensor, Tensor, Tensor, int | None, float, float, int], Tensor]] = {
    "rad": _rad,
    "rar": _rar,
}
