from pathlib import Path

import pytest

CELLS = '''
import ctypes
import os
import signal
import sys
import time

import torch
import multilevel_opt as mlo


class Bowl:
    """Least squares that a few iterations solve; what ``kind`` names happens at the first residual."""

    def __init__(self, kind: str = "good", size: int = 3, pause: float = 0.0, seed: int = 0):
        self.kind, self.pause = kind, pause
        self.parameters = {"kind": kind, "size": size, "pause": pause, "seed": seed}
        generator = torch.Generator().manual_seed(seed)
        self.x0 = torch.rand(size, generator=generator, dtype=torch.float64) + 1.0
        self.metrics = {"rmse": lambda x: float(x.square().mean().sqrt())}
        self.objective = mlo.LeastSquares(self.residual)

    def residual(self, x):
        time.sleep(self.pause)
        KINDS[self.kind]()
        return torch.sinh(x)


def hang():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        ctypes.CDLL(None).pause()


def eat():
    held = []
    while True:
        held.append(torch.ones(2**24, dtype=torch.float64))


def say():
    print('{"cell": "not the answer"}')
    sys.stdout.flush()
    os.write(1, b"nor this\\n")


def leave():
    os._exit(0)


def fail():
    raise ValueError("no such\\nmaterial")


def repaired():
    if not os.path.exists(os.path.join(os.path.dirname(__file__), "repaired")):
        raise ValueError("to be repaired")


KINDS = {
    "repaired": repaired,
    "good": lambda: None,
    "hang": hang,
    "eat": eat,
    "say": say,
    "leave": leave,
    "fail": fail,
    "crash": lambda: ctypes.string_at(0),
    "abort": os.abort,
}
'''

STUDY = """
name = "small"
seeds = "0-{last}"
until = {{ rmse = 1e-6 }}

[[problems]]
problem = "cells.py:Bowl"
parameters = {{ kind = {kinds}, pause = {pause} }}

[[methods]]
name = "LM"
method = "lm"

[[methods]]
name = "TRF"
method = "scipy-trf"
"""


class Folder:
    """A folder with the problem and the study above."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "cells.py").write_text(CELLS, encoding="utf-8")

    def study(self, last: int = 1, kinds: str = '"good"', pause: float = 0.0, extra: str = "") -> Path:
        file = self.path / "small.toml"
        file.write_text(extra + STUDY.format(last=last, kinds=kinds, pause=pause), encoding="utf-8")
        return file


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
