"""Bring a run's mean to an anatomical image or a template: affine, by mutual information.

Normalised mutual information (Studholme, Hill and Hawkes, Pattern Recognition 32 (1999) 71-86) of a
histogram with shared counts, climbed by Powell's method from coarse to fine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import numba
import numpy as np

from somascope.acquire import rigid, splines
from somascope.acquire.fmri.runs import head_mask, like_run
from somascope.acquire.fmri.smooth import gaussian
from somascope.core import QUIET, Image, Param, Progress, Warp, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

NAME = "acquire.fmri.coregister"
BINS = 32
LEVELS = (8.0, 4.0)
"""Spacing in mm of the voxels looked at, from coarse to fine."""
MOST = 40_000
"""Voxels looked at: more tell nothing that a histogram of 32 x 32 bins shows."""


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _histogram(moving: Array, points: Array, levels: Array, m: Float, out: Float) -> None:
    """Joint histogram ``(BINS, BINS)``; each sample is shared between two bins of the moving."""
    nz, ny, nx = moving.shape
    out[:] = 0.0
    for i in range(len(points)):
        z, y, x = points[i, 0], points[i, 1], points[i, 2]
        a = m[0, 0] * z + m[0, 1] * y + m[0, 2] * x + m[0, 3]
        b = m[1, 0] * z + m[1, 1] * y + m[1, 2] * x + m[1, 3]
        c = m[2, 0] * z + m[2, 1] * y + m[2, 2] * x + m[2, 3]
        if a < 0 or b < 0 or c < 0 or a > nz - 1 or b > ny - 1 or c > nx - 1:
            continue
        ia, ib, ic = int(a), int(b), int(c)
        ja, jb, jc = min(ia + 1, nz - 1), min(ib + 1, ny - 1), min(ic + 1, nx - 1)
        fa, fb, fc = a - ia, b - ib, c - ic
        near = (1 - fb) * ((1 - fc) * moving[ia, ib, ic] + fc * moving[ia, ib, jc]) + fb * (
            (1 - fc) * moving[ia, jb, ic] + fc * moving[ia, jb, jc]
        )
        far = (1 - fb) * ((1 - fc) * moving[ja, ib, ic] + fc * moving[ja, ib, jc]) + fb * (
            (1 - fc) * moving[ja, jb, ic] + fc * moving[ja, jb, jc]
        )
        value = (1 - fa) * near + fa * far
        k = int(value)
        part = value - k
        row = out[levels[i]]
        row[k] += 1.0 - part
        row[min(k + 1, row.size - 1)] += part


def _binned(data: Array) -> Array:
    """Values as fractional bins, the darkest and brightest half per cent cut."""
    low, high = np.quantile(data, (0.005, 0.995))
    scale = (BINS - 1.001) / max(float(high - low), 1e-12)
    return (np.clip(data - low, 0, high - low) * scale).astype(np.float32)


def _similarity(joint: Float) -> float:
    """Normalised mutual information, 1 to 2."""
    total = joint.sum()
    if total < 100:
        return 0.0
    p = joint / total

    def entropy(q: Float) -> float:
        q = q[q > 0]
        return float(-(q * np.log(q)).sum())

    return (entropy(p.sum(axis=0)) + entropy(p.sum(axis=1))) / max(entropy(p.ravel()), 1e-12)


def _volume(image: Image, what: str) -> Array:
    data = np.asarray(image.data, np.float32)
    if [a.name for a in image.axes] == ["t"]:
        data = data.mean(axis=0)
    elif image.axes:
        raise ParameterError(f"{NAME}: {what} has the axes {image.axis_names}; give one volume")
    return np.nan_to_num(data)


def _affine(p: Float, centre: Float, kind: str) -> Float:
    """4x4 of ``p``: mm and degrees (6), then scalings in % and shears (12)."""
    motion = rigid.matrix(p[:6], centre)
    if kind == "rigid":
        return motion
    stretch = np.eye(4)
    stretch[:3, :3] = np.diag(1 + p[6:9] / 100)
    stretch[0, 1], stretch[0, 2], stretch[1, 2] = p[9:12] / 100
    stretch[:3, 3] = centre - stretch[:3, :3] @ centre
    return motion @ stretch


def register(
    moving: Image,
    fixed: Image,
    *,
    kind: Literal["rigid", "affine"] = "rigid",
    start: Literal["frame", "centre"] = "frame",
    progress: Progress = QUIET,
) -> Warp:
    """The affine map from points of ``fixed`` to points of ``moving`` (LPS mm).

    Parameters
    ----------
    moving, fixed
        Volumes or runs (their mean counts), of any contrast.
    kind
        Six or twelve parameters.
    start
        Where they lie in their frames, or with the centres of their signal brought together.
    """
    from scipy.optimize import minimize

    a, b = _volume(moving, "the moving image"), _volume(fixed, "the fixed image")
    middle = _centre_of_mass(b, fixed)
    begin = np.zeros(12 if kind == "affine" else 6)
    if start == "centre":
        begin[:3] = _centre_of_mass(a, moving) - middle
    p = begin
    stages = [("rigid", LEVELS[0]), ("rigid", LEVELS[1])]
    stages += [("affine", LEVELS[1])] if kind == "affine" else []
    for number, (stage, spacing) in enumerate(stages):
        progress(number / len(stages), "registering")
        cost = _cost(a, moving, b, fixed, spacing, middle, stage)
        n = 6 if stage == "rigid" else 12
        reach = spacing / 2 if number else 4.0
        steps = np.diag([reach] * 6 + [2.0] * 6)[:n, :n]
        found: Any = minimize(
            cost, p[:n], method="Powell",
            options={"direc": steps, "xtol": 0.005 / reach, "ftol": 1e-7, "maxiter": 12},
        )  # fmt: skip
        p = p.copy()
        p[:n] = found.x
    progress(1.0, "registered")
    return Warp(
        matrix=_affine(p, middle, kind), fixed_frame=fixed.grid.frame_of_reference,
        moving_frame=moving.grid.frame_of_reference,
    )  # fmt: skip


def _centre_of_mass(data: Array, image: Image) -> Float:
    mask = head_mask(data)
    index = np.argwhere(mask) if mask.any() else np.argwhere(np.ones_like(mask))
    return image.grid.to_world(index.mean(axis=0))


def _cost(
    a: Array, moving: Image, b: Array, fixed: Image, spacing: float, middle: Float, kind: str
) -> Callable[[Float], float]:
    """Minus the similarity as a function of the parameters, at one resolution."""
    blur = spacing * 0.75
    still = _binned(gaussian(b[None], blur, fixed.grid.spacing)[0]).astype(np.int64)
    moved = _binned(gaussian(a[None], blur, moving.grid.spacing)[0])
    step = [max(int(spacing / s), 1) for s in fixed.grid.spacing]
    index = np.stack(
        np.meshgrid(*[np.arange(k // 2 if n > k else 0, n, k)
                      for n, k in zip(fixed.grid.shape, step, strict=True)], indexing="ij"), -1,
    ).reshape(-1, 3)  # fmt: skip
    if len(index) > MOST:
        index = index[np.sort(np.random.default_rng(0).permutation(len(index))[:MOST])]
    levels = still[index[:, 0], index[:, 1], index[:, 2]]
    points = index.astype(np.float64)
    joint = np.zeros((BINS, BINS))

    def cost(p: Float) -> float:
        m = rigid.between(moving.grid, _affine(p, middle, kind), fixed.grid)
        _histogram(moved, points, levels, np.ascontiguousarray(m[:3]), joint)
        return -_similarity(joint)

    return cost


def apply(image: Image, warp: Warp, like: Image, *, progress: Progress = QUIET) -> Image:
    """``image`` (any leading axes) on the grid of ``like``: cubic splines, 0 where it has no data.

    The result is in the frame of reference of ``like``.
    """
    if warp.displacement is not None:
        raise ParameterError(f"{NAME}: the warp bends; only affine ones are applied here")
    affine = rigid.between(image.grid, warp.matrix, like.grid)
    data = np.ascontiguousarray(image.data, np.float32).reshape(-1, *image.grid.shape)
    out = np.empty((len(data), *like.grid.shape), np.float32)
    for k in progress.over(range(len(data)), "resampling"):
        c = splines.coefficients(np.nan_to_num(data[k]))
        out[k] = splines.resample(c, affine, like.grid.shape)
    attributes = {**image.attributes}
    if like.grid.frame_of_reference:
        attributes["FrameOfReferenceUID"] = like.grid.frame_of_reference
    return replace(
        image, data=out.reshape(*image.shape[:-3], *like.grid.shape), grid=like.grid,
        attributes=attributes,
    )  # fmt: skip


@operation(NAME)
def coregister(
    image: Image,
    fixed: Image,
    *,
    kind: Annotated[
        Literal["rigid", "affine"], Param("Six parameters (same head), or twelve (a template)")
    ] = "rigid",
    start: Annotated[
        Literal["frame", "centre"],
        Param("Begin as they lie in space, or with their centres brought together"),
    ] = "frame",
    progress: Progress = QUIET,
) -> Image:
    """Move an image or a run onto the grid of another (anatomy, template) by mutual information.

    The first input moves, the second stays: ``(*leading, nz, ny, nx)`` onto the fixed grid,
    float32. Contrasts may differ. `register` gives the transformation alone, `apply` carries
    other images of the same examination (activation maps) along.
    """
    half = Progress(lambda f, m: progress(f / 2, m))
    rest = Progress(lambda f, m: progress(0.5 + f / 2, m))
    warp = register(image, fixed, kind=kind, start=start, progress=half)
    moved = apply(image, warp, fixed, progress=rest)
    return like_run(moved, moved.data, "coregistered")
