"""Training data as a function of the weights that is addressed by ids: f_S(x) = (1/|S|) Σ_{i ∈ S} φ(u(x; aᵢ), bᵢ).

Who asks by ids decides which samples two evaluations share, so that both gradients of a secant pair, and both losses
of a gain ratio, are of the same samples. Nothing here draws samples: that is done by the samplers of
``multilevel_opt.optim``.

Curvature products are reverse mode over reverse mode, which nearly every layer of torch has; attention is computed by
its plain formula there and recurrent layers without cuDNN, since their fused kernels have no second derivative.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from multilevel_opt.errors import InputError, ShapeError
from multilevel_opt.ledger import Ledger
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.batch import Batch, Loss
from multilevel_opt.objective.module import FlatModule
from multilevel_opt.objective.taylor import Taylor

Ids = Tensor | Sequence[int] | slice


class Samples:
    """A module, a loss, and the samples that it is trained on.

    Args:
        module: maps inputs of shape (k, …) to outputs; its trainable parameters are the vector x.
        loss: (outputs, targets) -> the **mean** over the k samples, a scalar, as ``nn.functional.cross_entropy``; of
            its arguments alone, since weights that it reads from the module are not x.
        inputs: shape (m, …).
        targets: shape (m, …), on the same device.
        weight_decay: τ ≥ 0 of the term τ/2 ‖x‖² that is added to the loss of any samples.

    Everything but ``batch`` is a function of x alone: buffers (running means of a batch normalization) are copied
    before a forward pass, so that they stay as they are. A module with dropout must be in ``eval`` mode for that.

    Raises:
        InputError: no samples, other numbers of inputs and targets, or a module that cannot be trained.
    """

    def __init__(
        self, module: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, weight_decay: float = 0.0
    ) -> None:
        if not 0 <= weight_decay < float("inf"):
            raise InputError(f"weight_decay={weight_decay} is out of range: give 0 or a positive number")
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise InputError(
                f"there are {len(inputs)} inputs and {len(targets)} targets: give one of each for every sample"
            )
        self.module, self.loss, self.inputs, self.targets = module, loss, inputs, targets
        self.weight_decay = weight_decay
        self.flat = FlatModule(module)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def x(self) -> Tensor:
        """The trainable weights of the module now, shape (n,), a copy."""
        return self.flat.get()

    def batch(self, ids: Ids, carried: int = 0, shared: int = 0) -> Batch:
        """The samples ``ids`` as a closure for an optimizer, see ``Batch``."""
        chosen = self._ids(ids)
        rows = self.inputs[chosen], self.targets[chosen]
        return Batch(self.module, self.loss, *rows, chosen, carried, shared, self.weight_decay)

    def rows(self, ids: Ids, ledger: Ledger | None = None) -> Objective:
        """The mean loss of the samples ``ids`` as an objective of x."""
        inputs, targets = self._select(ids)
        return Rows(self.module, lambda x: self.penalized(self.loss(self.outputs(x, inputs), targets), x), ledger)

    def penalized(self, loss: Tensor, x: Tensor) -> Tensor:
        """The loss of some samples with the term τ/2 ‖x‖²."""
        return loss + 0.5 * self.weight_decay * x.square().sum() if self.weight_decay else loss

    def mean_loss(self, x: Tensor | None = None) -> float:
        """What is trained: the mean loss of all samples, in ``eval`` mode; None: at the weights of the module."""
        point = self._point(x)
        loss = self.means({"loss": self.loss}, point)["loss"]
        return loss + 0.5 * self.weight_decay * float(point.double().square().sum()) if self.weight_decay else loss

    def outputs(self, x: Tensor, inputs: Tensor) -> Tensor:
        """The outputs of the module with the weights x, without a trace in the module."""
        parts = zip(self.flat.names, torch.split(x, self.flat.sizes), strict=True)
        values = {name: part.reshape(self.module.get_parameter(name).shape) for name, part in parts}
        values |= {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        found: Tensor = torch.func.functional_call(self.module, values, (inputs,))
        return found

    def loss_grad(self, ids: Ids, x: Tensor | None = None) -> tuple[float, Tensor]:
        """(f, ∇f) of the samples ``ids`` at x of shape (n,); None: at the weights of the module."""
        taylor = self.rows(ids).expand(self._point(x), 1)
        return float(taylor.value), taylor.gradient

    def hvp(self, v: Tensor, ids: Ids, x: Tensor | None = None) -> Tensor:
        """∇²f v of the samples ``ids``, shape (n,)."""
        product: Tensor = self.rows(ids).expand(self._point(x), 2).forms[1](v)
        return product

    def vjp(self, w: Tensor, ids: Ids, x: Tensor | None = None) -> Tensor:
        """Uᵀ w for the Jacobian U of the outputs of the samples ``ids``, shape (n,); w has the shape of the outputs."""
        with differentiable_twice(self.module), torch.enable_grad():
            point = self._point(x).clone().requires_grad_()
            outputs = self._outputs(point, ids, w, "w")
            (product,) = torch.autograd.grad(outputs, point, w, materialize_grads=True)
        found: Tensor = product.detach()
        return found

    def jvp(self, v: Tensor, ids: Ids, x: Tensor | None = None) -> Tensor:
        """U v, of the shape of the outputs: the derivative of w -> Uᵀw applied to v (two reverse passes)."""
        with differentiable_twice(self.module), torch.enable_grad():
            point = self._point(x).clone().requires_grad_()
            outputs = self._outputs(point, ids)
            w = torch.zeros_like(outputs, requires_grad=True)
            (pulled,) = torch.autograd.grad(outputs, point, w, create_graph=True, materialize_grads=True)
            (product,) = torch.autograd.grad(pulled, w, v, materialize_grads=True)
        found: Tensor = product.detach()
        return found

    @torch.no_grad()
    def means(self, measures: Mapping[str, Loss], x: Tensor | None = None, chunk: int = 1000) -> dict[str, float]:
        """The means over all samples of some measures of (outputs, targets), in ``eval`` mode, a chunk at a time."""
        point, mode = self._point(x), self.module.training
        totals = dict.fromkeys(measures, 0.0)
        self.module.eval()
        try:
            for inputs, targets in zip(self.inputs.split(chunk), self.targets.split(chunk), strict=True):
                outputs = self.outputs(point, inputs)
                for name, measure in measures.items():
                    totals[name] += float(measure(outputs, targets)) * len(inputs)
        finally:
            self.module.train(mode)
        return {name: total / len(self) for name, total in totals.items()}

    def _point(self, x: Tensor | None) -> Tensor:
        return self.x if x is None else x

    def _outputs(self, point: Tensor, ids: Ids, like: Tensor | None = None, name: str = "") -> Tensor:
        outputs = self.outputs(point, self._select(ids)[0])
        if like is not None and like.shape != outputs.shape:
            raise ShapeError(
                f"{name} has shape {tuple(like.shape)}, the outputs have {tuple(outputs.shape)}: make them the same"
            )
        return outputs

    def _select(self, ids: Ids) -> tuple[Tensor, Tensor]:
        """Inputs and targets; of a slice without a copy."""
        chosen = ids if isinstance(ids, slice) else self._ids(ids)
        return self.inputs[chosen], self.targets[chosen]

    def _ids(self, ids: Ids) -> Tensor:
        device = self.inputs.device
        if isinstance(ids, slice):
            ids = torch.arange(len(self), device=device)[ids]
        chosen = torch.as_tensor(ids, dtype=torch.int64, device=device)
        if chosen.ndim != 1 or chosen.numel() == 0:
            raise ShapeError(f"ids must be one or more numbers in a row, got shape {tuple(chosen.shape)}: flatten them")
        return chosen


class Rows(Function):
    """A function of the weights of a module, whose higher expansions use layers that have second derivatives."""

    def __init__(self, module: nn.Module, function: Callable[[Tensor], Tensor], ledger: Ledger | None = None) -> None:
        super().__init__(function, ledger=ledger)
        self.module = module

    def expand(self, x: Tensor, order: int) -> Taylor:
        with differentiable_twice(self.module) if order > 1 else contextlib.nullcontext():
            return super().expand(x, order)


@contextlib.contextmanager
def differentiable_twice(module: nn.Module) -> Iterator[None]:
    """A context whose forward passes can be differentiated twice; raises ``InputError`` for a compiled module."""
    if any(hasattr(part, "_orig_mod") for part in module.modules()):
        raise InputError("a module made by torch.compile has no second derivatives: give the module before it")
    recurrent = any(isinstance(part, nn.RNNBase) for part in module.modules())
    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if recurrent:
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield
