"""Bounded problems: iterations, and derivative evaluations, beside scipy's bounded methods.

Quadratic problems ½‖Ax − b‖² in random boxes (50 unknowns; the condition of AᵀA is in the name, the active share
beside it) and a membrane over an obstacle (31 × 31 points). ``TR2``, ``AR2`` and ``LM`` stop at a projected gradient of
1e-8; scipy's L-BFGS-B and trf least squares get their tightest tolerances. All must come within 1e-9 of the minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

import multilevel_opt as mlo
from benchmarks.measure import show, spread

QUADRATIC = {"1e2": (1e2, 2.0), "1e4": (1e4, 10.0), "1e6": (1e6, 100.0)}
SOLVERS = {"tr2": mlo.TR2, "ar2": mlo.AR2, "lm": mlo.LM}
STOP = mlo.GradientNorm(1e-8) | mlo.MaxIterations(1000)
Numbers = dict[str, tuple[float, float]]  # iterations, evaluations


def run(seeds: Sequence[int]) -> None:
    rows = [row(f"quadratic {name}", [quadratic(seed, *QUADRATIC[name]) for seed in seeds]) for name in QUADRATIC]
    rows.append(row("obstacle 31x31", [obstacle(31)]))
    show(
        "Bounds: iterations; products with the Hessian (gradients for L-BFGS-B, Jacobians for LM and trf)",
        ["problem", "active share", *SOLVERS, "L-BFGS-B", "trf"],
        rows,
    )


def row(name: str, outcomes: Sequence[tuple[float, Numbers]]) -> list[str]:
    """Medians and ranges over the seeds; a method counts the seeds that it solved."""
    cells = [name, spread(share for share, _ in outcomes)]
    for method in (*SOLVERS, "L-BFGS-B", "trf"):
        known = [numbers[method] for _, numbers in outcomes if method in numbers]
        short = f" ({len(known)}/{len(outcomes)})" if len(known) < len(outcomes) else ""
        cells.append("; ".join(spread(values) for values in zip(*known, strict=True)) + short if known else "-")
    return cells


def quadratic(seed: int, condition: float, room: float, n: int = 50) -> tuple[float, Numbers]:
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((n + 10, n), (n, n)))
    matrix, b = (left * np.geomspace(1, condition**-0.5, n)) @ right, 3 * rng.standard_normal(n + 10)
    lower, upper = -room * rng.random(n), room * rng.random(n)
    exact = scipy.optimize.lsq_linear(matrix, b, (lower, upper), method="bvls", tol=1e-15, max_iter=5000)
    A, rhs = torch.from_numpy(matrix), torch.from_numpy(b)
    numbers = ours(mlo.LeastSquares(lambda x: A @ x - rhs), np.zeros(n), (lower, upper), exact.cost)
    numbers |= theirs(lambda x: 0.5 * ((A @ x - rhs) ** 2).sum(), np.zeros(n), (lower, upper), exact.cost)
    trf = scipy.optimize.least_squares(
        lambda x: matrix @ x - b,
        np.clip(np.zeros(n), lower, upper),
        jac=lambda x: matrix,
        bounds=(lower, upper),
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-10,
        max_nfev=5000,
    )
    if solved(trf.cost, exact.cost):
        numbers["trf"] = (trf.nfev, trf.njev)
    return float((exact.active_mask != 0).mean()), numbers


def obstacle(n: int) -> tuple[float, Numbers]:
    h = 1 / (n + 1)
    line = torch.linspace(h, 1 - h, n, dtype=torch.float64)
    psi = (0.3 - 2 * ((line[:, None] - 0.5) ** 2 + (line[None, :] - 0.5) ** 2)).reshape(-1)

    def energy(u: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(u.reshape(n, n), (1, 1, 1, 1))
        slopes = ((padded[1:] - padded[:-1]) ** 2).sum() + ((padded[:, 1:] - padded[:, :-1]) ** 2).sum()
        return 0.5 * slopes + 5 * h * h * u.sum()

    bounds, start = (psi.numpy(), np.full(n * n, np.inf)), np.maximum(psi.numpy(), 0.0)
    reference = mlo.minimize(energy, start, mlo.TR2, bounds=bounds, stop=mlo.GradientNorm(1e-12) | STOP)
    active = float((reference.x == psi).to(torch.float64).mean())
    numbers = ours(mlo.Function(energy), start, bounds, reference.fun)
    return active, numbers | theirs(energy, start, bounds, reference.fun)


def ours(f: Any, start: Any, bounds: Any, exact: float) -> Numbers:
    numbers: Numbers = {}
    for name, solver in SOLVERS.items():
        if name == "lm" and not isinstance(f, mlo.LeastSquares):
            continue
        found = mlo.minimize(f, start, solver, bounds=bounds, stop=STOP)
        if found.success and solved(found.fun, exact):
            counts = found.ledgers[0].counts
            numbers[name] = (found.nit, counts["jacobian"] if name == "lm" else counts["hvp"])
    return numbers


def theirs(f: Callable[[Tensor], Tensor], start: Any, bounds: Any, exact: float) -> Numbers:
    gradient = torch.func.grad_and_value(f)

    def both(x: Any) -> tuple[float, Any]:
        slope, value = gradient(torch.from_numpy(x))
        return float(value), slope.numpy()

    options = {"ftol": 1e-16, "gtol": 1e-9, "maxiter": 10_000, "maxfun": 20_000}
    found = scipy.optimize.minimize(
        both, start, jac=True, bounds=scipy.optimize.Bounds(*bounds), method="L-BFGS-B", options=options
    )
    return {"L-BFGS-B": (found.nit, found.nfev)} if solved(found.fun, exact) else {}


def solved(value: float, exact: float) -> bool:
    """Within 1e-9 of the exact minimum, relative to its size."""
    return value <= exact + 1e-9 * max(1.0, abs(exact))
