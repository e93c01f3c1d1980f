"""What stands for the second form of the local model: one small class per choice."""

from multilevel_opt.curvature.base import Curvature
from multilevel_opt.curvature.exact import Exact
from multilevel_opt.curvature.gauss_newton import GaussNewton

__all__ = ["Curvature", "Exact", "GaussNewton"]
