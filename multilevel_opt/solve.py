"""From a problem and the name of a method to a result and its record: what the command line calls.

A method is a line of ``METHODS``: a solver and how its hierarchy is built.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from torch import Tensor

from multilevel_opt import build, neurons
from multilevel_opt.api import Callback, minimize, start_point, within_memory
from multilevel_opt.bounds import region
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.globalization import Regularization
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.policy import GainRatio
from multilevel_opt.problem import Problem, completed
from multilevel_opt.record import card_of, record_of
from multilevel_opt.result import Event, Result
from multilevel_opt.state import Cycle
from multilevel_opt.stopping import GradientNorm, Loss, MaxIterations, MaxSeconds, Metric, Stop
from multilevel_opt.subproblem import DampedLeastSquares, Lanczos, Nested, Steihaug
from multilevel_opt.variants import AR1, AR2, AR3, CURVATURES, LM, RLM, TR1, TR2, with_curvature

Builder = Callable[[Any, Any, Tensor, int, int], Hierarchy]  # (problem, objective, x0, levels, seed)


@dataclass(frozen=True)
class Method:
    """A solver and its hierarchy.

    Attributes:
        solver: the configuration.
        build: (problem, objective, x0, levels, seed) -> hierarchy, by coarsening; the first that fits is the
            default. Empty for single-level methods.
        summary: one line for the command line.
        levels: default number of levels.
    """

    solver: Multilevel
    summary: str
    build: Mapping[str, Builder] | None = None
    levels: int = 1


def _offered(problem: Any, f: Any, x: Tensor, levels: int, seed: int, coarsening: str) -> Hierarchy:
    """The hierarchy that the problem itself offers."""
    if levels == 1:
        return Hierarchy(x.numel())
    offer = getattr(problem, "hierarchy", None)
    if offer is None:
        raise UnsupportedCombination(
            f"{type(problem).__name__} offers no hierarchy: use one level, or a problem with a method "
            "hierarchy(levels, coarsening)"
        )
    made: Hierarchy = offer(levels, coarsening)
    return made


def _amg(problem: Any, f: Any, x: Tensor, levels: int, seed: int, model: str) -> Hierarchy:
    return build.amg(f, x, levels, model=model)


def _subnetwork(problem: Any, f: Any, x: Tensor, levels: int, seed: int) -> Hierarchy:
    return neurons.subnetwork(f, x, levels, seed=seed)


def _widths(problem: Any, f: Any, x: Tensor, levels: int, seed: int) -> Hierarchy:
    return neurons.widths(f, x, levels)


def _random(problem: Any, f: Any, x: Tensor, levels: int, seed: int) -> Hierarchy:
    return build.random_subspace(x, levels, seed=seed)


GRIDS: Mapping[str, Builder] = {
    "geometric": partial(_offered, coarsening="geometric"),
    "galerkin": partial(_offered, coarsening="galerkin"),
}
GAIN = Regularization(policy=GainRatio())
METHODS: dict[str, Method] = {
    "lm": Method(LM, "Levenberg-Marquardt on one level, delayed gratification"),
    "lm-published": Method(
        LM.replace(globalization=RLM.globalization), "Levenberg-Marquardt on one level, gain ratio, published constants"
    ),
    "lm-geodesic": Method(
        LM.replace(subproblem=DampedLeastSquares(geodesic=True)), "Levenberg-Marquardt with geodesic acceleration"
    ),
    "rlm": Method(
        RLM,
        "published recursive Levenberg-Marquardt: smaller networks by AMG, first-order coherence",
        {"amg": partial(_amg, model="network")},
        2,
    ),
    "galerkin": Method(
        LM,
        "Levenberg-Marquardt with Galerkin levels f(x + P s), coherent to every order",
        {"subnetwork": _subnetwork, "amg": partial(_amg, model="galerkin"), "random": _random},
        2,
    ),
    "nested": Method(
        LM.replace(cycle=Cycle(shape="cascade", nested_reduction=1e-6, nested_iterations=1000, nested_stagnation=0.1)),
        "Levenberg-Marquardt with nested iteration over width: the smallest network first",
        {"widths": _widths},
        2,
    ),
    "ar1": Method(AR1, "first order, quadratic regularization", GRIDS),
    "ar2": Method(AR2, "second order, cubic regularization (ARC), weight by interpolation", GRIDS),
    "ar2-gain": Method(AR2.replace(globalization=GAIN), "AR2 with the published gain-ratio rule"),
    "ar3": Method(AR3, "third order, quartic regularization, pre-rejection, weight by interpolation"),
    "ar3-gain": Method(AR3.replace(globalization=GAIN), "AR3 with the published gain-ratio rule"),
    "ar3-plain": Method(AR3.replace(subproblem=Nested(AR2, prerejection=False)), "AR3 without pre-rejection"),
    "tr1": Method(TR1, "first order, trust region", GRIDS),
    "tr2": Method(TR2, "second order, trust region, exact steps (beyond 100 unknowns GLTR)", GRIDS),
    "tr2-gltr": Method(TR2.replace(subproblem=Lanczos()), "TR2 with GLTR steps at every size"),
    "tr2-steihaug": Method(TR2.replace(subproblem=Steihaug()), "TR2 with truncated conjugate gradients"),
}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        result: of the solver.
        hierarchy: that was used.
        record: the JSON object that describes the run (docs/reference.md, "Result format").
    """

    result: Result
    hierarchy: Hierarchy
    record: dict[str, Any]

    def _repr_html_(self) -> str:
        """The run as a notebook shows it."""
        return card_of(self.record)


