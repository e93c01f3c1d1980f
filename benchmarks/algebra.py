"""Linear algebra of damped steps: some rows as preconditioner, and the output layer by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

import multilevel_opt as mlo
from benchmarks.measure import say
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.cholesky import DampedSystem
from multilevel_opt.linalg.krylov import preconditioned
from multilevel_opt.linalg.operator import ByRows
from multilevel_opt.linalg.sampled import SampledInverse
from problems.helmholtz import Helmholtz
from problems.multiscale_poisson import MultiscalePoisson
from problems.poisson import Poisson

POINTS, STEPS, LIMIT, RELATIVE = 8000, (10, 30), 300, (1e-6, 1e-8)
SIZES = (None, 0.0, 0.5, 1.0, 2.0)  # none, Jacobi, rows over n
PROBLEMS: dict[str, Callable[[int], Any]] = {
    "poisson nu=20": lambda seed: Poisson(seed=seed),
    "poisson nu=20 points=200": lambda seed: Poisson(points=200, seed=seed),
    "helmholtz nu=5 points=100 width=64": lambda seed: Helmholtz(points=100, width=64, seed=seed),
    "poisson dim=2 k=1 points=30x30 depth=1 width=400": lambda seed: Poisson(
        dim=2, k=1, points="30x30", depth=1, width=400, seed=seed
    ),
    "poisson dim=2": lambda seed: Poisson(dim=2, seed=seed),
    "helmholtz dim=2": lambda seed: Helmholtz(dim=2, seed=seed),
    "multiscale-poisson": lambda seed: MultiscalePoisson(seed=seed),
}
TARGETS, SECONDS = (1e-6, 1e-10), 40.0


def run(seeds: Sequence[int]) -> None:
    """Both tables."""
    products()
    outputs(seeds[:3])


def products() -> None:
    """Products with JᵀJ to 99 % of the decrease, on Levenberg–Marquardt systems of Helmholtz's equation."""
    fine = Helmholtz(dim=2, points=POINTS).residual
    coarse = Helmholtz(dim=2, points=1000)
    say(f"products with JᵀJ to 99 % of the decrease, {fine.n_rows} rows, {coarse.x0.numel()} parameters")
    say("steps, Λ/s₁²: none, Jacobi, rows n/2, n, 2n")
    for steps in STEPS:
        x = mlo.least_squares(coarse.residual, coarse.x0, stop=mlo.MaxIterations(steps)).x
        r, jacobian = fine.linearize(x)
        top = float(torch.linalg.matrix_norm(jacobian, 2)) ** 2
        for relative in RELATIVE:
            counts = [_counted(jacobian, r, relative * top, size) for size in SIZES]
            say(f"{steps:3d}, {relative:.0e}: " + ", ".join(map(str, counts)))


def _counted(jacobian: Tensor, r: Tensor, damping: float, size: float | None) -> int | str:
    m, n = jacobian.shape
    whole = DampedSystem(r, jacobian, None, jacobian.T @ r, False, Ledger())
    whole.factorize(damping)
    most = -0.5 * float((jacobian.T @ r) @ whole.solve())
    inverse: Callable[[Tensor], Tensor] = lambda v: v  # noqa: E731
    if size == 0.0:
        diagonal = jacobian.square().sum(0) + damping
        inverse = lambda v: v / diagonal  # noqa: E731
    elif size is not None:
        rows = ByRows((m, n), jacobian.mv, jacobian.T.mv, lambda ids: jacobian[ids])
        inverse = SampledInverse(rows, int(size * n), r, Ledger())
        inverse.factorize(damping)
    return _needed(lambda v: jacobian.T @ (jacobian @ v), jacobian.T @ r, damping, inverse, most)


def _needed(
    product: Callable[[Tensor], Tensor], g: Tensor, damping: float, inverse: Callable[[Tensor], Tensor], most: float
) -> int | str:
    """The least number of products, up to a quarter more, after which 99 % of the decrease are found."""
    k = 1
    while k <= LIMIT:
        out = preconditioned(product, g, damping, inverse, 0.0, k)
        decrease = -float(g @ out.step + 0.5 * (out.step @ out.product) + 0.5 * damping * (out.step @ out.step))
        if decrease >= 0.99 * most:
            return k
        k += max(1, k // 4)
    return f">{LIMIT}"


def outputs(seeds: Sequence[int]) -> None:
    """CPU seconds to two errors by ``lm`` and ``lm-features``."""
    say(f"CPU seconds of one thread to relative L2 errors {TARGETS}, at most {SECONDS:g} s; least error; seeds {seeds}")
    for name, make in PROBLEMS.items():
        for method in ("lm", "lm-features"):
            runs = [_timed(make(seed), method) for seed in seeds]
            times = [median(run[0][k] for run in runs) for k in range(len(TARGETS))]
            say(f"{name}: {method} {', '.join(f'{t:.2g}' for t in times)}; {median(run[1] for run in runs):.1e}")


def _timed(problem: Any, method: str) -> tuple[list[float], float]:
    reached = [float("inf")] * len(TARGETS)
    started, errors = time.process_time(), list[float]()

    def note(event: mlo.Event, x: Tensor) -> bool:
        error, spent = event.metrics["relative_l2"], time.process_time() - started
        errors.append(error)
        for k, target in enumerate(TARGETS):
            if error <= target:
                reached[k] = min(reached[k], spent)
        return spent > SECONDS

    problem.objective  # noqa: B018 - made before the clock starts
    started = time.process_time()
    mlo.solve(problem, method, until={"relative_l2": TARGETS[-1]}, callback=note)
    return reached, min(errors)
