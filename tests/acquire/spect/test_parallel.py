"""The rotating camera against closed forms: blur, attenuation, sensitivity, left and right."""

import numpy as np
import pytest

from somascope.acquire.spect.camera import (
    COLLIMATORS,
    Camera,
    Collimator,
    Pinhole,
    Window,
    camera_of,
    triple_windows,
)
from somascope.acquire.spect.orbit import body_contour, circular, effective_seconds
from somascope.acquire.spect.parallel import ParallelScan
from somascope.acquire.spect.response import gaussian, taps
from somascope.core import Grid
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.registry import build_operator
from somascope.process import chunks
from somascope.testing import check_operator

RNG = np.random.default_rng(0)


def scan(shape=(5, 16, 18), pixel=4.0, *, views=13, upward=True, **changes):
    nz, ny, nx = shape
    sign = 1 if upward else -1
    grid = Grid.from_spacing(
        shape, (pixel, pixel, pixel),
        origin=(-(nx - 1) / 2 * pixel, -(ny - 1) / 2 * pixel, -sign * (nz - 1) / 2 * pixel),
        direction=[[0, 0, 1], [0, 1, 0], [sign, 0, 0]],
    )  # fmt: skip
    given = {"angles": circular(views, start=20), "radius": 80.0, "columns": 20, **changes}
    return ParallelScan(grid=grid, **given)


def point(operator, place):
    """One voxel of 1 Bq/ml at an LPS place that is a voxel's centre."""
    x = np.zeros(operator.domain, np.float32)
    index = np.rint(operator.grid.to_index(place)).astype(int)
    assert np.allclose(operator.grid.to_world(index), place, atol=1e-6)
    x[tuple(index)] = 1
    return x


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resolution": False},
        {"mu": 0.03 * RNG.random((5, 16, 18), np.float32)},
        {"mu": 0.03 * RNG.random((5, 16, 18), np.float32), "resolution": False, "offset": 1.3},
        {"radius": np.linspace(25, 90, 13), "upward": False, "seconds": np.arange(1.0, 14.0)},
        {"camera": Camera(COLLIMATORS["HEGP"], windows=triple_windows()), "isocentre": (5, -3, 0)},
    ],
)
def test_the_transpose_is_the_transpose(changes):
    check_operator(scan(**changes), tolerance=1e-5)


def test_double_precision_is_kept():
    mu = 0.03 * RNG.random((5, 16, 18))
    check_operator(
        scan(mu=mu), domain_dtype="float64", range_dtype="float64", tolerance=1e-12
    )  # fmt: skip


def test_the_same_bits_on_any_number_of_processors(monkeypatch):
    s = scan(mu=np.full((5, 16, 18), 0.015))
    x = RNG.random(s.domain, np.float32)
    y = s.forward(x)
    back = s.adjoint(y)
    for count in (1, 3):
        monkeypatch.setattr(chunks, "cores", lambda n=count: n)
        assert np.array_equal(s.forward(x), y)
        assert np.array_equal(s.adjoint(y), back)


@pytest.mark.parametrize("collimator", ["LEHR", "LEGP", "MEGP"])
def test_a_point_widens_with_distance_as_the_collimator_says(collimator):
    camera = Camera(COLLIMATORS[collimator], intrinsic=3.6)
    s = scan(
        (41, 81, 81), 2.0, angles=np.deg2rad([180.0, 0.0, 215.0]), radius=120.0, columns=81,
        camera=camera,
    )  # fmt: skip
    for depth in (-60.0, 0.0, 60.0):
        frames = s.forward(point(s, (0.0, depth, 0.0))).astype(float)
        for frame, angle in zip(frames, s.angles, strict=True):
            distance = 120.0 - depth * np.cos(angle)
            expected = camera.collimator.fwhm(distance)
            expected = np.hypot(expected, 3.6)
            # Between pixels, interpolation adds a sixth of a pixel squared on the average.
            turned = abs(np.sin(2 * angle)) > 0.1
            across = np.sqrt(expected**2 + (2.355 * 2.0) ** 2 / 6 * turned)
            for profile, wanted in ((frame[20], across), (frame.sum(axis=1), expected)):
                assert half_width(profile) * 2.0 == pytest.approx(wanted, rel=0.03)


def half_width(profile):
    """Full width at half maximum by a parabola through the logarithm of the top."""
    top = int(np.argmax(profile))
    x = np.arange(-3, 4)
    fit = np.polyfit(x, np.log(profile[top - 3 : top + 4]), 2)
    return 2 * np.sqrt(np.log(2) / -fit[0])


