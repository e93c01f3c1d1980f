"""Ctrl-C in any slab, from the command line: a checkpoint is left, and ``mlopt resume`` goes on to the same result."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multilevel_opt.cli import main
from multilevel_opt.pde.slabs import Slabs
from multilevel_opt.problem import Stage

USER = '''
import time
from dataclasses import dataclass
from problems import Heat

@dataclass(frozen=True, kw_only=True)
class Slow(Heat):
    """Heat conduction that takes its time."""
    pause: float = 0.0

    def equation(self, u, z):
        time.sleep(self.pause)
        return super().equation(u, z)
'''
COUNTS = ["slabs=4", "width=6", "depth=2", "points=40"]
ITERATIONS = 20  # five in every slab
TIMED = {"seconds", "seconds_setup", "peak_memory_bytes", "parameters", "stages"}


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return [{name: text for name, text in line.items() if name != "seconds"} for line in csv.DictReader(file)]


def assert_goes_on(folder: Path, whole: Path) -> None:
    main(["resume", str(folder), "--quiet"])
    assert history(folder) == history(whole)
    found, expected = record(folder), record(whole)
    assert {k: v for k, v in found.items() if k not in TIMED} == {k: v for k, v in expected.items() if k not in TIMED}
    assert [slab["iterations"] for slab in found["stages"]] == [slab["iterations"] for slab in expected["stages"]]


@pytest.mark.slow
def test_a_signal_in_a_slab_leaves_what_is_needed_to_go_on(tmp_path: Path) -> None:
    user = tmp_path / "slow.py"
    user.write_text(USER, encoding="utf-8")
    asked = [f"{user}:Slow", *COUNTS, "--method", "lm", "--max-iterations", str(ITERATIONS)]
    main(["solve", *asked, "--quiet", "--out", str(tmp_path / "whole")])
    out = tmp_path / "cut"
    command = [sys.executable, "-u", "-m", "multilevel_opt.cli", "solve", *asked, "pause=0.02", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while not (line := run.stderr.readline()).startswith("iteration") or int(line.split()[1]) < ITERATIONS // 2:
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        told = run.stderr.read()
        assert run.wait(60) == 130
    assert f"continue by 'mlopt resume {out}'" in told
    assert "Traceback" not in told
    kept = torch.load(out / "checkpoint.pt", weights_only=True)
    assert 1 <= len(kept["rows"]) < 4
    assert_goes_on(out, tmp_path / "whole")


def test_so_does_one_between_two_slabs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["solve", "heat", *COUNTS, "--method", "lm", "--max-iterations", str(ITERATIONS), "--quiet", "--out"]
    main([*asked, str(tmp_path / "whole")])
    following = Slabs._next

    def interrupted(self: Slabs, rows: Sequence[Tensor], failures: int) -> Stage | None:
        if len(rows) == 2:
            raise KeyboardInterrupt
        return following(self, rows, failures)

    with monkeypatch.context() as patched:
        patched.setattr(Slabs, "_next", interrupted)
        assert main([*asked, str(tmp_path / "cut")]) == 130
    assert f"interrupted: continue by 'mlopt resume {tmp_path / 'cut'}'" in capsys.readouterr().err
    assert_goes_on(tmp_path / "cut", tmp_path / "whole")
