"""A small chest: its CT without noise, radiographed once per session."""

from __future__ import annotations

import pytest

from somascope.acquire.xray.simulate import simulate
from somascope.phantoms import thorax_ct, thorax_grid

SMALL = {"rows": 192, "columns": 192, "pitch": 2.2}


@pytest.fixture(scope="session")
def chest():
    return thorax_ct(thorax_grid((64, 128, 128), (5.0, 3.0, 3.0)), noise_hu=0)


@pytest.fixture(scope="session")
def raw(chest):
    return simulate(chest, seed=1, **SMALL)
