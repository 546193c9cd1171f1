"""Three-dimensional filtered back projection, what the ends of the scanner cut off reprojected."""

from __future__ import annotations

from typing import Annotated

import numba
import numpy as np

from somascope.acquire.pet.choices import FieldOfView, PostFilter, Size
from somascope.acquire.pet.fbp import Cutoff, Window, direct_planes, ramp, taper, uniform, upright
from somascope.acquire.pet.lanes import Lanes, suits
from somascope.acquire.pet.model import sinogram_of
from somascope.acquire.pet.psf import Blur
from somascope.acquire.pet.rebin import line_integrals, ssrb
from somascope.acquire.pet.results import activity_image
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.acquire.pet.system import target_grid
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float, Grid
from somascope.process.chunks import in_chunks

NAME = "acquire.pet.rp3d"


def colsher(
    s: tuple[int, float], v: tuple[int, float], *, theta: float, limit: float, window: str,
    cutoff: float,
) -> Array:  # fmt: skip
    """The filter of projections tilted by ``theta``, all up to ``limit`` being used (Colsher 1980).

    ``nu / L`` where ``L`` is the length of the half circle of directions, perpendicular to the
    frequency, that are measured: ``2 asin(min(1, sin limit / sin psi))``, ``psi`` the frequency's
    angle to the axis. On the frequencies of ``rfft`` along s and ``fft`` along v, each given as
    length and spacing in mm; shape ``(v, s)``. The window is along s only: rings are coarse.
    """
    along = ramp(s[0], s[1], window="ramp", cutoff=1.0)[None]
    across = np.fft.fftfreq(*v)[:, None]
    nu = np.hypot(along, across)
    lean = np.hypot(along, across * np.sin(theta)) / np.maximum(nu, 1e-12)
    arc = 2 * np.arcsin(np.minimum(1.0, np.sin(limit) / np.maximum(lean, 1e-12)))
    ends = taper(np.fft.rfftfreq(*s) * 2 * s[1], window, cutoff)[None]
    return nu / arc * ends


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _back(
    start: int, stop: int, rows: Array, cos: Array, sin: Array, x: Array, y: Array, spacing: float,
    slope: float, radius: float, first: float, pitch: float, z: Array, weight: float, out: Array,
) -> None:  # fmt: skip
    """Add ``rows[view, s, plane]`` to ``out[y, x, z]``; planes at ``first + pitch k``."""
    views, bins, planes = rows.shape
    middle = (bins - 1) / 2
    for i in range(start, stop):
        for j in range(len(x)):
            for v in range(views):
                across = x[j] * cos[v] + y[i] * sin[v]
                place = across / spacing + middle
                if place <= 0 or place >= bins - 1:
                    continue
                k = int(place)
                f = np.float32(place - k)
                along = y[i] * cos[v] - x[j] * sin[v]
                shift = slope * along / np.sqrt(radius * radius - across * across)
                for n in range(len(z)):
                    p = (z[n] - shift - first) / pitch
                    if p <= 0 or p >= planes - 1:
                        continue
                    m = int(p)
                    g = np.float32(p - m)
                    low = rows[v, k, m] + g * (rows[v, k, m + 1] - rows[v, k, m])
                    high = rows[v, k + 1, m] + g * (rows[v, k + 1, m + 1] - rows[v, k + 1, m])
                    out[i, j, n] += weight * (low + f * (high - low))


def completed(
    scan: SinogramScan, lines: Array, estimate: Array, grid: Grid, difference: int, reach: float
) -> tuple[dict[int, Array], Float]:
    """Both segments ``+-difference`` with the planes the scanner lacks, of the estimate.

    Per sign ``(plane, angle, radial)``; and S of the planes' middles in mm.
    """
    scanner = scan.scanner
    beyond = int(np.ceil(difference * (0.5 + reach / (2 * scanner.effective_radius)))) + 1
    count = scanner.rings - difference
    first = np.arange(-beyond, count + beyond)
    measured = (first >= 0) & (first < count)
    table = scan.michelogram.table
    rings = np.stack([first, first + difference], axis=1)
    out: dict[int, Array] = {}
    lacking = rings[~measured]
    both = np.concatenate([lacking, lacking[:, ::-1]])
    a, b = (e.reshape(-1, 2) for e in scan.transaxial())
    z = scanner.ring_position(both) + scan.centre[2]
    if difference == 0:
        z = z[: len(lacking)]
    added = Lanes(grid, a, b, z, scanner=scanner).forward(estimate)[0]
    added = added.reshape(len(z), *scan.range[1:])
    for k, sign in enumerate((1, -1) if difference else (1,)):
        whole = np.empty((len(first), *scan.range[1:]), np.float32)
        own = rings[measured] if sign > 0 else rings[measured][:, ::-1]
        whole[measured] = lines[table[own[:, 0], own[:, 1]]]
        whole[~measured] = added[k * len(lacking) : (k + 1) * len(lacking)]
        out[sign] = whole
    middle = scanner.ring_position(rings.mean(axis=1)) + scan.centre[2]
    return out, middle


