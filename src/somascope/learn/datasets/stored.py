"""An archive as a data set: its image series, outlined by the Segmentations in it, or named by
its reports.

A reader's corrections are training data: of several Segmentations of one series the one stored last
is the truth. What installed models answered is none: a network would learn from its own mistakes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from somascope.archive import Archive
from somascope.archive.records import Query
from somascope.core import Finding, Image, Label, Mask
from somascope.core.errors import NotFound, SomascopeError
from somascope.core.grid import Array
from somascope.io.dicom import provenance
from somascope.io.read import read_all
from somascope.learn.datasets.cases import Case, Dataset
from somascope.models import installed
from somascope.process.sampling import sample

PAGE = 10_000


@dataclass(frozen=True)
class Outlined:
    """A series by its UID, the files of its images, and those of the Segmentation made on it."""

    series: str
    images: tuple[str, ...]
    outline: tuple[str, ...]


class Order:
    """In which order an archive's series were stored last; asked again, it reads what is new."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._after = 0
        self._lock = threading.Lock()

    def of(self, archive: Archive) -> dict[str, int]:
        """A number by series: the later it was stored, the higher."""
        with self._lock:
            if self._after:  # an archive that was put back to an earlier state has other changes
                same = archive.changes(after=self._after - 1, limit=1)
                if not same or (same[0].seq, self._last.get(same[0].series)) != (
                    self._after, self._after,
                ):  # fmt: skip
                    self._last, self._after = {}, 0
            while found := archive.changes(after=self._after, limit=PAGE):
                self._last |= {c.series: c.seq for c in found}
                self._after = found[-1].seq
            return dict(self._last)


def is_archive(root: Path) -> bool:
    """Whether a folder is an archive of Somascope."""
    return any((root / n).is_file() for n in ("index.sqlite", "somascope.toml"))


def segmentations(root: Path) -> Dataset:
    """Every image series of the archive that a Segmentation was made on.

    Classes are the names of the segments, in alphabetical order; patients are PatientIDs.

    Raises
    ------
    NotFound
        No Segmentation of images that are there, or only such as installed models drew.
    """
    found: dict[str, tuple[Mask, list[Path]]] = {}
    with Archive.open(root) as archive:
        rows = archive.search(Query(level="SERIES", match={"Modality": "SEG"}, limit=1_000_000))
        names = {str(r["0020000E"]["Value"][0]) for r in rows}
        order = Order().of(archive) if names else {}
        for name in sorted(names, key=lambda n: order.get(n, 0)):
            for mask in read_all([i.path for i in archive.locate(series=name)]).masks:
                seen = archive.locate(instance=mask.on[0]) if mask.on else []
                if seen and not _answered(mask):
                    paths = [i.path for i in archive.locate(series=seen[0].series)]
                    found[seen[0].series] = (mask, paths)
    return _dataset(root.name, found)


def labelled(root: Path) -> Dataset:
    """The image series of an archive that a report gives a class (a `Label`), for the whole of it.

    Of several labels of a series the one stored last counts; what installed models said is none.
    Classes are the meanings of the codes, in alphabetical order; patients are PatientIDs.

    Raises
    ------
    NotFound
        No report with two classes or more on series that are there.
    """
    found: dict[str, tuple[Label, list[Path]]] = {}
    with Archive.open(root) as archive:
        rows = archive.search(Query(level="SERIES", match={"Modality": "SR"}, limit=1_000_000))
        order = Order().of(archive) if rows else {}
        names = sorted({str(r["0020000E"]["Value"][0]) for r in rows})
        for name in sorted(names, key=lambda n: order.get(n, 0)):
            for one in reports(archive, name):
                if not isinstance(one, Label) or not one.on or one.tracking is not None:
                    continue
                seen = archive.locate(instance=one.on[0]) or archive.locate(series=one.on[0])
                if seen:
                    paths = [i.path for i in archive.locate(series=seen[0].series)]
                    found[seen[0].series] = (one, paths)
    classes = tuple(sorted({label.concept.meaning for label, _ in found.values()}))
    if len(classes) < 2:
        raise NotFound(
            f"{root.name}: reports name {len(classes)} classes of image series that are there; two "
            "or more are needed (what installed models said does not count)"
        )
    cases = tuple(
        Case(
            series, str(label.attributes.get("PatientID") or series),
            partial(image_of, paths, label.on), label=classes.index(label.concept.meaning),
        )
        for series, (label, paths) in sorted(found.items())
    )  # fmt: skip
    first = next(iter(sorted(found.items())))[1][1]
    return Dataset(root.name, "classify", classes, cases, _modality(first))


