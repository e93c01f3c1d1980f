"""The methods by name: a line of ``METHODS`` is a solver and how its hierarchy is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from multilevel_opt import build, neurons, row_levels
from multilevel_opt.errors import InputError, UnsupportedCombination
from multilevel_opt.globalization import Regularization, TrustRegion
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.output_layer import OutputLayer
from multilevel_opt.policy import ErrorLaw, GainRatio
from multilevel_opt.row_steps import RowLevels
from multilevel_opt.state import Cycle
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

    @property
    def scalar(self) -> str:
        """What the scalar of the globalization is called."""
        return "Δ" if isinstance(self.solver.globalization, TrustRegion) else "λ"


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


def _rows(problem: Any, f: Any, x: Tensor, levels: int, seed: int) -> Hierarchy:
    return row_levels.rows(f, x, levels, fewest=round(FEWEST * x.numel()), seed=seed)


def _random(problem: Any, f: Any, x: Tensor, levels: int, seed: int) -> Hierarchy:
    return build.random_subspace(x, levels, seed=seed)


GRIDS: Mapping[str, Builder] = {
    "geometric": partial(_offered, coarsening="geometric"),
    "galerkin": partial(_offered, coarsening="galerkin"),
}
FEWEST = 1.0  # rows of the coarsest level for every unknown: fewer can be interpolated, and what comes then is lost
REFINED = 4  # times that a finest level which overfits gets more points, where it can have more
GAIN = Regularization(policy=GainRatio())
METHODS: dict[str, Method] = {
    "lm": Method(
        LM.replace(cycle=replace(LM.cycle, refine=REFINED)),
        "Levenberg-Marquardt on one level, delayed gratification; more points where it overfits",
    ),
    "lm-published": Method(
        LM.replace(globalization=RLM.globalization), "Levenberg-Marquardt on one level, gain ratio, published constants"
    ),
    "lm-short": Method(
        LM.replace(globalization=Regularization(power=2, policy=ErrorLaw())),
        "Levenberg-Marquardt on one level, mostly fewer trials of the damping: each tells where the next one goes",
    ),
    "lm-geodesic": Method(
        LM.replace(subproblem=DampedLeastSquares(geodesic=True)), "Levenberg-Marquardt with geodesic acceleration"
    ),
    "lm-features": Method(
        LM.replace(output=OutputLayer()),
        "Levenberg-Marquardt, and the output layer by itself at the start and when steps do little (linear equations)",
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
    "rows": Method(
        RowLevels(
            LM.order,
            LM.globalization,
            LM.subproblem,
            LM.curvature,
            Cycle(nested_reduction=1e-10, nested_iterations=1000, nested_stagnation=0.5, refine=REFINED),
        ),
        "Levenberg-Marquardt on levels of fewer points or rows, each left when it begins to overfit",
        {"rows": _rows},
        6,
    ),
    "ar1": Method(AR1, "first order, quadratic regularization", GRIDS),
    "ar2": Method(AR2, "second order, cubic regularization (ARC), weight by interpolation", GRIDS),
    "ar2-gain": Method(AR2.replace(globalization=GAIN), "AR2 with the published gain-ratio rule"),
    "ar3": Method(AR3, "third order, quartic regularization, weight by interpolation", GRIDS),
    "ar3-gain": Method(AR3.replace(globalization=GAIN), "AR3 with the published gain-ratio rule"),
    "ar3-prerejection": Method(AR3.replace(subproblem=Nested(AR2, prerejection=True)), "AR3 with pre-rejection"),
    "tr1": Method(TR1, "first order, trust region", GRIDS),
    "tr2": Method(TR2, "second order, trust region, exact steps (beyond 100 unknowns Steihaug)", GRIDS),
    "tr2-gltr": Method(TR2.replace(subproblem=Lanczos()), "TR2 with GLTR steps at every size"),
    "tr2-steihaug": Method(TR2.replace(subproblem=Steihaug()), "TR2 with truncated conjugate gradients"),
}


def solver_of(method: Method, curvature: str | None) -> Multilevel:
    """The solver of a method, with the curvature of this name where one is given; raises ``InputError``."""
    if curvature is None:
        return method.solver
    if curvature not in CURVATURES:
        raise InputError(f"unknown curvature {curvature!r}: choose one of {', '.join(CURVATURES)}")
    return with_curvature(method.solver, CURVATURES[curvature])


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


def _first_that_fits(builders: Sequence[Builder], problem: Any, f: Any, x: Tensor, levels: int, seed: int) -> Hierarchy:
    """The first hierarchy that can be built for f (subnetworks need one hidden layer); the last error if none can."""
    for build_one in builders[:-1]:
        with suppress(UnsupportedCombination):
            return build_one(problem, f, x, levels, seed)
    return builders[-1](problem, f, x, levels, seed)


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
