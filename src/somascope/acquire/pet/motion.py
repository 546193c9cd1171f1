"""The head moves between frames: rigid motion of each found by least squares, and undone.

Motion is six numbers per frame: shifts L, P, S in mm and turns about L, P, S in degrees, of the
body in that frame against the reference, ``moved = R (x - c) + c + t`` with ``R = Rs Rp Rl`` and
``c`` the middle of the grid.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike

from somascope.core import QUIET, Grid, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

_STEPS = 40
_LEAST_COUNTS = 0.02


def matrix_of(motion: ArrayLike, grid: Grid) -> Float:
    """4x4 in LPS mm of six numbers."""
    numbers = np.asarray(motion, np.float64)
    a, b, c = np.deg2rad(numbers[3:6])
    ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
    about_l = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_p = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_s = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    turn = about_s @ about_p @ about_l
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    out = np.eye(4)
    out[:3, :3] = turn
    out[:3, 3] = centre - turn @ centre + numbers[:3]
    return out


def sampled(volume: Array, grid: Grid, matrix: Float, *, order: int = 1) -> Array:
    """``volume(matrix x)`` at every voxel ``x`` of ``grid``, float32; 0 outside."""
    from scipy.ndimage import affine_transform

    inner = np.linalg.inv(grid.affine) @ matrix @ grid.affine
    offset: Any = inner[:3, 3]
    return affine_transform(
        np.asarray(volume, np.float32), inner[:3, :3], offset, order=order, mode="constant"
    )


def moved(image: Image, motion: ArrayLike) -> Image:
    """The body of a volume (a mu-map, say) as it lies in a frame of that motion."""
    inverse = np.asarray(np.linalg.inv(matrix_of(motion, image.grid)), np.float64)
    return replace(image, data=sampled(image.data, image.grid, inverse))


def estimate(reference: Array, moving: Array, grid: Grid, *, smoothing: float = 8.0) -> Float:
    """Motion ``(6,)`` of ``moving`` against ``reference``, both ``(nz, ny, nx)``.

    Gauss-Newton on ``sum (reference(x) - g moving(T x))^2`` with the scale ``g`` free, since the
    activity changes from frame to frame; both smoothed by ``smoothing`` mm FWHM. Steps that do not
    lower the sum are halved.
    """
    from scipy.ndimage import gaussian_filter

    sigma = smoothing / 2.3548 / np.array(grid.spacing)
    fixed = gaussian_filter(np.asarray(reference, np.float32), sigma)
    other = gaussian_filter(np.asarray(moving, np.float32), sigma)
    level = max(float(np.quantile(fixed, 0.995)), 1e-30)
    chosen = fixed > 0.05 * level
    slopes = [np.asarray(g) for g in np.gradient(other)]
    to_world = np.linalg.inv(grid.affine[:3, :3])
    index = np.stack(np.nonzero(chosen), axis=1)
    place = grid.to_world(index) - grid.to_world((np.array(grid.shape) - 1) / 2)
    target = fixed[chosen].astype(np.float64)
    motion = np.zeros(6)

    def compare(trial: Float) -> tuple[Float, Float, float, Float]:
        matrix = matrix_of(trial, grid)
        seen = sampled(other, grid, matrix)[chosen].astype(np.float64)
        gain = float(seen @ target) / max(float(seen @ seen), 1e-30)
        return matrix, seen, gain, target - gain * seen

    matrix, seen, gain, rest = compare(motion)
    for _ in range(_STEPS):
        slope = np.stack([sampled(s, grid, matrix)[chosen] for s in slopes], axis=1) @ to_world
        turned = place @ matrix[:3, :3].T
        turns = np.cross(turned, slope) * (np.pi / 180)
        design = gain * np.concatenate([slope, turns, seen[:, None] / gain], axis=1)
        scale = np.linalg.norm(design, axis=0)
        scale[scale == 0] = 1
        step = np.linalg.lstsq(design / scale, rest, rcond=1e-8)[0] / scale
        change = step[:6]
        before = float(rest @ rest)
        for _ in range(6):
            trial = compare(motion + change)
            if float(trial[3] @ trial[3]) <= before:
                break
            change = change / 2
        else:
            break
        motion = motion + change
        matrix, seen, gain, rest = trial
        if np.abs(change).max() < 1e-4:
            break
    return motion


def motion_of(
    image: Image, *, reference: int = -1, smoothing: float = 8.0, progress: Progress = QUIET
) -> Float:
    """Motion ``(frames, 6)`` of a dynamic image against one of its frames.

    Frames with hardly any activity (before the tracer comes) keep the motion of the next one.
    """
    count = image.shape[0]
    if not -count <= reference < count:
        raise ParameterError(
            f"reference frame {reference} of {count}; count from 0, or -1 for last"
        )
    target = reference % count
    level = np.array([float(np.quantile(v, 0.98)) for v in image.data])
    found = np.zeros((count, 6))
    known = [target]
    for i in range(count):
        progress(i / count, f"frame {i + 1}")
        if i == target or level[i] < _LEAST_COUNTS * level.max():
            continue
        found[i] = estimate(image.data[target], image.data[i], image.grid, smoothing=smoothing)
        known.append(i)
    for i in range(count):
        if i not in known:
            found[i] = found[min((k for k in known if k > i), default=target)]
    return found


@operation("acquire.pet.motion")
def motion(
    image: Image,
    *,
    reference: Annotated[
        int, Param("Frame to which all are aligned, from 0; -1 for the last", minimum=-1,
                   maximum=10000)
    ] = -1,
    transforms: Annotated[
        tuple[float, ...] | None,
        Param("Known motion: six numbers per frame (mm along L, P, S; degrees about L, P, S); "
              "estimated if not given"),
    ] = None,
    smoothing: Annotated[
        float, Param("Blur before frames are compared, FWHM", unit="mm", minimum=0.0, maximum=40.0)
    ] = 8.0,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Align the frames of a dynamic image: rigid motion between frames is found and undone.

    Least squares against the reference frame with a free scale, since the tracer's distribution
    changes; frames without activity move with the next one. The frames should have been
    reconstructed with attenuation at their own position (`motion.moved` moves a mu-map there).
    Shape and axes stay; linear interpolation.
    """
    if [a.name for a in image.axes] != ["t"]:
        raise ParameterError(
            f"acquire.pet.motion takes frames along t; this image has {list(image.axis_names[:-3])}"
        )
    count = image.shape[0]
    if transforms is None:
        found = motion_of(image, reference=reference, smoothing=smoothing, progress=progress)
    elif len(transforms) == 6 * count and np.isfinite(transforms).all():
        found = np.reshape(transforms, (count, 6))
    else:
        raise ParameterError(
            f"acquire.pet.motion: {len(transforms)} numbers of motion for {count} frames; give "
            f"{6 * count} finite ones"
        )
    data = np.empty(image.shape, np.float32)
    for i in range(count):
        still = not np.any(found[i])
        data[i] = (
            image.data[i]
            if still
            else sampled(image.data[i], image.grid, matrix_of(found[i], image.grid))
        )
    progress(1.0, "aligned")
    return replace(image, data=data)
