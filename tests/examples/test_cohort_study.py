"""The example of a cohort runs small: table, pages and pictures are there, and say what is true."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from somascope.analyze.cohort import read_table

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "cohort_study.py"


def test_it_runs_a_study_from_the_archive_to_the_report(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("cohort_study", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found, results = example.main(tmp_path, people=6, permutations=20, coarse=2.0)
    names = {p.name for p in tmp_path.iterdir()}
    assert {"cohort-groups.png", "cohort-age.png", "cohort-atrophy.png"} <= names
    assert {"cohort.csv", "cohort.json", "cohort.html", "cohort-qc.html"} <= names
    table = read_table(tmp_path / "cohort.csv")
    assert len(table) == 6
    assert {g.name: g.patients for g in found.groups} == {"control": 3, "patient": 3}
    t = results[0]
    index = np.round(t.grid.to_index(example.PLACE)).astype(int)
    around = tuple(slice(i - 1, i + 2) for i in index)
    assert t.data[around].min() < -2  # less tissue in patients, where it was taken away
