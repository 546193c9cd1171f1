import numpy as np
import pytest
from skimage import filters

from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError
from somascope.process.hessian import eigenvalues, kernels
from somascope.process.vessels import frangi, meijering, sato, tubes
from somascope.testing import check_operation


def tree(shape=(24, 40, 44), seed=0):
    """Two crossing tubes of radius 2, and noise."""
    z, y, x = np.indices(shape)
    a = np.hypot(z - 12, y - 14) < 2.2
    b = np.hypot(z - 9, x - 0.5 * y - 14) < 2.2
    rng = np.random.default_rng(seed)
    return (100.0 * (a | b) + rng.normal(0, 2, shape)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.7])
def test_kernels_are_exact_on_parabolas(sigma):
    g, first, second = kernels(sigma)
    x = np.arange(g.size) - g.size // 2
    f = 3.0 + 2.0 * x + 1.5 * x**2
    assert (first * f).sum() == pytest.approx(2.0)
    assert (second * f).sum() == pytest.approx(3.0)
    assert (g * (3.0 + 2.0 * x)).sum() == pytest.approx(3.0)
    assert first.sum() == pytest.approx(0, abs=1e-12)
    assert second.sum() == pytest.approx(0, abs=1e-9)


def test_eigenvalues_are_lapacks():
    rng = np.random.default_rng(1)
    for _ in range(200):
        m = rng.normal(size=(3, 3))
        m = m + m.T
        found = eigenvalues(m[0, 0], m[1, 1], m[2, 2], m[0, 1], m[0, 2], m[1, 2])
        assert np.allclose(found, np.linalg.eigvalsh(m), atol=1e-9)
    assert eigenvalues(2.0, 2.0, 2.0, 0.0, 0.0, 0.0) == (2, 2, 2)


@pytest.mark.parametrize("measure", ["sato", "meijering", "frangi"])
@pytest.mark.parametrize("flat", [False, True])
def test_agrees_with_scikit_image(measure, flat):
    v = tree()
    if flat:
        v = v[12:13]
    ours = tubes(v, (1, 1, 1), scales=(2.0,), measure=measure, flat=flat)
    there = v[0] if flat else v
    theirs = getattr(filters, measure)(there, sigmas=[2.0], black_ridges=False)
    theirs = theirs[None] if flat else theirs
    inner = (slice(None) if flat else slice(8, -8), slice(8, -8), slice(8, -8))
    # Their derivatives are not normalised and their Hessian is a gradient of gradients.
    a, b = ours[inner].ravel(), theirs[inner].ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.99
    if measure == "sato":
        assert np.abs(a - b).max() < 0.1 * b.max()


@pytest.mark.parametrize("measure", ["sato", "frangi", "meijering"])
def test_tubes_stand_out_whatever_the_spacing_and_direction(measure):
    z, y, _ = np.indices((24, 36, 36), dtype=float)
    # The same tube of radius 2 mm along x; voxels of 2 x 1 x 1 mm.
    v = 100 * np.exp(-(((2 * (z - 12)) ** 2 + (y - 18) ** 2) / 8)).astype(np.float32)
    found = tubes(v, (2, 1, 1), scales=(2.0,), measure=measure)
    middle = found[12, 18, 10:26]
    assert middle.min() > 3 * found[12, 26, 10:26].max()
    turned = tubes(v.transpose(0, 2, 1).copy(), (2, 1, 1), scales=(2.0,), measure=measure)
    assert np.allclose(turned.transpose(0, 2, 1), found, atol=1e-4 * found.max())
    dark = tubes(-v, (2, 1, 1), scales=(2.0,), measure=measure, bright=False)
    assert np.allclose(dark, found, atol=1e-4 * found.max())


def test_plates_and_blobs_are_no_vessels():
    z, y, x = np.indices((31, 31, 31), dtype=float) - 15
    line = 100 * np.exp(-(z**2 + y**2) / 8)
    plate = 100 * np.exp(-(z**2) / 8)
    ball = 100 * np.exp(-(z**2 + y**2 + x**2) / 8)
    found = [
        tubes(v, (1, 1, 1), scales=(2.0,), measure="frangi", gamma=10.0)[15, 15, 15]
        for v in (line, plate, ball)
    ]
    assert found[0] > 0.7
    assert found[1] < 0.1
    assert found[2] < 0.2


def test_the_best_scale_wins():
    _, y, _ = np.indices((1, 61, 61), dtype=float)
    for width in (1.5, 4.0):
        v = np.exp(-((y - 30) ** 2) / (2 * width**2))
        response = [
            tubes(v, (1, 1, 1), scales=(s,), measure="sato")[0, 30, 30] for s in (1.0, 2.2, 6.0)
        ]
        # sigma^2 w (w^2 + sigma^2)^(-3/2), greatest where sigma is sqrt(2) times the width
        expected = [s**2 * width / (width**2 + s**2) ** 1.5 for s in (1.0, 2.2, 6.0)]
        assert np.allclose(response, expected, rtol=0.02)


@pytest.mark.parametrize("op", [frangi, sato, meijering])
def test_operations(op):
    check_operation(op)
    check_operation(op, params={"dimensions": "slice", "ridges": "dark"})
    v = tree((6, 12, 12))
    v[0, 0, 0] = np.nan
    grid = Grid.from_spacing(v.shape, (2, 1, 1))
    found = op(Image(v[None], grid, axes=(Axis("t", (0,), "s"),)))
    assert np.array_equal(np.isnan(found.data[0]), np.isnan(v))
    assert (
        op(
            Image(
                np.full((1, 5, 5), 3, np.int16), grid.__class__.from_spacing((1, 5, 5), (1, 1, 1))
            )
        ).data
        == 0
    ).all()
    with pytest.raises(ParameterError, match="at least one"):
        op(Image(v, grid), scales=())
    with pytest.raises(ParameterError, match="voxels"):
        op(Image(v, Grid.from_spacing(v.shape, (0.1, 0.1, 0.1))), scales=(40.0,))
