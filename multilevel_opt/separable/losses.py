"""Losses of class scores that are sums of functions of few scores each.

    pairwise      L(c, k) = Σ_{j≠k} φ(c_j − c_k)          one element for every pair of scores
    one-vs-rest   L(c, k) = Σ_j φ(±c_j), − for j = k       one element for every score
    nll           L(c, k) = log Σ_j exp(c_j − c_k)         couples all scores: no elements, for comparison

with the class k of the sample. φ = exp is the loss of Raynaud & Orban (2022), where L = 1/p_k − 1 for the probability
p_k of softmax, so that nll = log(1 + L). Every loss is averaged over the samples once.

``exp`` and ``exp-squared`` are continued from argument ``LARGE`` on by their quadratic Taylor polynomial, so a badly
misclassified sample costs much but never Inf.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multilevel_opt.errors import InputError, ShapeError

LARGE = 40.0  # e⁴⁰ = 2e17: no training is there, and float32 has room for squares of it

Scalar = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Phi:
    """A function of one variable with its first two derivatives, entry by entry."""

    value: Scalar
    slope: Scalar
    curvature: Scalar


def _exponential(rate: float) -> Phi:
    """exp(rate·t), continued quadratically."""

    def parts(t: Tensor) -> tuple[Tensor, Tensor]:
        z = rate * t
        return z.clamp(max=LARGE).exp(), (z - LARGE).clamp(min=0)

    def value(t: Tensor) -> Tensor:
        e, d = parts(t)
        return e * (1 + d + d * d / 2)

    def slope(t: Tensor) -> Tensor:
        e, d = parts(t)
        return rate * e * (1 + d)

    return Phi(value, slope, lambda t: rate**2 * parts(t)[0])


def _bell(t: Tensor) -> Tensor:
    return torch.sigmoid(t) * torch.sigmoid(-t)


EXP = _exponential(1.0)
EXP_SQUARED = _exponential(2.0)
SOFTPLUS = Phi(torch.nn.functional.softplus, torch.sigmoid, _bell)
SQUARED_HINGE = Phi(
    lambda t: (1 + t).clamp(min=0).square(), lambda t: 2 * (1 + t).clamp(min=0), lambda t: 2 * (t > -1).to(t)
)


class ScoreLoss(ABC):
    """A loss of scores (N, C) and labels (N,), by samples."""

    parts: int = 0  # scores in one element: 2, 1, or 0 where there are none

    @abstractmethod
    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The loss of every sample, shape (N,), differentiable."""

    @abstractmethod
    def slopes(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Derivatives by the scores, shape (N, C)."""

    @abstractmethod
    def hessians(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Second derivatives by the scores, shape (N, C, C), positive semidefinite."""

    def coefficients(self, scores: Tensor, labels: Tensor, members: Tensor, merged: bool = True) -> Tensor:
        """Derivatives of the elements by their own scores, sample by sample.

        Args:
            scores: shape (N, C).
            labels: shape (N,).
            members: the scores of the elements, int64 of shape (E, ``parts``).
            merged: a pair (a, b) stands for the samples of both classes; otherwise for those of class a.

        Returns:
            Shape (E, ``parts``, N).

        Raises:
            InputError: a loss without elements.
        """
        raise InputError(f"the loss {self} couples all scores: choose one of {', '.join(ELEMENTWISE)}")

    def __call__(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The mean over the samples, a scalar."""
        return self.values(scores, labels).mean()


@dataclass(frozen=True)
class Pairwise(ScoreLoss):
    """Σ_{j≠k} φ(c_j − c_k)."""

    phi: Phi
    parts = 2

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self._others(self.phi.value(_margins(scores, labels)), labels).sum(1)

    def slopes(self, scores: Tensor, labels: Tensor) -> Tensor:
        found = self._pair_slopes(scores, labels)
        return found.scatter(1, labels[:, None], -found.sum(1, keepdim=True))

    def hessians(self, scores: Tensor, labels: Tensor) -> Tensor:
        found = self._others(self.phi.curvature(_margins(scores, labels)), labels)
        edge = found.scatter(1, labels[:, None], -found.sum(1, keepdim=True))
        k = _one_hot(scores, labels)
        return torch.diag_embed(found) - k[:, :, None] * edge[:, None, :] - found[:, :, None] * k[:, None, :]

    def coefficients(self, scores: Tensor, labels: Tensor, members: Tensor, merged: bool = True) -> Tensor:
        found, k = self._pair_slopes(scores, labels).T, _one_hot(scores, labels).T
        a, b = members[:, 0], members[:, 1]
        rise = found[b] * k[a] - found[a] * k[b] if merged else found[b] * k[a]
        return torch.stack([-rise, rise], dim=1)

    def _pair_slopes(self, scores: Tensor, labels: Tensor) -> Tensor:
        """φ'(c_j − c_k), and 0 for j = k."""
        return self._others(self.phi.slope(_margins(scores, labels)), labels)

    def _others(self, values: Tensor, labels: Tensor) -> Tensor:
        return values.scatter(1, labels[:, None], 0.0)


@dataclass(frozen=True)
class OneVsRest(ScoreLoss):
    """Σ_j φ(±c_j)."""

    phi: Phi
    parts = 1

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.phi.value(_signs(scores, labels) * scores).sum(1)

    def slopes(self, scores: Tensor, labels: Tensor) -> Tensor:
        signs = _signs(scores, labels)
        return signs * self.phi.slope(signs * scores)

    def hessians(self, scores: Tensor, labels: Tensor) -> Tensor:
        return torch.diag_embed(self.phi.curvature(_signs(scores, labels) * scores))

    def coefficients(self, scores: Tensor, labels: Tensor, members: Tensor, merged: bool = True) -> Tensor:
        return self.slopes(scores, labels).T[members]


@dataclass(frozen=True)
class NegativeLogLikelihood(ScoreLoss):
    """The negative log-likelihood of softmax."""

    def values(self, scores: Tensor, labels: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(scores, labels, reduction="none")

    def slopes(self, scores: Tensor, labels: Tensor) -> Tensor:
        return scores.softmax(1) - _one_hot(scores, labels)

    def hessians(self, scores: Tensor, labels: Tensor) -> Tensor:
        p = scores.softmax(1)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


LOSSES: dict[str, ScoreLoss] = {
    "exp": Pairwise(EXP),
    "exp-squared": Pairwise(EXP_SQUARED),
    "softplus": Pairwise(SOFTPLUS),
    "squared-hinge": Pairwise(SQUARED_HINGE),
    "one-vs-rest": OneVsRest(SOFTPLUS),
    "nll": NegativeLogLikelihood(),
}
ELEMENTWISE = [name for name, loss in LOSSES.items() if loss.parts]


def loss_of(name: str | ScoreLoss) -> ScoreLoss:
    """The loss of a name in ``LOSSES``; a loss is returned as it is.

    Raises:
        InputError: an unknown name.
    """
    if isinstance(name, ScoreLoss):
        return name
    if name not in LOSSES:
        raise InputError(f"loss={name} is unknown: choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def checked(scores: Tensor, labels: Tensor) -> Tensor:
    """The labels, if they fit the scores.

    Raises:
        ShapeError: no samples, or other shapes than (N, C) and (N,).
        InputError: labels that are not whole numbers of 0..C−1.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise ShapeError(
            f"scores must be (samples, classes) with one label for each sample, got {tuple(scores.shape)} and "
            f"{tuple(labels.shape)}: give at least one sample"
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f"labels must be whole numbers, got {labels.dtype}: use labels.long()")
    low, high = (int(found) for found in labels.aminmax())
    if low < 0 or high >= scores.shape[1]:
        wrong = low if low < 0 else high
        raise InputError(f"label {wrong} is outside 0..{scores.shape[1] - 1}: number the classes from 0")
    return labels.long()


def _margins(scores: Tensor, labels: Tensor) -> Tensor:
    """c_j − c_k, shape (N, C)."""
    return scores - scores.gather(1, labels[:, None])


def _one_hot(scores: Tensor, labels: Tensor) -> Tensor:
    return torch.zeros_like(scores).scatter(1, labels[:, None], 1.0)


def _signs(scores: Tensor, labels: Tensor) -> Tensor:
    return torch.ones_like(scores).scatter(1, labels[:, None], -1.0)
