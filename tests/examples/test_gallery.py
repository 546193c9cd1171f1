"""The gallery draws its pictures, each small, and they show what the page says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image as Picture

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "examples" / "gallery.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("somascope_gallery", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def test_shapes_and_repairs_are_drawn(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, groups=("shapes", "repair"))
    assert {p.stem for p in tmp_path.glob("*.png")} == set(found)
    for path in tmp_path.glob("*.png"):
        assert path.stat().st_size < 150_000
        picture = np.asarray(Picture.open(path).convert("RGB"), float)
        assert picture.shape == (example.SIDE, 3 * example.SIDE + 8, 3)
        before, after = (
            picture[:, : example.SIDE],
            picture[:, example.SIDE + 4 :][:, : example.SIDE],
        )
        assert np.abs(before - after).mean() > 1, path.name
    basins = found["watershed"].after.data
    assert 12 < basins.max() < 40  # there are 24 coins, some cut by the crop
    blurred, sharp = found["wiener"].before.data, found["wiener"].after.data
    truth = example.middle().data
    assert np.std(sharp - truth) < 0.8 * np.std(blurred - truth)


def test_every_picture_of_the_page_is_made_by_the_script(example: ModuleType):
    page = (ROOT / "docs" / "gallery.md").read_text()
    shown = set(re.findall(r"images/gallery/([a-z0-9-]+)\.png", page))
    kept = {p.stem for p in (ROOT / "docs" / "images" / "gallery").glob("*.png")}
    assert shown == kept
    text = SCRIPT.read_text()
    assert all(f'"{name}"' in text for name in shown)
    assert all(p.stat().st_size < 150_000 for p in (ROOT / "docs/images/gallery").glob("*.png"))
