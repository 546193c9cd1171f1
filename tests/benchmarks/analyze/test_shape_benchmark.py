"""The shape benchmarks' smallest case: ellipses in noise, no data."""

from __future__ import annotations

from benchmarks.__main__ import KEYS, lines


def test_shapes_are_found_and_cleaned():
    found = list(lines("shape.left_ventricle", small=True))
    assert all(set(line) == set(KEYS) for line in found)
    dice = [line for line in found if "Dice" in line["quality_metric"]]
    assert len(dice) == 4  # profile, boundary, both, appearance
    assert all(line["quality_ours"] > 0.9 for line in dice)
    cleaned = {line["case"]: line for line in found if "HD95" in line["quality_metric"]}
    assert len(cleaned) == 2
    (heavy,) = [line for case, line in cleaned.items() if "heavily" in case]
    assert heavy["quality_ours"] < heavy["quality_peer"]
