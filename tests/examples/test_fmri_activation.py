"""The functional example runs small: its pictures are there and the activation is where it was."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.core import Image
from somascope.io import read

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "fmri_activation.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fmri_activation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_finds_the_place(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, voxel=6.0)
    names = {p.name for p in tmp_path.iterdir()}
    assert {"fmri-motion.png", "fmri-carpet.png", "fmri-activation.png"} <= names
    assert "<svg" in (tmp_path / "fmri-report.html").read_text()
    z = found["z"]
    peak = z.grid.to_world(np.array(np.unravel_index(z.data.argmax(), z.data.shape), float))
    assert np.linalg.norm(peak - [36, 12, 40]) < 14
    assert found["kept"].data.max() > 5
    stored = read(tmp_path / "fmri-z")
    assert isinstance(stored, Image)
    assert np.array_equal(stored.data, z.data)
    assert stored.grid.frame_of_reference == found["anatomy"].grid.frame_of_reference
