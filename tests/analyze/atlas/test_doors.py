"""The operations of the room keep their contract, and run on an archive's series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from somascope.archive import Archive, Query
from somascope.core import Mask, Segment
from somascope.io import read_all, write
from somascope.jobs.run import execute, run_files
from somascope.phantoms import brain_grid
from somascope.phantoms.partial import brain_fractions, brain_mixture
from somascope.testing import check_operation
from tests.analyze.atlas.people import person


@pytest.fixture(scope="module")
def people():
    return [person(k) for k in (0, 1, 2, 3)]


def test_one_atlas(people):
    target, one = people[:2]
    check_operation(
        "segment.by_atlas", inputs=(target.image, one.image, one.labels),
        params={"preset": "rigid", "anyway": True},
    )  # fmt: skip


def test_many_atlases(people):
    nouns = [n for p in people[1:3] for n in (p.image, p.labels)]
    check_operation(
        "segment.by_atlases", inputs=(people[0].image, *nouns),
        params={"preset": "rigid", "anyway": True},
    )  # fmt: skip


def test_a_mean(people):
    nouns = tuple(n for p in people[:3] for n in (p.image, p.labels))
    check_operation("analyze.build_atlas", inputs=nouns, params={"preset": "rigid", "rounds": 1})


def test_outlines(people):
    masks = tuple(p.labels for p in people)
    check_operation("segment.consensus", inputs=masks)
    check_operation("segment.consensus", inputs=masks, params={"method": "majority"})
    check_operation("analyze.raters", inputs=masks)


def test_reports(people):
    check_operation("analyze.region_report", inputs=(people[0].labels,))


def test_tissues():
    grid = brain_grid((20, 26, 22), (8.0, 8.0, 7.5))
    brain = brain_mixture(brain_fractions(grid), grid)
    check_operation("segment.brain", inputs=(brain,), params={"output": "fractions"})


def test_files_and_archive(people, tmp_path: Path):
    """From a command line's files; and from series to a segmentation and a report."""
    target, one = people[:2]
    facts = {
        "PatientName": "Phantom^Person", "PatientID": "P9", "PatientAge": "063Y",
        "PatientSex": "F", "StudyInstanceUID": "2.25.77", "SeriesInstanceUID": "2.25.78",
        "FrameOfReferenceUID": "2.25.79", "StudyDate": "20260102",
    }  # fmt: skip
    grid = type(target.image.grid)(target.image.grid.shape, target.image.grid.affine, "2.25.79")
    image = replace(
        target.image, data=np.round(target.image.data * 1000).astype(np.int16), grid=grid,
        attributes=facts,
    )  # fmt: skip
    write(image, tmp_path / "mr")
    write(one.image, tmp_path / "atlas.nii.gz")
    write(one.labels, tmp_path / "labels.seg.nrrd")
    (made,) = run_files(
        "segment.by_atlas",
        [tmp_path / "mr", tmp_path / "atlas.nii.gz", tmp_path / "labels.seg.nrrd"],
        tmp_path / "seg", {"preset": "rigid", "anyway": True},
    )  # fmt: skip
    (mask,) = read_all(made).masks
    assert isinstance(mask, Mask)
    assert mask.attributes["PatientID"] == "P9"
    with Archive.open(tmp_path / "archive") as archive:
        archive.import_paths([tmp_path / "mr", tmp_path / "seg"])
        series = archive.search(Query("SERIES", {}))
        uids = {s["00080060"]["Value"][0]: s["0020000E"]["Value"][0] for s in series}
        (report,) = execute(archive, "analyze.region_report", [uids["SEG"]], {})
        told = read_all([Path(i.path) for i in archive.locate(series=report)]).findings
    assert {f.concept.meaning for f in told} >= {"Volume"}
    assert {f.tracking.name for f in told if f.tracking} == {
        s.label for s in mask.segments if isinstance(s, Segment)
    }
