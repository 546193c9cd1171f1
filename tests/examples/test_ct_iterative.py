"""The example of iterative CT runs small: its pictures are there, its corrections correct."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "examples" / "ct_iterative.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ct_iterative", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_every_method_helps(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, size=64)
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {"ct-few-views.png", "ct-low-dose.png", "ct-corrections.png"}
    few = found["few views"]
    assert few["tv"] < few["fbp"]
    assert few["sirt"] < few["fbp"]
    low = found["low dose"]
    assert low["pwls"] < low["fbp"]
    for name, (before, after) in found["corrections"].items():
        # At this size few bins are striped: rings are only asked to become less.
        assert after < (0.95 if name == "rings" else 0.75) * before, name


@pytest.mark.data
def test_synchrotron_specimen(example: ModuleType, data: Path, tmp_path: Path):
    path = data / "tomobar_data" / "RealDataDend.mat"
    if not path.is_file():
        pytest.skip("the synchrotron sinogram is not among the development data")
    made = example.synchrotron(tmp_path, path, size=160)
    y, x = np.mgrid[:160, :160] - 79.5
    body, air = np.hypot(y, x) < 38, (np.hypot(y, x) > 68) & (np.hypot(y, x) < 76)
    noise = {}
    for name, image in made.items():
        values = image.data[0]
        assert values[body].mean() > 6 * abs(values[air].mean()), name
        noise[name] = values[air].std() / values[body].mean()
    assert noise["tv"] < 0.5 * noise["mended"]


@pytest.mark.data
def test_pet_transmission(example: ModuleType, data: Path, tmp_path: Path):
    folder = data / "irt_data" / "irt" / "data" / "pet,trans,2d,sino"
    if not (folder / "phan,trans.mat").is_file():
        pytest.skip("the transmission scan is not among the development data")
    made = example.transmission(tmp_path, folder)
    values = {name: image.data[0] for name, image in made.items()}
    tissue, lung = np.s_[60:80, 58:68], np.s_[50:64, 42:50]
    for name in ("mltr", "pwls"):
        # Water is 0 HU at 511 keV too; the lungs are far below it.
        assert values[name][tissue].mean() == pytest.approx(0, abs=150), name
        assert values[name][lung].mean() < values[name][tissue].mean() - 200, name
        assert values[name][tissue].std() < 0.6 * values["fbp"][tissue].std(), name
