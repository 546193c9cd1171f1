"""The pinhole against closed forms: place, magnification, sensitivity, blur, attenuation."""

import numpy as np
import pytest

from somascope.acquire.spect.camera import COLLIMATORS, Camera, Pinhole, triple_windows
from somascope.acquire.spect.orbit import circular
from somascope.acquire.spect.osem import osem
from somascope.acquire.spect.pinhole import PinholeScan
from somascope.core import Acquisition, Grid
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.registry import build_operator
from somascope.testing import check_operator

HOLE = Pinhole("3 mm", 3.0, 150.0, opening=80.0)


def scan(n=21, voxel=3.0, **changes):
    half = (n - 1) / 2 * voxel
    grid = Grid.from_spacing((n, n, n), (voxel,) * 3, origin=(-half,) * 3)
    given = {
        "angles": np.deg2rad([180.0]), "radius": 100.0, "rows": 41, "columns": 41, "pixel": 3.0,
        "camera": Camera(HOLE, intrinsic=0.0, photons=1.0), "points": 1, **changes,
    }  # fmt: skip
    return PinholeScan(grid=grid, **given)


def point(operator, place):
    x = np.zeros(operator.domain, np.float32)
    x[tuple(np.rint(operator.grid.to_index(place)).astype(int))] = 1
    return x


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"points": 7, "mu": np.full((7, 7, 7), 0.02), "camera": Camera(HOLE)},
        {"points": 19, "angles": circular(5), "radius": np.linspace(60, 90, 5)},
    ],
)
def test_the_transpose_is_the_transpose(changes):
    grid = Grid.from_spacing((7, 7, 7), (5, 5, 5), origin=(-15, -15, -15))
    given = {
        "angles": circular(3), "radius": 70.0, "rows": 9, "columns": 11, "pixel": 8.0,
        "camera": Camera(HOLE, intrinsic=0.0), "points": 1, **changes,
    }  # fmt: skip
    check_operator(PinholeScan(grid=grid, **given), tolerance=1e-5)


def test_a_point_is_where_magnification_puts_it():
    s = scan(angles=np.deg2rad([180.0, 0.0, 90.0]))
    place = np.array([12.0, -6.0, 15.0])
    frames = s.forward(point(s, place)).astype(float)
    for frame, angle in zip(frames, s.angles, strict=True):
        away = np.array([np.sin(angle), np.cos(angle)])
        across = np.array([-away[1], away[0]])
        scale = HOLE.focal / (100.0 - place[:2] @ away) / 3.0
        expected = 20 - place[2] * scale, 20 + place[:2] @ across * scale
        total = frame.sum()
        found = [
            (frame.sum(axis=1 - k) * np.arange(41)).sum() / total for k in (0, 1)
        ]  # fmt: skip
        assert found == pytest.approx(expected, abs=0.15)


def test_sensitivity_falls_with_the_square_of_the_distance_and_the_cube_of_the_cosine():
    s = scan(rows=161, columns=161, pixel=1.0, step=0.5)
    volume = 3.0**3 / 1000
    for place in ((0, 0, 0), (0, -24, 0), (24, 0, 0), (0, 0, -21)):
        counts = float(s.forward(point(s, place)).sum(dtype=np.float64))
        b = 100.0 + place[1]
        cosine = b / np.sqrt(b * b + place[0] ** 2 + place[2] ** 2)
        expected = volume * HOLE.effective_aperture**2 * cosine**3 / (16 * b * b)
        # The lattice of rays beats with that of the voxels.
        assert counts == pytest.approx(expected, rel=0.03)


def test_the_aperture_blurs_as_its_size():
    sharp, wide = (
        scan(rows=81, columns=81, pixel=1.0, points=p, step=0.5,
             camera=Camera(Pinhole("8 mm", 8.0, 150.0), intrinsic=0.0))
        for p in (1, 19)
    )  # fmt: skip
    variance = []
    for s in (sharp, wide):
        profile = s.forward(point(s, (0, 0, 0)))[0].sum(axis=0).astype(float)
        x = np.arange(81) - 40
        variance.append((profile * x * x).sum() / profile.sum())
    # A disk of diameter d has the variance d^2 / 16; on the crystal it is (b + f) / b larger.
    shadow = wide.camera.collimator.effective_aperture * (100 + 150) / 100
    assert variance[1] - variance[0] == pytest.approx(shadow**2 / 16, rel=0.05)


def test_attenuation_is_that_of_the_way_to_the_hole():
    mu = np.zeros((21, 21, 21))
    mu[:, 4:17] = 0.015
    s = scan(mu=mu, step=0.5)
    source = point(s, (0.0, 6.0, 0.0))
    kept = s.forward(source).sum() / s.with_attenuation(None).forward(source).sum()
    assert kept == pytest.approx(np.exp(-0.015 * (6 + 18 + 1.5)), rel=0.02)


def test_a_small_source_is_reconstructed_in_its_place():
    s = scan(13, 4.0, angles=circular(16), rows=32, columns=32, pixel=4.0)
    grid = s.grid
    x = np.zeros(s.domain, np.float32)
    x[8, 4, 9] = 1e9
    x[4, 8, 3] = 5e8
    counts = np.maximum(s.forward(x), 0)
    image = osem(Acquisition(counts, s, "NM", "{counts}"), iterations=8, subsets=4)
    assert image.unit == "{counts}/s/ml"
    assert np.unravel_index(np.argmax(image.data), image.shape) == (8, 4, 9)
    assert image.grid == grid
    assert image.data[7:10, 3:6, 8:11].sum() == pytest.approx(1e9, rel=0.1)


def test_it_is_built_again_and_refuses_what_it_is_not():
    s = scan()
    again = build_operator("spect.pinhole", s.describe())
    x = point(s, (3, 3, 3))
    assert np.array_equal(again.forward(x), s.forward(x))
    with pytest.raises(GeometryError, match="parallel"):
        scan(camera=Camera(COLLIMATORS["LEHR"]))
    with pytest.raises(GeometryError, match="one energy window"):
        scan(camera=Camera(HOLE, windows=triple_windows()))
    with pytest.raises(ParameterError, match="points"):
        scan(points=5)
    with pytest.raises(ParameterError, match="step"):
        scan(step=0.0)
    with pytest.raises(GeometryError, match="pixels"):
        scan(rows=0)
