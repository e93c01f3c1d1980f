"""The Levenberg–Marquardt step: min ½‖r + J s‖² + cᵀs + ½μ‖s‖² + ½σ‖s‖², by the linear algebra that ``router`` chooses.

Whatever depends on the model alone is made once and serves every σ that is tried: a Gram matrix, the orthogonal
factors of J where σ is below the rounding of a Gram matrix, or the Gram matrix of some rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.globalization import Regularization
from multilevel_opt.ledger import Spent
from multilevel_opt.linalg.cholesky import DampedSystem
from multilevel_opt.linalg.krylov import CGResult, preconditioned, steihaug
from multilevel_opt.linalg.operator import ByRows, Dense
from multilevel_opt.linalg.orthogonal import OrthogonalSystem
from multilevel_opt.linalg.sampled import SampledInverse
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.taylor import NormalForm, Taylor
from multilevel_opt.subproblem.base import Prepared, Step
from multilevel_opt.subproblem.router import CANDIDATES, CHEAP, ROUNDINGS, Form, Plan, Shape, costed, route

ENERGY = 10.0  # the norm of the preconditioner is that of the decrease, and sees all directions alike


@dataclass(frozen=True)
class DampedLeastSquares:
    """The solver of Levenberg–Marquardt models.

    Attributes:
        form: a key of ``router.CANDIDATES``, or None: the router decides.
        geodesic: add the geodesic acceleration −½(JᵀJ + σI)⁻¹Jᵀr''(s, s) when it is shorter than
            ``acceleration_bound``/2 times the step (Transtrum & Sethna 2012).
        forcing: relative residual of conjugate gradients; with a preconditioner ten times that in its norm, where 0.1
            leaves a hundredth of the decrease.
        max_products: limit of their products per σ.
        by_clock: let the router compare seconds, not flops: then a seed no longer reproduces a run.
    """

    form: Form | None = None
    geodesic: bool = False
    acceleration_bound: float = 0.75
    forcing: float = 1e-2
    max_products: int = 500
    by_clock: bool = False

    def prepare(self, model: Taylor) -> Prepared:
        """Form the Gram matrix in the chosen space, if any."""
        normal = model.normal
        if normal is None:
            raise UnsupportedCombination(
                "damped least squares needs a residual: use GaussNewton curvature, or AR2, TR2, or "
                "with_curvature(solver, curvature)"
            )
        chosen = self._plan(normal)
        normal.ledger.decide(chosen.as_dict())
        if not CANDIDATES[chosen.form].direct or not isinstance(normal.jacobian, Dense):
            return _Iterative(model, normal, self, chosen)
        return _Factorized(model, normal, normal.jacobian.matrix, self, chosen)

    def describe(self, model: Taylor) -> str:
        return "none" if model.normal is None else str(self._plan(model.normal))

    def planned(self, f: LeastSquares, rows: int, like: Tensor) -> Plan:
        """What the first step will get, before anything is evaluated: for m rows and a vector like x."""
        stored, free = not f.matrix_free, f.matrix_free and f.by_rows
        shape = Shape(rows, like.numel(), like.element_size(), f.memory, f.residual.channels, stored, free)
        return self._chosen(shape, {})

    def _plan(self, normal: NormalForm) -> Plan:
        return self._chosen(shape_of(normal), normal.ledger.spent)

    def _chosen(self, shape: Shape, spent: Mapping[str, Spent]) -> Plan:
        if self.form is not None and (shape.stored or not CANDIDATES[self.form].direct):
            return costed(self.form, shape, "as asked for")
        return route(shape, spent, self.by_clock)


def shape_of(normal: NormalForm) -> Shape:
    """What the router is told of a model."""
    m, n = normal.jacobian.shape
    stored = isinstance(normal.jacobian, Dense)
    size = normal.residual.element_size()
    return Shape(m, n, size, normal.memory, normal.channels, stored, isinstance(normal.jacobian, ByRows))


class _Factorized:
    """Gram matrix formed, and one Cholesky factorization per σ; below its rounding the orthogonal factors of J."""

    def __init__(
        self, model: Taylor, normal: NormalForm, jacobian: Tensor, options: DampedLeastSquares, chosen: Plan
    ) -> None:
        self._g, self._normal, self._options, self._jacobian = model.gradient, normal, options, jacobian
        self._orthogonal: OrthogonalSystem | None = None
        self._cholesky: DampedSystem | None = None
        self._floor = float("inf")
        if chosen.form != "orthogonal":
            dual = chosen.form == "dual"
            self._cholesky = DampedSystem(normal.residual, jacobian, normal.linear, self._g, dual, normal.ledger)
            self._floor = self._precise_below()

    def solve(self, globalization: Regularization) -> Step | None:
        sigma, mu = globalization.scalar, self._normal.shift
        system = self._factorized(sigma + mu) if sigma + mu > 0.0 else None
        if system is None:
            return None
        s = system.solve()
        predicted = 0.5 * (sigma * float(s @ s) - float(self._g @ s))
        if self._options.geodesic and self._normal.second is not None:
            s = self._accelerated(system, s, self._normal.second(s))
        return Step(s, predicted)

    def _precise_below(self) -> float:
        """The damping from which on down J itself is factorized; 0 for never."""
        assert self._cholesky is not None
        plan = costed("orthogonal", shape_of(self._normal))
        if self._options.form is not None or plan.bytes > self._normal.memory or plan.flops > CHEAP:
            return 0.0
        return ROUNDINGS * torch.finfo(self._jacobian.dtype).eps * self._cholesky.trace

    def _factorized(self, damping: float) -> DampedSystem | OrthogonalSystem | None:
        """The Gram matrix, and where rounding spoils its factorization J itself; None where neither can be had."""
        if self._cholesky is not None and self._cholesky.factorize(damping):
            return self._cholesky
        if damping >= self._floor or not bool(torch.isfinite(self._jacobian).all()):
            return None
        if self._orthogonal is None:
            plan, normal = route(replace(shape_of(self._normal), precise=True)), self._normal
            normal.ledger.decide(plan.as_dict())
            self._orthogonal = OrthogonalSystem(normal.residual, self._jacobian, normal.linear, normal.ledger)
        return self._orthogonal if self._orthogonal.factorize(damping) else None

    def _accelerated(self, system: DampedSystem | OrthogonalSystem, s: Tensor, second: Tensor) -> Tensor:
        if not bool(torch.isfinite(second).all()):
            return s
        a = system.correct(second)
        return s + a if 2 * float(a.norm()) <= self._options.acceleration_bound * float(s.norm()) else s


class _Iterative:
    """Conjugate gradients with products Jv and Jᵀw, with or without the Gram matrix of some rows."""

    def __init__(self, model: Taylor, normal: NormalForm, options: DampedLeastSquares, chosen: Plan) -> None:
        self._g, self._normal, self._options, self._chosen = model.gradient, normal, options, chosen
        self._inverse: SampledInverse | None = None

    def solve(self, globalization: Regularization) -> Step | None:
        ledger, mu = self._normal.ledger, self._normal.shift
        flops, started = ledger.flops, time.perf_counter()
        out = self._minimized(globalization.scalar + mu)
        ledger.spend(self._chosen.form, self._chosen.flops, ledger.flops - flops, time.perf_counter() - started)
        s = out.step
        if not bool(torch.isfinite(s).all()):
            return None
        predicted = -float(self._g @ s + 0.5 * (s @ out.product) + 0.5 * mu * (s @ s))
        return Step(s, predicted)

    def _minimized(self, damping: float) -> CGResult:
        j, options = self._normal.jacobian, self._options
        limit = min(options.max_products, 2 * min(j.shape) + 10)
        tol = min(options.forcing, sqrt(max(float(self._g.norm()), 1e-300)))

        def product(v: Tensor) -> Tensor:
            self._normal.ledger.work(4.0 * j.nnz if isinstance(j, Dense) else 0.0)
            return j.rmatvec(j.matvec(v))

        if self._chosen.form == "coarse-rows" and isinstance(j, ByRows):
            if self._inverse is None:
                self._inverse = SampledInverse(j, shape_of(self._normal).coarse, self._g, self._normal.ledger)
            if self._inverse.factorize(damping):
                return preconditioned(product, self._g, damping, self._inverse, ENERGY * tol, limit)
        return steihaug(product, self._g, damping, tol=tol, max_products=limit)
