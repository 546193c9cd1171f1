"""ESPIRiT against maps that are known, and against exact eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.espirit import calibration_region, espirit, maps_from, sensitivities
from somascope.acquire.mri.espirit_kernels import dominant
from somascope.core import Grid
from somascope.core.errors import GeometryError, ParameterError
from tests.acquire.mri.head import coil_maps, scanned


def lines(n: int, r: int = 3, centre: int = 24) -> np.ndarray:
    at = np.arange(n)
    return ((at % r == 0) | (np.abs(at - n // 2) < centre // 2))[:, None]


def test_the_maps_are_those_of_the_coils():
    acquisition, x, maps = scanned(96, 8, lines(96), known=False)
    image = espirit(acquisition, part="complex")
    assert image.axis_names == ("coil", "z", "y", "x")
    assert image.modality == "MR"
    assert image.attributes["PatientName"] == "Head^Test"
    body = np.abs(x[0]) > 0.1
    energy = (np.abs(image.data) ** 2).sum(axis=0)[0]
    assert np.allclose(energy[body], 1, atol=1e-3)
    same = np.abs((maps.conj() * image.data).sum(axis=0))[0][body]
    assert same.min() > 0.995
    assert same.mean() > 0.9998


def test_background_is_cut_off():
    acquisition, x, _ = scanned(96, 6, lines(96), known=False, noise=1e-3)
    maps = espirit(acquisition, part="complex", crop=0.98).data[:, 0]
    corner = np.abs(maps[:, :8, :8]).sum()
    assert corner == 0
    assert (np.abs(maps).sum(axis=0)[np.abs(x[0]) > 0.1] > 0).mean() > 0.98


def test_eigenvectors_are_exact_ones():
    rng = np.random.default_rng(3)
    coils, ny, nx = 5, 7, 21
    pairs = rng.normal(size=(15, 3, 3)) + 1j * rng.normal(size=(15, 3, 3))
    # Close to rank one, as calibration matrices are; Hermitian after mirroring in the differences.
    u = rng.normal(size=coils) + 1j * rng.normal(size=coils)
    first, second = np.triu_indices(coils)
    pairs = 0.02 * pairs
    pairs[:, 1, 1] += u[first] * u[second].conj()
    waves = [np.exp(2j * np.pi * np.outer(np.arange(n) - n // 2, [-1, 0, 1]) / n) for n in (ny, nx)]
    g = np.zeros((ny, nx, coils, coils), complex)
    values = np.einsum("ya,pab,xb->pyx", waves[0], pairs, waves[1])
    for p, (i, j) in enumerate(zip(first, second, strict=True)):
        if i == j:
            pairs_real = values[p]
            g[..., i, j] = pairs_real
        else:
            g[..., i, j], g[..., j, i] = values[p], values[p].conj()
    # The kernel reads the diagonal as Hermitian too: make it so.
    for p, (i, j) in enumerate(zip(first, second, strict=True)):
        if i == j:
            pairs[p] = (pairs[p] + pairs[p, ::-1, ::-1].conj()) / 2
            g[..., i, i] = np.einsum("ya,ab,xb->yx", waves[0], pairs[p], waves[1]).real
    reference = np.zeros(coils, np.complex64)
    reference[0] = 1
    found = dominant(pairs, *waves, coils=coils, reference=reference, crop=0.0)
    w, v = np.linalg.eigh(g)
    truth = v[..., -1].transpose(2, 0, 1)
    assert w[..., -1].min() > 1
    assert np.abs((truth.conj() * found).sum(axis=0)).min() > 1 - 1e-4
    assert np.abs(found[0].imag).max() < 1e-4
    assert found[0].real.min() > 0


def test_a_volume_is_calibrated_in_three_dimensions():
    grid = Grid.from_spacing((12, 16, 16), (2, 2, 2))
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.shape], indexing="ij")
    body = ((x**2 + y**2 + z**2) < 0.7) * (1 + 0.4 * np.sin(9 * x) * np.cos(8 * z + 3 * y))
    maps = coil_maps(4, grid)
    scan = CartesianScan(grid, sensitivities=maps)
    y_ = scan.forward(body.astype(complex)).astype(np.complex64)
    found = sensitivities(y_, CartesianScan(grid, coils=4), calibration=12, kernel=4, crop=0.5)
    same = np.abs((maps.conj() * found).sum(axis=0))[np.abs(body) > 0.5]
    assert same.min() > 0.98
    assert same.mean() > 0.995


def test_oversampled_readout_gives_maps_on_the_image():
    acquisition, x, _ = scanned(64, 4, known=False)
    grid = acquisition.operator.grid
    wide = CartesianScan(grid, sensitivities=coil_maps(4, grid), matrix=(1, 64, 128))
    y = wide.forward(x).astype(np.complex64)
    plain = sensitivities(acquisition.samples, CartesianScan(grid, coils=4))
    over = sensitivities(y, CartesianScan(grid, coils=4, matrix=(1, 64, 128)))
    body = np.abs(x) > 0.1
    same = np.abs((plain.conj() * over).sum(axis=0))
    assert same[body].mean() > 0.999


def test_the_region_is_the_fully_sampled_centre():
    k = np.zeros((1, 2, 32, 40), complex)
    k[..., 11:21, 14:29] = 1
    assert calibration_region(k, width=24, kernel=3).shape == (1, 2, 10, 15)
    assert calibration_region(k, width=8, kernel=3).shape == (1, 2, 8, 8)


def test_a_centre_that_is_not_sampled_is_refused():
    mask = np.ones((64, 1), bool)
    mask[28:36] = False
    acquisition, _, _ = scanned(64, 4, mask, known=False)
    with pytest.raises(GeometryError, match="too small to calibrate a kernel of 6"):
        espirit(acquisition)


def test_bad_samples_are_refused():
    acquisition, _, _ = scanned(32, 2, known=False)
    y = acquisition.samples.copy()
    y[0, 0, 3, 3] = np.nan
    with pytest.raises(GeometryError, match="1 of 2048 samples are not finite"):
        espirit(acquisition.with_samples(y))
    with pytest.raises(GeometryError, match="all samples are zero"):
        espirit(acquisition.with_samples(np.zeros_like(y)))
    with pytest.raises(GeometryError, match="k-space is complex"):
        espirit(acquisition.with_samples(np.ones(y.shape, np.float32)))
    with pytest.raises(ParameterError, match="give"):
        maps_from(np.ones((4, 4), complex), (4, 4))


def test_parameters_are_checked():
    acquisition, _, _ = scanned(32, 3, known=False)
    with pytest.raises(ParameterError, match="calibration"):
        espirit(acquisition, calibration=2)
