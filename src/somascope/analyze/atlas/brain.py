"""`segment.brain`: grey matter, white matter and fluid of a brain in MR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, cast

import numpy as np

from somascope.analyze.atlas.cases import fits
from somascope.analyze.atlas.choices import Anyway, Preset
from somascope.analyze.atlas.folder import load
from somascope.analyze.atlas.mixing import CSF, GREY, ORDER, WHITE, Contrast
from somascope.analyze.atlas.tissues import Tissues, segmented
from somascope.analyze.register import presets
from somascope.analyze.register.engine import register
from somascope.analyze.register.transform import apply
from somascope.core import (
    QUIET,
    Code,
    Grid,
    Image,
    Mask,
    Param,
    Progress,
    Segment,
    operation,
)
from somascope.core.errors import GeometryError, ParameterError, Refused
from somascope.core.grid import Array
from somascope.process.bias import n4
from somascope.process.choices import mask_of, one_volume
from somascope.process.entries import inside

_NAME = "segment.brain"

SEGMENTS = (
    Segment(1, "Cerebrospinal fluid", Code("65216001", "SCT", "Cerebrospinal fluid"),
            colour=(85, 188, 255)),
    Segment(2, "Grey matter", Code("389080008", "SCT", "Gray matter of brain"),
            colour=(128, 174, 128)),
    Segment(3, "White matter", Code("389081007", "SCT", "White matter of brain"),
            colour=(250, 250, 225)),
)  # fmt: skip

STRIPPED = 0.15
"""Share of an image that has its lowest value, from which on all else is taken for brain."""


def tissue_of(segment: Segment) -> int | None:
    """Which of the three a segment is, by its code or its name."""
    for k, known in enumerate(SEGMENTS):
        if segment.concept.value == known.concept.value:
            return k
    words = f"{segment.label} {segment.concept.meaning}".lower()
    for k, names in enumerate((("csf", "fluid"), ("grey", "gray"), ("white",))):
        if any(n in words for n in names):
            return k
    return None


def priors_on(mask: Mask, grid: Grid) -> Array | None:
    """Planes ``(3, nz, ny, nx)`` of the tissues in a mask, or None where it lacks one of them."""
    planes = np.zeros((3, *grid.shape), np.float32)
    seen: set[int] = set()
    for segment in mask.segments:
        k = tissue_of(segment)
        if k is not None:
            planes[k] += np.asarray(mask.plane(segment.number), np.float32)
            seen.add(k)
    return np.clip(planes, 0, 1) if seen == {CSF, GREY, WHITE} else None


def weighting(image: Image) -> Contrast:
    """Which contrast an image's description tells; T1 where it tells none."""
    for word in presets.contrast(image)[1:]:
        if word.upper() in ORDER:
            return cast("Contrast", word.upper())
    return "T1"


def carried_priors(
    image: Image, template: Image, priors: Mask, preset: str | None, *, anyway: bool,
    progress: Progress,
) -> Array:  # fmt: skip
    """Priors of an atlas on the grid of an image: ``(3, nz, ny, nx)``."""
    if not priors.grid.allclose(template.grid, tolerance_mm=0.01):
        raise GeometryError(
            f"{_NAME}: the priors lie on {priors.grid!r} and their template on {template.grid!r}; "
            "give those of one atlas"
        )
    planes = priors_on(priors, template.grid)
    if planes is None:
        raise ParameterError(
            f"{_NAME}: the priors have segments {', '.join(s.label for s in priors.segments)}; "
            "fluid (CSF), grey and white matter are needed"
        )
    fits(image, template, "the template", _NAME)
    warp = register(image, template, preset, progress=progress)
    if not warp.verdict.trusted and not anyway:
        raise Refused(
            f"{_NAME}: the atlas does not fit this image ({warp.verdict.words}); give a brain mask "
            "in its place, another preset, or say anyway"
        )
    moved = Mask(data=planes, grid=replace_frame(template.grid, warp.moving_frame),
                 segments=SEGMENTS)  # fmt: skip
    carried = np.asarray(apply(moved, warp, image.grid).data)
    if not (carried > 0.5).any():
        raise GeometryError(
            f"{_NAME}: the atlas has nothing where the image is; they show different places"
        )
    return carried


def replace_frame(grid: Grid, frame: str) -> Grid:
    """The grid in a frame of reference of that name."""
    return Grid(grid.shape, grid.affine, frame)


