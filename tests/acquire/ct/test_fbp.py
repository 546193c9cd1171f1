"""Filtered back projection against closed forms: values, resolution, noise, sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.filters import window
from somascope.acquire.ct.geometry import angular_weights
from somascope.acquire.ct.hounsfield import HU
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.simulate import simulate
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.io import read, write
from somascope.phantoms import Ellipsoid, draw, ellipse_radon, shepp_logan, shepp_logan_shapes
from somascope.testing import check_operation

WATER = 0.02


def scan_of(
    grid: Grid, *, views: int = 360, arc: float = np.pi, bins: int, spacing: float, **more: float
) -> ParallelScan:
    angles = np.arange(views) * (arc / views)
    return ParallelScan(grid=grid, angles=angles, bins=bins, spacing=spacing, **more)


def analytic(shapes: list[Ellipsoid], scan: ParallelScan) -> Acquisition:
    """The exact sinogram, averaged over each bin."""
    s = (np.arange(scan.bins) - (scan.bins - 1) / 2) * scan.spacing + scan.offset
    within = (np.arange(16) - 7.5) / 16 * scan.spacing
    lines = ellipse_radon(shapes, scan.angles[:, None, None], s[:, None] + within).mean(axis=-1)
    return Acquisition(
        lines.astype(np.float32), scan, "CT", calibration={"mu_water": np.array(WATER)}
    )


def flat_regions(truth: np.ndarray, *, margin: int) -> list[np.ndarray]:
    """Masks of regions of one value, ``margin`` pixels from their edges."""
    found = [binary_erosion(np.isclose(truth, v, atol=1e-4), iterations=margin)
             for v in np.unique(truth.round(4))]  # fmt: skip
    return [region for region in found if region.sum() > 20]


def test_views_share_the_half_turn():
    even = np.arange(30) * np.pi / 30
    assert angular_weights(even) == pytest.approx(np.pi / 30)
    assert angular_weights(np.arange(60) * np.pi / 30 + 1) == pytest.approx(np.pi / 60)
    assert angular_weights(np.append(even, even[::3])).sum() == pytest.approx(np.pi)
    some = np.sort(np.random.default_rng(1).uniform(0, 7, 400))
    assert angular_weights(some).sum() == pytest.approx(np.pi)
    limited = even[:20]  # a third is missing and stays so
    assert angular_weights(limited) == pytest.approx(np.pi / 30)


@pytest.mark.parametrize("variant", ["half turn", "whole turn", "offset", "coarse bins", "uneven"])
def test_flat_regions_of_the_shepp_logan_head_are_within_one_percent(variant: str):
    n = 256
    image = shepp_logan((n, n))
    d = image.grid.spacing[1]
    scan = {
        "half turn": lambda: scan_of(image.grid, bins=n + 40, spacing=d),
        "whole turn": lambda: scan_of(
            image.grid, views=720, arc=2 * np.pi, bins=n + 40, spacing=d, offset=d / 4
        ),
        "offset": lambda: scan_of(image.grid, bins=n + 60, spacing=d, offset=12.3 * d),
        "coarse bins": lambda: scan_of(image.grid, bins=(n + 100) // 2, spacing=2 * d),
        "uneven": lambda: ParallelScan(
            grid=image.grid, bins=n + 40, spacing=d,
            angles=np.sort(np.random.default_rng(2).uniform(0, np.pi, 900)),
        ),
    }[variant]()  # fmt: skip
    found = fbp(analytic(shepp_logan_shapes("modified", flat=True), scan), unit="1/mm",
                kernel="hann").data[0]  # fmt: skip
    truth = image.data[0]
    margin = 8 if variant == "coarse bins" else 5
    regions = flat_regions(truth, margin=margin)
    assert len(regions) == 3  # air, brain and the large ventricle
    for region in regions:
        value = truth[region].mean()
        # One percent of the head's range (0 to 1); uneven views add a little noise per pixel.
        assert abs(found[region].mean() - value) < 0.003
        rough = 0.03 if variant == "uneven" else 0.01
        assert np.sqrt(np.mean((found[region] - value) ** 2)) < rough


@pytest.mark.parametrize("kernel", ["ram-lak", "shepp-logan", "cosine", "hamming", "hann"])
def test_water_is_zero_and_air_minus_a_thousand(kernel: str):
    grid = Grid.from_spacing((1, 200, 200), (1, 1.25, 1.25), origin=(-124.375, -124.375, 0))
    body = [Ellipsoid(WATER, (6.0, -4.0, 0.0), (90.0, 75.0, 500.0), (20.0, 0.0))]
    scan = scan_of(grid, bins=300, spacing=1.0)
    image = fbp(analytic(body, scan), kernel=kernel)
    assert image.unit == HU
    inside = draw(body, grid)[0] > 0
    water = binary_erosion(inside, iterations=6)
    y, x = np.mgrid[:200, :200] * 1.25 - 124.375
    air = binary_erosion(~inside, iterations=6) & (np.hypot(x, y) < 120)
    assert abs(image.data[0][water].mean()) < 0.5
    assert abs(image.data[0][air].mean() + 1000) < 0.5
    if kernel == "hann":
        assert np.abs(image.data[0][water]).max() < 5
        assert image.data[0][air].std() < 2
    assert (image.data[0][np.hypot(x, y) > 152] == -1000).all()


@pytest.mark.parametrize(("kernel", "cutoff"), [("ram-lak", 1.0), ("hann", 1.0), ("cosine", 0.6)])
def test_the_modulation_transfer_is_that_of_the_filter(kernel: str, cutoff: float):
    """The image of a Gaussian, through the Fourier transform, over the Gaussian's own."""
    d, fine, n = 1.0, 0.25, 256
    grid = Grid.from_spacing((1, n, n), (1, fine, fine), origin=(-n / 2 * fine, -n / 2 * fine, 0))
    scan = scan_of(grid, views=402, bins=120, spacing=d)
    s = np.arange(120) - 59.5
    lines = np.tile(np.sqrt(2 * np.pi) * np.exp(-0.5 * s**2), (402, 1)).astype(np.float32)
    found = fbp(Acquisition(lines, scan, "CT"), unit="1/mm", kernel=kernel, cutoff=cutoff).data[0]
    spectrum = np.fft.fft2(np.fft.ifftshift(found)).real * fine**2
    f = np.fft.fftfreq(n, fine)
    radial = np.hypot(f[:, None], f)
    chosen = radial < 0.4  # beyond it the Gaussian holds too little
    q = radial[chosen]
    measured = spectrum[chosen] / (2 * np.pi * np.exp(-2 * (np.pi * q) ** 2))
    theory = window(kernel, q * 2 * d, cutoff=cutoff)
    sharp = np.abs(q * 2 * d - cutoff) < 0.06  # the finite image smears the cut
    assert np.abs(measured - theory)[~sharp].max() < 0.05


