"""The methods of training by name: a line of ``TRAINERS`` is how to make an optimizer, and its options.

What is made has ``step(batch) -> float``, ``state_dict`` and ``load_state_dict``, and ``counts`` of its "gradients"
and "losses"; an optimizer of ``multilevel_opt.optim`` is that already, one of torch is wrapped by ``Plain``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from multilevel_opt import optim
from multilevel_opt.objective.batch import Batch
from multilevel_opt.objective.samples import Samples
from multilevel_opt.settings import filled


class Training(Protocol):
    """What is driven over the mini-batches."""

    counts: dict[str, float]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """As torch has them."""
        ...

    def step(self, closure: Any) -> Any:
        """One step on a batch; returns the loss before it."""
        ...

    def warm_up(self, closures: Iterable[Any]) -> None:
        """Learn from the losses of some batches before the first step; the weights stay."""
        ...

    def batch_size(self, size: int) -> int:
        """The rows that the batches of the next epoch should have, after those of ``size``."""
        ...

    def averaging(self) -> AbstractContextManager[None]:
        """Inside, the module has the weights to test."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What continues it bit for bit, as plain numbers and tensors."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        ...


Make = Callable[[Samples, int, Mapping[str, Any]], Training]


@dataclass(frozen=True)
class Trainer:
    """A method of training.

    Attributes:
        make: (samples, steps of an epoch, options) -> an optimizer of ``samples.module``.
        summary: one line for the command line.
        options: names and defaults of what can be set; ``overlap`` is the fraction of a batch shared with the next.
        levels: one, as methods of ``METHODS`` have several.
    """

    make: Make
    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)
    levels: ClassVar[int] = 1
    scalar: ClassVar[str] = "lr"

    def settings(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options with defaults filled in; raises ``InputError``."""
        return filled(name, self.options, options)


class Plain:
    """An optimizer of torch behind the same interface.

    Args:
        optimizer: one whose ``step`` takes a closure that calls ``backward``.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.counts: dict[str, float] = {"gradients": 0, "losses": 0}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """As torch has them."""
        return self.optimizer.param_groups

    def step(self, closure: Callable[[], Tensor]) -> float:
        """One step; returns the loss before it."""

        def evaluated() -> float:
            self.optimizer.zero_grad()
            loss = closure()
            loss.backward()
            self.counts["gradients"] += 1
            return float(loss.detach())

        return float(self.optimizer.step(evaluated))

    def warm_up(self, closures: Iterable[Any]) -> None:
        """Nothing is learned."""

    def batch_size(self, size: int) -> int:
        """The same."""
        return size

    def averaging(self) -> AbstractContextManager[None]:
        """The weights to test are those of the last step."""
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """That of the optimizer, with the counts."""
        return {"optimizer": self.optimizer.state_dict(), "counts": dict(self.counts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.counts = dict(state_dict["counts"])


def _torch(
    kind: Callable[..., torch.optim.Optimizer], samples: Samples, epoch: int, options: Mapping[str, Any]
) -> Plain:
    """An optimizer of torch, whose constructor has the names of the options."""
    return Plain(kind(trained(samples.module), **options))


def _own(kind: Callable[..., optim.Safe], samples: Samples, epoch: int, options: Mapping[str, Any]) -> optim.Safe:
    """One of ours, without the options that are of the batches."""
    return kind(samples.module, **{name: value for name, value in options.items() if name not in OF_BATCHES})


def _sgd_bb(samples: Samples, epoch: int, options: Mapping[str, Any]) -> optim.Safe:
    return optim.SGDBB(samples.module, epoch=epoch, **options)


def _svrg_bb(samples: Samples, epoch: int, options: Mapping[str, Any]) -> optim.Safe:
    return optim.SVRGBB(samples.module, samples, inner=2 * epoch, **options)


def _adam(parameters: Any, lr: float, beta1: float, beta2: float, epsilon: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr, (beta1, beta2), epsilon)


def trained(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [p for p in module.parameters() if p.requires_grad]


def batch_of(samples: Samples, sampler: optim.OverlapSampler) -> Batch:
    """The next batch of a sampler."""
    return samples.batch(sampler.draw(), sampler.carried, sampler.shared)


OF_BATCHES = ("overlap", "warm_up")
PARTITIONED = {
    "steps": "trust-region",
    "momentum": "none",
    "average": 0.1,
    "radius": 1.0,
    "forcing": 0.1,
    "max_products": 20,
    "doubt": 0.0,
}
KRONECKER = {"damping": 0.3, "every": 1, "adaptive": True, "warm_up": True, "weight_decay": 0.0}
TRAINERS: dict[str, Trainer] = {
    "sgd": Trainer(partial(_torch, torch.optim.SGD), "stochastic gradients, torch", {"lr": 0.1}),
    "momentum": Trainer(
        partial(_torch, torch.optim.SGD), "stochastic gradients with momentum, torch", {"lr": 0.03, "momentum": 0.9}
    ),
    "adam": Trainer(partial(_torch, _adam), "Adam, torch", {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
    "lbfgs": Trainer(
        partial(_torch, torch.optim.LBFGS),
        "L-BFGS of torch, whose pairs are of different batches",
        {"lr": 0.1, "max_iter": 1, "history_size": 10},
    ),
    "sgd-bb": Trainer(
        _sgd_bb, "stochastic gradients with Barzilai-Borwein learning rates", {"lr": 0.1, "stabilization": 0.0}
    ),
    "svrg-bb": Trainer(
        _svrg_bb, "stochastic gradients of reduced variance with Barzilai-Borwein learning rates", {"lr": 0.1}
    ),
    "multibatch-lbfgs": Trainer(
        partial(_own, optim.MultiBatchLBFGS),
        "L-BFGS with pairs of the samples that two batches share",
        {"lr": 0.1, "memory": 10, "pairs": "cautious", "overlap": 0.25, "progressive": 0.0},
    ),
    "pggn": Trainer(
        partial(_own, partial(optim.Partitioned, curvature="pggn")),
        "Gauss-Newton matrices of elements, for partially separable networks",
        {"lr": 0.2, **PARTITIONED},
    ),
    **{
        name: Trainer(
            partial(_own, partial(optim.Partitioned, curvature=name)),
            f"{kind} matrices of elements, for partially separable networks",
            {"lr": 1.0, "memory": 5, **PARTITIONED},
        )
        for name, kind in {"plbfgs": "L-BFGS", "plsr1": "L-SR1", "plse": "L-BFGS or L-SR1"}.items()
    },
    "kbfgs": Trainer(
        partial(_own, optim.KBFGS),
        "Kronecker-factored BFGS, one matrix for either factor of a layer",
        {"lr": 0.3, **KRONECKER, "renew": 0},
    ),
    "kbfgsl": Trainer(
        partial(_own, optim.KBFGSL),
        "Kronecker-factored BFGS, pairs in place of a matrix for the outputs of wide layers",
        {"lr": 0.3, "memory_size": 100, **KRONECKER, "renew": 0},
    ),
    "kfac": Trainer(
        partial(_own, optim.KFAC),
        "Kronecker-factored Fisher matrix",
        {"lr": 0.1, "likelihood": "empirical", **KRONECKER, "every": 20, "adaptive": False},
    ),
}
