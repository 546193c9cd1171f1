"""BIDS and archives as data sets, written here by their own rules."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from somascope.archive import Archive
from somascope.core import Code, Label, Mask, Provenance, Segment, Source, Step
from somascope.core.errors import CorruptFile, NotFound
from somascope.io import write
from somascope.io.dicom import seg, sr
from somascope.io.dicom.write import instances
from somascope.learn.datasets import open_dataset
from somascope.learn.datasets import stored as stored_
from somascope.learn.datasets.stored import Order
from somascope.learn.fingerprint import duplicates
from somascope.learn.make import planned
from somascope.learn.plan import Machine
from somascope.learn.tasks import samples
from tests.learn import worlds


def bids(root, *, subjects=6, sessions=("",)):
    """T1w images with label maps of two numbers, a table of them and one of people."""
    rng = np.random.default_rng(0)
    (root / "dataset_description.json").parent.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "Balls", "BIDSVersion": "1.10.0"}')
    rows = ["participant_id\tsex\tage"]
    for i in range(subjects):
        who = f"sub-{i:02d}"
        rows.append(f"{who}\t{'FM'[i % 2]}\t{20 + 15 * i if i else 'n/a'}")
        for session in sessions:
            image, labels = worlds.ball(rng)
            place = f"{who}/{session}/anat" if session else f"{who}/anat"
            name = f"{who}_{session}" if session else who
            write(image, root / place / f"{name}_T1w.nii.gz")
            write(image, root / place / f"{name}_T2w.nii.gz")
            values = np.where(labels, np.where(np.arange(labels.shape[2]) > 6, 7, 3), 0)
            mask = Mask(data=values.astype(np.uint8), grid=image.grid,
                        segments=(Segment(3, "near"), Segment(7, "far")))  # fmt: skip
            write(mask, root / "derivatives" / "hand" / place / f"{name}_space-orig_dseg.nii.gz")
    (root / "participants.tsv").write_text("\n".join(rows))
    table = root / "derivatives" / "hand" / "desc-hand_dseg.tsv"
    table.write_text("index\tname\n0\tbackground\n3\tnear ball\n7\tfar ball\n")
    return root


def test_bids_with_labels_in_derivatives(tmp_path):
    data = open_dataset(bids(tmp_path / "set"), "segment")
    assert (data.task, data.modality) == ("segment", "MR")
    assert data.classes == ("near ball", "far ball")
    assert [c.id for c in data.cases] == [f"sub-{i:02d}_T1w" for i in range(6)]
    assert [c.patient for c in data.cases] == [f"sub-{i:02d}" for i in range(6)]
    assert data.cases[0].groups == {"sex": "F"}
    assert data.cases[1].groups == {"sex": "M", "age": "20 to 39"}
    truth = data.cases[0].mask()
    assert truth.shape == data.cases[0].image().grid.shape
    assert set(np.unique(truth)) == {0, 1, 2}
    assert samples(data.cases[:2], planned(data, budget_minutes=1, machine=Machine(1)))


def test_people_in_tables_as_spreadsheets_write_them(tmp_path):
    """A mark of the encoding first, and a tab too many behind some lines."""
    path = bids(tmp_path / "set") / "participants.tsv"
    head, *rows = path.read_text().split("\n")
    text = "\n".join([head, *(r + "\t\t" for r in rows)])
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    data = open_dataset(tmp_path / "set", "segment")
    assert data.cases[0].groups == {"sex": "F"}
    assert data.cases[1].groups == {"sex": "M", "age": "20 to 39"}
    path.write_text("\n".join([head + "\t", *(r + "\tx" for r in rows)]))
    assert open_dataset(tmp_path / "set", "segment").cases[0].groups == {"sex": "F"}


def test_sessions_belong_to_their_subject(tmp_path):
    data = open_dataset(bids(tmp_path / "set", subjects=3, sessions=("ses-1", "ses-2")), "segment")
    assert len(data.cases) == 6
    assert {c.patient for c in data.cases} == {"sub-00", "sub-01", "sub-02"}
    assert data.cases[0].id == "sub-00_ses-1_T1w"


def test_bids_that_says_two_things_is_refused(tmp_path):
    root = bids(tmp_path / "set", subjects=2)
    first = root / "derivatives" / "hand" / "sub-00" / "anat"
    again = root / "derivatives" / "other" / "sub-00" / "anat"
    again.mkdir(parents=True)
    (again / "sub-00_desc-x_dseg.nii.gz").write_bytes(
        (first / "sub-00_space-orig_dseg.nii.gz").read_bytes()
    )
    with pytest.raises(CorruptFile, match="2 label maps"):
        open_dataset(root, "segment")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "dataset_description.json").write_text("{}")
    with pytest.raises(NotFound, match="dseg"):
        open_dataset(tmp_path / "none", "segment")


def stored(root, *, patients=3):
    """Series of MR with a Segmentation each; the first is outlined a second time."""
    rng = np.random.default_rng(1)
    truths = {}
    with Archive.open(root) as archive:
        for i in range(patients):
            image, labels = worlds.ball(rng)
            facts = {"PatientID": f"P{i}", "PatientName": f"Ball^{i}",
                     "StudyInstanceUID": f"1.2.3.{i + 1}"}  # fmt: skip
            image = replace(image, data=np.rint(image.data).astype(np.int16), attributes=facts)
            parts = instances(image)
            for part in parts:
                archive.store(part)
            heads = [pydicom.dcmread(io.BytesIO(p)) for p in parts]
            first = (np.arange(labels.shape[2]) > 9) & np.ones(labels.shape, bool)
            for drawn in (first.astype(np.uint8), labels)[i > 0 :]:
                mask = Mask(
                    data=drawn, grid=image.grid, segments=(Segment(1, "ball"),), attributes=facts,
                    on=tuple(str(h.SOPInstanceUID) for h in heads),
                )  # fmt: skip
                for part in seg.instances(mask, heads):
                    archive.store(part)
            truths[f"P{i}"] = (image, labels)
    return truths


def test_an_archive_is_a_data_set(tmp_path):
    truths = stored(tmp_path / "archive")
    data = open_dataset(tmp_path / "archive", "segment")
    assert (data.classes, data.modality) == (("ball",), "MR")
    assert sorted(c.patient for c in data.cases) == ["P0", "P1", "P2"]
    for case in data.cases:
        image, labels = truths[case.patient]
        read = case.image()
        truth = Mask(data=case.mask(), grid=read.grid, segments=(Segment(1, "ball"),))
        assert int(truth.data.sum()) == int(labels.sum())  # the last outline, not the first
        for grid, data_ in ((image.grid, labels), (read.grid, truth.data)):
            centre = grid.to_world(np.argwhere(data_ > 0).mean(axis=0))
            wanted = image.grid.to_world(np.argwhere(labels > 0).mean(axis=0))
            assert np.allclose(centre, wanted, atol=1e-3)


def test_reports_in_an_archive_are_classes(tmp_path):
    """The last report of a series counts; a model's answer does not."""
    rng = np.random.default_rng(1)
    history = Provenance((Source("phantom", "reader"),))
    with Archive.open(tmp_path / "archive") as archive:
        for i in range(4):
            image, _ = worlds.ball(rng)
            facts = {"PatientID": f"P{i}", "StudyInstanceUID": f"1.2.3.{i + 1}"}
            image = replace(image, data=np.rint(image.data).astype(np.int16), attributes=facts)
            parts = instances(image)
            for part in parts:
                archive.store(part)
            heads = [pydicom.dcmread(io.BytesIO(p)) for p in parts]
            on = tuple(str(h.SOPInstanceUID) for h in heads)
            seen = [sr.Reference(str(h.SOPClassUID), str(h.SOPInstanceUID),
                                 str(h.SeriesInstanceUID), str(h.StudyInstanceUID))
                    for h in heads]  # fmt: skip
            said = [("odd" if i % 2 else "even", history)]
            if i == 0:
                said.insert(0, ("odd", history))
            if i == 1:
                said.append(("even", history.then(Step("models.classify", {}))))
            for word, provenance in said:
                label = Label(concept=Code(word, "99TEST", word), confidence=1.0, on=on,
                              provenance=provenance, attributes=facts)  # fmt: skip
                for part in sr.instances([label], references=seen):
                    archive.store(part)
    data = open_dataset(tmp_path / "archive", "classify")
    assert (data.classes, data.modality) == (("even", "odd"), "MR")
    assert {c.patient: c.label for c in data.cases} == {"P0": 0, "P1": 1, "P2": 0, "P3": 1}
    assert data.cases[0].image().grid.shape == image.grid.shape
    Archive.open(tmp_path / "empty").close()
    with pytest.raises(NotFound, match="reports name 0 classes"):
        open_dataset(tmp_path / "empty", "classify")


