"""Morphometry: amounts are kept, planted atrophy is found, and nothing where nothing is."""

import numpy as np
import pytest
from scipy import stats

from somascope.acquire.fmri.permutation import neighbours, permute
from somascope.analyze.morphometry import model
from somascope.analyze.morphometry.maps import tissue_map
from somascope.analyze.morphometry.vbm import morphometry
from somascope.core import Grid, Image, Mask, Measurement, Segment, Warp
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation

SHAPE = (12, 14, 14)
GRID = Grid.from_spacing(SHAPE, (2.0, 2.0, 2.0), frame_of_reference="1.2.3")


def ball(radius, *, grid=GRID, centre=None):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    world = grid.to_world(index)
    middle = grid.to_world((np.array(grid.shape) - 1) / 2) if centre is None else centre
    distance = np.linalg.norm(world - middle, axis=-1)
    return np.clip(0.5 + (radius - distance) / 2, 0, 1).astype(np.float32)


def test_amounts_are_kept_under_shrinking_and_bending():
    big = Grid.from_spacing((40, 40, 40), (1.0, 1.0, 1.0), origin=(-20, -20, -20))
    lattice = Grid.from_spacing((36, 36, 36), (1.5, 1.5, 1.5), origin=(-26, -26, -26))
    like = Image(np.zeros((36, 36, 36), np.float32), lattice)
    tissue = Image(ball(9.0, grid=big), big, "MR")
    truth = float(tissue.data.sum())
    scale = np.diag([0.7, 0.8, 0.9, 1.0])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in like.grid.shape], indexing="ij"), -1)
    x = like.grid.to_world(index)
    bend = np.stack([2 * np.sin(x[..., 1] / 8), 1.5 * np.cos(x[..., 2] / 9), 0 * x[..., 0]])
    warp = Warp(matrix=scale, grid=like.grid, displacement=bend.astype(np.float32))
    for how, wanted in (("amount", truth), ("shape", truth / (0.7 * 0.8 * 0.9))):
        made = tissue_map(tissue, warp, like, modulation=how, fwhm=0.0)
        assert made.data.sum() * like.grid.voxel_volume == pytest.approx(wanted, rel=0.01)
    smooth = tissue_map(tissue, warp, like, fwhm=6.0)
    assert smooth.data.sum() * like.grid.voxel_volume == pytest.approx(truth, rel=0.02)
    assert smooth.data.max() < made.data.max()
    plain = tissue_map(tissue, warp, like, modulation="none", fwhm=0.0)
    assert plain.data.sum() * like.grid.voxel_volume > 1.5 * truth
    mask = Mask(data=(ball(9.0, grid=big) > 0.5).astype(np.uint8), grid=big,
                segments=(Segment(1, "GM"),))  # fmt: skip
    of_mask = tissue_map(mask, warp, like, fwhm=0.0)
    assert of_mask.data.sum() * like.grid.voxel_volume == pytest.approx(mask.data.sum(), rel=0.02)


def test_a_slice_keeps_its_area():
    grid = Grid.from_spacing((1, 40, 40), (5.0, 1.0, 1.0))
    tissue = Image(ball(9.0, grid=grid), grid, "MR")
    warp = Warp(matrix=np.diag([1.25, 0.8, 1.0, 1.0]))
    like = Image(np.zeros((1, 60, 60)), Grid.from_spacing((1, 60, 60), (5.0, 1.0, 1.0)))
    made = tissue_map(tissue, warp, like, fwhm=0.0)
    assert made.data.sum() == pytest.approx(tissue.data.sum(), rel=0.01)


def test_a_group_alone_is_the_t_test_and_its_permutation():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(12, 60)) + 3
    label = np.repeat([0.0, 1.0], 6)
    near = neighbours(np.ones((1, 6, 10), bool))
    ours = model.rearranged(y, label, near, permutations=400, enhance=False, sides="positive")
    assert ours.t == pytest.approx(stats.ttest_ind(y[6:], y[:6]).statistic)
    other = permute(y, near, groups=label, permutations=400, enhance=False)
    assert ours.p_t == pytest.approx(other.p_t, abs=0.08)  # two draws of 400


