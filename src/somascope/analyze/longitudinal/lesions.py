"""Lesions of one examination: which they are, how large, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from somascope.analyze.longitudinal.codes import LYMPH_NODE
from somascope.analyze.measure.outline import in_plane_axes
from somascope.analyze.measure.regions import Region, regions, tracking
from somascope.analyze.measure.surface import area, volume_uncertainty
from somascope.core.errors import ParameterError
from somascope.core.finding import Mask, Segment, Tracking
from somascope.core.grid import Array, Float, Grid
from somascope.io.dicom import uid
from somascope.process.components import label as components

Each: TypeAlias = Literal["segment", "component"]

_MOST = 2000


@dataclass(frozen=True, eq=False)
class Size:
    """Volume in mm3, in-plane axes in mm, each with its standard uncertainty."""

    volume: float
    volume_spread: float
    long: float
    short: float
    spread: float

    @property
    def mean(self) -> float:
        """Of long and short axis, as nodules of the lung are measured."""
        return (self.long + self.short) / 2


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion of one examination: its voxels, who it is, its size.

    ``cut``: it reaches the edge of the image and may go on beyond. ``faint``: its outline was
    carried over from the prior examination, as its contrast gives none: its size is no measurement.
    """

    region: Region
    tracking: Tracking
    size: Size
    cut: bool = False
    faint: bool = False

    @property
    def open(self) -> bool:
        """Whether its size is not known."""
        return self.cut or self.faint

    @property
    def segment(self) -> Segment:
        """What its mask says about it."""
        return self.region.segment

    @property
    def name(self) -> str:
        """For people."""
        return self.tracking.name or self.segment.label

    @property
    def node(self) -> bool:
        """Whether it is a lymph node: its short axis counts then (RECIST 1.1, section 3.1.3)."""
        words = self.segment.label.lower()
        coded = self.segment.concept.value in LYMPH_NODE
        return coded or "lymph node" in words or words.startswith("node")

    @property
    def centre(self) -> Float:
        """Centre of gravity in LPS mm."""
        return self.region.grid.to_world(np.argwhere(self.region.inside).mean(axis=0))


def lesions(mask: Mask, *, each: Each = "segment", outline: float = 0.2) -> list[Lesion]:
    """The lesions in a mask, in its order.

    Parameters
    ----------
    mask
        One segment for each lesion, or with ``each="component"`` any connected body of a segment.
    outline
        Standard uncertainty in mm of where the outline lies, the same all round.

    Raises
    ------
    ParameterError
        More than 2000 bodies: those are no lesions.
    """
    if not mask.data.any():
        return []
    found: list[Lesion] = []
    for region in regions(mask):
        known = tracking(mask, region.segment)
        parts = [region] if each == "segment" else _parts(region)
        for i, part in enumerate(parts):
            who = known
            if len(parts) > 1:
                made = uid.derive("component", known.uid, str(i + 1))
                who = Tracking(made, f"{known.name} {i + 1}")
            found.append(Lesion(part, who, size(part, outline=outline), cut_off(part, mask.grid)))
    return found


def cut_off(region: Region, grid: Grid) -> bool:
    """Whether a region reaches the edge of its grid."""
    return any(
        whole > 1 and (start == 0 or start + n == whole)
        for start, n, whole in zip(region.start, region.inside.shape, grid.shape, strict=True)
    )


def size(region: Region, *, outline: float) -> Size:
    """How large a region is.

    An outline that lies ``outline`` mm too far out or in all round changes the volume by that
    times the surface; beside it stands what voxels can tell of a volume.
    """
    inside, grid = region.inside, region.grid
    axes = in_plane_axes(inside, grid)
    voxels = volume_uncertainty(inside, grid)
    surface = area(inside, grid)
    pixel = float(np.mean(grid.spacing[1:]))
    return Size(
        volume=region.volume,
        volume_spread=float(np.hypot(voxels, surface * outline)),
        long=axes.long,
        short=axes.short,
        spread=float(np.sqrt(2 * (outline**2 + pixel**2 / 12))),
    )


def _parts(region: Region) -> list[Region]:
    labels, counts = components(region.inside)
    if len(counts) > _MOST:
        raise ParameterError(
            f"the mask holds {len(counts)} bodies, {_MOST} are the most; keep the lesions alone "
            "(by minimum_volume of segment.threshold, or process.morphology)"
        )
    parts: list[Region] = []
    for i in range(len(counts)):
        at = np.argwhere(labels == i + 1)
        low, high = at.min(axis=0), at.max(axis=0) + 1
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        inside = labels[box] == i + 1
        start = tuple(int(a + b) for a, b in zip(region.start, low, strict=True))
        grid = region.grid.moved(start=low.tolist(), shape=inside.shape, step=(1, 1, 1))
        parts.append(replace(region, inside=inside, grid=grid, start=start))
    return parts


def box_of(region: Region) -> tuple[slice, ...]:
    """Where a region's box lies in the arrays of its grid."""
    return tuple(slice(a, a + n) for a, n in zip(region.start, region.inside.shape, strict=True))


def shared(one: Region, two: Region) -> int:
    """How many voxels two regions of one grid have in common."""
    low = np.maximum(one.start, two.start)
    high = np.minimum(np.add(one.start, one.inside.shape), np.add(two.start, two.inside.shape))
    if (high <= low).any():
        return 0
    return int(np.count_nonzero(_cut(one, low, high) & _cut(two, low, high)))


def _cut(region: Region, low: Array, high: Array) -> Array:
    return region.inside[
        tuple(
            slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, region.start, strict=True)
        )
    ]
