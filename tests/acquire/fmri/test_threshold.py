"""Error rates are what they claim to be, counted on noise; and activation is found."""

import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter, label

from somascope.acquire.fmri import fields, threshold
from somascope.acquire.fmri.permutation import neighbours, permute, tfce
from somascope.core import Grid, Image
from somascope.core.errors import ParameterError
from somascope.testing import check_operation

SHAPE = (20, 24, 24)
FWHM = 4.0


def noise(n, seed=0, fwhm=FWHM, shape=SHAPE):
    """Unit Gaussian fields of known smoothness, edges cut off."""
    rng = np.random.default_rng(seed)
    pad = 8
    for _ in range(n):
        big = rng.standard_normal([s + 2 * pad for s in shape])
        field = gaussian_filter(big, fwhm / 2.3548)[pad:-pad, pad:-pad, pad:-pad]
        scale = np.sqrt((np.exp(-0.5 * (np.arange(-40, 41) / (fwhm / 2.3548)) ** 2) ** 2).sum())
        total = np.exp(-0.5 * (np.arange(-40, 41) / (fwhm / 2.3548)) ** 2).sum()
        yield field * (total / scale) ** 3


def test_fdr_is_the_step_up_rule():
    p = np.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216])
    assert threshold.fdr(p, 0.05) == 0.008
    assert threshold.fdr(p[::-1], 0.25) == 0.216
    assert threshold.fdr(np.array([0.5, 0.9]), 0.05) == -1


def test_smoothness_is_measured():
    mask = np.ones(SHAPE, bool)
    stack = np.stack(list(noise(12)))
    assert fields.smoothness(stack, mask) == pytest.approx([FWHM] * 3, rel=0.06)


def test_resels_of_a_block_have_a_closed_form():
    mask = np.zeros((12, 12, 12), bool)
    mask[1:6, 2:8, 3:10] = True  # 4, 5, 6 steps long
    f = np.array([2.0, 4.0, 5.0])
    a, b, c = 4 / 2, 5 / 4, 6 / 5
    assert fields.resels(mask, f) == pytest.approx([1, a + b + c, a * b + a * c + b * c, a * b * c])
    hollow = np.ones((5, 5, 5), bool)
    hollow[2, 2, 2] = False
    # A shell has Euler characteristic 2.
    assert fields.resels(hollow, np.ones(3))[0] == 2
    with pytest.raises(ParameterError, match="smooth"):
        fields.resels(mask, np.zeros(3))


def test_densities_of_t_become_those_of_z():
    assert fields.densities(3.0, field="t", dof=1e6) == pytest.approx(
        fields.densities(3.0), rel=1e-3
    )


def test_expected_euler_characteristic_is_the_one_counted():
    mask = np.ones(SHAPE, bool)
    counts = fields.resels(mask, np.full(3, FWHM))
    u = 2.5
    found = []
    for field in noise(150, seed=3):
        above = field > u
        found.append(fields.resels(above, np.ones(3))[0])
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(fields.expected(u, counts), abs=3 * error + 0.25)


def test_any_false_voxel_is_as_rare_as_promised():
    mask = np.ones(SHAPE, bool)
    counts = fields.resels(mask, np.full(3, FWHM))
    u = fields.height(0.2, counts)
    maxima = np.array([f.max() for f in noise(200, seed=5)])
    rate = (maxima > u).mean()
    # Binomial error 0.028; a lattice sees a little less than the field itself.
    assert 0.05 < rate < 0.29
    level = threshold.level(np.zeros(SHAPE) + 1, mask, method="bonferroni", alpha=0.05)
    assert level.height == pytest.approx(stats.norm.isf(0.05 / mask.size))


def test_any_false_cluster_is_as_rare_as_promised():
    mask = np.ones(SHAPE, bool)
    counts = fields.resels(mask, np.full(3, FWHM))
    u = 2.7
    chances = fields.extent(u, counts, mask.size)
    least = chances.least(0.2)
    assert chances.chance(least) <= 0.2 < chances.chance(least - 1)
    hits = 0
    for field in noise(200, seed=8):
        labels, n = label(field > u)
        hits += bool(n) and np.bincount(labels.ravel())[1:].max() >= least
    assert 0.05 < hits / 200 < 0.32