def test_with_nuisance_it_is_the_t_of_the_whole_model():
    rng = np.random.default_rng(1)
    n = 16
    age, group = rng.uniform(20, 80, n), np.repeat([0.0, 1.0], 8)
    y = rng.normal(size=(n, 5)) + 0.1 * age[:, None] + group[:, None]
    near = neighbours(np.ones((1, 1, 5), bool))
    for sides in ("positive", "both", "negative"):
        found = model.rearranged(
            y, group, near, nuisance=age[:, None], permutations=50, sides=sides
        )
        x = np.column_stack([group, age, np.ones(n)])
        beta, rss, *_ = np.linalg.lstsq(x, y, rcond=None)
        t = beta[0] / np.sqrt(rss / (n - 3) * np.linalg.inv(x.T @ x)[0, 0])
        assert found.t == pytest.approx(t)
    # A rearrangement by hand: residuals of the nuisance, put to other people, fitted again.
    order = rng.permutation(n)
    z = x[:, 1:]
    fitted = z @ np.linalg.lstsq(z, y, rcond=None)[0]
    again = fitted + (y - fitted)[order]
    beta, rss, *_ = np.linalg.lstsq(x, again, rcond=None)
    t = beta[0] / np.sqrt(rss / (n - 3) * np.linalg.inv(x.T @ x)[0, 0])
    kept = model._orders
    try:
        model._orders = lambda *_: (np.stack([np.arange(n), order]).astype(float), False)
        found = model.rearranged(
            y, group, near, nuisance=age[:, None], enhance=False, sides="positive"
        )
    finally:
        model._orders = kept
    # p of the voxels: share of the two arrangements whose greatest t reaches theirs.
    wanted = [(1 + (t.max() >= v)) / 2 if v <= found.t.max() else 0.5 for v in found.t]
    assert found.p_t == pytest.approx(wanted)


def people(n, seed, *, loss=0.0, drift=0.0):
    """Maps of ``n`` people, the second half with less tissue in a ball in the patient's left."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    body = ball(11.0)
    hole = ball(4.0, centre=GRID.to_world(np.array([5.5, 6.5, 9.0])))
    age = rng.uniform(40, 80, n)
    maps = []
    for i in range(n):
        noise = gaussian_filter(rng.normal(size=SHAPE), 1.0) * 0.35
        less = loss * hole if i >= n // 2 else 0.0
        data = body * (0.7 - less - drift * (age[i] - 60) / 40) + noise * body
        maps.append(Image(data.astype(np.float32), GRID, "MR"))
    return maps, [0.0] * (n // 2) + [1.0] * (n - n // 2), age, hole


def test_planted_atrophy_is_found_where_it_is():
    maps, group, age, hole = people(20, 2, loss=0.25, drift=0.1)
    t, sure, *told = morphometry(*maps, effect=group, covariates=tuple(age), sides="negative",
                                 permutations=200)  # fmt: skip
    found = sure.data >= 0.95
    inside = hole > 0.5
    assert found[inside].mean() > 0.6
    assert found[hole < 0.01].mean() < 0.05
    assert all(isinstance(m, Measurement) for m in told)
    volume = next(m for m in told if m.concept.meaning == "Volume of the cluster")
    assert volume.value == pytest.approx(found.sum() * 8.0)
    assert "less tissue" in volume.tracking.name
    place = [float(v) for v in volume.tracking.name.split(" at ")[1].split()]
    assert np.linalg.norm(np.array(place) - GRID.to_world([5.5, 6.5, 9.0])) < 5
    assert t.data[inside].mean() < -2
    nothing = morphometry(*maps, effect=group, covariates=tuple(age), sides="positive",
                          permutations=100)  # fmt: skip
    assert not (nothing[1].data[inside] >= 0.95).any()


def test_false_findings_are_as_often_as_they_may_be():
    """60 cohorts without an effect: any voxel found in about 5 % of them."""
    false = 0
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        y = rng.normal(size=(12, 80))
        age = rng.uniform(size=12)
        near = neighbours(np.ones((2, 5, 8), bool))
        group = np.repeat([0.0, 1.0], 6)
        found = model.rearranged(y + age[:, None], group, near, nuisance=age[:, None],
                       permutations=60, seed=seed, sides="both")  # fmt: skip
        false += bool((found.p_tfce <= 0.05).any())
    assert 0 <= false <= 8  # more than 8 of 60 at 5 % has a chance of 0.2 %


def test_wrong_use_is_refused_by_name():
    maps, group, *_ = people(8, 0)
    with pytest.raises(ParameterError, match="6 maps or more; 3 given"):
        morphometry(*maps[:3], effect=group[:3])
    with pytest.raises(ParameterError, match="8 maps, 7 values"):
        morphometry(*maps, effect=group[:7])
    with pytest.raises(ParameterError, match="covariates explain it"):
        morphometry(*maps, effect=group, covariates=tuple(group))
    with pytest.raises(ParameterError, match="does not vary"):
        morphometry(*maps, effect=(1.0,) * 8)
    other = Image(maps[0].data, Grid.from_spacing(SHAPE, (3, 2, 2)), "MR")
    with pytest.raises(GeometryError, match="map 8 is on"):
        morphometry(*maps[:7], other, effect=group)
    with pytest.raises(ParameterError, match=r"mean of more than 0\.99"):
        morphometry(*maps, effect=group, least=0.99)
    signal = Image(maps[0].data * 500, GRID, "MR")
    with pytest.raises(ParameterError, match="no image of signal"):
        tissue_map(signal, Warp(matrix=np.eye(4)), maps[0])


def test_they_are_operations():
    maps, group, *_ = people(6, 3)
    warp = Warp(matrix=np.eye(4), fixed_frame="1.2.3", moving_frame="1.2.3")
    check_operation(tissue_map, inputs=(maps[0], warp, maps[1]))
    params = {"effect": tuple(group), "permutations": 20}
    check_operation(morphometry, inputs=tuple(maps), params=params)
