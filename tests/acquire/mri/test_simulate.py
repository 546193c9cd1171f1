"""The simulator against closed forms, its noise against what was asked, its masks by counting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.mri.combine import adaptive, rss
from somascope.acquire.mri.noise import covariance
from somascope.acquire.mri.simulate import coil_covariance, sampling_mask, simulate
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import ParameterError
from somascope.io import read, write
from somascope.phantoms import shepp_logan
from somascope.testing import check_operation


@pytest.fixture(scope="module")
def head() -> Image:
    return replace(shepp_logan((96, 80)), modality="MR")


def shaded(image: Image, acquisition: Acquisition) -> np.ndarray:
    """What the coils should see together."""
    maps = acquisition.calibration["sensitivities"]
    return np.abs(image.data) * np.sqrt((np.abs(maps) ** 2).sum(axis=0))


def error(found: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    if where is not None:
        found, truth = found[where], truth[where]
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def test_a_full_scan_without_noise_is_inverted_exactly(head: Image):
    for oversampling in (1, 2):
        scanned = simulate(head, snr=None, oversampling=oversampling)
        assert error(rss(scanned).data, shaded(head, scanned)) < 1e-5


@pytest.mark.parametrize(("trajectory", "bound"), [("radial", 0.05), ("spiral", 0.05)])
def test_trajectories_give_the_image_inside_the_field(head: Image, trajectory: str, bound: float):
    from scipy.ndimage import gaussian_filter

    scanned = simulate(head, trajectory=trajectory, snr=None)
    inside = (head.data > 0.05) & (head.data < 0.5)  # the brain, without the bright skull
    # The edges ring, since the disk of k-space has no corners: compare what both can hold.
    found = gaussian_filter(rss(scanned).data, (0, 1.5, 1.5))
    truth = gaussian_filter(shaded(head, scanned), (0, 1.5, 1.5))
    assert error(found, truth, inside) < bound


def test_noise_has_the_power_and_correlation_that_were_asked(head: Image):
    quiet = simulate(head, snr=None, correlation=0.4)
    loud = simulate(head, snr=10.0, correlation=0.4, seed=3)
    truth = np.abs(head.data)
    sigma = truth[truth > 0.1 * truth.max()].mean() / 10
    expected = 2 * sigma**2 * coil_covariance(8, 0.4)
    for noise in (loud.samples - quiet.samples, loud.calibration["noise"]):
        found = covariance(np.moveaxis(noise, 0, 0))
        assert np.abs(found - expected).max() < 0.08 * expected[0, 0].real
    assert np.array_equal(loud.samples, simulate(head, snr=10.0, correlation=0.4, seed=3).samples)
    assert not np.array_equal(loud.samples, simulate(head, snr=10.0, seed=4).samples)


def test_masks_hold_the_lines_that_were_asked():
    mask = sampling_mask(96, 3, 20)
    assert mask[38:58].all()
    assert mask[0::3].all()
    assert mask[:38].sum() == 13
    assert sampling_mask(96, 1, 0, partial=0.625)[:36].sum() == 0
    assert sampling_mask(96, 1, 0, partial=0.625).sum() == 60
    rng = np.random.default_rng(0)
    drawn = sampling_mask(96, 4, 8, pattern="random", rng=rng)
    assert 24 <= drawn.sum() <= 32
    with pytest.raises(ParameterError, match="past the centre"):
        sampling_mask(96, 1, 0, partial=0.5)


def test_a_still_patient_is_sharper_than_one_who_moves(head: Image):
    still, moving = simulate(head, snr=None), simulate(head, snr=None, motion=3.0)
    truth = shaded(head, still)
    assert error(rss(moving).data, truth) > 0.1
    barely = simulate(head, snr=None, motion=1e-3)
    assert error(rss(barely).data, truth) < 0.03


@pytest.mark.parametrize("trajectory", ["cartesian", "radial", "epi"])
def test_it_keeps_the_contract_of_operations(trajectory: str):
    check_operation(simulate, params={"trajectory": trajectory, "coils": 3, "shots": 12})


def test_values_that_are_not_finite_are_refused(head: Image):
    data = head.data.copy()
    data[0, 3, 4] = np.nan
    with pytest.raises(ParameterError, match="not finite"):
        simulate(replace(head, data=data))
    with pytest.raises(ParameterError, match="motion"):
        simulate(head, trajectory="radial", motion=1.0)


def test_the_whole_line_from_coils_to_a_dicom_series(head: Image, tmp_path: Path):
    """An oblique, marked image through scan, combination and DICOM keeps its place and patient."""
    a = 0.3
    direction = [[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]]
    grid = Grid.from_spacing((1, 48, 64), (3, 1.5, 1.2), origin=(-20, 7, 33), direction=direction)
    data = np.zeros(grid.shape, np.float32)
    data[0, 10:14, 8:20] = 1.0
    data[0, 10:30, 8:11] = 0.6
    facts = {"PatientName": "Left^Right", "PatientID": "LR1"}
    truth = Image(data, grid, "MR", attributes=facts)
    scanned = simulate(truth)
    for combined in (rss(scanned), adaptive(scanned)):
        write(combined, tmp_path / combined.provenance.steps[-1].operation.replace(".", "-"))
        back = read(tmp_path / combined.provenance.steps[-1].operation.replace(".", "-"))
        assert isinstance(back, Image)
        assert back.modality == "MR"
        assert back.attributes["PatientName"] == "Left^Right"
        assert back.grid.allclose(grid)
        brightest = back.grid.to_world(np.argwhere(back.data > 0.5 * back.data.max()).mean(axis=0))
        seen = shaded(truth, scanned)
        expected = grid.to_world(np.argwhere(seen > 0.5 * seen.max()).mean(axis=0))
        assert np.abs(brightest - expected).max() < 0.5
