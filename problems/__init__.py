"""The gallery: one file per problem, written with the public names of ``multilevel_opt`` only."""

from problems.burgers import Burgers
from problems.fit import Fit
from problems.heat import Heat
from problems.helmholtz import Helmholtz
from problems.kovasznay import Kovasznay
from problems.liouville import Liouville
from problems.nonlinear import Pendulum
from problems.poisson import Poisson
from problems.poisson_holes import PoissonHoles

__all__ = ["Burgers", "Fit", "Heat", "Helmholtz", "Kovasznay", "Liouville", "Pendulum", "Poisson", "PoissonHoles"]
