"""Head motion: estimated volume by volume, taken out, and told in numbers.

Gauss-Newton in the inverse-compositional form (Baker and Matthews, Int. J. Comput. Vis. 56 (2004)
221-255) with the sum of squared differences and a free brightness: the gradient of the reference
is taken once, so that a step costs one interpolation per voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numba
import numpy as np

from somascope.acquire.chunks import in_chunks
from somascope.acquire.fmri import interpolate, rigid
from somascope.acquire.fmri.runs import head_mask, like_run, volumes
from somascope.acquire.fmri.smooth import kernel, smooth_into
from somascope.core import QUIET, Grid, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

HEAD_RADIUS = 50.0
"""mm; a turn counts as the way a point this far from the centre goes (Power et al. 2012)."""
_STEPS = 40
_STILL = 1e-4


@dataclass(frozen=True, eq=False)
class Motion:
    """How the head moved.

    ``parameters`` ``(scans, 6)``: mm along L, P, S and degrees about them (`rigid`), relative to
    the reference; ``steps`` of Gauss-Newton per scan (a scan that used all did not settle).
    """

    parameters: Float
    steps: Array

    @property
    def framewise(self) -> Float:
        """Framewise displacement in mm, ``(scans,)``, 0 for the first (Power et al. 2012)."""
        return framewise_displacement(self.parameters)


def framewise_displacement(parameters: Float) -> Float:
    """Sum of the absolute changes of the six parameters, turns as arcs of 50 mm, in mm."""
    change = np.abs(np.diff(parameters, axis=0, prepend=parameters[:1]))
    return change[:, :3].sum(axis=1) + HEAD_RADIUS * np.deg2rad(change[:, 3:]).sum(axis=1)


def dvars(data: Array, mask: Array | None = None) -> Float:
    """Root mean square over ``mask`` of the change to the scan before, in % of the mean signal.

    ``data`` is ``(scans, nz, ny, nx)``; the first entry is 0 (Power et al. 2012).
    """
    chosen = head_mask(data) if mask is None else mask
    out = np.zeros(len(data))
    if not chosen.any():
        return out
    last = data[0][chosen].astype(np.float64)
    level = float(data[:: max(len(data) // 16, 1)].mean(axis=0)[chosen].mean())
    for k in range(1, len(data)):
        here = data[k][chosen].astype(np.float64)
        out[k] = np.sqrt(((here - last) ** 2).mean())
        last = here
    return 100 * out / (abs(level) or 1.0)


@numba.njit(nogil=True, cache=True)
def _volumes(
    start: int, stop: int, data: Array, kz: Array, ky: Array, kx: Array, points: Array,
    jacobian: Array, inverse: Float, values: Array, into: Float, affine: Float, out: Float,
    steps: Array,
) -> None:  # fmt: skip
    shape = data.shape[1:]
    scratch, calm, c = (
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
    )
    for k in range(start, stop):
        smooth_into(data[k], kz, ky, kx, scratch, calm)
        interpolate.prefilter_into(calm, c)
        # Coarse first: an eighth of the points finds nearly all of the motion.
        for i in range(4):
            for j in range(4):
                out[k, i, j] = 1.0 if i == j else 0.0
        used = _descend(c, points, jacobian, inverse[0], values, into, affine, out[k], 8, 12)
        used += _descend(c, points, jacobian, inverse[1], values, into, affine, out[k], 1, _STEPS)
        steps[k] = used


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _descend(
    c: Array, points: Array, jacobian: Array, inverse: Float, values: Array, into: Float,
    affine: Float, motion: Float, stride: int, most: int,
) -> int:  # fmt: skip
    """Improve ``motion`` (4x4 about the centre, mm) in place; the number of steps."""
    nz, ny, nx = c.shape
    right, change = np.empty(7), np.empty(7)
    first, m, turn = np.empty((4, 4)), np.empty((4, 4)), np.empty((4, 4))
    scale = 1.0
    for step in range(most):
        _product(motion, affine, first)
        _product(into, first, m)
        right[:] = 0
        for i in range(0, len(points), stride):
            z, y, x = points[i, 0], points[i, 1], points[i, 2]
            a = m[0, 0] * z + m[0, 1] * y + m[0, 2] * x + m[0, 3]
            b = m[1, 0] * z + m[1, 1] * y + m[1, 2] * x + m[1, 3]
            d = m[2, 0] * z + m[2, 1] * y + m[2, 2] * x + m[2, 3]
            if a < -0.5 or b < -0.5 or d < -0.5 or a > nz - 0.5 or b > ny - 0.5 or d > nx - 0.5:
                continue
            a, b, d = (
                min(max(a, 0.0), nz - 1.0), min(max(b, 0.0), ny - 1.0), min(max(d, 0.0), nx - 1.0)
            )  # fmt: skip
            wrong = interpolate.value_at(c, a, b, d) - scale * values[i]
            for j in range(7):
                right[j] += jacobian[i, j] * wrong
        for i in range(7):
            change[i] = 0.0
            for j in range(7):
                change[i] += inverse[i, j] * right[j]
        scale += change[6]
        _undo(change, turn)
        _product(motion, turn, first)
        motion[:] = first
        size = 0.0
        for i in range(3):
            size += abs(change[i]) + 50.0 * abs(change[i + 3])
        if size < (_STILL if stride == 1 else 0.01):
            return step + 1
    return most


@numba.njit(nogil=True, cache=True)
def _product(a: Float, b: Float, out: Float) -> None:
    for i in range(4):
        for j in range(4):
            total = 0.0
            for k in range(4):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@numba.njit(nogil=True, cache=True)
def _undo(p: Float, out: Float) -> None:
    """Inverse 4x4 of a step in mm and radians, turned about L, then P, then S."""
    ca, cb, cc = np.cos(p[3]), np.cos(p[4]), np.cos(p[5])
    sa, sb, sc = np.sin(p[3]), np.sin(p[4]), np.sin(p[5])
    # The rows of the inverse turn are the columns of R_S R_P R_L.
    out[0, 0], out[0, 1], out[0, 2] = cc * cb, sc * cb, -sb
    out[1, 0] = cc * sb * sa - sc * ca
    out[1, 1] = sc * sb * sa + cc * ca
    out[1, 2] = cb * sa
    out[2, 0] = cc * sb * ca + sc * sa
    out[2, 1] = sc * sb * ca - cc * sa
    out[2, 2] = cb * ca
    for i in range(3):
        out[i, 3] = -(out[i, 0] * p[0] + out[i, 1] * p[1] + out[i, 2] * p[2])
        out[3, i] = 0.0
    out[3, 3] = 1.0


def _reference(
    volume: Array, grid: Grid, kernels: list[Array], separation: float
) -> tuple[Array, Array, Array, Float]:
    """Points (indices), their values, Jacobian ``(n, 7)`` and the inverse Hessians (coarse, all).

    Parameters are mm and radians about the grid's centre, and brightness.
    """
    scratch, calm = np.empty_like(volume), np.empty_like(volume)
    kz, ky, kx = kernels
    smooth_into(volume, kz, ky, kx, scratch, calm)
    mask = head_mask(calm)
    # Voxels within one of the border see the mirror image when the head moves.
    inner = np.zeros_like(mask)
    edge = tuple(slice(1, -1) if n > 4 else slice(None) for n in mask.shape)
    inner[edge] = mask[edge]
    step = [max(int(separation / s), 1) for s in grid.spacing]
    chosen = np.zeros_like(inner)
    chosen[:: step[0], :: step[1], :: step[2]] = inner[:: step[0], :: step[1], :: step[2]]
    points = np.argwhere(chosen)
    if len(points) < 100:
        raise ParameterError(
            f"acquire.fmri.realign: the reference has {len(points)} voxels with signal; at least "
            "100 are needed to see motion"
        )
    # A fixed shuffle, so that every eighth point is a fair sample.
    points = points[np.random.default_rng(0).permutation(len(points))].astype(np.float64)
    at = points.astype(np.intp)
    axes = [np.gradient(calm, axis=a) if calm.shape[a] > 1 else np.zeros_like(calm)
            for a in range(3)]  # fmt: skip
    by_index = np.stack([g[at[:, 0], at[:, 1], at[:, 2]] for g in axes], axis=1)
    slope = by_index.astype(np.float64) @ np.linalg.inv(grid.affine[:3, :3])
    offset = grid.to_world(points) - rigid.centre_of(grid)
    values = calm[at[:, 0], at[:, 1], at[:, 2]].astype(np.float64)
    jacobian = np.concatenate([slope, np.cross(offset, slope), values[:, None]], axis=1)
    inverse = []
    for stride in (8, 1):
        part = jacobian[::stride]
        hessian = part.T @ part
        size = np.sqrt(np.maximum(np.diag(hessian), 1e-30))
        inverse.append(np.linalg.pinv(hessian / np.outer(size, size)) / np.outer(size, size))
    return points, values, jacobian.astype(np.float32), np.stack(inverse)


def estimate(
    run: Image,
    *,
    reference: Literal["first", "middle", "mean"] = "first",
    fwhm: float = 5.0,
    separation: float = 4.0,
    progress: Progress = QUIET,
) -> Motion:
    """Motion of every scan of ``run`` relative to the reference.

    Parameters
    ----------
    reference
        The first or the middle scan; ``mean`` aligns to the first, then again to the mean of what
        came out.
    fwhm
        Smoothing in mm before differences are taken.
    separation
        About how far apart the voxels are that are looked at, in mm.
    """
    data = volumes(run, "acquire.fmri.realign")
    if reference == "mean":
        rough = _estimate(run.grid, data, data[0], fwhm, separation, _half(progress, 0.0))
        mean = _reslice(data, run.grid, rough.parameters).mean(axis=0)
        return _estimate(run.grid, data, mean, fwhm, separation, _half(progress, 0.5))
    fixed = data[0 if reference == "first" else len(data) // 2]
    return _estimate(run.grid, data, fixed, fwhm, separation, progress)


def _half(progress: Progress, start: float) -> Progress:
    return Progress(lambda f, m: progress(start + f / 2, m))


def _estimate(
    grid: Grid, data: Array, fixed: Array, fwhm: float, separation: float, progress: Progress
) -> Motion:
    kernels = [kernel(fwhm if n > 1 else 0.0, s)
               for n, s in zip(grid.shape, grid.spacing, strict=True)]  # fmt: skip
    if not np.isfinite(data).all():
        raise ParameterError(
            "acquire.fmri.realign: the run has values that are not finite; replace them first"
        )
    points, values, jacobian, inverse = _reference(
        np.ascontiguousarray(fixed, np.float32), grid, kernels, separation
    )
    about = np.eye(4)
    about[:3, 3] = rigid.centre_of(grid)
    into, affine = np.linalg.inv(grid.affine) @ about, np.linalg.inv(about) @ grid.affine
    found = np.empty((len(data), 4, 4))
    steps = np.zeros(len(data), np.int32)
    piece = 8
    for first in progress.over(range(0, len(data), piece), "finding motion"):
        part = slice(first, min(first + piece, len(data)))
        in_chunks(
            _volumes, part.stop - first, data[part], *kernels, points, jacobian, inverse, values,
            into, affine, found[part], steps[part],
        )  # fmt: skip
    zero = np.zeros(3)
    return Motion(np.array([rigid.parameters(m, zero) for m in found]), steps)


@numba.njit(nogil=True, cache=True)
def _resliced(start: int, stop: int, data: Array, matrices: Float, out: Array) -> None:
    c = np.empty(data.shape[1:], np.float32)
    for k in range(start, stop):
        interpolate.prefilter_into(data[k], c)
        interpolate.resample_into(c, matrices[k], out[k], np.nan)


def _reslice(data: Array, grid: Grid, parameters: Float, progress: Progress = QUIET) -> Array:
    centre = rigid.centre_of(grid)
    matrices = np.stack(
        [rigid.between(grid, rigid.matrix(p, centre), grid)[:3] for p in parameters]
    )
    out = np.empty_like(data)
    piece = 8
    for first in progress.over(range(0, len(data), piece), "moving back"):
        part = slice(first, min(first + piece, len(data)))
        in_chunks(_resliced, part.stop - first, data[part], matrices[part], out[part])
    # Voxels that were out of sight once would jump: they are 0 throughout.
    lost = np.isnan(out).any(axis=0)
    out[:, lost] = 0
    return out


def reslice(run: Image, motion: Motion, *, progress: Progress = QUIET) -> Image:
    """The run as if the head had not moved: cubic B-splines, one interpolation.

    Voxels that any scan moves out of the field are 0 in all.
    """
    data = volumes(run, "acquire.fmri.realign")
    if len(motion.parameters) != len(data):
        raise ParameterError(
            f"the motion has {len(motion.parameters)} entries for {len(data)} scans"
        )
    return like_run(run, _reslice(data, run.grid, motion.parameters, progress), "realigned")


@operation("acquire.fmri.realign")
def realign(
    run: Image,
    *,
    reference: Annotated[
        Literal["first", "middle", "mean"],
        Param("What all scans are aligned to; mean: the first, then the mean of the result"),
    ] = "first",
    fwhm: Annotated[
        float,
        Param("Smoothing while motion is sought", unit="mm", minimum=0.0, maximum=20.0),
    ] = 5.0,
    separation: Annotated[
        float,
        Param(
            "Distance of the voxels looked at", unit="mm", minimum=1.0, maximum=20.0, advanced=True
        ),
    ] = 4.0,
    progress: Progress = QUIET,
) -> Image:
    """Take head motion out of a run: rigid, scan by scan, cubic splines.

    Shape ``(t, nz, ny, nx)`` in and out, float32. `estimate` and `reslice` are the two halves;
    `estimate` gives the six parameters per scan and framewise displacement.
    """
    motion = estimate(run, reference=reference, fwhm=fwhm, separation=separation,
                      progress=_half(progress, 0.0))  # fmt: skip
    return reslice(run, motion, progress=_half(progress, 0.5))
