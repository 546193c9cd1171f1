"""The shape room's operations: train, search, clean, check, and draw the modes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.analyze.measure.regions import finding
from somascope.analyze.shape import stored, train
from somascope.analyze.shape.check import checked, points_of
from somascope.analyze.shape.clean import cleaned
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.mesh import filled
from somascope.analyze.shape.model import ShapeModel
from somascope.analyze.shape.picture import browser
from somascope.analyze.shape.search import search
from somascope.analyze.shape.texture import Appearance
from somascope.core import (
    QUIET,
    Axis,
    Code,
    Grid,
    Image,
    Label,
    Mask,
    Measurement,
    Param,
    Progress,
    Provenance,
    operation,
)
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.labelled import labelled
from somascope.process.measured import SCHEME

ModelName: TypeAlias = Annotated[
    str,
    Param("Name of a shape model (as analyze.train_shape keeps it), or its file or folder",
          opens="shape"),
]  # fmt: skip

Segments: TypeAlias = Annotated[
    tuple[float, ...],
    Param("Segments that are the model's bodies, in its order; none: those of its numbers"),
]

Limit: TypeAlias = Annotated[
    float,
    Param("How far from the mean a mode may go", unit="sd", minimum=0.1, maximum=10.0, step=0.1),
]

FEW = 32
"""Labels: an image of more may be a picture of few grey values."""

PLAUSIBLE = Code("SHAPE_USUAL", SCHEME, "Shape as usual")
UNUSUAL = Code("SHAPE_UNUSUAL", SCHEME, "Unusual shape")


@operation("analyze.train_shape")
def train_shape(
    *series: Image | Mask,
    name: Annotated[str, Param("Name under which the model is kept")],
    segments: Annotated[
        tuple[float, ...], Param("Segments that make up the shape; none: all of the first mask")
    ] = (),
    points: Annotated[
        int, Param("Points of the shape; 0: 64 of a slice, 600 of a volume", minimum=0,
                   maximum=5000),
    ] = 0,
    kept: Annotated[
        float, Param("Part of the variance that is kept", minimum=0.5, maximum=1.0, step=0.01)
    ] = 0.98,
    turned: Annotated[bool, Param("The bodies may lie any way round")] = False,
    correspondence: Annotated[
        Literal["surface", "registration"],
        Param("A template bent onto each surface, or registered to it first", advanced=True),
    ] = "surface",
    appearance: Annotated[bool, Param("Learn the values inside and around as well")] = False,
    overwrite: Annotated[bool, Param("Take the place of another model of that name")] = False,
    progress: Progress = QUIET,
) -> list[Measurement]:  # fmt: skip
    """Learn a shape model from masks, or from images each followed by its mask, and keep it.

    An image of few whole numbers from 0 on (a NIfTI label map) counts as a mask. Findings: how many
    shapes and modes, the variance kept, generalisation and specificity in mm. The model is a file
    in the folder SOMASCOPE_SHAPES, or the user's own.
    """
    path = stored.named(name)
    images, masks = paired(series)
    model = train.build(
        masks, images, name=name, segments=tuple(int(s) for s in segments), points=points,
        kept=kept, anyhow=turned, by=correspondence, appearance=appearance,
        progress=progress,
    )  # fmt: skip
    progress(0.95, "keeping")
    stored.write(model, path, overwrite=overwrite)
    card, first = model.card, series[0]
    rows = [
        ("Shapes", float(card.shapes), "1"), ("Modes", float(len(model.variances)), "1"),
        ("Variance kept", 100 * card.kept, "%"),
        ("Generalisation", card.generalisation[-1], "mm"),
        ("Specificity", card.specificity[-1], "mm"),
    ]  # fmt: skip
    progress(1.0, "kept")
    return [finding(first, None, f"Shape model {n.lower()}", v, u) for n, v, u in rows]


def paired(series: tuple[Image | Mask, ...]) -> tuple[list[Image], list[Mask]]:
    """Images and the mask that follows each; or masks alone."""
    images: list[Image] = []
    masks: list[Mask] = []
    maps = [labelled(one) if isinstance(one, Image) else one for one in series]
    if len(maps) > 1 and all(m is not None and len(m.segments) <= FEW for m in maps):
        return [], [m for m in maps if m is not None]
    for k, one in enumerate(series):
        if isinstance(one, Mask):
            masks.append(one)
        elif len(images) == len(masks) + 1:
            masks.append(_labels(one, images[-1], k))
        else:
            images.append(one)
        if images and abs(len(images) - len(masks)) > 1:
            break
    if not masks or (images and len(images) != len(masks)):
        raise ParameterError(
            f"{len(images)} images and {len(masks)} masks came in turn; give masks alone, or each "
            "image followed by its mask"
        )
    return images, masks


def _labels(image: Image, before: Image, k: int) -> Mask:
    mask = labelled(image)
    if mask is None:
        raise ParameterError(
            f"input {k + 1} is an image ({image!r}) where the mask of input {k} belongs; give a "
            "segmentation, or a label map of whole numbers"
        )
    if not image.grid.allclose(before.grid):
        raise GeometryError(
            f"input {k + 1} lies on {image.grid!r} and the image before it on {before.grid!r}; a "
            "label map lies on its image's grid"
        )
    return mask


def numbers_for(model: ShapeModel, mask: Mask, segments: tuple[float, ...]) -> tuple[int, ...]:
    """The segments of a mask that stand for the model's bodies."""
    there = [s.number for s in mask.segments]
    if segments:
        chosen = tuple(int(s) for s in segments)
        missing = [n for n in chosen if n not in there]
        if missing:
            raise ParameterError(f"the mask has no segment {missing[0]}; it has {there}")
        return chosen
    own = tuple(s.number for s in model.card.segments)
    return own if set(own) <= set(there) else tuple(there)


