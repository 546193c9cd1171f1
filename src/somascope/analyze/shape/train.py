"""A shape model from masks, and with images what their borders look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from somascope.analyze.measure.regions import on_one_grid
from somascope.analyze.shape import evidence, texture
from somascope.analyze.shape.bodies import (
    Surface,
    bordered,
    extent,
    numbers_of,
    one_dimension,
    surfaces,
    templates,
)
from somascope.analyze.shape.correspond import Elastic, corresponding, registered
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.mesh import Mesh, content
from somascope.analyze.shape.model import FEWEST, ShapeCard, ShapeModel, principal
from somascope.analyze.shape.procrustes import Aligned, aligned
from somascope.analyze.shape.quality import quality
from somascope.core import QUIET, Image, Mask, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Float

POINTS = {2: 64, 3: 600}
"""Points of a shape, by dimensions."""

LEAST = 0.05
"""mm: with which no point is known better than."""


def build(
    masks: Sequence[Mask],
    images: Sequence[Image] = (),
    *,
    name: str = "shape",
    segments: Sequence[int] = (),
    points: int = 0,
    kept: float = 0.98,
    anyhow: bool = False,
    by: Literal["surface", "registration"] = "surface",
    appearance: bool = False,
    progress: Progress = QUIET,
) -> ShapeModel:
    """A model of the shape of segments.

    Parameters
    ----------
    masks
        One for each body, all slices or all volumes; of each segment the largest connected piece
        counts, without its holes.
    images
        None, or one for each mask on its grid: then the model can search.
    segments
        Numbers of the segments that make up the shape together; by default all of the first mask.
    points
        Of the shape, about; 0: 64 in 2-D, 600 in 3-D.
    kept
        Part of the variance that the modes hold.
    anyhow
        The bodies may lie any way round; else as patients lie, within some 30 degrees.
    by
        Correspondence by bending a template onto each surface, or by registering it first.
    appearance
        An active appearance model too.

    Raises
    ------
    ParameterError
        Fewer than `FEWEST` masks, a segment that is missing or empty, images that do not pair.
    GeometryError
        Slices with volumes, a mask off its image's grid, a body of too few voxels.
    """
    if len(masks) < FEWEST:
        raise ParameterError(
            f"{len(masks)} shapes are given; a model of how shapes vary needs at least {FEWEST}, "
            "and a good one some dozens"
        )
    if images and len(images) != len(masks):
        raise ParameterError(
            f"{len(images)} images are given for {len(masks)} masks; give one for each, or none"
        )
    if appearance and not images:
        raise ParameterError("an appearance model needs images; give one for each mask")
    d = one_dimension(masks)
    for image, mask in zip(images, masks, strict=False):
        on_one_grid(image, mask)
    numbers = numbers_of(masks[0], segments)
    found: list[list[Surface]] = []
    for k, mask in enumerate(_share(progress, 0.0, 0.15).over(masks, "surfaces")):
        try:
            found.append(surfaces(mask, numbers_of(mask, numbers)))
        except ParameterError as error:
            raise ParameterError(f"mask {k + 1}: {error}") from error
    mesh, laid, shapes = _correspondence(
        found, points or POINTS[d], anyhow=anyhow, by=by, progress=_share(progress, 0.15, 0.7)
    )
    mean, modes, variances, every = principal(laid.shapes, kept=kept)
    figures = quality(laid.shapes, len(variances))
    off = figures.off
    sizes = -np.log([m.scale for m in laid.maps])
    where = np.stack([_fraction(s, m) for s, m in zip(shapes, masks, strict=True)])
    left = max(float(every.sum() - variances.sum()) / (mean.size - len(variances)), LEAST**2)
    named = {s.number: s for s in masks[0].segments}
    card = ShapeCard(
        name=name, version="1", task="segment",
        summary=f"Shape of {', '.join(named[n].label or f'segment {n}' for n in numbers)}",
        dimensions=d, modalities=tuple(sorted({i.modality for i in images})),
        segments=tuple(replace(named[n], tracking=None) for n in numbers), shapes=len(masks),
        log_size=(float(sizes.mean()), float(sizes.std(ddof=1))),
        centre=_three(where.mean(axis=0)), around=_three(where.std(axis=0, ddof=1)),
        rest=left, kept=float(variances.sum() / every.sum()),
        off_limit=float(max(np.quantile(off, 0.99), off.mean() + 2.5 * off.std())),
        compactness=_told(figures.compactness), generalisation=_told(figures.generalisation),
        specificity=_told(figures.specificity),
    )  # fmt: skip
    model = ShapeModel(card, mean, modes, variances, mesh.faces, mesh.parts)
    if not images:
        return model
    step = float(np.median([_edge(i) for i in images]))
    rest = _share(progress, 0.7, 0.85)
    levels = _levels([s for one in found for s in one], step)
    learned = evidence.learn(images, found, shapes, mesh, step=step, levels=levels, progress=rest)
    card = replace(card, step=step, levels=levels, reach=evidence.REACH)
    if appearance:
        rest = _share(progress, 0.85, 0.95)
        learned |= texture.learn(model, images, shapes, progress=rest)
    return replace(model, card=card, evidence=learned)


def _share(progress: Progress, begin: float, end: float) -> Progress:
    """A stretch of the whole work's progress."""
    return Progress(lambda f, text: progress(begin + (end - begin) * f, text))


