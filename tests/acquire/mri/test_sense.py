"""CG-SENSE on the closed-form head."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.fourier import to_image, to_kspace
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.normal import normal_operator
from somascope.acquire.mri.sense import sense, solve
from somascope.core import Acquisition, Grid, Progress
from somascope.core.errors import Cancelled, GeometryError, ParameterError
from somascope.testing import check_operation, check_operator
from tests.acquire.mri.head import coil_maps, error, lattice, scanned


def every(r: int, n: int, centre: int = 0) -> np.ndarray:
    at = np.arange(n)
    return ((at % r == 0) | (np.abs(at - n // 2) < centre // 2))[:, None]


def test_it_unfolds_what_zero_filling_folds():
    acquisition, x, _ = scanned(64, 8, every(3, 64))
    zero_filled = acquisition.operator.adjoint(acquisition.samples)
    image = sense(acquisition, iterations=60, part="complex")
    assert error(zero_filled, x) > 0.5
    assert error(image.data, x) < 0.01
    assert (image.modality, image.unit, image.data.dtype) == ("MR", "1", np.complex64)
    assert image.grid == acquisition.operator.grid
    assert image.attributes["StudyInstanceUID"] == "2.25.1"
    assert image.provenance.steps[-1].operation == "acquire.mri.sense"


def test_maps_are_estimated_where_there_are_none():
    acquisition, x, _ = scanned(96, 8, every(2, 96, 24), known=False)
    image = sense(acquisition)
    assert image.data.dtype == np.float32
    assert error(image.data, np.abs(x)) < 0.03


def test_calibrated_maps_come_first():
    acquisition, x, maps = scanned(48, 6, every(2, 48), known=False)
    from dataclasses import replace

    known = replace(acquisition, calibration={"sensitivities": maps.astype(np.complex64)})
    assert error(sense(known, part="complex").data, x) < 0.01
    wrong = replace(acquisition, calibration={"sensitivities": maps[:4].astype(np.complex64)})
    with pytest.raises(GeometryError, match="of 4 coils, the samples of 6"):
        sense(wrong)


GRID = Grid.from_spacing((1, 24, 28), (5, 1, 1))
VOLUME = Grid.from_spacing((6, 10, 12), (2, 1, 1))
RNG = np.random.default_rng(8)
CASES = {
    "masked": CartesianScan(
        GRID, sensitivities=coil_maps(3, GRID), mask=RNG.random((24, 28)) > 0.6
    ),
    "lines": CartesianScan(GRID, sensitivities=coil_maps(3, GRID), mask=every(2, 24)),
    "full": CartesianScan(GRID, sensitivities=coil_maps(2, GRID)),
    "oversampled": CartesianScan(
        GRID, sensitivities=coil_maps(3, GRID), matrix=(1, 24, 56), mask=every(3, 24)
    ),
    "slices": CartesianScan(
        VOLUME, sensitivities=coil_maps(2, VOLUME), dimensions=2, mask=every(2, 10)
    ),
    "volume": CartesianScan(
        VOLUME, sensitivities=coil_maps(2, VOLUME), mask=RNG.random((6, 10, 1)) > 0.5
    ),
    "radial": NonCartesianScan(
        GRID, sensitivities=coil_maps(3, GRID), trajectory=RNG.uniform(-12, 12, (9, 50, 2)),
        tolerance=1e-6,
    ),
    "radial slices": NonCartesianScan(
        VOLUME, sensitivities=coil_maps(2, VOLUME), trajectory=RNG.uniform(-5, 5, (9, 50, 2)),
        tolerance=1e-6,
    ),
    "radial volume": NonCartesianScan(
        VOLUME, sensitivities=coil_maps(2, VOLUME), trajectory=RNG.uniform(-3, 3, (400, 3)),
        tolerance=1e-6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_normal_operator_is_forward_and_adjoint(name: str):
    scan = CASES[name]
    x = (RNG.normal(size=scan.domain) + 1j * RNG.normal(size=scan.domain)).astype(np.complex64)
    truth = scan.adjoint(scan.forward(x))
    fast = normal_operator(scan)
    assert error(fast.forward(x), truth) < 5e-6
    check_operator(fast, domain_dtype="complex64", range_dtype="complex64", tolerance=1e-5)
    top = np.linalg.norm(truth) / np.linalg.norm(x)
    assert fast.bound() >= top


def test_a_radial_scan_is_solved():
    acquisition, x, maps = scanned(64, 8)
    grid = acquisition.operator.grid
    turns = np.arange(40) * np.pi * (3 - np.sqrt(5))
    r = np.arange(-64, 64) / 2
    spokes = np.stack([np.outer(np.sin(turns), r), np.outer(np.cos(turns), r)], -1)
    scan = NonCartesianScan(grid, trajectory=spokes, sensitivities=maps)
    # Spokes do not reach the corners of k-space: neither does this head.
    radius = np.linalg.norm(lattice(64, 64), axis=-1)
    x = to_image(to_kspace(x, axes=(-2, -1)) * np.cos(np.clip(radius / 32, 0, 1) * np.pi / 2),
                 axes=(-2, -1))  # fmt: skip
    y = scan.forward(x).astype(np.complex64)
    image = sense(Acquisition(y, scan, "MR"), iterations=40, part="complex")
    assert error(image.data, x) < 0.05
    again = scan.forward(image.data)
    assert error(again, y) < 0.01


def test_every_repetition_is_solved():
    acquisition, x, maps = scanned(32, 4)
    grid = acquisition.operator.grid
    mask = np.ones((2, 1, 32, 32), bool)
    mask[1, :, 1::2] = False
    scan = CartesianScan(grid, sensitivities=maps, leading={"echo": [5, 10]}, mask=mask)
    both = np.stack([x, 0.5 * x])
    y = scan.forward(both).astype(np.complex64)
    image = sense(Acquisition(y, scan, "MR"), part="complex", iterations=40)
    assert image.axis_names == ("echo", "z", "y", "x")
    assert image.axes[0].values == (5.0, 10.0)
    assert error(image.data[0], both[0]) < 1e-3
    assert error(image.data[1], both[1]) < 0.01


def test_regularisation_holds_noise_down():
    acquisition, x, _ = scanned(48, 4, every(4, 48), noise=0.02)
    plain = solve(acquisition.samples, acquisition.operator, iterations=60)
    held = solve(acquisition.samples, acquisition.operator, iterations=60, regularisation=0.02)
    assert error(held, x) < 0.9 * error(plain, x)


def test_noise_grows_as_the_g_factor_says():
    """Two coils, R = 2: the noise of SENSE is sqrt of the diagonal of (S^H S)^-1 per fold."""
    grid = Grid.from_spacing((1, 16, 16), (5, 1, 1))
    maps = coil_maps(3, grid)
    scan = CartesianScan(grid, sensitivities=maps, mask=every(2, 16))
    rng = np.random.default_rng(1)
    count = 300
    total = np.zeros((16, 16))
    for _ in range(count):
        y = (rng.normal(size=scan.range) + 1j * rng.normal(size=scan.range)) / np.sqrt(2)
        total += np.abs(solve(y.astype(np.complex64), scan, iterations=40)[0]) ** 2
    measured = np.sqrt(total / count)
    expected = np.empty((16, 16))
    for yy in range(16):
        for xx in range(16):
            pair = maps[:, 0, [yy, (yy + 8) % 16], xx]
            inverse = np.linalg.inv(pair.conj().T @ pair)
            expected[yy, xx] = np.sqrt(2 * inverse[0, 0].real)
    assert np.median(np.abs(measured / expected - 1)) < 0.06
    assert abs((measured / expected).mean() - 1) < 0.02


def test_progress_and_cancel():
    acquisition, _, _ = scanned(32, 4, every(2, 32))
    said: list[float] = []
    sense(acquisition, progress=Progress(lambda f, _: said.append(f)))
    assert said
    assert said == sorted(said)
    with pytest.raises(Cancelled):
        sense(acquisition, progress=Progress(None, lambda: True))


@pytest.mark.parametrize("name", ["espirit", "sense", "l1wavelet", "tv"])
def test_promises_of_an_operation(name: str):
    acquisition, _, _ = scanned(32, 3, known=False)
    check_operation(f"acquire.mri.{name}", inputs=(acquisition,))


def test_what_is_not_mri_is_refused():
    from somascope.acquire.operators import Identity

    other = Acquisition(np.ones((2, 3), complex), Identity((2, 3)), "CT")
    with pytest.raises(ParameterError, match="takes raw MRI data"):
        sense(other)
    with pytest.raises(ParameterError, match="no coil sensitivities"):
        normal_operator(CartesianScan(GRID, coils=2))