def reports(archive: Archive, series: str) -> list[Finding]:
    """What the reports of a series say, without those that an installed model made: whose history,
    which every document of ours carries, ends with it.
    """
    found: list[Finding] = []
    for instance in archive.locate(series=series):
        try:
            steps = provenance.read(instance.path.read_bytes()).steps
        except SomascopeError:
            steps = ()
        name = steps[-1].operation if steps else ""
        if not (name.startswith("models.") or name.replace("_", "-") in installed.models()):
            found += read_all([instance.path]).findings
    return found


def outlined(name: str, cases: list[Outlined]) -> Dataset:
    """The same of a list of files, without an index: for a process that may ask none.

    Raises
    ------
    NotFound
        No Segmentation in them that a reader made.
    """
    found: dict[str, tuple[Mask, list[Path]]] = {}
    for case in cases:
        masks = read_all([Path(f) for f in case.outline]).masks
        drawn = [m for m in masks if m.on and not _answered(m)]
        if drawn:
            found[case.series] = (drawn[-1], [Path(f) for f in case.images])
    return _dataset(name, found)


def _answered(mask: Mask) -> bool:
    """Whether it is a model's answer that no reader has touched."""
    return installed.drew(s.algorithm for s in mask.segments)


def _dataset(name: str, found: dict[str, tuple[Mask, list[Path]]]) -> Dataset:
    if not found:
        raise NotFound(
            f"{name} holds no Segmentation of an image series that is there (what installed "
            "models drew does not count); outline some in the viewer and save them"
        )
    classes = tuple(sorted({s.label for mask, _ in found.values() for s in mask.segments}))
    cases: list[Case] = []
    modality = "OT"
    for series, (mask, paths) in sorted(found.items()):
        facts = mask.attributes
        modality = _modality(paths) if not cases else modality
        cases.append(
            Case(
                series, str(facts.get("PatientID") or series), partial(image_of, paths, mask.on),
                mask=partial(_truth, paths, mask, classes),
            )
        )  # fmt: skip
    return Dataset(name, "segment", classes, tuple(cases), modality)


def _modality(paths: list[Path]) -> str:
    return read_all(paths[:1]).images[0].modality


def image_of(paths: list[Path], on: tuple[str, ...]) -> Image:
    """The volume of the series that something was said of."""
    images = read_all(paths).images
    wanted = set(on)
    named = [i for i in images if any(wanted & set(s.uids) for s in i.provenance.sources)]
    if not named and len(images) == 1 and images[0].attributes.get("SeriesInstanceUID") in wanted:
        return images[0]
    if not named:
        raise NotFound(f"the series that {len(on)} slices were marked on cannot be read")
    return named[0]


def _truth(paths: list[Path], mask: Mask, classes: tuple[str, ...]) -> Array:
    """Class numbers on the image's grid, the nearest voxel; later segments lie over earlier."""
    grid = image_of(paths, mask.on).grid
    affine = np.linalg.inv(mask.grid.affine) @ grid.affine
    truth = np.zeros(grid.shape, np.uint8)
    for k, segment in enumerate(mask.segments):
        inside = mask.data[k] >= 0.5 if mask.data.ndim == 4 else mask.data == segment.number
        there = sample(inside.astype(np.float32), affine, grid.shape, order="nearest", fill=0.0)
        truth[there > 0.5] = classes.index(segment.label) + 1
    return truth
