"""BibTeX of what a method uses: one table of works, one of methods."""

from __future__ import annotations

from multilevel_opt.errors import InputError

WORKS: dict[str, str] = {
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
}

METHODS: dict[str, tuple[str, ...]] = {
    "lm": ("transtrum2012",),
    "lm-published": ("calandra2022",),
    "lm-geodesic": ("transtrum2012",),
    "rlm": ("calandra2022", "calandra2021", "gratton2008"),
    "galerkin": ("calandra2022", "gratton2008", "transtrum2012"),
    "ar1": ("calandra2021",),
    "ar2": ("cartis2011", "calandra2021"),
    "tr1": ("gratton2008",),
    "tr2": ("steihaug1983", "gratton2008"),
}

COARSENINGS: dict[str, tuple[str, ...]] = {"amg": ("ruge1987", "bell2023")}
DEFAULT_COARSENING = {"rlm": "amg"}


def bibtex(method: str, coarsening: str | None = None) -> str:
    """The entries of a method with its coarsening; raises ``InputError`` for an unknown method."""
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    chosen = coarsening if coarsening is not None else DEFAULT_COARSENING.get(method, "")
    return "\n\n".join(WORKS[key] for key in (*METHODS[method], *COARSENINGS.get(chosen, ())))
