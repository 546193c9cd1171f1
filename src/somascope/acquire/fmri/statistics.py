"""From a fitted model to t, F and z."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from somascope.acquire.fmri.model import Fit
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

LARGEST_Z = 37.0
"""Where the tail of the normal distribution leaves double precision."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a contrast says, each ``(v,)`` float32 and 0 outside the mask.

    ``effect`` is ``c'b`` (of an F contrast: the root of the sum of squares its rows explain per
    row), ``error`` its standard error (of an F contrast: the residual standard deviation).
    """

    effect: Array
    error: Array
    statistic: Array
    z: Array
    kind: str
    dof: tuple[int, int]


def evaluate(fit: Fit, weights: Float) -> Answer:
    """T where ``weights`` ``(rows, columns)`` has one row, F where it has several."""
    weights = np.atleast_2d(np.asarray(weights, np.float64))
    if weights.shape[1] != fit.design.matrix.shape[1]:
        raise ParameterError(
            f"the contrast has {weights.shape[1]} weights for {fit.design.matrix.shape[1]} columns "
            f"({', '.join(fit.design.names)})"
        )
    inside = fit.bins >= 0
    effects = weights.astype(np.float32) @ fit.beta
    spread = np.einsum("rp,bpq,sq->brs", weights, fit.covariances, weights)
    which = np.where(inside, fit.bins, 0)
    if len(weights) == 1:
        scale = spread[:, 0, 0].astype(np.float32)
        variance = fit.variance * (scale[which] if scale.size else 0)
        error = np.sqrt(variance)
        effect = effects[0]
        t = np.divide(effect, error, out=np.zeros_like(effect), where=error > 0)
        return Answer(effect, error, t, t_to_z(t, fit.dof), "t", (1, fit.dof))
    rows = len(weights)
    explained = np.zeros(effects.shape[1], np.float32)
    for number, matrix in enumerate(spread):
        chosen = np.flatnonzero(fit.bins == number)
        part = effects[:, chosen]
        explained[chosen] = np.einsum(
            "rv,rv->v", part, np.linalg.inv(matrix).astype(np.float32) @ part
        )
    explained /= np.float32(rows)
    f = np.divide(explained, fit.variance, out=np.zeros_like(explained), where=fit.variance > 0)
    z = np.where(inside, f_to_z(f, rows, fit.dof), 0).astype(np.float32)
    return Answer(np.sqrt(explained), np.sqrt(fit.variance), f, z, "F", (rows, fit.dof))


def t_to_z(t: Array, dof: float) -> Array:
    """Z of equal tail probability, float32; exact to 1e-6, cut at +-37.

    The probabilities are evaluated on a grid of t and interpolated by cubics: a million voxels
    cost as much as one.
    """
    if t.size == 0:
        return np.zeros(t.shape, np.float32)
    top = float(np.abs(t).max()) * 1.001 + 1e-3
    u = np.linspace(0, np.arcsinh(top), 1025)
    z = _tail_t(np.sinh(u), dof)
    return np.sign(t) * _on_grid(np.arcsinh(np.abs(t)), u, z)


def f_to_z(f: Array, rows: float, dof: float) -> Array:
    """Z of equal upper tail probability of F, float32, cut at +-37."""
    from scipy import stats

    flat = np.asarray(f, np.float64).ravel()
    with np.errstate(divide="ignore"):
        upper = stats.norm.isf(np.maximum(stats.f.sf(flat, rows, dof), 1e-300))
        lower = stats.norm.ppf(np.maximum(stats.f.cdf(flat, rows, dof), 1e-300))
    z = np.where(flat > 1, upper, lower)
    return np.clip(z, -LARGEST_Z, LARGEST_Z).reshape(np.shape(f)).astype(np.float32)


def _tail_t(t: Float, dof: float) -> Float:
    from scipy import special

    x = dof / (dof + t * t)
    with np.errstate(divide="ignore"):
        log = np.log(0.5 * special.betainc(dof / 2, 0.5, x))
    # Below the smallest double: the first term of the incomplete beta's series.
    deep = dof / 2 * np.log(x) - np.log(dof) - special.betaln(dof / 2, 0.5)
    log = np.where(log > -650, log, deep)
    return np.minimum(-special.ndtri_exp(log), LARGEST_Z)


def _on_grid(at: Array, u: Float, values: Float) -> Array:
    from scipy.interpolate import CubicSpline

    capped = int(np.argmax(values >= LARGEST_Z)) if values[-1] >= LARGEST_Z else len(u)
    spline = CubicSpline(u[: capped + 1], values[: capped + 1])
    step = u[1] - u[0]
    out = np.empty(at.shape, np.float32)
    last = float(u[min(capped, len(u) - 1)])
    _cubics(at.ravel(), float(step), last, np.ascontiguousarray(spline.c.T), out.ravel())
    return out


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _cubics(at: Array, step: float, last: float, c: Float, out: Array) -> None:
    for i in range(at.size):
        x = min(np.float64(at[i]), last)
        k = min(int(x / step), len(c) - 1)
        d = x - k * step
        out[i] = min(((c[k, 0] * d + c[k, 1]) * d + c[k, 2]) * d + c[k, 3], LARGEST_Z)
