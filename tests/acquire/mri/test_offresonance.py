"""Off-resonance: the model against the exact sum, and the blurring it takes away."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.offresonance import OffResonanceScan, offresonance
from somascope.acquire.mri.sense import sense
from somascope.core import Acquisition, Grid, Image, Scan
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.registry import build_operator
from somascope.testing import check_operator
from tests.acquire.mri.head import coil_maps, error, head

GRID = Grid.from_spacing((1, 16, 12), (5, 1, 1))


def spiral(n: int, arms: int, readout: int) -> np.ndarray:
    s = np.linspace(0, 1, readout)
    turns = 2 * np.pi * (np.arange(arms)[:, None] / arms + n / 2 / arms * s)
    return n / 2 * s[None, :, None] * np.stack([np.sin(turns), np.cos(turns)], -1)


def field_of(grid: Grid, peak: float) -> np.ndarray:
    y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.shape[1:]], indexing="ij")
    return (peak * (np.exp(-3 * (x**2 + (y - 0.3) ** 2)) - 0.3 * y))[None]


def test_the_segments_are_the_exact_sum():
    path = np.random.default_rng(2).uniform(-5, 5, (3, 40, 2))
    times = np.linspace(0.002, 0.022, 40)
    field = field_of(GRID, 80.0)
    scan = OffResonanceScan(GRID, trajectory=path, field=field, times=times, tolerance=1e-8)
    assert isinstance(scan, Scan)
    rng = np.random.default_rng(3)
    x = rng.normal(size=GRID.shape) + 1j * rng.normal(size=GRID.shape)
    at = np.stack(np.meshgrid(np.arange(16) - 8, np.arange(12) - 6, indexing="ij"), -1)
    turns = path.reshape(-1, 2) @ (at.reshape(-1, 2) / (16, 12)).T
    when = np.tile(times, 3)[:, None] * field.ravel()[None]
    truth = np.exp(2j * np.pi * (when - turns)) @ x.ravel() / np.sqrt(16 * 12)
    assert error(scan.forward(x).ravel(), truth) < 2e-3
    check_operator(scan, domain_dtype="complex64", range_dtype="complex64", tolerance=1e-5)
    again = build_operator("mri.offresonance", scan.describe())
    assert np.allclose(again.forward(x), scan.forward(x))


@pytest.fixture(scope="module")
def blurred() -> tuple[Acquisition, np.ndarray, Image]:
    x, grid = head(48)
    maps = coil_maps(6, grid)
    path = spiral(48, 12, 600)
    field = field_of(grid, 150.0)
    times = np.linspace(0, 0.02, 600)
    model = OffResonanceScan(
        grid, trajectory=path, field=field, times=times, sensitivities=maps, segments=14
    )
    scan = NonCartesianScan(grid, trajectory=path, sensitivities=maps)
    acquisition = Acquisition(
        model.forward(x).astype(np.complex64), scan, "MR", calibration={"times": times}
    )
    return acquisition, x, Image(field.astype(np.float32), grid, "MR", "Hz")


def test_the_field_map_takes_the_blurring_away(blurred):
    acquisition, x, field = blurred
    body = np.abs(x) > 0.05
    plain = np.abs(sense(acquisition, iterations=15).data)
    right = offresonance(acquisition, field, iterations=25)
    by_number = offresonance(acquisition, field, duration=20.0, iterations=25)
    assert error(right.data[body], np.abs(x)[body]) < 0.12
    assert error(right.data[body], np.abs(x)[body]) < 0.35 * error(plain[body], np.abs(x)[body])
    assert error(by_number.data, right.data) < 1e-4


def test_field_maps_that_do_not_fit_are_refused(blurred):
    acquisition, _, field = blurred
    with pytest.raises(UnitError, match="in Hz"):
        offresonance(acquisition, Image(field.data, field.grid, "MR", "1"))
    other = Grid.from_spacing((1, 48, 48), (1, 1, 1))
    with pytest.raises(GeometryError, match="resample it first"):
        offresonance(acquisition, Image(field.data, other, "MR", "Hz"))
    untimed = Acquisition(acquisition.samples, acquisition.operator, "MR")
    with pytest.raises(ParameterError, match="sample times"):
        offresonance(untimed, field)
    with pytest.raises(GeometryError, match="resample it"):
        OffResonanceScan(GRID, trajectory=np.zeros((3, 2)), field=np.zeros((1, 4, 4)), times=0.0)
