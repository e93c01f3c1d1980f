"""Residuals of some of our problems in JAX, for peers that differentiate nothing else.

A row is a function of the parameters and of one point, so that peers can take its gradient point by point, as theirs
do. Points, row weights, network and start are those of the torch problem; only what is written there in torch is
written here again: equation, output transform, embedding of the coordinates, boundary values. Derivatives in space are
nested forward derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import pi
from typing import Any, cast

import jax
import jax.numpy as jnp

from multilevel_opt import PDEProblem
from multilevel_opt.pde import Chain, Paced, PeriodicFeatures
from multilevel_opt.pde.embeddings import Scaled
from multilevel_opt.pde.fronts import Beside

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
        boundary: (p, z) to the value on the boundary, for the second block of rows.
    """

    equation: Callable[[Any, Function, Array], Array]
    transform: Callable[[Any, Array, Array], Array] = lambda p, z, n: n
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
    net, embedding, front = network(problem), cast(Any, problem.network).embedding, problem.front()

    def u(x: Array, z: Array) -> Array:
        return written.transform(problem, z, net(x, embedded(embedding, z)))

    def inner(x: Array, z: Array) -> Array:
        length = 1.0 if front is None else _length(front, problem.place.bounds, z)
        return length * written.equation(problem, partial(u, x), z)

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


def embedded(embedding: Any, z: Array) -> Array:
    """What the network gets at z."""
    return z if embedding is None else EMBEDDINGS[type(embedding)](embedding, z)


def _centred(e: Any, z: Array) -> Array:
    low, high = jnp.asarray(e.bounds).T
    return (2.0 * z - low - high) / (high - low)


def _chained(e: Any, z: Array) -> Array:
    for part in e.parts:
        z = embedded(part, z)
    return z


def _periodic(e: Any, z: Array) -> Array:
    angles = 2 * pi / e.period * jnp.arange(1, e.harmonics + 1) * z[e.axis]
    return jnp.concatenate([jnp.delete(z, e.axis), jnp.cos(angles), jnp.sin(angles)])


def _beside(e: Any, z: Array) -> Array:
    at, delta, (low, high) = e.front.at, e.front.thickness, e.side
    s, first, last = (jnp.arcsinh((c - at) / delta) for c in (z[e.front.axis], low, high))
    return jnp.append(embedded(e.inner, z), (2.0 * s - first - last) / (last - first))


EMBEDDINGS: dict[type, Callable[[Any, Array], Array]] = {
    Scaled: _centred,
    Paced: lambda e, z: _centred(e, z) * jnp.append(jnp.ones(len(z) - 1), e.pace),
    PeriodicFeatures: _periodic,
    Chain: _chained,
    Beside: _beside,
}


def _length(front: Any, bounds: Any, z: Array) -> Array:
    """The factor of the rows of the equation near a front."""
    along = lambda c: jnp.hypot(c - front.at, front.thickness)  # noqa: E731
    return along(z[front.axis]) / max(along(end) for end in bounds[front.axis])


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
    return -laplacian(u, z) - p.dim * p.wave() ** 2 * _poisson_truth(p, z)


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


def _heat_start(p: Any, x: Array) -> Array:
    return jnp.sin(pi * x) + 0.5 * jnp.sin(p.k * pi * x)


def _wave_start(p: Any, x: Array) -> Array:
    return jnp.sin(pi * x) + 0.5 * jnp.sin(p.beta * pi * x)


def _pendulum(p: Any, u: Function, z: Array) -> Array:
    truth = p.a * jnp.sin(p.k * pi * z[0])
    force = -((p.k * pi) ** 2) * truth + p.omega**2 * jnp.sin(truth)
    return d(u, z, 0, 0) + p.omega**2 * jnp.sin(u(z)) - force


def _liouville_truth(p: Any, z: Array) -> Array:
    away = (z[0] - 0.4) ** 2 + (z[1] - 0.55) ** 2
    return jnp.log(8.0 * p.q / p.c) - 2.0 * jnp.log1p(p.q * away)


def _burgers(p: Any, u: Function, z: Array) -> Array:
    return d(u, z, 1) + u(z) * d(u, z, 0) - p.viscosity * d(u, z, 0, 0)


def _reaction(p: Any, u: Function, z: Array) -> Array:
    return d(u, z, 1) - p.rho * u(z) * (1.0 - u(z))


WRITTEN = {
    ("poisson", 1): Written(_poisson, boundary=_poisson_truth),
    ("poisson", 2): Written(_poisson, boundary=_poisson_truth),
    ("helmholtz", 1): Written(_helmholtz, boundary=_helmholtz_truth),
    ("helmholtz", 2): Written(_helmholtz, _on_square),
    ("burgers", 2): Written(_burgers, lambda p, z, n: z[1] * (1.0 - z[0] ** 2) * n - jnp.sin(pi * z[0])),
    ("reaction", 2): Written(_reaction, lambda p, z, n: z[1] * n + jnp.exp(-8.0 * (z[0] / pi - 1.0) ** 2)),
    ("convection", 2): Written(
        lambda p, u, z: d(u, z, 1) + p.beta * d(u, z, 0), lambda p, z, n: z[1] * n + jnp.sin(z[0])
    ),
    ("heat", 2): Written(
        lambda p, u, z: d(u, z, 1) - p.a * d(u, z, 0, 0),
        lambda p, z, n: _heat_start(p, z[0]) + z[1] / p.until * z[0] * (1.0 - z[0]) * n,
    ),
    ("wave", 2): Written(
        lambda p, u, z: d(u, z, 1, 1) - 4.0 * d(u, z, 0, 0),
        lambda p, z, n: _wave_start(p, z[0]) + z[1] ** 2 * 4.0 * z[0] * (1.0 - z[0]) * n,
    ),
    ("pendulum", 1): Written(_pendulum, lambda p, z, n: z[0] * (1.0 - z[0]) * n),
    ("liouville", 2): Written(lambda p, u, z: laplacian(u, z) + p.c * jnp.exp(u(z)), boundary=_liouville_truth),
}
