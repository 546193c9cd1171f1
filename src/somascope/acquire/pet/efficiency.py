"""One number per crystal from a sinogram: products over crystal pairs, and their likelihood.

Counts in a bin are Poisson with mean ``w_b sum a_i a_j`` over the crystal pairs of the bin: the
efficiencies of a normalisation scan, or singles rates in a delayed window. The fit is the fan-sum
fixed point of Hogg, Thielemans, Spinks and Spyrou (IEEE NSS MIC 2001), made monotone by a root.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks

PIECES = 16


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _products(
    start: int, stop: int, first: Array, rings: Array, one: Array, two: Array, values: Array,
    out: Array,
) -> None:  # fmt: skip
    """``sum a_i a_j`` of planes; ``rings[first[p]:first[p + 1]]`` are the ring pairs of a plane."""
    for p in range(start, stop):
        for q in range(first[p], first[p + 1]):
            a, b = values[rings[q, 0]], values[rings[q, 1]]
            for line in range(out.shape[1]):
                total = np.float32(0)
                for m in range(one.shape[1]):
                    total += a[one[line, m]] * b[two[line, m]]
                out[p, line] += total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fans(
    start: int, stop: int, first: Array, rings: Array, one: Array, two: Array, values: Array,
    weights: Array, out: Array,
) -> None:  # fmt: skip
    """The transpose: ``sum_b w_b sum_j a_j`` of every crystal, one array per piece."""
    pieces, planes = out.shape[0], weights.shape[0]
    for piece in range(start, stop):
        mine = out[piece]
        for p in range(piece, planes, pieces):
            for q in range(first[p], first[p + 1]):
                r1, r2 = rings[q, 0], rings[q, 1]
                for line in range(weights.shape[1]):
                    w = weights[p, line]
                    for m in range(one.shape[1]):
                        i, j = one[line, m], two[line, m]
                        mine[r1, i] += w * values[r2, j]
                        mine[r2, j] += w * values[r1, i]


class Pairs:
    """The crystal pairs of a sinogram's bins."""

    def __init__(self, scan: SinogramScan) -> None:
        self.shape = (len(scan.michelogram), len(scan.views), scan.radial_bins)
        self.crystals = (scan.scanner.rings, scan.scanner.crystals)
        listed = scan.michelogram.pairs
        self._first = np.cumsum([0, *(len(p) for p in listed)]).astype(np.int64)
        self._rings = np.array([pair for plane in listed for pair in plane], np.int32)
        n = scan.scanner.crystals
        t = np.arange(scan.radial_bins) - scan.radial_bins // 2
        angle = scan.views[:, None] * scan.mashing + np.arange(scan.mashing)
        one = angle[:, None, :] + (t >> 1)[None, :, None]
        two = one - t[None, :, None] + n // 2
        self._one = np.ascontiguousarray((one % n).reshape(-1, scan.mashing), np.int32)
        self._two = np.ascontiguousarray((two % n).reshape(-1, scan.mashing), np.int32)

    def products(self, values: Array) -> Array:
        """``sum a_i a_j`` of every bin, float32 ``(plane, angle, radial)``."""
        out = np.zeros((self.shape[0], self.shape[1] * self.shape[2]), np.float32)
        in_chunks(
            _products, self.shape[0], self._first, self._rings, self._one, self._two,
            np.ascontiguousarray(values, np.float32), out,
        )  # fmt: skip
        return out.reshape(self.shape)

    def fans(self, values: Array, weights: Array) -> Array:
        """``sum_b w_b sum_j a_j`` over the bins of every crystal, float64 ``(rings, crystals)``."""
        out = np.zeros((PIECES, *self.crystals), np.float64)
        flat = np.ascontiguousarray(weights, np.float32).reshape(self.shape[0], -1)
        in_chunks(
            _fans, PIECES, self._first, self._rings, self._one, self._two,
            np.ascontiguousarray(values, np.float32), flat, out,
        )  # fmt: skip
        return out.sum(axis=0)


def fit(pairs: Pairs, counts: Array, weights: Array, *, iterations: int = 30) -> Array:
    """Most likely values per crystal, float64 ``(rings, crystals)``; 0 for one without counts.

    ``counts`` and ``weights`` (expected counts for values of 1, per crystal pair) have the shape of
    the bins.

    Raises
    ------
    ParameterError
        No counts, or counts where nothing is expected at all.
    """
    counts = np.asarray(counts, np.float32)
    weights = np.asarray(np.broadcast_to(weights, pairs.shape), np.float32)
    total = float(counts.sum(dtype=np.float64))
    ones = np.ones(pairs.crystals)
    expected = float((weights * pairs.products(ones)).sum(dtype=np.float64))
    if total <= 0 or expected <= 0:
        raise ParameterError(
            f"{total:g} counts where {expected:g} are expected of even crystals; nothing can be "
            "fitted, scan longer or check the source"
        )
    values = ones * np.sqrt(total / expected)
    for _ in range(iterations):
        modelled = weights * pairs.products(values)
        share = np.where(modelled > 0, counts / np.maximum(modelled, 1e-30), 0.0) * weights
        measured, wanted = pairs.fans(values, share), pairs.fans(values, weights)
        change = np.sqrt(np.where(wanted > 0, measured / np.maximum(wanted, 1e-30), 0.0))
        values *= change
        if np.abs(change[values > 0] - 1).max(initial=0) < 1e-5:
            break
    return values
