"""Time slabs: an evolution problem solved as a sequence of problems, each for a part of the time.

The solution of S slabs is one vector, for every slab its parameters and the time it ends at,

    x = (θ_1, t_1, θ_2, t_2, ..., θ_S, t_S)

so that it can be evaluated at any (x, t) without knowing how it was found. A run that was stopped has fewer slabs;
where none has come u is NaN. With S = 1 the vector is θ alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from multilevel_opt.errors import InputError
from multilevel_opt.pde.measures import NEGLIGIBLE, OVERFIT, Measures
from multilevel_opt.problem import Stage

if TYPE_CHECKING:
    from multilevel_opt.pde.evolution import Evolution

NARROWEST = 2.0**-8  # of an automatic slab, relative to the whole time
SWIFT = 0.3  # share of errors for two time derivatives: a velocity is wrong before it shows in u
EARLIEST = 20  # iterations before an automatic slab is judged


class Slabs(Measures):
    """The part of ``Evolution`` that marches, and measures what was marched."""

    @property
    def stages(self) -> Callable[[Sequence[Tensor], int], Stage | None] | None:
        """What ``solve`` asks for the next slab; None for a single one.

        The function takes the rows (θ_k, t_k) of the slabs that are done, and how often the next one was tried in
        vain; it returns None when the last time is reached.
        """
        return None if self._mine.slabs == 1 else self._next

    def joined(self, rows: Sequence[Tensor]) -> Tensor:
        """The solution of the slabs with these rows."""
        return torch.cat(list(rows))

    def parts(self, x: Tensor) -> list[tuple[Evolution, Tensor]]:
        """The slabs of a solution x, each with its parameters; the problem itself and x where there are none.

        Raises:
            InputError: x is not a solution of this problem.
        """
        last, version, found = self._last_parts
        if last is not x or version != x._version:
            found = self._split(x)
            self._mine._set("_last_parts", (x, x._version, found))
        return found

    def function(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        slabs = self.parts(x)
        if slabs[0][0] is self:
            return super().function(x)
        pieces = [Measures.function(slab, part) for slab, part in slabs]
        ends = [slab.place.time.stop for slab, _ in slabs]

        def u(z: Tensor) -> Tensor:
            which = (z[:, -1:].detach() > z.new_tensor(ends[:-1])).sum(1)
            which = which.masked_fill(z[:, -1] > ends[-1] + 1e-12 * abs(ends[-1]), len(ends))
            several = len(self._mine.functions()) > 1
            out = z.new_full((len(z), len(self._mine.functions())) if several else (len(z),), float("nan"))
            for k, piece in enumerate(pieces):
                (mine,) = (which == k).nonzero(as_tuple=True)
                if len(mine):
                    out = out.index_put((mine,), piece(z[mine]))
            return out

        return u

    def solution(self, x: Tensor, z: Tensor) -> Tensor:
        me = self._mine
        if x.numel() != me.x0.numel() or z is not me._test_points:
            return super().solution(x, z)
        with torch.no_grad():  # every iteration asks for these points: the slabs before are evaluated once
            base, factor = me._at_test_points
            u = base + factor * me.network.value(x.detach()[: me.network.size], z)
            return u[:, 0] if u.shape[1] == 1 else u

    def training(self, x: Tensor) -> float:
        return self._of_all(Measures.training, x)

    def held_out(self, x: Tensor) -> float:
        return self._of_all(Measures.held_out, x)

    def _of_all(self, measure: Callable[[Any, Tensor], float], x: Tensor) -> float:
        """Root of the mean square over time."""
        slabs = self.parts(x)
        widths = [slab.place.time.stop - slab.place.time.start for slab, _ in slabs]
        squares = sum(w * measure(slab, part) ** 2 for w, (slab, part) in zip(widths, slabs, strict=True))
        return float((squares / sum(widths)) ** 0.5)

    def _split(self, x: Tensor) -> list[tuple[Evolution, Tensor]]:
        me = self._mine
        n = me.x0.numel()
        if x.numel() == n:
            return [(me, x)]
        if x.numel() == 0 or x.numel() % (n + 1):
            raise InputError(
                f"a solution of {type(self).__name__} has {n} numbers, or {n + 1} for every slab, got {x.numel()}: "
                "give the x that solve returned for the same problem"
            )
        rows, found, begun = x.detach().view(-1, n + 1), list[tuple["Evolution", Tensor]](), None
        ends = [me.place.time.start, *rows[:, -1].tolist()]
        for (start, stop), row in zip(pairwise(ends), rows, strict=True):
            slab = me.during(start, stop, begun, None)
            found.append((slab, row[:-1]))
            begun = slab.ended(row[:-1])
        return found

    def _next(self, rows: Sequence[Tensor], failures: int) -> Stage | None:
        me = self._mine
        first, last = me.place.time.start, me.place.time.stop
        ends = [first, *(float(row[-1]) for row in rows)]
        if ends[-1] >= last:
            return None
        stop, left = self._edge(ends, failures)
        begun, x = None, None
        if rows:
            slab, x = self.parts(self.joined(rows))[-1]
            begun = slab.ended(x)
        new = me.during(ends[-1], stop, begun, x)
        automatic = me.slabs == "auto" and stop - ends[-1] > NARROWEST * (last - first)
        return Stage(
            problem=new,
            name=f"slab {len(rows) + 1} to {me.place.time.name} = {stop:g}",
            left=left,
            share=self._share(ends[-1], stop) if len(rows) + left > 1 else 1.0,
            weight=(stop - ends[-1]) / (last - first),
            row=partial(_row, stop),
            spoilt=new.spoilt if automatic else None,
        )

    def _share(self, start: float, stop: float) -> float:
        """What an error that grows linearly is in the middle of a slab; less where a velocity is handed on."""
        first, last = self._mine.place.time.start, self._mine.place.time.stop
        middle = ((start + stop) / 2 - first) / (last - first)
        return middle * (1.0 if len(self._mine.given) == 1 else SWIFT)

    def _edge(self, ends: Sequence[float], failures: int) -> tuple[float, int]:
        """The end of the next slab, and how many there are from this one on."""
        me = self._mine
        first, last = me.place.time.start, me.place.time.stop
        if me.slabs != "auto":
            done, count = len(ends) - 1, cast(int, me.slabs)
            return (last if done + 1 >= count else first + (done + 1) / count * (last - first)), count - done
        width = (ends[-1] - ends[-2] if len(ends) > 1 else last - first) * 0.5**failures
        left = ceil((last - ends[-1]) / width - 1e-6)
        return (last if left <= 1 else ends[-1] + width), left

    def spoilt(self, iteration: int | None, metrics: Mapping[str, float]) -> bool:
        """Whether an automatic slab is too wide: the residual at held-out points has parted from that of training."""
        held, trained = metrics["held_out"], metrics["residual"]
        late = iteration is None or iteration >= EARLIEST
        return late and held > max(OVERFIT * trained, NEGLIGIBLE * self._held_out_at_start)

    @cached_property
    def _last_parts(self) -> tuple[Tensor | None, int, list[tuple[Evolution, Tensor]]]:
        return None, 0, []

    @property
    def _mine(self) -> Evolution:
        return cast("Evolution", self)


def _row(stop: float, x: Tensor) -> Tensor:
    return torch.cat([x.detach(), x.new_tensor([stop])])
