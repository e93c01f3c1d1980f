"""Records of studies made up by hand, so that every statistic of them is known."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

COLUMNS = ["iteration", "flops", "seconds", "loss", "gradient_norm", "rmse"]


def record(
    method: str = "LM", seed: int = 0, cost: float | None = 1.0, width: int = 32, **changes: Any
) -> dict[str, Any]:
    """The record of a run that cost ``cost`` seconds, 1e6 times as many flops and 10 times as many iterations.

    A run of cost None missed its target.
    """
    spent = 2.0 if cost is None else cost
    made = {
        "schema": 1,
        "study": "by hand",
        "problem": "poisson",
        "parameters": {"nu": 5, "width": width, "seed": seed, "boundary_weight": 1.6},
        "method": {"LM": "lm", "LM published": "lm-published"}.get(method, "galerkin"),
        "method_name": method,
        "method_options": {},
        "levels": 1,
        "seed": seed,
        "status": "max_iterations" if cost is None else "target",
        "message": "as it is",
        "converged": cost is not None,
        "target": {"rmse": 1e-3},
        "iterations": round(10 * spent),
        "flops": 1e6 * spent,
        "seconds": spent,
        "seconds_setup": 0.0,
        "loss": 1e-6,
        "gradient_norm": 1e-6,
        "rmse": 0.5 if cost is None else 1e-3,
        "relative_l2": None,
        "n_parameters": 100,
        "n_residuals": 50,
        "device": "cpu",
        "dtype": "float64",
        "versions": {"python": "3"},
        "error": None,
        "history": history(spent, 0.5 if cost is None else 1e-3),
        "history_columns": COLUMNS,
    }
    made = {**made, **changes}
    return {"cell": json.dumps([made["problem"], made["parameters"], method, seed, made["target"]]), **made}


def history(cost: float, last: float) -> list[list[float]]:
    """Ten iterations in which the error falls from 1 to ``last`` and the gradient norm by a factor of ten each."""
    return [
        [k + 1, 1e5 * cost * (k + 1), 0.1 * cost * (k + 1), last ** (k / 4.5), 10.0**-k, last ** (k / 9)]
        for k in range(10)
    ]


def failed(method: str = "LM", seed: int = 0, error: str = "it broke", **changes: Any) -> dict[str, Any]:
    """The record of a cell that raised an error: keys that identify it, and null for every number."""
    whole = record(method, seed, None)
    kept = {
        name: whole[name] for name in ("study", "problem", "method", "method_name", "method_options", "seed", "target")
    }
    numbers = dict.fromkeys(["iterations", "flops", "seconds", "seconds_setup", "loss", "gradient_norm", "rmse"])
    made = {"status": "failed", "error": error, "converged": False, "history": [], "history_columns": COLUMNS}
    parameters = {"nu": 5, "width": 32, "seed": seed}
    return {"cell": f"failed-{method}-{seed}", **kept, **numbers, **made, "parameters": parameters, **changes}


def write(folder: Path, records: Iterable[Mapping[str, Any]], toml: str = 'name = "by hand"\n') -> Path:
    """A study's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(toml, encoding="utf-8")
    lines = (json.dumps(one, allow_nan=False) + "\n" for one in records)
    (folder / "records.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
