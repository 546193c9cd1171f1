"""One atlas: its image registered to yours, its labels carried over."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from somascope.analyze.atlas.cases import Case, agreed, case, fits
from somascope.analyze.atlas.choices import Anyway, Preset
from somascope.analyze.register.engine import register
from somascope.analyze.register.transform import apply
from somascope.analyze.register.verdict import Registered
from somascope.core import QUIET, Image, Mask, Progress, operation
from somascope.core.errors import GeometryError, Refused
from somascope.core.grid import Array
from somascope.process.choices import mask_of

_NAME = "segment.by_atlas"


@dataclass(frozen=True, eq=False)
class Propagated:
    """An atlas on the grid of an image: ``labels`` and ``values`` ``(nz, ny, nx)``, and the map."""

    labels: Array
    values: Array
    warp: Registered
    name: str


def propagate(
    target: Image, atlas: Case, preset: str | None = None, *, progress: Progress = QUIET
) -> Propagated:
    """``atlas`` registered to ``target``; nearest labels and linear values on its grid.

    Raises
    ------
    GeometryError
        A slice with a volume, another part of the body, or not one label falls into the image.
    """
    fits(target, atlas.image, atlas.name, "propagate")
    warp = register(target, atlas.image, preset, progress=progress)
    labels = warp.apply(atlas.labels, like=target, label=True).data
    if not labels.any():
        raise GeometryError(
            f"no label of {atlas.name or 'the atlas'} falls into the image (registration: "
            f"{warp.verdict.words}); they show different parts of the body"
        )
    values = apply(atlas.image, warp, target.grid).data.reshape(target.grid.shape)
    return Propagated(
        np.asarray(labels), np.ascontiguousarray(values, np.float32), warp, atlas.name
    )


@operation(_NAME)
def by_atlas(
    image: Image,
    atlas: Image,
    labels: Mask,
    *,
    preset: Preset = None,
    anyway: Anyway = False,
    progress: Progress = QUIET,
) -> Mask:
    """Segment an image by registering one labelled image to it and carrying the labels over.

    ``labels`` lie on the grid of ``atlas``; the mask on that of ``image``, with the segments of the
    labels; their confidence is that of the registration.

    Raises
    ------
    GeometryError
        Labels off the atlas's grid, a slice with a volume, other body parts, nothing in common.
    Refused
        The registration is not to be trusted.
    """
    one = case(atlas, labels)
    segments = agreed([one.labels], _NAME)
    found = propagate(image, one, preset, progress=progress)
    verdict = found.warp.verdict
    if not verdict.trusted and not anyway:
        raise Refused(
            f"{_NAME}: the atlas does not fit this image ({verdict.words}); use another atlas or "
            "preset, or say anyway"
        )
    told = f"{_NAME} {found.name}".strip()
    segments = tuple(
        replace(s, algorithm=told, confidence=verdict.confidence, tracking=None) for s in segments
    )
    return mask_of(image, found.labels, segments)
