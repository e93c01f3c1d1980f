"""Partial differential equations solved by networks: domains, equations, conditions, networks and problems."""

from multilevel_opt.pde.activations import ACTIVATIONS
from multilevel_opt.pde.architectures import ARCHITECTURES
from multilevel_opt.pde.conditions import Boundary, Condition, Data, Dirichlet, Initial, Neumann, Periodic, Robin
from multilevel_opt.pde.domains import Box, Domain, Interval, SpaceTime, Time
from multilevel_opt.pde.embeddings import Chain, Columns, Fourier, Paced, Scaled
from multilevel_opt.pde.embeddings import Periodic as PeriodicFeatures
from multilevel_opt.pde.equations import Block
from multilevel_opt.pde.evolution import Evolution
from multilevel_opt.pde.fields import Field, Fields, Frame
from multilevel_opt.pde.fronts import Front
from multilevel_opt.pde.implicit import Implicit
from multilevel_opt.pde.initialization import INITIALIZATIONS
from multilevel_opt.pde.lifting import with_boundary
from multilevel_opt.pde.networks import MLP, ModuleNetwork, Network
from multilevel_opt.pde.problem import PDEProblem
from multilevel_opt.pde.refinement import refined
from multilevel_opt.pde.regions import Disc, Polygon, Rectangle, Region
from multilevel_opt.pde.residual import PDEResidual
from multilevel_opt.pde.sampling import SAMPLINGS
from multilevel_opt.pde.several import Several
from multilevel_opt.pde.terms import Needs

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "INITIALIZATIONS",
    "MLP",
    "SAMPLINGS",
    "Block",
    "Boundary",
    "Box",
    "Chain",
    "Columns",
    "Condition",
    "Data",
    "Dirichlet",
    "Disc",
    "Domain",
    "Evolution",
    "Field",
    "Fields",
    "Fourier",
    "Frame",
    "Front",
    "Implicit",
    "Initial",
    "Interval",
    "ModuleNetwork",
    "Needs",
    "Network",
    "Neumann",
    "PDEProblem",
    "PDEResidual",
    "Paced",
    "Periodic",
    "PeriodicFeatures",
    "Polygon",
    "Rectangle",
    "Region",
    "Robin",
    "Scaled",
    "Several",
    "SpaceTime",
    "Time",
    "refined",
    "with_boundary",
]
