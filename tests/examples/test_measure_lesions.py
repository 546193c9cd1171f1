"""The measuring example runs small: pictures, a table, and numbers that are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.io import write

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "measure_lesions.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_lesions", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_measures(example: ModuleType, tmp_path: Path):
    _, mask, pet = example.thorax(3.0)
    write(pet, tmp_path / "given.nii.gz")
    write(mask, tmp_path / "mask.nii.gz")
    given = tmp_path / "given.nii.gz", tmp_path / "mask.nii.gz"
    found = example.main(tmp_path, given, voxel=3.0)
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "measure-axes.png", "measure-features.png", "measure-thickness.png", "measure-vessel.png",
    }  # fmt: skip
    assert len((tmp_path / "measure-features.csv").read_text().splitlines()) > 200
    told = {(m.tracking.name, m.concept.meaning): m for m in found["lesions"]}
    nodule = [s for s in example.thorax_mask().segments if s.label == "Lung nodule"]
    assert len(nodule) == 1
    volume = told["Lung nodule", "Volume"]
    inside = mask.data == nodule[0].number
    assert volume.value == pytest.approx(inside.sum() * mask.grid.voxel_volume / 1000)
    diameters = np.asarray(found["diameters"])
    assert diameters.max() == pytest.approx(8.0, abs=1.5)
    assert diameters.min() == pytest.approx(4.0, abs=1.5)
    assert {m.tracking.name for m in found["uptake"]} == {"Lung nodule", "Liver lesion"}
    assert (tmp_path / "measured.csv").exists()
