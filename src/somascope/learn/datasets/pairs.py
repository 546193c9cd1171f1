"""Pairs to register: a list of fixed and moving files, or neighbours of a segmentation data set."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

from somascope.core.errors import CorruptFile, NotFound
from somascope.learn.datasets.cases import Case, Dataset
from somascope.learn.datasets.folders import load, load_mask, stem


def listed(path: Path) -> Dataset:
    """A CSV with columns ``fixed``, ``moving`` and, where there are any, ``fixed_labels``,
    ``moving_labels``, ``split``; paths are relative to it.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"fixed", "moving"} <= set(rows[0]):
        raise CorruptFile(f"{path.name} needs the columns fixed and moving")
    cases: list[Case] = []
    for row in rows:
        fixed, moving = path.parent / row["fixed"], path.parent / row["moving"]
        for file in (fixed, moving):
            if not file.exists():
                raise NotFound(f"{path.name} names {file.name}, which is not there")
        masks = [row.get("fixed_labels"), row.get("moving_labels")]
        loads = [partial(load_mask, path.parent / m, levels=tuple(range(256))) if m else None
                 for m in masks]  # fmt: skip
        cases.append(
            Case(
                f"{stem(fixed)}-{stem(moving)}", stem(fixed), partial(load, fixed),
                row.get("split") or "", mask=loads[0], moving=partial(load, moving),
                moving_mask=loads[1],
            )
        )  # fmt: skip
    return Dataset(path.stem, "register", (), tuple(cases))


def neighbours(dataset: Dataset) -> Dataset:
    """Every case with the next one of its split, in the order of names."""
    cases: list[Case] = []
    for split in ("train", "val", "test", ""):
        some = sorted(dataset.of(split), key=lambda c: c.id)
        for fixed, moving in zip(some, some[1:] + some[:1], strict=True):
            if fixed is not moving:
                cases.append(
                    replace(fixed, id=f"{fixed.id}-{moving.id}", moving=moving.image,
                            moving_mask=moving.mask)
                )  # fmt: skip
    return replace(dataset, task="register", cases=tuple(cases))
