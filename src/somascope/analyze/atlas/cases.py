"""Labelled images as atlases: what belongs together, and what does not fit the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.analyze.register.bodies import apart
from somascope.core import TISSUE, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError, Refused
from somascope.core.grid import Array


@dataclass(frozen=True, eq=False)
class Case:
    """One labelled examination: an image, its labels ``(nz, ny, nx)`` on its grid, its name."""

    image: Image
    labels: Mask
    name: str = ""


def case(image: Image, labels: Mask, *, name: str = "") -> Case:
    """An atlas of an image and a mask of segments that do not overlap.

    Raises
    ------
    GeometryError
        The labels lie off the image's grid.
    ParameterError
        They are empty, or overlap.
    """
    said = name or named(image) or "the atlas"
    if not labels.grid.allclose(image.grid, tolerance_mm=0.01):
        raise GeometryError(
            f"{said}: the labels lie on {labels.grid!r} and its image on {image.grid!r}; labels "
            "of an atlas lie on the grid of its image (process.resample_mask brings them there)"
        )
    if labels.data.ndim == 4:
        labels = Mask(
            data=flattened(labels), grid=labels.grid, segments=labels.segments, on=labels.on,
            provenance=labels.provenance, attributes=labels.attributes,
        )  # fmt: skip
    if not labels.data.any():
        raise ParameterError(f"{said}: no voxel has a label; draw its structures, or leave it out")
    return Case(image, labels, name or named(image))


def named(image: Image) -> str:
    """The first source of an image, or its patient."""
    sources = image.provenance.sources
    return sources[0].name if sources else str(image.attributes.get("PatientID") or "")


def flattened(mask: Mask) -> Array:
    """Planes as a labelmap, where no two of them share a voxel (fractions: the largest half)."""
    planes = np.asarray(mask.data)
    most = max((s.number for s in mask.segments), default=0)
    out = np.zeros(mask.grid.shape, np.uint8 if most < 256 else np.uint16)
    if mask.fractional:
        best = np.full(out.shape, np.float32(0.5))
        for plane, segment in zip(planes, mask.segments, strict=True):
            won = plane >= best
            out[won], best[won] = segment.number, plane[won]
        return out
    for plane, segment in zip(planes, mask.segments, strict=True):
        if out[plane].any():
            raise ParameterError(
                f"segment {segment.label!r} overlaps another; an atlas gives each voxel one label"
            )
        out[plane] = segment.number
    return out


def paired(nouns: Sequence[Image | Mask], operation: str) -> list[Case]:
    """The first image with the first mask, the second with the second, and so on.

    Raises
    ------
    ParameterError
        They are not as many masks as images.
    """
    images = [n for n in nouns if isinstance(n, Image)]
    masks = [n for n in nouns if isinstance(n, Mask)]
    if len(images) != len(masks):
        raise ParameterError(
            f"{operation}: {len(images)} images and {len(masks)} masks were given as atlases; give "
            "each image with its labels (a DICOM segmentation, or an NRRD file with segments)"
        )
    return [
        case(image, mask, name=named(image) or f"atlas {k}")
        for k, (image, mask) in enumerate(zip(images, masks, strict=True), start=1)
    ]


def agreed(masks: Sequence[Mask], operation: str) -> tuple[Segment, ...]:
    """The segments of all masks by number.

    Raises
    ------
    ParameterError
        One number means different structures in two of them.
    """
    known: dict[int, Segment] = {}
    for k, mask in enumerate(masks, start=1):
        for segment in mask.segments:
            had = known.setdefault(segment.number, segment)
            codes = {had.concept, segment.concept} - {TISSUE}
            one, two = (s.label.strip().lower() for s in (had, segment))
            if len(codes) > 1 or (not codes and one and two and one != two):
                raise ParameterError(
                    f"{operation}: label {segment.number} is {had.label!r} in the first mask that "
                    f"has it and {segment.label!r} in mask {k}; number the structures alike"
                )
    return tuple(known[n] for n in sorted(known))


def fits(target: Image, atlas: Image, name: str, operation: str) -> None:
    """Refuse an atlas of another body part, or a slice with a volume.

    Raises
    ------
    GeometryError
        A slice with a volume.
    Refused
        Other parts of the body, by name.
    """
    one, two = (1 in i.grid.shape for i in (target, atlas))
    if one != two:
        raise GeometryError(
            f"{operation}: the image is {_size(target.grid)} and {name or 'the atlas'} "
            f"{_size(atlas.grid)}; a slice needs an atlas of slices, a volume one of volumes"
        )
    if apart(target, atlas):
        here, there = (i.attributes["BodyPartExamined"] for i in (target, atlas))
        raise Refused(
            f"{operation}: the image shows {here} and {name or 'the atlas'} {there}; use an atlas "
            "of the same part of the body (or correct BodyPartExamined)"
        )


def _size(grid: Grid) -> str:
    return "a slice" if 1 in grid.shape else "x".join(map(str, grid.shape)) + " voxels"


def on_one(masks: Sequence[Mask], operation: str) -> None:
    """Refuse fewer than two masks, or masks on different grids."""
    if len(masks) < 2:
        raise ParameterError(
            f"{operation}: {len(masks)} mask(s) given; two or more outlines are compared"
        )
    for k, mask in enumerate(masks[1:], start=2):
        if not mask.grid.allclose(masks[0].grid, tolerance_mm=0.01):
            raise GeometryError(
                f"{operation}: mask {k} lies on {mask.grid!r} and the first on "
                f"{masks[0].grid!r}; bring them to one grid (process.resample_mask)"
            )
