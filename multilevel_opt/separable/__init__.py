"""Networks whose loss is a sum of functions of few weights each, and the derivatives of all those functions at once."""

from multilevel_opt.separable.architectures import (
    LENET_PAPER,
    LENET_PAPER_COLOR,
    LENET_POSTER,
    PAPER,
    PAPER_COLOR,
    POSTER,
    LeNet,
    PSNet,
)
from multilevel_opt.separable.branches import Branches
from multilevel_opt.separable.elements import PartitionedLoss
from multilevel_opt.separable.jacobian import BatchDerivatives, ScoreJacobian
from multilevel_opt.separable.layers import PooledConv2d, SeparableLinear
from multilevel_opt.separable.losses import LOSSES, OneVsRest, Pairwise, ScoreLoss
from multilevel_opt.separable.splitting import ClassSplit, Generic
from multilevel_opt.separable.structure import Partition, Structure
from multilevel_opt.separable.tracing import trace

__all__ = [
    "LENET_PAPER",
    "LENET_PAPER_COLOR",
    "LENET_POSTER",
    "LOSSES",
    "PAPER",
    "PAPER_COLOR",
    "POSTER",
    "BatchDerivatives",
    "Branches",
    "ClassSplit",
    "Generic",
    "LeNet",
    "OneVsRest",
    "PSNet",
    "Pairwise",
    "Partition",
    "PartitionedLoss",
    "PooledConv2d",
    "ScoreJacobian",
    "ScoreLoss",
    "SeparableLinear",
    "Structure",
    "trace",
]
