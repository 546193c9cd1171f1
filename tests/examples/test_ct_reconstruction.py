"""The CT example runs small: its pictures are there and its images are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.core import Image
from somascope.io import read

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "ct_reconstruction.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ct_reconstruction", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_finds_the_body(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, size=96)
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {"ct-sinogram.png", "ct-dose.png", "ct-fan.png", "ct-cone.png"}
    truth = found["truth"].data
    lung = truth < -700
    lung[:] = False
    lung[0, 40:54, 28:34] = True
    assert (truth[lung] < -700).all()
    heart = np.s_[0, 46:50, 52:58]
    for name in ("fbp", "fan", "short", "half-fan"):
        image = found[name].data
        assert image[lung].mean() == pytest.approx(truth[lung].mean(), abs=6), name
        assert image[heart].mean() == pytest.approx(truth[heart].mean(), abs=20), name
    assert found["hard"].data[heart].mean() < found["fan"].data[heart].mean() - 20
    noise = found["dose 10000"].data - found["dose 200000"].data
    assert 20 < noise[lung].std() < 60
    block = found["block"].data
    still = np.s_[12, 20:26, 14:17]
    for name in ("cone", "helical"):
        assert found[name].data[still].mean() == pytest.approx(block[still].mean(), abs=25), name
    series = read(tmp_path / "ct-series")
    assert isinstance(series, Image)
    assert np.abs(series.data - found["fbp"].data).max() <= 0.5
