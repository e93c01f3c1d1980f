"""The gallery: one file per problem, written with the public names of ``multilevel_opt`` only."""

from problems.fit import Fit
from problems.helmholtz import Helmholtz
from problems.poisson import Poisson

__all__ = ["Fit", "Helmholtz", "Poisson"]
