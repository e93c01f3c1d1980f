"""Partial differential equations solved by networks: fields, residuals, points and problems."""

from multilevel_opt.pde.activations import ACTIVATIONS
from multilevel_opt.pde.equations import Block, Field
from multilevel_opt.pde.networks import INITIALIZATIONS, MLP
from multilevel_opt.pde.operators import Channels, Needs, propagate
from multilevel_opt.pde.problem import PDEProblem
from multilevel_opt.pde.residual import PDEResidual
from multilevel_opt.pde.sampling import SAMPLINGS

__all__ = [
    "ACTIVATIONS",
    "INITIALIZATIONS",
    "MLP",
    "SAMPLINGS",
    "Block",
    "Channels",
    "Field",
    "Needs",
    "PDEProblem",
    "PDEResidual",
    "propagate",
]
