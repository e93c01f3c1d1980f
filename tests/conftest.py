from collections.abc import Iterator

import hypothesis
import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")  # pictures are written, never shown

# The same examples in every run; no deadline, since the first call of a torch function is slow.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Start every test from the same random state, and leave the state outside it untouched."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(0)
        yield
