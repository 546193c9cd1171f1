"""Places that rise and fall together: with a seed, and the parts of an atlas with each other."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.fmri.choices import Confounds, HighPass, RepetitionTime
from somascope.acquire.fmri.design import confounds_of, cosines
from somascope.acquire.fmri.runs import head_mask, map_of, repetition_time, volumes
from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

SEED = "acquire.fmri.seed"


def cleaned(
    data: Array, *, repetition: float, high_pass: float | None, low_pass: float | None = None,
    confounds: Float | None = None,
) -> Array:  # fmt: skip
    """Courses ``(scans, v)`` without mean, drifts, confounds and (where given) fast waves.

    ``high_pass`` and ``low_pass`` are periods in s; everything is taken off in one regression, so
    that nothing that one step removed comes back by another.
    """
    scans = len(data)
    slow = cosines(scans, repetition, period=high_pass) if high_pass else np.zeros((scans, 0))
    parts = [np.ones((scans, 1)) / np.sqrt(scans), slow]
    if low_pass is not None:
        every = cosines(scans, repetition, period=2 * repetition)
        kept = cosines(scans, repetition, period=low_pass).shape[1]
        parts.append(every[:, kept:])
    if confounds is not None and confounds.size:
        parts.append(confounds - confounds.mean(axis=0))
    columns = np.concatenate(parts, axis=1)
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    basis = u[:, s > 1e-9 * s[0]]
    if basis.shape[1] >= scans - 2:
        raise ParameterError(
            f"{basis.shape[1]} columns to take off from {scans} scans leave nothing; use fewer "
            "confounds or longer periods"
        )
    q = basis.astype(np.float32)
    centred = data - data.mean(axis=0)
    return centred - q @ (q.T @ centred)


def correlation(courses: Array, with_course: Array) -> Array:
    """Pearson's r of each column of ``(scans, v)`` with one course, both without mean."""
    size = np.linalg.norm(courses, axis=0) * np.linalg.norm(with_course)
    top = with_course.astype(np.float32) @ courses
    return np.divide(top, size, out=np.zeros_like(top), where=size > 0)


@operation(SEED)
def seed(
    run: Image,
    *,
    position: Annotated[
        tuple[float, float, float], Param("Middle of the seed, L, P, S", unit="mm")
    ],
    radius: Annotated[float, Param("Radius of the seed", unit="mm", minimum=0.1)] = 6.0,
    high_pass: HighPass = 100.0,
    low_pass: Annotated[
        float | None, Param("Shortest period that is kept; none keeps all", unit="s", minimum=0.1)
    ] = None,
    confounds: Confounds = "",
    repetition: RepetitionTime = None,
    progress: Progress = QUIET,
) -> Image:
    """Map of the correlation of every voxel with the mean course of a sphere.

    Pearson's r, float32, 0 outside the head; drifts, confounds and fast waves are taken off
    first. A seed smaller than a voxel takes the nearest one.
    """
    data = volumes(run, SEED, least=8)
    spacing = repetition_time(run, repetition, SEED)
    mask = head_mask(data)
    index = np.argwhere(mask)
    away = np.linalg.norm(run.grid.to_world(index) - np.asarray(position), axis=1)
    chosen = away <= radius
    if not chosen.any():
        nearest = float(away.min())
        if nearest > radius + max(run.grid.spacing):
            raise ParameterError(
                f"{SEED}: the seed at {list(position)} mm is {nearest:.1f} mm from the nearest "
                "voxel with signal; give LPS millimetres inside the head"
            )
        chosen = away == nearest
    progress(0.1, "cleaning")
    more = None
    if confounds.strip():
        stated = str(run.attributes.get("Confounds") or "")
        more = confounds_of(confounds, stated, len(data))[0]
    courses = cleaned(
        data[:, mask], repetition=spacing, high_pass=high_pass, low_pass=low_pass, confounds=more
    )
    out = np.zeros(mask.shape, np.float32)
    out[mask] = correlation(courses, courses[:, chosen].mean(axis=1))
    progress(1.0, "correlated")
    where = ",".join(f"{v:g}" for v in position)
    return map_of(run, out, unit="1", text=f"r with {where}")


def regions(run: Image, atlas: Mask) -> tuple[Array, tuple[str, ...]]:
    """Mean course of each segment of an atlas on the run's grid: ``(scans, segments)``, names.

    Raises
    ------
    GeometryError
        The atlas lies on another grid.
    ParameterError
        A segment without a voxel.
    """
    if not run.grid.allclose(atlas.grid):
        raise GeometryError(
            f"the atlas is on {atlas.grid!r} and the run on {run.grid!r}; resample the atlas to "
            "the run (nearest)"
        )
    data = volumes(run, "regions")
    means, names = [], []
    for segment in atlas.segments:
        chosen = np.asarray(atlas.plane(segment.number)) > 0.5
        if not chosen.any():
            raise ParameterError(f"the atlas has no voxel of {segment.label!r} on the run's grid")
        means.append(data[:, chosen].mean(axis=1, dtype=np.float64))
        names.append(segment.label)
    return np.stack(means, axis=1), tuple(names)


def matrix(courses: Array, *, partial: bool = False) -> Float:
    """Correlations between courses ``(scans, k)``, ``(k, k)``; partial ones on request.

    Partial correlations come from the inverse of the covariance shrunk after Ledoit and Wolf
    (J. Multivar. Anal. 88 (2004) 365-411), which exists with few scans as well.
    """
    x = np.asarray(courses, np.float64)
    x = x - x.mean(axis=0)
    n, k = x.shape
    size = np.linalg.norm(x, axis=0)
    if (size == 0).any():
        raise ParameterError(f"course {np.flatnonzero(size == 0).tolist()} does not vary")
    x = x / size * np.sqrt(n)
    cov = x.T @ x / n
    if not partial:
        return np.clip(cov, -1, 1)
    mean = float(np.trace(cov)) / k
    far = float(((cov - mean * np.eye(k)) ** 2).sum())
    spread = float(((x**2).T @ (x**2) / n - cov**2).sum()) / n
    share = min(1.0, spread / far) if far > 0 else 1.0
    precision = np.linalg.inv((1 - share) * cov + share * mean * np.eye(k))
    scale = np.sqrt(np.diag(precision))
    out = -precision / np.outer(scale, scale)
    np.fill_diagonal(out, 1.0)
    return out
