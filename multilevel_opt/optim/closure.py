"""Calling a closure: the loss as a number, its gradient as tensors, and one sentence for what is not a loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError

Closure = Callable[[], Tensor]


def loss_of(closure: Closure) -> float:
    """The loss; raises ``ShapeError``."""
    with torch.no_grad():
        return float(_checked(closure()))


def gradient_of(
    closure: Closure, weights: list[Tensor], beside: list[Tensor] | None = None
) -> tuple[float, list[Tensor], float]:
    """(loss, its gradient with respect to every weight, the norm of the gradient).

    Args:
        closure: returns the loss.
        weights: what the gradient is for; where there is none, the norm is that of the gradients of ``beside``.
        beside: further tensors of the graph, filled in by the closure; their gradients follow those of the weights.

    Raises:
        ShapeError: the closure returns no single number.
        InputError: the loss depends on none of the weights, or the closure called ``backward``.
    """
    loss, gradient = differentiated(closure, weights, beside)
    norms = torch.stack([norm.to(loss) for norm in torch._foreach_norm(gradient[: len(weights)] or gradient)])
    value, norm = torch.stack([loss, torch.linalg.vector_norm(norms)]).tolist()
    return value, gradient, norm


def differentiated(
    closure: Closure, weights: list[Tensor], beside: list[Tensor] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The loss and its gradient as in ``gradient_of``; nothing is waited for."""
    with torch.enable_grad():
        loss = _checked(closure())
        if not loss.requires_grad:
            raise InputError("the loss depends on no trainable parameter: return it with its graph, without .item()")
        try:
            wanted = [*weights, *(beside or [])]
            found = torch.autograd.grad(loss, wanted, allow_unused=True)
        except RuntimeError as error:
            if "second time" not in str(error):
                raise
            raise InputError(
                "the closure calls backward, which the optimizer does: leave loss.backward() out"
            ) from error
    gradient = [torch.zeros_like(w) if g is None else g.detach() for w, g in zip(wanted, found, strict=True)]
    return loss.detach(), gradient


def _checked(loss: Tensor) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ShapeError(f"the closure must return the loss, one number, got {got}: take the mean")
    return loss.reshape(())
