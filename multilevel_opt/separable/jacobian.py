"""The Jacobian of the scores of a batch, in the parts that the structure leaves, and what is made of it.

    J: ∂c_{l,j} / ∂(own weights of j),  (C, N, n_own)          S: ∂c_{l,j} / ∂(shared weights),  (N, C, n_shared)

With the slopes and Hessians of a ``ScoreLoss`` these give the gradient of every element, the products with the
Gauss-Newton matrix Σ_l ∇c_l H_l ∇c_lᵀ / N (for pairwise losses Σ_i U_iᵀ B_i U_i with B_i = Σ_l φ'' d_l d_lᵀ / N,
d_l = ∇c_j − ∇c_k), and its diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multilevel_opt.separable.losses import ScoreLoss, checked
from multilevel_opt.separable.structure import Partition


@dataclass(frozen=True, eq=False)
class ScoreJacobian:
    """Derivatives of the scores of a batch.

    Attributes:
        partition: the weights of the scores, and the elements.
        scores: shape (N, C).
        own: J, shape (C, N, n_own).
        shared: S, shape (N, C, n_shared).
    """

    partition: Partition
    scores: Tensor
    own: Tensor
    shared: Tensor

    def product(self, v: Tensor) -> Tensor:
        """∇c·v: (n,) -> (N, C)."""
        # row times matrix: the kernel for matrix times column is a dozen times slower on a CPU
        own = torch.bmm(self.partition.own(v)[:, None, :], self.own.mT)[:, 0].T
        return own + (self._flat_shared @ v[self.partition.structure.shared]).reshape(own.shape)

    def adjoint(self, cotangent: Tensor) -> Tensor:
        """∇cᵀ·u: (N, C) -> (n,)."""
        own = torch.bmm(cotangent.T[:, None, :], self.own)[:, 0]
        return self.partition.assembled(cotangent.reshape(-1) @ self._flat_shared, own)

    def elements(self, coefficients: Tensor) -> Tensor:
        """Gradients of the elements in their own weights.

        Args:
            coefficients: as of ``ScoreLoss.coefficients``, shape (E, r, N).

        Returns:
            Shape (E, n_e).
        """
        count, r, samples = coefficients.shape
        members = self.partition.members
        order = members.reshape(-1).argsort(stable=True)  # every score is in the same number of elements
        rows = coefficients.reshape(count * r, samples)[order].reshape(len(self.own), -1, samples)
        own = torch.empty(count * r, self.own.shape[2], dtype=self.own.dtype, device=self.own.device)
        own[order] = torch.bmm(rows, self.own).reshape(count * r, -1)
        places = members[:, :, None] + len(self.own) * torch.arange(samples, device=members.device)
        spread = coefficients.new_zeros(count, samples * len(self.own)).scatter_(
            1, places.reshape(count, -1), coefficients.flatten(1)
        )
        return torch.cat([spread @ self._flat_shared, own.reshape(count, -1)], dim=1)

    @cached_property
    def _flat_shared(self) -> Tensor:
        return self.shared.flatten(0, 1)


class BatchDerivatives:
    """A loss of a batch with its derivatives, from the Jacobian of its scores.

    Args:
        jacobian: of the scores.
        loss: averaged over the samples.
        labels: shape (N,).

    Raises:
        InputError: labels that do not fit.
    """

    def __init__(self, jacobian: ScoreJacobian, loss: ScoreLoss, labels: Tensor) -> None:
        self.jacobian, self.loss, self.labels = jacobian, loss, checked(jacobian.scores, labels)

    @cached_property
    def value(self) -> Tensor:
        """The mean loss, a scalar."""
        return self.loss(self.jacobian.scores, self.labels)

    @cached_property
    def gradient(self) -> Tensor:
        """∇f, shape (n,)."""
        return self.jacobian.adjoint(self.loss.slopes(self.jacobian.scores, self.labels) / len(self.labels))

    @cached_property
    def element_gradients(self) -> Tensor:
        """∇f_i of all elements, shape (E, n_e)."""
        part = self.jacobian.partition
        found = self.loss.coefficients(self.jacobian.scores, self.labels, part.members, part.merged)
        return self.jacobian.elements(found / len(self.labels))

    @cached_property
    def _hessians(self) -> Tensor:
        return self.loss.hessians(self.jacobian.scores, self.labels) / len(self.labels)

    def gauss_newton(self, v: Tensor) -> Tensor:
        """The product of the Gauss-Newton matrix with v of shape (n,)."""
        return self.jacobian.adjoint(torch.bmm(self._hessians, self.jacobian.product(v)[:, :, None])[:, :, 0])

    def gauss_newton_diagonal(self) -> Tensor:
        """The diagonal of the Gauss-Newton matrix, shape (n,)."""
        H = self._hessians
        weights = H.diagonal(dim1=1, dim2=2).T[:, None, :]
        own = torch.bmm(weights, self.jacobian.own.square())[:, 0]
        shared = (torch.bmm(H, self.jacobian.shared) * self.jacobian.shared).sum((0, 1))
        return self.jacobian.partition.assembled(shared, own)
