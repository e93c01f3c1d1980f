"""K-BFGS and K-BFGS(L): Kronecker-factored quasi-Newton methods (Goldfarb, Ren & Bahamou, NeurIPS 2020).

With means over a batch at both ends of a step, on the same samples,

    G⁻¹   BFGS with  s = mean(a⁺) − mean(a),  y = mean(∂ℓ/∂a⁺) − mean(∂ℓ/∂a),  both averaged over steps, doubly damped
    A⁻¹   BFGS with  s = A⁻¹ mean(ĥ),         y = (A + √λ I) s                  ("Hessian action")

Neither factor is inverted after the start: A⁻¹ starts as (A + √λ I)⁻¹. Nothing is known of G
before the first pair, so that G⁻¹ starts as (0 + √λ I)⁻¹, and stays that where no step has led. From the published I,
steps in the many directions of small curvature are √λ times as long.

One pair a step is little for a matrix of 1000 outputs. With ``renew=T`` both start anew from second moments every T
steps, and pairs refine them in between:

    A⁻¹ = (A + √λ I)⁻¹,    G⁻¹ = (E[∂ℓ/∂a ∂ℓ/∂aᵀ] + √λ I)⁻¹

``KBFGS`` keeps G⁻¹ as a matrix, ``KBFGSL`` as pairs: less memory where a layer has more than 2p outputs. The second
evaluation of the batch, which the pairs need, also gives the gain ratio of the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from multilevel_opt.curvature.double_damping import DAMPINGS, damped_step
from multilevel_opt.curvature.inverse import InversePairs
from multilevel_opt.curvature.inverse_matrix import InverseMatrix
from multilevel_opt.errors import InputError
from multilevel_opt.optim.kronecker import Kronecker, Seen, inverted, mean_square, second_moment
from multilevel_opt.optim.layers import Pass
from multilevel_opt.optim.safe import Closure, Parameters

SAFE = 1e-4  # a pair is left out where sᵀy is below this times ‖s‖² times the size of what it describes


class Inverse(Protocol):
    """A positive definite matrix that BFGS updates."""

    def append(self, s: Tensor, y: Tensor) -> None: ...
    def product(self, v: Tensor) -> Tensor: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass(eq=False)
class _Factors:
    """What is known of a layer: A, A⁻¹, G⁻¹, the mean pair, and the second moment of slopes where it is wanted."""

    a: Tensor
    a_inverse: InverseMatrix
    g_inverse: Inverse
    s: Tensor
    y: Tensor
    g: Tensor | None = None

    @property
    def known(self) -> dict[str, Tensor]:
        """The tensors by name, without the inverses."""
        found = {"a": self.a, "s": self.s, "y": self.y, "g": self.g}
        return {name: tensor for name, tensor in found.items() if tensor is not None}


@dataclass(frozen=True, eq=False)
class _Pair:
    """A pair, where it goes, and two truth values that stay on their device until all are fetched together."""

    into: Inverse
    s: Tensor
    y: Tensor
    good: Tensor
    damped: Tensor


def _good(s: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """Whether an update with a pair is safe."""
    sy = torch.dot(s, y)
    enough = sy > SAFE * torch.dot(s, s) * torch.linalg.vector_norm(size)
    good: Tensor = enough & (sy > 0) & torch.isfinite(sy)
    return good


class KBFGS(Kronecker):
    """K-BFGS.

    Args:
        parameters: as for ``Kronecker``.
        lr: learning rate.
        damping: λ.
        mu: μ₁ of the damping of s, in (0, 1).
        pair_damping: how y is damped, a key of ``DAMPINGS``: "shift", or "powell" as published.
        start: γ of the first inverse γ I of G; None for that of its part of λ, 1/√λ for a linear layer; 1 as published.
        renew: T; both inverses (that of G where it is a matrix) are made anew in every so many steps, in the first so
            many every time; 0: never, as published.
        every: the second evaluation, with the pairs and the gain ratio, in every so many steps.
        **options: as for ``Kronecker`` and ``Safe``. ``momentum`` is also the weight of the past in the mean pair.

    Raises:
        InputError: an option out of range, or no module.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.3,
        damping: float = 0.3,
        *,
        mu: float = 0.2,
        pair_damping: str = "shift",
        start: float | None = None,
        renew: int = 0,
        every: int = 1,
        **options: Any,
    ) -> None:
        if pair_damping not in DAMPINGS:
            raise InputError(f"unknown pair_damping {pair_damping!r}: choose one of {', '.join(DAMPINGS)}")
        if not (0 < mu < 1 and every >= 1 and renew >= 0):
            raise InputError(
                f"mu={mu}, every={every}, renew={renew} are out of range: give 0 < mu < 1, every >= 1 and renew >= 0"
            )
        if start is not None and not 0 < start < float("inf"):
            raise InputError(f"start={start} is out of range: give a positive number, or None")
        self.mu, self.pair_damping, self.start, self.renew, self.every = mu, pair_damping, start, renew, every
        super().__init__(parameters, lr, damping, **options)

    def first_inverse(self, like: Tensor, scale: float) -> Inverse:
        """G⁻¹ before the first pair: ``scale`` times the identity of the size of ``like``."""
        return InverseMatrix(torch.eye(len(like), dtype=like.dtype, device=like.device).mul_(scale))

    @property
    def looks_again(self) -> bool:
        return self._steps % self.every == 0

    def forget(self) -> None:
        super().forget()
        self._factors: dict[int, _Factors] = {}
        self._looked = 0

    def look_again(self, closure: Closure, value: Seen) -> Seen:
        return self.ends(closure) if value.passes else super().look_again(closure, value)

    def learn_inputs(self, k: int, seen: Pass, past: float) -> None:
        if k in self._factors:
            mean_square(seen, past, self._factors[k].a)
            return
        second, zero = mean_square(seen), torch.zeros_like(seen.output)
        root_a, root_g = self.roots(seen.positions)
        first = self.first_inverse(zero, 1 / root_g if self.start is None else self.start)
        self._factors[k] = _Factors(second, InverseMatrix(inverted(second, root_a)), first, zero, zero.clone())

    def learn_batch(self, closure: Closure, value: Seen) -> None:
        if not self.renew:
            return
        for k, seen in value.passes.items():
            factors = self._factors[k]
            if isinstance(factors.g_inverse, InverseMatrix):
                factors.g = second_moment(seen, self.decay, factors.g)
        if self._looked < self.renew or self._looked % self.renew == 0:
            self.refresh()
        self._looked += 1

    def preconditioned(self, k: int, matrix: Tensor) -> Tensor:
        factors = self._factors[k]
        return factors.g_inverse.product(matrix) @ factors.a_inverse.matrix

    def learn_step(self, before: Seen, after: Seen) -> None:
        known = [k for k in before.passes if k in after.passes]
        pairs = [self._pair(self._factors[k], before.passes[k], after.passes[k]) for k in known]
        actions = [self._action(self._factors[k], before.passes[k]) for k in known]
        if not known:
            return
        verdicts = [torch.stack([part.good, part.damped]) for part in (*pairs, *actions)]
        judged = torch.stack(verdicts).tolist()  # one transfer for all layers
        for part, (good, _) in zip((*pairs, *actions), judged, strict=True):
            if good:
                part.into.append(part.s, part.y)
        for good, damped in judged[: len(pairs)]:
            self.counts["pairs_accepted" if good else "pairs_rejected"] += 1
            self.counts["pairs_damped"] += good and damped

    def refresh(self) -> None:
        for k, factors in self._factors.items():
            root_a, root_g = self.roots(self.positions[k])
            factors.a_inverse.matrix = inverted(factors.a, root_a)
            if factors.g is not None:
                factors.g_inverse = InverseMatrix(inverted(factors.g, root_g))

    def _pair(self, factors: _Factors, before: Pass, after: Pass) -> _Pair:
        """The mean change of outputs and slopes between both ends of a step, damped."""
        factors.s.lerp_(after.output - before.output, 1 - self.momentum)
        factors.y.lerp_(after.slope - before.slope, 1 - self.momentum)
        image = factors.g_inverse.product(factors.y)
        s, damped = damped_step(factors.s, factors.y, image, self.mu)
        y = DAMPINGS[self.pair_damping](s, factors.y, self.roots(before.positions)[1])
        return _Pair(factors.g_inverse, s, y, _good(s, y, before.slope), damped)

    def _action(self, factors: _Factors, seen: Pass) -> _Pair:
        """A applied to a direction."""
        s = factors.a_inverse.product(seen.input)
        y = torch.addmv(self.roots(seen.positions)[0] * s, factors.a, s)
        good = _good(s, y, seen.input)
        return _Pair(factors.a_inverse, s, y, good, good)

    def memory(self) -> dict[str, Any]:
        layers = {
            str(k): {**f.known, "a_inverse": f.a_inverse.state(), "g_inverse": f.g_inverse.state()}
            for k, f in self._factors.items()
        }
        return {**super().memory(), "layers": layers, "looked": self._looked}

    def remember(self, memory: dict[str, Any]) -> None:
        super().remember(memory)
        self._looked = memory["looked"]
        for k, held in memory["layers"].items():
            a, s, y = (held[name].clone() for name in ("a", "s", "y"))
            g = held["g"].clone() if "g" in held else None
            factors = _Factors(a, InverseMatrix(a), self.first_inverse(s, 1.0), s, y, g)
            factors.a_inverse.restore(held["a_inverse"])
            factors.g_inverse.restore(held["g_inverse"])
            self._factors[int(k)] = factors


class KBFGSL(KBFGS):
    """K-BFGS(L): G⁻¹ by the last p pairs, in layers with more than 2p outputs; in others the matrix takes less memory.

    Args:
        parameters: as for ``Kronecker``.
        lr: learning rate.
        damping: λ.
        memory_size: p, pairs of a layer.
        **options: as for ``KBFGS``.

    Raises:
        InputError: an option out of range, or no module.
    """

    def __init__(
        self, parameters: Parameters, lr: float = 0.3, damping: float = 0.3, *, memory_size: int = 100, **options: Any
    ) -> None:
        self.memory_size = memory_size
        super().__init__(parameters, lr, damping, **options)

    def first_inverse(self, like: Tensor, scale: float) -> Inverse:
        wide = len(like) > 2 * self.memory_size
        return InversePairs(self.memory_size, scale) if wide else super().first_inverse(like, scale)