def brute(values, steps=4000):
    """TFCE by many small steps of height."""
    out = np.zeros(values.shape)
    heights = np.linspace(0, values.max(), steps + 1)
    dh = heights[1]
    for h in heights[:-1] + dh / 2:
        labels, n = label(values > h)
        if n:
            size = np.bincount(labels.ravel())
            size[0] = 0
            out += np.sqrt(size[labels]) * h**2 * dh
    return out


def test_tfce_is_the_integral_over_all_heights():
    field = next(noise(1, seed=2, shape=(7, 8, 9)))
    mask = np.ones(field.shape, bool)
    mask[3, 2:5] = False
    near = neighbours(mask)
    mine = tfce(field[mask], near)
    plus = brute(np.where(mask, np.maximum(field, 0), 0))[mask]
    minus = brute(np.where(mask, np.maximum(-field, 0), 0))[mask]
    assert np.abs(mine - (plus - minus)).max() < 2e-3 * np.abs(mine).max()
    assert np.array_equal(np.sign(mine), np.sign(field[mask]))


def test_permutation_holds_its_rate_and_finds_what_is_there():
    shape = (6, 7, 8)
    mask = np.ones(shape, bool)
    near = neighbours(mask)
    hits = 0
    for seed in range(60):
        y = np.stack([f[mask] for f in noise(8, seed=seed + 100, fwhm=2.0, shape=shape)])
        found = permute(y, near, permutations=120, seed=seed)
        hits += found.p_tfce.min() <= 0.1
    assert 0.01 <= hits / 60 <= 0.22
    y[:, :40] += 3
    found = permute(y, near, permutations=256)
    assert found.exact
    assert found.permutations == 256
    assert np.median(found.p_tfce[:40]) == 1 / 256
    assert found.p_tfce[:40].max() < 0.02
    assert found.p_t[:40].mean() < 0.05


def test_two_samples_are_a_t_test():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(9, 27))
    groups = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1])
    near = neighbours(np.ones((3, 3, 3), bool))
    found = permute(y, near, groups=groups, permutations=50, enhance=False)
    exact = stats.ttest_ind(y[groups == 1], y[groups == 0]).statistic
    assert np.allclose(found.t, exact)
    every = permute(y[:6], near, groups=groups[:6], permutations=1000, sides="both")
    assert every.exact
    assert every.permutations == 20
    assert every.p_t.min() >= 0.05 - 1e-9  # each of the 20 has its mirror image


def z_map(seed=0):
    field = next(noise(1, seed=seed)).astype(np.float32)
    field[8:13, 9:14, 9:14] += 6
    return Image(field, Grid.from_spacing(SHAPE, (3, 3, 3), frame_of_reference="1.2.3"), "MR")


@pytest.mark.parametrize("method", ["none", "fdr", "bonferroni", "rft", "cluster"])
def test_every_method_finds_the_block(method):
    image = z_map()
    out = threshold.threshold(image, method=method, fwhm=(12.0,))
    kept = out.data != 0
    assert kept[10, 11, 11]
    assert kept[8:13, 9:14, 9:14].mean() > 0.75
    kept[6:15, 7:16, 7:16] = False
    assert kept.mean() < 0.01
    assert out.attributes["ImageType"][3] == "QUANTITY"


def test_signs_and_extents_count():
    image = z_map()
    negative = image.with_data(-image.data)
    assert not threshold.threshold(negative, method="rft", fwhm=(12.0,)).data.any()
    out = threshold.threshold(negative, method="rft", fwhm=(12.0,), sides="both")
    assert out.data.min() < -5
    assert not threshold.threshold(image, method="none", extent=10_000).data.any()
    _, found = threshold.clusters(image.data, image.data > 4, image.grid)
    assert found[0].voxels > 60
    assert np.linalg.norm(np.array(found[0].position) - [33, 33, 30]) < 12
    check_operation("acquire.fmri.threshold", inputs=(image,))
