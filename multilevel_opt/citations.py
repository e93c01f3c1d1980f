"""BibTeX of what a method uses: one table of works, one of methods."""

from __future__ import annotations

from multilevel_opt.bibliography import LEARNED
from multilevel_opt.errors import InputError

WORKS: dict[str, str] = {
    **LEARNED,
    "calandra2022": """@article{calandra2022,
  author  = {Calandra, Henri and Gratton, Serge and Riccietti, Elisa and Vasseur, Xavier},
  title   = {On a multilevel {L}evenberg--{M}arquardt method for the training of artificial neural networks
             and its application to the solution of partial differential equations},
  journal = {Optimization Methods and Software},
  volume  = {37},
  number  = {1},
  pages   = {361--386},
  year    = {2022},
  doi     = {10.1080/10556788.2020.1775828},
  note    = {arXiv:1904.04685}
}""",
    "calandra2021": """@article{calandra2021,
  author  = {Calandra, Henri and Gratton, Serge and Riccietti, Elisa and Vasseur, Xavier},
  title   = {On High-Order Multilevel Optimization Strategies},
  journal = {SIAM Journal on Optimization},
  volume  = {31},
  number  = {1},
  pages   = {307--330},
  year    = {2021},
  doi     = {10.1137/19M1255355},
  note    = {arXiv:1904.04692}
}""",
    "gratton2008": """@article{gratton2008,
  author  = {Gratton, Serge and Sartenaer, Annick and Toint, Philippe L.},
  title   = {Recursive Trust-Region Methods for Multiscale Nonlinear Optimization},
  journal = {SIAM Journal on Optimization},
  volume  = {19},
  number  = {1},
  pages   = {414--444},
  year    = {2008},
  doi     = {10.1137/050623012}
}""",
    "transtrum2012": """@misc{transtrum2012,
  author       = {Transtrum, Mark K. and Sethna, James P.},
  title        = {Improvements to the {L}evenberg--{M}arquardt algorithm for nonlinear least-squares minimization},
  year         = {2012},
  eprint       = {1201.5885},
  howpublished = {arXiv:1201.5885}
}""",
    "golub1973": """@article{golub1973,
  author  = {Golub, Gene H. and Pereyra, Victor},
  title   = {The differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate},
  journal = {SIAM Journal on Numerical Analysis},
  volume  = {10},
  year    = {1973}
}""",
    "cartis2011": """@article{cartis2011,
  author  = {Cartis, Coralia and Gould, Nicholas I. M. and Toint, Philippe L.},
  title   = {Adaptive cubic regularisation methods for unconstrained optimization.
             {P}art {I}: motivation, convergence and numerical results},
  journal = {Mathematical Programming},
  volume  = {127},
  number  = {2},
  pages   = {245--295},
  year    = {2011},
  doi     = {10.1007/s10107-009-0286-5}
}""",
    "steihaug1983": """@article{steihaug1983,
  author  = {Steihaug, Trond},
  title   = {The Conjugate Gradient Method and Trust Regions in Large Scale Optimization},
  journal = {SIAM Journal on Numerical Analysis},
  volume  = {20},
  number  = {3},
  pages   = {626--637},
  year    = {1983},
  doi     = {10.1137/0720042}
}""",
    "birgin2017": """@article{birgin2017,
  author  = {Birgin, E. G. and Gardenghi, J. L. and Mart{\\'i}nez, J. M. and Santos, S. A. and Toint, Ph. L.},
  title   = {Worst-case evaluation complexity for unconstrained nonlinear optimization using
             high-order regularized models},
  journal = {Mathematical Programming},
  volume  = {163},
  number  = {1--2},
  pages   = {359--368},
  year    = {2017},
  doi     = {10.1007/s10107-016-1065-8}
}""",
    "gould1999": """@article{gould1999,
  author  = {Gould, Nicholas I. M. and Lucidi, Stefano and Roma, Massimo and Toint, Philippe L.},
  title   = {Solving the Trust-Region Subproblem using the {L}anczos Method},
  journal = {SIAM Journal on Optimization},
  volume  = {9},
  number  = {2},
  pages   = {504--525},
  year    = {1999},
  doi     = {10.1137/S1052623497322735}
}""",
    "more1983": """@article{more1983,
  author  = {Mor{\\'e}, Jorge J. and Sorensen, D. C.},
  title   = {Computing a Trust Region Step},
  journal = {SIAM Journal on Scientific and Statistical Computing},
  volume  = {4},
  number  = {3},
  pages   = {553--572},
  year    = {1983},
  doi     = {10.1137/0904038}
}""",
    "gould2012": """@article{gould2012,
  author  = {Gould, Nicholas I. M. and Porcelli, Margherita and Toint, Philippe L.},
  title   = {Updating the regularization parameter in the adaptive cubic regularization algorithm},
  journal = {Computational Optimization and Applications},
  volume  = {53},
  number  = {1},
  pages   = {1--22},
  year    = {2012},
  doi     = {10.1007/s10589-011-9446-7}
}""",
    "cartis2025": """@misc{cartis2025,
  author       = {Cartis, Coralia and Hauser, Raphael and Liu, Yang and Welzel, Karl and Zhu, Wenqi},
  title        = {Efficient Implementation of Third-order Tensor Methods with Adaptive Regularization for
                  Unconstrained Optimization},
  year         = {2025},
  eprint       = {2501.00404},
  howpublished = {arXiv:2501.00404}
}""",
    "ruge1987": """@incollection{ruge1987,
  author    = {Ruge, John W. and St{\\"u}ben, Klaus},
  title     = {Algebraic Multigrid},
  booktitle = {Multigrid Methods},
  editor    = {McCormick, Stephen F.},
  series    = {Frontiers in Applied Mathematics},
  publisher = {SIAM},
  pages     = {73--130},
  year      = {1987},
  doi       = {10.1137/1.9781611971057.ch4}
}""",
    "bell2023": """@article{bell2023,
  author  = {Bell, Nathan and Olson, Luke N. and Schroder, Jacob and Southworth, Ben},
  title   = {{PyAMG}: Algebraic Multigrid Solvers in {P}ython},
  journal = {Journal of Open Source Software},
  volume  = {8},
  number  = {87},
  pages   = {5495},
  year    = {2023},
  doi     = {10.21105/joss.05495}
}""",
    "nocedal2006": """@book{nocedal2006,
  author    = {Nocedal, Jorge and Wright, Stephen J.},
  title     = {Numerical Optimization},
  edition   = {2},
  publisher = {Springer},
  year      = {2006},
  doi       = {10.1007/978-0-387-40065-5}
}""",
    "byrd1994": """@article{byrd1994,
  author  = {Byrd, Richard H. and Nocedal, Jorge and Schnabel, Robert B.},
  title   = {Representations of quasi-{N}ewton matrices and their use in limited memory methods},
  journal = {Mathematical Programming},
  volume  = {63},
  pages   = {129--156},
  year    = {1994},
  doi     = {10.1007/BF01582063}
}""",
    "liu1989": """@article{liu1989,
  author  = {Liu, Dong C. and Nocedal, Jorge},
  title   = {On the limited memory {BFGS} method for large scale optimization},
  journal = {Mathematical Programming},
  volume  = {45},
  pages   = {503--528},
  year    = {1989},
  doi     = {10.1007/BF01589116}
}""",
    "conn1991": """@article{conn1991,
  author  = {Conn, Andrew R. and Gould, Nicholas I. M. and Toint, Philippe L.},
  title   = {Convergence of quasi-{N}ewton matrices generated by the symmetric rank one update},
  journal = {Mathematical Programming},
  volume  = {50},
  pages   = {177--195},
  year    = {1991},
  doi     = {10.1007/BF01594934}
}""",
    "byrd1996": """@article{byrd1996,
  author  = {Byrd, Richard H. and Khalfan, Humaid Fayez and Schnabel, Robert B.},
  title   = {Analysis of a symmetric rank-one trust region method},
  journal = {SIAM Journal on Optimization},
  volume  = {6},
  number  = {4},
  pages   = {1025--1039},
  year    = {1996},
  doi     = {10.1137/S1052623493252985}
}""",
    "robbins1951": """@article{robbins1951,
  author  = {Robbins, Herbert and Monro, Sutton},
  title   = {A Stochastic Approximation Method},
  journal = {The Annals of Mathematical Statistics},
  volume  = {22},
  number  = {3},
  pages   = {400--407},
  year    = {1951}
}""",
    "polyak1964": """@article{polyak1964,
  author  = {Polyak, Boris T.},
  title   = {Some Methods of Speeding Up the Convergence of Iteration Methods},
  journal = {USSR Computational Mathematics and Mathematical Physics},
  volume  = {4},
  number  = {5},
  pages   = {1--17},
  year    = {1964}
}""",
    "kingma2015": """@inproceedings{kingma2015,
  author    = {Kingma, Diederik P. and Ba, Jimmy},
  title     = {{A}dam: A Method for Stochastic Optimization},
  booktitle = {International Conference on Learning Representations},
  year      = {2015},
  note      = {arXiv:1412.6980}
}""",
    "tan2016": """@inproceedings{tan2016,
  author    = {Tan, Conghui and Ma, Shiqian and Dai, Yu-Hong and Qian, Yuqiu},
  title     = {{B}arzilai--{B}orwein Step Size for Stochastic Gradient Descent},
  booktitle = {Advances in Neural Information Processing Systems 29},
  year      = {2016},
  note      = {arXiv:1605.04131}
}""",
    "berahas2016": """@inproceedings{berahas2016,
  author    = {Berahas, Albert S. and Nocedal, Jorge and Tak{\'a}{\v{c}}, Martin},
  title     = {A Multi-Batch {L-BFGS} Method for Machine Learning},
  booktitle = {Advances in Neural Information Processing Systems 29},
  year      = {2016},
  note      = {arXiv:1605.06049}
}""",
}

