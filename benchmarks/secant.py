"""Secant curvature beside scipy's BFGS and L-BFGS-B: evaluations until ‖∇f‖ ≤ 1e-6 ‖∇f(x₀)‖, on small problems.

The problems are those of ``tests/references/mgh.py`` and some of more unknowns. Trial points and gradients are given
relative to the evaluations of scipy's BFGS, which always asks for both; a problem not solved counts as infinite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from torch import Tensor

import multilevel_opt as mlo
from benchmarks.measure import say, short, show
from multilevel_opt.subproblem.base import Subproblem
from tests.references.mgh import MGH

TOLERANCE = 1e-6
LIMIT = 1000  # iterations of ours, evaluations of scipy's

Problem = tuple[Callable[[Tensor], Tensor], Tensor]
Counts = tuple[float, float]  # trial points, gradients; infinite where not solved


class Reached(Exception):
    """The tolerance or the limit was reached."""


def chained_rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def extended_rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2).sum()


def extended_powell(x: Tensor) -> Tensor:
    a, b, c, d = x.reshape(-1, 4).T
    return ((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4).sum()


def trigonometric(x: Tensor) -> Tensor:
    i = torch.arange(1, x.numel() + 1, dtype=x.dtype)
    return (x.numel() - torch.cos(x).sum() + i * (1 - torch.cos(x)) - torch.sin(x)).square().sum()


def variably_dimensioned(x: Tensor) -> Tensor:
    t = (torch.arange(1, x.numel() + 1, dtype=x.dtype) * (x - 1)).sum()
    return (x - 1).square().sum() + t**2 + t**4


def energy(u: Tensor) -> Tensor:
    """∫ ½u'² + eᵘ on a grid."""
    end, h = u.new_zeros(1), 1 / (u.numel() + 1)
    padded = torch.cat([end, u, end])
    return (padded[1:] - padded[:-1]).square().sum() / (2 * h) + h * torch.exp(u).sum()


def problems() -> dict[str, Problem]:
    def repeated(*values: float, n: int) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).repeat(n // len(values))

    found: dict[str, Problem] = {name: (p.value, p.start) for name, p in MGH.items()}
    found["chained Rosenbrock 10"] = chained_rosenbrock, repeated(-1.2, 1.0, n=10)
    found["extended Rosenbrock 100"] = extended_rosenbrock, repeated(-1.2, 1.0, n=100)
    found["extended Powell 40"] = extended_powell, repeated(3.0, -1.0, 0.0, 1.0, n=40)
    found["Broyden tridiagonal 100"] = MGH["Broyden tridiagonal"].value, repeated(-1.0, n=100)
    found["trigonometric 20"] = trigonometric, repeated(1 / 20, n=20)
    found["variably dimensioned 10"] = variably_dimensioned, 1 - torch.arange(1, 11, dtype=torch.float64) / 10
    found["energy 60"] = energy, torch.linspace(-1, 1, 60, dtype=torch.float64) ** 3
    return found


def solvers() -> dict[str, Callable[[Problem], Counts]]:
    """Every row of the table."""
    rows: dict[str, Callable[[Problem], Counts]] = {
        "scipy BFGS": lambda p: theirs(p, "BFGS", gtol=0, maxiter=100 * LIMIT),
        "scipy L-BFGS-B": lambda p: theirs(p, "L-BFGS-B", gtol=0, ftol=0, maxiter=100 * LIMIT, maxfun=100 * LIMIT),
    }
    secant = [mlo.BFGS(), mlo.SR1(), mlo.LBFGS(), mlo.LSR1()]
    chosen: dict[str, Any] = {f"TR2 {c.name}": mlo.with_curvature(mlo.TR2, c) for c in secant}
    chosen |= {f"AR2 {c.name}": mlo.with_curvature(mlo.AR2, c) for c in secant}
    variants: dict[str, Any] = {
        "lbfgs, memory 5": mlo.LBFGS(memory=5),
        "lbfgs, memory 20": mlo.LBFGS(memory=20),
        "lsr1, memory 5": mlo.LSR1(memory=5),
        "bfgs, damping 0.2": mlo.BFGS(damping=0.2),
        "bfgs, patience 4": mlo.BFGS(patience=4),
        "sr1, tolerance 1e-4": mlo.SR1(tolerance=1e-4),
        **{f"{c.name}, pairs of rejected steps": replace(c, learn_from_rejected=True) for c in secant},
    }
    chosen |= {f"TR2 {name}": mlo.with_curvature(mlo.TR2, c) for name, c in variants.items()}
    loose: Subproblem = mlo.Steihaug()
    chosen["TR2 lbfgs, steps as rough as with exact products"] = mlo.TR2.replace(curvature=secant[2], subproblem=loose)
    rows |= {name: lambda p, solver=solver: ours(p, solver) for name, solver in chosen.items()}
    return rows


def run(seeds: Sequence[int]) -> None:
    known = problems()
    counts = {name: [solve(problem) for problem in known.values()] for name, solve in solvers().items()}
    base = [max(trials, 1.0) for trials, _ in counts["scipy BFGS"]]
    rows = [[name, *summary(found, base)] for name, found in counts.items()]
    title = f"{len(known)} problems, to a gradient {TOLERANCE:g} of the first; relative to evaluations of scipy BFGS"
    show(title, ["solver", "solved", "trial points, median", "gradients, median"], rows)
    say(f"evaluations of scipy BFGS: {', '.join(f'{name} {n:g}' for name, n in zip(known, base, strict=True))}\n")


def summary(found: Sequence[Counts], base: Sequence[float]) -> list[str]:
    solved = sum(trials < inf for trials, _ in found)
    columns = ([count / b for count, b in zip(column, base, strict=True)] for column in zip(*found, strict=True))
    return [f"{solved}/{len(found)}", *(short(median(column)) for column in columns)]


def ours(problem: Problem, solver: mlo.Multilevel) -> Counts:
    f, x0 = problem
    first = float(mlo.Function(f).expand(x0, 1).gradient.norm())
    result = mlo.minimize(f, x0, solver, stop=mlo.GradientNorm(TOLERANCE * first) | mlo.MaxIterations(LIMIT))
    count = result.ledgers[0].counts
    return (1.0 + count["function"], float(count["gradient"])) if result.success else (inf, inf)


def theirs(problem: Problem, method: str, **options: Any) -> Counts:
    f, x0 = problem
    norms: list[float] = []

    def value_and_gradient(x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        model = mlo.Function(f).expand(torch.tensor(x), 1)
        norms.append(float(model.gradient.norm()))
        if norms[-1] <= TOLERANCE * norms[0] or len(norms) > LIMIT:
            raise Reached
        return float(model.value), model.gradient.numpy()

    try:
        scipy.optimize.minimize(value_and_gradient, x0.numpy(), jac=True, method=method, options=options)
    except Reached:
        if norms[-1] <= TOLERANCE * norms[0]:
            return float(len(norms)), float(len(norms))
    return inf, inf
