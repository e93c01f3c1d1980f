"""Multilevel trust-region and regularized optimization, with torch evaluating every function."""

from multilevel_opt import check, optim, pde, separable, training
from multilevel_opt.api import least_squares, minimize
from multilevel_opt.build import amg, from_objectives, galerkin, geometric, random_subspace
from multilevel_opt.callbacks import Progress
from multilevel_opt.curvature import (
    BFGS,
    LBFGS,
    LSE,
    LSR1,
    SE,
    SR1,
    Exact,
    GaussNewton,
    Partitioned,
    Reduced,
    SharpenedBFGS,
)
from multilevel_opt.errors import (
    InputError,
    MultilevelError,
    NonFiniteError,
    NotConverged,
    ShapeError,
    UnsupportedCombination,
)
from multilevel_opt.globalization import Regularization, TrustRegion
from multilevel_opt.hierarchy import Hierarchy, Level
from multilevel_opt.ledger import Ledger
from multilevel_opt.linalg.stencil import Stencil, laplacian
from multilevel_opt.methods import METHODS
from multilevel_opt.multilevel import Multilevel
from multilevel_opt.neurons import subnetwork, widths
from multilevel_opt.objective.base import Function, Objective
from multilevel_opt.objective.least_squares import LeastSquares
from multilevel_opt.objective.merging import merged
from multilevel_opt.objective.residual import Residual
from multilevel_opt.objective.row_loss import RowLoss
from multilevel_opt.objective.samples import Samples
from multilevel_opt.objective.second import SecondForm
from multilevel_opt.objective.separable import Elements, PartiallySeparable
from multilevel_opt.objective.separable_squares import ElementResiduals, SeparableSquares
from multilevel_opt.objective.sparse_rows import SparseRows
from multilevel_opt.objective.structure import Structure, draw, structure
from multilevel_opt.objective.taylor import Taylor
from multilevel_opt.pde import PDEProblem
from multilevel_opt.policy import DelayedGratification, ErrorLaw, GainRatio, Interpolation
from multilevel_opt.result import Event, Result, Status
from multilevel_opt.row_levels import rows
from multilevel_opt.row_steps import RowLevels
from multilevel_opt.solve import solve
from multilevel_opt.state import Cycle
from multilevel_opt.stopping import GradientNorm, Loss, MaxIterations, MaxSeconds, Metric
from multilevel_opt.study.records import Records
from multilevel_opt.study.run import Study
from multilevel_opt.subproblem import (
    BySize,
    DampedLeastSquares,
    GradientStep,
    Lanczos,
    MultigridCG,
    Nested,
    OnOneLevel,
    Smoothing,
    Spectral,
    Steihaug,
)
from multilevel_opt.training import TRAINERS
from multilevel_opt.transfer.operator import TransferOperator
from multilevel_opt.variants import AR1, AR2, AR3, CURVATURES, LM, RLM, TR1, TR2, method, with_curvature

__all__ = [
    "AR1",
    "AR2",
    "AR3",
    "BFGS",
    "CURVATURES",
    "LBFGS",
    "LM",
    "LSE",
    "LSR1",
    "METHODS",
    "RLM",
    "SE",
    "SR1",
    "TR1",
    "TR2",
    "TRAINERS",
    "BySize",
    "Cycle",
    "DampedLeastSquares",
    "DelayedGratification",
    "ElementResiduals",
    "Elements",
    "ErrorLaw",
    "Event",
    "Exact",
    "Function",
    "GainRatio",
    "GaussNewton",
    "GradientNorm",
    "GradientStep",
    "Hierarchy",
    "InputError",
    "Interpolation",
    "Lanczos",
    "LeastSquares",
    "Ledger",
    "Level",
    "Loss",
    "MaxIterations",
    "MaxSeconds",
    "Metric",
    "MultigridCG",
    "Multilevel",
    "MultilevelError",
    "Nested",
    "NonFiniteError",
    "NotConverged",
    "Objective",
    "OnOneLevel",
    "PDEProblem",
    "PartiallySeparable",
    "Partitioned",
    "Progress",
    "Records",
    "Reduced",
    "Regularization",
    "Residual",
    "Result",
    "RowLevels",
    "RowLoss",
    "Samples",
    "SecondForm",
    "SeparableSquares",
    "ShapeError",
    "SharpenedBFGS",
    "Smoothing",
    "SparseRows",
    "Spectral",
    "Status",
    "Steihaug",
    "Stencil",
    "Structure",
    "Study",
    "Taylor",
    "TransferOperator",
    "TrustRegion",
    "UnsupportedCombination",
    "amg",
    "check",
    "draw",
    "from_objectives",
    "galerkin",
    "geometric",
    "laplacian",
    "least_squares",
    "merged",
    "method",
    "minimize",
    "optim",
    "pde",
    "random_subspace",
    "rows",
    "separable",
    "solve",
    "structure",
    "subnetwork",
    "training",
    "widths",
    "with_curvature",
]
