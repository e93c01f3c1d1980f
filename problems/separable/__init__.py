"""Test functions of any size, declared by their elements: sums of functions of a few variables each.

Sources, by their short names in the docstrings:

MGH      J. J. Moré, B. S. Garbow, K. E. Hillstrom, Testing unconstrained optimization software, ACM TOMS 7 (1981)
CUTEst   N. I. M. Gould, D. Orban, Ph. L. Toint, CUTEst, Comput. Optim. Appl. 60 (2015); definitions and values of the
         SIF files
V-1081   L. Lukšan, C. Matonoha, J. Vlček, Modified CUTE problems for sparse unconstrained optimization, report
         V-1081, Institute of Computer Science, Prague (2010)
V-767    L. Lukšan, J. Vlček, Sparse and partially separable test problems for unconstrained and equality constrained
         optimization, report V-767, Institute of Computer Science, Prague (1999)
"""

from problems.separable.base import SeparableProblem
from problems.separable.chains import (
    ChainedRosenbrock,
    ExtendedRosenbrock,
    Extrosnb,
    Fletchcr,
    Freuroth,
    Genrose,
    Liarwhd,
    Nondia,
    Tquartic,
)
from problems.separable.equations import BroydenBanded, BroydenTridiagonal, Morebv, Penalty1, Power, Sinquad, Sparsine
from problems.separable.fours import ChainedPowell, ChainedWood, Dqdrtic, ExtendedPowell, Tridia, Woods
from problems.separable.quartics import Arwhead, Bdqrtic, Cragglvy, Edensch, Engval1, Nondquar, Quartc
from problems.separable.waves import Cosine, Curly, Eg2, Genhumps, Schmvett, Tointgss
from problems.separable.wide import Dixmaan, Ncb20b, Vareigvl

__all__ = [
    "Arwhead",
    "Bdqrtic",
    "BroydenBanded",
    "BroydenTridiagonal",
    "ChainedPowell",
    "ChainedRosenbrock",
    "ChainedWood",
    "Cosine",
    "Cragglvy",
    "Curly",
    "Dixmaan",
    "Dqdrtic",
    "Edensch",
    "Eg2",
    "Engval1",
    "ExtendedPowell",
    "ExtendedRosenbrock",
    "Extrosnb",
    "Fletchcr",
    "Freuroth",
    "Genhumps",
    "Genrose",
    "Liarwhd",
    "Morebv",
    "Ncb20b",
    "Nondia",
    "Nondquar",
    "Penalty1",
    "Power",
    "Quartc",
    "Schmvett",
    "SeparableProblem",
    "Sinquad",
    "Sparsine",
    "Tointgss",
    "Tquartic",
    "Tridia",
    "Vareigvl",
    "Woods",
]