def test_noise_is_what_theory_says_and_falls_with_the_dose():
    n, views, d = 128, 200, 1.0
    grid = Grid.from_spacing((1, n, n), (1, d, d), origin=(-(n - 1) / 2, -(n - 1) / 2, 0))
    disk = [Ellipsoid(0.0, (0.0, 0.0, 0.0), (50.0, 50.0, 9.0))]
    water = Image(draw(disk, grid, background=-1000.0), grid, "CT", HU)
    spread = {}
    for photons in (1e4, 4e4):
        shot = simulate(water, views=views, bins=190, spacing=d, photons=photons, seed=3)
        clean = simulate(water, views=views, bins=190, spacing=d)
        difference = fbp(shot, unit="1/mm").data[0] - fbp(clean, unit="1/mm").data[0]
        # Var(-ln I) = 1 / mean counts, and the ramp sums variances to pi^2 / (12 V d^2).
        paths = clean.samples[:, 85:105].mean()
        expected = np.sqrt(np.pi**2 / (12 * views) * np.exp(paths) / photons) / d
        spread[photons] = difference[56:72, 56:72].std()
        assert spread[photons] == pytest.approx(expected, rel=0.12)
    assert spread[1e4] / spread[4e4] == pytest.approx(2.0, rel=0.06)


@pytest.mark.parametrize("flip", [False, True])
def test_left_and_right_survive_to_dicom(tmp_path: Path, *, flip: bool):
    """A marker on the patient's left front stays there, whichever way the grid runs."""
    side = -1.0 if flip else 1.0
    grid = Grid.from_spacing(
        (1, 96, 96), (2, 2, 2), origin=(-side * 95 + 10, -95 + 30, 40),
        direction=[[0, 0, side], [0, 1, 0], [1, 0, 0]],
    )  # fmt: skip
    shapes = [Ellipsoid(0.0, (10, 30, 40), (80, 60, 50)), Ellipsoid(800.0, (45, 5, 40), (8, 8, 8))]
    body = Image(draw(shapes, grid, background=-1000.0), grid, "CT", HU,
                 attributes={"PatientName": "Left^Front", "PatientID": "LF"})  # fmt: skip
    image = fbp(simulate(body, views=120), kernel="hann")
    assert image.attributes["PatientName"] == "Left^Front"
    write(image, tmp_path / "series")
    again = read(tmp_path / "series")
    assert isinstance(again, Image)
    assert again.unit == HU
    hottest = np.unravel_index(np.argmax(again.data), again.data.shape)
    assert np.linalg.norm(again.grid.to_world(hottest) - [45, 5, 40]) < 6
    assert np.abs(again.data - image.data).max() <= 0.5


def test_zoom_gives_the_same_values_in_the_same_place():
    image = shepp_logan((128, 128))
    scan = simulate(image, views=180)
    wide, near = fbp(scan), fbp(scan, size=128, field_of_view=110.0)
    assert near.grid.spacing[1:] == pytest.approx((110 / 128, 110 / 128))
    world = near.grid.to_world([0, 64, 64])
    at = tuple(np.round(wide.grid.to_index(world)).astype(int))
    assert near.data[0, 60:68, 60:68].mean() == pytest.approx(wide.data[at], abs=60)


def test_a_stack_is_its_slices():
    image = shepp_logan((3, 64, 64))
    stack = fbp(simulate(image, views=90))
    for k in range(3):
        one = image.crop(start=(k, 0, 0), stop=(k + 1, 64, 64))
        assert np.abs(fbp(simulate(one, views=90)).data[0] - stack.data[k]).max() < 0.5


def test_what_does_not_fit_is_refused():
    image = shepp_logan((32, 32))
    scan = simulate(image, views=30, photons=1e4, result="counts")
    with pytest.raises(UnitError, match=r"acquire\.ct\.normalise"):
        fbp(scan)
    lines = simulate(image, views=30)
    broken = lines.samples.copy()
    broken[3, 4] = np.nan
    with pytest.raises(UnitError, match="1 samples are not finite"):
        fbp(lines.with_samples(broken))
    with pytest.raises(ParameterError, match="choose one of ram-lak"):
        fbp(lines, kernel="butter")
    with pytest.raises(GeometryError, match=r"acquire\.ct\.fdk"):
        fbp(simulate(shepp_logan((8, 16, 16)), geometry="cone", views=30))


def test_the_operation_keeps_its_contract():
    check_operation("acquire.ct.fbp", inputs=(simulate(shepp_logan((32, 32)), views=30),))
