"""jinns' optimizers on the rows of ``jax_rows``: natural gradient, and self-scaled Broyden.

The loss is the one that jinns would form, Σ_b w_b mean(e_b²), with w = 1 for the equation and for the condition what
makes it proportional to our ½‖r‖². Compiling is not timed; ``Timed.compiling`` has its seconds.

``jinns-ngd``        (JᵀJ + 1e-5 I) d = Jᵀr in the mean, then optax's backtracking, as ``vanilla_ngd`` sets them
``jinns-ssbroyden``  ``scale_by_SSBroyden_family`` with its zoom line search, from the identity

``gram_reg`` is fixed for the whole run: what is best for the last digits is too small for the first steps on a hard
problem. docs/studies.md tells what was tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from jinns.optimizers import scale_by_SSBroyden_family, vanilla_ngd
from jinns.parameters import Params

from benchmarks.jax_rows import Array, Rows, rows_of
from benchmarks.timed import Timed
from multilevel_opt.study.peers import Peer

Step = Callable[[Any], Any]
A_CALL = 10  # steps of Broyden's method between two looks


def natural_gradient(watched: Timed, options: Mapping[str, Any]) -> str:
    """Steps of ``vanilla_ngd``, each looked at."""
    blocks, factors = _scaled(watched)
    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=options["backtracking_steps"])
    solver = vanilla_ngd(gram_reg=options["gram_reg"], linesearch=search)

    def residuals(params: Any, batch: Any = None) -> tuple[Array, ...]:
        return tuple(jax.vmap(b.row, (None, 0))(params.nn_params["x"], b.points)[:, None] for b in blocks)

    def gradients(params: Any) -> tuple[Any, ...]:
        rows = [jax.vmap(jax.grad(b.row), (None, 0))(params.nn_params["x"], b.points)[:, None] for b in blocks]
        return tuple(Params(nn_params={"x": g}, eq_params={}) for g in rows)

    loss = SimpleNamespace(evaluate_per_sample=residuals)
    start = Params(nn_params={"x": jnp.asarray(watched.x0.numpy())}, eq_params={})
    state = solver.init(start)

    def step(carry: Any) -> Any:
        params, search_state = carry
        r = residuals(params)
        value = sum(jnp.sum((s * e) ** 2) for s, e in zip(factors, r, strict=True))
        full = _with(state, search_state)
        updates, full = solver.update((r, gradients(params), factors), full, params, loss, None, value)
        return optax.apply_updates(params, updates), full.tx_state

    return _run(watched, step, (start, state.tx_state), lambda carry: carry[0].nn_params["x"], 1)


def broyden(watched: Timed, options: Mapping[str, Any]) -> str:
    """Steps of ``scale_by_SSBroyden_family``, looked at after every ten."""
    blocks, factors = _scaled(watched)

    def loss(x: Array) -> Array:
        rows = [s * jax.vmap(b.row, (None, 0))(x, b.points) for s, b in zip(factors, blocks, strict=True)]
        return sum((jnp.sum(r**2) for r in rows), jnp.zeros(()))

    solver = scale_by_SSBroyden_family(method=options["method"])
    x0 = jnp.asarray(watched.x0.numpy())

    def step(carry: Any) -> Any:
        x, state = carry
        value, slope = jax.value_and_grad(loss)(x)
        more = {"value": value, "grad_pt": slope, "value_fn": loss, "grad_fn": jax.grad(loss)}
        update, state = solver.update(slope, state, x, **more)
        return optax.apply_updates(x, update), state

    def steps(carry: Any) -> Any:
        return jax.lax.fori_loop(0, A_CALL, lambda _, c: step(c), carry)

    return _run(watched, steps, (x0, solver.init(x0)), lambda carry: carry[0], A_CALL)


def _scaled(watched: Timed) -> tuple[list[Rows], tuple[Array, ...]]:
    """Rows, and factors √(w_b/m_b) of them with w = 1 for the equation."""
    problem: Any = watched.problem
    blocks = rows_of(problem)
    unit = blocks[0].weight * len(blocks[0].points) ** 0.5
    return blocks, tuple(jnp.asarray(b.weight / unit) for b in blocks)


def _with(state: Any, search_state: Any) -> Any:
    from equinox import tree_at

    return tree_at(lambda s: s.tx_state, state, search_state)


def _run(watched: Timed, step: Step, carry: Any, x_of: Callable[[Any], Array], stride: int) -> str:
    """Compile a step with the clock stopped, and repeat it until a rule ends it or nothing changes any more."""
    with watched.clock.paused():
        carry = jax.tree.map(jnp.asarray, carry)
        started = time.process_time()
        compiled = jax.jit(step).lower(carry).compile()
        watched.compiling = time.process_time() - started
        jax.block_until_ready(compiled(carry))  # its first call takes longer than the others
    before, number = watched.x0, 0
    while True:
        carry = jax.block_until_ready(compiled(carry))
        number += stride
        x = torch.from_numpy(jax.device_get(x_of(carry)).copy())
        if torch.equal(x, before) or not bool(x.isfinite().all()):
            return "its line search found no decrease" if bool(x.isfinite().all()) else "it left the finite numbers"
        before = x
        watched.look(x, number)


JAX_PEERS: dict[str, Peer] = {
    "jinns-ngd": Peer(
        natural_gradient,  # type: ignore[arg-type]  # it is given a Timed
        "jinns, natural gradient",
        "jinns",
        "jinns",
        {"gram_reg": 1e-5, "backtracking_steps": 15},
        counted=False,
    ),
    "jinns-ssbroyden": Peer(
        broyden,  # type: ignore[arg-type]
        "jinns, self-scaled Broyden",
        "jinns",
        "jinns",
        {"method": "SSBroyden"},
        counted=False,
    ),
}
