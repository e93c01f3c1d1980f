"""Choose and run benchmarks; threads are those of the environment (OMP_NUM_THREADS)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import torch

from benchmarks import (
    algebra,
    bounds,
    choice,
    coarsening,
    damping,
    elements,
    equations,
    grids,
    intervals,
    iteration,
    jacobian,
    levels,
    mgh,
    partitioned,
    peers,
    pinn_peers,
    rows,
    searches,
    secant,
    separable,
    studies,
    training,
)
from benchmarks.measure import say

BENCHMARKS: dict[str, Callable[[Sequence[int]], None]] = {
    "iteration": iteration.run,
    "jacobian": jacobian.run,
    "levels": levels.run,
    "damping": damping.run,
    "searches": searches.run,
    "coarsening": coarsening.run,
    "peers": peers.run,
    "pinn-peers": pinn_peers.run,
    "intervals": intervals.run,
    "secant": secant.run,
    "separable": separable.run,
    "elements": elements.run,
    "partitioned": partitioned.run,
    "bounds": bounds.run,
    "grids": grids.run,
    "mgh": mgh.run,
    "studies": studies.run,
    "training": training.run,
    "algebra": algebra.run,
    "rows": rows.run,
}

FILTERED: dict[str, Callable[[Sequence[int], Sequence[str], Sequence[str]], None]] = {  # seeds, methods, problems
    "equations": equations.run,
    "choice": choice.run,
}
DEFAULT = ("iteration", "jacobian", "levels", "peers", "studies")


def seeds(text: str) -> list[int]:
    """The numbers of ``0-4`` or ``3,5,8``."""
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(part) for part in text.split(",")]


def listed(text: str) -> list[str]:
    """The parts of ``lm,auto``."""
    return [part.strip() for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*BENCHMARKS, *FILTERED, []], help=f"which ones; default: {', '.join(DEFAULT)}"
    )
    parser.add_argument("--seeds", type=seeds, default=seeds("0-4"), metavar="0-4", help="of levels, peers and studies")
    several = f"of {', '.join(FILTERED)}; may be repeated"
    for option, default in (("--method", "auto"), ("--only", "helmholtz,wave")):
        parser.add_argument(option, type=listed, action="extend", default=[], metavar=default, help=several)
    arguments = parser.parse_args()
    names = arguments.names or DEFAULT
    if (arguments.method or arguments.only) and not set(names) <= set(FILTERED):
        parser.error(f"--method and --only are options of {', '.join(FILTERED)} alone")
    say(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in names:
        if name in FILTERED:
            FILTERED[name](arguments.seeds, arguments.method, arguments.only)
        else:
            BENCHMARKS[name](arguments.seeds)


if __name__ == "__main__":
    main()
