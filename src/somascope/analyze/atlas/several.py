"""Many atlases at once: each registered, the best chosen, their labels fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from somascope.analyze.atlas.cases import Case, agreed, fits, paired
from somascope.analyze.atlas.choices import (
    Alpha,
    Anyway,
    Beta,
    Fusion,
    Keep,
    Method,
    Patch,
    Preset,
    Search,
)
from somascope.analyze.atlas.folder import load_cases
from somascope.analyze.atlas.fuse import Fused, fused
from somascope.analyze.atlas.propagate import Propagated, propagate
from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, Refused
from somascope.core.finding import Segment
from somascope.core.grid import Array, Grid
from somascope.process.choices import mask_of, one_volume
from somascope.process.morphology import dilated

_NAME = "segment.by_atlases"

AROUND = 3.0
"""mm around the labels in which an atlas is compared with the image."""


@dataclass(frozen=True, eq=False)
class Several:
    """What many atlases say of an image.

    ``used``: atlases that voted, the likest first, with their likeness (correlation around the
    labels); ``refused``: those left out because their registration is not to be trusted, and why.
    """

    fused: Fused
    segments: tuple[Segment, ...]
    used: tuple[tuple[str, float], ...]
    refused: tuple[tuple[str, str], ...]


def likeness(target: Array, values: Array, labels: Sequence[Array], grid: Grid) -> float:
    """Correlation of two images in and around the union of labels."""
    union = np.logical_or.reduce([np.asarray(one) > 0 for one in labels])
    region = dilated(union, grid.spacing, AROUND)
    a, b = target[region].astype(np.float64), values[region].astype(np.float64)
    kept = np.isfinite(a) & np.isfinite(b)
    a, b = a[kept], b[kept]
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def by_cases(
    target: Image, cases: Sequence[Case], *, method: Fusion = "joint", keep: int = 0,
    preset: str | None = None, patch: float = 2.0, search: float = 3.0, alpha: float = 0.1,
    beta: float = 2.0, anyway: bool = False, planes: bool = False, progress: Progress = QUIET,
) -> Several:  # fmt: skip
    """Segment ``target`` by labelled cases.

    Every case is registered; those that are not to be trusted are left out (unless ``anyway``), the
    ``keep`` likest of the rest vote. See `fuse.fused` for the rest.

    Raises
    ------
    GeometryError
        Cases of another body part or dimension, or none that falls into the image.
    Refused
        No registration is to be trusted.
    """
    if not cases:
        raise ParameterError(f"{_NAME} has no atlas; give images with their labels, or a folder")
    segments = agreed([c.labels for c in cases], _NAME)
    for one in cases:
        fits(target, one.image, one.name, _NAME)
    carried, refused = _carried(target, cases, preset, anyway=anyway, progress=progress)
    values = one_volume(target, _NAME)
    labels = [c.labels for c in carried]
    alike = [likeness(values, c.values, labels, target.grid) for c in carried]
    order = sorted(range(len(carried)), key=lambda k: -alike[k])[: keep or None]
    progress(0.8, f"{len(order)} atlases vote")
    made = fused(
        values, [carried[k].values for k in order], [labels[k] for k in order],
        target.grid.spacing, method=method, patch=patch, search=search, alpha=alpha, beta=beta,
        planes=planes, progress=Progress(lambda f, m: progress(0.8 + 0.2 * f, m)),
    )  # fmt: skip
    used = tuple((carried[k].name, alike[k]) for k in order)
    return Several(made, segments, used, refused)


def _carried(
    target: Image, cases: Sequence[Case], preset: str | None, *, anyway: bool, progress: Progress
) -> tuple[list[Propagated], tuple[tuple[str, str], ...]]:
    carried: list[Propagated] = []
    refused: list[tuple[str, str]] = []
    for k, one in enumerate(cases):
        progress(0.8 * k / len(cases), f"atlas {k + 1} of {len(cases)}")
        name = one.name or f"atlas {k + 1}"
        try:
            found = propagate(target, replace(one, name=name), preset)
        except GeometryError as error:
            refused.append((name, str(error)))
            continue
        if found.warp.verdict.trusted or anyway:
            carried.append(found)
        else:
            refused.append((name, found.warp.verdict.words))
    if not carried:
        told = "; ".join(f"{n}: {why}" for n, why in refused[:3])
        raise Refused(
            f"{_NAME}: none of {len(cases)} atlases fits this image ({told}); use atlases of this "
            "part of the body and contrast, another preset, or say anyway"
        )
    return carried, tuple(refused)


@operation(_NAME)
def by_atlases(
    image: Image,
    *atlases: Image | Mask,
    folder: Annotated[
        str,
        Param(
            "Labelled cases (as save_cases writes them), beside or in place of inputs: a folder, "
            "or a name in SOMASCOPE_ATLASES",
            opens="atlas",
        ),
    ] = "",
    method: Method = "joint",
    keep: Keep = 0,
    preset: Preset = None,
    patch: Patch = 2.0,
    search: Search = 3.0,
    alpha: Alpha = 0.1,
    beta: Beta = 2.0,
    output: Annotated[
        Literal["labels", "shares"], Param("The winning label, or every label's share of the votes")
    ] = "labels",
    anyway: Anyway = False,
    progress: Progress = QUIET,
) -> Mask:
    """Segment an image by many labelled ones: each is registered to it, and their labels vote.

    ``atlases`` are images and masks in pairs: the first image with the first mask. The result lies
    on the grid of ``image``: a labelmap, or a fractional mask of shares. Who voted and who was left
    out stands in the segments' algorithm.

    Raises
    ------
    GeometryError
        Labels off their image's grid; a slice with a volume; other body parts.
    ParameterError
        Images and masks that do not pair; label numbers that mean different things.
    Refused
        No atlas fits.
    """
    cases = paired(atlases, _NAME)
    if folder:
        cases += load_cases(folder)
    found = by_cases(
        image, cases, method=method, keep=keep, preset=preset, patch=patch, search=search,
        alpha=alpha, beta=beta, anyway=anyway, planes=output == "shares", progress=progress,
    )  # fmt: skip
    told = f"{_NAME} {method}, {len(found.used)} of {len(cases)} atlases"
    segments = tuple(
        replace(s, algorithm=told, confidence=sureness(found.fused, s.number), tracking=None)
        for s in found.segments
    )
    return as_mask(image, found.fused, segments, shares=output == "shares")


def sureness(made: Fused, number: int) -> float:
    """Mean share of the votes where a label won; 0 where it did not."""
    inside = made.labels == number
    return round(float(made.share[inside].mean()), 4) if inside.any() else 0.0


def as_mask(
    like: Image | Mask, made: Fused, segments: tuple[Segment, ...], *, shares: bool
) -> Mask:
    """A fusion as a mask on ``like``: its labelmap, or one plane of shares for each segment."""
    if shares:
        assert made.planes is not None
        empty = np.zeros(like.grid.shape, np.float32)
        data = np.stack([
            made.planes[made.numbers.index(s.number)] if s.number in made.numbers else empty
            for s in segments
        ])  # fmt: skip
    else:
        data = made.labels
    if isinstance(like, Mask):
        return replace(like, data=data, segments=segments)
    return mask_of(like, data, segments)
