"""Cases of several pictures in order: frames, slices, or one examination after the other."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

from somascope.core import Image
from somascope.core.errors import CorruptFile, NotFound
from somascope.learn.datasets.cases import Case, Dataset
from somascope.models.frames import as_slices, is_film, stacked
from somascope.models.inputs import one as load


def listed(path: Path) -> Dataset:
    """A CSV with columns ``label`` and ``files`` (in order, parted by ``;``), one row a case.

    ``patient`` and ``split`` where there are any; paths are relative to it.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"label", "files"} <= set(rows[0]):
        raise CorruptFile(f"{path.name} needs the columns label and files")
    names = sorted({row["label"] for row in rows})
    if len(names) < 2:
        raise CorruptFile(f"{path.name} has the one label {names[0]!r}; give two or more")
    cases: list[Case] = []
    for i, row in enumerate(rows):
        files = tuple(path.parent / f.strip() for f in row["files"].split(";") if f.strip())
        for file in files:
            if not file.is_file():
                raise NotFound(f"{path.name} names {file.name}, which is not there")
        if not files:
            raise CorruptFile(f"{path.name}: row {i + 1} names no file")
        name = f"{i:05d} {files[0].stem}"
        cases.append(
            Case(name, row.get("patient") or name, partial(_read, files), row.get("split") or "",
                 names.index(row["label"]))
        )  # fmt: skip
    return Dataset(path.stem, "classify", tuple(names), tuple(cases))


def _read(files: tuple[Path, ...]) -> Image:
    images = [load(f) for f in files]
    return images[0] if len(images) == 1 else stacked(images)


def in_slices(dataset: Dataset) -> tuple[Dataset, bool]:
    """The data set with its films as volumes, and whether it had any; told from its first case."""
    some = dataset.cases[:1] if dataset.task == "classify" else ()
    if not any(is_film(c.image()) for c in some):
        return dataset, False
    return dataset.only([replace(c, image=partial(_sliced, c)) for c in dataset.cases]), True


def _sliced(case: Case) -> Image:
    return as_slices(case.image())
