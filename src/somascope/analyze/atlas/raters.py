"""Several outlines of one image: their consensus, and how far each rater can be relied on."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.analyze.atlas.cases import agreed, flattened, on_one
from somascope.analyze.atlas.fuse import Fused, majority
from somascope.analyze.atlas.several import as_mask, sureness
from somascope.analyze.atlas.staple import Staple, staple
from somascope.analyze.measure.regions import finding
from somascope.core import QUIET, Code, Mask, Measurement, Param, Progress, Tracking, operation
from somascope.core.grid import Array
from somascope.io.dicom import uid

SENSITIVITY = Code("SENSITIVITY", "99SOMASCOPE", "Sensitivity against the consensus (STAPLE)")
SPECIFICITY = Code("SPECIFICITY", "99SOMASCOPE", "Specificity against the consensus (STAPLE)")
OVERLAP = Code("DICE", "99SOMASCOPE", "Dice overlap with the consensus")

Disputed = Annotated[
    bool,
    Param("Learn from voxels alone on which not all agree; a wide background flatters everyone"),
]


def consensus(masks: tuple[Mask, ...], *, operation: str, disputed: bool = False) -> Staple:
    """`staple` of masks on one grid.

    Raises
    ------
    GeometryError
        Masks on different grids.
    ParameterError
        Fewer than two, empty ones, overlapping segments, or numbers that mean different things.
    """
    return staple([_labels(m) for m in checked(masks, operation)], disputed=disputed)


def checked(masks: tuple[Mask, ...], operation: str) -> tuple[Mask, ...]:
    """The masks, on one grid and with the same numbers for the same structures."""
    on_one(masks, operation)
    agreed(masks, operation)
    return masks


def _labels(mask: Mask) -> Array:
    labels = flattened(mask) if mask.data.ndim == 4 else mask.data
    return np.asarray(labels, np.uint16)


@operation("segment.consensus")
def fuse_outlines(
    *masks: Mask,
    method: Annotated[
        Literal["staple", "majority"],
        Param("STAPLE, which weighs raters by how good they prove; or equal votes"),
    ] = "staple",
    output: Annotated[
        Literal["labels", "shares"],
        Param("The likeliest label, or every label's probability (or share of the votes)"),
    ] = "labels",
    disputed: Disputed = False,
    progress: Progress = QUIET,
) -> Mask:
    """Make one segmentation of several outlines of the same image (raters, models, atlases).

    All masks on one grid, with the same numbers for the same structures; ties go to the smaller
    number. A labelmap, or a fractional mask.
    """
    name = "segment.consensus"
    segments = agreed(checked(masks, name), name)
    progress(0.0, "outlines")
    if method == "staple":
        found = consensus(masks, operation=name, disputed=disputed)
        planes = found.planes() if output == "shares" else None
        made = Fused(found.labels, found.share, found.performance.numbers, planes)
    else:
        made = majority([_labels(m) for m in masks], planes=output == "shares")
    progress(1.0, "fused")
    small = max((s.number for s in segments), default=0) < 256
    made = replace(made, labels=made.labels.astype(np.uint8 if small else np.uint16))
    told = f"{name} {method} of {len(masks)}"
    segments = tuple(
        replace(s, algorithm=told, confidence=sureness(made, s.number)) for s in segments
    )
    return as_mask(masks[0], made, segments, shares=output == "shares")


@operation("analyze.raters")
def raters(
    *masks: Mask, disputed: Disputed = False, progress: Progress = QUIET
) -> list[Measurement]:
    """Measure how good each of several outlines is, by the consensus of all (STAPLE).

    Sensitivity and specificity that STAPLE estimates, and Dice with its consensus, for every rater
    (in the order of the inputs) and segment; the tracking identifier names both.
    """
    name = "analyze.raters"
    segments = agreed(checked(masks, name), name)
    progress(0.0, "outlines")
    found = consensus(masks, operation=name, disputed=disputed)
    told = found.performance
    sensitivity, specificity = told.sensitivity, told.specificity
    results: list[Measurement] = []
    for r, mask in enumerate(masks):
        labels = _labels(mask)
        for segment in segments:
            if segment.number not in told.numbers:
                continue
            k = told.numbers.index(segment.number)
            a, b = labels == segment.number, found.labels == segment.number
            either = int(a.sum()) + int(b.sum())
            rows = [(SENSITIVITY, sensitivity[r, k]), (SPECIFICITY, specificity[r, k])]
            if either:
                rows.append((OVERLAP, 2 * int((a & b).sum()) / either))
            who = f"Rater {r + 1}: {segment.label or segment.number}"
            seen = [s.name for s in masks[0].provenance.sources]
            which = Tracking(uid.derive("rater", *seen, who), who)
            results += [
                replace(finding(masks[0], None, "", float(v), "1", code=c), tracking=which)
                for c, v in rows
            ]
    progress(1.0, "compared")
    return results
