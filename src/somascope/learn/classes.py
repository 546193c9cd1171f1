"""A data set's classes in a model's order: by their names, as both are listed as they come."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from somascope.core.grid import Array, Float
from somascope.learn.datasets import Case, Dataset


def ordered(dataset: Dataset, names: Sequence[str]) -> tuple[Dataset, str]:
    """The data set with its classes numbered as ``names`` are, and what is to be said about it.

    Names are equal but for case and signs, or one has all words of the other (``Anterior`` is
    ``anterior hippocampus``). Where they cannot be told from one another the order counts, as it
    does for classes that are numbers; that is said.
    """
    if len(names) < 2 or len(names) != len(dataset.classes):
        return dataset, ""
    place = _places(dataset.classes, names)
    if place is None:
        if all(_number(n) for n in dataset.classes) or all(_number(n) for n in names):
            return dataset, ""
        pairs = ", ".join(f"{a} is {b}" for a, b in zip(dataset.classes, names, strict=True))
        return dataset, (
            f"the classes of {dataset.name} have other names than the model's and were taken in "
            f"their order: {pairs}. Where that is wrong every figure is"
        )
    if place == list(range(len(names))):
        return dataset, ""
    cases = [_renumbered(c, place, background=dataset.task == "segment") for c in dataset.cases]
    said = f"{dataset.name} lists its classes in another order; they were told by their names"
    return replace(dataset.only(cases), classes=tuple(names)), said


def _places(own: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """For each of our names the number of the model's; None where one has none or two."""
    mine, theirs = [_words(n) for n in own], [_words(n) for n in names]
    place = [-1] * len(mine)
    same: tuple[Callable[[set[str], set[str]], bool], ...] = (
        lambda a, b: a == b, lambda a, b: a <= b or b <= a,
    )  # fmt: skip
    for alike in same:
        left = [k for k in range(len(theirs)) if k not in place]
        for i, words in enumerate(mine):
            found = [k for k in left if place[i] < 0 and words and alike(words, theirs[k])]
            if len(found) == 1 and found[0] not in place:
                place[i] = found[0]
    return place if sorted(place) == list(range(len(names))) else None


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def _number(name: str) -> bool:
    return re.fullmatch(r"((label|class)[ _-]?)?\d+", name.lower()) is not None


def _renumbered(case: Case, place: list[int], *, background: bool) -> Case:
    changed: dict[str, int] = {} if case.label < 0 else {"label": place[case.label]}
    table = np.array([0, *(p + 1 for p in place)] if background else place)
    mask, boxes = case.mask, case.boxes
    return replace(
        case, **changed, mask=None if mask is None else partial(_looked_up, mask, table),
        boxes=None if boxes is None else _boxes(boxes, table),
    )  # fmt: skip


def _looked_up(mask: Callable[[], Array], table: Array) -> Array:
    values = mask()
    return table[values].astype(values.dtype)


def _boxes(boxes: Float, table: Array) -> Float:
    return np.column_stack([boxes[:, :-1], table[boxes[:, -1].astype(int)]])
