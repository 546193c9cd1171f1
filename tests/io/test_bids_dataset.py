"""Datasets written here are read back; what lies outside, or is broken, is not."""

import json

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.core.errors import NotFound, ReadError, UnsupportedFormat
from somascope.io import write
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
    (root / "dataset_description.json").write_text("{}")
    with pytest.raises(UnsupportedFormat, match="Name"):
        BidsDataset(root)
