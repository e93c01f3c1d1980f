"""The gallery: one file per problem, written with the public names of ``multilevel_opt`` only."""

from problems.fit import Fit
from problems.poisson import Poisson

__all__ = ["Fit", "Poisson"]
