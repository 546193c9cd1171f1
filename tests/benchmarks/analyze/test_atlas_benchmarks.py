"""The atlas benchmarks' smallest cases: ours and the peers' results are the same."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import lines


def test_box_sums_find_what_the_loop_finds():
    (line,) = lines("atlas.fusion", small=True)
    assert line["quality_ours"] == pytest.approx(line["quality_peer"], abs=2e-4)


def test_staple_is_itks():
    made = list(lines("atlas.staple", small=True))
    assert len(made) == 2
    assert all(line["quality_ours"] > 0.999 for line in made)


def test_tissues_are_told_better_than_by_values_alone():
    (line,) = lines("atlas.tissues", small=True)
    assert line["quality_ours"] > line["quality_peer"]