def test_the_order_of_an_archive_grows_and_begins_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_, "PAGE", 2)
    order, asked = Order(), []
    with Archive.open(tmp_path / "archive") as archive:
        real = archive.changes

        def noted(after=0, limit=1000):
            asked.append(after)
            return real(after=after, limit=limit)

        monkeypatch.setattr(archive, "changes", noted)
        rng = np.random.default_rng(0)
        names = []
        for i in range(3):
            image = replace(worlds.ball(rng)[0], attributes={"StudyInstanceUID": f"1.2.{i + 1}"})
            image = replace(image, data=np.rint(image.data).astype(np.int16))
            names += [archive.store(instances(image)[0]).series]
        told = order.of(archive)
        assert sorted(told, key=told.get) == names
        last = max(told.values())
        asked.clear()
        assert order.of(archive) == told
        assert asked == [last - 1, last]  # nothing that was read before
    with Archive.open(tmp_path / "other") as other:
        only = other.store(instances(image)[0]).series
        assert set(order.of(other)) == {only}


def test_an_archive_without_outlines(tmp_path):
    Archive.open(tmp_path / "archive").close()
    with pytest.raises(NotFound, match="Segmentation"):
        open_dataset(tmp_path / "archive", "segment")


def test_leaks_between_parts_are_told_in_both_forms(tmp_path):
    root = bids(tmp_path / "set", subjects=4)
    copied = (root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").read_bytes()
    (root / "sub-03" / "anat" / "sub-03_T1w.nii.gz").write_bytes(copied)
    found = duplicates(open_dataset(root, "segment").cases)
    assert [(x.first, x.second, x.exact, x.across) for x in found] == [
        ("sub-01_T1w", "sub-03_T1w", True, True)
    ]
