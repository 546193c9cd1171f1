"""The example of guidance runs small: pictures are there, and the images find what has sunk."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "guidance.py"


def millimetres(words: str) -> float:
    return float(words.split(maxsplit=1)[0])


def test_it_draws_its_pictures_and_finds_the_target(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("guidance", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    brain, spine = example.main(tmp_path, voxel=4.0, spacing=6.0)
    assert {p.name for p in tmp_path.glob("*.png")} == {"guidance-brain.png", "guidance-spine.png"}
    alone = millimetres(brain["target misses, fiducials alone"])
    images = millimetres(brain["target misses, with the images"])
    assert images < 2.5 < alone  # sunk by up to 8 mm; voxels of 4
    assert "Clearance of the path, Vessel" in brain
    assert millimetres(spine["tip misses"]) < 2.0  # voxels of 6 mm
    assert "Clearance of the path, Spinal canal" in spine
