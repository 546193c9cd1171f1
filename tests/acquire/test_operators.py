"""The algebra of operators against dense matrices, NumPy and PyWavelets."""

from __future__ import annotations

import numpy as np
import pytest
import pywt

from somascope.acquire.operators import (
    FFT,
    Adjoint,
    Compose,
    Diagonal,
    Gradient,
    Identity,
    Scale,
    Stack,
    Sum,
    Wavelet,
    norm,
)
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operator


class Dense:
    """A matrix as an operator."""

    def __init__(self, matrix):
        self.matrix = np.asarray(matrix)
        self.range, self.domain = (self.matrix.shape[0],), (self.matrix.shape[1],)

    def forward(self, x):
        return (self.matrix @ x).astype(np.result_type(self.matrix, x), copy=False)

    def adjoint(self, y):
        return self.matrix.conj().T @ y


def dense(m, n, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(m, n))
    if np.dtype(dtype).kind == "c":
        a = a + 1j * rng.normal(size=(m, n))
    return Dense(a.astype(dtype))


A, B = dense(5, 4), dense(5, 4, seed=1)
REAL = {
    "identity": Identity((3, 4)),
    "diagonal": Diagonal(np.arange(1, 5, dtype=np.float32), (3, 4)),
    "maps": Diagonal(np.arange(24, dtype=np.float32).reshape(2, 3, 4), (3, 4)),
    "column": Diagonal(np.arange(1, 5, dtype=np.float32), (3, 1)),
    "adjoint": Adjoint(A),
    "compose": Compose(Adjoint(B), A),
    "sum": Sum(A, B),
    "scale": Scale(A, -2.5),
    "stack": Stack(A, B),
    "gradient": Gradient((3, 5, 6), ndim=2, spacing=(2.0, 0.5)),
    "gradient3": Gradient((3, 5, 6)),
    "haar": Wavelet((3, 9, 12), wavelet="haar", levels=2),
    "db4": Wavelet((2, 40, 64), wavelet="db4", levels=3),
    "sym4": Wavelet((1, 32, 33), wavelet="sym4", ndim=3),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("name", REAL)
def test_adjoint_linear_and_precision(name, dtype):
    operator = REAL[name]
    check_operator(operator, domain_dtype=dtype, range_dtype=dtype)
    if name not in ("adjoint", "compose", "sum", "scale", "stack"):
        assert operator.forward(np.ones(operator.domain, dtype)).dtype == np.dtype(dtype)
        assert operator.adjoint(np.ones(operator.range, dtype)).dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    "operator",
    [
        Diagonal((np.arange(6) * 1j + 1).reshape(2, 3), (3,)),
        Scale(dense(5, 4, "complex64"), 1 - 2j),
        FFT((3, 4, 7)),
        FFT((5, 6), centred=False),
        FFT((4, 6, 2), ndim=3),
    ],
)
def test_complex_operators(operator):
    check_operator(operator, domain_dtype="complex64", range_dtype="complex64")


def test_products_are_those_of_the_matrices():
    x = np.array([1.0, -2, 3, 0.5], np.float32)
    a, b = A.matrix, B.matrix
    np.testing.assert_allclose(
        Compose(Adjoint(B), A).forward(x), b.T @ (a @ x), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(Sum(A, B).forward(x), (a + b) @ x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(Stack(A, B).forward(x), [a @ x, b @ x], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(Scale(A, -2.5).forward(x), -2.5 * (a @ x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (6, 9)])
def test_centred_fft_has_its_origin_in_the_middle(shape):
    x = np.random.default_rng(0).normal(size=shape)
    truth = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(x), norm="ortho"))
    np.testing.assert_allclose(FFT(shape).forward(x), truth, atol=1e-12)
    assert FFT(shape).forward(x.astype(np.float32)).dtype == np.complex64


@pytest.mark.parametrize("name", ["haar", "db2", "db3", "db4", "sym4"])
def test_wavelets_are_pywavelets_periodic_ones(name):
    x = np.random.default_rng(0).normal(size=(64, 96))
    a, (h, v, d) = pywt.dwt2(x, name, mode="periodization")
    y = Wavelet(x.shape, wavelet=name, levels=1).forward(x)
    np.testing.assert_allclose(y, np.block([[a, v], [h, d]]), atol=1e-12)


def test_wavelet_is_an_isometry_for_any_size():
    x = np.random.default_rng(0).normal(size=(37, 50)).astype(np.complex64)
    w = Wavelet(x.shape, levels=3)
    np.testing.assert_allclose(w.adjoint(w.forward(x)), x, atol=1e-5)
    assert np.linalg.norm(w.forward(x)) == pytest.approx(np.linalg.norm(x), rel=1e-5)


def test_gradient_of_a_ramp_is_its_slope():
    y, x = np.mgrid[:4, :5].astype(np.float32)
    g = Gradient((4, 5), spacing=(2.0, 0.5)).forward(3 * y + x)
    np.testing.assert_array_equal(g[0][:-1], 1.5)
    np.testing.assert_array_equal(g[1][:, :-1], 2.0)
    assert not g[0][-1].any()
    assert not g[1][:, -1].any()


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_norm_is_the_largest_singular_value(dtype):
    a = dense(30, 20, dtype)
    truth = np.linalg.svd(a.matrix, compute_uv=False)[0]
    assert norm(a, iterations=300, tolerance=0, dtype=dtype) == pytest.approx(truth, rel=1e-3)


def test_misfits_are_named():
    with pytest.raises(GeometryError, match=r"gives \(5,\) but Dense takes \(4,\)"):
        Compose(A, B)
    with pytest.raises(GeometryError, match="all must map"):
        Sum(A, Identity((4,)))
    with pytest.raises(GeometryError, match="all must map"):
        Stack(A, Identity((4,)))
    with pytest.raises(GeometryError, match=r"was given shape \(3,\); it takes \(3, 4\)"):
        Identity((3, 4)).forward(np.zeros(3))
    with pytest.raises(GeometryError, match="broadcast"):
        Diagonal(np.ones(3), (4,)).range  # noqa: B018
    with pytest.raises(ParameterError, match="not orthogonal"):
        Wavelet((8, 8), wavelet="bior2.2")
    with pytest.raises(ParameterError, match="not known"):
        Wavelet((8, 8), wavelet="db99")
    for empty in (Compose, Sum, Stack):
        with pytest.raises(ParameterError, match="at least one"):
            empty()
