"""GRAPPA against full data, its g-factor against repeated noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.combine import rss
from somascope.acquire.mri.grappa import gfactor, grappa, pattern
from somascope.acquire.mri.simulate import simulate
from somascope.core import Acquisition, Image
from somascope.core.errors import ParameterError
from somascope.phantoms import shepp_logan
from somascope.testing import check_operation


@pytest.fixture(scope="module")
def head() -> Image:
    image = shepp_logan((96, 96))
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    return replace(image, data=image.data * np.exp(1j * (0.8 * x + 0.5 * y**2)), modality="MR")


def nrmse(found: Image, truth: Image) -> float:
    return float(np.linalg.norm(found.data - truth.data) / np.linalg.norm(truth.data))


@pytest.mark.parametrize(("acceleration", "bound"), [(2, 0.015), (3, 0.03), (4, 0.06)])
def test_skipped_lines_come_back(head: Image, acceleration: int, bound: float):
    full = rss(simulate(head, snr=None))
    scanned = simulate(head, snr=None, acceleration=acceleration, calibration=32)
    folded = rss(scanned)
    filled = grappa(scanned)
    assert filled.operator.mask is None
    found = nrmse(rss(filled), full)
    assert found < bound
    assert found < 0.2 * nrmse(folded, full)
    lines = scanned.operator.mask[0, :, 0]
    assert np.array_equal(filled.samples[:, :, lines], scanned.samples[:, :, lines])


def test_with_noise_it_stays_near_the_theory(head: Image):
    full = rss(simulate(head, snr=None))
    filled = grappa(simulate(head, snr=60.0, acceleration=2, calibration=24, seed=2))
    assert nrmse(rss(filled), full) < 0.06


def separate(head: Image, acceleration: int, *, snr: float | None, seed: int) -> Acquisition:
    """Undersampled everywhere, with calibration lines measured apart."""
    clean = simulate(head, snr=None)
    reference = np.zeros_like(clean.samples)
    reference[:, :, 32:64] = clean.samples[:, :, 32:64]
    scanned = simulate(head, snr=snr, acceleration=acceleration, calibration=0, seed=seed)
    return replace(scanned, calibration={**scanned.calibration, "reference": reference})


@pytest.mark.parametrize("acceleration", [2, 3])
def test_the_g_factor_is_what_repeated_noise_shows(head: Image, acceleration: int):
    acquisition = separate(head, acceleration, snr=None, seed=0)
    white = {k: v for k, v in acquisition.calibration.items() if k != "noise"}
    acquisition = replace(acquisition, calibration=white)
    predicted = gfactor(acquisition).data[0]
    scan = acquisition.operator
    maps = white["sensitivities"]
    rng = np.random.default_rng(1)
    times = {"t": list(range(24))}
    whole = CartesianScan(scan.grid, coils=8, leading=times)
    many = CartesianScan(**{**scan.describe(), "leading": times})
    noise = rng.standard_normal((24, 8, 1, 96, 96, 2), np.float32).view(np.complex64)[..., 0]
    full = (whole.coil_images(noise) * maps.conj()).sum(axis=1)
    filled = grappa(acquisition.with_samples(many.sampled(noise), operator=many))
    fast = (whole.coil_images(filled.samples) * maps.conj()).sum(axis=1)
    ratio = np.std(fast, axis=0)[0] / np.std(full, axis=0)[0] / np.sqrt(acceleration)
    inside = np.abs(head.data[0]) > 0.05
    # 24 repetitions know a standard deviation to 15 %; the median of thousands of pixels to less.
    assert abs(np.median(ratio[inside] / predicted[inside]) - 1) < 0.03
    assert np.abs(ratio[inside] / predicted[inside] - 1).mean() < 0.2
    assert predicted[inside].min() > 0.9
    assert np.median(predicted[inside]) < 2.5


def test_a_slab_is_filled_plane_by_plane(head: Image):
    from somascope.phantoms import shepp_logan as volume

    image = replace(volume((6, 48, 48)), modality="MR")
    full = rss(simulate(image, snr=None))
    filled = grappa(simulate(image, snr=None, acceleration=2, calibration=20))
    assert nrmse(rss(filled), full) < 0.06


def test_patterns_are_recognised():
    lines = np.zeros(24, bool)
    lines[2::3] = True
    assert pattern(lines, "x") == (3, 2)
    lines[9:16] = True
    assert pattern(lines, "x") == (3, 2)
    with pytest.raises(ParameterError, match="no phase encodings are skipped"):
        pattern(np.ones(8, bool), "x")
    lines[5] = False
    lines[6] = True
    with pytest.raises(ParameterError, match="not regular"):
        pattern(lines, "x")


def test_missing_calibration_lines_are_told(head: Image):
    with pytest.raises(ParameterError, match="calibration lines"):
        grappa(simulate(head, acceleration=3, calibration=0))
    with pytest.raises(ParameterError, match="too few"):
        grappa(simulate(head, acceleration=4, calibration=4))


def test_it_keeps_the_contract_of_operations(head: Image):
    small = replace(shepp_logan((32, 32)), modality="MR")
    scanned = simulate(small, acceleration=2, calibration=12, coils=4)
    check_operation(grappa, inputs=(scanned,))
    check_operation(gfactor, inputs=(scanned,))
