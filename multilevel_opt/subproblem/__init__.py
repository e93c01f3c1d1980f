"""Solvers of the local model: prepare once for a model, then solve for as many σ or Δ as needed."""

from multilevel_opt.subproblem.base import Prepared, Step, Subproblem
from multilevel_opt.subproblem.by_size import BySize
from multilevel_opt.subproblem.damped_least_squares import DampedLeastSquares
from multilevel_opt.subproblem.gradient import GradientStep
from multilevel_opt.subproblem.lanczos import Lanczos
from multilevel_opt.subproblem.levelled import MultigridCG, OnOneLevel, Smoother
from multilevel_opt.subproblem.multigrid import Rung, Smoothing
from multilevel_opt.subproblem.nested import Nested
from multilevel_opt.subproblem.spectral import Spectral
from multilevel_opt.subproblem.steihaug import Steihaug

__all__ = [
    "BySize",
    "DampedLeastSquares",
    "GradientStep",
    "Lanczos",
    "MultigridCG",
    "Nested",
    "OnOneLevel",
    "Prepared",
    "Rung",
    "Smoother",
    "Smoothing",
    "Spectral",
    "Steihaug",
    "Step",
    "Subproblem",
]
