"""Secant matrices by the formulas of the papers, one element at a time in numpy: what the batched ones must equal."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def bfgs(B: Array, s: Array, y: Array) -> Array:
    """Nocedal & Wright (6.19)."""
    c = B @ s
    return B - np.outer(c, c) / (s @ c) + np.outer(y, y) / (s @ y)


def sr1(B: Array, s: Array, y: Array) -> Array:
    """Nocedal & Wright (6.24)."""
    r = y - B @ s
    return B + np.outer(r, r) / (r @ s)


def compact_bfgs(gamma: float, S: Array, Y: Array) -> Array:
    """Byrd, Nocedal & Schnabel (1994), theorem 2.3; columns of S and Y are the pairs, oldest first."""
    products = S.T @ Y
    L, diagonal = np.tril(products, -1), np.diag(np.diag(products))
    basis = np.hstack([gamma * S, Y])
    middle = np.block([[gamma * S.T @ S, L], [L.T, -diagonal]])
    return gamma * np.eye(len(S)) - basis @ np.linalg.solve(middle, basis.T)


def compact_sr1(gamma: float, S: Array, Y: Array) -> Array:
    """Byrd, Nocedal & Schnabel (1994), theorem 5.1."""
    products = S.T @ Y
    L, diagonal = np.tril(products, -1), np.diag(np.diag(products))
    basis = Y - gamma * S
    return gamma * np.eye(len(S)) + basis @ np.linalg.solve(diagonal + L + L.T - gamma * S.T @ S, basis.T)
