"""Cartesian and non-Cartesian scans against their definitions and each other."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.core import Grid, Scan
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.registry import build_operator
from somascope.testing import check_operator

PLANE = Grid.from_spacing((1, 12, 14), (5, 1, 1))
SMALL = Grid.from_spacing((1, 12, 10), (5, 1, 1))
VOLUME = Grid.from_spacing((6, 8, 10), (2, 1, 1))


def maps(coils: int, grid: Grid) -> np.ndarray:
    rng = np.random.default_rng(5)
    shape = (coils, *grid.shape)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def lattice(*shape: int) -> np.ndarray:
    axes = [np.arange(n) - n // 2 for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(float)


SCANS = {
    "plane": CartesianScan(PLANE, sensitivities=maps(3, PLANE)),
    "masked": CartesianScan(
        PLANE, sensitivities=maps(3, PLANE), mask=np.arange(12)[:, None] % 2 == 0
    ),
    "oversampled": CartesianScan(PLANE, coils=2, matrix=(1, 12, 28)),
    "slices": CartesianScan(VOLUME, sensitivities=maps(2, VOLUME), dimensions=2),
    "volume": CartesianScan(VOLUME, sensitivities=maps(2, VOLUME)),
    "echoes": CartesianScan(PLANE, sensitivities=maps(2, PLANE), leading={"echo": [5, 10, 15]}),
    "spiral": NonCartesianScan(
        PLANE, sensitivities=maps(3, PLANE),
        trajectory=np.random.default_rng(1).uniform(-6, 6, (4, 25, 2)),
    ),
    "coils in lanes": NonCartesianScan(
        SMALL, sensitivities=maps(5, SMALL),
        trajectory=np.random.default_rng(1).uniform(-5, 5, (4, 25, 2)),
    ),
    "two groups of coils in lanes": NonCartesianScan(
        SMALL, sensitivities=maps(9, SMALL), leading={"t": [0, 1]},
        trajectory=np.random.default_rng(1).uniform(-5, 5, (4, 25, 2)),
    ),
    "slices along a spiral": NonCartesianScan(
        VOLUME, coils=2, trajectory=np.random.default_rng(1).uniform(-4, 4, (4, 25, 2)),
        leading={"t": [0, 1]},
    ),
    "volume along a path": NonCartesianScan(
        VOLUME, sensitivities=maps(2, VOLUME),
        trajectory=np.random.default_rng(1).uniform(-3, 3, (90, 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", SCANS)
def test_every_scan_is_an_operator(name: str, dtype: str):
    scan = SCANS[name]
    assert isinstance(scan, Scan)
    check_operator(scan, domain_dtype=dtype, range_dtype=dtype, tolerance=1e-5)


@pytest.mark.parametrize("name", SCANS)
def test_a_description_makes_an_equal_scan(name: str):
    scan = SCANS[name]
    again = build_operator(scan.kind, scan.describe())
    x = np.random.default_rng(2).normal(size=scan.domain).astype(np.complex64)
    assert again.range == scan.range
    assert np.allclose(again.forward(x), scan.forward(x), atol=1e-6)


@pytest.mark.parametrize("grid", [PLANE, VOLUME])
def test_both_scans_agree_on_the_lattice(grid: Grid):
    d = 2 if grid is PLANE else 3
    sensitivities = maps(2, grid)
    x = np.random.default_rng(3).normal(size=grid.shape) + 0j
    ours = CartesianScan(grid, sensitivities=sensitivities).forward(x)
    shape = grid.shape[-d:]
    path = NonCartesianScan(
        grid, sensitivities=sensitivities, trajectory=lattice(*shape), tolerance=1e-10
    ).forward(x)
    assert np.allclose(path.reshape(ours.shape), ours, atol=1e-7)


def test_the_transform_is_unitary_and_centred():
    scan = CartesianScan(PLANE)
    x = np.zeros(PLANE.shape, np.complex64)
    x[0, 6, 7] = 1  # the centre, n // 2
    y = scan.forward(x)
    assert np.allclose(y, 1 / np.sqrt(12 * 14), atol=1e-6)
    assert np.allclose(scan.adjoint(y), x, atol=1e-6)


def test_oversampling_is_a_larger_field():
    wide = CartesianScan(PLANE, matrix=(1, 12, 28))
    x = np.random.default_rng(3).normal(size=PLANE.shape).astype(np.complex64)
    plain = CartesianScan(PLANE).forward(x)
    assert np.allclose(wide.forward(x)[..., ::2] * np.sqrt(2), plain, atol=1e-5)
    assert np.allclose(wide.adjoint(wide.forward(x)), x, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mask": np.zeros((12, 14), bool)}, "mask is empty"),
        ({"mask": np.ones((12, 13), bool)}, r"shape \(12, 13\)"),
        ({"mask": np.full((12, 14), 0.5)}, "other values than 0 and 1"),
        ({"matrix": (1, 12, 7)}, "does not hold the image"),
        ({"sensitivities": np.ones((2, 1, 12, 13))}, r"for an image of \(1, 12, 14\)"),
        ({"sensitivities": np.full((2, 1, 12, 14), np.nan)}, "not finite"),
        ({"sensitivities": np.ones((2, 1, 12, 14)), "coils": 3}, "of 2 coils but the scan has 3"),
    ],
)
def test_bad_cartesian_scans_are_refused(arguments: dict, words: str):
    with pytest.raises(GeometryError, match=words):
        CartesianScan(PLANE, **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trajectory": np.full((3, 2), 20.0)}, "20 cycles/FOV"),
        ({"trajectory": np.full((3, 2), np.nan)}, "not finite"),
        ({"trajectory": np.zeros((3, 4))}, r"\(\.\.\., 2\)"),
        ({"trajectory": np.zeros((3, 2)), "density": np.ones(4)}, "one weight per sample"),
        ({"trajectory": np.zeros((3, 2)), "density": -np.ones(3)}, "negative"),
    ],
)
def test_bad_trajectories_are_refused(arguments: dict, words: str):
    with pytest.raises(GeometryError, match=words):
        NonCartesianScan(PLANE, **arguments)


def test_leading_axes_need_a_name_and_values():
    with pytest.raises(ParameterError, match="one number per repetition"):
        CartesianScan(PLANE, leading={"echo": []})


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-5])
def test_coils_in_lanes_keep_the_tolerance(tolerance: float):
    grid = Grid.from_spacing((1, 40, 36), (5, 1, 1))
    path = np.random.default_rng(4).uniform(-1, 1, (900, 2)) * (20, 18)
    path[:3] = (-20, 18), (20, -18), (0, 0)  # corners of the band
    sensitivities = maps(6, grid)
    fast = NonCartesianScan(grid, sensitivities=sensitivities, trajectory=path, tolerance=tolerance)
    exact = NonCartesianScan(grid, sensitivities=sensitivities, trajectory=path, tolerance=1e-12)
    assert fast.lanes is not None
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(1, 40, 36)) + 1j * rng.normal(size=(1, 40, 36))).astype(np.complex64)
    truth = exact.forward(x.astype(complex))
    y = fast.forward(x)
    assert np.linalg.norm(y - truth) < tolerance * np.linalg.norm(truth)
    back = exact.adjoint(truth)
    found = fast.adjoint(truth.astype(np.complex64))
    assert np.linalg.norm(found - back) < tolerance * np.linalg.norm(back)
