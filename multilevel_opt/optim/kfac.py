"""KFAC (Martens & Grosse 2015), the baseline of the Kronecker-factored methods.

    A = E[ĥĥᵀ],  G = E[∂ℓ/∂a ∂ℓ/∂aᵀ],  both averaged over steps,  inverted with their parts of λ every T steps

The derivatives in G are those of losses whose targets are drawn from the model (``likelihood``), which makes A ⊗ G an
approximation of the Fisher matrix, or those of the given targets ("empirical").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.objective.batch import Batch
from multilevel_opt.optim.kronecker import Kronecker, Seen, inverted, mean_square, second_moment
from multilevel_opt.optim.layers import Pass, watched
from multilevel_opt.optim.safe import Closure, Parameters


def _bernoulli(outputs: Tensor) -> Tensor:
    return torch.bernoulli(torch.sigmoid(outputs))


def _categorical(outputs: Tensor) -> Tensor:
    drawn: Tensor = torch.distributions.Categorical(logits=outputs).sample()
    return drawn


def _gaussian(outputs: Tensor) -> Tensor:
    return outputs + torch.randn_like(outputs)


LIKELIHOODS: Mapping[str, Callable[[Tensor], Tensor] | None] = {
    "empirical": None,
    "bernoulli": _bernoulli,  # binary cross-entropy of logits
    "categorical": _categorical,  # cross-entropy of logits
    "gaussian": _gaussian,  # half the squared distance
}


@dataclass(eq=False)
class _Factors:
    a: Tensor
    g: Tensor | None = None
    a_inverse: Tensor | None = None
    g_inverse: Tensor | None = None


class KFAC(Kronecker):
    """KFAC with momentum.

    Args:
        parameters: as for ``Kronecker``.
        lr: learning rate.
        damping: λ.
        likelihood: a key of ``LIKELIHOODS``; all but "empirical" need a ``Batch`` for a closure.
        every: T; in the first T steps the inverses are made every time.
        **options: as for ``Kronecker`` and ``Safe``; ``adaptive``, a second evaluation, is off.

    Raises:
        InputError: an option out of range, or no module.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.1,
        damping: float = 0.3,
        *,
        likelihood: str = "empirical",
        every: int = 20,
        adaptive: bool = False,
        **options: Any,
    ) -> None:
        if likelihood not in LIKELIHOODS:
            raise InputError(f"unknown likelihood {likelihood!r}: choose one of {', '.join(LIKELIHOODS)}")
        if every < 1:
            raise InputError(f"every={every} is out of range: give 1 or more")
        self.likelihood, self.every = likelihood, every
        super().__init__(parameters, lr, damping, adaptive=adaptive, **options)

    def forget(self) -> None:
        super().forget()
        self._factors: dict[int, _Factors] = {}
        self._looked = 0

    def learn_inputs(self, k: int, seen: Pass, past: float) -> None:
        if k in self._factors:
            mean_square(seen, past, self._factors[k].a)
        else:
            self._factors[k] = _Factors(mean_square(seen))

    def learn_batch(self, closure: Closure, value: Seen) -> None:
        draw = LIKELIHOODS[self.likelihood]
        passes = value.passes if draw is None else self._drawn(closure, draw)
        for k, seen in passes.items():
            if k not in self._factors:
                continue
            factors = self._factors[k]
            factors.g = second_moment(seen, self.decay, factors.g)
        if self._looked < self.every or self._looked % self.every == 0:
            self.refresh()
        self._looked += 1

    def preconditioned(self, k: int, matrix: Tensor) -> Tensor:
        factors = self._factors[k]
        if factors.a_inverse is None or factors.g_inverse is None:
            return matrix
        return factors.g_inverse @ matrix @ factors.a_inverse

    def refresh(self) -> None:
        for k, factors in self._factors.items():
            root_a, root_g = self.roots(self.positions[k])
            factors.a_inverse = inverted(factors.a, root_a)
            factors.g_inverse = None if factors.g is None else inverted(factors.g, root_g)

    def _drawn(self, closure: Closure, draw: Callable[[Tensor], Tensor]) -> dict[int, Pass]:
        """The passes of the same inputs with targets drawn from the model."""
        if not isinstance(closure, Batch):
            raise InputError(
                f"likelihood={self.likelihood!r} draws targets: give a Batch to step, or use likelihood='empirical'"
            )
        with watched(self.layers) as calls, torch.enable_grad():
            outputs = closure.module(closure.inputs)
            loss = closure.loss(outputs, draw(outputs.detach()))
            slopes = torch.autograd.grad(loss, [calls[k][0][1] for k in sorted(calls)])
        return self._passes(calls, slopes)

    def memory(self) -> dict[str, Any]:
        layers = {str(k): {name: t for name, t in vars(f).items() if t is not None} for k, f in self._factors.items()}
        return {**super().memory(), "layers": layers, "looked": self._looked}

    def remember(self, memory: dict[str, Any]) -> None:
        super().remember(memory)
        self._looked = memory["looked"]
        self._factors = {
            int(k): _Factors(**{name: tensor.clone() for name, tensor in held.items()})
            for k, held in memory["layers"].items()
        }
