"""Discretized problems: our levels beside scipy's single-level Newton methods and nested Newton with pyamg.

Work is the flops of everything (values, gradients, products, transfers, on all levels) over those of one Hessian
product on the finest grid. The residual is ‖∇f‖₂/h, the norm of L² of the differential equation.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyamg
import scipy.optimize
import scipy.sparse.linalg
import torch
from torch import Tensor

import multilevel_opt as mlo
from benchmarks.measure import show
from problems import Bratu, ConvexExponential, MinimalSurface
from problems.grid import GridProblem

Array = npt.NDArray[np.float64]
PROBLEMS: dict[str, type[GridProblem]] = {
    "convex-exponential": ConvexExponential,
    "bratu": Bratu,
    "minimal-surface": MinimalSurface,
}
TARGETS = (1e-4, 1e-6)
LEVELS = {63: 4, 127: 5, 191: 6, 200: 6, 255: 6, 511: 7}
LIMIT = 60.0  # seconds of a run
STARTS = [(kind, a, seed) for kind in ("random", "positive") for a in (1.0, 6.0) for seed in (0, 1)]
STARTS += [("smooth", a, 0) for a in (1.0, -3.0, 6.0)] + [("zero", 1.0, 0)]

PLAIN = mlo.OnOneLevel(mlo.Steihaug(max_products=5))


def cycle(shape: str, nested: bool, smoother: Any = PLAIN) -> mlo.Multilevel:
    """TR2 with a fixed cycle of coarse steps."""
    options = mlo.Cycle(shape=shape, nested=nested, coarse_iterations=20, reduction=1e-2, kappa=1e-3)
    return mlo.TR2.replace(cycle=options, smoother=smoother)


CYCLES = {
    "TR2 (default)": mlo.TR2,
    "AR2 (default)": mlo.AR2,
    "TR2, not nested": mlo.TR2.replace(cycle=mlo.Cycle(contraction=0.5, nested=False)),
    "V, CG(5)": cycle("V", False),
    "W, CG(5)": cycle("W", False),
    "F, CG(5)": cycle("F", False),
    "nested, V, CG(5)": cycle("V", True),
    "nested, V, multigrid": cycle("V", True, mlo.MultigridCG()),
    "free, CG(5)": mlo.TR2.replace(cycle=mlo.Cycle(nested=False, coarse_iterations=4), smoother=PLAIN),
}


@dataclass
class Marks:
    """Work and seconds at which the residual first met each target."""

    unit: float
    scale: float
    found: dict[float, tuple[float, float]] = field(default_factory=dict)

    def see(self, gradient_norm: float, flops: float, seconds: float) -> bool:
        for target in TARGETS:
            if gradient_norm / self.scale <= target:
                self.found.setdefault(target, (flops / self.unit, seconds))
        return len(self.found) == len(TARGETS)

    def cells(self) -> list[str]:
        return [f"{self.found[t][0]:.0f}; {self.found[t][1]:.2f} s" if t in self.found else "-" for t in TARGETS]


def run(seeds: Sequence[int]) -> None:
    for name, problem in PROBLEMS.items():
        for n in (63, 255):
            rows = [[label, *ours(problem(n=n), solver).cells()] for label, solver in CYCLES.items()]
            for label, peer in PEERS.items():
                rows.append([label, *peer(problem(n=n)).cells()])
            title = f"{name}, {n} x {n} unknowns from zero: work; seconds to a residual"
            show(title, ["method", *(f"{t:g}" for t in TARGETS)], rows)
    robustness(255, ("TR2 (default)", "AR2 (default)"))
    sizes()
    robustness(63, ("TR2, not nested",))


def robustness(n: int, labels: Sequence[str]) -> None:
    """Methods from twelve starts."""
    rows = []
    for name, problem in PROBLEMS.items():
        for label in labels:
            runs = [
                ours(problem(n=n, start=kind, amplitude=a, seed=seed), CYCLES[label]).found for kind, a, seed in STARTS
            ]
            reached = [found[TARGETS[1]][0] for found in runs if TARGETS[1] in found]
            work = f"{min(reached):.0f} to {max(reached):.0f}" if reached else "-"
            rows.append([f"{name}, {label}", f"{len(reached)}/{len(runs)}", work])
    show(f"{len(STARTS)} starts, {n} x {n} unknowns, to a residual of {TARGETS[1]:g}", ["", "reached", "work"], rows)


def sizes() -> None:
    """The default method on other grids."""
    rows = []
    for name, problem in PROBLEMS.items():
        cells = [ours(problem(n=n), mlo.TR2).cells()[1] for n in LEVELS]
        rows.append([name, *cells])
    show(f"TR2, work; seconds to a residual of {TARGETS[1]:g}", ["unknowns per side", *map(str, LEVELS)], rows)


def ours(problem: GridProblem, solver: mlo.Multilevel) -> Marks:
    marks = Marks(unit(problem), problem.h)
    marks_seen = lambda event, x: marks.see(event.gradient_norm, event.flops, event.seconds)  # noqa: E731
    stop = mlo.GradientNorm(TARGETS[-1] * problem.h) | mlo.MaxIterations(300) | mlo.MaxSeconds(LIMIT)
    hierarchy = problem.hierarchy(LEVELS[problem.n])
    mlo.minimize(problem.objective, problem.x0, solver, hierarchy=hierarchy, stop=stop, callback=marks_seen)
    return marks


def unit(problem: GridProblem) -> float:
    """Flops of one Hessian product on the finest grid."""
    second = problem.objective.expand(problem.x0, 2).second
    assert second is not None
    return second.operator.flops


class Reached(Exception):
    """Every target was met, or the time is over."""


class Watched:
    """Value, gradient and Hessian product for scipy, counted; stops it at the last target."""

    def __init__(self, problem: GridProblem) -> None:
        self.ledger = mlo.Ledger()
        self.f = problem.objective.counted(self.ledger)
        self.marks = Marks(unit(problem), problem.h)
        self.started = time.perf_counter()
        self._at: tuple[Array, mlo.Taylor] | None = None

    def model(self, x: Array) -> mlo.Taylor:
        if self._at is None or not np.array_equal(self._at[0], x):
            self._at = x.copy(), self.f.expand(torch.from_numpy(x.copy()), 2)
        return self._at[1]

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        model = self.model(x)
        return float(model.value), model.gradient.numpy().copy()

    def product(self, x: Array, v: Array) -> Array:
        return self.model(x).forms[1](torch.from_numpy(np.ascontiguousarray(v))).numpy()

    def look(self, x: Array, *rest: Any) -> None:
        norm = float(self.model(np.asarray(x)).gradient.norm())
        seconds = time.perf_counter() - self.started
        if self.marks.see(norm, self.ledger.flops, seconds) or seconds > LIMIT:
            raise Reached


def scipy_newton(problem: GridProblem, method: str) -> Marks:
    watched = Watched(problem)
    options: dict[str, Any] = {"maxiter": 1000}
    options |= (
        {"xtol": 1e-16}
        if method == "Newton-CG"
        else {"gtol": 1e-12, "initial_trust_radius": 10.0, "max_trust_radius": 1e6}
    )
    with contextlib.suppress(Reached):
        scipy.optimize.minimize(
            watched.value_and_gradient,
            problem.x0.numpy(),
            jac=True,
            hessp=watched.product,
            method=method,
            callback=watched.look,
            options=options,
        )
    return watched.marks


def nested_newton(problem: GridProblem) -> Marks:
    """Nested iteration with the lifts of ours; Newton steps by conjugate gradients with one pyamg V-cycle each.

    The set-up of pyamg counts in seconds, not in work. A V-cycle has one symmetric Gauss–Seidel sweep before and one
    after, each of two passes over the matrix, one residual and two transfers on each level.
    """
    levels = problem.hierarchy(LEVELS[problem.n])
    marks, started, flops = Marks(unit(problem), problem.h), time.perf_counter(), 0.0
    x = torch.zeros(levels.sizes[-1], dtype=torch.float64)
    objectives = [problem.objective, *(level.objective for level in levels)]
    for number in range(len(levels) - 1, -1, -1):
        ledger = mlo.Ledger()
        objective = objectives[number]
        assert objective is not None
        f = objective.counted(ledger)
        if number < len(levels) - 1:
            transfer = levels.levels[number].transfer
            assert transfer is not None
            assert transfer.lift is not None
            x = transfer.lift.matvec(x)
            flops += 2.0 * transfer.lift.nnz
        first = 0.0
        for _ in range(30):
            model = f.expand(x, 2)
            norm = float(model.gradient.norm())
            first = first or norm
            if number == 0 and marks.see(norm, flops + ledger.flops, time.perf_counter() - started):
                break
            if number > 0 and norm <= 1e-2 * first:
                break
            step, spent = _newton_step(model)
            flops += spent
            x = x + step
        flops += ledger.flops
    return marks


def _newton_step(model: mlo.Taylor) -> tuple[Tensor, float]:
    """H s = −g to a hundredth; returns s and the flops."""
    assert model.second is not None
    matrix = scipy.sparse.csr_matrix(model.second.operator.to_scipy(model.gradient))  # type: ignore[attr-defined]
    levels = pyamg.ruge_stuben_solver(matrix, max_coarse=50)
    seen: list[float] = []
    s = levels.solve(-model.gradient.numpy(), tol=1e-2, accel="cg", residuals=seen, maxiter=30)
    iterations = len(seen) - 1
    cycle = sum(5 * level.A.nnz + 2 * level.P.nnz for level in levels.levels[:-1]) + levels.levels[-1].A.shape[0] ** 2
    return torch.from_numpy(s), iterations * 2.0 * (matrix.nnz + cycle)


PEERS: dict[str, Callable[[GridProblem], Marks]] = {
    "scipy Newton-CG, one level": lambda problem: scipy_newton(problem, "Newton-CG"),
    "scipy trust-ncg, one level": lambda problem: scipy_newton(problem, "trust-ncg"),
    "nested Newton, CG with pyamg": nested_newton,
}