def solve(
    problem: Problem,
    method: str | None = None,
    *,
    name: str | None = None,
    levels: int | None = None,
    coarsening: str | None = None,
    curvature: str | None = None,
    cycle: Mapping[str, float] | None = None,
    until: Mapping[str, float] | None = None,
    max_iterations: int = 1000,
    max_seconds: float | None = None,
    memory: float | None = None,
    callback: Callback | None = None,
    listener: Callable[[Event], None] | None = None,
    announce: Callable[[Hierarchy], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Run:
    """Solve a problem by a method of the table.

    Args:
        problem: see ``Problem`` and ``completed``.
        method: a key of ``METHODS``; None: see ``default_method``.
        name: of the problem, for the record.
        levels: number of levels; None for the method's default.
        coarsening: a key of the method's ``build``; None for the first of them that fits the problem.
        curvature: a key of ``variants.CURVATURES``; None for the method's own.
        cycle: options of ``Cycle`` by name, in place of those of the method.
        until: targets by name: "loss", "gradient_norm", or a metric of the problem; the first one reached stops.
        max_iterations: limit of iterations of the finest level.
        max_seconds: limit of seconds of solving.
        memory: budget in bytes for dense linear algebra.
        callback: as for ``minimize``.
        listener: as for ``minimize``.
        checkpoint: as for ``minimize``.
        resume: as for ``minimize``.
        announce: called with the hierarchy before the first iteration.

    Returns:
        Result, hierarchy and record.

    Raises:
        InputError: unknown method, coarsening, curvature or target, or bad start point; one sentence.
    """
    called = name or type(problem).__name__.lower()
    problem = completed(problem)
    method = default_method(problem) if method is None else method
    chosen, n_levels, make = method_of(method, levels, coarsening)
    solver = solver_of(chosen, curvature)
    solver = solver.replace(cycle=cycle_of(solver.cycle, cycle or {}))
    bounds = getattr(problem, "x_bounds", None)
    if solver.curvature.residual and not problem.objective.has_residual:
        others = ", ".join(k for k, other in METHODS.items() if not other.solver.curvature.residual)
        raise UnsupportedCombination(f"method {method!r} needs a residual, and {called} has none: use one of {others}")
    x0 = start_point(problem.x0)
    inside = region(bounds, x0).nearest(x0)
    stop = stop_rule(until or {}, problem.metrics, max_iterations, max_seconds)
    started = time.perf_counter()
    objective = problem.objective
    if isinstance(objective, LeastSquares):
        objective = within_memory(objective, inside, memory)
    hierarchy = make(problem, objective, inside, n_levels, int(problem.parameters.get("seed", 0) or 0))
    setup = time.perf_counter() - started
    if announce is not None:
        announce(hierarchy)
    result = minimize(
        objective,
        x0,
        solver,
        hierarchy=hierarchy,
        bounds=bounds,
        stop=stop,
        callback=callback,
        listener=listener,
        monitors=problem.metrics,
        checkpoint=checkpoint,
        resume=resume,
    )
    kind = solver.curvature.name if solver.order > 1 else None
    return Run(result, hierarchy, record_of(problem, called, method, kind, result, hierarchy, setup, until or {}))


def solver_of(method: Method, curvature: str | None) -> Multilevel:
    """The solver of a method, with the curvature of this name where one is given; raises ``InputError``."""
    if curvature is None:
        return method.solver
    if curvature not in CURVATURES:
        raise InputError(f"unknown curvature {curvature!r}: choose one of {', '.join(CURVATURES)}")
    return with_curvature(method.solver, CURVATURES[curvature])


def default_method(problem: Problem) -> str:
    """``lm`` where the objective has a residual, ``tr2`` where it has none."""
    return "lm" if problem.objective.has_residual else "tr2"


def method_of(method: str, levels: int | None, coarsening: str | None) -> tuple[Method, int, Builder]:
    """The line of ``METHODS``, the number of levels and the builder; raises ``InputError`` for what does not fit."""
    chosen = METHODS.get(method)
    if chosen is None:
        raise InputError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    n_levels = chosen.levels if levels is None else levels
    if n_levels < 1:
        raise InputError(f"levels={n_levels} is out of range: give 1 or more")
    if chosen.build is None:
        if n_levels > 1 or coarsening is not None:
            several = ", ".join(key for key, other in METHODS.items() if other.build is not None)
            raise InputError(f"method {method!r} has one level and no coarsening: use one of {several}")
        return chosen, n_levels, lambda problem, f, x, n, seed: Hierarchy(x.numel())
    if coarsening is None:
        return chosen, n_levels, partial(_first_that_fits, tuple(chosen.build.values()))
    if coarsening not in chosen.build:
        known = ", ".join(chosen.build)
        raise InputError(f"unknown coarsening {coarsening!r} for method {method!r}: choose one of {known}")
    return chosen, n_levels, chosen.build[coarsening]


def cycle_of(cycle: Cycle, options: Mapping[str, float]) -> Cycle:
    """The cycle with some options replaced; raises ``InputError`` for what it does not have or take."""
    for name, value in options.items():
        known = asdict(cycle)
        if name not in known:
            raise InputError(f"unknown option {name!r} of the cycle: the options are {', '.join(known)}")
        if not isinstance(value, int | type(known[name])) or isinstance(value, bool):
            raise InputError(
                f"option {name}={value!r} of the cycle is not like its default {known[name]!r}: correct it"
            )
    return replace(cycle, **options)  # type: ignore[arg-type]


def _first_that_fits(builders: Sequence[Builder], problem: Any, f: Any, x: Tensor, levels: int, seed: int) -> Hierarchy:
    """The first hierarchy that can be built for f (subnetworks need one hidden layer); the last error if none can."""
    for build_one in builders[:-1]:
        with suppress(UnsupportedCombination):
            return build_one(problem, f, x, levels, seed)
    return builders[-1](problem, f, x, levels, seed)


def stop_rule(
    until: Mapping[str, float], metrics: Mapping[str, Any], max_iterations: int, max_seconds: float | None
) -> Stop:
    """The stopping rule of targets and limits; raises ``InputError`` for an unknown target or a bad value."""
    fixed: dict[str, Callable[[float], Stop]] = {"loss": Loss, "gradient_norm": GradientNorm}
    rule: Stop = MaxIterations(max_iterations)
    if max_seconds is not None:
        rule = rule | MaxSeconds(max_seconds)
    for target, value in until.items():
        if not (isfinite(value) and value > 0):
            raise InputError(f"target {target}={value} is out of range: give a positive number")
        if target in fixed:
            rule = fixed[target](value) | rule
        elif target in metrics:
            rule = Metric(target, value) | rule
        else:
            known = ", ".join([*fixed, *metrics])
            raise InputError(f"unknown target {target!r}: choose one of {known}")
    return rule if until else GradientNorm(1e-8) | rule
