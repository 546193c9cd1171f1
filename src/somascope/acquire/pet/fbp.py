"""Filtered back projection of direct planes, after single-slice rebinning."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import numba
import numpy as np
from scipy.interpolate import CubicSpline

from somascope.acquire.pet.choices import FieldOfView, PostFilter, Size
from somascope.acquire.pet.model import sinogram_of
from somascope.acquire.pet.psf import Blur
from somascope.acquire.pet.rebin import line_integrals, ssrb
from somascope.acquire.pet.results import activity_image
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.acquire.pet.system import target_grid
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid
from somascope.process.chunks import in_chunks

Window: TypeAlias = Annotated[
    Literal["ramp", "hann", "hamming", "cosine"],
    Param("Window on the ramp filter; ramp is the sharpest"),
]
Cutoff: TypeAlias = Annotated[
    float,
    Param("Where the filter ends, as a share of the Nyquist frequency", minimum=0.05, maximum=1.0,
          step=0.05),
]  # fmt: skip


def ramp(length: int, spacing: float, *, window: str, cutoff: float) -> Array:
    """The filter on the frequencies of ``rfft`` of ``length`` samples, in 1/mm.

    The ramp is the transform of its samples in space (Kak and Slaney 1988, 3.3.3), so that it has
    no offset.
    """
    n = np.fft.fftfreq(length, 1 / length).astype(int)
    kernel = np.zeros(length)
    kernel[0] = 1 / (4 * spacing**2)
    odd = n % 2 != 0
    kernel[odd] = -1 / (np.pi * n[odd] * spacing) ** 2
    response = np.fft.rfft(kernel).real * spacing
    return response * taper(np.fft.rfftfreq(length, spacing) * 2 * spacing, window, cutoff)


def taper(f: Array, window: str, cutoff: float) -> Float:
    """The window at frequencies ``f`` as shares of Nyquist's."""
    x = np.minimum(np.abs(f) / cutoff, 1.0)
    shape = {
        "ramp": np.ones_like(x),
        "hann": 0.5 + 0.5 * np.cos(np.pi * x),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * x),
        "cosine": np.cos(np.pi * x / 2),
    }[window]
    return np.where(np.abs(f) <= cutoff, shape, 0.0)


