"""The smallest case of the registration benchmarks: known maps of the phantom, beside greedy."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import KEYS, lines

pytest.importorskip("picsl_greedy")


VOXEL = 225.28 / 48
"""mm of the small cases."""


# Two contrasts are compared by what a voxel has in common with the next: half a voxel, no finer.
@pytest.mark.parametrize(
    ("name", "voxels"), [("register.synthetic", 0.25), ("register.open_ms", 0.6)]
)
def test_a_known_map_is_found_beside_greedy(name, voxels):
    found = list(lines(name, small=True))
    by = {line["quality_metric"]: line for line in found}
    assert all(set(line) == set(KEYS) for line in found)
    error, folds = by["mean error in the head, mm"], by["folding, %"]
    assert error["quality_ours"] < voxels * VOXEL
    assert error["quality_ours"] < 1.05 * error["quality_peer"]
    assert folds["quality_ours"] < 0.1


def test_starts_are_caught():
    found = list(lines("register.capture", small=True))
    assert len(found) == 2
    assert all(line["quality_ours"] == 100 for line in found)


@pytest.mark.parametrize("name", ["register.hippocampus", "register.pairs"])
def test_without_small_cases_nothing_is_said(name):
    assert list(lines(name, small=True)) == []
