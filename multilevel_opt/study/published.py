"""Figures that others have published, to stand beside ours: ``[[published]]`` in a study file.

::

    [[published]]
    problem = "poisson"
    parameters = { nu = 20 }      # those that tell which runs it belongs to; none: all of the problem
    method = "RLM"
    iterations = 193              # a number, or [lowest, highest]
    rmse = [1e-3, 1e-2]           # a number, or [lowest, highest]
    save = [1.2, 1.75]            # a number, [lowest, highest], or [lowest, mean, highest]
    source = "Riccietti et al., EURO 2018, p. 23"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Scalar = bool | int | float | str
Positive = Annotated[FiniteFloat, Field(gt=0)]
Interval = Annotated[list[Positive], Field(min_length=2, max_length=2)]
Save = Annotated[list[Positive], Field(min_length=2, max_length=3)]


class Published(BaseModel):
    """One row of a published table.

    Attributes:
        problem: as the study calls it.
        parameters: of the problem; a group of runs that has all of them is meant.
        method: as the source calls it.
        iterations: of the method.
        rmse: that was reached.
        save: flops of the source's single-level method over those of this one, as the source counts them.
        source: where it was published.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    problem: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Scalar] = {}
    method: Annotated[str, Field(min_length=1)]
    iterations: Positive | Interval | None = None
    rmse: Positive | Interval | None = None
    save: Positive | Save | None = None
    source: str = ""

    def belongs_to(self, problem: str, parameters: Mapping[str, Any]) -> bool:
        """Whether it stands beside runs of this problem with these parameters."""
        return self.problem == problem and all(
            name in parameters and parameters[name] == item for name, item in self.parameters.items()
        )


def middle_and_ends(value: float | list[float] | None) -> tuple[float | None, float | None, float | None]:
    """(value, lowest, highest) of a number or an interval."""
    if isinstance(value, list):
        return (value[1] if len(value) == 3 else None), value[0], value[-1]
    return value, None, None


def ends_and_middle(value: float | list[float] | None) -> tuple[float | None, float | None, float | None]:
    """(lowest, value, highest), as columns of ranges have them."""
    middle, low, high = middle_and_ends(value)
    return low, middle, high
