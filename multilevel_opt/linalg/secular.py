"""Small quadratic models with a penalty or in a ball, solved to their global minimizer by the secular equation.

    min gᵀu + ½uᵀHu + (σ/p)‖u‖^p        (H + νI)u = −g,  ν = σ‖u‖^{p−2}           (Cartis, Gould & Toint 2011)
    min gᵀu + ½uᵀHu,  ‖u‖ ≤ Δ           (H + νI)u = −g,  ν ≥ 0, ν(Δ − ‖u‖) = 0    (Moré & Sorensen 1983)

with H + νI ⪰ 0 in both, which is necessary and sufficient. One eigen-decomposition of H serves every σ and Δ: in its
coordinates ‖u(ν)‖ costs a sum, and ν is the root of a monotone scalar equation on ν ≥ max(0, −λ₁). Where there is no
root (the hard case) a multiple of the first eigenvector completes u.

The decomposition knows the small eigenvalues of a badly scaled H to the rounding of the largest only; Newton steps on
the secular equation with Cholesky factors, which respect the scaling of the variables, then correct ν and u.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, hypot, inf, log

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq
from torch import Tensor

Array = npt.NDArray[np.float64]
Length = Callable[[float], float]  # ν -> the length that u must have
POLISHED = 1e-12  # relative error of ‖u‖ at which Newton's corrections end


@dataclass(frozen=True)
class Spectrum:
    """H with its eigenvalues (ascending) and eigenvectors, and g in their coordinates.

    Attributes:
        matrix: H, symmetric of shape (k, k).
        gradient: g of shape (k,).
        values, vectors: of H.
        coefficients: Vᵀg.
        gaps, weights: values + shift and coefficients as numpy arrays, for the scalar equation.
        shift: the smallest ν ≥ 0 with H + νI ⪰ 0.
        scale: the largest absolute eigenvalue.
    """

    matrix: Tensor
    gradient: Tensor
    values: Tensor
    vectors: Tensor
    coefficients: Tensor
    gaps: Array
    weights: Array
    shift: float
    scale: float

    @property
    def rounding(self) -> float:
        """Unit of rounding of the dtype of H."""
        return torch.finfo(self.matrix.dtype).eps

    def solution(self, delta: float) -> Tensor:
        """U of shape (k,) for ν = shift + δ; δ is the unknown so that a root close to −λ₁ keeps its digits."""
        u: Tensor = self.vectors @ (-self.coefficients / (self.values + self.shift + delta))
        return u

    def length(self, delta: float) -> float:
        """‖u‖ at the same ν."""
        return hypot(*(self.weights / (self.gaps + delta)))  # scales itself: no overflow


def spectrum(H: Tensor, g: Tensor) -> Spectrum | None:
    """The decomposition of symmetric H of shape (k, k) with g of shape (k,); None where H is not finite."""
    if not bool(torch.isfinite(H).all()):
        return None
    values, vectors = torch.linalg.eigh(H)
    coefficients = vectors.T @ g
    v, c = (t.detach().double().cpu().numpy() for t in (values, coefficients))
    shift = max(0.0, -float(v[0]))
    return Spectrum(H, g, values, vectors, coefficients, v + shift, c, shift, float(np.abs(v).max()))


def regularized_minimizer(problem: Spectrum, sigma: float, power: int) -> Tensor:
    """The minimizer u of shape (k,) with the penalty (σ/p)‖u‖^p, σ > 0 and p ≥ 2.

    For p = 2 the weight must exceed −λ₁; it is raised to 1.1 times that where it does not.
    """
    if power == 2:
        return problem.solution(max(sigma, 1.1 * problem.shift) - problem.shift)

    def wanted(nu: float) -> float:
        return float((nu / sigma) ** (1 / (power - 2)))

    return _minimizer(problem, wanted, 1.0 / (power - 2))


def ball_minimizer(problem: Spectrum, radius: float) -> tuple[Tensor, bool]:
    """The minimizer u of shape (k,) in ‖u‖ ≤ Δ, and whether it lies on the boundary."""
    if float(problem.values[0]) > 0:
        u = _factorized(problem, 0.0)
        if u is not None and float(u.norm()) <= radius:
            return u, False
    u = _minimizer(problem, lambda nu: radius, 0.0)
    norm = float(u.norm())
    if (
        norm < (1 - max(1e-6, problem.rounding**0.5)) * radius
    ):  # singular and consistent: the minimizer of least norm lies inside
        return u, False
    return u * (radius / norm), True


def _minimizer(problem: Spectrum, wanted: Length, exponent: float) -> Tensor:
    """u(ν) with ‖u(ν)‖ = wanted(ν), a constant times ν^exponent."""
    shift = problem.shift
    floor = 4 * problem.rounding * problem.scale + 1e-150

    def phi(delta: float) -> float:
        return problem.length(delta) - wanted(shift + delta)

    if phi(floor) < 0:
        if shift > 400 * problem.rounding * problem.scale:
            return _hard_case(problem, wanted(shift + floor))
        return _below_rounding(problem, wanted, floor)
    low, ceiling = floor, max(2 * floor, problem.rounding**0.5 * problem.scale)
    while phi(ceiling) > 0:
        low, ceiling = ceiling, 4 * ceiling
    root = float(brentq(phi, low, ceiling, xtol=1e-300, rtol=1e-13, maxiter=500))
    if root < 1e-3 * shift:  # H + νI is nearly singular: factors would lose what the eigenvalues keep
        return problem.solution(root)
    return _newton(problem, shift + root, wanted, exponent, root)


def _below_rounding(problem: Spectrum, wanted: Length, floor: float) -> Tensor:
    """u(ν) for H that is definite up to rounding and 0 ≤ ν < floor, where only Cholesky factors resolve ν."""
    best = problem.solution(floor)

    def excess(log_nu: float) -> float:
        nonlocal best
        u = _factorized(problem, exp(log_nu))
        if u is None:
            return inf  # not definite: ν must grow
        best = u
        return float(u.norm()) - wanted(exp(log_nu))

    low, high = log(floor) - 46.0, log(floor) + 4.6  # twenty orders of magnitude down, two up
    if excess(low) <= 0 or excess(high) >= 0:
        return best
    for _ in range(60):  # bisection first: the excess may be infinite
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return best


def _newton(problem: Spectrum, nu: float, wanted: Length, exponent: float, delta: float) -> Tensor:
    """Correct ν > 0 by Newton's method on log ‖u(ν)‖ = log wanted(ν) with Cholesky factors; u(δ) without one."""
    best, error = problem.solution(delta), inf
    for _ in range(8):
        factor = _cholesky(problem, nu)
        if factor is None:
            return best
        u = _solved(factor, problem.gradient)
        length, target = float(u.norm()), wanted(nu)
        now = abs(length - target) / max(target, 1e-300)
        if now >= error:
            return best
        best, error = u, now
        if now <= max(POLISHED, 10 * problem.rounding) or length == 0.0:
            return best
        w = torch.linalg.solve_triangular(factor, u[:, None], upper=False)
        slope = float((w * w).sum()) / length**2 + exponent / nu  # of log wanted − log ‖u‖
        nu = max(nu + (length - target) / target / slope, 0.1 * nu)
    return best


