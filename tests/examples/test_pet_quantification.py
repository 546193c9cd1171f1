"""The example of PET quantification runs small: pictures are there and numbers are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.io import read

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "pet_quantification.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pet_quantification", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_finds_the_uptake(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, size=28, scanner="body", head_scanner="tiny", head_size=24,
                         crystals=128, iterations=1)  # fmt: skip
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {
        "pet-suv.png", "pet-scatter.png", "pet-patlak.png", "pet-curves.png", "pet-recovery.png",
        "pet-noise.png",
    }  # fmt: skip
    truth = found["truth"].data
    warm = (np.abs(truth / np.median(truth[truth > 0.1]) - 1) < 0.01).copy()
    warm[[*range(6), *range(-6, 0)]] = False  # the rings' ends
    warm[9:15] = False  # the spheres' slices
    mean = {name: found[name].data[warm].mean() / truth[warm].mean() for name in found if name in (
        "nothing", "attenuation", "randoms", "scatter")}  # fmt: skip
    assert mean["nothing"] < 0.4
    assert mean["attenuation"] > mean["randoms"] > 1.15
    assert mean["scatter"] == pytest.approx(1.0, abs=0.1)  # edges of coarse voxels included
    series = read(tmp_path / "pet-suv-series")
    assert series.unit == "g/ml"
    dynamic = read(tmp_path / "pet-dynamic")
    assert dynamic.axis_names == ("t", "z", "y", "x")
    assert len(dynamic.attributes["ActualFrameDuration"]) == dynamic.shape[0]
    assert read(tmp_path / "pet-influx").unit == "ml/min/ml"
    assert found["ki"].data[2, 8:16, 6:9].mean() > 0.005
