"""What stands for the Hessians of the elements in partitioned training, by the names of ``CURVATURES``.

``pggn`` takes the Gauss-Newton matrices of the elements, from the Jacobian that their gradients come from: nothing is
learned. The others learn one secant matrix for each element from pairs of both gradients of the same batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.curvature import LBFGS, LSE, LSR1
from multilevel_opt.curvature.partitioned import Learned
from multilevel_opt.curvature.quasi_newton import QuasiNewton
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
        update: the batched secant curvature of the elements.
    """

    learns = True

    def __init__(self, update: QuasiNewton) -> None:
        self.update = update
        self.known: Learned | None = None

    def product(self, partition: Partition, batch: BatchDerivatives) -> Product:
        g = batch.element_gradients
        known = self._started(g)
        form = known.matrices.begun(known.scale(g), g)
        return lambda v: partition.scattered(form.matvec(partition.gathered(v)))

    def taught(self, partition: Partition, s: Tensor, y: Tensor) -> int:
        before = self._started(y)
        self.known = before.taught(partition.gathered(s), y)
        store = self.known.matrices.store
        return int((store.refused == 0).sum())

    def state(self) -> dict[str, Any]:
        if self.known is None:
            return {}
        return {"size": self.known.size, "guess": self.known.guess, "pairs": self.known.matrices.learned()}

    def restore(self, state: dict[str, Any]) -> None:
        self.known = None
        if state:
            matrices = self.update.restored(state["pairs"], state["size"], len(state["guess"]))
            self.known = Learned(matrices, state["guess"], state["size"])

    def _started(self, like: Tensor) -> Learned:
        if self.known is not None:
            return self.known
        return Learned(self.update.fresh(), like.new_full((len(like),), torch.nan), like.shape[1])


CURVATURES: dict[str, Callable[[int], ElementCurvature]] = {
    "pggn": lambda memory: GaussNewtonElements(),
    "plbfgs": lambda memory: SecantElements(LBFGS(memory=memory, patience=4)),
    "plsr1": lambda memory: SecantElements(LSR1(memory=memory, patience=4)),
    "plse": lambda memory: SecantElements(LSE(memory=memory, patience=4)),
}
