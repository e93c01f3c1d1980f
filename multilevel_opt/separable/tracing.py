"""Find the weights that each score of a module depends on.

A weight belongs to score j if ∂c_j/∂w differs from 0 at random weights and inputs. Such probes are repeated until some
in a row add nothing, since a unit may be dead in one of them. Then the finding is tested by evaluation: with every
weight outside U_j replaced, c_j must not change. That reveals what derivatives do not show, such as ``detach`` and
rounding.
"""

from __future__ import annotations

import copy
from math import sqrt

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.objective.module import FlatModule
from multilevel_opt.separable.structure import Structure

SAMPLES = 4  # inputs of one probe
MOST = 50  # probes


def trace(model: nn.Module, inputs: Tensor, probes: int = 3, limit: float = 0.5, seed: int = 0) -> Structure:
    """The structure of a module whose outputs are the scores.

    Args:
        model: takes inputs (N, ...) to scores (N, C); its weights stay as they are.
        inputs: some samples, of which only shape, dtype and device matter.
        probes: random weights and inputs in a row that must add nothing.
        limit: largest share of the weights that scores may share.
        seed: of the probes.

    Raises:
        ShapeError: outputs that are no scores.
        InputError: a module that is not partially separable, that depends on weights without a derivative, or that
            gives another result when evaluated again.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and layer.training:
            raise InputError(
                f"layer {name!r} makes the scores of a sample depend on the others of its batch: use GroupNorm, or put "
                "the layer in eval mode"
            )
    probe = copy.deepcopy(model).double().eval().requires_grad_(True)
    for parameter, original in zip(probe.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    flat = FlatModule(probe)
    structure = Structure(_masks(flat, inputs, probes, generator), tuple(flat.names), tuple(flat.sizes))
    _test(flat, structure, _drawn_inputs(inputs, generator), generator)
    _refuse_coupled(structure, limit)
    return structure


def _masks(flat: FlatModule, inputs: Tensor, probes: int, generator: torch.Generator) -> Tensor:
    """Score j depends on weight i, bool of shape (C, n)."""
    masks, idle = _dependences(flat, _drawn_inputs(inputs, generator), generator), 0
    for _ in range(MOST):
        more = masks | _dependences(flat, _drawn_inputs(inputs, generator), generator)
        idle = idle + 1 if torch.equal(more, masks) else 0
        masks = more
        if idle == probes:
            break
    return masks


def _drawn_inputs(inputs: Tensor, generator: torch.Generator) -> Tensor:
    shape = (SAMPLES, *inputs.shape[1:])
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(inputs.device)


def _drawn_weights(flat: FlatModule, generator: torch.Generator) -> Tensor:
    """Normal weights that keep the size of signals."""
    parts = []
    for name in flat.names:
        p = flat.module.get_parameter(name)
        drawn = torch.randn(p.shape, generator=generator, dtype=torch.float64, device="cpu")
        parts.append(drawn.reshape(-1).to(p.device) / sqrt(max(1, p[0].numel() if p.ndim > 1 else 1)))
    return torch.cat(parts)


def _dependences(flat: FlatModule, inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Where ∂c_j/∂w differs from 0, bool of shape (C, n)."""
    flat.set(_drawn_weights(flat, generator))
    with torch.enable_grad():
        scores = flat.module(inputs)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(inputs) or not scores.requires_grad:
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ShapeError(f"{len(inputs)} samples must give differentiable scores (samples, classes), got {shape}")
    weights = [flat.module.get_parameter(name) for name in flat.names]
    weighting = torch.rand(len(inputs), generator=generator, dtype=torch.float64, device="cpu").to(scores) + 0.5
    rows = []
    for j in range(scores.shape[1]):
        cotangent = torch.zeros_like(scores)
        cotangent[:, j] = weighting
        parts = torch.autograd.grad(scores, weights, cotangent, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.reshape(-1) for part in parts]) != 0)
    return torch.stack(rows)


@torch.no_grad()
def _test(flat: FlatModule, structure: Structure, inputs: Tensor, generator: torch.Generator) -> None:
    """Evaluate every score with the weights outside its own set replaced."""
    x, other = _drawn_weights(flat, generator), _drawn_weights(flat, generator)
    flat.set(x)
    before = flat.module(inputs)
    for j, mask in enumerate(structure.masks):
        flat.set(torch.where(mask, x, other))
        error = float((flat.module(inputs)[:, j] - before[:, j]).abs().max())
        if not error <= 1e-10 * (1 + float(before.abs().max())):
            raise InputError(
                f"score {j} changes by {error:.1e} with weights that it has no derivative for: remove detach, no_grad, "
                "rounding or random parts from the module, or train it by another method"
            )


def _refuse_coupled(structure: Structure, limit: float) -> None:
    share, owners = len(structure.shared) / structure.n, structure.owners()
    layers = sorted({name.rpartition(".")[0] or name for name in owners})
    if not layers:
        raise InputError(
            f"every weight serves several of the {structure.classes} scores, so the loss is not partially separable: "
            "end the module with SeparableLinear layers"
        )
    if share > limit:
        last = f"it ends in the dense layer {layers[0]!r}" if len(layers) == 1 else "most of it is shared"
        raise InputError(
            f"{len(structure.shared)} of {structure.n} weights serve several scores ({100 * share:.0f} %), so the loss "
            f"is not partially separable, since {last}: end the module with SeparableLinear layers"
        )
