"""The gallery: one file per problem, written with the public names of ``multilevel_opt`` only."""

from problems.allen_cahn import AllenCahn
from problems.autoencoder import Autoencoder
from problems.burgers import Burgers
from problems.burgers_inverse import BurgersInverse
from problems.cavity import Cavity
from problems.classification import CNNClassifier, MLPClassifier
from problems.conductivity_inverse import ConductivityInverse
from problems.convection import Convection
from problems.dirichlet import Dirichlet, Dirichlet1D, Dirichlet3D
from problems.fit import Fit
from problems.grid import GridProblem
from problems.heat import Heat
from problems.helmholtz import Helmholtz
from problems.kdv import KdV
from problems.kovasznay import Kovasznay
from problems.liouville import Liouville
from problems.more_garbow_hillstrom import MGH
from problems.multiscale_poisson import MultiscalePoisson
from problems.networks import LeNetPictures, PSNetPictures
from problems.nonlinear import Pendulum
from problems.poisson import Poisson
from problems.poisson_holes import PoissonHoles
from problems.poisson_lshape import PoissonLShape
from problems.reaction import Reaction
from problems.reactions import Bratu, ConvexExponential
from problems.squares import MoreBV, MoreBV2D, OptimalControl
from problems.surfaces import MinimalSurface, OptimalDesign
from problems.variational import JournalBearing, Membrane, Torsion
from problems.wave import Wave

__all__ = [
    "MGH",
    "AllenCahn",
    "Autoencoder",
    "Bratu",
    "Burgers",
    "BurgersInverse",
    "CNNClassifier",
    "Cavity",
    "ConductivityInverse",
    "Convection",
    "ConvexExponential",
    "Dirichlet",
    "Dirichlet1D",
    "Dirichlet3D",
    "Fit",
    "GridProblem",
    "Heat",
    "Helmholtz",
    "JournalBearing",
    "KdV",
    "Kovasznay",
    "LeNetPictures",
    "Liouville",
    "MLPClassifier",
    "Membrane",
    "MinimalSurface",
    "MoreBV",
    "MoreBV2D",
    "MultiscalePoisson",
    "OptimalControl",
    "OptimalDesign",
    "PSNetPictures",
    "Pendulum",
    "Poisson",
    "PoissonHoles",
    "PoissonLShape",
    "Reaction",
    "Torsion",
    "Wave",
]
