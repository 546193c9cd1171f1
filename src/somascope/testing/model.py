"""`check_model`: does it keep to its card, and are its findings findings on what it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from somascope.core import Box, Card, Image, Label, Mask, Measurement, Model, Warp
from somascope.core.errors import Refused
from somascope.core.grid import Array

TASKS: dict[str, type] = {
    "classify": Label,
    "detect": Box,
    "segment": Mask,
    "register": Warp,
    "measure": Measurement,
}
"""The task is the type of the answer."""


def check_model(model: Model, *images: Image, repeatable: bool = True) -> None:
    """Hold ``model`` to the contract of `somascope.core.Model`.

    Parameters
    ----------
    images
        Input that its card accepts.
    repeatable
        Whether two calls must give the same findings.

    Raises
    ------
    AssertionError
        Naming the promise: a filled card, findings of the card's task with confidences in [0, 1],
        on the grid of the input, input left alone, repeatable, and `Refused` for a modality,
        dimension or voxel size outside the card.
    """
    assert isinstance(model, Model), f"{type(model).__name__} lacks card or __call__"
    assert images, "check_model needs at least one image that the card accepts"
    _card(model.card)
    for image in images:
        try:
            model.card.check(image)
        except Refused as error:
            raise AssertionError(f"the example is outside the card: {error}") from error
    before = [i.data.tobytes() for i in images]
    findings = _findings(model, images)
    assert [i.data.tobytes() for i in images] == before, f"{model.card.name} changes its input"
    if repeatable:
        again = _findings(model, images)
        assert len(again) == len(findings), f"{model.card.name} finds another number of things"
        for a, b in zip(findings, again, strict=True):
            assert _facts(a) == _facts(b), (
                f"{model.card.name} gives another answer the second time: {_facts(a)[:3]} and "
                f"{_facts(b)[:3]}"
            )
    for what, changed in _outside(model.card, images):
        try:
            model(*changed)
        except Refused:
            continue
        raise AssertionError(f"{model.card.name} accepts {what}, which its card rules out")


def _card(card: Card) -> None:
    for name in ("name", "version", "summary", "licence"):
        assert getattr(card, name), f"the card has no {name}"
    assert card.task in TASKS, f"the card's task is {card.task!r}; one of {', '.join(TASKS)}"
    assert card.dimensions in (2, 3), f"the card's dimensions are {card.dimensions}; 2 or 3"
    low, high = card.spacing_mm
    assert 0 <= low < high, f"the card's spacing_mm is {card.spacing_mm}; (smallest, largest)"


def _findings(model: Model, images: Sequence[Image]) -> list[Any]:
    found = model(*images)
    assert isinstance(found, list), f"it returns a {type(found).__name__}; give a list of findings"
    wanted = TASKS[model.card.task]
    for one in found:
        assert isinstance(one, wanted), (
            f"the card says {model.card.task} and it returns a {type(one).__name__}; give "
            f"{wanted.__name__}"
        )
        for confidence in _confidences(one):
            assert 0 <= confidence <= 1, f"a confidence of {confidence} is outside [0, 1]"
        if isinstance(one, (Box, Mask)):
            assert one.grid.allclose(images[0].grid), (
                f"a {wanted.__name__} on {one.grid} was found on {images[0].grid}"
            )
        if isinstance(one, Box):
            top = np.asarray(one.grid.shape) - 0.5
            lower, upper = np.asarray(one.lower), np.asarray(one.upper)
            assert bool(((lower <= upper) & (lower >= -0.5) & (upper <= top)).all()), (
                f"the box {one.lower} to {one.upper} leaves the grid {one.grid.shape}"
            )
        if isinstance(one, Mask):
            _mask(one)
        if isinstance(one, Label) and one.probabilities:
            total = sum(one.probabilities.values())
            assert abs(total - 1) < 1e-3, f"the probabilities of a label add up to {total:.4f}"
    return found


def _confidences(one: Any) -> list[float]:
    return [s.confidence for s in one.segments] if isinstance(one, Mask) else [one.confidence]


def _mask(mask: Mask) -> None:
    if mask.data.ndim == 3:
        named = {s.number for s in mask.segments}
        there = {int(n) for n in np.unique(mask.data)} - {0}
        assert there <= named, f"the labels {sorted(there - named)} have no segment"
    elif mask.fractional:
        low, high = float(mask.data.min()), float(mask.data.max())
        assert 0 <= low <= high <= 1, f"a probability mask runs from {low} to {high}"


def _facts(one: Any) -> list[Any]:
    return [
        (v.dtype.str, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v
        for k, v in vars(one).items()
        if k not in ("provenance", "attributes")
    ]


def _outside(card: Card, images: Sequence[Image]) -> list[tuple[str, list[Image]]]:
    """The same images, each time outside the card in one way."""
    cases: list[tuple[str, list[Image]]] = []
    if card.modalities:
        other = next(m for m in ("XA", "MR", "CT", "US", "PT", "??") if m not in card.modalities)
        cases.append((f"modality {other}", [replace(i, modality=other) for i in images]))
    if card.dimensions == 3:
        flat = [i.crop(start=(0, 0, 0), stop=(1, *i.grid.shape[1:])) for i in images]
        cases.append(("a single slice", flat))
    else:
        cases.append(("a stack of slices", [_stacked(i) for i in images]))
    low, high = card.spacing_mm
    if np.isfinite(high):
        cases.append(
            ("larger voxels", [_scaled(i, 1.5 * high / max(_edges(card, i))) for i in images])
        )
    if low > 0:
        cases.append(
            ("smaller voxels", [_scaled(i, 0.5 * low / min(_edges(card, i))) for i in images])
        )
    return cases


def _edges(card: Card, image: Image) -> tuple[float, ...]:
    return image.grid.spacing[3 - card.dimensions :]


def _scaled(image: Image, factor: float) -> Image:
    affine = image.grid.affine.copy()
    affine[:3, :3] *= factor
    return replace(image, grid=replace(image.grid, affine=affine))


def _stacked(image: Image) -> Image:
    data: Array = np.concatenate([image.data, image.data], axis=-3)
    shape = (2 * image.grid.shape[0], *image.grid.shape[1:])
    return replace(image, data=data, grid=replace(image.grid, shape=shape))
