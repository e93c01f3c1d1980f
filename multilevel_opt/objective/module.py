"""A torch module and a closure as an objective of one flat vector.

The module and the closure are bound in one module and evaluated by ``torch.func.functional_call``, so the
parameters are never overwritten under a live graph (``p.data = …`` there gives silently wrong Hessian products).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.least_squares import LeastSquares


class _Bound(nn.Module):
    def __init__(self, module: nn.Module, closure: Callable[[], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.closure = closure

    def forward(self) -> Tensor:
        return self.closure()


class FlatModule:
    """The trainable parameters of a module as one vector x of shape (n,).

    Args:
        module: its parameters with ``requires_grad`` are optimized, in the order of ``named_parameters``.

    Raises:
        InputError: no trainable parameter, or parameters of several dtypes or devices.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.names = [name for name, p in module.named_parameters() if p.requires_grad]
        parameters = self._parameters()
        if not parameters:
            raise InputError("the module has no trainable parameter: set requires_grad on some")
        kinds = {(p.dtype, p.device) for p in parameters}
        if len(kinds) > 1:
            raise InputError(f"the parameters have several dtypes or devices {kinds}: move the module with .to(...)")
        self.sizes = [p.numel() for p in parameters]

    def _parameters(self) -> list[nn.Parameter]:
        return [self.module.get_parameter(name) for name in self.names]

    def get(self) -> Tensor:
        """X now, a copy."""
        return torch.cat([p.detach().reshape(-1) for p in self._parameters()])

    @torch.no_grad()
    def set(self, x: Tensor) -> None:
        """Write x of shape (n,) into the module."""
        for p, part in zip(self._parameters(), torch.split(x, self.sizes), strict=True):
            p.copy_(part.reshape(p.shape))

    def function(self, closure: Callable[[], Tensor]) -> Callable[[Tensor], Tensor]:
        """X -> closure() with the parameters of the module replaced by x."""
        bound = _Bound(self.module, closure)
        shapes = [p.shape for p in self._parameters()]

        def evaluate(x: Tensor) -> Tensor:
            parts = zip(self.names, torch.split(x, self.sizes), shapes, strict=True)
            values = {f"module.{name}": part.reshape(shape) for name, part, shape in parts}
            out: Tensor = torch.func.functional_call(bound, values, ())
            return out

        return evaluate

    def objective(self, closure: Callable[[], Tensor]) -> Objective:
        """The objective of a closure: a scalar is a function, a vector of shape (m,) the residual of least squares."""
        function = self.function(closure)
        with torch.no_grad():
            value = closure()
        if not isinstance(value, Tensor) or value.ndim > 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"the closure must return a loss or a residual of shape (m,), got {got}: reduce or flatten it"
            )
        return Function(function) if value.ndim == 0 else LeastSquares(function)
