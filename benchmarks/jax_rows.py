"""Residuals of some of our problems in JAX, for peers that differentiate nothing else.

A row is a function of the parameters and of one point, so that peers can take its gradient point by point, as theirs
do. Points, row weights, network and start are those of the torch problem; only what is written there in torch is
written here again: equation, output transform, inputs of the network, boundary values. Derivatives in space are nested
forward derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import pi
from typing import Any

import jax
import jax.numpy as jnp

from multilevel_opt import PDEProblem

jax.config.update("jax_enable_x64", True)

Array = jax.Array
Function = Callable[[Array], Array]
Row = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Written:
    """A problem in JAX; p is the torch problem with its coefficients, z (d,) a point, u a function of points.

    Attributes:
        equation: e(p, u, z), a number.
        transform: (p, z, n) to u(z).
        inputs: (p, z) to what the network gets.
        boundary: (p, z) to the value on the boundary, for the second block of rows.
    """

    equation: Callable[[Any, Function, Array], Array]
    transform: Callable[[Any, Array, Array], Array] = lambda p, z, n: n
    inputs: Callable[[Any, Array], Array] = lambda p, z: z
    boundary: Callable[[Any, Array], Array] | None = None


@dataclass(frozen=True)
class Rows:
    """One block of rows.

    Attributes:
        row: (x, z) to the row at z, without its weight.
        points: (m, d).
        weight: factor of the rows.
    """

    row: Row
    points: Array
    weight: float


def rows_of(problem: PDEProblem) -> list[Rows]:
    """The blocks of a problem in ``WRITTEN``; weight times row is the residual of the problem, block by block."""
    written = WRITTEN[type(problem).__name__.lower(), problem.dim]
    net = network(problem)

    def u(x: Array, z: Array) -> Array:
        return written.transform(problem, z, net(x, written.inputs(problem, z)))

    def inner(x: Array, z: Array) -> Array:
        return written.equation(problem, partial(u, x), z)

    def outer(x: Array, z: Array) -> Array:
        assert written.boundary is not None
        return u(x, z) - written.boundary(problem, z)

    blocks = problem.residual.blocks
    return [
        Rows(row, jnp.asarray(block.points.numpy()), block.weights[0])
        for row, block in zip((inner, outer), blocks, strict=False)
    ]


def network(problem: PDEProblem) -> Row:
    """(x, y) to N(y), for the flat parameters x of our fully connected network."""
    made: Any = problem.network
    first = made.inputs if made.embedding is None else made.embedding.features
    sizes = list(pairwise((first, *made.widths, 1)))
    sigma = {"tanh": jnp.tanh, "sin": jnp.sin}[made.activation]

    def value(x: Array, y: Array) -> Array:
        at = 0
        for layer, (n_in, n_out) in enumerate(sizes):
            weight = x[at : at + n_in * n_out].reshape(n_out, n_in)
            at += n_in * n_out
            y = weight @ y + x[at : at + n_out]
            at += n_out
            y = sigma(y) if layer < len(sizes) - 1 else y
        return y[0]

    return value


def d(u: Function, z: Array, *axes: int) -> Array:
    """A derivative of u at z."""
    if not axes:
        return u(z)
    unit = jnp.zeros_like(z).at[axes[0]].set(1.0)
    return jax.jvp(lambda y: d(u, y, *axes[1:]), (z,), (unit,))[1]


def laplacian(u: Function, z: Array) -> Array:
    return sum((d(u, z, k, k) for k in range(1, len(z))), d(u, z, 0, 0))


def _poisson_truth(p: Any, z: Array) -> Array:
    return jnp.cos(p.nu * z[0]) if p.dim == 1 else jnp.sin(p.k * pi * z).prod()


def _poisson(p: Any, u: Function, z: Array) -> Array:
    return -laplacian(u, z) - p.dim * p.frequency() ** 2 * _poisson_truth(p, z)


def _helmholtz_truth(p: Any, z: Array) -> Array:
    if p.dim == 1:
        return jnp.sin(p.nu * z[0]) + jnp.cos(p.nu * z[0])
    return jnp.sin(p.a1 * pi * z[0]) * jnp.sin(p.a2 * pi * z[1])


def _helmholtz(p: Any, u: Function, z: Array) -> Array:
    squared = (p.nu if p.dim == 1 else p.wavenumber) ** 2
    source = 0.0 if p.dim == 1 else (squared - (p.a1**2 + p.a2**2) * pi**2) * _helmholtz_truth(p, z)
    return laplacian(u, z) + squared * u(z) - source


def _on_square(p: Any, z: Array, n: Array) -> Array:
    return (1.0 - z[0] ** 2) * (1.0 - z[1] ** 2) * n


def _scaled(p: Any, z: Array) -> Array:
    low, high = jnp.asarray(p.network.embedding.bounds).T
    return (2.0 * z - low - high) / (high - low)


def _burgers(p: Any, u: Function, z: Array) -> Array:
    return d(u, z, 1) + u(z) * d(u, z, 0) - p.viscosity * d(u, z, 0, 0)


def _reaction(p: Any, u: Function, z: Array) -> Array:
    return d(u, z, 1) - p.rho * u(z) * (1.0 - u(z))


def _convection_inputs(p: Any, z: Array) -> Array:
    return jnp.stack([2.0 * z[1] - 1.0, jnp.cos(z[0]), jnp.sin(z[0])])


WRITTEN = {
    ("poisson", 1): Written(_poisson, boundary=_poisson_truth),
    ("poisson", 2): Written(_poisson, boundary=_poisson_truth),
    ("helmholtz", 1): Written(_helmholtz, boundary=_helmholtz_truth),
    ("helmholtz", 2): Written(_helmholtz, _on_square),
    ("burgers", 2): Written(_burgers, lambda p, z, n: z[1] * (1.0 - z[0] ** 2) * n - jnp.sin(pi * z[0])),
    ("reaction", 2): Written(
        _reaction, lambda p, z, n: z[1] * n + jnp.exp(-8.0 * (z[0] / pi - 1.0) ** 2), inputs=_scaled
    ),
    ("convection", 2): Written(
        lambda p, u, z: d(u, z, 1) + p.beta * d(u, z, 0), lambda p, z, n: z[1] * n + jnp.sin(z[0]), _convection_inputs
    ),
}
