import numpy as np
import pytest

from somascope.acquire.fmri.simulate import simulate
from somascope.phantoms import brain_grid, brain_mr


@pytest.fixture(scope="session")
def head():
    return brain_mr("T2", brain_grid((40, 52, 44), (4.2, 4.0, 3.8)), noise=0)


@pytest.fixture(scope="session")
def still(head):
    """No motion, 80 scans of 2 s, two conditions."""
    return simulate(head, scans=80, voxel=(5.0, 5.0, 5.0), seed=1)


@pytest.fixture(scope="session")
def rng():
    return np.random.default_rng(7)
