"""What stands for the second form of the local model: one small class per choice."""

from multilevel_opt.curvature.base import Curvature
from multilevel_opt.curvature.exact import Exact
from multilevel_opt.curvature.galerkin import Reduced
from multilevel_opt.curvature.gauss_newton import GaussNewton
from multilevel_opt.curvature.limited_memory import LBFGS, LSE, LSR1
from multilevel_opt.curvature.partitioned import Partitioned
from multilevel_opt.curvature.secant import BFGS, SE, SR1
from multilevel_opt.curvature.sharpened import SharpenedBFGS

__all__ = [
    "BFGS",
    "LBFGS",
    "LSE",
    "LSR1",
    "SE",
    "SR1",
    "Curvature",
    "Exact",
    "GaussNewton",
    "Partitioned",
    "Reduced",
    "SharpenedBFGS",
]
