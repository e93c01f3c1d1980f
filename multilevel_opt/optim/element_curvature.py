"""What stands for the Hessians of the elements in partitioned training, by the names of ``CURVATURES``.

``pggn`` takes the Gauss-Newton matrices of the elements, from the Jacobian that their gradients come from: nothing is
learned. The others learn one secant matrix for each element from pairs of both gradients of the same batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from multilevel_opt.curvature import LBFGS, LSE, LSR1
from multilevel_opt.curvature.limited_memory import LimitedMemory
from multilevel_opt.optim.element_pairs import ElementPairs
from multilevel_opt.separable.jacobian import BatchDerivatives
from multilevel_opt.separable.structure import Partition

Product = Callable[[Tensor], Tensor]


class ElementCurvature(ABC):
    """Matrices B_i of all elements."""

    learns: bool = False

    @abstractmethod
    def product(self, partition: Partition, batch: BatchDerivatives) -> Product:
        """V -> Σ U_iᵀ B_i U_i v at the weights of the batch."""

    def taught(self, partition: Partition, s: Tensor, y: Tensor) -> int:
        """Learn from a step s (n,) and the changes y (E, n_e) of element gradients; returns the elements that did."""
        return 0

    def state(self) -> dict[str, Any]:
        """What was learned, as plain numbers and tensors."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of ``state``."""
        assert not state


class GaussNewtonElements(ElementCurvature):
    """B_i = Σ φ'' d dᵀ over the samples of the batch."""

    def product(self, partition: Partition, batch: BatchDerivatives) -> Product:
        return batch.gauss_newton


class SecantElements(ElementCurvature):
    """Secant matrices.

    Args:
        update: the limited-memory secant curvature of an element, with nothing learned.
    """

    learns = True

    def __init__(self, update: LimitedMemory) -> None:
        self.update = update
        self.known: ElementPairs | None = None

    def product(self, partition: Partition, batch: BatchDerivatives) -> Product:
        known = self._started(partition, batch.element_gradients)
        return known.begun(batch.element_gradients).product(partition)

    def taught(self, partition: Partition, s: Tensor, y: Tensor) -> int:
        self.known, taken = self._started(partition, y).taught(partition, s, y, self.update)
        return int(taken.sum())

    def state(self) -> dict[str, Any]:
        return {} if self.known is None else self.known.tensors()

    def restore(self, state: dict[str, Any]) -> None:
        self.known = ElementPairs.of(state) if state else None

    def _started(self, partition: Partition, like: Tensor) -> ElementPairs:
        return self.known or ElementPairs.empty(partition, like, self.update.memory)


CURVATURES: dict[str, Callable[[int], ElementCurvature]] = {
    "pggn": lambda memory: GaussNewtonElements(),
    "plbfgs": lambda memory: SecantElements(LBFGS(memory=memory, patience=4)),
    "plsr1": lambda memory: SecantElements(LSR1(memory=memory, patience=4)),
    "plse": lambda memory: SecantElements(LSE(memory=memory, patience=4)),
}
