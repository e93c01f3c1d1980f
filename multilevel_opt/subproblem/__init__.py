"""Solvers of the local model: prepare once for a model, then solve for as many σ or Δ as needed."""

from multilevel_opt.subproblem.base import Prepared, Step, Subproblem
from multilevel_opt.subproblem.cubic import CubicLanczos
from multilevel_opt.subproblem.damped_least_squares import DampedLeastSquares
from multilevel_opt.subproblem.gradient import GradientStep
from multilevel_opt.subproblem.levelled import MultigridCG, OnOneLevel, Smoother
from multilevel_opt.subproblem.multigrid import Rung, Smoothing
from multilevel_opt.subproblem.steihaug import Steihaug

__all__ = [
    "CubicLanczos",
    "DampedLeastSquares",
    "GradientStep",
    "MultigridCG",
    "OnOneLevel",
    "Prepared",
    "Rung",
    "Smoother",
    "Smoothing",
    "Steihaug",
    "Step",
    "Subproblem",
]
