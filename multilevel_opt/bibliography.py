"""BibTeX of the curvatures that are learned layer by layer, element by element, or from samples and products."""

from __future__ import annotations

LEARNED: dict[str, str] = {
    "byrd2012": """@article{byrd2012,
  author  = {Byrd, Richard H. and Chin, Gillian M. and Nocedal, Jorge and Wu, Yuchen},
  title   = {Sample size selection in optimization methods for machine learning},
  journal = {Mathematical Programming},
  volume  = {134},
  pages   = {127--155},
  year    = {2012}
}""",
    "goldfarb2020": """@inproceedings{goldfarb2020,
  author    = {Goldfarb, Donald and Ren, Yi and Bahamou, Achraf},
  title     = {Practical Quasi-{N}ewton Methods for Training Deep Neural Networks},
  booktitle = {Advances in Neural Information Processing Systems 33},
  year      = {2020}
}""",
    "ren2021": """@misc{ren2021,
  author = {Ren, Yi and Bahamou, Achraf and Goldfarb, Donald},
  title  = {{K}ronecker-factored Quasi-{N}ewton Methods for Deep Learning},
  year   = {2021},
  note   = {arXiv:2102.06737}
}""",
    "martens2015": """@inproceedings{martens2015,
  author    = {Martens, James and Grosse, Roger},
  title     = {Optimizing Neural Networks with {K}ronecker-factored Approximate Curvature},
  booktitle = {International Conference on Machine Learning},
  year      = {2015}
}""",
    "jin2022": """@inproceedings{jin2022,
  author    = {Jin, Qiujiang and Koppel, Alec and Rajawat, Ketan and Mokhtari, Aryan},
  title     = {Sharpened Quasi-{N}ewton Methods: Faster Superlinear Rate and Larger Local Convergence Neighborhood},
  booktitle = {International Conference on Machine Learning},
  year      = {2022}
}""",
    "heinkenschloss2022": """@incollection{heinkenschloss2022,
  author    = {Heinkenschloss, Matthias and Magruder, Caleb},
  title     = {Reduced Order Model {H}essian Approximations in {N}ewton Methods for Optimal Control},
  booktitle = {Realization and Model Reduction of Dynamical Systems},
  publisher = {Springer},
  year      = {2022},
  doi       = {10.1007/978-3-030-95157-3_18}
}""",
    "griewank1982": """@incollection{griewank1982,
  author    = {Griewank, Andreas and Toint, Philippe L.},
  title     = {On the unconstrained optimization of partially separable functions},
  booktitle = {Nonlinear Optimization 1981},
  editor    = {Powell, M. J. D.},
  publisher = {Academic Press},
  pages     = {301--312},
  year      = {1982}
}""",
    "raynaud2023": """@techreport{raynaud2023,
  author      = {Raynaud, Paul and Orban, Dominique and Bigeon, Jean},
  title       = {{PLSR1}: a limited-memory partitioned quasi-{N}ewton optimizer for partially-separable loss functions},
  institution = {GERAD},
  number      = {G-2023-41},
  year        = {2023}
}""",
}
