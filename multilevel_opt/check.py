"""Laws that a user's own problem can be held to: numbers, a bound, pass or fail.

``taylor_law``    ‖error of T_q‖ ~ t^{q+1} along a direction, or zero for a polynomial of degree q
``adjointness``   ⟨P s, y⟩ = ⟨s, Pᵀ y⟩, and ⟨J v, w⟩ = ⟨v, Jᵀ w⟩
``coherence``     the coarse model's derivatives at its start are α times those of f∘(x + P·), up to order k
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multilevel_opt import build, neurons
from multilevel_opt.coarse import coarse_model
from multilevel_opt.curvature import Exact
from multilevel_opt.errors import InputError, MultilevelError
from multilevel_opt.hierarchy import Hierarchy
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.element_laws import concavity, dependence
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.separable import PartiallySeparable
from multilevel_opt.problem import completed
from multilevel_opt.transfer.operator import TransferOperator


@dataclass(frozen=True)
class Finding:
    """One law, measured.

    Attributes:
        name: of the law.
        measured: the number.
        bound: what it must not exceed (or, for slopes, fall below).
        passed: whether the law holds.
    """

    name: str
    measured: float
    bound: float
    passed: bool


class LawBroken(MultilevelError):
    """A law does not hold; the message has the numbers."""


def _direction(like: Tensor, size: int, seed: int) -> Tensor:
    generator = torch.Generator(device="cpu").manual_seed(seed)
    v = torch.randn(size, generator=generator, dtype=torch.float64, device="cpu")
    unit: Tensor = v / v.norm()
    return unit.to(like)


def taylor_slope(f: Objective, x: Tensor, order: int, seed: int = 0) -> float:
    """Slope of log error against log t of the Taylor model of f at x; q + 1 when the derivatives are right.

    The error |f(x + t v) − T_q(t v)| is sampled at steps 2^-k ‖x‖ along a random v, and the steepest of the
    steps above rounding is fitted.

    Raises:
        InputError: f is a polynomial of degree ≤ q along v, so that there is no error to measure.
    """
    steps, errors, _ = _taylor_errors(f, x, order, seed)
    if len(steps) < 4:
        raise InputError(f"the Taylor error of order {order} is below rounding: start elsewhere, or lower the order")
    log = torch.tensor([steps[-4:], errors[-4:]], dtype=torch.float64, device="cpu").log()
    centered = log - log.mean(1, keepdim=True)
    return float((centered[0] @ centered[1]) / (centered[0] @ centered[0]))


def _taylor_errors(f: Objective, x: Tensor, order: int, seed: int) -> tuple[list[float], list[float], float]:
    """Steps and errors above rounding, and the largest error over the size of f of all steps."""
    model = f.exact.expand(x, order)
    v = _direction(x, x.numel(), seed) * max(1.0, float(x.norm()) / x.numel() ** 0.5)
    floor = 1e3 * torch.finfo(x.dtype).eps * max(abs(float(model.value)), 1e-300)
    steps, errors, worst = [], [], 0.0
    for k in range(1, 40):
        t = 2.0 ** (-0.5 * k)
        value = float(f(x + t * v))
        error = abs(value - float(model(t * v)))
        worst = max(worst, error / max(abs(value), abs(float(model.value)), 1e-300))
        if error > floor:
            steps.append(t)
            errors.append(error)
    return steps, errors, worst


def taylor_law(f: Objective, x: Tensor, order: int, seed: int = 0) -> Finding:
    """The slope of the Taylor error, at least q + 0.9; or the error itself, where f is a polynomial of degree q."""
    steps, _, worst = _taylor_errors(f, x, order, seed)
    if len(steps) >= 4:
        slope = taylor_slope(f, x, order, seed)
        return Finding(f"Taylor error slope, order {order}", slope, order + 0.9, slope >= order + 0.9)
    bound = 1e4 * torch.finfo(x.dtype).eps
    return Finding(f"Taylor error, order {order}: f is a polynomial", worst, bound, worst <= bound)


def adjointness(transfer: TransferOperator, like: Tensor, seed: int = 0) -> float:
    """Relative defect |⟨Ps, y⟩ − ⟨s, Pᵀy⟩| / (‖Ps‖‖y‖) for random s and y."""
    s, y = _direction(like, transfer.n_coarse, seed), _direction(like, transfer.n_fine, seed + 1)
    image = transfer.P.matvec(s)
    return abs(float(image @ y - s @ transfer.P.rmatvec(y))) / max(float(image.norm() * y.norm()), 1e-300)


def jacobian_adjointness(objective: LeastSquares, x: Tensor, seed: int = 0) -> float:
    """Relative defect between J v by forward mode and Jᵀ w of the dense Jacobian, for random v and w."""
    r, jacobian = objective.jacobian(x)
    v, w = _direction(x, x.numel(), seed), _direction(x, r.numel(), seed + 1)
    forward = objective.residual.jvp(x, v)
    return abs(float(forward @ w - v @ (jacobian.T @ w))) / max(float(forward.norm()), 1e-300)


def coherence(
    hierarchy: Hierarchy, x: Tensor, order: int = 1, *, f: Objective | None = None, tol: float = 1e-10
) -> float:
    """Largest relative defect of the coherence law of the first coarse level, orders 1..k.

    Args:
        hierarchy: with at least one coarse level.
        x: where, shape (n,).
        order: k.
        f: the finest objective, where the hierarchy does not know it.
        tol: largest defect allowed.

    Raises:
        InputError: no finest objective.
        LawBroken: the defect exceeds ``tol``; the message has the numbers.
    """
    f = f if f is not None else hierarchy.objective
    if f is None:
        raise InputError("this hierarchy does not know its finest objective: give f=...")
    level = hierarchy.levels[0]
    transfer = level.transfer_at(f, x, 0)
    model = f.exact.expand(x, order)
    mu, start = coarse_model(f, model, level, transfer, x, order, Exact(), Ledger())
    coarse = mu.exact.expand(start, order)
    alpha = 1.0 if level.objective is None else transfer.scale
    worst = 0.0
    for k in range(order):
        v = [_direction(start, start.numel(), 10 + i) for i in range(k)]
        form = coarse.forms[k](*v)
        image = alpha * model.forms[k](*(transfer.P.matvec(u) for u in v))
        for seed in range(20, 23):  # along P u, not through its adjoint, which may be what is wrong
            u = _direction(start, start.numel(), seed)
            expected = float(image @ transfer.P.matvec(u))
            defect = abs(float(form @ u) - expected) / max(float(form.norm()), abs(expected), 1e-300)
            worst = max(worst, defect)
        if not worst <= tol:
            raise LawBroken(f"coherence of order {k + 1} fails: relative defect {worst:.3g} > {tol:g}")
    return worst


def report(problem: Any) -> list[Finding]:
    """The laws of a problem at its start point: derivatives, adjointness, coherence of its hierarchies."""
    whole = completed(problem)
    f, x = whole.objective, whole.x0
    findings = [taylor_law(f, x, order) for order in (1, 2)]
    if isinstance(f, PartiallySeparable) or isinstance(f.exact, PartiallySeparable):
        findings += elements(f.exact, x)
    if not isinstance(f, LeastSquares):
        return findings
    findings += _jacobian_laws(f, x)
    for name, hierarchy in ({} if f.matrix_free else _hierarchies(f, x)).items():
        transfer = hierarchy.levels[0].transfer_at(f, x, 0)
        defect = adjointness(transfer, x)
        findings.append(Finding(f"<P s, y> = <s, P^T y>, {name}", defect, 1e-12, defect <= 1e-12))
        defect = coherence(hierarchy, x, 1, f=f, tol=float("inf"))
        findings.append(Finding(f"first-order coherence, {name}", defect, 1e-8, defect <= 1e-8))
    return findings


def elements(f: Any, x: Tensor) -> list[Finding]:
    """What the elements of a ``PartiallySeparable`` function promise, measured at x of shape (n,).

    Gradient and Hessian product by elements against plain automatic differentiation of the sum, that no element has
    variables of another, and that those declared convex have no negative eigenvalue at x and four points around it.
    """
    v = _direction(x, x.numel(), 3)
    ours, plain = f.expand(x, 2), Function(f.plain).expand(x, 2)
    pairs = [(ours.gradient, plain.gradient), (ours.forms[1](v), plain.forms[1](v))]
    defect = max(float((a - b).norm()) / max(float(b.norm()), 1e-300) for a, b in pairs)
    bound = 1e4 * torch.finfo(x.dtype).eps
    alien, bent = dependence(f, x), concavity(f, x)
    return [
        Finding("derivatives by elements against the plain sum", defect, bound, defect <= bound),
        Finding("elements without influence on each other", alien, 0.0, alien == 0.0),
        Finding("negative curvature of elements declared convex", bent, bound, bent <= bound),
    ]


def _jacobian_laws(f: LeastSquares, x: Tensor) -> list[Finding]:
    normal = f.expand(x, 2).normal
    assert normal is not None
    r, operator = normal.residual, normal.jacobian
    v, w = _direction(x, x.numel(), 3), _direction(x, r.numel(), 4)
    forward, backward = f.residual.jvp(x, v), f.residual.vjp(x, w)
    ours = operator.matvec(v)
    gap = float((forward - ours).norm() / forward.norm().clamp_min(1e-300))
    defect = abs(float(ours @ w - v @ operator.rmatvec(w))) / max(float(ours.norm()), 1e-300)
    other = float((backward - operator.rmatvec(w)).norm() / backward.norm().clamp_min(1e-300))
    return [
        Finding("J v, forward mode against J", gap, 1e-8, gap <= 1e-8),
        Finding("J^T w, reverse mode against J", other, 1e-8, other <= 1e-8),
        Finding("<J v, w> = <v, J^T w>", defect, 1e-8, defect <= 1e-8),
    ]


def _hierarchies(f: LeastSquares, x: Tensor) -> dict[str, Hierarchy]:
    made: dict[str, Hierarchy] = {"random subspace": build.random_subspace(x, 2)}
    layout = f.layout
    if layout is not None:
        made["AMG, Galerkin"] = build.amg(f, x, 2)
        made["AMG, smaller network"] = build.amg(f, x, 2, model="network")
        if len(layout.widths) == 1:
            made["subnetwork"] = neurons.subnetwork(f, x, 2)
    return made
