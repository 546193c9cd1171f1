"""Quality of a data set: what was spoiled on purpose is remarked, and little else is."""

import numpy as np
import pytest

from somascope import io as sio
from somascope.core.errors import NotFound
from somascope.jobs.cohort import qc, selected
from somascope.jobs.cohort.pages import quality_page
from tests.jobs.cohort.people import person, put


def spoiled(archive):
    """Six of one protocol, and five that are wrong each in its way."""
    for i in range(6):
        put(archive, person(i))
    noisy = person(6)
    more = np.random.default_rng(9).normal(0, 60, noisy.data.shape)
    put(archive, noisy.with_data((noisy.data + more).astype(np.int16)))
    put(archive, person(7, RepetitionTime=3000.0))
    twin = person(0, PatientID="P8", StudyInstanceUID="1.2.826.0.1.5.99")
    put(archive, twin)


def test_what_was_spoiled_is_remarked(archive):
    spoiled(archive)
    cases = selected(archive)
    report = qc.of_archive(archive, cases)
    assert len(report.table) == len(report.pictures) == 9
    patients = report.table.texts("patient")
    said = {patients[i]: " | ".join(text) for i, text in report.flags.items()}
    assert "noise" in said["P6"]
    assert "RepetitionTime 3000" in said["P7"]
    assert "the same values as" in said["P0"]
    assert "the same values as" in said["P8"]
    assert not {"P1", "P2", "P3", "P4"} & set(said), said
    page = quality_page(report, title="Quality <of> it")
    assert page.count("<img") == 9
    assert "Quality &lt;of&gt; it" in page
    assert "RepetitionTime 3000, usual 500" in page or "RepetitionTime 3000" in page


def test_a_folder_with_missing_slices_and_what_is_no_image(tmp_path):
    sio.write(person(0), tmp_path / "a")
    sio.write(person(1), tmp_path / "b")
    sio.write(person(2), tmp_path / "c.nii.gz")
    sorted((tmp_path / "b").rglob("*.dcm"))[1].unlink()
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\xff\xff")
    report = qc.of_folder(tmp_path)
    names = report.table.texts("name")
    assert len(names) >= 3
    assert "c" in names
    flagged = [report.table.texts("patient")[i] for i in report.flags]
    assert "P1" in flagged
    assert [n for n, _ in report.unread] == ["broken.dcm"]
    with pytest.raises(NotFound):
        qc.of_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no image"):
        qc.of_folder(tmp_path / "empty")