METHODS: dict[str, tuple[str, ...]] = {
    "lm": ("transtrum2012",),
    "lm-published": ("calandra2022",),
    "lm-short": ("transtrum2012",),
    "lm-geodesic": ("transtrum2012",),
    "lm-features": ("golub1973", "transtrum2012"),
    "rlm": ("calandra2022", "calandra2021", "gratton2008"),
    "galerkin": ("calandra2022", "gratton2008", "transtrum2012"),
    "nested": ("transtrum2012",),
    "rows": ("transtrum2012", "calandra2022"),
    "ar1": ("calandra2021",),
    "ar2": ("cartis2011", "gould2012", "calandra2021"),
    "ar2-gain": ("cartis2011", "calandra2021"),
    "ar3": ("birgin2017", "cartis2025", "gould2012", "calandra2021"),
    "ar3-gain": ("birgin2017", "cartis2025", "calandra2021"),
    "ar3-prerejection": ("birgin2017", "cartis2025", "gould2012"),
    "tr1": ("gratton2008",),
    "tr2": ("more1983", "gould1999", "steihaug1983", "gratton2008"),  # the third with secant curvature
    "tr2-gltr": ("gould1999", "gratton2008"),
    "tr2-steihaug": ("steihaug1983", "gratton2008"),
}

