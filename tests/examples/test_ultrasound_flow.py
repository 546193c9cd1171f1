"""The pictures of the tutorial on flow are made anew, and show what its text says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from somascope.acquire.ultrasound.doppler_spectral import axes_of
from somascope.io import read

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def example() -> Any:
    path = ROOT / "examples" / "ultrasound_flow.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PICTURES = ("us-flow.png", "us-spectrum.png", "us-strain.png", "us-shear.png", "us-speckle.png")


def same(name: str, made: Path) -> None:
    shipped, now = (np.asarray(Picture.open(p / name)).astype(float) for p in (IMAGES, made))
    assert now.shape == shipped.shape
    assert now.std() > 20
    assert np.abs(now - shipped).mean() < 3, f"{name} is out of date"


def test_simulated_pictures(example: Any, tmp_path: Path):
    example.main(tmp_path)
    for name in PICTURES:
        same(name, tmp_path)
    velocity = read(tmp_path / "velocity")
    assert not isinstance(velocity, list)
    assert velocity.unit == "cm/s"
    # Along the middle of the vessel: 35 cm/s times the sine of its slope, away from the probe.
    middle = [velocity.data.squeeze()[round((8 + 0.25 * (x * 0.15 - 9)) / 0.1), x]
              for x in range(20, 100)]  # fmt: skip
    truth = -35 * 0.25 / np.hypot(1, 0.25)
    assert np.median(middle) == pytest.approx(truth, rel=0.15)
    # The spectrum reaches up to the peak of the beat, 52 cm/s; away from the probe there is none.
    spectrum = read(tmp_path / "spectrum")
    assert not isinstance(spectrum, list)
    speeds, times = axes_of(spectrum)
    assert times[-1] == pytest.approx(1.18, abs=0.02)
    course = (spectrum.data[0] > 110).mean(axis=1)
    assert speeds[course > 0.02].max() == pytest.approx(52, abs=5)
    assert spectrum.data[0][(speeds < -8) & (speeds > -20)].mean() < 30


@pytest.mark.data
def test_the_disk(example: Any, tmp_path: Path, data: Path):
    if not (data / "pymust_rf" / "PWI_disk.mat").is_file():
        pytest.skip("the rotating disk is not among the development data")
    assert example.disk(data, tmp_path) == pytest.approx(62.4, rel=0.05)
    same("us-disk.png", tmp_path)
