"""The registration example runs small: it finds the truth, stores it, and doubts what is wrong."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.analyze.register import points

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "register_two_scans.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("register_two_scans", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_registers_stores_and_doubts(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, voxel=5.0)
    names = {p.name for p in tmp_path.iterdir()}
    assert {"register-checkerboard.png", "register-label.png", "registration.nii.gz"} <= names
    fixed, warp = found["fixed"], found["warp"]
    from somascope.phantoms import brain_mask

    truth = np.asarray(brain_mask(fixed.grid).data)
    x = fixed.grid.to_world(np.argwhere(truth > 0)[::50])
    missed = np.linalg.norm(points(found["truth"], points(warp, x)) - x, axis=1)
    assert np.median(missed) < 2.5  # half a voxel
    assert warp.verdict.trusted, warp.verdict.words
    assert not found["wrong"].verdict.trusted
    assert "do not trust" in (tmp_path / "register-wrong.txt").read_text()
    again = found["again"]
    assert np.allclose(points(again, x), points(warp, x), atol=1e-3)
    assert (again.fixed_frame, again.moving_frame) == (
        fixed.grid.frame_of_reference, found["moving"].grid.frame_of_reference,
    )  # fmt: skip
    carried = np.asarray(found["carried"].data)
    white = int(np.bincount(truth[truth > 0]).argmax())
    both = ((carried == white) & (truth == white)).sum()
    assert 2 * both / ((carried == white).sum() + (truth == white).sum()) > 0.75
