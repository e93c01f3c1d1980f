"""Evaluating the same function twice: with the same random numbers, and without a second trace in the buffers."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import torch
from torch import Tensor


class Replay:
    """A context in which torch draws again what it drew after ``begin``; buffers are as before when it ends.

    Args:
        device: whose random numbers are replayed, along with those of the CPU.
        buffers: of the module.
    """

    def __init__(self, device: torch.device, buffers: Sequence[Tensor]) -> None:
        self.device, self.buffers = device, list(buffers)
        self._start: list[Tensor] = []
        self._now: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._begun: list[Tensor] = []

    def begin(self) -> None:
        """Remember where the random numbers stand, and the buffers."""
        self._start = self._states()
        self._begun = [buffer.clone() for buffer in self.buffers]

    def undo(self) -> None:
        """Give the buffers the values they had at ``begin``: samples that are not finite spoil running means."""
        self._write(self._begun)

    def __enter__(self) -> None:
        self._now = self._states()
        self._kept = [buffer.clone() for buffer in self.buffers]
        self._set(self._start)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._set(self._now)
        self._write(self._kept)

    @torch.no_grad()
    def _write(self, values: Sequence[Tensor]) -> None:
        for buffer, value in zip(self.buffers, values, strict=True):
            buffer.copy_(value)

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else states

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self.device)
