"""Solvers against the closed form: small dense matrices and numpy.linalg."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.operators import Adjoint, Compose, Diagonal, Gradient, Identity, Stack
from somascope.acquire.priors import L1, TV, NonNegative
from somascope.acquire.solvers import admm, cg, cgls, fista, lsqr, mlem, osem, pdhg
from somascope.core.errors import Cancelled, GeometryError, ParameterError
from somascope.core.progress import Progress
from tests.acquire.test_operators import Dense

KINDS = ("float32", "float64", "complex64")


def problem(dtype, m=12, n=7, seed=0):
    rng = np.random.default_rng(seed)
    a, y = rng.normal(size=(m, n)), rng.normal(size=m)
    if np.dtype(dtype).kind == "c":
        a, y = a + 1j * rng.normal(size=(m, n)), y + 1j * rng.normal(size=m)
    return Dense(a.astype(dtype)), y.astype(dtype)


def close(x, truth, dtype):
    assert x.dtype == np.dtype(dtype)
    tolerance = 1e-8 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(x, truth, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("solver", [cgls, lsqr])
def test_least_squares(solver, dtype):
    a, y = problem(dtype)
    truth = np.linalg.lstsq(a.matrix.astype(complex), y, rcond=None)[0]
    truth = truth if y.dtype.kind == "c" else truth.real
    found = solver(a, y, iterations=20)
    close(found.x, truth, dtype)
    residual = np.linalg.norm(a.matrix @ truth - y) / np.linalg.norm(y)
    assert found.residuals[-1] == pytest.approx(residual, rel=1e-3)
    again = solver(a, y, iterations=20, x0=truth.astype(dtype) + 1)
    close(again.x, truth, dtype)


@pytest.mark.parametrize("solver", [cgls, lsqr])
def test_damped_least_squares(solver):
    a, y = problem("float64")
    truth = np.linalg.solve(a.matrix.T @ a.matrix + 3 * np.eye(7), a.matrix.T @ y)
    close(solver(a, y, iterations=20, damping=3.0).x, truth, "float64")


@pytest.mark.parametrize("dtype", KINDS)
def test_cg_solves_normal_equations(dtype):
    a, y = problem(dtype)
    n = Compose(Adjoint(a), a)
    truth = np.linalg.solve(a.matrix.conj().T @ a.matrix, a.matrix.conj().T @ y)
    found = cg(n, a.adjoint(y), iterations=40, tolerance=1e-7)
    close(found.x, truth, dtype)
    assert found.stopped in ("tolerance", "exact")
    close(cg(n, a.adjoint(y), iterations=40, x0=truth + truth.dtype.type(1)).x, truth, dtype)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("solver", [fista, pdhg])
def test_without_prior_they_solve_least_squares(solver, dtype):
    a, y = problem(dtype)
    truth = np.linalg.pinv(a.matrix) @ y
    close(solver(a, y, iterations=3000, tolerance=1e-12).x, truth, dtype)


@pytest.mark.parametrize("dtype", KINDS)
def test_soft_threshold_is_the_lasso_of_the_identity(dtype):
    _, y = problem(dtype, m=12)
    size = np.abs(y)
    truth = y * np.maximum(1 - 0.5 / size, 0)
    a = Identity((12,))
    close(fista(a, y, prior=L1(0.5), iterations=200).x, truth, dtype)
    close(pdhg(a, y, prior=L1(0.5), iterations=200).x, truth, dtype)
    close(admm(a, y, prior=L1(0.5), iterations=400).x, truth, dtype)


def test_all_three_find_the_same_lasso():
    a, y = problem("float64", m=20, n=30, seed=3)
    f = fista(a, y, prior=L1(2.0), iterations=5000).x
    p = pdhg(a, y, terms=[(Identity((30,)), L1(2.0))], iterations=8000).x
    m = admm(a, y, prior=L1(2.0), iterations=3000, inner=20).x
    np.testing.assert_allclose(p, f, atol=1e-4)
    np.testing.assert_allclose(m, f, atol=1e-4)
    # Optimality: the gradient is -2 sign(x) where x is not zero, within [-2, 2] elsewhere.
    slope = a.matrix.T @ (a.matrix @ f - y)
    used = np.abs(f) > 1e-6
    assert used.sum() < 30
    np.testing.assert_allclose(slope[used], -2 * np.sign(f[used]), atol=1e-5)
    assert np.abs(slope).max() < 2 + 1e-5


def test_total_variation_by_four_ways():
    rng = np.random.default_rng(0)
    y = np.zeros((12, 14))
    y[3:9, 4:10] = 1
    y += 0.2 * rng.normal(size=y.shape)
    truth = TV(0.3, iterations=5000, tolerance=0).prox(y, 1.0)
    a, g = Identity(y.shape), Gradient(y.shape)
    np.testing.assert_allclose(fista(a, y, prior=TV(0.3, iterations=2000)).x, truth, atol=1e-3)
    by_dual = pdhg(a, y, terms=[(g, L1(0.3, axis=0))], iterations=3000).x
    np.testing.assert_allclose(by_dual, truth, atol=1e-3)
    split = admm(a, y, prior=L1(0.3, axis=0), transform=g, rho=1.0, iterations=400).x
    np.testing.assert_allclose(split, truth, atol=1e-3)


def test_weights_and_normal_operator():
    a, y = problem("float64")
    w = np.linspace(0.1, 2, 12)
    truth = np.linalg.solve((a.matrix.T * w) @ a.matrix, a.matrix.T @ (w * y))
    close(pdhg(a, y, weights=w, iterations=20000, tolerance=1e-14).x, truth, "float64")
    normal = Dense(a.matrix.T @ a.matrix)
    truth = np.linalg.pinv(a.matrix) @ y
    close(fista(a, y, normal=normal, iterations=3000).x, truth, "float64")


def test_constraint():
    a, y = problem("float64")
    x = fista(a, y, prior=NonNegative(), iterations=5000).x
    slope = a.matrix.T @ (a.matrix @ x - y)
    assert (x >= 0).all()
    assert (slope > -1e-6).all()  # Karush, Kuhn and Tucker
    assert abs(slope @ x) < 1e-6


def test_mlem_of_consistent_counts_finds_the_object_and_keeps_the_counts():
    rng = np.random.default_rng(0)
    a = Dense(rng.uniform(0.1, 1, size=(20, 5)))
    truth = rng.uniform(1, 5, 5)
    y = a.matrix @ truth
    found = mlem(a, y, iterations=5000)
    np.testing.assert_allclose(found.x, truth, rtol=2e-2)
    first = mlem(a, y, iterations=1).x
    assert (a.matrix @ first).sum() == pytest.approx(y.sum(), rel=1e-6)
    assert all(np.diff(found.residuals) <= 1e-12)
    two = osem([Dense(a.matrix[::2]), Dense(a.matrix[1::2])], [y[::2], y[1::2]], iterations=2500)
    np.testing.assert_allclose(two.x, truth, rtol=2e-2)
    more = mlem(a, y + 3, iterations=5000, background=3.0)
    np.testing.assert_allclose(more.x, truth, rtol=3e-2)


def test_stopping_callback_progress():
    a, y = problem("float64")
    seen = []
    found = cgls(a, y, iterations=20, callback=lambda i, x: seen.append(i) or i == 3)
    assert (found.stopped, found.iterations, seen) == ("callback", 3, [1, 2, 3])
    assert cgls(a, y, iterations=2).stopped == "iterations"
    assert cgls(a, y, iterations=100, tolerance=1e-9).stopped == "tolerance"
    assert lsqr(a, y, iterations=100, tolerance=1e-9).stopped == "tolerance"
    assert fista(a, y, iterations=9999, tolerance=1e-5).stopped == "tolerance"
    said = []
    fista(a, y, iterations=4, progress=Progress(lambda f, m: said.append((f, m))))
    assert said[-1] == (1.0, "fista 4/4")
    with pytest.raises(Cancelled):
        pdhg(a, y, progress=Progress(cancelled=lambda: True))


@pytest.mark.parametrize("solver", [cgls, lsqr, fista, pdhg, mlem])
def test_bad_input(solver):
    a, y = problem("float64")
    with pytest.raises(GeometryError, match=r"given shape \(11,\); it takes \(12,\)"):
        solver(a, y[1:])
    y = y.copy()
    y[3] = np.nan
    with pytest.raises(ParameterError, match="1 of 12 samples are NaN"):
        solver(a, y)
    with pytest.raises(ParameterError, match="at least 1"):
        solver(a, np.ones(12), iterations=0)


def test_bad_operators():
    a, y = problem("float64")
    with pytest.raises(GeometryError, match="take cgls"):
        cg(a, y)
    with pytest.raises(ParameterError, match="not positive"):
        cg(Diagonal(np.array([1.0, -1.0])), np.array([1.0, 2.0]))
    with pytest.raises(ParameterError, match="is zero"):
        fista(Diagonal(np.zeros(3)), np.ones(3))
    with pytest.raises(ParameterError, match="negative"):
        mlem(a, -np.abs(y))
    with pytest.raises(ParameterError, match="give one each"):
        osem([a], [y, y])
    assert cgls(Stack(a, a), np.zeros((2, 12))).stopped == "exact"