@operation("acquire.pet.rp3d")
def rp3d(
    acquisition: Acquisition,
    *,
    window: Window = "hann",
    cutoff: Cutoff = 1.0,
    max_ring_difference: Annotated[
        int | None, Param("Of the planes used; all if not given", minimum=1, maximum=1000)
    ] = None,
    post_filter: PostFilter = 0.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct PET by three-dimensional filtered back projection with reprojection (3DRP).

    Kinahan and Rogers (1989): direct planes give a first image; it is projected where the ends of
    the scanner cut oblique planes off; all planes, filtered after Colsher, are back projected.
    Linear, with all counts and no blur along the axis. Sinograms of span 1.
    """
    scan = sinogram_of(acquisition, operation_name=NAME)
    grid = target_grid(scan.grid, size=size, field_of_view=field_of_view)
    upright(grid, operation_name=NAME)
    if scan.michelogram.span != 1 or scan.scanner.rings < 2:
        raise ParameterError(
            f"{scan.scanner.rings} rings, span {scan.michelogram.span}: 3DRP takes several rings "
            "and span 1; use acquire.pet.fbp2d"
        )
    if not suits(scan.grid, np.asarray(scan.centre)):
        raise ParameterError(
            "3DRP reprojects on the scan's own grid: square slices centred on the scanner's axis"
        )
    most = scan.michelogram.max_ring_difference
    assert most is not None
    most = most if max_ring_difference is None else min(most, max_ring_difference)
    progress(0.0, "first image")
    direct, planes = line_integrals(
        ssrb(acquisition, max_ring_difference=min(1, most)), operation_name=NAME
    )
    estimate = direct_planes(direct, planes, scan.grid, window=window, cutoff=cutoff)
    flat, lines = line_integrals(acquisition, operation_name=NAME)
    found = filtered_sum(
        flat, lines, np.maximum(estimate, 0), grid, most=most, window=window, cutoff=cutoff,
        progress=progress,
    )  # fmt: skip
    if post_filter > 0:
        found = Blur(grid, post_filter).forward(found)
    progress(1.0, "reconstructed")
    return activity_image(acquisition, found, grid, method=f"3DRP {window} {cutoff:g}")


def filtered_sum(
    scan: SinogramScan, lines: Array, estimate: Array, grid: Grid, *, most: int, window: str,
    cutoff: float, progress: Progress,
) -> Array:  # fmt: skip
    """Filtered back projection of all segments up to ``most``: ``(nz, ny, nx)`` float32."""
    radius, pitch = scan.scanner.effective_radius, scan.scanner.ring_spacing
    tilt = np.arctan(np.arange(most + 1) * pitch / (2 * radius))
    edges = np.sin(np.arctan((np.arange(most + 1) + 0.5) * pitch / (2 * radius)))
    limit = float(np.arcsin(edges[-1]))
    weights = np.diff(edges, prepend=0.0)
    weights[0] = 2 * edges[0]  # from minus to plus half a ring
    half = scan.radial_bins // 2
    reach = radius * np.sin(np.pi * half / scan.scanner.crystals)
    x = grid.to_world([[0, 0, j] for j in range(grid.shape[2])])[:, 0] - scan.centre[0]
    y = grid.to_world([[0, i, 0] for i in range(grid.shape[1])])[:, 1] - scan.centre[1]
    z = grid.to_world([[k, 0, 0] for k in range(grid.shape[0])])[:, 2]
    out = np.zeros((len(y), len(x), len(z)), np.float32)
    for d in range(most + 1):
        progress(0.1 + 0.8 * d / (most + 1), "oblique planes")
        parts, middle = completed(scan, lines, estimate, scan.grid, d, reach)
        for sign, part in parts.items():
            sinogram, angles, spacing = uniform(scan, part)
            count, _, bins = sinogram.shape
            wide, long = 1 << int(np.ceil(np.log2(2 * bins))), 2 * count
            response = colsher(
                (wide, spacing), (long, pitch * float(np.cos(tilt[d]))), theta=float(tilt[d]),
                limit=limit, window=window, cutoff=cutoff,
            )  # fmt: skip
            spectrum = np.fft.fft(np.fft.rfft(sinogram, wide, axis=2), long, axis=0)
            rows = np.fft.irfft(
                np.fft.ifft(spectrum * response[:, None], axis=0)[:count], wide, axis=2
            )[..., :bins]
            in_chunks(
                _back, len(y), np.ascontiguousarray(rows.transpose(1, 2, 0), np.float32),
                np.cos(angles), np.sin(angles), x, y, spacing, sign * d * pitch / 2, radius,
                float(middle[0]), pitch, z, np.pi / len(angles) * weights[d], out,
            )  # fmt: skip
    return out.transpose(2, 0, 1)