@operation("segment.shape")
def shape_(
    image: Image,
    *,
    model: ModelName,
    method: Annotated[
        Literal["profile", "boundary", "both", "appearance"],
        Param("What says where the border is: slopes along normals, learned, or all the values"),
    ] = "profile",
    centre: Annotated[
        tuple[float, ...],
        Param("About where it is: L, P, S; none: looked for where it was in training", unit="mm"),
    ] = (),
    limit: Limit = 3.0,
    progress: Progress = QUIET,
) -> Mask:
    """Outline what a shape model knows by searching for it: an active shape or appearance model.

    One volume or slice; the mask is a labelmap ``(nz, ny, nx)`` on the image's grid.
    """
    known = stored.opened(model)
    kind = "profile" if method == "appearance" else method
    found = search(
        known, image, kind=kind, centre=centre, limit=limit,
        progress=Progress(lambda f, t: progress(0.8 * f, t)),
    )  # fmt: skip
    if method == "appearance":
        found, _ = Appearance(known).fit(image, found, limit=limit)
    progress(0.9, "filling")
    voxels = filled(known.mesh(found.points), Frame.of(image.grid), image.grid.shape)
    made = tuple(
        replace(s, algorithm=f"segment.shape {known.card.name} {method}")
        for s in known.card.segments
    )
    progress(1.0, "done")
    return Mask(
        data=_numbered(voxels, [s.number for s in made]), grid=image.grid, segments=made,
        on=tuple(u for s in image.provenance.sources for u in s.uids),
        provenance=Provenance(image.provenance.sources, image.provenance.steps),
        attributes=dict(image.attributes),
    )  # fmt: skip


def _numbered(voxels: Array, numbers: list[int]) -> Array:
    """1 + part as the segments' own numbers."""
    return np.array([0, *numbers], np.uint16 if max(numbers) > 255 else np.uint8)[voxels]