def uniform(scan: SinogramScan, lines: Array) -> tuple[Array, Float, float]:
    """Lines ``(plane, angle, radial)`` brought to equal distances and to one angle per row.

    Odd radial bins lie half an angle before the even ones; both neighbours in angle are averaged.
    Distances from the axis go with the sine of the bin (arc correction). Returns the sinogram
    ``(plane, angle, s)`` float32, angles in rad, and the spacing in mm; ``s`` is centred.
    """
    if len(scan.views) != scan.angle_count:
        raise GeometryError(
            f"{len(scan.views)} of {scan.angle_count} angles; filtered back projection needs all"
        )
    t = np.arange(scan.radial_bins) - scan.radial_bins // 2
    n = scan.scanner.crystals
    mirrored = np.clip(2 * (scan.radial_bins // 2) - np.arange(len(t)), 0, len(t) - 1)
    following = np.concatenate([lines[:, 1:], lines[:, :1][..., mirrored]], axis=1)
    if scan.mashing == 1:
        even = np.where(t % 2 == 0, lines, 0.5 * (lines + following))
        centre = 0.0
    else:  # half a crystal within angles of several crystals is not resolved
        even, centre = lines, (scan.mashing - 1) / 2
    radius = scan.scanner.effective_radius
    s = radius * np.sin(np.pi * t / n)
    spacing = radius * np.pi / n
    half = int(s[-1] / spacing)
    wanted = np.arange(-half, half + 1) * spacing
    angles = 2 * np.pi * (scan.views * scan.mashing + centre) / n
    found = CubicSpline(s, even, axis=-1)(wanted)
    return found.astype(np.float32), angles, spacing


def filtered(sinogram: Array, spacing: float, *, window: str, cutoff: float) -> Array:
    """The ramp-filtered sinogram, float32."""
    bins = sinogram.shape[-1]
    length = 1 << int(np.ceil(np.log2(2 * bins)))
    response = ramp(length, spacing, window=window, cutoff=cutoff)
    spectrum = np.fft.rfft(sinogram, length, axis=-1) * response
    return np.fft.irfft(spectrum, length, axis=-1)[..., :bins].astype(np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _back(
    start: int, stop: int, rows: Array, cos: Array, sin: Array, x: Array, y: Array, spacing: float,
    out: Array,
) -> None:  # fmt: skip
    """``out[y, x, plane]``: sums over views of ``rows[view, s, plane]`` at the pixel's s."""
    views, bins, planes = rows.shape
    middle = (bins - 1) / 2
    for i in range(start, stop):
        for j in range(len(x)):
            for v in range(views):
                s = (x[j] * cos[v] + y[i] * sin[v]) / spacing + middle
                if s <= 0 or s >= bins - 1:
                    continue
                k = int(s)
                f = np.float32(s - k)
                for p in range(planes):
                    a = rows[v, k, p]
                    out[i, j, p] += a + f * (rows[v, k + 1, p] - a)


def back_project(
    sinogram: Array, angles: Float, spacing: float, grid: Grid, centre: Float
) -> Array:
    """``(plane, y, x)`` float32: the integral over half a turn of filtered lines."""
    x = grid.to_world([[0, 0, j] for j in range(grid.shape[2])])[:, 0] - centre[0]
    y = grid.to_world([[0, i, 0] for i in range(grid.shape[1])])[:, 1] - centre[1]
    out = np.zeros((len(y), len(x), len(sinogram)), np.float32)
    in_chunks(
        _back, len(y), np.ascontiguousarray(sinogram.transpose(1, 2, 0)), np.cos(angles),
        np.sin(angles), x, y, spacing, out,
    )  # fmt: skip
    return out.transpose(2, 0, 1) * np.float32(np.pi / len(angles))


def along_z(planes: Array, positions: Float, wanted: Float) -> Array:
    """Slices at ``wanted`` of those at ``positions`` (mm, evenly spaced), linear; float32.

    Slices wider than the planes' distance are the mean over their width.
    """
    if len(positions) == 1:
        return np.repeat(planes, len(wanted), axis=0)
    step = abs(wanted[1] - wanted[0]) if len(wanted) > 1 else abs(positions[1] - positions[0])
    points = max(1, round(step / abs(positions[1] - positions[0])))
    weights = np.zeros((len(wanted), len(planes)))
    order = np.argsort(positions)
    for k in range(points):
        place = wanted + ((k + 0.5) / points - 0.5) * step
        at = np.interp(place, positions[order], np.arange(len(planes)))
        low = np.minimum(at.astype(int), len(planes) - 2)
        for offset, share in ((0, 1 - (at - low)), (1, at - low)):
            np.add.at(weights, (np.arange(len(wanted)), order[low + offset]), share / points)
    return np.tensordot(weights.astype(np.float32), planes, axes=1)


def upright(grid: Grid, *, operation_name: str) -> None:
    """Refuse grids that are not axial."""
    step = grid.affine[:3, :3]
    other = [step[2, 1], step[2, 2], step[0, 0], step[1, 0], step[0, 1], step[1, 2]]
    if np.abs(other).max() > 1e-6:
        raise GeometryError(
            f"{operation_name} makes axial slices with rows along L; this grid is "
            f"{grid.orientation}"
        )


def direct_planes(
    scan: SinogramScan, lines: Array, grid: Grid, *, window: str, cutoff: float
) -> Array:
    """FBP of direct planes to ``grid``: ``(nz, ny, nx)`` float32."""
    centre = np.asarray(scan.centre)
    sinogram, angles, spacing = uniform(scan, lines)
    rows = filtered(sinogram, spacing, window=window, cutoff=cutoff)
    planes = back_project(rows, angles, spacing, grid, centre)
    positions = scan.ring_positions().mean(axis=1)
    slices = grid.to_world([[k, 0, 0] for k in range(grid.shape[0])])[:, 2]
    return along_z(planes, positions, slices)


@operation("acquire.pet.fbp2d")
def fbp2d(
    acquisition: Acquisition,
    *,
    window: Window = "hann",
    cutoff: Cutoff = 1.0,
    post_filter: PostFilter = 0.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct PET by filtered back projection of direct planes.

    Counts are corrected (background subtracted, divided by efficiency and survival), rebinned by
    SSRB, arc corrected and inverted slice by slice. Linear and fast; noisy, and negative beside
    hot structures.
    """
    name = "acquire.pet.fbp2d"
    scan = sinogram_of(acquisition, operation_name=name)
    grid = target_grid(scan.grid, size=size, field_of_view=field_of_view)
    upright(grid, operation_name=name)
    progress(0.0, "rebinning")
    direct = ssrb(acquisition) if len(scan.michelogram.segments) > 1 else acquisition
    flat, lines = line_integrals(direct, operation_name=name)
    progress(0.3, "filtered back projection")
    found = direct_planes(flat, lines, grid, window=window, cutoff=cutoff)
    if post_filter > 0:
        found = Blur(grid, post_filter).forward(found)
    progress(1.0, "reconstructed")
    return activity_image(acquisition, found, grid, method=f"FBP 2D {window} {cutoff:g}")
