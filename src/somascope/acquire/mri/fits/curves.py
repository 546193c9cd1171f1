"""Least squares of small curves, a voxel at a time, compiled.

Voxels are rows of ``(voxels, points)``. Every fit gives parameters and the root of the mean squared
residual; voxels without enough signal give zeros.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from somascope.core.grid import Array


@njit(cache=True, fastmath=True, error_model="numpy")
def _solve3(a: Array, b: Array, n: int) -> bool:
    """Solve the symmetric n x n system in place by Cholesky; false where it is not positive."""
    for i in range(n):
        for j in range(i + 1):
            s = a[i, j]
            for k in range(j):
                s -= a[i, k] * a[j, k]
            if i == j:
                if s <= 1e-30:
                    return False
                a[i, i] = math.sqrt(s)
            else:
                a[i, j] = s / a[j, j]
    for i in range(n):
        for k in range(i):
            b[i] -= a[i, k] * b[k]
        b[i] /= a[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= a[k, i] * b[k]
        b[i] /= a[i, i]
    return True


@njit(cache=True, fastmath=True, error_model="numpy")
def _model(kind: int, p: Array, x: float, slope: Array) -> float:
    """Value at ``x`` and derivatives: ``a exp(-r x)`` (0), plus a constant (1), ``a - b e`` (2)."""
    if kind == 2:
        e = math.exp(-min(p[2] * x, 80.0))
        slope[0] = 1.0
        slope[1] = -e
        slope[2] = p[1] * x * e
        return p[0] - p[1] * e
    e = math.exp(-min(p[1] * x, 80.0))
    slope[0] = e
    slope[1] = -p[0] * x * e
    if kind == 1:
        slope[2] = 1.0
        return p[0] * e + p[2]
    return p[0] * e


@njit(parallel=True, cache=True, fastmath=True, error_model="numpy")
def levenberg(
    kind: int, x: Array, y: Array, start: Array, iterations: int, rate: int, out: Array
) -> None:
    """Levenberg and Marquardt from ``start``, written to ``out`` (voxels, parameters + 1).

    The last column is the residual's root mean square; parameter ``rate`` stays positive.
    """
    count, points = y.shape
    n = start.shape[1]
    for v in prange(count):
        p = start[v].copy()
        trial = np.empty(n)
        slope = np.empty(n)
        gram = np.empty((n, n))
        damped = np.empty((n, n))
        right = np.empty(n)
        step = np.empty(n)
        cost = 0.0
        for i in range(points):
            r = y[v, i] - _model(kind, p, x[i], slope)
            cost += r * r
        damping = 1e-3
        for _ in range(iterations):
            gram[:] = 0.0
            right[:] = 0.0
            for i in range(points):
                r = y[v, i] - _model(kind, p, x[i], slope)
                for j in range(n):
                    right[j] += slope[j] * r
                    for k in range(j + 1):
                        gram[j, k] += slope[j] * slope[k]
            better = False
            for _ in range(6):
                for j in range(n):
                    step[j] = right[j]
                    for k in range(j + 1):
                        damped[j, k] = gram[j, k]
                    damped[j, j] += damping * gram[j, j] + 1e-30
                if not _solve3(damped, step, n):
                    damping *= 10.0
                    continue
                for j in range(n):
                    trial[j] = p[j] + step[j]
                if trial[rate] <= 0.0:
                    trial[rate] = 0.5 * p[rate]
                new = 0.0
                for i in range(points):
                    r = y[v, i] - _model(kind, trial, x[i], slope)
                    new += r * r
                if new < cost:
                    better = cost - new > 1e-10 * cost
                    cost = new
                    for j in range(n):
                        p[j] = trial[j]
                    damping = max(damping * 0.2, 1e-9)
                    break
                damping *= 10.0
            if not better:
                break
        for j in range(n):
            out[v, j] = p[j]
        out[v, n] = math.sqrt(cost / points)


def log_linear(x: Array, y: Array) -> Array:
    """``a, r`` of ``a exp(-r x)`` from weighted logarithms (weights y^2), ``(voxels, 2)``.

    The weights make it the first step of the least squares of the curve itself.
    """
    tiny = max(float(y.max()), 1e-30) * 1e-6
    positive = np.maximum(y, tiny)
    weight, value = positive**2, np.log(positive)
    s0, s1, s2 = weight.sum(1), weight @ x, weight @ x**2
    t0, t1 = (weight * value).sum(1), (weight * value) @ x
    determinant = np.maximum(s0 * s2 - s1 * s1, 1e-30)
    slope = (s0 * t1 - s1 * t0) / determinant
    constant = (s2 * t0 - s1 * t1) / determinant
    return np.stack([np.exp(np.clip(constant, -80, 80)), -slope], axis=1)


def decay(x: Array, y: Array, *, offset: bool = False) -> Array:
    """Parameters of ``a exp(-r x) [+ c]``: columns a, r, [c,] residual; float64."""
    start = log_linear(x, y)
    span = float(np.ptp(x))
    start[:, 1] = np.clip(start[:, 1], 0.01 / span, 20 / span)
    if offset:
        floor = 0.5 * y.min(axis=1, keepdims=True)
        start = np.concatenate([start, floor], axis=1)
        start[:, 0] -= floor[:, 0]
    out = np.empty((len(y), start.shape[1] + 1))
    x, y = _doubles(x), _doubles(y)
    levenberg(1 if offset else 0, x, y, np.ascontiguousarray(start), 30, 1, out)
    return out


def recovery_start(x: Array, y: Array) -> tuple[Array, Array]:
    """Start ``a, b, r`` of ``a - b exp(-r x)`` and its squared residual, from a table of rates.

    For a given rate the rest is linear: what of ``y`` the curve explains is its square product
    with the centred, normed exponential (variable projection; Barral et al. 2010).
    """
    rates = np.geomspace(0.1 / x.max(), 10 / max(x.min(), x.max() / 200), 96)
    curve = np.exp(-np.outer(x, rates))
    centred = curve - curve.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    mean = y.mean(axis=1, keepdims=True)
    product = (y - mean) @ (centred / norm)
    best = np.argmax(product**2, axis=1)
    gain = product[np.arange(len(y)), best]
    b = -gain / norm[best]
    start = np.stack([mean[:, 0] + b * curve.mean(axis=0)[best], b, rates[best]], axis=1)
    return start, ((y - mean) ** 2).sum(axis=1) - gain**2


def recovery(x: Array, y: Array) -> Array:
    """Parameters of ``a - b exp(-r x)``: columns a, b, r, residual; signed values in, float64."""
    x, y = _doubles(x), _doubles(y)
    start, _ = recovery_start(x, y)
    out = np.empty((len(y), 4))
    levenberg(2, x, y, start, 30, 2, out)
    return out


def _doubles(values: Array) -> Array:
    """In the one layout that is compiled for."""
    return np.ascontiguousarray(values, np.float64)
