"""The example of a follow-up runs small: its pictures are there and its courses are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "follow_up.py"


def test_it_draws_its_pictures_and_tells_the_courses(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("follow_up", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    rows = example.main(tmp_path, spacing=3.6, radius=13.0)
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {"follow-up-lesions.png", "follow-up-new.png", "follow-up-trend.png"}
    courses = {r["lesion"]: r["course"] for r in rows}
    assert courses["Lesion 2"] == "Lesion has grown"
    assert courses["Lesion 3"] == "Lesion has gone"
    assert courses["Lesion 5"] == "Lesion has shrunk"
    assert courses["Lesion 1"] == "Lesion is unchanged"
    assert sum(c == "Change that may be a new lesion" for c in courses.values()) >= 2
