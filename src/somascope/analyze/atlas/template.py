"""`build`: a mean image and probabilities from a user's own labelled examinations.

Every case is brought to one by an affine map, all of them to their mean by smooth maps in turns
that favour none (`analyze.register.groupwise`), and images and labels through both at once: they
are interpolated once. Priors are the mean of the labels (Mazziotta et al., Phil. Trans. R. Soc. B
356 (2001) 1293-1322).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, cast

import numpy as np

from somascope.analyze.atlas.cases import Case, agreed, fits, paired
from somascope.analyze.atlas.choices import Preset
from somascope.analyze.atlas.folder import Atlas, priors_of
from somascope.analyze.register.engine import register
from somascope.analyze.register.levels import scaled
from somascope.analyze.register.presets import Name, choose
from somascope.analyze.register.series import groupwise
from somascope.analyze.register.transform import apply, compose
from somascope.core import (
    QUIET,
    Axis,
    Image,
    Mask,
    Param,
    Progress,
    Provenance,
    Warp,
    operation,
)
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

_NAME = "analyze.build_atlas"
FEWEST = 3
"""Examinations whose mean is called an atlas."""


def build(
    cases: Sequence[Case], *, preset: str | None = None, rounds: int = 2,
    reference: int | None = None, progress: Progress = QUIET,
) -> Atlas:  # fmt: skip
    """A probabilistic atlas of three cases or more.

    Parameters
    ----------
    preset
        Of the registration to the mean.
    rounds
        Times the mean is made anew.
    reference
        Number (from 0) of the case whose grid the atlas has and whose position it starts from; by
        default the one whose labelled volume is the median.

    Raises
    ------
    GeometryError
        Slices with volumes, other parts of the body.
    ParameterError
        Too few cases, or labels whose numbers mean different things.
    """
    if len(cases) < FEWEST:
        raise ParameterError(f"{_NAME}: {len(cases)} cases; a mean needs {FEWEST} or more")
    segments = agreed([c.labels for c in cases], _NAME)
    if reference is None:
        sizes = [float((c.labels.data > 0).sum()) * c.labels.grid.voxel_volume for c in cases]
        reference = int(np.argsort(sizes, kind="stable")[(len(sizes) - 1) // 2])
    first = cases[reference].image
    for one in cases:
        fits(first, one.image, one.name, _NAME)
    linear: list[Warp] = []
    moved: list[Array] = []
    notes: list[str] = []
    for k, one in enumerate(cases):
        progress(0.2 * k / len(cases), f"case {k + 1} to the reference")
        warp = Warp(matrix=np.eye(4)) if k == reference else register(first, one.image, "affine")
        verdict = getattr(warp, "verdict", None)
        if verdict is not None and not verdict.trusted:
            # By number: names of files and people have no place in an atlas.
            notes.append(f"case {k + 1}: {verdict.words}")
        linear.append(warp)
        volume = apply(one.image, warp, first.grid).data.reshape(first.grid.shape)
        moved.append(scaled(volume))
    stack = Image(np.stack(moved), first.grid, first.modality, "1", (Axis("t"),))
    bending = cast("Name", preset or choose(first, cases[reference - 1].image))
    group = groupwise(
        stack, preset=bending, rounds=rounds,
        progress=Progress(lambda f, m: progress(0.2 + 0.7 * f, m)),
    )  # fmt: skip
    notes += [f"case {k + 1}: {v.words}" for k, v in enumerate(group.verdicts) if not v.trusted]
    total = np.zeros(first.grid.shape, np.float64)
    planes = np.zeros((len(segments), *first.grid.shape), np.float64)
    maps = [compose(w, before) for w, before in zip(group.warps, linear, strict=True)]
    for k, (one, warp) in enumerate(zip(cases, maps, strict=True)):
        progress(0.9 + 0.1 * k / len(cases), f"case {k + 1} into the mean")
        total += scaled(apply(one.image, warp, first.grid).data.reshape(first.grid.shape))
        parts = np.stack([one.labels.data == s.number for s in segments]).astype(np.float32)
        fractions = replace(one.labels, data=parts, segments=segments)
        planes += apply(fractions, warp, first.grid).data
    template = _template(cases, first, (total / len(cases)).astype(np.float32))
    share = np.clip(planes / len(cases), 0, 1).astype(np.float32)
    progress(1.0, f"{len(cases)} cases, {len(notes)} of them to be looked at")
    return Atlas(template, priors_of(template, share, segments), segments, len(cases), tuple(notes))


def _template(cases: Sequence[Case], first: Image, data: Array) -> Image:
    """The mean as an image of nobody: what it shows, from whom it was made, no patient."""
    sources = tuple(dict.fromkeys(s for c in cases for s in c.image.provenance.sources))
    kept = {
        k: first.attributes[k]
        for k in ("BodyPartExamined", "SeriesDescription", "FrameOfReferenceUID")
        if k in first.attributes
    }
    attributes = {**kept, "PatientName": "Atlas", "PatientID": "ATLAS"}
    return Image(
        data, first.grid, first.modality, "1",
        provenance=Provenance(sources, cases[0].image.provenance.steps), attributes=attributes,
    )  # fmt: skip


@operation(_NAME)
def build_atlas(
    *cases: Image | Mask,
    preset: Preset = None,
    rounds: Annotated[
        int, Param("Times the mean is made anew", minimum=1, maximum=10, advanced=True)
    ] = 2,
    progress: Progress = QUIET,
) -> tuple[Image, Mask]:
    """Build a probabilistic atlas from labelled examinations: their mean image, and priors.

    ``cases`` are images and masks in pairs, three or more of each; the mean lies on the grid of the
    case whose labelled volume is the median. The mask is fractional: how often each segment lies at
    a voxel. Cases that were aligned badly are told in ``ImageComments``.
    """
    atlas = build(paired(cases, _NAME), preset=preset, rounds=rounds, progress=progress)
    template = atlas.template
    if atlas.notes:
        text = "; ".join(atlas.notes)
        template = replace(
            template, attributes={**template.attributes, "ImageComments": text[:10000]}
        )
    return template, atlas.mask()
