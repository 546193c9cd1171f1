from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.nufft import NUFFT, Toeplitz
from somascope.core.errors import GeometryError
from somascope.testing import check_operator


def direct(points: np.ndarray, shape: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    axes = [np.arange(n) - n // 2 for n in shape]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
    phase = points.reshape(-1, len(shape)) @ (lattice / np.array(shape)).T
    return (np.exp(-2j * np.pi * phase) @ x.ravel()).reshape(points.shape[:-1])


@pytest.mark.parametrize("shape", [(12, 15), (16, 10), (6, 8, 7)])
def test_it_is_the_sum_of_its_definition(shape: tuple[int, ...]):
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.5, 0.5, (5, 30, len(shape))) * np.array(shape)
    x = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    truth = direct(points, shape, x)
    op = NUFFT(points, shape, tolerance=1e-10)
    assert np.abs(op.forward(x) - truth).max() < 1e-8 * np.abs(truth).max()
    single = NUFFT(points, shape, tolerance=1e-4).forward(x.astype(np.complex64))
    assert single.dtype == np.complex64
    assert np.linalg.norm(single - truth) < 2e-4 * np.linalg.norm(truth)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_it_is_an_operator(dtype: str):
    rng = np.random.default_rng(2)
    points = rng.uniform(-8, 8, (7, 40, 2))
    check_operator(NUFFT(points, (16, 16)), domain_dtype=dtype, range_dtype=dtype, tolerance=1e-5)
    check_operator(Toeplitz(points, (16, 16), dtype=dtype), domain_dtype=dtype,
                   range_dtype=dtype, tolerance=1e-5)  # fmt: skip


def test_batches_are_their_parts():
    rng = np.random.default_rng(3)
    op = NUFFT(rng.uniform(-8, 8, (50, 2)), (16, 16), tolerance=1e-8)
    x = rng.normal(size=(2, 3, 16, 16)) + 0j
    y = op.forward(x)
    assert y.shape == (2, 3, 50)
    assert np.allclose(y[1, 2], op.forward(x[1, 2]), rtol=1e-9)


@pytest.mark.parametrize("shape", [(16, 13), (6, 8, 7)])
def test_toeplitz_is_the_normal_operator(shape: tuple[int, ...]):
    rng = np.random.default_rng(4)
    points = rng.uniform(-0.5, 0.5, (300, len(shape))) * np.array(shape)
    weights = rng.uniform(0, 1, 300)
    op = NUFFT(points, shape, tolerance=1e-10)
    x = rng.normal(size=(2, *shape)) + 1j * rng.normal(size=(2, *shape))
    truth = op.adjoint(weights * op.forward(x))
    fast = Toeplitz(points, shape, weights=weights, dtype="complex128", tolerance=1e-10)
    assert np.linalg.norm(fast.forward(x) - truth) < 1e-8 * np.linalg.norm(truth)
    kept = x.copy()
    fast.forward(x)
    assert np.array_equal(x, kept)


def test_bad_points_are_named():
    with pytest.raises(GeometryError, match="reaches 9 cycles/FOV"):
        NUFFT(np.array([[0.0, 9.0]]), (16, 16))
    with pytest.raises(GeometryError, match="1 points that are not finite"):
        NUFFT(np.array([[0.0, np.nan], [0, 0]]), (16, 16))
    with pytest.raises(GeometryError, match="one coordinate per image axis"):
        NUFFT(np.zeros((4, 3)), (16, 16))
    with pytest.raises(GeometryError, match="one per point"):
        Toeplitz(np.zeros((4, 2)), (16, 16), weights=np.ones(3))
    with pytest.raises(GeometryError, match=r"give \(\.\.\., \(16, 16\)\)"):
        NUFFT(np.zeros((4, 2)), (16, 16)).forward(np.zeros((8, 16)))