@operation("analyze.clean_shape")
def clean_shape(
    mask: Mask,
    *,
    model: ModelName,
    segments: Segments = (),
    limit: Limit = 2.5,
    detail: Annotated[bool, Param("Keep the mask's own border where it is near the shape")] = True,
    progress: Progress = QUIET,
) -> Mask:
    """Clean a segmentation by what is known of shape: holes, bites, tongues and islands go.

    Binary masks and probabilities (the border is at one half). The result has the mask's segments;
    those of the model are replaced, what else there was stays where they leave room.
    """
    known = stored.opened(model)
    numbers = numbers_for(known, mask, segments)
    _, voxels = cleaned(known, mask, numbers, limit=limit, detail=detail, progress=progress)
    if mask.data.ndim == 3:
        data = np.where(np.isin(mask.data, numbers), 0, mask.data)
        data = np.where(voxels > 0, _numbered(voxels, list(numbers)), data)
        return replace(mask, data=data.astype(mask.data.dtype))
    planes = [
        voxels == numbers.index(s.number) + 1 if s.number in numbers else plane >= 0.5
        for s, plane in zip(mask.segments, mask.data, strict=True)
    ]
    return replace(mask, data=np.stack(planes).astype(bool))


@operation("analyze.check_shape")
def check_shape(
    mask: Mask,
    *,
    model: ModelName,
    segments: Segments = (),
    level: Annotated[
        float, Param("Part of usual shapes that pass", minimum=0.5, maximum=0.9999, step=0.01)
    ] = 0.99,
    progress: Progress = QUIET,
) -> list[Label | Measurement]:
    """Say whether a segmentation has a plausible shape, and if not in which modes and how far.

    A label whose text says so in words, the Mahalanobis distance and its limit, the distance off
    the model, and the first modes in standard deviations.
    """
    known = stored.opened(model)
    progress(0.0, "correspondence")
    points = points_of(known, mask, numbers_for(known, mask, segments))
    told = checked(known, points, level=level)
    rows = [
        ("Shape distance", told.distance, "1"), ("Shape distance limit", told.limit, "1"),
        ("Shape off the model", told.off, "mm"), ("Shape size deviation", told.size, "1"),
    ]  # fmt: skip
    rows += [(f"Shape mode {k + 1}", float(v), "1") for k, v in enumerate(told.deviations[:5])]
    numbers = [finding(mask, None, name, value, unit) for name, value, unit in rows]
    first = numbers[0]
    progress(1.0, "checked")
    label = Label(
        concept=PLAUSIBLE if told.plausible else UNUSUAL, confidence=1.0, on=first.on,
        text=f"{known.card.name}: {told.words()}", provenance=first.provenance,
        attributes=first.attributes,
    )  # fmt: skip
    return [label, *numbers]


@operation("analyze.shape_modes")
def shape_modes(
    mask: Mask,
    *,
    model: ModelName,
    segments: Segments = (),
    modes: Annotated[int, Param("How many modes, the largest first", minimum=1, maximum=20)] = 3,
    spread: Annotated[
        float, Param("How far from the mean", unit="sd", minimum=0.1, maximum=5.0)
    ] = 2.0,
    progress: Progress = QUIET,
) -> Image:
    """Draw what a model's modes do, one page each, and where a segmentation lies on them.

    An RGB series ``(3, modes, ny, nx)`` uint8 to scroll through; it has no place in the patient.
    """
    known = stored.opened(model)
    progress(0.0, "correspondence")
    points = points_of(known, mask, numbers_for(known, mask, segments))
    told = checked(known, points)
    progress(0.7, "drawing")
    pages = browser(known, modes, spread=spread, at=told.deviations)
    data = np.ascontiguousarray(np.moveaxis(pages, -1, 0))
    grid = Grid.from_spacing(
        data.shape[-3:], (1.0, 1.0, 1.0), frame_of_reference=mask.grid.frame_of_reference
    )
    attributes = {
        k: v for k, v in mask.attributes.items()
        if k.startswith(("Patient", "Study", "Accession", "Referring"))
    }  # fmt: skip
    attributes["SeriesDescription"] = f"Shape modes: {known.card.name}"
    progress(1.0, "drawn")
    record = Provenance(mask.provenance.sources, mask.provenance.steps)
    return Image(data, grid, "OT", "1", (Axis("channel"),), record, attributes)
