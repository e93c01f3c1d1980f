"""The scripts for DeepXDE on the page for its users run, too: each with few iterations, in a process of its own."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "deepxde.md"
THEIRS = re.compile(r"^```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FEW = """import deepxde
deepxde.optimizers.config.set_LBFGS_options(maxiter=5)
deepxde.optimizers.config.LBFGS_options |= {"iter_per_step": 5, "fun_per_step": 6}
"""


@pytest.mark.skipif(find_spec("deepxde") is None, reason="DeepXDE is in the extra 'peers'")
def test_the_scripts_for_deepxde_run(tmp_path: Path) -> None:
    blocks = THEIRS.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == 3
    script = FEW + "\n".join(re.sub(r"iterations=\d+", "iterations=5", block) for block in blocks)
    (tmp_path / "theirs.py").write_text(script + '\nprint("all three ran")\n', encoding="utf-8")
    environment = {**os.environ, "DDE_BACKEND": "pytorch", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "theirs.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.endswith("all three ran\n")


def test_both_columns_have_a_script_for_every_case() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(THEIRS.findall(page)) == len(re.findall(r"^```python$", page, re.MULTILINE)) == 3
