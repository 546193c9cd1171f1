"""Compressed sensing on the closed-form head: better than zero filling and than SENSE."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.compressed import l1wavelet, lowrank, regularised, tv
from somascope.acquire.mri.descent import SparseWavelets, descend
from somascope.acquire.mri.normal import Frames, normal_operator, normal_operators
from somascope.acquire.mri.sense import solve
from somascope.acquire.operators import Identity
from somascope.acquire.priors import WaveletL1
from somascope.acquire.solvers import fista
from somascope.core import Acquisition, Progress
from somascope.core.errors import Cancelled, ParameterError
from somascope.testing import check_operator
from tests.acquire.mri.head import coil_maps, error, head, scanned

N = 64


def scattered(share: float, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    at = (np.arange(N) - N // 2) / N
    radius = np.hypot(*np.meshgrid(at, at))
    chance = 2.2 * share * np.exp(-((radius / 0.3) ** 2)) + 0.3 * share
    return (rng.random((N, N)) < chance) | (radius < 0.08)


@pytest.fixture(scope="module")
def measured() -> tuple[Acquisition, np.ndarray]:
    acquisition, x, _ = scanned(N, 8, scattered(0.3), noise=0.02)
    return acquisition, x


@pytest.mark.parametrize("method", [l1wavelet, tv])
def test_priors_beat_zero_filling_and_sense(method, measured):
    acquisition, x = measured
    zero_filled = error(acquisition.operator.adjoint(acquisition.samples), x)
    plain = error(solve(acquisition.samples, acquisition.operator), x)
    image = method(acquisition, part="complex")
    found = error(image.data, x)
    assert found < 0.5 * min(plain, zero_filled)
    assert (image.modality, image.unit) == ("MR", "1")
    assert image.provenance.steps[-1].params["maps"] == "auto"
    assert method(acquisition).data.dtype == np.float32


def test_without_weight_it_is_least_squares():
    acquisition, x, _ = scanned(32, 6, np.arange(32)[:, None] % 2 == 0)
    image = l1wavelet(acquisition, weight=0.0, iterations=300, tolerance=0.0, part="complex")
    assert error(image.data, x) < 0.01


def test_the_swept_descent_is_the_general_solver(measured):
    acquisition, _ = measured
    gram = normal_operator(acquisition.operator)
    back = acquisition.operator.adjoint(acquisition.samples).astype(np.complex64)
    weight = 0.01 * float(np.abs(back).max())
    step = 1 / gram.bound()
    general = fista(
        Identity(gram.domain), back[0][None], prior=WaveletL1(weight), normal=gram, step=step,
        iterations=25,
    )  # fmt: skip
    swept = descend(gram, back, prior=SparseWavelets(weight), step=step, iterations=25)
    assert error(swept.x, general.x) < 1e-4
    assert swept.iterations == 25


@pytest.mark.parametrize(
    ("shape", "wavelet", "levels"),
    [
        ((1, 64, 48), "db4", 3), ((1, 32, 40), "haar", 3), ((3, 48, 96), "sym4", 2),
        ((1, 30, 64), "db2", 2), ((1, 8, 8), "db4", 1),
    ],
)  # fmt: skip
def test_the_swept_shrinkage_is_the_general_one(shape, wavelet: str, levels: int):
    rng = np.random.default_rng(6)
    x = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    kept = x.copy()
    swept = SparseWavelets(0.7, wavelet=wavelet, levels=levels).prox(x, 0.9)
    general = WaveletL1(0.7, wavelet=wavelet, levels=levels).prox(x, 0.9)
    assert error(swept, general) < 1e-6
    assert np.array_equal(x, kept)
    assert error(swept, x) > 0.3


def test_series_share_their_rank():
    """Twelve images whose brightness follows one curve per tissue: rank two plus noise."""
    x, grid = head(32)
    maps = coil_maps(4, grid)
    times = np.arange(12.0)
    curve = np.exp(-times / 6)[:, None, None, None]
    inner = np.abs(x) > 0.25
    truth = x * np.where(inner, curve, 1 - 0.6 * curve)
    rng = np.random.default_rng(3)
    mask = rng.random((12, 1, 32, 1)) < 0.4
    mask[:, :, 13:19] = True
    scan = CartesianScan(grid, sensitivities=maps, leading={"t": times}, mask=mask)
    y = scan.forward(truth)
    y += 0.02 * (rng.normal(size=y.shape) + 1j * rng.normal(size=y.shape))
    acquisition = Acquisition(scan.sampled(y).astype(np.complex64), scan, "MR")
    plain = error(solve(acquisition.samples, scan), truth)
    image = lowrank(acquisition, weight=0.03, part="complex", iterations=80)
    assert image.axis_names == ("t", "z", "y", "x")
    assert error(image.data, truth) < 0.6 * plain
    check_operator(Frames(normal_operators(scan)), domain_dtype="complex64",
                   range_dtype="complex64", tolerance=1e-5)  # fmt: skip
    single, _, _ = scanned(16, 2)
    with pytest.raises(ParameterError, match="needs several images"):
        lowrank(single)


def test_every_repetition_by_itself():
    x, grid = head(32)
    scan = CartesianScan(
        grid, sensitivities=coil_maps(4, grid), leading={"echo": [5, 10]},
        mask=np.arange(32)[:, None] % 2 == 0,
    )  # fmt: skip
    y = scan.forward(np.stack([x, 0.3 * x])).astype(np.complex64)
    found = regularised(y, scan, prior=lambda peak: SparseWavelets(1e-4 * peak), iterations=150)
    assert error(found[0], x) < 0.05
    assert error(found[1], 0.3 * x) < 0.05


def test_progress_and_cancel(measured):
    acquisition, _ = measured
    said: list[float] = []
    tv(acquisition, iterations=3, progress=Progress(lambda f, _: said.append(f)))
    assert said == sorted(said)
    assert said
    with pytest.raises(Cancelled):
        l1wavelet(acquisition, progress=Progress(None, lambda: True))
