"""Figures of the image quality phantom against blurred spheres in closed form."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms.ellipsoid import draw
from somascope.phantoms.nema import DIAMETERS, nema_shapes, sphere_centres
from somascope.phantoms.noise import blurred
from somascope.phantoms.quality import background_centres, image_quality, region_mean

FWHM = 7.0
PIXEL = 1.9
# Voxels hold means, and regions take them as even: two boxes more.
SIGMA = np.sqrt(FWHM**2 / (8 * np.log(2)) + 2 * PIXEL**2 / 12)


def grid(nz=27, n=168, pixel=PIXEL):
    half = (n - 1) / 2 * pixel
    return Grid.from_spacing(
        (nz, n, n), (pixel,) * 3, origin=(-half, -half, -(nz - 1) / 2 * pixel)
    )  # fmt: skip


def ball(r, radius):
    """A ball of 1 behind a Gaussian, at a distance from its centre."""
    s = np.sqrt(2) * SIGMA
    even = 0.5 * (erf((radius - r) / s) + erf((radius + r) / s))
    tails = np.exp(-(((radius - r) / s) ** 2)) - np.exp(-(((radius + r) / s) ** 2))
    return even - SIGMA / (max(r, 1e-6) * np.sqrt(2 * np.pi)) * tails


def in_circle(radius):
    return quad(lambda r: 2 * r / radius**2 * ball(r, radius), 0, radius)[0]


def in_ball(radius):
    return quad(lambda r: 3 * r**2 / radius**3 * ball(r, radius), 0, radius)[0]


def image(data, g):
    return Image(data, g, "PT", "Bq/ml")


@pytest.fixture(scope="module")
def perfect():
    g = grid()
    return draw(nema_shapes(background=1000.0, cold=DIAMETERS[-2:]), g), g


def test_a_perfect_image_is_perfect(perfect):
    found = image_quality(image(*perfect), cold=DIAMETERS[-2:], background=1000.0)
    # Voxels on the border are in or out; the smallest sphere has few.
    assert (np.abs(found.contrast - 100) < [16, 16, 8, 5, 5, 4]).all()
    np.testing.assert_allclose(found.recovery[:4], 1, atol=0.1)
    assert np.isnan(found.recovery[4:]).all()
    np.testing.assert_allclose(found.variability, 0, atol=1e-9)
    assert found.background == pytest.approx(1000)
    assert found.lung == 0


def test_a_blurred_image_has_the_contrast_of_blurred_balls():
    """Hot and cold alike: mean of a ball behind a Gaussian, over a circle and over its volume."""
    g = grid()
    fine = 3
    # Spheres drawn one by one, with the share of each voxel, on an even background.
    data = np.full(g.shape, 1000.0, np.float32)
    offset = (np.arange(fine) + 0.5) / fine - 0.5
    for d, (l, p, s) in zip(DIAMETERS, sphere_centres(), strict=True):
        middle = np.rint(g.to_index((l, p, s))).astype(int)
        half = int(np.ceil(d / 2 / g.spacing[0])) + 2
        box = tuple(slice(m - half, m + half + 1) for m in middle)
        axes = [(np.arange(b.start, b.stop)[:, None] + offset).ravel() for b in box]
        world = g.to_world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
        inside = np.linalg.norm(world - np.array((l, p, s)), axis=-1) < d / 2
        n = 2 * half + 1
        share = inside.reshape(n, fine, n, fine, n, fine).mean(axis=(1, 3, 5))
        data[box] += (-1000 if d in DIAMETERS[-2:] else 3000) * share.astype(np.float32)
    found = image_quality(
        image(blurred(data, fwhm=[FWHM / s for s in g.spacing]), g), cold=DIAMETERS[-2:]
    )
    circle = [100 * in_circle(d / 2) for d in DIAMETERS]
    np.testing.assert_allclose(found.contrast, circle, rtol=0.02)
    volume = [(1 + 3 * in_ball(d / 2)) / 4 for d in DIAMETERS[:4]]
    np.testing.assert_allclose(found.recovery[:4], volume, rtol=0.015)
    assert (np.diff(found.contrast) > 0).all()


def test_variability_is_the_noise_of_regions():
    """White noise: that of a mean over n pixels falls with the root of n."""
    g = grid(nz=17, n=110, pixel=3.0)
    rng = np.random.default_rng(1)
    draws = [image_quality(image(rng.normal(1000, 100, g.shape), g)).variability for _ in range(12)]
    pixels = np.pi / 4 * np.array(DIAMETERS) ** 2 / 9
    expected = 100 * 0.1 / np.sqrt(pixels)
    np.testing.assert_allclose(np.mean(draws, axis=0), expected, rtol=0.15)


def test_background_regions_keep_clear():
    places = background_centres()
    r = max(DIAMETERS) / 2
    spheres = np.array(sphere_centres())[:, :2]
    gap = np.linalg.norm(places[:, None] - spheres, axis=2) - r - np.array(DIAMETERS) / 2
    assert gap.min() > 4
    own = np.linalg.norm(places[:, None] - places, axis=2) + 100 * np.eye(len(places))
    assert own.min() > 2 * r, "regions that overlap are not independent"
    assert (np.linalg.norm(places, axis=1) > 25 + r).all()


def test_regions_know_their_place(perfect):
    data, g = perfect
    d, centre = DIAMETERS[3], sphere_centres()[3]
    assert region_mean(data, g, centre, d - 4, along=None) == pytest.approx(4000)
    assert region_mean(data, g, centre, d - 4, along=(0, 3))[0] == pytest.approx(4000)
    moved = Grid(g.shape, np.diag([1, 1, 1, 1]) @ g.affine)
    shifted = Grid(g.shape, g.affine + np.array([[0, 0, 0, 9], [0, 0, 0, -5], [0, 0, 0, 3],
                                                [0, 0, 0, 0]]))  # fmt: skip
    one = image_quality(image(data, moved), cold=DIAMETERS[-2:])
    two = image_quality(image(data, shifted), cold=DIAMETERS[-2:], centre=(9, -5, 3))
    np.testing.assert_allclose(one.contrast, two.contrast)


def test_refusals(perfect):
    data, g = perfect
    with pytest.raises(GeometryError, match="leaves the image"):
        image_quality(image(data[:5], Grid((5, *g.shape[1:]), g.affine)))
    with pytest.raises(ParameterError, match="contrast"):
        image_quality(image(data, g), contrast=1.0)
    with pytest.raises(ParameterError, match="background"):
        image_quality(image(data * 0, g))
    with pytest.raises(ParameterError, match="no spheres"):
        nema_shapes(cold=(11.0,))
    two = Image(data[None], g, "PT", "Bq/ml", axes=(Axis("t", (0.0,), "s"),))
    with pytest.raises(GeometryError, match="leading axes"):
        image_quality(two)
