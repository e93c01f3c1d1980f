"""Scimba as a peer: natural gradients of its own on our network, points, conditions and start.

Its loss is the mean square of the equation plus w times that of the conditions. The rows of the conditions are given
in units of those of the equation, and w is the ratio of their numbers, so that the loss is 2‖r‖²/(m₁c²) of our ½‖r‖²
with m₁ points and the factor c of the equation: the same minimizers, and the units of its own examples.

``scimba-eng``      energy natural gradient: (JᵀJ/m₁ + 1e-6 I) d = gradient, by Cholesky, then Armijo's rule
``scimba-anagram``  ANaGRAM: d = J⁺r by a singular value decomposition without the values below 1e-6, then the same

A step that decreases nothing after ten halvings is taken all the same, with the learning rate 0.01, as there. These are
its defaults. The fixed 1e-6 is the weak spot: ``adaptive=true`` turns on its own adaptive regularization, and
``line_search="logarithmic_grid"`` its other search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import UnsupportedCombination
from multilevel_opt.pde import MLP, PDEProblem
from multilevel_opt.pde.activations import Activation
from multilevel_opt.pde.equations import Block
from multilevel_opt.study.watch import Watched

ITERATIONS = 10**9
Derivative = Callable[[tuple[int, ...]], Tensor]


def train(algorithm: str, watched: Watched, options: Mapping[str, Any]) -> str:
    """Train by a natural gradient of Scimba, looking at every iterate; returns its message.

    Args:
        algorithm: ``ENG`` or ``ANaGRAM``.
        watched: the problem.
        options: ``line_search``; of ENG ``matrix_regularization`` and ``adaptive``, of ANaGRAM ``svd_threshold``.

    Raises:
        UnsupportedCombination: the problem is no ``PDEProblem`` of one function with one condition at most.
    """
    problem = checked(watched.problem)
    with watched.clock.paused():
        import scimba_torch  # noqa: F401  its import sets torch's global defaults: float64, and a device

    with torch.device(problem.device):  # Scimba itself would take an accelerator wherever there is one
        with watched.clock.paused():
            solver = _solver(algorithm, watched, problem, options)
            solver.preconditioner.get_preconditioning_matrix(solver.data)  # the first use of vmap loads much
        solver.solve(epochs=ITERATIONS, verbose=False, silent=True)
    return "its iterations are over"


def checked(problem: Any) -> PDEProblem:
    """The problem, if Scimba can be given it here; raises ``UnsupportedCombination``."""
    if not isinstance(problem, PDEProblem):
        raise UnsupportedCombination(
            f"Scimba trains networks on boundary value problems, {type(problem).__name__} is none: leave it out"
        )
    network, blocks = problem.network, problem.residual.blocks
    found = {
        "a network that is not fully connected": not isinstance(network, MLP) or network.skip,
        f"numbers of {problem.dtype}": problem.dtype != "float64",
        "more than one function": len(problem.frame.outputs) > 1,
        "unknown scalars": bool(problem.frame.unknowns),
        "more than two coordinates": network.inputs > 2,
        "more than one condition beside the equation": len(blocks) > 2 or any(block.count > 1 for block in blocks),
        "conditions on data or on two points": any(b.source is not None or b.partners is not None for b in blocks),
    }
    for part, there in found.items():
        if there:
            raise UnsupportedCombination(f"the problem has {part}, which Scimba is not given here: leave it out")
    return problem


def _solver(algorithm: str, watched: Watched, problem: PDEProblem, options: Mapping[str, Any]) -> Any:
    from scimba_torch.numerical_solvers.elliptic_pde.pinns import NaturalGradientPinnsElliptic
    from scimba_torch.utils.scimba_tensors import LabelTensor

    blocks = problem.residual.blocks
    mu = [LabelTensor(block.points.new_zeros(len(block.points), 0)) for block in blocks]
    points: tuple[Any, ...] = (_points(blocks[0]), mu[0])
    if len(blocks) == 2:
        points = (*points, _points(blocks[1]), LabelTensor(blocks[1].normals), mu[1])

    class Solver(NaturalGradientPinnsElliptic):  # type: ignore[misc]
        data, seen = points, 0

        def sample_all_vars(self, **unused: Any) -> tuple[Any, ...]:
            if self.seen:  # it draws points at the start of every iteration: here is an iterate
                watched.look(self.space.get_dof(flag_format="tensor"))
            self.seen += 1
            for point in (points[0], *points[2:3]):
                point.x = point.x.detach().requires_grad_()
            return points

    return Solver(
        _equations(problem, _space(problem)),
        "strong" if len(blocks) == 1 else "weak",
        ng_algo=algorithm,
        in_weight=1.0,
        bc_weight=blocks[-1].rows / blocks[0].rows,
        functional_pre_processing=lambda x, mu: _embedded(problem, x[None])[0],
        functional_post_processing=lambda f, x, mu, theta: _transformed(problem, x[None], f(x, mu, theta)[None])[0],
        type_linesearch=options["line_search"],
        matrix_regularization=options.get("matrix_regularization"),
        adaptive_matrix_regularization=options.get("adaptive"),
        svd_threshold=options.get("svd_threshold"),
    )


def _points(block: Block) -> Any:
    from scimba_torch.utils.scimba_tensors import LabelTensor

    return LabelTensor(block.points.clone().requires_grad_())


def _space(problem: PDEProblem) -> Any:
    """Scimba's space of our network, with the parameters of ``x0``."""
    from scimba_torch.approximation_space.nn_space import NNxSpace
    from scimba_torch.domain.meshless_domain.domain_1d import Segment1D
    from scimba_torch.domain.meshless_domain.domain_2d import Square2D
    from scimba_torch.integration.monte_carlo import DomainSampler
    from scimba_torch.neural_nets.coordinates_based_nets.mlp import GenericMLP

    made = problem.network
    assert isinstance(made, MLP)
    box = (0.0, 1.0)  # all points are given: the domain has no effect
    domain = Segment1D(box, is_main_domain=True) if made.inputs == 1 else Square2D([box, box], is_main_domain=True)
    space = NNxSpace(
        1,
        0,
        GenericMLP,
        domain,
        SimpleNamespace(list_sampler=[DomainSampler(domain)]),
        layer_sizes=list(made.widths),
        last_layer_has_bias=True,
        pre_processing=lambda x, mu: _embedded(problem, x.x),
        post_processing=lambda n, x, mu: _transformed(problem, x.x, n),
        pre_processing_out_size=made.inputs if made.embedding is None else made.embedding.features,
    )
    space.network.activation = torch.nn.ModuleList(_Activation(made.sigma) for _ in made.widths)
    space.set_dof(problem.x0.clone())
    return space


