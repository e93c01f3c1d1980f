"""DeepXDE as a peer: its own network, derivatives, loss and training, on our points and from our start.

Its loss is a weighted sum of means over the blocks of our residual, Σ_b (m_b/2) mean(r_b²) = ½‖r‖², which is ours.

Adam, then L-BFGS; as ``deepxde-nncg`` NNCG after a number of iterations of L-BFGS, the order of Rathore, Lei,
Frangella, Lu & Udell (ICML 2024), with DeepXDE's defaults: rank 50, damping 0.1, at most 1000 iterations of conjugate
gradients to an absolute 1e-16, Armijo's rule. That tolerance is below rounding, so that a step takes all of the 1000:
``cg_iterations`` bounds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.pde import PDEProblem
from multilevel_opt.pde.equations import Block
from multilevel_opt.pde.networks import MLP, Network
from multilevel_opt.pde.terms import Term
from multilevel_opt.study.watch import Watched

ITERATIONS = 10**9
A_CALL = 10


def train(watched: Watched, options: Mapping[str, Any]) -> str:
    """Train by Adam, L-BFGS and NNCG, if there is a ``rank`` for it; returns its message.

    An iterate is looked at after every iteration of Adam and NNCG, and after every ten of L-BFGS.

    Raises:
        UnsupportedCombination: the problem is no ``PDEProblem``.
    """
    problem = watched.problem
    if not isinstance(problem, PDEProblem):
        raise UnsupportedCombination(
            f"DeepXDE trains networks on boundary value problems, {type(problem).__name__} is none: leave it out"
        )
    with (
        torch.device(problem.device),
        redirect_stdout(StringIO()),
    ):  # NNCG prints warnings; DeepXDE itself would take an accelerator wherever there is one
        return _trained(watched, problem, options)


def _trained(watched: Watched, problem: PDEProblem, options: Mapping[str, Any]) -> str:
    with watched.clock.paused():
        os.environ["DDE_BACKEND"] = "pytorch"
        import deepxde

        deepxde.config.set_default_float(problem.dtype)
        model, network = _model(deepxde, problem, watched.x0)
    looking = _looking(deepxde, watched, network)
    quiet = {"display_every": ITERATIONS, "verbose": 0, "callbacks": [looking]}
    if options["adam_iterations"]:
        with watched.clock.paused():
            model.compile("adam", lr=options["learning_rate"], loss_weights=_weights(problem), verbose=0)
        model.train(iterations=options["adam_iterations"], **quiet)
    with watched.clock.paused():
        most = options.get("lbfgs_iterations", ITERATIONS)
        deepxde.optimizers.config.set_LBFGS_options(maxcor=options["history_size"], ftol=0, gtol=0, maxiter=most)
        # it looks at an iterate after a call of torch's LBFGS only, and takes a call of one iteration for convergence
        deepxde.optimizers.config.LBFGS_options |= {"iter_per_step": A_CALL, "fun_per_step": ITERATIONS}
        model.compile("L-BFGS", loss_weights=_weights(problem), verbose=0)
    model.train(**quiet)
    if "rank" not in options:
        return "the line search of its L-BFGS found no decrease"
    with watched.clock.paused():
        deepxde.optimizers.config.set_NNCG_options(
            rank=options["rank"], mu=options["damping"], cgmaxiter=options["cg_iterations"]
        )
        model.compile("NNCG", loss_weights=_weights(problem), verbose=0)
    try:
        model.train(iterations=ITERATIONS, **quiet)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # the rank is above that of its Hessian
        return f"its NNCG failed: {error}"
    return "the iterations of its NNCG are over"


def _model(deepxde: Any, problem: PDEProblem, x0: Tensor) -> tuple[Any, torch.nn.Module]:
    """DeepXDE's model of the problem, with the parameters of ``x0``, and its network."""
    made = problem.network
    blocks = problem.residual.blocks
    _check(problem, made, blocks)
    assert isinstance(made, MLP)
    points = torch.cat([block.points for block in blocks]).cpu().numpy()
    low, high = points.min(0) - 1.0, points.max(0) + 1.0  # all points are given: what is around them has no effect
    box = deepxde.geometry.Interval(low[0], high[0]) if made.inputs == 1 else deepxde.geometry.Hypercube(low, high)
    data = deepxde.data.PDE(box, None, [_condition(deepxde, block, len(problem.frame.outputs)) for block in blocks])
    sigma, first = made.sigma, made.inputs if made.embedding is None else made.embedding.features
    network = deepxde.nn.FNN(
        [first, *made.widths, made.outputs], lambda a: sigma.derivatives(a, 0)[0], "Glorot uniform"
    )
    if made.embedding is not None:
        network.apply_feature_transform(made.embedding)
    vector_to_parameters(x0.clone(), network.parameters())
    if problem.constrained():
        network.apply_output_transform(problem.transform)
    return deepxde.Model(data, network), network


def _check(problem: PDEProblem, network: Network, blocks: Sequence[Block]) -> None:
    """Raise ``UnsupportedCombination`` for what DeepXDE is not told here."""
    plain = isinstance(network, MLP) and not network.skip
    found = {
        "a network that is not fully connected": not plain,
        "unknown scalars": bool(problem.frame.unknowns),
        "conditions that join two points": any(block.partners is not None for block in blocks),
        "derivatives of an order above two": any(block.needs is not None and block.needs.order > 2 for block in blocks),
    }
    for part, there in found.items():
        if there:
            raise UnsupportedCombination(f"the problem has {part}, which 'deepxde' does not take here: leave it out")


def _condition(deepxde: Any, block: Block, outputs: int) -> Any:
    """The rows of a block as a condition of DeepXDE at its points."""

    def error(unused: Any, z: Tensor, y: Tensor, first: int, last: int, numbers: Any = None) -> Tensor:
        assert block.needs is not None
        terms = [_term(deepxde, term, z, y, outputs)[first:last] for term in block.needs.terms]
        return block.evaluate([torch.stack(terms)]).T

    condition = deepxde.icbc.PointSetOperatorBC(block.points.cpu().numpy(), 0.0, lambda z, y, numbers: y)
    condition.error = error
    return condition


def _term(deepxde: Any, term: Term, z: Tensor, y: Tensor, outputs: int) -> Tensor:
    """The term of every function at the points z, shape (m, K), by DeepXDE's derivatives."""

    def derivative(axes: tuple[int, ...], k: int) -> Tensor:
        order: dict[int, Callable[[], Any]] = {
            0: lambda: y[:, k : k + 1],
            1: lambda: deepxde.grad.jacobian(y, z, i=k, j=axes[0]),
            2: lambda: deepxde.grad.hessian(y, z, component=k, i=axes[0], j=axes[1]),
        }
        found: Tensor = order[len(axes)]()
        return found

    return torch.cat([torch.stack([derivative(axes, k) for axes in term]).sum(0) for k in range(outputs)], 1)


def _weights(problem: PDEProblem) -> list[float]:
    return [0.5 * block.rows for block in problem.residual.blocks]


def _looking(deepxde: Any, watched: Watched, network: torch.nn.Module) -> Any:
    class Looking(deepxde.callbacks.Callback):  # type: ignore[misc]
        def on_batch_end(self) -> None:
            x = parameters_to_vector(network.parameters()).detach()
            watched.look(x, self.model.train_state.iteration)

    return Looking()
