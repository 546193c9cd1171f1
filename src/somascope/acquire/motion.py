"""Rigid motion of a body from volume to volume: found by least squares, and undone.

Gauss-Newton in the inverse-compositional form (Baker and Matthews, Int. J. Comput. Vis. 56 (2004)
221-255) with the sum of squared differences and a free brightness: the gradient of the reference
is taken once, so that a step costs one interpolation per voxel.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from somascope.acquire import rigid, splines
from somascope.core import QUIET, Grid, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks, sealed
from somascope.process.separable import convolve_into, gaussians, prepared

_STEPS = 40
_STILL = 1e-4
_PIECE = 8
"""Volumes between two looks at progress."""
_SIGMA = float(1 / np.sqrt(8 * np.log(2)))


@numba.njit(nogil=True, cache=True)
def _volumes(
    start: int, stop: int, data: Array, kz: Array, ky: Array, kx: Array, bz: Array, by: Array,
    bx: Array, points: Array, jacobian: Array, inverse: Float, values: Array, into: Float,
    affine: Float, out: Float, steps: Array,
) -> None:  # fmt: skip
    calm, c = np.empty(data.shape[1:], np.float32), np.empty(data.shape[1:], np.float32)
    for k in range(start, stop):
        convolve_into(data[k], kz, ky, kx, bz, by, bx, calm)
        splines.prefilter_into(calm, c)
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
            wrong = splines.value_at(c, a, b, d) - scale * values[i]
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
    calm: Array, grid: Grid, mask: Array, separation: float, what: str
) -> tuple[Array, Array, Array, Float]:
    """Points (indices), their values, Jacobian ``(n, 7)`` and the inverse Hessians (coarse, all).

    Parameters are mm and radians about the grid's centre, and brightness.
    """
    # Voxels within one of the border see the mirror image when the body moves.
    inner = np.zeros_like(mask)
    edge = tuple(slice(1, -1) if n > 4 else slice(None) for n in mask.shape)
    inner[edge] = mask[edge]
    step = [max(int(separation / s), 1) for s in grid.spacing]
    chosen = np.zeros_like(inner)
    chosen[:: step[0], :: step[1], :: step[2]] = inner[:: step[0], :: step[1], :: step[2]]
    points = np.argwhere(chosen)
    if len(points) < 100:
        raise ParameterError(
            f"{what}: the reference has {len(points)} voxels with signal; at least 100 are needed "
            "to see motion"
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
    data: Array,
    reference: Array,
    *,
    grid: Grid,
    body: Callable[[Array], Array],
    fwhm: float,
    separation: float,
    what: str,
    progress: Progress = QUIET,
) -> tuple[Float, Array]:
    """Motion of every volume against the reference.

    Parameters
    ----------
    data, reference
        ``(n, nz, ny, nx)`` and ``(nz, ny, nx)``, float32 in C order.
    body
        Tells the voxels with signal, bool, in the smoothed reference.
    fwhm
        Smoothing in mm before differences are taken.
    separation
        About how far apart the voxels are that are looked at, in mm.
    what
        Who asks, for messages.

    Returns
    -------
    tuple
        Six numbers per volume (`rigid`: mm and degrees about the centre of the grid), and the
        Gauss-Newton steps each took; more than 40 means that it did not settle.

    Raises
    ------
    ParameterError
        Values are not finite, or hardly any voxel of the reference has signal.
    """
    if not (np.isfinite(data).all() and np.isfinite(reference).all()):
        raise ParameterError(
            f"{what}: the series has values that are not finite; replace them first"
        )
    sigma = tuple(fwhm * _SIGMA / s for s in grid.spacing)
    kernels = prepared(grid.shape, gaussians(grid.shape, sigma), np.float32)
    calm = np.empty(grid.shape, np.float32)
    convolve_into(sealed(np.ascontiguousarray(reference, np.float32)), *kernels, calm)
    points, values, jacobian, inverse = _reference(calm, grid, body(calm), separation, what)
    about = np.eye(4)
    about[:3, 3] = rigid.centre_of(grid)
    into, affine = np.linalg.inv(grid.affine) @ about, np.linalg.inv(about) @ grid.affine
    found = np.empty((len(data), 4, 4))
    steps = np.zeros(len(data), np.int32)
    for first in progress.over(range(0, len(data), _PIECE), "finding motion"):
        part = slice(first, min(first + _PIECE, len(data)))
        in_chunks(
            _volumes, part.stop - first, sealed(data[part]), *kernels, points, jacobian, inverse,
            values, into, affine, found[part], steps[part],
        )  # fmt: skip
    zero = np.zeros(3)
    return np.array([rigid.parameters(m, zero) for m in found]), steps


@numba.njit(nogil=True, cache=True)
def _resliced(
    start: int, stop: int, data: Array, matrices: Float, fill: float, out: Array
) -> None:  # fmt: skip
    c = np.empty(data.shape[1:], np.float32)
    for k in range(start, stop):
        splines.prefilter_into(data[k], c)
        splines.resample_into(c, matrices[k], out[k], fill)


def reslice(
    data: Array, parameters: Float, *, grid: Grid, fill: float = 0.0, progress: Progress = QUIET
) -> Array:
    """Every volume as if the body had not moved: cubic B-splines, one interpolation.

    ``data`` is ``(n, nz, ny, nx)`` float32 in C order, ``parameters`` ``(n, 6)``; what lay outside
    the grid is ``fill``.
    """
    centre = rigid.centre_of(grid)
    matrices = np.stack(
        [rigid.between(grid, rigid.matrix(p, centre), grid)[:3] for p in parameters]
    )
    out = np.empty_like(data)
    for first in progress.over(range(0, len(data), _PIECE), "moving back"):
        part = slice(first, min(first + _PIECE, len(data)))
        given = sealed(data[part])
        in_chunks(_resliced, part.stop - first, given, matrices[part], fill, out[part])
    return out
