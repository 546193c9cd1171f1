"""Frames of a multi-frame object as slices of one grid: positions sorted, gaps counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from somascope.core.errors import GeometryError
from somascope.core.grid import Float, Grid


@dataclass(frozen=True, eq=False)
class Stack:
    """A grid, and for each frame the slice of it that the frame is."""

    grid: Grid
    slices: tuple[int, ...]


def item(dataset: Dataset, index: int, group: str) -> Dataset | None:
    """The functional group of frame ``index``: its own, else the shared one, else None."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for holder in ([frames[index]] if index < len(frames) else []) + list(shared[:1]):
        found = holder.get(group)
        if found:
            return found[0]
    return None


def value(dataset: Dataset, index: int, group: str, keyword: str) -> Any:
    """An attribute of a functional group of a frame, or None."""
    found = item(dataset, index, group)
    return found.get(keyword) if found is not None else None


def assemble(dataset: Dataset, *, frames: int) -> Stack:
    """Where the frames of ``dataset`` are.

    Slices are evenly spaced on the grid; positions that no frame has are left as gaps. They follow
    the order in which the object counts its positions where it counts them along a line, else the
    normal of the planes.

    Raises
    ------
    GeometryError
        Frames of several orientations or sizes, or positions that are not on one even line.
    """
    shape = int(dataset.Rows), int(dataset.Columns)
    frame = str(dataset.get("FrameOfReferenceUID") or "")
    cosines = [
        value(dataset, i, "PlaneOrientationSequence", "ImageOrientationPatient")
        for i in range(frames)
    ]
    spots = [
        value(dataset, i, "PlanePositionSequence", "ImagePositionPatient") for i in range(frames)
    ]
    measures = item(dataset, 0, "PixelMeasuresSequence") or Dataset()
    dy, dx = [float(v) for v in measures.get("PixelSpacing") or (1.0, 1.0)]
    gap = abs(float(measures.get("SpacingBetweenSlices") or 0))
    thickness = float(measures.get("SliceThickness") or 0)
    if any(c is None for c in cosines) or any(s is None for s in spots):
        flat = Grid.from_spacing((1, *shape), (gap or thickness or 1.0, dy, dx))
        return Stack(flat, (0,) * frames)
    first = np.array(cosines[0], float)
    if np.abs(np.array(cosines, float) - first).max() > 1e-4:
        raise GeometryError(
            "the frames have several orientations and are no single volume; split them by "
            "Image Orientation (Patient)"
        )
    row, column = first[:3], first[3:]
    normal = np.cross(row, column)
    points = np.array(spots, float)
    indices, step, origin = _line(points, normal, gap or thickness or 1.0, known=bool(gap))
    if _counts_down(dataset, indices, frames):
        origin = origin + step * max(indices)
        step, indices = -step, max(indices) - indices
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([step, column * dy, row * dx])
    affine[:3, 3] = origin
    return Stack(
        Grid((int(max(indices)) + 1, *shape), affine, frame), tuple(int(i) for i in indices)
    )


def _line(
    points: Float, normal: Float, gap: float, *, known: bool
) -> tuple[np.ndarray[Any, Any], Float, Float]:
    """Slice index of each point, the step from slice to slice, the first point."""
    along = points @ normal
    order = np.argsort(along, kind="stable")
    levels = along[order]
    distinct = np.concatenate(([True], np.diff(levels) > 1e-3))
    depths = levels[distinct]
    first, last = points[order[0]], points[order[-1]]
    if len(depths) == 1:
        return np.zeros(len(points), int), normal * gap, first
    least = float(np.diff(depths).min())
    step = gap if known and _even(depths, gap) else least
    if not _even(depths, step):
        raise GeometryError(
            f"the frames lie at uneven distances ({np.diff(depths).min():.4f} to "
            f"{np.diff(depths).max():.4f} mm) and are no regular volume"
        )
    count = round(float(depths[-1] - depths[0]) / step)
    vector = (last - first) / count
    indices = np.rint((along - depths[0]) / (vector @ normal)).astype(int)
    misfit = np.abs(points - first - indices[:, None] * vector).max()
    if misfit > max(0.05 * step, 2e-3):
        raise GeometryError(f"the frames are not on one line (off by {misfit:.4f} mm)")
    return indices, vector, first


def _even(depths: Float, step: float) -> bool:
    steps = (depths - depths[0]) / step
    return step > 0 and bool(np.abs(steps - np.rint(steps)).max() < 0.05)


def _counts_down(dataset: Dataset, indices: Sequence[int] | Any, frames: int) -> bool:
    """Whether the object's own index of positions falls while the normal rises."""
    from pydicom.datadict import keyword_for_tag

    words = [
        keyword_for_tag(d.get("DimensionIndexPointer") or 0)
        for d in dataset.get("DimensionIndexSequence") or []
    ]
    place = next(
        (words.index(w) for w in ("ImagePositionPatient", "InStackPositionNumber") if w in words),
        None,
    )
    if place is None or frames < 2:
        return False
    counts: list[int] = []
    for i in range(frames):
        numbers = value(dataset, i, "FrameContentSequence", "DimensionIndexValues")
        numbers = list(numbers) if hasattr(numbers, "__iter__") else [numbers]
        if place >= len(numbers) or numbers[place] is None:
            return False
        counts.append(int(numbers[place]))
    pairs = sorted(set(zip(counts, (int(i) for i in indices), strict=True)))
    order = [i for _, i in pairs]
    return len(order) > 1 and all(b < a for a, b in pairwise(order))