TRAINERS: dict[str, tuple[str, ...]] = {
    "sgd": ("robbins1951",),
    "momentum": ("polyak1964",),
    "adam": ("kingma2015",),
    "lbfgs": ("liu1989",),
    "sgd-bb": ("tan2016",),
    "svrg-bb": ("tan2016",),
    "multibatch-lbfgs": ("berahas2016", "byrd1994", "byrd2012"),
    "pggn": ("griewank1982", "raynaud2023", "steihaug1983"),
    "plbfgs": ("griewank1982", "raynaud2023", "steihaug1983"),
    "plsr1": ("griewank1982", "raynaud2023", "steihaug1983"),
    "plse": ("griewank1982", "raynaud2023", "steihaug1983"),
    "kbfgs": ("goldfarb2020", "ren2021"),
    "kbfgsl": ("goldfarb2020", "ren2021", "byrd1994"),
    "kfac": ("martens2015",),
}

COARSENINGS: dict[str, tuple[str, ...]] = {"amg": ("ruge1987", "bell2023")}
DEFAULT_COARSENING = {"rlm": "amg"}

CURVATURES: dict[str, tuple[str, ...]] = {
    "bfgs": ("nocedal2006",),
    "sharpened-bfgs": ("jin2022",),
    "reduced": ("heinkenschloss2022",),
    "sr1": ("conn1991", "byrd1996"),
    "lbfgs": ("liu1989", "byrd1994"),
    "lsr1": ("byrd1994", "byrd1996"),
    "se": ("nocedal2006", "conn1991"),
    "lse": ("byrd1994", "byrd1996"),
    **dict.fromkeys(("pbfgs", "psr1", "pse", "pcs"), ("griewank1982",)),
    **dict.fromkeys(("plbfgs", "plsr1", "plse"), ("griewank1982", "raynaud2023")),
}


def bibtex(method: str, coarsening: str | None = None, curvature: str | None = None) -> str:
    """The entries of a method with its coarsening and curvature; raises ``InputError`` for an unknown method."""
    methods = METHODS | TRAINERS
    if method not in methods:
        raise InputError(f"unknown method {method!r}: choose one of {', '.join(methods)}")
    chosen = coarsening if coarsening is not None else DEFAULT_COARSENING.get(method, "")
    keys = *methods[method], *COARSENINGS.get(chosen, ()), *CURVATURES.get(curvature or "", ())
    return "\n\n".join(WORKS[key] for key in keys)
