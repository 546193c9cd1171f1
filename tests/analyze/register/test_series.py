"""Series to their mean, and a slice to its volume, under known maps."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.analyze.register import groupwise, points, register
from somascope.analyze.register.series import align_series
from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError
from somascope.process.resample import resample_to
from somascope.testing import check_operation
from tests.analyze.register.pairs import head, pair, turned

SMALL = {"shape": (30, 32, 28), "spacing": (4.5, 4.5, 4.5)}


def series(pairs) -> Image:
    data = np.stack([p.moving.data for p in pairs])
    return Image(data, pairs[0].fixed.grid, "MR", axes=(Axis("t"),))


def apart(group, pairs) -> float:
    """mm by which the places that two warps call one differ, in the fixed head of both."""
    grid = pairs[0].fixed.grid
    x = grid.to_world(np.argwhere(pairs[0].inside)[::11])
    home = []
    for warp, made in zip(group.warps, pairs, strict=True):
        y = points(warp, x)
        at = grid.to_index(y).T
        from scipy.ndimage import map_coordinates

        way = np.stack([map_coordinates(w, at, order=1, mode="nearest") for w in made.way], -1)
        home.append(y + way)
    return float(np.linalg.norm(np.std(home, axis=0), axis=-1).mean())


def test_a_moving_head_is_aligned_to_its_mean_position():
    moves = [((0, 0, 0), (0, 0, 0)), ((4, -3, 2), (3, -2, 4)), ((-3, 5, -4), (-4, 3, -1))]
    pairs = [pair(angles=a, shift=s, **SMALL) for a, s in moves]
    group = groupwise(series(pairs))
    still = groupwise(series([pairs[0]] * 2), rounds=1)
    assert apart(still, [pairs[0]] * 2) < 1e-6
    assert apart(group, pairs) < 0.25  # voxels of 4.5 mm
    mean = np.mean([w.matrix for w in group.warps], axis=0)
    middle = pairs[0].fixed.grid.to_world((np.array(SMALL["shape"]) - 1) / 2)
    assert np.abs((mean[:3, :3] @ middle + mean[:3, 3]) - middle).max() < 0.1
    assert group.aligned.data.std(axis=0).mean() < 0.4 * series(pairs).data.std(axis=0).mean()


def test_a_beating_one_is_aligned_by_dense_maps():
    pairs = [pair(bend=b, seed=3, **SMALL) for b in (0.0, 5.0, -5.0)]
    group = groupwise(series(pairs), preset="deformable")
    before = apart(type(group)(group.aligned, group.mean, (_still(),) * 3), pairs)
    assert before > 1.0
    assert apart(group, pairs) < 0.35 * before


def test_a_volume_that_does_not_fit_is_told():
    """The third volume is noise: its map is worth nothing, and whoever gets the series is told."""
    made = pair(shift=(2, 0, 0), shape=(16, 18, 16), spacing=(8.0, 8.0, 8.0))
    good = series([made, made])
    noise = np.random.default_rng(1).uniform(0, good.data.max(), good.data.shape[1:])
    mixed = replace(
        good, data=np.concatenate([good.data, noise[None].astype(np.float32)]),
        attributes={**good.attributes, "ImageComments": "As scanned"},
    )  # fmt: skip
    group = groupwise(mixed, rounds=1)
    assert [v.trusted for v in group.verdicts] == [True, True, False]
    assert group.words.startswith("1 of 3 volumes badly aligned\nvolume 3: do not trust: ")
    comments = align_series(mixed, rounds=1).attributes["ImageComments"]
    assert comments == f"As scanned\n{group.words}"
    assert "ImageComments" not in align_series(good, rounds=1).attributes


def _still():
    from somascope.core import Warp

    return Warp(matrix=np.eye(4))


def test_one_volume_is_no_series():
    with pytest.raises(GeometryError, match="n of 2 or more"):
        groupwise(pair(**SMALL).fixed)


def test_aligning_has_five_doors():
    made = pair(shift=(2, 0, 0), shape=(16, 18, 16), spacing=(8.0, 8.0, 8.0))
    check_operation("analyze.align_series", inputs=(series([made, made]),), params={"rounds": 1})


@pytest.mark.parametrize("seed", range(2))
def test_a_slice_finds_its_place_in_the_volume(seed):
    volume, grid = head(seed=seed)
    whole = Image(volume, grid, "MR")
    rng = np.random.default_rng(seed)
    truth = turned(grid, rng.uniform(-8, 8, 3), rng.uniform(-12, 12, 3))
    plane = Grid.from_spacing((1, 60, 56), (3.0, 2.2, 2.2), origin=(-62.0, -66.0, 4.0))
    seen = resample_to(whole, Grid(plane.shape, truth @ plane.affine))
    noisy = seen.data + 0.01 * rng.standard_normal(seen.data.shape)
    fixed = Image(noisy.astype(np.float32), plane, "MR")
    warp = register(fixed, whole, "slice")
    corners = plane.to_world([[0, 10, 10], [0, 50, 10], [0, 10, 46], [0, 50, 46]])
    wanted = corners @ truth[:3, :3].T + truth[:3, 3]
    assert np.linalg.norm(points(warp, corners) - wanted, axis=1).max() < 1.0  # voxels of 3 mm
    assert warp.verdict.trusted, warp.verdict.words
    with pytest.raises(GeometryError, match="preset 'slice'"):
        register(fixed, whole)
