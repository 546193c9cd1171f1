"""A BIDS dataset as it comes from a scanner's export: one command to activation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.acquire.fmri.simulate import activation as true_activation
from somascope.acquire.fmri.simulate import simulate, spheres
from somascope.archive import Archive, Query
from somascope.cli.app import app
from somascope.core import Image
from somascope.core.grid import Array
from somascope.io import read, write
from somascope.phantoms import brain_grid, brain_mr

PLACES = (-30.0, -10.0, 10.0, 18.0, 4.0)
RUN = "sub-01/func/sub-01_task-tap_bold.nii.gz"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Array]:
    """The folder, and where the truth is active."""
    root = tmp_path_factory.mktemp("flow") / "study"
    (root / "sub-01" / "func").mkdir(parents=True)
    (root / "sub-01" / "anat").mkdir()
    (root / "derivatives" / "old").mkdir(parents=True)
    head = brain_mr("T2", brain_grid((34, 44, 36), (5.0, 4.8, 4.6)), noise=0)
    run = simulate(
        head, scans=60, repetition_time=2.5, voxel=(6, 6, 6), places=PLACES, slices="interleaved",
        translation=0.6, rotation=0.6, seed=3,
    )  # fmt: skip
    facts = run.attributes
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "Tapping", "BIDSVersion": "1.10.0"})
    )
    # What all runs share is said once, at the top; the nearer side-car adds the slices.
    (root / "task-tap_bold.json").write_text(
        json.dumps({"TaskName": "tap", "RepetitionTime": 2.5, "EchoTime": 0.03})
    )
    (root / "README").write_text("Tapping.")
    side = (root / RUN).with_name("sub-01_task-tap_bold.json")
    side.write_text(json.dumps({"SliceTiming": list(facts["SliceTiming"])}))
    (root / RUN).with_name("sub-01_task-tap_events.tsv").write_text(facts["Events"])
    # The times in the NIfTI header are wrong, as often: the side-car has the last word.
    wrong = replace(run, attributes={}, axes=(replace(run.axes[0], values=tuple(range(60))),))
    write(wrong, root / RUN)
    anatomy = brain_mr("T1", brain_grid((34, 44, 36), (5.0, 4.8, 4.6)), noise=0)
    write(replace(anatomy, attributes={}), root / "sub-01/anat/sub-01_T1w.nii.gz")
    write(replace(anatomy, attributes={}), root / "derivatives/old/sub-01_T1w.nii.gz")
    return root, true_activation(run.grid, spheres(PLACES))[0] > 0.03


def command(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    return done.output


def found_at(z: Image, truth: Array) -> None:
    hot = z.data > 5
    assert hot[truth].mean() > 0.8
    assert np.argmax(z.data) in np.flatnonzero(truth)
    assert hot[~truth].mean() < 0.05


def test_the_folder_is_read_as_a_dataset(dataset: tuple[Path, Array]) -> None:
    root, _ = dataset
    images = read(root)
    assert isinstance(images, list)
    assert [i.attributes["SeriesDescription"] for i in images] == ["T1w", "task-tap bold"]
    anatomy, run = images
    assert {i.modality for i in images} == {"MR"}
    assert anatomy.attributes["StudyInstanceUID"] == run.attributes["StudyInstanceUID"]
    assert run.axes[0].values[:3] == (0.0, 2.5, 5.0)
    assert run.attributes["PatientID"] == "sub-01"


def test_one_command_from_run_to_map(dataset: tuple[Path, Array], tmp_path: Path) -> None:
    root, truth = dataset
    command(
        "run", "acquire.fmri.activation", root / RUN, "-o", tmp_path / "z.nii.gz", "--output", "z",
        "--timing", "stated",
    )  # fmt: skip
    found = read(tmp_path / "z.nii.gz")
    assert isinstance(found, Image)
    found_at(found, truth)


def test_imported_it_keeps_its_task(dataset: tuple[Path, Array], tmp_path: Path) -> None:
    root, truth = dataset
    said = json.loads(command("import", tmp_path / "a", root / "sub-01", "--json"))
    assert said["refused"] == []
    archive = Archive.open(tmp_path / "a")
    try:
        rows = archive.search(Query("SERIES", fields=("0008103E",)))
        studies = archive.search(Query("STUDY"))
    finally:
        archive.close()
    assert len(studies) == 1
    titles = {r["0008103E"]["Value"][0]: r["0020000E"]["Value"][0] for r in rows}
    uid = next(u for t, u in titles.items() if "bold" in t)
    command(
        "run", "acquire.fmri.activation", uid, "--archive", tmp_path / "a", "-o", tmp_path / "z",
        "--output", "z", "--timing", "stated",
    )  # fmt: skip
    found = read(tmp_path / "z")
    assert isinstance(found, Image)
    found_at(found, truth)
