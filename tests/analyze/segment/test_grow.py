"""Region growing: SciPy's components, SimpleITK's ConfidenceConnected, leaks in the right place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from somascope.analyze.segment.grow import LEVELS, flood, grow, leaking
from somascope.core import Box, Image, Label, Mask, Progress
from somascope.core.errors import Cancelled, GeometryError, ParameterError
from somascope.testing import check_operation
from tests.analyze.segment.bodies import LONG, ROUND, ball, dice, grid, noisy, places, scribbled


def only(found):
    (mask,) = [f for f in found if isinstance(f, Mask)]
    return mask.data


def test_between_limits_it_is_scipys_component():
    at = grid((8, 30, 30))
    values = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=at.shape), 1.5)
    z, y, x = np.unravel_index(int(values.argmax()), at.shape)
    seed = tuple(at.to_world((z, y, x)))
    low = float(np.quantile(values, 0.6))
    labels, _ = ndimage.label(values.astype(np.float32) >= np.float32(low))
    found = grow(Image(values, at), points=seed, lower=low)
    assert np.array_equal(only(found) > 0, labels == labels[z, y, x])
    assert len(found) == 1


def test_learned_limits_are_those_of_confidence_connected():
    sitk = pytest.importorskip("SimpleITK")
    at = grid((20, 40, 40))
    truth = ball(at, 9)
    image = noisy(at, truth, noise=10.0, seed=4)
    ours = only(grow(image, points=(0.0, 0.0, 0.0), leak="ignore", rounds=20, tolerance=2.5))
    middle = [n // 2 for n in reversed(at.shape)]
    theirs = sitk.GetArrayFromImage(
        sitk.ConfidenceConnected(
            sitk.GetImageFromArray(image.data), [middle], numberOfIterations=20, multiplier=2.5,
            initialNeighborhoodRadius=2,
        )
    )  # fmt: skip
    assert dice(ours, theirs) > 0.985
    assert dice(ours, truth) > 0.98


def test_the_easiest_way_is_a_minimax_path():
    """Levels are the least of the largest costs on the way, as SciPy's spanning tree tells them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    rng = np.random.default_rng(5)
    cost = rng.integers(1, LEVELS, (3, 6, 7)).astype(np.int32)
    seeds = np.zeros(cost.shape, bool)
    seeds[1, 2, 3] = True
    cost[seeds] = 0
    level, gate = flood(cost, seeds)
    index = np.arange(cost.size).reshape(cost.shape)
    rows, columns, weights = [], [], []
    for axis in range(3):
        a, b = (np.moveaxis(index, axis, 0)[s].ravel() for s in (slice(0, -1), slice(1, None)))
        rows.append(a), columns.append(b)
        weights.append(np.maximum(cost.ravel()[a], cost.ravel()[b]) + 1.0)
    graph = coo_array(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
        shape=(cost.size,) * 2,
    )
    tree = minimum_spanning_tree(graph.tocsr())
    tree = tree + tree.T
    best = np.full(cost.size, -1.0)
    start = int(index[1, 2, 3])
    best[start] = 0
    todo = [start]
    while todo:
        v = todo.pop()
        for w, c in zip(tree[[v]].tocoo().coords[1], tree[[v]].tocoo().data, strict=True):
            if best[w] < 0:
                best[w] = max(best[v], c - 1)
                todo.append(int(w))
    assert np.array_equal(level.ravel(), best.astype(int))
    flat, at = gate.ravel(), level.ravel()
    assert (cost.ravel()[flat] == at).all()  # a gate needs its level


def test_a_basin_behind_a_saddle_is_told_by_its_gate():
    level = np.zeros((1, 1, 40), np.int32)
    level[..., 20:] = 500
    gate = np.where(level == 0, 3, 20)
    assert leaking(level, gate, first=400, share=0.5) == (500, 20)
    assert leaking(level, gate, first=600, share=0.5) == (-1, -1)
    assert leaking(level, gate, first=400, share=1.5) == (-1, -1)


def two_rooms(spacing, channel, noise=6.0, dim=100.0):
    """Two balls of 8 mm with a channel of ``channel`` mm between them, along L."""
    at = grid((round(30 / spacing[0]), 30, 60), spacing)
    world = places(at)
    one, two = ball(at, 8, (-14, 0, 0)), ball(at, 9, (14, 0, 0))
    along = (np.hypot(world[..., 1], world[..., 2]) < channel / 2) & (np.abs(world[..., 0]) < 14)
    data = np.where(along, dim, 0.0)
    data[one | two] = 100.0
    data += np.random.default_rng(0).normal(0, noise, data.shape)
    return Image(data.astype(np.float32), at), one, two


