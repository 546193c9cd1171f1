"""Distortion of echo-planar images, undone with a field map.

Off resonance by ``f`` Hz a voxel is displaced along the phase-encoding axis by ``f`` times the time
that the readout spends on one voxel's width of k-space: ``f * echo_spacing * n`` voxels (Jezzard
and Balaban, Magn. Reson. Med. 34 (1995) 65-73).
"""

from __future__ import annotations

from typing import Annotated, Literal

import numba
import numpy as np

from somascope.acquire import splines
from somascope.acquire.fmri.runs import like_run, volumes
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks

NAME = "acquire.fmri.unwarp"
HERTZ = {"Hz": 1.0, "rad/s": 1 / (2 * np.pi), "1/s": 1.0}


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _pull(
    start: int, stop: int, data: Array, shift: Array, along_y: bool, jacobian: Array, out: Array,  # noqa: FBT001
) -> None:  # fmt: skip
    """``out(p) = data(p + shift e) * jacobian`` for the scans ``start`` to ``stop``."""
    nz, ny, nx = shift.shape
    for k in range(start, stop):
        c = np.empty((nz, ny, nx), np.float32)
        for z in range(nz):
            # Only the phase axis is interpolated: the slice is its own one-dimensional problem.
            if along_y:
                c[z] = data[k, z]
                splines.filter_lines(c[z])
            else:
                turned = np.ascontiguousarray(data[k, z].T)
                splines.filter_lines(turned)
                c[z] = turned.T
        for z in range(nz):
            for y in range(ny):
                for x in range(nx):
                    at = (y if along_y else x) + shift[z, y, x]
                    n = ny if along_y else nx
                    if at < -0.5 or at > n - 0.5:
                        out[k, z, y, x] = 0.0
                        continue
                    at = min(max(at, 0.0), n - 1.0)
                    i = int(np.floor(at))
                    w = splines.weights(at - i)
                    value = 0.0
                    for j in range(4):
                        m = splines.fold(i + j - 1, n)
                        value += w[j] * (c[z, m, x] if along_y else c[z, y, m])
                    out[k, z, y, x] = value * jacobian[z, y, x]


def displacement(field: Image, run: Image, *, echo_spacing: float, axis: int, sign: int) -> Array:
    """Voxels ``(nz, ny, nx)`` that the signal of each true place lies further along ``axis``.

    Parameters
    ----------
    field
        Map in ``Hz`` or ``rad/s`` on any grid of the same frame of reference; beyond it 0.
    echo_spacing
        Effective echo spacing in s.
    axis
        1 for y (BIDS ``j``), 2 for x (``i``).
    sign
        +1 where larger indices are encoded by positive frequencies.
    """
    if field.unit not in HERTZ:
        raise UnitError(
            f"{NAME}: the field map is in {field.unit!r}; give one in Hz or rad/s (a phase "
            "difference divided by the difference of echo times)"
        )
    if field.axes:
        raise ParameterError(f"{NAME}: the field map has the axes {field.axis_names}; give one map")
    a, b = field.grid.frame_of_reference, run.grid.frame_of_reference
    if a and b and a != b:
        raise GeometryError(
            f"{NAME}: the field map is in frame of reference {a} and the run in {b}; register them"
        )
    values = np.nan_to_num(field.data.astype(np.float32)) * np.float32(HERTZ[field.unit])
    if not field.grid.allclose(run.grid):
        affine = np.linalg.inv(field.grid.affine) @ run.grid.affine
        values = splines.resample(splines.coefficients(values), affine, run.grid.shape)
    return (sign * echo_spacing * run.grid.shape[axis] * values).astype(np.float32)


@operation(NAME)
def unwarp(
    run: Image,
    field: Image,
    *,
    echo_spacing: Annotated[
        float, Param("Effective echo spacing", unit="ms", minimum=0.001, maximum=100.0)
    ] = 0.5,
    direction: Annotated[
        Literal["j", "j-", "i", "i-"],
        Param("Phase encoding as in BIDS: j along rows' order (y), i along columns (x)"),
    ] = "j",
    jacobian: Annotated[
        bool, Param("Undo the brightening of squeezed and the darkening of stretched places")
    ] = True,
    progress: Progress = QUIET,
) -> Image:
    """Undo the distortion of an echo-planar run or volume with a field map in Hz or rad/s.

    Shape ``(t, nz, ny, nx)`` or ``(nz, ny, nx)`` in and out, float32. ``direction`` counts along
    the array's own axes: ``j`` is increasing y index, ``i`` increasing x index.
    """
    axis = 1 if direction.startswith("j") else 2
    sign = -1 if direction.endswith("-") else 1
    single = not run.axes
    data = (
        np.ascontiguousarray(run.data, np.float32)[None] if single else volumes(run, NAME, least=1)
    )
    shift = displacement(field, run, echo_spacing=echo_spacing / 1000, axis=axis, sign=sign)
    gain = 1 + np.gradient(shift, axis=axis) if shift.shape[axis] > 1 else np.ones_like(shift)
    if float(gain.min()) <= 0:
        raise ParameterError(
            f"{NAME}: the field map folds the image ({int((gain <= 0).sum())} voxels); its unit or "
            f"the echo spacing of {echo_spacing:g} ms is wrong, or smooth the map"
        )
    if not jacobian:
        gain = np.ones_like(shift)
    out = np.empty_like(data)
    piece = 8
    for first in progress.over(range(0, len(data), piece), "unwarping"):
        part = slice(first, min(first + piece, len(data)))
        in_chunks(
            _pull, part.stop - first, data[part], shift, axis == 1, gain.astype(np.float32),
            out[part],
        )  # fmt: skip
    return like_run(run, out[0] if single else out, "unwarped")
