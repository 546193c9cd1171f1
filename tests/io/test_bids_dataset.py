"""Datasets written here are read back; what lies outside, or is broken, is not."""

import json

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.core.errors import NotFound, ReadError, UnsupportedFormat
from somascope.io import read, read_all, write
from somascope.io.bids_dataset import BidsDataset, parse

EVENTS = "onset\tduration\ttrial_type\n2\t4\tgo\n"


@pytest.fixture
def root(tmp_path):
    top = tmp_path / "study"
    func = top / "sub-01" / "ses-a" / "func"
    func.mkdir(parents=True)
    (top / "dataset_description.json").write_text(
        json.dumps({"Name": "x", "BIDSVersion": "1.10.0"})
    )
    (top / "task-go_bold.json").write_text(
        json.dumps({"RepetitionTime": 2.5, "EchoTime": 0.03, "FlipAngle": 70})
    )
    grid = Grid.from_spacing((3, 4, 5), (4, 3, 3))
    data = np.arange(6 * 60, dtype=np.int16).reshape(6, 3, 4, 5)
    run = Image(data, grid, "MR", axes=(Axis("t", tuple(2.0 * np.arange(6)), "s"),))
    for number in (1, 2):
        write(run, func / f"sub-01_ses-a_task-go_run-{number}_bold.nii.gz")
        beside = func / f"sub-01_ses-a_task-go_run-{number}_bold.json"
        beside.write_text(json.dumps({"SliceTiming": [0, 0.8, 1.6], "FlipAngle": 80 + number}))
    (func / "sub-01_ses-a_task-go_run-1_events.tsv").write_text(EVENTS)
    return top


def test_runs_inherit_their_side_cars(root):
    runs = BidsDataset(root).runs(task="go")
    assert [r.name for r in runs] == [f"sub-01_ses-a_task-go_run-{n}_bold" for n in (1, 2)]
    first = runs[0]
    assert first.events == EVENTS
    assert runs[1].events == ""
    image = first.read()
    assert image.shape == (6, 3, 4, 5)
    assert image.modality == "MR"
    assert image.axes[0].values == tuple(2.5 * k for k in range(6))
    assert image.attributes["RepetitionTime"] == 2500
    assert image.attributes["EchoTime"] == 30
    assert image.attributes["FlipAngle"] == 81  # the nearest side-car has the last word
    assert image.attributes["SliceTiming"] == [0, 0.8, 1.6]
    assert BidsDataset(root).runs(sub="02") == []


def test_names_are_read_by_their_rules(tmp_path):
    found = parse(tmp_path / "sub-01_task-rest_bold.nii.gz")
    assert (found.entities, found.suffix, found.extension) == (
        {"sub": "01", "task": "rest"}, "bold", ".nii.gz",
    )  # fmt: skip
    for bad in ("sub-01_bold", "sub-01_sub-02_bold.nii", "sub_01_bold.nii", "sub-0/1_bold.nii"):
        assert parse(tmp_path / bad) is None


def test_links_that_lead_out_are_not_followed(root, tmp_path):
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "sub-09_task-go_bold.json").write_text('{"FlipAngle": 1}')
    (outside / "sub-09_task-go_bold.nii").write_bytes(b"x")
    (root / "sub-09").symlink_to(outside)
    func = root / "sub-01" / "ses-a" / "func"
    events = func / "sub-01_ses-a_task-go_run-2_events.tsv"
    events.symlink_to(outside / "sub-09_task-go_bold.json")
    runs = BidsDataset(root).runs()
    assert len(runs) == 2
    assert runs[1].events == ""
    with pytest.raises(ReadError, match="leads out"):
        BidsDataset(root)._text(events)


def test_what_contradicts_itself_is_refused(root, tmp_path):
    with pytest.raises(NotFound, match="dataset_description"):
        BidsDataset(tmp_path)
    func = root / "sub-01" / "ses-a" / "func"
    beside = func / "sub-01_ses-a_task-go_run-1_bold.json"
    beside.write_text(json.dumps({"SliceTiming": [0, 1]}))
    with pytest.raises(ReadError, match="2 slices and the file has 3"):
        BidsDataset(root).runs()[0].read()
    beside.write_text("{nonsense")
    with pytest.raises(ReadError, match="not JSON"):
        BidsDataset(root).runs()
    report = read_all(root)
    assert len(report.images) == 1
    assert any("not JSON" in reason for _, reason in report.problems)
    (root / "dataset_description.json").write_text("{}")
    with pytest.raises(UnsupportedFormat, match="Name"):
        BidsDataset(root)


def test_reading_a_file_looks_around_it(root):
    func = root / "sub-01" / "ses-a" / "func"
    image = read(func / "sub-01_ses-a_task-go_run-1_bold.nii.gz")
    assert image.axes[0].values[1] == 2.5
    assert image.attributes["EchoTime"] == 30
    assert image.attributes["Events"] == EVENTS
    assert image.attributes["PatientID"] == "sub-01"
    assert image.attributes["StudyID"] == "a"
    (root / "dataset_description.json").unlink()
    alone = read(func / "sub-01_ses-a_task-go_run-1_bold.nii.gz")
    assert "EchoTime" not in alone.attributes
    assert alone.axes[0].values[1] == 2.0


def test_slices_from_the_top_down(root):
    func = root / "sub-01" / "ses-a" / "func"
    beside = func / "sub-01_ses-a_task-go_run-2_bold.json"
    for along, expected in (("k-", [1.6, 0.8, 0]), ("k", [0, 0.8, 1.6]), ("j", None)):
        beside.write_text(
            json.dumps({"SliceTiming": [0, 0.8, 1.6], "SliceEncodingDirection": along})
        )
        made = BidsDataset(root).runs(run="2")[0].read()
        assert made.attributes.get("SliceTiming") == expected


def test_results_of_others_are_no_raw_images(root):
    """Derivatives and sources lie in the folder and are not its raw images; confounds are found."""
    inside = root / "derivatives" / "prep" / "sub-01" / "ses-a" / "func"
    inside.mkdir(parents=True)
    table = "trans_x\tcsf\n" + "0.1\t5\n" * 6
    (inside / "sub-01_ses-a_task-go_run-2_desc-confounds_timeseries.tsv").write_text(table)
    write(BidsDataset(root).runs()[0].read(), inside / "sub-01_ses-a_task-go_desc-x_bold.nii.gz")
    runs = BidsDataset(root).runs()
    assert len(runs) == 2
    assert [r.confounds for r in runs] == ["", table]
    report = read_all(root)
    assert len(report.images) == 2
    assert report.images[1].attributes["Confounds"] == table
    anatomy = root / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w.nii.gz"
    anatomy.parent.mkdir()
    write(Image(np.ones((3, 4, 5), np.int16), Grid.from_spacing((3, 4, 5), (1, 1, 1))), anatomy)
    assert [f.path for f in BidsDataset(root).images("T1w", sub="01")] == [anatomy.resolve()]
    assert [i.modality for i in read(root)] == ["MR"] * 3