def _cholesky(problem: Spectrum, nu: float) -> Tensor | None:
    unit = torch.eye(problem.gradient.numel(), dtype=problem.matrix.dtype, device=problem.matrix.device)
    factor, info = torch.linalg.cholesky_ex(problem.matrix + nu * unit)
    return None if int(info) else factor


def _factorized(problem: Spectrum, nu: float) -> Tensor | None:
    factor = _cholesky(problem, nu)
    return None if factor is None else _solved(factor, problem.gradient)


def _solved(factor: Tensor, g: Tensor) -> Tensor:
    u: Tensor = torch.cholesky_solve(-g[:, None], factor)[:, 0]
    return u


def _hard_case(problem: Spectrum, length: float) -> Tensor:
    values, coefficients = problem.values, problem.coefficients
    gaps = values - values[0]
    away = gaps > problem.rounding ** (2 / 3) * problem.scale
    partial = torch.where(away, -coefficients / torch.where(away, gaps, torch.ones_like(gaps)), torch.zeros_like(gaps))
    share = float(partial.norm()) / length if length > 0 else 1.0
    rest = length * max(1.0 - min(share, 1.0) ** 2, 0.0) ** 0.5  # squares of lengths may overflow
    partial[0] += rest if float(coefficients[0]) <= 0 else -rest
    return problem.vectors @ partial
