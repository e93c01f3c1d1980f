"""The family as a table: a variant is one line.

===== ===== ================================ ==================== ======================================
name  q     globalization                    curvature            subproblem
===== ===== ================================ ==================== ======================================
AR1   1     (σ/2)‖s‖², gain ratio            -                    closed form
AR2   2     (σ/3)‖s‖³, interpolation         exact                secular equation; Lanczos beyond 100 unknowns
AR3   3     (σ/4)‖s‖⁴, interpolation         exact                AR2
TR1   1     ball                             -                    closed form
TR2   2     ball                             exact                Moré–Sorensen; Steihaug beyond 100 unknowns
LM    2     (σ/2)‖s‖², delayed gratification Gauss–Newton         damped least squares
RLM   2     (σ/2)‖s‖², gain ratio, published Gauss–Newton         damped least squares, coherence order 1
===== ===== ================================ ==================== ======================================

(Levenberg–Marquardt is called "q = 1 with B = JᵀJ" in the papers; its model is quadratic, so it is 2 here.)
"""

from __future__ import annotations

from typing import Any

from multilevel_opt.curvature import (
    BFGS,
    LBFGS,
    LSE,
    LSR1,
    SE,
    SR1,
    Curvature,
    Exact,
    GaussNewton,
    Partitioned,
    Reduced,
    SharpenedBFGS,
)
from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.globalization import Regularization, TrustRegion
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.policy import DelayedGratification, GainRatio, Interpolation
from multilevel_opt.state import Cycle
from multilevel_opt.subproblem import (
    BySize,
    DampedLeastSquares,
    GradientStep,
    Lanczos,
    MultigridCG,
    Nested,
    Smoother,
    Spectral,
    Steihaug,
    Subproblem,
)

SUBPROBLEM: dict[tuple[int, type], Subproblem] = {
    (1, Regularization): GradientStep(),
    (1, TrustRegion): GradientStep(),
    (2, Regularization): BySize(Spectral(), Lanczos()),
    (2, TrustRegion): BySize(Spectral(), Steihaug()),
}

# Products with a secant matrix cost no evaluation, so its models are minimized more closely.
SECANT_SUBPROBLEM: dict[tuple[int, type], Subproblem] = {
    (2, Regularization): BySize(Spectral(), Lanczos()),
    (2, TrustRegion): Steihaug(forcing=1e-3),
}

PATIENCE, MEMORY = 4, 5  # of elements: resets after so many refused pairs, pairs kept (Raynaud & Orban)

CURVATURES: dict[str, Curvature] = {
    curvature.name: curvature
    for curvature in (
        Exact(),
        GaussNewton(),
        BFGS(),
        SR1(),
        SE(),
        LBFGS(),
        LSR1(),
        LSE(),
        Partitioned(BFGS(patience=PATIENCE)),
        Partitioned(SR1(patience=PATIENCE)),
        Partitioned(SE(patience=PATIENCE)),
        Partitioned(SR1(patience=PATIENCE), convex=BFGS(patience=PATIENCE)),
        Partitioned(LBFGS(memory=MEMORY, renewal=MEMORY, patience=PATIENCE)),
        Partitioned(LSR1(memory=MEMORY, renewal=MEMORY, patience=PATIENCE)),
        Partitioned(LSE(memory=MEMORY, renewal=MEMORY, patience=PATIENCE)),
        SharpenedBFGS(),
        Reduced(),
    )
}


# On grids a Taylor step that divides the gradient by two or more makes coarse steps superfluous.
SMOOTHER: dict[int, tuple[Smoother | None, Cycle]] = {
    1: (None, Cycle()),
    2: (MultigridCG(), Cycle(contraction=0.5)),
}


def method(
    order: int, globalization: Any, curvature: Curvature | None = None, cycle: Cycle | None = None
) -> Multilevel:
    """The solver of order q with the given globalization.

    Raises:
        UnsupportedCombination: the pair (order, globalization) has no subproblem solver; the message lists those.
    """
    key = (order, type(globalization))
    if key not in SUBPROBLEM:
        known = ", ".join(f"({q}, {kind.__name__})" for q, kind in SUBPROBLEM)
        raise UnsupportedCombination(f"no solver for order {order} with {key[1].__name__}: choose one of {known}")
    smoother, usual = SMOOTHER.get(order, (None, Cycle()))
    return Multilevel(order, globalization, SUBPROBLEM[key], curvature or Exact(), cycle or usual, smoother)


def with_curvature(solver: Multilevel, curvature: Curvature) -> Multilevel:
    """A solver with another curvature and a subproblem solver that suits it.

    Gauss-Newton curvature keeps the solver's own; the others, which have no residual, take theirs from the tables,
    so that ``LM`` with a secant curvature minimizes its quadratic model plus (σ/2)‖s‖².

    Raises:
        UnsupportedCombination: the curvature does not serve the solver's order of models or of coherence.
    """
    curvature.check(solver.order, solver.cycle.coherence)
    table = SUBPROBLEM if curvature.evaluates else SECANT_SUBPROBLEM
    suited = solver.subproblem if curvature.residual else table[solver.order, type(solver.globalization)]
    return solver.replace(curvature=curvature, subproblem=suited)


AR1 = method(1, Regularization())
AR2 = method(2, Regularization(policy=Interpolation()))
SUBPROBLEM[3, Regularization] = Nested(AR2)  # a solver of order 2 solves the steps of order 3
AR3 = method(3, Regularization(policy=Interpolation(eta2=0.9, trust=1.0)))
TR1 = method(1, TrustRegion())
TR2 = method(2, TrustRegion())
LM = Multilevel(
    2,
    # coarse solves are rough, so fewer values of σ are tried there
    Regularization(power=2, policy=DelayedGratification(), coarse_policy=DelayedGratification(up=3.0)),
    DampedLeastSquares(),
    GaussNewton(),
    Cycle(coarse_iterations=40, stagnation=0.05, longest_wait=64, sufficient=0.1),
)
RLM = LM.replace(
    globalization=Regularization(power=2, policy=GainRatio(), weight=0.05, minimum=1e-6, inherited=True),
    cycle=Cycle(coarse_iterations=10, tolerance=1e-4),  # a plain alternation, as published
)

SOLVERS: dict[str, Multilevel] = {"lm": LM, "rlm": RLM, "ar1": AR1, "ar2": AR2, "ar3": AR3, "tr1": TR1, "tr2": TR2}
