"""Filtered back projection, with Chang's correction for attenuation."""

from __future__ import annotations

from typing import Annotated

import numba
import numpy as np

from somascope.acquire.spect.choices import Attenuation, DecayTo, Scatter, Smooth
from somascope.acquire.spect.filters import Cutoff, Kernel, Order, filtered
from somascope.acquire.spect.orbit import toward
from somascope.acquire.spect.parallel import ParallelScan
from somascope.acquire.spect.system import prepare
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _smear(start: int, stop: int, rows: Array, first: Array, step: Array, out: Array) -> None:
    """Rows y of ``out`` (ny, nx, lines): the sum over the views of lines between two columns.

    ``first`` (views, 2): column at pixel (0, 0) and its growth with y; ``step`` (views,) with x.
    """
    views, columns, lines = rows.shape
    _, nx, _ = out.shape
    for y in range(start, stop):
        for v in range(views):
            for x in range(nx):
                u = first[v, 0] + y * first[v, 1] + x * step[v]
                if not 0 <= u < columns - 1:
                    continue
                i = int(u)
                f = rows.dtype.type(u - i)
                g = rows.dtype.type(1) - f
                a, b, line = rows[v, i], rows[v, i + 1], out[y, x]
                for z in range(np.uint64(lines)):
                    line[z] += g * a[z] + f * b[z]


def angular_weights(angles: Float) -> Float:
    """Radians of the half turn that each view stands for; opposite views share theirs.

    A gap wider than twice the usual step is not filled.
    """
    turned = np.mod(angles, np.pi)
    values, inverse, count = np.unique(np.round(turned, 9), return_inverse=True, return_counts=True)
    if len(values) == 1:
        return np.full(len(angles), np.pi / len(angles))
    gaps = np.diff(np.append(values, values[0] + np.pi))
    gaps = np.minimum(gaps, 2 * np.median(gaps))
    share = (gaps + np.roll(gaps, 1)) / 2
    return (share / count)[inverse]


def inverted(scan: ParallelScan, counts: Array, *, kernel: str, cutoff: float, order: int) -> Array:
    """``(nz, ny, nx)`` in Bq/ml of counts ``(views, rows, columns)`` without attenuation."""
    dz, _, h = scan.grid.spacing
    gain = scan.camera.cps_per_mbq * 1e-6 * scan.seconds * float(scan.camera.shares[0])
    factor = angular_weights(scan.angles) / (gain * h * dz / 1000)
    rows = filtered(
        counts * factor[:, None, None].astype(np.float32), h, kernel=kernel, cutoff=cutoff,
        order=order,
    )  # fmt: skip
    along = toward(scan.angles)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    where = scan.plane
    corner = across @ (where.first - np.asarray(scan.isocentre[:2]))
    start = (corner - scan.offset) / h + (scan.columns - 1) / 2
    first = np.stack([start, across @ where.down / h], axis=1)
    nz, ny, nx = scan.domain
    out = np.zeros((ny, nx, nz), np.float32)
    in_chunks(
        _smear, ny, np.ascontiguousarray(rows.swapaxes(1, 2)), first, across @ where.across / h, out
    )
    image = out.transpose(2, 0, 1)
    return np.ascontiguousarray(image[::-1] if where.upward else image)


def chang(scan: ParallelScan) -> Array:
    """Chang's factor of every voxel: 1 over the mean of what its photons keep, over the views."""
    plain = scan.with_attenuation(None)
    ones = np.ones(scan.range, np.float32)
    kept, whole = scan.adjoint(ones), plain.adjoint(ones)
    share = np.divide(kept, whole, out=np.ones_like(kept), where=whole > 1e-6 * whole.max())
    return 1 / np.maximum(share, np.float32(1e-3))


@operation("acquire.spect.fbp")
def fbp(
    acquisition: Acquisition,
    *,
    kernel: Kernel = "butterworth",
    cutoff: Cutoff = 0.5,
    order: Order = 5,
    attenuation: Attenuation = True,
    chang_iterations: Annotated[
        int, Param("How often Chang's correction is repeated on what is left of the projections",
                   minimum=0, maximum=5, advanced=True)
    ] = 1,
    scatter: Scatter = True,
    smooth: Smooth = 0.0,
    decay: DecayTo = "scan start",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Reconstruct a SPECT scan by filtered back projection, with Chang's attenuation correction.

    Fast and linear; the collimator's response is not corrected. Attenuation is divided out voxel by
    voxel (Chang 1978), and again for the projections that the result does not explain. Estimated
    scatter is subtracted.
    """
    name = "acquire.spect.fbp"
    system = prepare(
        acquisition, name=name, attenuation=attenuation, resolution=False, scatter=scatter
    )
    scan = system.scan
    if not isinstance(scan, ParallelScan):
        raise GeometryError(
            f"{name} reconstructs parallel holes; this is a {scan.kind} scan: use "
            "acquire.spect.osem"
        )
    counts = system.counts if system.background is None else system.counts - system.background
    progress(0.1, "back projecting")
    image = inverted(scan, counts, kernel=kernel, cutoff=cutoff, order=order)
    title = f"FBP {kernel} {cutoff:g}" + (f" order {order}" if kernel == "butterworth" else "")
    if scan.mu is not None:
        factor = chang(scan)
        image *= factor
        for n in range(chang_iterations):
            progress(0.4 + 0.5 * n / chang_iterations, "correcting attenuation")
            left = counts - scan.forward(image)
            image += factor * inverted(scan, left, kernel=kernel, cutoff=cutoff, order=order)
        title += f" Chang {chang_iterations}"
    progress(1.0, "back projected")
    return system.image(image, name=title, smooth=smooth, decay=decay)
