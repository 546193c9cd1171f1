"""Objects in volumes: components of label maps, lists of boxes or points, reports in an archive.

Everything becomes rows of seven numbers: z0, y0, x0, z1, y1, x1 (voxel edges of the image's own
grid: the first voxel alone is 0 to 1) and class. Images are opened once where millimetres have to
become voxels.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from somascope.archive import Archive
from somascope.archive.records import Query
from somascope.core import Box, Grid, Image
from somascope.core.errors import CorruptFile, NotFound, ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.datasets.boxes import found_at
from somascope.learn.datasets.cases import Case, Dataset, patients
from somascope.learn.datasets.folders import files, load, stem
from somascope.learn.datasets.stored import image_of, reports
from somascope.models.detect import carried
from somascope.process.components import bounds, label

POINTS = ("coordX", "coordY", "coordZ", "diameter_mm")
"""Columns of a table of points: LPS millimetres, as LUNA16 has them."""


def boxes_of(labels: Array, classes: int, *, least: int = 1) -> Float:
    """The box around every component (26 neighbours) of each class of a label map ``(z, y, x)``.

    Rows ``(n, 7)``, class by class and the largest first; components of fewer than ``least`` voxels
    are left out. Of a single slice the rows are ``(n, 5)``.
    """
    rows: list[tuple[float, ...]] = []
    for k in range(classes):
        numbered, counts = label(labels == k + 1)
        for n, box in enumerate(bounds(numbered, len(counts))):
            if counts[n] >= least:
                rows.append((*box, float(k)))
    found = np.asarray(rows, np.float64).reshape(-1, 7)
    return found if labels.shape[0] > 1 else found[:, [1, 2, 4, 5, 6]]


def outlined(dataset: Dataset, *, least: int = 1) -> Dataset:
    """A data set of label maps as one of objects: every component of a class is one.

    Every label map is opened. Objects that touch are one: number them apart, or list their boxes.

    Raises
    ------
    ParameterError
        No label maps, or no component in any.
    """
    cases: list[Case] = []
    for case in dataset.cases:
        if case.mask is None:
            raise ParameterError(f"{dataset.name}: {case.id} has no label map to tell objects from")
        rows = boxes_of(case.mask(), len(dataset.classes), least=least)
        cases.append(replace(case, boxes=rows, mask=None, region=None))
    if not any(len(c.boxes) for c in cases if c.boxes is not None):
        raise ParameterError(f"{dataset.name}: no label map has an object in it")
    return replace(dataset, task="detect", cases=tuple(cases))


def singled(dataset: Dataset) -> Dataset:
    """Boxes to find as single objects to classify, each a case ``IMAGE#NUMBER`` of its patient.

    Raises
    ------
    ParameterError
        Fewer than two classes have an object.
    """
    cases: list[Case] = []
    for case in dataset.cases:
        assert case.boxes is not None
        image = Kept(case.image)
        cases += [
            replace(case, id=f"{case.id}#{n}", image=image, label=int(row[-1]), boxes=None,
                    box=row[:-1])
            for n, row in enumerate(case.boxes)
        ]  # fmt: skip
    kinds = sorted({c.label for c in cases})
    if len(kinds) < 2:
        raise ParameterError(
            f"{dataset.name} has objects of {len(kinds)} classes; to tell them apart there must be "
            "two or more"
        )
    number = {k: i for i, k in enumerate(kinds)}
    return Dataset(
        dataset.name, "classify", tuple(dataset.classes[k] for k in kinds),
        tuple(replace(c, label=number[c.label]) for c in cases), dataset.modality,
    )  # fmt: skip


class Kept:
    """Loads an image, and has it still when it is asked for again next: of all, one is kept."""

    _last: ClassVar[tuple[Kept, Image] | None] = None

    def __init__(self, load: Callable[[], Image]) -> None:
        self._load = load

    def __call__(self) -> Image:
        """The image."""
        last = Kept._last
        if last is not None and last[0] is self:
            return last[1]
        Kept._last = None  # before another one is opened
        image = self._load()
        Kept._last = (self, image)
        return image


@dataclass(frozen=True)
class _Mark:
    """An object as a list has it: a box in voxels, or centre and sides in mm."""

    kind: str
    voxels: tuple[float, ...] = ()
    centre: tuple[float, ...] = ()
    size: tuple[float, ...] = ()

    def row(self, grid: Grid, number: Mapping[str, int]) -> tuple[float, ...]:
        if self.voxels:
            x, y, z, w, h, d = self.voxels
            low, side = np.array([z, y, x]), np.array([d, h, w])
        else:
            side = np.asarray(self.size[::-1]) / np.asarray(grid.spacing)
            low = grid.to_index(self.centre) + 0.5 - side / 2
        return (*low.tolist(), *(low + side).tolist(), float(number[self.kind]))


def listed(path: Path, record: Mapping[str, Any]) -> Dataset:
    """COCO's JSON with boxes in volumes.

    An annotation has ``bbox`` [x, y, z, w, h, d] in voxels of its image (z is the slice), or
    ``center_mm`` [L, P, S] and ``size_mm`` [w, h, d] along the image's x, y, z: what `predict`
    writes can be read again. A point has ``center_mm`` alone where the file says ``point_size_mm``.

    Raises
    ------
    CorruptFile
        An annotation without one of these, or of an image or category that is not listed.
    NotFound
        None of the images is there.
    """
    try:
        names = {i["id"]: str(i["file_name"]) for i in record["images"]}
        kinds = {c["id"]: str(c["name"])
                 for c in sorted(record["categories"], key=lambda c: c["id"])}  # fmt: skip
        usual = record.get("point_size_mm")
        marks: dict[str, list[_Mark]] = {n: [] for n in names.values()}
        for a in record["annotations"]:
            marks[names[a["image_id"]]].append(_mark(a, kinds[a["category_id"]], usual))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path.name} is no list of boxes in volumes ({error!r})") from error
    return _opened(path, marks, list(dict.fromkeys(kinds.values())), modality=str(
        record.get("modality", "OT")))  # fmt: skip


def _mark(a: Mapping[str, Any], kind: str, usual: Any) -> _Mark:
    if "bbox" in a:
        box = tuple(float(v) for v in a["bbox"])
        if len(box) != 6 or min(box[3:]) <= 0 or not np.isfinite(box).all():
            raise ValueError(f"bbox {list(box)}: give [x, y, z, w, h, d], all sides above 0")
        return _Mark(kind, voxels=box)
    size = a.get("size_mm", usual)
    if size is None:
        raise ValueError("a point without size_mm, and the file says no point_size_mm")
    sides = [float(size)] * 3 if isinstance(size, int | float) else [float(v) for v in size]
    centre = tuple(float(v) for v in a["center_mm"])
    if len(sides) != 3 or len(centre) != 3 or not min(sides) > 0 or not np.isfinite(centre).all():
        raise ValueError(f"center_mm {list(centre)} and size_mm {sides}: give three numbers each")
    return _Mark(kind, centre=centre, size=tuple(sides))


def points(path: Path) -> Dataset:
    """A table of points with diameters (LUNA16's ``annotations.csv``), images beside it.

    Columns ``seriesuid`` or ``image`` (a file's name, with or without its suffix), ``coordX``,
    ``coordY``, ``coordZ`` (LPS mm), ``diameter_mm``, and ``class`` where there are several. Images
    that the table does not name have no object; they lie below the table's folder.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = set(rows[0]) if rows else set()
    who = next((c for c in ("seriesuid", "image") if c in columns), "")
    if not who or not set(POINTS) <= columns:
        raise CorruptFile(f"{path.name} has the columns {sorted(columns)}; a table of points has "
                          f"seriesuid or image, and {', '.join(POINTS)}")  # fmt: skip
    places = {stem(p): p for p in files(path.parent)}
    marks: dict[str, list[_Mark]] = {str(p): [] for p in places.values()}
    for row in rows:
        place = places.get(stem(Path(row[who]))) or places.get(row[who])
        if place is None:
            continue  # LUNA16 comes in ten parts, its table is of all
        try:
            *centre, size = (float(row[c]) for c in POINTS)
        except ValueError as error:
            raise CorruptFile(f"{path.name}: {row[who]} has a point that is no number") from error
        kind = str(row.get("class") or "object")
        marks[str(place)].append(_Mark(kind, centre=tuple(centre), size=(size,) * 3))
    kinds = sorted({m.kind for each in marks.values() for m in each})
    if not kinds:
        raise NotFound(f"{path.name} names no image that lies below {path.parent}")
    return _opened(path, marks, kinds)


def _opened(
    path: Path, marks: Mapping[str, Sequence[_Mark]], kinds: list[str], *, modality: str = "OT"
) -> Dataset:
    number = {n: k for k, n in enumerate(kinds)}
    split = next((s for s in ("train", "val", "test") if s in path.stem), "")
    whose = patients([stem(Path(n)) for n in marks])
    cases: list[Case] = []
    for (name, mine), patient in zip(marks.items(), whose, strict=True):
        place = Path(name) if Path(name).is_file() else found_at(path, name)
        if place is None:
            continue
        metric = any(not m.voxels for m in mine)
        grid = load(place).grid if metric else Grid.from_spacing((1, 1, 1), (1.0, 1.0, 1.0))
        rows = np.asarray([m.row(grid, number) for m in mine], np.float64).reshape(-1, 7)
        cases.append(Case(stem(place), patient, partial(load, place), split, boxes=rows))
    if not cases:
        raise NotFound(f"{path.name}: none of its {len(marks)} images is beside it")
    return Dataset(path.stem, "detect", tuple(kinds), tuple(cases), modality)


def reported(root: Path) -> Dataset | None:
    """The image series of an archive whose reports hold boxes; None where no report does.

    What installed models found is no truth and does not count; of several reports of a series all
    boxes count. Classes are the meanings of the codes, patients PatientIDs.
    """
    found: dict[str, tuple[list[Box], list[Path]]] = {}
    with Archive.open(root) as archive:
        rows = archive.search(Query(level="SERIES", match={"Modality": "SR"}, limit=1_000_000))
        for name in sorted(str(r["0020000E"]["Value"][0]) for r in rows):
            for one in reports(archive, name):
                if not isinstance(one, Box) or not one.on:
                    continue
                seen = archive.locate(instance=one.on[0])
                if seen:
                    paths = [i.path for i in archive.locate(series=seen[0].series)]
                    found.setdefault(seen[0].series, ([], paths))[0].append(one)
    if not found:
        return None
    kinds = sorted({b.concept.meaning for boxes, _ in found.values() for b in boxes})
    cases: list[Case] = []
    modality = "OT"
    for series, (boxes, paths) in sorted(found.items()):
        image = image_of(paths, boxes[0].on)
        modality = image.modality if not cases else modality
        cases.append(
            Case(
                series, str(boxes[0].attributes.get("PatientID") or series),
                partial(image_of, paths, boxes[0].on), boxes=_rows(boxes, image.grid, kinds),
            )
        )  # fmt: skip
    return Dataset(root.name, "detect", tuple(kinds), tuple(cases), modality)


def _rows(boxes: Sequence[Box], grid: Grid, kinds: list[str]) -> Float:
    rows: list[Float] = []
    for box in boxes:
        ends = np.array([[*box.lower, *(u + 1 for u in box.upper)]])
        there = carried(ends, box.grid, grid)[0]
        rows.append(np.append(there, float(kinds.index(box.concept.meaning))))
    found = np.stack(rows)
    return found if grid.shape[0] > 1 else found[:, [1, 2, 4, 5, 6]]
