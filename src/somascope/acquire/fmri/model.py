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
from somascope.acquire.fmri.whiten import lag_one, solve
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
        Temporal mean ``(v,)`` (with AR(1) that of the fitted values).
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


def _ordinary(design: Design, q: Float, r: Float, found: Sums, mask: Array) -> Fit:
    scans, p = design.matrix.shape
    dof = scans - p
    inverse = np.linalg.inv(r)
    whole = inverse @ (q.T @ np.ones(scans))
    left = found.square - np.einsum("pv,pv->v", found.projected, found.projected)
    beta = inverse.astype(np.float32) @ found.projected
    beta += whole.astype(np.float32)[:, None] * found.level
    if not mask.all():
        beta *= mask
        left *= mask
    return Fit(
        design=design, beta=beta, variance=np.maximum(left, 0) / np.float32(dof),
        covariances=(inverse @ inverse.T)[None], bins=np.where(mask, 0, -1).astype(np.int32),
        rho=np.zeros(1), dof=dof, mean=_mean(design, beta),
    )  # fmt: skip


def _mean(design: Design, beta: Array) -> Array:
    """Temporal mean, which is that of the fitted values since the design holds the constant."""
    return design.matrix.mean(axis=0).astype(np.float32) @ beta


def _autoregressive(
    design: Design, q: Float, r: Float, found: Sums, mask: Array, *, unbiased: bool
) -> Fit:
    scans, p = q.shape
    dof = scans - p
    own, ratio = lag_one(found, q)
    rho = ratio * (scans / (scans - 1))
    if unbiased:
        rho = _calmed(_unbiased(ratio, q), mask & (own > 0), dof)
    cut = np.rint if unbiased else np.trunc
    label = cut(np.clip(rho, -0.99, 0.99) * BINS).astype(np.int32) + BINS
    used = np.unique(label[mask])
    number = np.full(2 * BINS + 1, -1, np.int32)
    number[used] = np.arange(used.size)
    bins = np.where(mask, number[label], -1).astype(np.int32)
    values = (used - BINS) / BINS
    inverse = np.linalg.inv(r)
    beta, left, inverses = solve(
        found,
        q,
        bins=bins,
        rho=values,
        back=inverse.astype(np.float64),
        whole=inverse @ (q.T @ np.ones(scans)),
    )
    return Fit(
        design=design, beta=beta, variance=left / np.float32(dof),
        covariances=inverse @ inverses @ inverse.T, bins=bins, rho=values, dof=dof,
        mean=_mean(design, beta),
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