def test_small_kernels_have_the_moments_of_a_gaussian():
    for v in (0.01, 0.3, 1.1):
        c0, c1, c2 = taps(v)
        assert c0 + 2 * (c1 + c2) == pytest.approx(1)
        assert 2 * c1 + 8 * c2 == pytest.approx(v)
        assert 2 * c1 + 32 * c2 == pytest.approx(3 * v * v)
    for v in (0.05, 0.4, 4.0):
        k = gaussian(v, 12)
        assert 2 * k.sum() - k[0] == pytest.approx(1)
        assert 2 * (k * np.arange(13) ** 2).sum() == pytest.approx(v, rel=0.02)


def test_every_photon_is_counted_once():
    camera = Camera(sensitivity=90.0)
    s = scan((21, 40, 40), 4.0, radius=100.0, columns=60, seconds=7.0, camera=camera)
    activity = 2e6 / (4.0**3 / 1000)
    frames = s.forward(point(s, (10.0, -6.0, 0.0)) * np.float32(activity))
    counted = frames.sum(axis=(1, 2), dtype=float) / (2 * 90 * 7.0)
    assert counted == pytest.approx(1, abs=0.035), "one voxel, in a lattice at an angle"
    assert counted.mean() == pytest.approx(1, abs=0.005)
    smooth = s.forward(np.ones(s.domain, np.float32)).sum(axis=(1, 2), dtype=float)
    assert smooth == pytest.approx(np.full(13, smooth.mean()), rel=5e-3)


def test_attenuation_is_that_of_the_way_to_the_camera():
    mu = np.zeros((5, 41, 41), np.float32)
    y, x = np.mgrid[-20:21, -20:21] * 4.0
    mu[:, (np.abs(y) <= 60) & (np.abs(x) <= 40)] = 0.015
    turns = np.deg2rad([180.0, 0.0, 90.0, 270.0])
    s = scan((5, 41, 41), 4.0, angles=turns, radius=90.0, columns=41, mu=mu, resolution=False)
    source = point(s, (20.0, -28.0, 0.0))
    kept = s.forward(source).sum(axis=(1, 2)) / s.with_attenuation(None).forward(source).sum(
        axis=(1, 2)
    )
    # A voxel's edge lies half a voxel beyond its centre.
    ways = np.array([62.0 - 28.0, 62.0 + 28.0, 42.0 - 20.0, 42.0 + 20.0])
    assert kept == pytest.approx(np.exp(-0.015 * ways), rel=0.01)


def test_blur_does_not_carry_photons_out_of_the_body():
    """A point beside the edge of a slab: as many photons come through as along its own column."""
    operator = scan((9, 24, 24), angles=[0.0, np.pi], radius=100.0, columns=24)
    mu = np.zeros(operator.domain, np.float32)
    mu[:, :, :12] = 0.02
    place = (-2.0, 2.0, 0.0)  # the last column of the slab
    bare = operator.forward(point(operator, place)).sum(axis=(1, 2))
    seen = operator.with_attenuation(mu).forward(point(operator, place)).sum(axis=(1, 2))
    way = np.array([48.0 - 2.0, 48.0 + 2.0])  # from the point to the border, back and front
    assert seen / bare == pytest.approx(np.exp(-0.02 * way), rel=0.005)


def test_left_is_left_and_the_head_is_up():
    s = scan((9, 31, 31), 4.0, angles=np.deg2rad([180, 0, 90, 270]), radius=90.0, columns=31)
    for upward in (True, False):
        s = scan(
            (9, 31, 31), 4.0, angles=np.deg2rad([180, 0, 90, 270]), radius=90.0, columns=31,
            upward=upward,
        )  # fmt: skip
        frames = s.forward(point(s, (40.0, -20.0, 12.0)))
        places = [np.unravel_index(np.argmax(f), f.shape) for f in frames]
        assert [int(p[0]) for p in places] == [1, 1, 1, 1], "12 mm towards the head: 3 rows up"
        # In front: left is on the viewer's right; behind: on the left. From the patient's left the
        # belly is on the viewer's left.
        assert [int(p[1]) for p in places] == [25, 5, 10, 20]


def test_a_column_offset_moves_the_picture():
    moved = scan((5, 31, 31), 4.0, angles=[np.pi], radius=90.0, columns=31, offset=8.0)
    frame = moved.forward(point(moved, (0.0, 0.0, 0.0)))[0]
    assert np.argmax(frame[2]) == 13, "the detector lies 2 columns to the right"


