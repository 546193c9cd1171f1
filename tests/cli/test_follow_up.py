"""`somascope follow-up` on DICOM folders, and the same through the archive."""

import csv
import json

import numpy as np
from typer.testing import CliRunner

from somascope import io as sio
from somascope.archive import Archive
from somascope.cli.app import app
from somascope.io.dicom.header import scan
from somascope.jobs.replay import replay
from somascope.jobs.run import execute
from somascope.phantoms import Motion, thorax_follow_up, thorax_grid

GRID = thorax_grid((44, 48, 60), (5.0, 5.0, 5.0))
NAMES = ("current", "prior", "drawn", "found")


def written(folder):
    motion = Motion(turn=1.0, bend=2.0)
    made = thorax_follow_up(GRID, growth=(0.0, 0.5), new=1, radius=15.0, motion=motion)
    nouns = (made.current, made.prior, made.prior_lesions, made.current_lesions)
    for name, noun in zip(NAMES, nouns, strict=True):
        sio.write(noun, folder / name)
    return made


def test_a_folder_with_all_that_was_found(tmp_path):
    written(tmp_path)
    arguments = [
        "follow-up", str(tmp_path / "prior"), str(tmp_path / "current"),
        "--lesions", str(tmp_path / "drawn"), "--found", str(tmp_path / "found"),
        "--preset", "rigid", "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output[done.output.index("{") :])
    names = {"lesions", "new-lesion-map", "registration", "report", "table.csv", "trend.png"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    courses = [f["concept"]["value"] for f in said["findings"] if f["kind"] == "label"]
    assert courses[:3] == ["LESION_STABLE", "LESION_GROWN", "LESION_NEW"]
    with (tmp_path / "out" / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["lesion"] == "Lesion 2"
    assert rows[1]["course"] == "Lesion has grown"
    mask = sio.read_all(tmp_path / "out" / "lesions").masks[0]
    drawn = sio.read_all(tmp_path / "drawn").masks[0]
    assert [s.tracking for s in mask.segments[:2]] == [s.tracking for s in drawn.segments]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code != 0
    assert "is there already" in str(again.exception)


def test_in_the_archive_and_replayed(tmp_path):
    written(tmp_path)
    archive = Archive.open(tmp_path / "archive")
    uids = []
    for name in NAMES:
        archive.import_paths([tmp_path / name])
        file = next(iter(sorted((tmp_path / name).glob("*.dcm"))))
        uids.append(scan(file).series)
    made = execute(archive, "analyze.follow_up", uids, {"preset": "rigid"})
    assert len(made) == 4  # lesions, map, registration, report
    reports = [u for u in made if archive.locate(series=u)[0].sop_class.endswith("88.34")]
    answers = execute(
        archive, "analyze.apply_rules", reports, {"rules": "recist-1.1,fleischner-2017"}
    )
    paths = [i.path for u in answers for i in archive.locate(series=u)]
    labels = sio.read_all(paths).findings
    assert labels[0].concept.value == "RECIST_PD"
    classes = {f.tracking.name: f.concept.value for f in labels[1:]}
    assert [classes[f"Lesion {n}"] for n in (1, 2, 3)] == ["NODULE_LARGE"] * 3
    (picture,) = execute(archive, "analyze.trend", reports, {})
    assert sio.read(archive.locate(series=picture)[0].path).data.dtype == np.uint8
    for one in (reports[0], answers[0]):
        assert replay(archive, one).identical
    archive.close()
