"""What is registered how: presets, and which one fits what the images are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from somascope.analyze.register.affine import Kind
from somascope.analyze.register.dense import Dense
from somascope.core.grid import Grid
from somascope.core.image import Image

Name: TypeAlias = Literal[
    "rigid",
    "similarity",
    "affine",
    "deformable",
    "brain",
    "multimodal",
    "lung",
    "followup",
    "slice",
]

SMALL_REGION = 100.0
"""mm across, below which an image is taken for a cut-out."""

MOST_VOXELS = 6_000_000
"""The finest level of a dense registration has no more; beyond, fields only get smoother."""


@dataclass(frozen=True)
class Preset:
    """``kind`` of the linear part, ``mutual`` information there (``None``: by contrast), degrees
    of starting turns, whether a ``dense``
    part follows, and its prior: see `dense.Dense`; ``bending`` here in squared voxels; ``patches``:
    descriptors of the contrasts' common structure are compared in it; ``flat``: times ``bending``
    for slices, whose pixels have fewer neighbours that hold them.
    """

    kind: Kind
    mutual: bool | None = None
    reach: float = 30.0
    dense: bool = True
    membrane: float = 0.1
    bending: float = 10.0
    window: float = 3.0
    floor: float = 0.1
    blur: float = 0.0
    patches: bool = False
    flat: float = 1.0


PRESETS: dict[str, Preset] = {
    "rigid": Preset("rigid", dense=False),
    "similarity": Preset("similarity", dense=False),
    "affine": Preset("affine", dense=False),
    "deformable": Preset("affine", bending=10.0, membrane=0.05, window=4.0),
    "brain": Preset("affine", bending=1.0, membrane=0.1, window=2.5, floor=0.3, flat=0.3),
    "multimodal": Preset("affine", mutual=True, bending=8.0, membrane=0.05, patches=True),
    "lung": Preset("affine", bending=2.0, membrane=0.02, window=2.5, reach=15.0),
    "followup": Preset("rigid", bending=5.0, membrane=0.1, window=4.0),
    "slice": Preset("rigid", dense=False, reach=15.0),
}


def contrast(image: Image) -> tuple[str, ...]:
    """What decides the contrast: modality, and for MR the weighting that its name tells."""
    text = " ".join(
        str(image.attributes.get(k, "")) for k in ("SeriesDescription", "ProtocolName")
    ).lower()
    names = [w for w in ("flair", "t1", "t2", "dwi", "adc", "pd", "swi", "bold") if w in text]
    return (image.modality, *names[:1]) if image.modality == "MR" else (image.modality,)


def choose(fixed: Image, moving: Image) -> str:
    """The preset that fits two images, from what they say about themselves.

    Two series of one patient on different days are a follow-up; different contrasts are
    multimodal; CT of the chest is lung; the rest deforms freely.
    """
    if contrast(fixed) != contrast(moving):
        return "multimodal"
    same = _patient(fixed) and _patient(fixed) == _patient(moving)
    days = [i.attributes.get("StudyDate") for i in (fixed, moving)]
    part = " ".join(
        str(i.attributes.get(k, "")).lower()
        for i in (fixed, moving)
        for k in ("BodyPartExamined", "StudyDescription", "SeriesDescription")
    )
    if fixed.modality == "CT" and any(w in part for w in ("lung", "chest", "thorax")):
        return "lung"
    if same and all(days) and days[0] != days[1]:
        return "followup"
    across = max(n * d for n, d in zip(fixed.grid.shape, fixed.grid.spacing, strict=True))
    # A cut-out of one organ, or slices, of two people: little room, much to bend.
    small = across < SMALL_REGION or 1 in fixed.grid.shape
    if fixed.modality in ("MR", "OT") and not same and small:
        return "brain"
    return "deformable"


def _patient(image: Image) -> str:
    return str(image.attributes.get("PatientID") or "")


def schedule(preset: Preset, grid: Grid) -> Dense:
    """Levels for a grid: halving from about 28 voxels across to the grid's own resolution."""
    n = np.asarray(grid.shape)
    spacing = np.asarray(grid.spacing)
    wide = n > 1
    finest = float(spacing[wide].min()) if wide.any() else 1.0
    volume = float(np.prod((n * spacing)[wide]))
    dimensions = max(int(wide.sum()), 1)
    finest = max(finest, (volume / MOST_VOXELS) ** (1 / dimensions))
    extent = float((n * spacing)[wide].max())
    count = max(int(np.floor(np.log2(max(extent / finest / 24, 1)))) + 1, 1)
    levels = tuple(finest * 2.0**k for k in reversed(range(count)))
    if count == 1 and extent / finest > 16:
        levels = (2 * finest, finest)
    large = volume / finest**dimensions > 1_000_000
    cells = (*(2 if large else 1 for _ in levels[:-1]), 4 if large else 2)
    rounds = (*(10 for _ in levels[:-1]), 4 if large else 10)
    if preset.patches:
        # Descriptors are the finest level's at every level: coarser ones find what is far.
        levels, k = levels[-3:], len(levels[-3:])
        cells, rounds = (2, 2, cells[-1])[-k:], (10, 8, 5)[-k:]
    bending = preset.bending * finest**2 * (preset.flat if dimensions == 2 else 1.0)
    return Dense(
        levels=levels, cells=cells, iterations=rounds, membrane=preset.membrane,
        bending=bending, window=preset.window, floor=preset.floor, patches=preset.patches,
    )  # fmt: skip
