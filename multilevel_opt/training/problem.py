"""A problem of training: samples to train on, samples to test on, and how long.

A subclass is a dataclass that gives ``made``. To the rest of the package it is a problem like any other: its objective
is the mean loss of all training samples as a function of the weights, so that every solver can be tried on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.base import Objective
from multilevel_opt.objective.batch import Loss
from multilevel_opt.objective.samples import Samples


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The fraction of rows whose largest output is that of the class."""
    return (outputs.argmax(1) == targets).double().mean()


def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The fraction of rows whose largest output is that of another class."""
    return 1.0 - accuracy(outputs, targets)


@dataclass
class TrainingProblem:
    """Base of the problems that are trained on mini-batches.

    Attributes:
        epochs: how long to train.
        batch: samples of a mini-batch.
        seed: of the first weights, of the order of the samples, and of random layers.
        dtype: float32 or float64.
        device: cpu, cuda or cuda:N.

    Raises:
        InputError: a value out of range.
    """

    epochs: int = 5
    batch: int = 100
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"

    group: ClassVar[str] = "training on mini-batches"
    default_method: ClassVar[str] = "adam"
    rising: ClassVar[frozenset[str]] = frozenset({"test_accuracy"})
    measures: ClassVar[Mapping[str, Loss]] = {}

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise InputError(f"epochs={self.epochs}, batch={self.batch} is out of range: give 1 or more")
        if self.dtype not in DTYPES:
            raise InputError(f"unknown dtype {self.dtype!r}: choose one of {', '.join(DTYPES)}")

    def made(self) -> tuple[Samples, Samples | None]:
        """The samples to train on, and those to test on with the same module; called once, under the seed."""
        raise InputError(f"{type(self).__name__} offers no samples: give it a method made()")

    @cached_property
    def _made(self) -> tuple[Samples, Samples | None]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.made()

    @property
    def samples(self) -> Samples:
        """What is trained on."""
        return self._made[0]

    @cached_property
    def x0(self) -> Tensor:
        """The first weights, shape (n,)."""
        return self.samples.x

    @cached_property
    def start(self) -> dict[str, Tensor]:
        """The state of the module before any training."""
        return {name: value.detach().clone() for name, value in self.samples.module.state_dict().items()}

    @cached_property
    def objective(self) -> Objective:
        """The mean loss of all training samples."""
        return self.samples.rows(slice(None))

    @cached_property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]:
        """The means of ``measures`` over the test samples, as functions of the weights, named ``test_…``."""
        test = self._made[1]
        if test is None:
            return {}
        tested = _Tested(test, {f"test_{name}": measure for name, measure in self.measures.items()})
        return {name: lambda x, name=name: tested(x)[name] for name in tested.measures}  # type: ignore[misc]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What defines the problem."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch has it."""
        return DTYPES[self.dtype]


DTYPES = {"float32": torch.float32, "float64": torch.float64}


class _Tested:
    """All measures of one point in one pass."""

    def __init__(self, samples: Samples, measures: Mapping[str, Loss]) -> None:
        self.samples, self.measures = samples, measures
        self._at: list[Tensor] = []
        self._found: dict[str, float] = {}

    def __call__(self, x: Tensor) -> dict[str, float]:
        now = [x, *self.samples.module.buffers()]
        if len(self._at) != len(now) or not all(map(torch.equal, self._at, now)):
            self._found = self.samples.means(self.measures, x)
            self._at = [value.detach().clone() for value in now]
        return self._found
