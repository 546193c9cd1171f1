"""Matching, changes and target lesions on bodies that are known to the voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.analyze.longitudinal.change import change, days_between
from somascope.analyze.longitudinal.lesions import Size, lesions, shared
from somascope.analyze.longitudinal.matching import match
from somascope.analyze.longitudinal.targets import sums, targets
from somascope.core import Grid, Mask, Segment, Tracking
from somascope.core.errors import ParameterError

GRID = Grid.from_spacing((24, 60, 60), (2.0, 1.0, 1.0))


def mask(*balls, names=None):
    """One segment for each ``(z, y, x, radius in mm)``."""
    z, y, x = np.indices(GRID.shape)
    data = np.zeros(GRID.shape, np.uint8)
    for n, (a, b, c, r) in enumerate(balls):
        data[(2 * (z - a)) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= r * r] = n + 1
    names = names or [f"L{n + 1}" for n in range(len(balls))]
    segments = tuple(
        Segment(n + 1, name, tracking=Tracking(f"2.25.{n + 1}", name))
        for n, name in enumerate(names)
    )
    return Mask(data=data, grid=GRID, segments=segments)


def paired(before, after, **more):
    one, two = lesions(before), lesions(after)
    centres = np.array([a.centre for a in one]).reshape(-1, 3)
    return one, two, match([a.region for a in one], centres, two, **more)


A, B, C = (6, 15, 15, 6), (12, 40, 20, 7), (16, 25, 45, 5)


def test_the_order_of_lesions_does_not_matter():
    _, _, found = paired(mask(A, B, C), mask(C, A, B))
    assert {(i, j) for i, j, _ in found.pairs} == {(0, 1), (1, 2), (2, 0)}
    assert all(s == pytest.approx(1) for _, _, s in found.pairs)
    assert found.new == found.resolved == ()


def test_new_gone_near_and_far():
    moved = (A[0], A[1], A[2] + 8, 3)
    _, _, found = paired(mask(A, B), mask(moved, C))
    assert [(i, j) for i, j, _ in found.pairs] == [(0, 0)]
    assert (found.resolved, found.new) == ((1,), (1,))
    far = (A[0], A[1], A[2] + 14, 3)
    _, _, found = paired(mask(A), mask(far))
    assert (found.pairs, found.resolved, found.new) == ((), (0,), (0,))
    _, _, found = paired(mask(A), mask(far), reach=20.0)
    assert len(found.pairs) == 1


def test_one_to_one_though_one_overlaps_two():
    """The best sum: a greedy choice by overlap would leave one of them without its own."""
    one, two, found = paired(
        mask((8, 20, 20, 8), (8, 20, 31, 3)), mask((8, 20, 26, 8), (8, 20, 15, 3))
    )
    assert len(one) == len(two) == 2
    assert {(i, j) for i, j, _ in found.pairs} == {(0, 1), (1, 0)}


def test_split_and_merged():
    whole, left, right = (10, 20, 20, 9), (10, 20, 15, 4), (10, 20, 25, 4)
    _, _, found = paired(mask(whole), mask(left, right))
    assert len(found.pairs) == 1
    assert list(found.split.values()) == [0]
    assert found.new == ()
    _, _, found = paired(mask(left, right), mask(whole))
    assert len(found.pairs) == 1
    assert list(found.merged.values()) == [0]
    assert found.resolved == ()


def test_components_of_one_segment_are_lesions_of_their_own():
    made = mask(A, B)
    together = Mask(
        data=(made.data > 0).astype(np.uint8), grid=GRID,
        segments=(Segment(1, "all", tracking=Tracking("2.25.9", "all")),),
    )  # fmt: skip
    assert len(lesions(together)) == 1
    parts = lesions(together, each="component")
    assert [p.name for p in parts] == ["all 1", "all 2"]
    assert len({p.tracking.uid for p in parts}) == 2
    assert sum(p.size.volume for p in parts) == lesions(together)[0].size.volume
    assert shared(parts[0].region, parts[1].region) == 0
    dots = np.zeros(GRID.shape, np.uint8)
    dots[::2, ::2, ::2] = 1
    many = Mask(data=dots, grid=GRID, segments=(Segment(1, "x"),))
    with pytest.raises(ParameterError, match="10800 bodies, 2000"):
        lesions(many, each="component")


def test_sizes_of_a_ball():
    (ball,) = lesions(mask((12, 30, 30, 10)))
    truth = 4 / 3 * np.pi * 1000
    assert abs(ball.size.volume - truth) < 2 * ball.size.volume_spread
    assert ball.size.long == pytest.approx(20, abs=1.5)
    assert ball.size.short == pytest.approx(20, abs=1.5)
    assert not ball.cut
    # An outline 0.2 mm further out all round: the surface, 1257 mm2, times 0.2 mm.
    assert ball.size.volume_spread == pytest.approx(0.2 * 4 * np.pi * 100, rel=0.1)
    (edge,) = lesions(mask((1, 30, 30, 10)))
    assert edge.cut


def test_changes_and_their_uncertainty():
    one, two = Size(1000, 50, 12, 10, 0.5), Size(1500, 60, 15, 11, 0.5)
    found = change(one, two, days=100)
    assert found.volume == pytest.approx(50)
    assert found.volume_spread == pytest.approx(150 * np.hypot(0.05, 0.04))
    assert found.course == "grown"
    assert found.mean == pytest.approx(2.0)
    assert found.doubling == pytest.approx(100 / np.log2(1.5))
    assert change(two, one, days=100).course == "shrunk"
    assert change(one, Size(1100, 50, 12, 10, 0.5)).course == "stable"
    assert days_between("20250101", "20250301") == 59
    assert days_between("", "20250301") is None


@settings(max_examples=40, deadline=None)
@given(st.floats(10, 1e5), st.floats(0.1, 10), st.floats(0.01, 0.2))
def test_growth_and_shrinkage_undo_each_other(volume, ratio, relative):
    one = Size(volume, relative * volume, 10, 10, 0.5)
    two = Size(volume * ratio, relative * volume * ratio, 10, 10, 0.5)
    there, back = change(one, two), change(two, one)
    assert (1 + there.volume / 100) * (1 + back.volume / 100) == pytest.approx(1)
    assert there.volume_spread / (100 + there.volume) == pytest.approx(
        back.volume_spread / (100 + back.volume)
    )


def test_targets_and_sums():
    """Node by its short axis from 15 mm on, others by their longest from 10 mm on."""
    before = mask((6, 12, 12, 8), (6, 12, 42, 4), (17, 42, 14, 9), (17, 42, 42, 6),
                  names=["a", "small", "node: hilar", "node: small"])  # fmt: skip
    one = lesions(before)
    assert [a.node for a in one] == [False, False, True, True]
    assert targets(one) == [2, 0]
    _, _, found = paired(before, before)
    total = sums(one, one, found)
    assert total.prior == total.now == one[2].size.short + one[0].size.long
    assert (total.remaining, total.others) == (2, "persisting")
    after = mask((6, 12, 12, 5), (17, 42, 14, 4), names=["a", "node: hilar"])
    _, two, found = paired(before, after)
    total = sums(one, two, found)
    assert total.now == two[0].size.long + two[1].size.short
    assert total.remaining == 1  # a node of 8 mm is a normal one
    assert total.others == "gone"
    assert targets(one, most=1) == [2]


def test_non_target_nodes_that_are_normal_again_have_gone():
    names = ["a", "node: hilar"]
    before = mask((6, 14, 14, 8), (16, 40, 40, 6), names=names)
    one = lesions(before)
    assert targets(one) == [0]
    for radius, others in ((6, "persisting"), (4, "gone")):
        two = lesions(mask((6, 14, 14, 8), (16, 40, 40, radius), names=names))
        found = match([a.region for a in one], np.array([a.centre for a in one]), two)
        assert len(found.pairs) == 2
        assert sums(one, two, found).others == others
        grown = sums(one, two, found, grown={1}).others
        assert grown == ("grown" if others == "persisting" else "gone")


def test_the_parts_of_a_split_lesion_are_added():
    before, after = mask((10, 20, 20, 9)), mask((10, 20, 14, 4), (10, 20, 26, 4))
    one, two, found = paired(before, after)
    total = sums(one, two, found)
    assert total.now == two[0].size.long + two[1].size.long
    one, two, found = paired(after, before)
    assert sums(one, two, found).now is None  # none of 8 mm is a target
    big = mask((10, 20, 12, 7), (10, 20, 28, 7))
    one, two, found = paired(big, mask((10, 20, 20, 14)))
    assert sums(one, two, found).now == two[0].size.long  # counted once
