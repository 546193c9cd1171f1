"""Coil maps against the true ones, combinations against the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.mri.combine import adaptive, root_sum_of_squares, rss
from somascope.acquire.mri.sensitivity import loop_sensitivities
from somascope.acquire.mri.simulate import simulate
from somascope.acquire.mri.walsh import inati, walsh
from somascope.core import Acquisition, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms import shepp_logan


@pytest.fixture(scope="module")
def head() -> Image:
    return replace(shepp_logan((96, 96)), modality="MR")


@pytest.mark.parametrize("method", [walsh, inati])
def test_maps_are_the_true_ones_up_to_a_phase(head: Image, method):
    maps = loop_sensitivities(head.grid, 6)
    truth = maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))
    rng = np.random.default_rng(0)
    images = maps * head.data
    images = images + 0.002 * (rng.normal(size=images.shape) + 1j * rng.normal(size=images.shape))
    found = method(images.astype(np.complex64))
    inside = head.data > 0.05
    alike = np.abs((found.conj() * truth).sum(axis=0))[inside]
    assert np.median(alike) > 0.999
    assert np.quantile(alike, 0.01) > 0.98
    norm = np.sqrt((np.abs(found) ** 2).sum(axis=0))[inside]
    assert np.abs(norm - 1).max() < 1e-3


def test_adaptive_combination_has_a_lower_floor_and_the_same_signal(head: Image):
    scanned = simulate(head, snr=20.0, seed=1)
    plain = rss(scanned)
    outside = np.zeros(head.shape, bool)
    outside[:, :8, :8] = True
    inside = head.data > 0.15
    for method in ("walsh", "inati"):
        better = adaptive(scanned, method=method)
        ratio = better.data[inside] / plain.data[inside]
        assert abs(np.median(ratio) - 1) < 0.03, method
        assert better.data[outside].mean() < 0.85 * plain.data[outside].mean(), method


def test_the_sum_of_squares_is_what_its_name_says():
    rng = np.random.default_rng(0)
    images = (rng.normal(size=(2, 3, 1, 5, 4)) + 1j * rng.normal(size=(2, 3, 1, 5, 4))).astype(
        np.complex64
    )
    expected = np.sqrt((np.abs(images) ** 2).sum(axis=1))
    assert np.allclose(root_sum_of_squares(images), expected, rtol=1e-5)


def test_echoes_stay_apart(head: Image):
    from somascope.core import Axis

    echoes = Image(
        np.stack([head.data, 0.5 * head.data]), head.grid, "MR", axes=(Axis("echo", (5, 10), "ms"),)
    )
    found = rss(simulate(echoes, snr=None))
    assert found.axes[0].values == (5.0, 10.0)
    assert np.allclose(found.data[1], 0.5 * found.data[0], atol=1e-5)


def test_damaged_samples_and_other_images_are_refused(head: Image):
    scanned = simulate(head)
    samples = scanned.samples.copy()
    samples[0, 0, 3, 3] = np.nan
    with pytest.raises(GeometryError, match="not finite"):
        rss(scanned.with_samples(samples))
    bare = simulate(head, trajectory="radial", shots=20)
    scan = bare.operator
    without = Acquisition(bare.samples, type(scan)(**{**scan.describe(), "density": None}), "MR")
    with pytest.raises(ParameterError, match="density"):
        rss(without)
    with pytest.raises(ParameterError, match="coil images"):
        walsh(np.zeros((3, 4, 4)))