def test_windows_share_the_photons():
    camera = Camera(windows=triple_windows())
    s = scan(camera=camera)
    assert s.range == (3, 13, 5, 20)
    y = s.forward(np.ones(s.domain, np.float32))
    assert np.array_equal(y[0], scan().forward(np.ones(s.domain, np.float32)))
    assert not y[1:].any()
    assert 0.003 < camera.spill(0)[1] < 0.02


def test_a_body_contour_keeps_its_distance():
    s = scan((3, 61, 61), 4.0)
    y, x = np.mgrid[-30:31, -30:31] * 4.0
    inside = np.broadcast_to((y / 60) ** 2 + (x / 100) ** 2 <= 1, (3, 61, 61))
    angles = np.deg2rad([0.0, 90.0, 180.0, 45.0])
    radii = body_contour(inside, s.grid, angles, margin=20)
    assert radii == pytest.approx([80, 120, 80, np.hypot(60, 100) / np.sqrt(2) + 20], abs=5)


def test_time_is_shorter_for_what_decays():
    half = 21624.0
    seconds = effective_seconds(np.full(4, 600.0), half)
    k = np.log(2) / half
    assert seconds.sum() == pytest.approx((1 - np.exp(-k * 2400)) / k)
    assert effective_seconds(np.full(4, 600.0), None) == pytest.approx(600)
    with pytest.raises(ParameterError, match="half-life"):
        effective_seconds(np.full(4, 600.0), -1.0)


def test_collimators_are_in_the_usual_order():
    sensitivity = {n: Camera(c).cps_per_mbq for n, c in COLLIMATORS.items()}
    assert sensitivity["LEUHR"] < sensitivity["LEHR"] < sensitivity["LEGP"]
    assert 70 < sensitivity["LEHR"] < 120, "published: about 90 cps/MBq"
    assert COLLIMATORS["LEHR"].fwhm(100.0) == pytest.approx(5.9, abs=0.5)
    assert COLLIMATORS["LEHR"].fwhm(200.0) < COLLIMATORS["LEGP"].fwhm(200.0)


def test_it_is_built_again_from_its_description():
    s = scan(mu=np.full((5, 16, 18), 0.01), camera=Camera(windows=triple_windows()))
    again = build_operator("spect.parallel", s.describe())
    x = RNG.random(s.domain, np.float32)
    assert np.array_equal(again.forward(x), s.forward(x))
    assert camera_of(s.camera.to_json()) == s.camera


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": [80.0, 81.0]}, "radius of rotation has 2 values for 13 views"),
        ({"radius": -1.0}, "radius of rotation"),
        ({"radius": np.nan}, "finite"),
        ({"mu": np.zeros((5, 16, 17))}, "attenuation map has shape"),
        ({"mu": np.full((5, 16, 18), -0.1)}, "negative"),
        ({"mu": np.full((5, 16, 18), np.nan)}, "not finite"),
        ({"columns": 0}, "columns"),
        ({"camera": Camera(Pinhole("P", 4.0, 200.0))}, "pinhole"),
        ({"seconds": 0.0}, "positive"),
    ],
)
def test_what_cannot_be_a_scan_is_refused(changes, message):
    with pytest.raises(GeometryError, match=message):
        scan(**changes)


def test_other_refusals():
    with pytest.raises(GeometryError, match="behind the collimator"):
        scan(isocentre=(0.0, -200.0, 0.0), radius=30.0).forward(np.ones((5, 16, 18)))
    with pytest.raises(GeometryError, match="this scan needs"):
        scan().forward(np.ones((5, 16, 17)))
    with pytest.raises(GeometryError, match="this scan needs"):
        scan().adjoint(np.ones((12, 5, 20)))
    tilted = Grid.from_spacing((4, 8, 8), (4, 4, 4), direction=np.eye(3))
    with pytest.raises(GeometryError, match="slices across"):
        ParallelScan(grid=tilted, angles=[0.0], radius=80.0, columns=8)
    oblong = Grid.from_spacing((4, 8, 8), (4, 4, 3))
    with pytest.raises(GeometryError, match="square"):
        ParallelScan(grid=oblong, angles=[0.0], radius=80.0, columns=8)
    for made in (
        lambda: Collimator("X", -1.0, 20.0, 0.2),
        lambda: Collimator("X", 1.0, 0.5, 0.2),
        lambda: Pinhole("X", 4.0, 200.0, opening=200.0),
        lambda: Window("X", 150.0, 130.0),
        lambda: Camera(intrinsic=-1.0),
        lambda: Camera(windows=()),
        lambda: Camera(sensitivity=0.0),
    ):
        with pytest.raises(ParameterError):
            made()
