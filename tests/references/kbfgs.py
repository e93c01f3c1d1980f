"""K-BFGS for a fully connected autoencoder, written down plainly in numpy: every product by hand, no torch.

The algorithm of Goldfarb, Ren & Bahamou (2020), with the order of its steps as in the authors' implementation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit

Array = Any


def forward(weights: list[Array], x: Array) -> tuple[list[Array], list[Array]]:
    """Homogeneous inputs (m, d_i + 1) and pre-activations (m, d_o) of every layer; ReLU except in code and output."""
    inputs, activations, h = [], [], x
    middle = len(weights) // 2 - 1
    for k, w in enumerate(weights):
        homogeneous = np.hstack([h, np.ones((len(h), 1))])
        a = homogeneous @ w.T
        inputs.append(homogeneous)
        activations.append(a)
        h = a if k in (middle, len(weights) - 1) else np.maximum(a, 0.0)
    return inputs, activations


def loss(weights: list[Array], x: Array, target: Array) -> float:
    """Mean over samples of the summed binary cross-entropy with logits."""
    z = forward(weights, x)[1][-1]
    return float((np.logaddexp(0.0, z) - target * z).sum(1).mean())


def backward(
    weights: list[Array], x: Array, target: Array
) -> tuple[list[Array], list[Array], list[Array], list[Array]]:
    """Inputs, pre-activations, per-sample gradients of them, and gradients of the weights."""
    inputs, activations = forward(weights, x)
    middle = len(weights) // 2 - 1
    delta = expit(activations[-1]) - target
    deltas, gradients = [delta], [delta.T @ inputs[-1] / len(x)]
    for k in range(len(weights) - 2, -1, -1):
        delta = delta @ weights[k + 1][:, :-1]
        if k != middle:
            delta = delta * (activations[k] > 0)
        deltas.insert(0, delta)
        gradients.insert(0, delta.T @ inputs[k] / len(x))
    return inputs, activations, deltas, gradients


def bfgs(h: Array, s: Array, y: Array) -> Array:
    """The inverse update."""
    rho, image = 1.0 / (s @ y), h @ y
    return h + (rho * rho * (y @ image) + rho) * np.outer(s, s) - rho * (np.outer(s, image) + np.outer(image, s))


def double_damped(s: Array, y: Array, h: Array, mu1: float, mu2: float, regular: bool) -> tuple[Array, Array]:
    q, sy = y @ h @ y, s @ y
    if sy <= mu1 * q:
        theta = (1 - mu1) * q / (q - sy)
        s = theta * s + (1 - theta) * (h @ y)
    if regular:
        return s, y + mu2 * s
    sy, ss = s @ y, s @ s
    if sy <= mu2 * ss:
        theta = (1 - mu2) * ss / (ss - sy)
        y = theta * y + (1 - theta) * s
    return s, y


@dataclass
class KBFGS:
    """The optimizer; ``memory`` = None for K-BFGS, p for K-BFGS(L), with pairs in layers of more than 2p outputs."""

    weights: list[Array]
    lr: float
    damping: float
    batches: list[Array]
    memory: int | None = None
    regular: bool = False
    decay: float = 0.9
    tau: float = 1e-5
    mu1: float = 0.2
    steps: int = 0
    pairs: list[list[tuple[Array, Array]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        root = self.damping**0.5
        self.A = [np.zeros((w.shape[1], w.shape[1])) for w in self.weights]
        for count, x in enumerate(self.batches, 1):
            for k, h in enumerate(forward(self.weights, x)[0]):
                self.A[k] += (h.T @ h / len(x) - self.A[k]) / count
        self.Ha = [np.linalg.inv(a + root * np.eye(len(a))) for a in self.A]
        self.Hg = [np.eye(len(w)) for w in self.weights]
        self.pairs = [[] for _ in self.weights]
        self.M = [np.zeros_like(w) for w in self.weights]
        self.s = [np.zeros(len(w)) for w in self.weights]
        self.y = [np.zeros(len(w)) for w in self.weights]

    def step(self, x: Array, target: Array) -> float:
        """One iteration; returns the loss before it."""
        root, b = self.damping**0.5, self.decay
        value = loss(self.weights, x, target)
        inputs, before, deltas, gradients = backward(self.weights, x, target)
        moved = []
        for k, w in enumerate(self.weights):
            self.M[k] = b * self.M[k] + (1 - b) * (gradients[k] + self.tau * w)
            if self.steps:
                self.A[k] = b * self.A[k] + (1 - b) * inputs[k].T @ inputs[k] / len(x)
            moved.append(w - self.lr * self.Hg[k] @ self.M[k] @ self.Ha[k])
        _, after, changed, _ = backward(moved, x, target)
        for k in range(len(self.weights)):
            self.s[k] = b * self.s[k] + (1 - b) * (after[k].mean(0) - before[k].mean(0))
            self.y[k] = b * self.y[k] + (1 - b) * (changed[k].mean(0) - deltas[k].mean(0))
            s, y = double_damped(self.s[k], self.y[k], self.Hg[k], self.mu1, root, self.regular)
            if self._safe(s, y, deltas[k].mean(0)):
                self._learn(k, s, y)
            mean = inputs[k].mean(0)
            s = self.Ha[k] @ mean
            y = self.A[k] @ s + root * s
            if self._safe(s, y, mean):
                self.Ha[k] = bfgs(self.Ha[k], s, y)
        self.weights = moved
        self.steps += 1
        return value

    def _safe(self, s: Array, y: Array, size: Array) -> bool:
        return bool(s @ y > 0 and s @ y > 1e-4 * (s @ s) * np.linalg.norm(size))

    def _learn(self, k: int, s: Array, y: Array) -> None:
        if self.memory is None or len(s) <= 2 * self.memory:
            self.Hg[k] = bfgs(self.Hg[k], s, y)
            return
        self.pairs[k] = [*self.pairs[k], (s, y)][-self.memory :]
        self.Hg[k] = np.eye(len(s))
        for old_s, old_y in self.pairs[k]:
            self.Hg[k] = bfgs(self.Hg[k], old_s, old_y)
