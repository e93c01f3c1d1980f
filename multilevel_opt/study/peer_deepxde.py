"""DeepXDE as a peer: its own network, derivatives, loss and training, on our points and from our start.

Its loss is a weighted sum of means, ½ mean(equation²) + (λ_p t_b / 2t) mean(boundary²), which equals ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.pde import Field, PDEProblem
from multilevel_opt.pde.activations import activation
from multilevel_opt.pde.operators import Channels
from multilevel_opt.study.watch import Watched

ITERATIONS = 10**9
A_CALL = 10


def train(watched: Watched, options: Mapping[str, Any]) -> str:
    """Train by Adam and then L-BFGS, looking after every iteration, then after every ten; returns its message.

    Raises:
        UnsupportedCombination: the problem is no ``PDEProblem``.
    """
    problem = watched.problem
    if not isinstance(problem, PDEProblem):
        raise UnsupportedCombination(
            f"DeepXDE trains networks on boundary value problems, {type(problem).__name__} is none: leave it out"
        )
    with torch.device(problem.device):  # DeepXDE itself would take an accelerator wherever there is one
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
        deepxde.optimizers.config.set_LBFGS_options(maxcor=options["history_size"], ftol=0, gtol=0, maxiter=ITERATIONS)
        # it looks at an iterate after a call of torch's LBFGS only, and takes a call of one iteration for convergence
        deepxde.optimizers.config.LBFGS_options |= {"iter_per_step": A_CALL, "fun_per_step": ITERATIONS}
        model.compile("L-BFGS", loss_weights=_weights(problem), verbose=0)
    model.train(**quiet)
    return "the line search of its L-BFGS found no decrease"


def _model(deepxde: Any, problem: PDEProblem, x0: Tensor) -> tuple[Any, torch.nn.Module]:
    """DeepXDE's model of the problem, with the parameters of ``x0``, and its network."""
    dim, interior, boundary = problem.dim, problem.interior_points, problem.boundary_points

    def field(z: Tensor, y: Tensor) -> Field:
        jacobian = [deepxde.grad.jacobian(y, z, i=0, j=j) for j in range(dim)]
        second = [deepxde.grad.hessian(y, z, i=j, j=j) for j in range(dim)]
        return Field(Channels(y[:, 0], torch.cat(jacobian, 1), torch.cat(second, 1).sum(1)))

    def equation(z: Tensor, y: Tensor) -> Tensor:
        return problem.equation(field(z, y), z)[:, None]

    def condition(z: Tensor, y: Tensor, numbers: Any) -> Tensor:
        return problem.boundary(Field(Channels(y[:, 0])), z)[:, None]

    low, high = ([bound[k] for bound in problem.bounds] for k in (0, 1))
    box = deepxde.geometry.Interval(low[0], high[0]) if dim == 1 else deepxde.geometry.Hypercube(low, high)
    fixed = deepxde.icbc.PointSetOperatorBC(boundary.cpu().numpy(), 0.0, condition)
    data = deepxde.data.PDE(box, equation, [fixed], num_domain=0, anchors=interior.cpu().numpy())
    sigma = activation(str(problem.activation))
    widths = problem.network.widths
    network = deepxde.nn.FNN([dim, *widths, 1], lambda a: sigma.derivatives(a, 0)[0], "Glorot uniform")
    vector_to_parameters(x0.clone(), network.parameters())
    return deepxde.Model(data, network), network


def _weights(problem: PDEProblem) -> list[float]:
    t, t_b = len(problem.interior_points), len(problem.boundary_points)
    return [0.5, 0.5 * float(problem.boundary_weight or 0.0) * t_b / t]


def _looking(deepxde: Any, watched: Watched, network: torch.nn.Module) -> Any:
    class Looking(deepxde.callbacks.Callback):  # type: ignore[misc]
        def on_batch_end(self) -> None:
            x = parameters_to_vector(network.parameters()).detach()
            watched.look(x, self.model.train_state.iteration)

    return Looking()
