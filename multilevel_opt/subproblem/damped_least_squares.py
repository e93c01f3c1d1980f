"""The Levenberg–Marquardt step: min ½‖r + J s‖² + cᵀs + ½μ‖s‖² + ½σ‖s‖², in primal, dual or matrix-free form.

A plan picks the cheapest form that fits the memory budget, from the shape (m, n) alone:

============  ===========================  ==========================
form          flops per model and per σ    bytes
============  ===========================  ==========================
primal        m n²  and  n³/3              mn + 2n²  numbers
dual          m² n  and  m³/3              mn + 2m²  numbers
matrix-free   0  and  2 products per       a few vectors
              conjugate-gradient step
============  ===========================  ==========================
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.globalization import Regularization
from multilevel_opt.linalg.cholesky import DampedSystem
from multilevel_opt.linalg.krylov import steihaug
from multilevel_opt.linalg.operator import Dense
from multilevel_opt.objective.taylor import NormalForm, Taylor
from multilevel_opt.subproblem.base import Prepared, Step

Form = Literal["primal", "dual", "matrix-free"]
GIB = 2.0**30


@dataclass(frozen=True)
class Plan:
    """Which linear algebra a damped least-squares step uses, and what it costs.

    Attributes:
        form: "primal", "dual" or "matrix-free".
        rows, columns: m and n.
        flops: per model with one σ (for matrix-free: per conjugate-gradient step).
        bytes: held at once.
    """

    form: Form
    rows: int
    columns: int
    flops: float
    bytes: int

    def __str__(self) -> str:
        size = {"primal": self.columns, "dual": self.rows}.get(self.form)
        what = f"{self.form} Cholesky {size}x{size}" if size else "matrix-free conjugate gradients"
        return f"{what} (m={self.rows}, n={self.columns}, {self.flops:.2g} flops, {self.bytes / GIB:.2g} GiB)"


def plan(rows: int, columns: int, itemsize: int, budget: float) -> Plan:
    """The cheapest form for J of shape (rows, columns) within ``budget`` bytes."""
    cheapest = costed("dual" if rows < columns else "primal", rows, columns, itemsize)
    return cheapest if cheapest.bytes <= budget else costed("matrix-free", rows, columns, itemsize)


def costed(form: Form, rows: int, columns: int, itemsize: int) -> Plan:
    """A form with its flops and bytes."""
    m, n = rows, columns
    if form == "matrix-free":
        return Plan(form, m, n, 4.0 * m * n, 10 * (m + n) * itemsize)
    size = n if form == "primal" else m
    return Plan(form, m, n, float(m) * n * size + size**3 / 3, (m * n + 2 * size * size) * itemsize)


def memory_budget(device: torch.device) -> float:
    """Half of the memory that is available now on ``device`` (caches of files count as such), in bytes."""
    if device.type == "cuda":
        return 0.5 * torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 512.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 4.0 * GIB


@dataclass(frozen=True)
class DampedLeastSquares:
    """The solver of Levenberg–Marquardt models.

    Attributes:
        form: force "primal", "dual" or "matrix-free"; None lets the plan decide.
        geodesic: add the geodesic acceleration −½(JᵀJ + σI)⁻¹Jᵀr''(s, s) when it is shorter than
            ``acceleration_bound``/2 times the step (Transtrum & Sethna 2012).
        forcing: relative residual of conjugate gradients in the matrix-free form.
        max_products: limit of their products per σ.
    """

    form: Form | None = None
    geodesic: bool = False
    acceleration_bound: float = 0.75
    forcing: float = 1e-2
    max_products: int = 500

    def prepare(self, model: Taylor) -> Prepared:
        """Form the Gram matrix in the chosen space; nothing for the matrix-free form."""
        normal = model.normal
        if normal is None:
            raise UnsupportedCombination(
                "damped least squares needs a residual: use GaussNewton curvature, or AR2, TR2, or "
                "with_curvature(solver, curvature)"
            )
        chosen = self._plan(normal)
        if chosen.form == "matrix-free" or not isinstance(normal.jacobian, Dense):
            return _MatrixFree(model, normal, self)
        return _Factorized(model, normal, normal.jacobian.matrix, self, chosen.form == "dual")

    def describe(self, model: Taylor) -> str:
        return "none" if model.normal is None else str(self._plan(model.normal))

    def _plan(self, normal: NormalForm) -> Plan:
        m, n = normal.jacobian.shape
        itemsize = normal.residual.element_size()
        if not isinstance(normal.jacobian, Dense):
            return plan(m, n, itemsize, 0.0)
        return plan(m, n, itemsize, inf) if self.form is None else costed(self.form, m, n, itemsize)


class _Factorized:
    """Gram matrix formed; one Cholesky factorization per σ."""

    def __init__(
        self, model: Taylor, normal: NormalForm, jacobian: Tensor, options: DampedLeastSquares, dual: bool
    ) -> None:
        self._g, self._normal, self._options = model.gradient, normal, options
        self._system = DampedSystem(normal.residual, jacobian, normal.linear, self._g, dual, normal.ledger)

    def solve(self, globalization: Regularization) -> Step | None:
        sigma, mu = globalization.scalar, self._normal.shift
        if sigma + mu <= 0.0 or not self._system.factorize(sigma + mu):
            return None
        s = self._system.solve()
        predicted = 0.5 * (sigma * float(s @ s) - float(self._g @ s))
        if self._options.geodesic and self._normal.second is not None:
            s = self._accelerated(s, self._normal.second(s))
        return Step(s, predicted)

    def _accelerated(self, s: Tensor, second: Tensor) -> Tensor:
        if not bool(torch.isfinite(second).all()):
            return s
        a = self._system.correct(second)
        return s + a if 2 * float(a.norm()) <= self._options.acceleration_bound * float(s.norm()) else s


class _MatrixFree:
    """Conjugate gradients with products Jv and Jᵀw; nothing is stored."""

    def __init__(self, model: Taylor, normal: NormalForm, options: DampedLeastSquares) -> None:
        self._g, self._normal, self._options = model.gradient, normal, options

    def solve(self, globalization: Regularization) -> Step | None:
        j, mu = self._normal.jacobian, self._normal.shift
        limit = min(self._options.max_products, 2 * min(j.shape) + 10)
        tol = min(self._options.forcing, sqrt(max(float(self._g.norm()), 1e-300)))

        def product(v: Tensor) -> Tensor:
            self._normal.ledger.work(4.0 * j.nnz if isinstance(j, Dense) else 0.0)
            return j.rmatvec(j.matvec(v))

        out = steihaug(product, self._g, globalization.scalar + mu, tol=tol, max_products=limit)
        s = out.step
        predicted = -float(self._g @ s + 0.5 * (s @ out.product) + 0.5 * mu * (s @ s))
        return Step(s, predicted)