def _correspondence(
    found: Sequence[Sequence[Surface]], count: int, *, anyhow: bool, by: str, progress: Progress
) -> tuple[Mesh, Aligned, Float]:
    """The mesh, the aligned shapes, and the shapes as they lie ``(s, n, d)``.

    The template is the body of median content; then the mean of what that one gave.
    """
    contents = [sum(_content(s) for s in one) for one in found]
    middle = int(np.argsort(contents)[len(contents) // 2])
    mesh = templates(found[middle], count)
    shapes = np.zeros((len(found), *mesh.points.shape))
    laid: Aligned | None = None
    for turn in range(2):
        elastic = Elastic(mesh)
        stretch = _share(progress, turn / 2, (turn + 1) / 2)
        for k, one in enumerate(stretch.over(found, f"correspondence {turn + 1}")):
            if by == "registration" and turn == 0:
                shapes[k] = registered(elastic, one, found[middle])
            else:
                shapes[k] = corresponding(elastic, one, anyhow=anyhow)
        laid = aligned(shapes)
        mesh = mesh.moved(laid.mean)
        if by == "registration":
            break
    assert laid is not None
    return mesh, laid, shapes


def _content(surface: Surface) -> float:
    return content(*bordered(surface.field))


def _levels(found: Sequence[Surface], step: float) -> int:
    """As many as leave the coarsest step no longer than half the radius of the thinnest body.

    The radius is that of the ball (or disk) of the same ratio of content to surface.
    """
    thick = [s.field.frame.d * _content(s) / extent(s) for s in found]
    return int(
        np.clip(np.floor(np.log2(float(np.median(thick)) / 2 / step)) + 1, 1, evidence.MOST_LEVELS)
    )


def _edge(image: Image) -> float:
    return min(s for s, n in zip(image.grid.spacing, image.grid.shape, strict=True) if n > 1)


def _fraction(points: Float, mask: Mask) -> Float:
    """Where the middle lies, as fractions of the extent along (z, y, x)."""
    index = Frame.of(mask.grid).index(points.mean(axis=0, keepdims=True))[0]
    return index / np.maximum(np.array(mask.grid.shape) - 1, 1)


def _three(values: Float) -> tuple[float, float, float]:
    z, y, x = (float(v) for v in values)
    return z, y, x


def _told(values: Float) -> tuple[float, ...]:
    return tuple(float(f"{v:.6g}") for v in values)
