"""Measurements of an archive's series: reports that come back, maps and lines that are stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from somascope.archive import Archive, Query
from somascope.io import read_all, write
from somascope.jobs.run import execute
from somascope.phantoms import thorax_ct, thorax_grid, thorax_mask

NODULE, AORTA = 8, 11


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("measured")
    grid = thorax_grid((24, 60, 68), (8.0, 5.6, 5.6))
    write(thorax_ct(grid), folder / "ct")
    (ct,) = read_all(folder / "ct").images
    seen = tuple(u for s in ct.provenance.sources for u in s.uids)
    mask = replace(thorax_mask(ct.grid), on=seen, attributes=dict(ct.attributes))
    write(mask, folder / "seg")
    archive = Archive.open(folder / "archive")
    archive.import_paths([folder / "ct", folder / "seg"])
    series = archive.search(Query("SERIES", {}))
    uids = {s["00080060"]["Value"][0]: s["0020000E"]["Value"][0] for s in series}
    yield archive, uids
    archive.close()


def told(archive: Archive, uid: str):
    """What lies in the archive under a series, read from its files."""
    return read_all([Path(i.path) for i in archive.locate(series=uid)])


def test_a_report_of_lesions_is_read_back(stored):
    archive, uids = stored
    (made,) = execute(
        archive, "analyze.measure_lesions", [uids["SEG"], uids["CT"]], {"segment": NODULE}
    )
    report = told(archive, made)
    assert not report.problems
    assert {"Volume", "Long axis", "Mean"} <= {f.concept.meaning for f in report.findings}
    assert {f.tracking.name for f in report.findings if f.tracking} == {"Lung nodule"}


def test_features_are_a_report(stored):
    archive, uids = stored
    (made,) = execute(
        archive, "analyze.radiomics", [uids["CT"], uids["SEG"]],
        {"segment": NODULE, "families": "shape,ngtdm"},
    )  # fmt: skip
    assert len(told(archive, made).findings) == 26 + 5


@pytest.mark.parametrize(("name", "segment"), [("thickness", NODULE), ("centreline", AORTA)])
def test_a_picture_and_a_report(stored, name, segment):
    archive, uids = stored
    picture, report = execute(archive, f"analyze.{name}", [uids["SEG"]], {"segment": segment})
    found = told(archive, picture)
    assert len(found.images) + len(found.masks) == 1
    assert told(archive, report).findings
