"""The general linear model of a run: ordinary least squares, and AR(1) noise in bins.

``y = X b + e``. With AR(1) noise every voxel's residuals of the ordinary fit give its lag-one
correlation (Yule and Walker), which is cut to bins of 0.01; per bin the design is whitened
(``x_t - rho x_{t-1}``, the first row as it is) and the fit done again: the procedure of nilearn and
nipy, whose values these are to single precision. The whitened sums are combinations of the sums
of one pass (`sums`), so no voxel is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from somascope.acquire.fmri.design import Design, check
from somascope.acquire.fmri.sums import Sums, sums
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

Noise: TypeAlias = Literal["ols", "ar1", "ar1_plain"]
"""``ar1`` takes the bias off that fitting brings into the correlation of residuals (after Worsley
et al., NeuroImage 15 (2002) 1-15, appendix A.3) and draws uncertain values towards the mean of
the head; ``ar1_plain`` does neither, as nilearn, and finds more in noise than it should."""
BINS = 100


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model of ``v`` voxels.

    Parameters
    ----------
    beta
        ``(p, v)`` float32 in the order of the design's columns; 0 outside the mask.
    variance
        Of the (whitened) residuals, ``(v,)``.
    covariances
        ``(bins, p, p)``: ``(X'X)^-1`` of each whitened design.
    bins
        Which of them a voxel has, ``(v,)`` int; -1 outside the mask.
    rho
        Lag-one correlation of each bin.
    dof
        Degrees of freedom of the residuals.
    mean
        Temporal mean ``(v,)``.
    """

    design: Design
    beta: Array
    variance: Array
    covariances: Float
    bins: Array
    rho: Float
    dof: int
    mean: Array


def fit(y: Array, design: Design, *, mask: Array, noise: Noise = "ar1") -> Fit:
    """Fit ``y`` ``(scans, v)`` where ``mask`` ``(v,)`` is true.

    Raises
    ------
    ParameterError
        Another number of scans than the design has, a design that cannot be estimated.
    """
    check(design)
    scans = design.matrix.shape[0]
    if y.shape[0] != scans:
        raise ParameterError(
            f"the run has {y.shape[0]} scans and the design {scans} rows; make the design for it"
        )
    if not _has_constant(design.matrix):
        raise ParameterError(
            f"the design ({', '.join(design.names)}) holds no constant; add a column of ones"
        )
    q, r = np.linalg.qr(design.matrix)
    found = sums(y, q, mask=mask, neighbours=noise != "ols")
    if noise == "ols":
        return _ordinary(design, q, r, found, mask)
    return _autoregressive(design, q, r, found, mask, unbiased=noise == "ar1")


def _has_constant(matrix: Float) -> bool:
    ones = np.ones(len(matrix))
    fitted = matrix @ np.linalg.lstsq(matrix, ones, rcond=None)[0]
    return bool(np.abs(fitted - ones).max() < 1e-6)


def _unproject(r: Float, q: Float, of_q: Array, mean: Array) -> Array:
    """Coefficients of the design from those of its basis, the mean put back."""
    whole = np.linalg.solve(r, q.T @ np.ones(len(q)))
    inverse = np.linalg.inv(r).astype(np.float32)
    return inverse @ of_q + whole.astype(np.float32)[:, None] * mean


def _ordinary(design: Design, q: Float, r: Float, found: Sums, mask: Array) -> Fit:
    scans, p = design.matrix.shape
    dof = scans - p
    left = found.square - np.einsum("pv,pv->v", found.projected, found.projected)
    inverse = np.linalg.inv(r)
    beta = _unproject(r, q, found.projected, found.mean)
    beta *= mask
    return Fit(
        design=design, beta=beta, variance=np.maximum(left, 0) / np.float32(dof) * mask,
        covariances=(inverse @ inverse.T)[None], bins=np.where(mask, 0, -1).astype(np.int32),
        rho=np.zeros(1), dof=dof, mean=found.mean,
    )  # fmt: skip