@pytest.mark.parametrize("spacing", [ROUND, LONG])
def test_a_dimmer_passage_is_a_leak_that_is_found(spacing):
    image, one, two = two_rooms(spacing, 5.0, dim=88.0)
    found = grow(image, points=(-14.0, 0.0, 0.0), tolerance=4.0)
    assert dice(only(found), one) > 0.85
    assert not (only(found)[two]).any()
    (box,) = [f for f in found if isinstance(f, Box)]
    (label,) = [f for f in found if isinstance(f, Label)]
    assert abs(image.grid.to_world(box.lower)[0]) < 8  # in the channel
    assert "was stopped" in label.text
    leaky = grow(image, points=(-14.0, 0.0, 0.0), tolerance=4.0, leak="ignore")
    assert only(leaky)[two].mean() > 0.9
    assert len(leaky) == 1


@pytest.mark.parametrize("spacing", [ROUND, LONG])
def test_a_narrow_passage_of_the_same_value_is_closed_by_the_neck(spacing):
    image, one, two = two_rooms(spacing, 4.0, noise=1.0)
    limits = {"lower": 50.0}
    whole = grow(image, points=(-14.0, 0.0, 0.0), **limits)
    assert only(whole)[two].all()
    # The 4 mm are drawn on voxels: their width there may be one and a half voxels more.
    found = grow(image, points=(-14.0, 0.0, 0.0), neck=4 + 1.5 * max(spacing), **limits)
    assert dice(only(found), one) > 0.93
    assert not only(found)[two].any()
    (box,) = [f for f in found if isinstance(f, Box)]
    middle = image.grid.to_world((np.array(box.lower) + box.upper) / 2)
    assert -8 < middle[0] < 2
    assert np.abs(middle[1:]).max() < 3
    wide = grow(image, points=(-14.0, 0.0, 0.0), neck=1.5, **limits)
    assert only(wide)[two].mean() > 0.9


@settings(max_examples=10, deadline=None)
@given(
    scale=st.floats(1e-3, 1e4), shift=st.floats(-1e3, 1e3), axis=st.integers(0, 2),
    leak=st.sampled_from(["stop", "ignore"]),
)  # fmt: skip
def test_scale_offset_and_flips_do_not_count_and_the_mark_is_inside(scale, shift, axis, leak):
    at = grid((8, 20, 20))
    values = noisy(at, ball(at, 7), noise=10.0).data
    mark = scribbled(at, ball(at, 1.5))
    first = only(grow(Image(values, at), mark, leak=leak))
    assert first[mark.data > 0].all()
    changed = Image((values.astype(np.float64) + shift) * scale, at)
    assert (only(grow(changed, mark, leak=leak)) == first).mean() > 0.99
    turned = grow(
        Image(np.flip(values, axis).copy(), at), scribbled(at, np.flip(mark.data > 0, axis)),
        leak=leak,
    )  # fmt: skip
    assert (only(turned) == np.flip(first, axis)).mean() > 0.99


def test_what_it_refuses():
    at = grid((4, 12, 12))
    image = noisy(at, ball(at, 3))
    with pytest.raises(ParameterError, match="nothing is marked"):
        grow(image)
    with pytest.raises(ParameterError, match="no mark has a value"):
        grow(image, points=(0.5, 0.5, 0.5), lower=1e6)
    with pytest.raises(ParameterError, match="above upper"):
        grow(image, points=(0.5, 0.5, 0.5), lower=2.0, upper=1.0)
    with pytest.raises(ParameterError, match="constant"):
        grow(Image(np.full(at.shape, 3.0), at), points=(0.5, 0.5, 0.5))
    with pytest.raises(ParameterError, match="lies outside"):
        grow(image, points=(0.5, 0.5, 50.0))
    with pytest.raises(GeometryError, match="scribbles lie"):
        grow(image, scribbled(grid((4, 12, 12), LONG), ball(at, 2)))
    holed = np.where(ball(at, 2), np.nan, image.data)
    with pytest.raises(ParameterError, match="without a value"):
        grow(Image(holed, at), points=(0.5, 0.5, 0.5))
    with pytest.raises(Cancelled):
        grow(image, points=(0.5, 0.5, 0.5), progress=Progress(None, lambda: True))


def test_the_doors():
    check_operation("segment.grow", params={"neck": 3.0})
    check_operation("segment.watershed")
