"""Rings in slices: those put in go away, and slices without any stay as they are."""

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms import thorax_ct, thorax_grid
from somascope.process.rings import remove_rings
from somascope.testing import check_operation

SPACING = (5.0, 3.0, 3.0)
CENTRE = (60.0, 68.0)


def rms(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


@pytest.fixture(scope="module")
def slices():
    ct = thorax_ct(thorax_grid((3, 130, 130), SPACING), noise_hu=0).data[:2].astype(np.float32)
    y, x = np.mgrid[:130, :130]
    radius = np.hypot(y - CENTRE[0], x - CENTRE[1])
    rng = np.random.default_rng(0)
    amplitude = rng.normal(0, 40, 100) * (rng.random(100) < 0.1)
    rings = np.interp(radius, np.arange(100), amplitude).astype(np.float32)
    return ct, ct + rng.normal(0, 10, ct.shape).astype(np.float32), rings


def image(values, **more):
    return Image(values, Grid.from_spacing(values.shape[-3:], SPACING), "CT", **more)


def test_rings_go_and_the_image_stays(slices):
    _, clean, rings = slices
    found = remove_rings(image(clean + rings), centre=CENTRE, width=27.0).data
    assert rms(rings, 0) > 8
    y, x = np.mgrid[:130, :130]
    whole = np.hypot(y - CENTRE[0], x - CENTRE[1]) < 60  # turns that lie in the slice
    # Rings one pixel wide, at the highest frequency there is: linear interpolation there and back
    # passes about a third of it, so that 0.67^3 = 0.3 of the narrowest is left after three rounds.
    assert rms(found[:, whole], clean[:, whole]) < 0.35 * rms(rings[whole], 0)
    # Without rings it fits noise: the median of each of 2 x 97 radii (half pixels, to the far
    # corner) has pi / 2 times the variance of a mean.
    untouched = remove_rings(image(clean), centre=CENTRE, width=27.0).data
    assert rms(untouched, clean) < 10 * np.sqrt(np.pi / 2 * 2 * 97 / 130**2)
    elsewhere = remove_rings(image(clean + rings), centre=(20.0, 30.0), width=27.0).data
    assert rms(elsewhere, clean) > 0.9 * rms(rings, 0)


def test_half_rings_need_sectors(slices):
    _, clean, rings = slices
    half = np.where(np.arange(130)[:, None] > CENTRE[0], rings, 0)
    whole = remove_rings(image(clean + half), centre=CENTRE, width=27.0).data
    parts = remove_rings(image(clean + half), centre=CENTRE, width=27.0, sectors=4).data
    # Over the whole turn, half a ring is hardly the median; of four sectors two see it whole and
    # the others not at all, but where they meet they are mixed.
    assert rms(parts, clean) < 0.7 * rms(half, 0)
    assert rms(parts, clean) < 0.7 * rms(whole, clean)


def test_strong_structure_is_no_ring(slices):
    ct, _, _ = slices
    y, x = np.mgrid[:130, :130]
    disc = np.where(np.hypot(y - 64.5, x - 64.5) < 30, 1000.0, 0.0).astype(np.float32)[None]
    found = remove_rings(image(disc), width=12.0, limit=50.0).data
    assert np.array_equal(found, disc)
    assert rms(remove_rings(image(ct)).data, ct) < 1.0


def test_thin_constant_and_missing(slices):
    _, clean, _ = slices
    for shape in ((1, 1, 1), (1, 1, 9), (2, 8, 1)):
        flat = np.full(shape, 7.0, np.float32)
        assert np.array_equal(remove_rings(image(flat)).data, flat)
    hole = clean.copy()
    hole[0, 40:44, 40:50] = np.nan
    hole[1, 0, 0] = np.inf
    found = remove_rings(image(hole)).data
    assert np.array_equal(np.isnan(found), np.isnan(hole))
    assert np.isposinf(found[1, 0, 0])
    both = remove_rings(image(np.stack([clean, clean + 5]), axes=(Axis("t"),))).data
    assert both[1] == pytest.approx(both[0] + 5, abs=0.2)


def test_operation_and_errors(slices):
    check_operation(remove_rings)
    with pytest.raises(ParameterError, match="a row and a column"):
        remove_rings(image(slices[1]), centre=(1.0,))
    with pytest.raises(GeometryError, match="outside"):
        remove_rings(image(slices[1]), centre=(500.0, 3.0))
