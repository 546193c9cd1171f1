"""An archive as a data set: its image series, outlined by the Segmentations in it.

A reader's corrections are training data: of several Segmentations of one series the one stored last
is the truth.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from somascope.archive import Archive
from somascope.archive.records import Query
from somascope.core import Image, Mask
from somascope.core.errors import NotFound
from somascope.core.grid import Array
from somascope.io.read import read_all
from somascope.learn.datasets.cases import Case, Dataset
from somascope.process.sampling import sample


def is_archive(root: Path) -> bool:
    """Whether a folder is an archive of Somascope."""
    return any((root / n).is_file() for n in ("index.sqlite", "somascope.toml"))


def segmentations(root: Path) -> Dataset:
    """Every image series of the archive that a Segmentation was made on.

    Classes are the names of the segments, in alphabetical order; patients are PatientIDs.

    Raises
    ------
    NotFound
        No Segmentation of images that are there.
    """
    found: dict[str, tuple[Mask, list[Path]]] = {}
    with Archive.open(root) as archive:
        rows = archive.search(Query(level="SERIES", match={"Modality": "SEG"}, limit=1_000_000))
        names = {str(r["0020000E"]["Value"][0]) for r in rows}
        order = {c.series: c.seq for c in archive.changes(limit=2**31) if c.series in names}
        for name in sorted(names, key=lambda n: order.get(n, 0)):
            for mask in read_all([i.path for i in archive.locate(series=name)]).masks:
                seen = archive.locate(instance=mask.on[0]) if mask.on else []
                if seen:
                    paths = [i.path for i in archive.locate(series=seen[0].series)]
                    found[seen[0].series] = (mask, paths)
    if not found:
        raise NotFound(f"{root.name} holds no Segmentation of an image series that is there")
    classes = tuple(sorted({s.label for mask, _ in found.values() for s in mask.segments}))
    cases: list[Case] = []
    modality = "OT"
    for series, (mask, paths) in sorted(found.items()):
        facts = mask.attributes
        modality = _modality(paths) if not cases else modality
        cases.append(
            Case(
                series, str(facts.get("PatientID") or series), partial(_image, paths, mask),
                mask=partial(_truth, paths, mask, classes),
            )
        )  # fmt: skip
    return Dataset(root.name, "segment", classes, tuple(cases), modality)


def _modality(paths: list[Path]) -> str:
    return read_all(paths[:1]).images[0].modality


def _image(paths: list[Path], mask: Mask) -> Image:
    """The volume of the series that the mask was made on."""
    images = read_all(paths).images
    wanted = set(mask.on)
    named = [i for i in images if any(wanted & set(s.uids) for s in i.provenance.sources)]
    if not named:
        raise NotFound(f"the series that {len(mask.on)} slices were outlined on cannot be read")
    return named[0]


def _truth(paths: list[Path], mask: Mask, classes: tuple[str, ...]) -> Array:
    """Class numbers on the image's grid, the nearest voxel; later segments lie over earlier."""
    grid = _image(paths, mask).grid
    affine = np.linalg.inv(mask.grid.affine) @ grid.affine
    truth = np.zeros(grid.shape, np.uint8)
    for k, segment in enumerate(mask.segments):
        inside = mask.data[k] >= 0.5 if mask.data.ndim == 4 else mask.data == segment.number
        there = sample(inside.astype(np.float32), affine, grid.shape, order="nearest", fill=0.0)
        truth[there > 0.5] = classes.index(segment.label) + 1
    return truth