def _autoregressive(
    design: Design, q: Float, r: Float, found: Sums, mask: Array, *, unbiased: bool
) -> Fit:
    scans, p = q.shape
    dof = scans - p
    z = found.projected
    own = np.maximum(found.square - np.einsum("pv,pv->v", z, z), 0)
    step = q[1:].T @ q[:-1]
    step = (0.5 * (step + step.T)).astype(np.float32)
    # sum of r_t r_(t-1) for r = y - Q z, from the sums alone.
    next_ = found.lagged - np.einsum("pv,pv->v", found.neighbours, z)
    next_ += np.einsum("pv,pv->v", z, step @ z)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(own > 0, next_ / own, 0.0)
    rho = ratio * (scans / (scans - 1))
    if unbiased:
        rho = _calmed(_unbiased(ratio, q), mask & (own > 0), dof)
    cut = np.rint if unbiased else np.trunc
    label = cut(np.clip(rho, -0.99, 0.99) * BINS).astype(np.int32)
    label[~mask] = np.iinfo(np.int32).max
    order = np.argsort(label, kind="stable")
    values, starts = np.unique(label[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    beta = np.zeros((p, mask.size), np.float32)
    variance = np.zeros(mask.size, np.float32)
    bins = np.full(mask.size, -1, np.int32)
    covariances: list[Float] = []
    kept: list[float] = []
    inverse_r = np.linalg.inv(r)
    for value, start, end in zip(values, starts, ends, strict=True):
        if value == np.iinfo(np.int32).max:
            continue
        a, chosen = value / BINS, order[start:end]
        of_q, left, inverse = _whitened(a, q, found, chosen)
        beta[:, chosen] = _unproject(r, q, of_q, found.mean[chosen])
        variance[chosen] = np.maximum(left, 0) / np.float32(dof)
        bins[chosen] = len(kept)
        kept.append(a)
        covariances.append(inverse_r @ inverse @ inverse_r.T)
    return Fit(
        design=design, beta=beta, variance=variance,
        covariances=np.stack(covariances) if covariances else np.zeros((0, p, p)), bins=bins,
        rho=np.array(kept), dof=dof, mean=found.mean,
    )  # fmt: skip


def _calmed(rho: Array, chosen: Array, dof: int) -> Array:
    """Correlations drawn towards their mean by the share of their spread that is chance.

    The empirical Bayes estimate of Efron and Morris (J. Am. Stat. Assoc. 70 (1975) 311-319) with
    the sampling variance ``(1 - rho^2) / dof``.
    """
    if chosen.sum() < 100:
        return rho
    mean, spread = float(rho[chosen].mean()), float(rho[chosen].var())
    chance = (1 - mean * mean) / dof
    kept = max(0.0, 1 - chance / spread) if spread > 0 else 0.0
    return mean + kept * (rho - mean)


def _unbiased(ratio: Array, q: Float) -> Array:
    """The correlation of the noise whose residuals are expected to have the lag-one ``ratio``.

    With ``R = 1 - QQ'`` and ``V`` the correlations of an AR(1) process, the sums have the means
    ``tr(R L R V)`` and ``tr(R V)``; their quotient is tabulated over rho and read backwards.
    """
    n = len(q)
    left = np.eye(n) - q @ q.T
    lagged = np.zeros((n, n))
    lagged[1:] = left[:-1]
    lagged = left @ lagged
    offsets = np.arange(-n + 1, n)
    over = np.array([np.trace(lagged, k) for k in offsets])
    under = np.array([np.trace(left, k) for k in offsets])
    rho = np.linspace(-0.99, 0.99, 199)
    powers = np.sign(rho)[:, None] ** np.abs(offsets) * np.abs(rho)[:, None] ** np.abs(offsets)
    expected = (powers @ over) / (powers @ under)
    rising = np.maximum.accumulate(expected)
    keep = np.concatenate([[True], np.diff(rising) > 1e-9])
    return np.interp(ratio, rising[keep], rho[keep])


def _whitened(a: float, q: Float, found: Sums, chosen: Array) -> tuple[Array, Array, Float]:
    """Basis coefficients, residual sum of squares and ``(Qw'Qw)^-1`` at correlation ``a``."""
    white = q.copy()
    white[1:] -= a * q[:-1]
    inverse = np.linalg.inv(white.T @ white)
    one, square = np.float32(a), np.float32(a * a)
    z, last = found.projected[:, chosen], found.ends[1, chosen]
    right = (1 + square) * z - one * found.neighbours[:, chosen]
    right -= square * q[-1].astype(np.float32)[:, None] * last
    total = (1 + square) * found.square[chosen] - 2 * one * found.lagged[chosen]
    total -= square * last * last
    of_q = inverse.astype(np.float32) @ right
    return of_q, total - np.einsum("pv,pv->v", right, of_q), inverse.astype(np.float64)
