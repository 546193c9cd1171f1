"""Where a map is more than noise: error rates for many voxels at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.fmri import fields
from somascope.acquire.fmri.runs import map_of
from somascope.core import QUIET, Grid, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

NAME = "acquire.fmri.threshold"


def fdr(p: Array, q: float) -> float:
    """Largest p value that may count so that at most a share ``q`` of those that do is false.

    Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289-300; -1 where none may.
    """
    ordered = np.sort(np.asarray(p, np.float64).ravel())
    n = ordered.size
    below = np.flatnonzero(ordered <= q * np.arange(1, n + 1) / n) if n else np.zeros(0, int)
    return float(ordered[below[-1]]) if below.size else -1.0


@dataclass(frozen=True)
class Cluster:
    """Neighbouring voxels above a height: voxels, their volume, and the place of the peak."""

    label: int
    voxels: int
    volume_mm3: float
    peak: float
    position: tuple[float, float, float]
    """LPS mm."""


def clusters(
    data: Array, above: Array, grid: Grid, *, neighbours: Literal[6, 18, 26] = 18
) -> tuple[Array, list[Cluster]]:
    """Labels ``(nz, ny, nx)`` of the clusters of ``above``, and the clusters, largest first."""
    from scipy import ndimage

    rank = {6: 1, 18: 2, 26: 3}[neighbours]
    labelled: Any = ndimage.label(above, ndimage.generate_binary_structure(3, rank))
    labels, count = labelled
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    found: list[Cluster] = []
    if count:
        peaks = ndimage.maximum_position(np.abs(data), labels, np.arange(1, count + 1))
        for label, at in enumerate(peaks, 1):
            l, p, s = grid.to_world(np.array(at, float))
            found.append(Cluster(
                label, int(sizes[label]), float(sizes[label] * grid.voxel_volume),
                float(data[tuple(at)]), (float(l), float(p), float(s)),
            ))  # fmt: skip
    found.sort(key=lambda c: (-c.voxels, c.label))
    return labels, found


@dataclass(frozen=True)
class Level:
    """A height for z, and the least extent in voxels of what is kept above it."""

    height: float
    extent: int = 1


def level(
    z: Array,
    mask: Array,
    *,
    method: Literal["none", "fdr", "bonferroni", "rft", "cluster"],
    alpha: float,
    forming: float = 3.1,
    fwhm: Float | None = None,
    both: bool = False,
) -> Level:
    """Height and extent that hold the chosen error rate in a z map ``(nz, ny, nx)``.

    Parameters
    ----------
    method
        ``none``: ``forming`` as it is. ``fdr``: share of false ones among those found.
        ``bonferroni``, ``rft``: chance of any false voxel. ``cluster``: chance of any false
        cluster above ``forming``.
    fwhm
        Smoothness along (z, y, x) in voxels, needed by ``rft`` and ``cluster``; default: that of
        the map itself, which counts real activation as smoothness.
    both
        Look for negative values as well: each side gets half of ``alpha``.
    """
    from scipy import stats

    values = np.asarray(z, np.float64)[mask]
    if values.size == 0:
        raise ParameterError(f"{NAME}: the map has no voxel that is not 0; nothing to judge")
    side = alpha / 2 if both else alpha
    if method == "none":
        return Level(forming)
    if method == "fdr":
        tested = np.abs(values) if both else values
        p = stats.norm.sf(tested) * (2 if both else 1)
        found = fdr(p, alpha)
        if found < 0:
            return Level(float("inf"))
        return Level(float(stats.norm.isf(found / (2 if both else 1))))
    if method == "bonferroni":
        return Level(float(stats.norm.isf(side / values.size)))
    size = fields.smoothness(np.asarray(z)[None], mask) if fwhm is None else np.asarray(fwhm)
    counts = fields.resels(mask, size)
    if method == "rft":
        # Where voxels are coarser than the field, counting them is the sharper bound.
        u = min(fields.height(side, counts), float(stats.norm.isf(side / values.size)))
        return Level(u)
    return Level(forming, fields.extent(forming, counts, values.size).least(side))


def apply(
    data: Array, at: Level, grid: Grid, *, both: bool, neighbours: Literal[6, 18, 26] = 18
) -> Array:
    """``data`` where it passes, 0 elsewhere; positive and negative clusters are told apart."""
    out = np.zeros_like(data)
    for sign in (1, -1) if both else (1,):
        above = sign * data >= at.height
        if at.extent > 1:
            labels, found = clusters(data, above, grid, neighbours=neighbours)
            kept = [c.label for c in found if c.voxels >= at.extent]
            above = np.isin(labels, kept) if kept else np.zeros_like(above)
        out[above] = data[above]
    return out


@operation(NAME)
def threshold(
    image: Image,
    *,
    method: Annotated[
        Literal["none", "fdr", "bonferroni", "rft", "cluster"],
        Param(
            "Error held: none, share of false voxels (fdr), any false voxel (bonferroni, random "
            "field), any false cluster"
        ),
    ] = "fdr",
    alpha: Annotated[float, Param("Rate of that error", minimum=1e-6, maximum=0.5)] = 0.05,
    height: Annotated[
        float, Param("Height in z for none, and that forms clusters", minimum=0.0, maximum=37.0)
    ] = 3.1,
    fwhm: Annotated[
        tuple[float, ...],
        Param(
            "Smoothness of the noise, one number or dz, dy, dx; empty: that of the map",
            unit="mm",
            minimum=0.1,
            maximum=100.0,
        ),
    ] = (),
    sides: Annotated[Literal["positive", "both"], Param("Signs that count")] = "positive",
    extent: Annotated[
        int, Param("Least voxels of a cluster, besides", minimum=1, maximum=1_000_000)
    ] = 1,
    progress: Progress = QUIET,
) -> Image:
    """Keep what is more than noise in a z map; the rest becomes 0.

    The map ``(nz, ny, nx)`` holds z (of `acquire.fmri.glm`); voxels that are exactly 0 or NaN are
    outside. Clusters hang together over faces and edges.
    """
    if image.axes or image.data.dtype.kind == "c":
        raise ParameterError(f"{NAME} needs one real map; take one with image.at(...)")
    if len(fwhm) not in (0, 1, 3):
        raise ParameterError(f"{NAME}: fwhm is {list(fwhm)}; give one number, three, or none")
    progress(0.0, "smoothness")
    z = np.nan_to_num(image.data.astype(np.float32), nan=0.0)
    mask = z != 0
    wanted: Sequence[float] = fwhm * 3 if len(fwhm) == 1 else fwhm
    size = np.asarray(wanted) / image.grid.spacing if wanted else None
    both = sides == "both"
    found = level(z, mask, method=method, alpha=alpha, forming=height, fwhm=size, both=both)
    found = Level(found.height, max(found.extent, extent))
    made = apply(z, found, image.grid, both=both)
    progress(1.0, "judged")
    return map_of(image, made, unit=image.unit, text=f"{method} {alpha:g}")