@operation(_NAME)
def tissues(
    image: Image,
    *given: Image | Mask,
    atlas: Annotated[
        str, Param("Probabilistic atlas with fluid, grey and white matter: its folder, or a name "
                   "in SOMASCOPE_ATLASES; empty: none", opens="atlas")
    ] = "",
    output: Annotated[
        Literal["labels", "fractions"],
        Param("The largest tissue of each voxel, or the share of every tissue (partial volume)"),
    ] = "labels",
    contrast: Annotated[
        Literal["T1", "T2", "PD", "FLAIR"] | None,
        Param("Which tissue is bright; none: as the description of the image says, else T1"),
    ] = None,
    shading: Annotated[
        Literal["n4", "none"], Param("Coil shading: taken out by N4, or there is none")
    ] = "n4",
    mrf: Annotated[
        float, Param("How much neighbours rather hold the same tissue", minimum=0.0, maximum=3.0)
    ] = 0.1,
    iterations: Annotated[
        int, Param("Rounds at most", minimum=1, maximum=500, advanced=True)
    ] = 40,
    preset: Preset = None,
    anyway: Anyway = False,
    progress: Progress = QUIET,
) -> Mask:  # fmt: skip
    """Part a brain in MR into grey matter, white matter and cerebrospinal fluid, with fractions.

    ``given``: a mask of the brain; or priors (a mask of the three tissues on the image's grid); or
    an atlas's template and its priors, which are registered. With none of them, and no ``atlas``,
    the image has to have its skull taken off; a head on an even background cannot be told from a
    brain. The mask lies on the image's grid, 0 outside the
    brain; its algorithm tells the means.

    Raises
    ------
    GeometryError
        A mask off the grid; a slice with a volume; several volumes; another part of the body.
    ParameterError
        Priors that lack a tissue; a brain with one value; complex or colour images.
    Refused
        The brain is not known, or the atlas does not fit.
    """
    volume = np.asarray(one_volume(image, _NAME), np.float32)
    region, priors = _where(
        image, given, atlas, preset, anyway=anyway,
        progress=Progress(lambda f, m: progress(0.4 * f, m)),
    )  # fmt: skip
    region = region & np.isfinite(volume) & (volume > 0)
    if not region.any():
        raise ParameterError(f"{_NAME}: the brain has no value above 0; give magnitudes")
    field = None
    if shading != "none":
        brain = Mask(data=region.astype(np.uint8), grid=image.grid, segments=(Segment(1, "Brain"),))
        plain = Image(volume, image.grid, image.modality)
        # Meshes finer than 50 mm follow folds of the brain where there is much noise.
        field = np.asarray(n4(plain, brain, output="field", levels=3).data)
    progress(0.5, "shading")
    order = contrast or weighting(image)
    found = segmented(
        volume, region, image.grid.spacing, contrast=order, priors=priors, field=field,
        mrf=mrf, iterations=iterations,
        progress=Progress(lambda f, m: progress(0.5 + 0.5 * f, m)),
    )  # fmt: skip
    return _mask(image, found, order, fractions=output == "fractions")


def _mask(image: Image, found: Tissues, order: str, *, fractions: bool) -> Mask:
    segments = tuple(
        replace(s, algorithm=f"{_NAME} {order} {m:.4g} +- {d:.2g}")
        for s, m, d in zip(SEGMENTS, found.means, found.sds, strict=True)
    )
    return mask_of(image, found.fractions if fractions else found.labels, segments)


def _where(
    image: Image, given: Sequence[Image | Mask], atlas: str, preset: str | None, *, anyway: bool,
    progress: Progress,
) -> tuple[Array, Array | None]:  # fmt: skip
    """The brain and, where an atlas or priors are given, those on its grid."""
    templates = [g for g in given if isinstance(g, Image)]
    masks = [g for g in given if isinstance(g, Mask)]
    if len(templates) > 1 or len(masks) > 2 or (atlas and templates):
        raise ParameterError(
            f"{_NAME}: {len(templates)} images and {len(masks)} masks were given beside the image"
            f"{' and an atlas folder' if atlas else ''}; give a brain mask, or priors, or one "
            "template with its priors, or a folder"
        )
    with_tissues = [m for m in masks if {tissue_of(s) for s in m.segments} >= {CSF, GREY, WHITE}]
    brains = [m for m in masks if m not in with_tissues]
    if len(brains) > 1 or len(with_tissues) > 1 or (templates and not with_tissues):
        raise ParameterError(
            f"{_NAME}: of {len(masks)} masks {len(with_tissues)} have fluid, grey and white "
            "matter; give at most one of the brain and one of priors"
        )
    for mask in [*brains, *(with_tissues if not templates else [])]:
        if not mask.grid.allclose(image.grid, tolerance_mm=0.01):
            raise GeometryError(
                f"{_NAME}: a mask lies on {mask.grid!r} and the image on {image.grid!r}; bring it "
                "there first, or give its template with it"
            )
    priors: Array | None = None
    if atlas:
        known = load(atlas)
        priors = carried_priors(
            image, known.template, known.mask(), preset, anyway=anyway, progress=progress
        )
    elif templates:
        priors = carried_priors(
            image, templates[0], with_tissues[0], preset, anyway=anyway, progress=progress
        )
    elif with_tissues:
        priors = priors_on(with_tissues[0], image.grid)
    if brains:
        return inside(brains[0]), priors
    if priors is not None:
        return priors.sum(axis=0) > 0.5, priors
    return _stripped(image), None


def _stripped(image: Image) -> Array:
    """The voxels above the lowest value, of an image that has many of them."""
    volume = image.data.reshape(image.grid.shape)
    lowest = np.nanmin(volume)
    outside = volume <= lowest
    if float(outside.mean()) < STRIPPED:
        raise Refused(
            f"{_NAME}: where the brain is, is not known: only {float(outside.mean()):.0%} of the "
            "image is empty, so its skull has not been taken off; give a mask of the brain, or an "
            "atlas"
        )
    return ~outside
