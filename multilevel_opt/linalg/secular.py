"""The small regularized quadratic problem min gᵀu + ½uᵀHu + (σ/p)‖u‖^p, solved by its secular equation.

At the minimizer (H + νI)u = −g with ν = σ‖u‖^{p−2} and H + νI ⪰ 0 (Cartis, Gould & Toint 2011, Theorem 3.1).
With the eigen-decomposition of H the scalar equation φ(ν) = ‖u(ν)‖ − (ν/σ)^{1/(p−2)} = 0 is monotone on
ν ≥ max(0, −λ₁); where it has no root there (the hard case) a multiple of the first eigenvector completes u.
"""

from __future__ import annotations

from math import exp, log

import torch
from scipy.optimize import brentq
from torch import Tensor


def regularized_minimizer(H: Tensor, g: Tensor, sigma: float, power: int) -> Tensor:
    """The global minimizer u of shape (k,) for symmetric H of shape (k, k), σ > 0 and p ≥ 2.

    For p = 2 the weight must exceed −λ₁; it is raised to 1.1 times that where it does not.
    """
    values, vectors = torch.linalg.eigh(H)
    coefficients = vectors.T @ g
    lowest = float(values[0])
    if power == 2:
        nu = max(sigma, -1.1 * lowest, 0.0)
        shifted: Tensor = vectors @ (-coefficients / (values + nu))
        return shifted
    scale = float(values.abs().max())
    shift = max(0.0, -lowest)  # the unknown is δ = ν − shift, so that a root close to −λ₁ keeps its digits
    shifted_values = values + shift
    floor = 1e-15 * scale + 1e-300

    def solution(delta: float) -> Tensor:
        u: Tensor = vectors @ (-coefficients / (shifted_values + delta))
        return u

    def phi(delta: float) -> float:
        return float(solution(delta).norm()) - float(((shift + delta) / sigma) ** (1 / (power - 2)))

    if phi(floor) < 0:
        if shift > 1e-13 * scale:
            return _hard_case(values, vectors, coefficients, ((shift + floor) / sigma) ** (1 / (power - 2)))
        return solution(floor)  # H is semidefinite and ν below its rounding
    # ‖u‖ <= ‖g‖/δ bounds the root; in logarithms, since it may lie hundreds of decades above the floor
    bound = ((power - 2) * log(float(g.norm())) + log(sigma)) / (power - 1)
    root = brentq(lambda t: phi(exp(t)), log(floor), max(log(2 * floor), bound + 1e-9), xtol=1e-14, maxiter=500)
    return solution(exp(root))


def ball_minimizer(H: Tensor, g: Tensor, radius: float) -> Tensor:
    """The global minimizer u of gᵀu + ½uᵀHu in the ball ‖u‖ ≤ radius, shape (k,), for symmetric H of shape (k, k).

    (H + νI)u = −g with ν ≥ 0, H + νI ⪰ 0 and ν(radius − ‖u‖) = 0 (Moré & Sorensen 1983), by the eigen-decomposition
    and the root of 1/radius − 1/‖u(ν)‖.
    """
    values, vectors = torch.linalg.eigh(H)
    coefficients = vectors.T @ g
    shift = max(0.0, -float(values[0]))
    shifted_values = values + shift
    floor = 1e-14 * float(values.abs().max()) + 1e-300

    def solution(delta: float) -> Tensor:
        u: Tensor = vectors @ (-coefficients / (shifted_values + delta))
        return u

    def phi(delta: float) -> float:
        return float(solution(delta).norm()) / radius - 1.0

    if phi(floor) <= 0:
        return solution(floor) if shift == 0.0 else _hard_case(values, vectors, coefficients, radius)
    ceiling = max(2 * floor, float(g.norm()) / radius)
    while phi(ceiling) > 0:
        ceiling *= 4
    return solution(float(brentq(phi, floor, ceiling, xtol=1e-300, rtol=1e-13, maxiter=300)))


def _hard_case(values: Tensor, vectors: Tensor, coefficients: Tensor, length: float) -> Tensor:
    gaps = values - values[0]
    away = gaps > 1e-10 * values.abs().max()
    partial = torch.where(away, -coefficients / torch.where(away, gaps, torch.ones_like(gaps)), torch.zeros_like(gaps))
    rest = max(length**2 - float(partial @ partial), 0.0) ** 0.5
    partial[0] += rest if float(coefficients[0]) <= 0 else -rest
    return vectors @ partial