class _Activation(torch.nn.Module):
    def __init__(self, sigma: Activation) -> None:
        super().__init__()
        self._sigma = sigma

    def forward(self, a: Tensor) -> Tensor:
        return self._sigma.derivatives(a, 0)[0]


def _embedded(problem: PDEProblem, z: Tensor) -> Tensor:
    network = problem.network
    assert isinstance(network, MLP)
    return z if network.embedding is None else network.embedding(z)


def _transformed(problem: PDEProblem, z: Tensor, n: Tensor) -> Tensor:
    return problem.transform(z, n) if problem.constrained() else n


def _equations(problem: PDEProblem, space: Any) -> Any:
    """Our equation and condition as an equation of Scimba, written twice as it asks: for batches and for a point."""
    from scimba_torch.physical_models.elliptic_pde.abstract_elliptic_pde import StrongFormEllipticPDE

    blocks, unit = problem.residual.blocks, problem.residual.blocks[0].weights[0]

    class Equations(StrongFormEllipticPDE):  # type: ignore[misc]
        def rhs(self, w: Any, x: Any, mu: Any) -> Tensor:
            return torch.zeros_like(x.x[:, :1])

        def bc_rhs(self, w: Any, x: Any, n: Any, mu: Any) -> Tensor:
            return torch.zeros_like(x.x[:, :1])

        def operator(self, w: Any, x: Any, mu: Any) -> Tensor:
            return self._batch(blocks[0], w, x, None)

        def bc_operator(self, w: Any, x: Any, n: Any, mu: Any) -> Tensor:
            return self._batch(blocks[1], w, x, n.x)

        def functional_operator(self, u: Any, x: Tensor, mu: Tensor, theta: Any) -> Tensor:
            return _rows(blocks[0], x[None], None, _at_a_point(u, x, mu, theta)) / unit

        def functional_operator_bc(self, u: Any, x: Tensor, n: Tensor, mu: Tensor, theta: Any) -> Tensor:
            return _rows(blocks[1], x[None], n[None], _at_a_point(u, x, mu, theta)) / unit

        def _batch(self, block: Block, w: Any, x: Any, normals: Tensor | None) -> Tensor:
            found: dict[tuple[int, ...], Tensor] = {(): w.get_components()}

            def derivative(axes: tuple[int, ...]) -> Tensor:
                if axes not in found:
                    slopes = self.grad(derivative(axes[:-1]), x)
                    for axis, slope in enumerate([slopes] if isinstance(slopes, Tensor) else slopes):
                        found[*axes[:-1], axis] = slope
                return found[axes]

            return _rows(block, x.x, normals, lambda axes: derivative(axes)[:, 0])[:, None] / unit

    return Equations(space, residual_size=1, bc_residual_size=1)


def _at_a_point(u: Callable[..., Tensor], x: Tensor, mu: Tensor, theta: Any) -> Derivative:
    """Derivatives of u at one point, as Scimba's own equations take them, (1,) each."""

    def derivative(axes: tuple[int, ...]) -> Tensor:
        slopes = u
        for _ in axes:
            slopes = torch.func.jacrev(slopes, 0)
        place: tuple[Any, ...] = (slice(None), *axes)
        return slopes(x, mu, theta)[place]

    return derivative


def _rows(block: Block, z: Tensor, normals: Tensor | None, derivative: Derivative) -> Tensor:
    """Weighted rows (m,) of a block at the points z (m, d), from derivatives (m,) of the function by axes."""
    assert block.needs is not None
    channels = [torch.stack([derivative(axes) for axes in term]).sum(0)[:, None] for term in block.needs.terms]
    return replace(block, points=z, normals=normals, sites=()).evaluate([torch.stack(channels)])[0]
