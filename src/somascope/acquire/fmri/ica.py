"""Networks without a task: spatial independent components of a run or of several.

Whitening by principal components, then FastICA with the symmetric update and the contrast
``log cosh`` (Hyvarinen, IEEE Trans. Neural Netw. 10 (1999) 626-634). Several runs are reduced one
by one, then put one under another (Calhoun et al., Hum. Brain Mapp. 14 (2001) 140-151).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from somascope.acquire.fmri.choices import HighPass, RepetitionTime
from somascope.acquire.fmri.connectivity import cleaned
from somascope.acquire.fmri.runs import head_mask, map_of, repetition_time, volumes
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

NAME = "acquire.fmri.ica"


@dataclass(frozen=True, eq=False)
class Components:
    """``maps`` ``(k, v)`` in z (unit variance over voxels) and their courses ``(scans, k)``.

    Sorted by the variance they explain; each map's heavier tail is positive.
    """

    maps: Float
    courses: Float
    steps: int
    settled: bool


def fastica(
    y: Array, count: int, *, seed: int = 0, iterations: int = 200, tolerance: float = 1e-5,
    progress: Progress = QUIET,
) -> Components:  # fmt: skip
    """Spatially independent components of ``y`` ``(scans, v)``, whose rows are mixtures."""
    data = np.asarray(y, np.float64)
    data = data - data.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(data @ data.T)
    order = np.argsort(values)[::-1][:count]
    if count > len(data) or values[order[-1]] <= 1e-10 * values[order[0]]:
        rank = int((values > 1e-10 * values.max()).sum())
        raise ParameterError(f"{NAME}: {count} components asked and the run has rank {rank}")
    voxels = data.shape[1]
    reduce_ = (vectors[:, order] / np.sqrt(values[order] / voxels)).T
    white = reduce_ @ data
    w = _orthogonal(np.random.default_rng(seed).normal(size=(count, count)))
    settled, step = False, 0
    for step in range(1, iterations + 1):
        progress(step / iterations, "separating")
        g = np.tanh(w @ white)
        slope = (1 - g * g).mean(axis=1)
        new = _orthogonal(g @ white.T / voxels - slope[:, None] * w)
        change = float(np.abs(np.abs((new * w).sum(axis=1)) - 1).max())
        w = new
        if change < tolerance:
            settled = True
            break
    maps = w @ white
    tail = (maps**3).mean(axis=1)
    maps *= np.where(tail < 0, -1, 1)[:, None]
    courses = data @ maps.T / voxels
    best = np.argsort(-(courses**2).sum(axis=0), kind="stable")
    return Components(maps[best], courses[:, best], step, settled)


def _orthogonal(w: Float) -> Float:
    """The nearest matrix with orthonormal rows."""
    u, _, v = np.linalg.svd(w, full_matrices=False)
    return u @ v


def _reduced(y: Array, count: int) -> Float:
    """The strongest ``count`` rows of a run's courses, each of unit variance."""
    values, vectors = np.linalg.eigh(y @ y.T)
    best = np.argsort(values)[::-1][:count]
    return (vectors[:, best].T @ y) / np.sqrt(np.maximum(values[best], 1e-30) / y.shape[1])[:, None]


@operation(NAME)
def ica(
    *runs: Image,
    components: Annotated[int, Param("Number of components", minimum=1, maximum=200)] = 10,
    high_pass: HighPass = 100.0,
    seed: Annotated[int, Param("Of the start", minimum=0)] = 0,
    repetition: RepetitionTime = None,
    progress: Progress = QUIET,
) -> list[Image]:
    """Spatial independent components of one run, or of a group of runs on one grid.

    One z map ``(nz, ny, nx)`` per component, those that explain most first, 0 outside the head.
    """
    if len(runs) < 1:
        raise ParameterError(f"{NAME} needs at least one run")
    data = [volumes(r, NAME, least=max(components + 2, 8)) for r in runs]
    first = runs[0]
    for number, run in enumerate(runs[1:], 2):
        if not run.grid.allclose(first.grid):
            raise GeometryError(
                f"{NAME}: run {number} is on {run.grid!r} and the first on {first.grid!r}; bring "
                "all to one grid first"
            )
    mask = np.logical_and.reduce([head_mask(d) for d in data])
    if mask.sum() <= components:
        raise ParameterError(f"{NAME}: {int(mask.sum())} voxels for {components} components")
    progress(0.0, "cleaning")
    rows = []
    for run, values in zip(runs, data, strict=True):
        courses = cleaned(
            values[:, mask], repetition=repetition_time(run, repetition, NAME),
            high_pass=high_pass,
        )  # fmt: skip
        rows.append(_reduced(courses, components) if len(runs) > 1 else courses)
    found = fastica(
        np.concatenate(rows), components, seed=seed,
        progress=Progress(lambda f, m: progress(0.1 + 0.9 * f, m)),
    )  # fmt: skip
    out = []
    for k, values in enumerate(found.maps):
        whole = np.zeros(mask.shape, np.float32)
        whole[mask] = values
        out.append(map_of(first, whole, unit="1", text=f"component {k + 1}"))
    progress(1.0, "done")
    return out
