"""Rays through a pinhole: the compiled loops of `spect.pinhole`.

A ray is followed from the aperture into the body: what it crossed attenuates what lies behind. The
volume has a border of one voxel of zeros; index coordinates count with it.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array


@numba.njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _ray(
    frame: Array, inverse: Array, aperture: Array, a: int, u: float, v: float, focal: float,
    step: float, shape: tuple[int, int, int], ray: Array,
) -> float:  # fmt: skip
    """Start and step of a ray in padded indices into ``ray[:6]``, first and last step into
    ``ray[6:8]``; the cosine of its incidence, 0 where it misses.
    """
    side, up = u + aperture[a, 0], aperture[a, 1] - v
    length = np.sqrt(focal * focal + side * side + up * up)
    start = np.empty(3)
    along = np.empty(3)
    for i in range(3):
        start[i] = frame[i] + frame[6 + i] * aperture[a, 0]
        along[i] = (-frame[3 + i] * focal + frame[6 + i] * side) / length
    start[2] += aperture[a, 1]
    along[2] += up / length
    first, last = 0.0, 1e12
    for i in range(3):
        b, d = inverse[i, 3] + 1.0, 0.0
        for j in range(3):
            b += inverse[i, j] * start[j]
            d += inverse[i, j] * along[j] * step
        top = shape[i] - 1 - 1e-4
        if abs(d) < 1e-9:
            if not 1e-4 <= b <= top:
                return 0.0
        else:
            t0, t1 = (1e-4 - b) / d, (top - b) / d
            first, last = max(first, min(t0, t1)), min(last, max(t0, t1))
        ray[i], ray[3 + i] = b, d
    ray[6], ray[7] = np.ceil(first), np.floor(last)
    return focal / length if ray[6] <= ray[7] else 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def _at(volume: Array, y: Array) -> float:
    """Trilinear value at padded indices."""
    z, r, c = int(y[0]), int(y[1]), int(y[2])
    fz, fr, fc = y[0] - z, y[1] - r, y[2] - c
    total = 0.0
    for i in range(2):
        for j in range(2):
            for k in range(2):
                w = (fz if i else 1 - fz) * (fr if j else 1 - fr) * (fc if k else 1 - fc)
                total += w * volume[z + i, r + j, c + k]
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def gather(
    begin: int, stop: int, volume: Array, mu: Array, frames: Array, inverse: Array,
    aperture: Array, focal: float, pixel: float, least: float, step: float, gain: Array,
    out: Array,
) -> None:  # fmt: skip
    """Views ``begin`` to ``stop`` of ``out`` ``(views, rows, columns)``."""
    _, rows, columns = out.shape
    ray, y = np.empty(8), np.empty(3)
    points = len(aperture)
    for view in range(begin, stop):
        for r in range(rows):
            for c in range(columns):
                u, v = (c - (columns - 1) / 2) * pixel, (r - (rows - 1) / 2) * pixel
                total = 0.0
                for a in range(points):
                    cosine = _ray(
                        frames[view], inverse, aperture, a, u, v, focal, step, volume.shape, ray
                    )
                    if cosine < least:
                        continue
                    sum_, depth = 0.0, 0.0
                    for n in range(int(ray[6]), int(ray[7]) + 1):
                        for i in range(3):
                            y[i] = ray[i] + n * ray[3 + i]
                        value = _at(volume, y)
                        if mu.size > 0:
                            half = 0.5 * step * _at(mu, y)
                            value *= np.exp(-depth - half)
                            depth += 2 * half
                        sum_ += value
                    total += sum_ * cosine**4
                out[view, r, c] = gain[view] * total / points


@numba.njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
def scatter(
    begin: int, stop: int, rows_: Array, mu: Array, frames: Array, inverse: Array,
    aperture: Array, focal: float, pixel: float, least: float, step: float, gain: Array,
    shares: Array, out: Array,
) -> None:  # fmt: skip
    """The transpose: views ``shares[n]`` to ``shares[n + 1]`` into ``out[n]``, which is its own."""
    _, rows, columns = rows_.shape
    ray, y = np.empty(8), np.empty(3)
    points = len(aperture)
    for chunk in range(begin, stop):
        volume = out[chunk]
        for view in range(shares[chunk], shares[chunk + 1]):
            for r in range(rows):
                for c in range(columns):
                    u, v = (c - (columns - 1) / 2) * pixel, (r - (rows - 1) / 2) * pixel
                    for a in range(points):
                        cosine = _ray(
                            frames[view], inverse, aperture, a, u, v, focal, step, volume.shape,
                            ray,
                        )  # fmt: skip
                        if cosine < least:
                            continue
                        value = rows_[view, r, c] * gain[view] * cosine**4 / points
                        depth = 0.0
                        for n in range(int(ray[6]), int(ray[7]) + 1):
                            for i in range(3):
                                y[i] = ray[i] + n * ray[3 + i]
                            part = value
                            if mu.size > 0:
                                half = 0.5 * step * _at(mu, y)
                                part *= np.exp(-depth - half)
                                depth += 2 * half
                            z, p, q = int(y[0]), int(y[1]), int(y[2])
                            fz, fp, fq = y[0] - z, y[1] - p, y[2] - q
                            for i in range(2):
                                for j in range(2):
                                    for k in range(2):
                                        w = (
                                            (fz if i else 1 - fz)
                                            * (fp if j else 1 - fp)
                                            * (fq if k else 1 - fq)
                                        )
                                        volume[z + i, p + j, q + k] += w * part
