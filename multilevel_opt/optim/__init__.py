"""Optimizers with the interface of ``torch.optim``.

``Multilevel`` wraps any solver of the family. The others train on mini-batches and share one base, ``Safe``: whatever
the closure returns, the weights stay finite, the best are kept, and ``opt.last`` says what happened and why.
"""

from multilevel_opt.objective.batch import Batch
from multilevel_opt.optim.kbfgs import KBFGS, KBFGSL
from multilevel_opt.optim.kfac import KFAC
from multilevel_opt.optim.multi_batch import MultiBatchLBFGS
from multilevel_opt.optim.multilevel import Multilevel
from multilevel_opt.optim.noise import NoiseSampler
from multilevel_opt.optim.partitioned import Partitioned
from multilevel_opt.optim.report import StepReport
from multilevel_opt.optim.safe import Safe, Value
from multilevel_opt.optim.sampler import OverlapSampler
from multilevel_opt.optim.sgd_bb import SGDBB
from multilevel_opt.optim.svrg_bb import SVRGBB

__all__ = [
    "KBFGS",
    "KBFGSL",
    "KFAC",
    "SGDBB",
    "SVRGBB",
    "Batch",
    "MultiBatchLBFGS",
    "Multilevel",
    "NoiseSampler",
    "OverlapSampler",
    "Partitioned",
    "Safe",
    "StepReport",
    "Value",
]
