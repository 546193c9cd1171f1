"""The ultrasound example runs small: its pictures are there and its cysts are empty."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.io import read
from somascope.phantoms.echogenicity import CYSTS, tissue_us

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "ultrasound_beamforming.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ultrasound_beamforming", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_shows_the_cysts(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, size=96)
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {"us-waves.png", "us-beamformers.png", "us-probes.png"}
    grid = tissue_us(size=96).grid
    y, x = np.indices(grid.shape[1:])
    x, y = x * grid.spacing[2] + grid.origin[0], y * grid.spacing[1] + grid.origin[1]
    shown = found["many"].data[0].astype(float)
    tissue = shown[(np.abs(x) > 12) & (y > 10) & (y < 34)].mean()
    brightness = [
        shown[np.hypot(x - at, y - deep) < 0.7 * radius].mean() for at, deep, radius, _ in CYSTS
    ]
    # Left empty, right bright, left empty, right faint: as in the phantom, not mirrored.
    assert brightness[0] < tissue - 40
    assert brightness[1] > tissue + 15
    assert brightness[2] < tissue - 40
    assert tissue - 50 < brightness[3] < tissue - 8
    again = read(tmp_path / "us-series")
    assert np.array_equal(again.data, found["many"].data)
    assert again.grid.allclose(grid)
