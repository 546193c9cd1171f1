"""Findings to structured reports and back; highdicom, dciodvfy and real reports as witnesses."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

import somascope.io as sio
from somascope.core import (
    Box,
    Code,
    Grid,
    Image,
    Label,
    Mask,
    Measurement,
    Provenance,
    Segment,
    Source,
    Step,
)
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat, WriteError
from somascope.io.dicom import provenance, sr, validate, write

DATA = Path(
    os.environ.get("SOMASCOPE_SHARED_DATA", Path(__file__).parents[3].parent / "shared/data")
)
A = 0.3
GRID = Grid.from_spacing(
    (10, 20, 30), (2.5, 0.7, 0.7), origin=(-10.1, 20.3, 3),
    direction=[[0, np.sin(A), np.cos(A)], [0, np.cos(A), -np.sin(A)], [1, 0, 0]],
    frame_of_reference="1.2.3.9",
)  # fmt: skip
RECORD = Provenance((Source("dicom", "1.2.3", ("1.2.3.1", "1.2.3.2")),)).then(
    Step("analyze.size", {"level": 1.5}, ("1.2.3",), "0.1")
)
FACTS = {
    "PatientID": "7",
    "PatientName": "Ärger^Ida",
    "StudyInstanceUID": "1.2.44",
    "StudyDate": "20200102",
    "StudyTime": "101112",
    "StudyID": "1",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "Modality": "CT",
    "SeriesDescription": "Thorax",
    "Manufacturer": "Scanner",
    "BodyPartExamined": "CHEST",
    "PatientPosition": "HFS",
}
WITH = {"provenance": RECORD, "attributes": FACTS}
NODULE = Code("27925004", "SCT", "Nodule")
DIAMETER = Code("81827009", "SCT", "Diameter")


def findings():
    return [
        Measurement(concept=DIAMETER, value=1 / 3, unit="mm", uncertainty=0.1, confidence=0.93,
                    on=("1.2.3.1",), **WITH),
        Measurement(concept=Code("M" * 40, "99SOMASCOPE", "f50"), value=-1.5e-17, unit="/mm",
                    on=("1.2.840.5.7", "1.2.3.2"), **WITH),
        Label(concept=NODULE, confidence=0.7, probabilities={"cat": 0.7, "dög\\": 0.3},
              on=("1.2.3",), **WITH),
        Box(concept=NODULE, confidence=0.5, grid=GRID, lower=(1, 2, 3.25), upper=(4, 5, 6), **WITH),
        Box(concept=NODULE, confidence=1.0, grid=GRID, lower=(1, 2, 3), upper=(1, 5, 6),
            on=("1.2.3.2",), **WITH),
    ]  # fmt: skip


def without_history(given):
    return [replace(f, provenance=Provenance()) for f in given]


def test_round_trip_is_exact():
    (file,) = sr.instances(findings())
    back = sr.read(file)
    assert without_history(back.findings) == without_history(findings())
    assert back.notes == []
    assert [f.grid for f in back.findings[3:]] == [GRID, GRID]
    assert provenance.read(file) == RECORD
    series = str(dcmread(BytesIO(file)).SeriesInstanceUID)
    assert {f.provenance.sources[0].name for f in back.findings} == {series}
    assert back.findings[0].attributes["PatientName"] == FACTS["PatientName"]


def test_the_document_says_who_when_and_on_what():
    (file,) = sr.instances(findings())
    dataset = dcmread(BytesIO(file))
    assert validate.check(file) == []
    assert dataset.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert (dataset.Modality, dataset.StudyInstanceUID) == ("SR", "1.2.44")
    assert (dataset.PatientID, dataset.ContentDate) == ("7", "20200102")
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == "1.2.44"
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedSOPSequence] == [
        "1.2.3.1", "1.2.3.2",
    ]  # fmt: skip
    texts = [i.TextValue for i in dataset.ContentSequence if i.ValueType == "TEXT"]
    assert provenance.NOTICE in texts
    assert "BodyPartExamined" not in dataset  # no module of a report has it


def test_equal_input_equal_bytes_and_other_input_other_series():
    assert sr.instances(findings()) == sr.instances(findings())
    other = [replace(findings()[0], value=0.25), *findings()[1:]]
    uids = {dcmread(BytesIO(sr.instances(f)[0])).SeriesInstanceUID for f in (findings(), other)}
    assert len(uids) == 2


def test_findings_of_different_histories_are_documents_of_their_own():
    one, two, *_ = findings()
    two = replace(two, provenance=RECORD.then(Step("analyze.other")))
    first, second = sr.instances([one, two])
    assert len(sr.read(first).findings) == len(sr.read(second).findings) == 1


def test_highdicom_reads_the_groups():
    (file,) = sr.instances(findings())
    content = hd.sr.srread(BytesIO(file)).content
    groups = content.get_image_measurement_groups()
    assert [g.tracking_identifier for g in groups] == ["Diameter 1", "f50 2", "Nodule 3"]
    (number,) = groups[0].get_measurements()
    assert number.value == pytest.approx(1 / 3)
    assert number.unit.value == "mm"
    assert groups[2].finding_type.value == NODULE.value
    (volume,) = content.get_volumetric_roi_measurement_groups()
    assert volume.finding_type.value == NODULE.value
    assert len(content.get_planar_roi_measurement_groups()) == 1


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not here")
def test_dciodvfy_finds_no_error(tmp_path):
    (file,) = sr.instances(findings())
    path = tmp_path / "it.dcm"
    path.write_bytes(file)
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
    assert [line for line in run.stderr.splitlines() if line.startswith("Error")] == []
    assert "Comprehensive3DSR" in run.stderr


def test_polygons_are_around_the_voxels():
    (file,) = sr.instances(findings()[3])
    content = hd.sr.srread(BytesIO(file)).content
    (group,) = content.get_volumetric_roi_measurement_groups()
    first, last = group.roi.graphic_data
    assert np.allclose(GRID.to_index(first)[:, 0], 1, atol=1e-4)
    assert np.allclose(GRID.to_index(last)[:, 0], 4, atol=1e-4)
    assert np.allclose(GRID.to_index(first).min(axis=0)[1:], (1.5, 2.75), atol=1e-4)
    assert np.allclose(GRID.to_index(first).max(axis=0)[1:], (5.5, 6.5), atol=1e-4)


def test_a_moved_polygon_is_believed_and_not_the_record():
    (file,) = sr.instances(findings()[3])
    dataset = dcmread(BytesIO(file))
    (measurements,) = [i for i in dataset.ContentSequence if i.ValueType == "CONTAINER"][-1:]
    region = next(
        i for i in measurements.ContentSequence[0].ContentSequence if i.ValueType == "SCOORD3D"
    )
    region.GraphicData = [float(v) + 1.0 for v in region.GraphicData]
    back = sr.read(dataset)
    assert [type(f) for f in back.findings] == [Label]
    assert back.notes == ["Volume Surface (SCOORD3D POLYGON) is not read as a finding (2 times)"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite(value):
    (file,) = sr.instances(Measurement(concept=DIAMETER, value=value, unit="mm", **WITH))
    (back,) = sr.read(file).findings
    assert isinstance(back, Measurement)
    assert back.unit == "mm"
    assert np.array_equal(back.value, value, equal_nan=True)


NUMBERS = st.floats(allow_nan=False)
WORDS = st.text("abcXYZ019 äß漢字-+/()", min_size=1, max_size=40).filter(lambda w: w.strip() == w)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    NUMBERS, st.none() | st.floats(0, 1e30), st.floats(0, 1), WORDS, st.sampled_from(["mm", "1"])
)
def test_any_measurement_survives(value, uncertainty, confidence, word, unit):
    concept = Code("T-1", "99TEST", word)
    one = Measurement(concept=concept, value=value, unit=unit, uncertainty=uncertainty,
                      confidence=confidence, **WITH)  # fmt: skip
    (file,) = sr.instances(one)
    assert without_history(sr.read(file).findings) == without_history([one])


def test_without_patient_or_references():
    one = Measurement(
        concept=DIAMETER, value=3.0, unit="mm", on=("scan.nii",),
        provenance=Provenance((Source("phantom", "head"),)),
    )  # fmt: skip
    (file,) = sr.instances(one)
    assert without_history(sr.read(file).findings) == without_history([one])
    assert dcmread(BytesIO(file)).PatientName == "Somascope^head"


def test_what_is_refused():
    with pytest.raises(WriteError, match="no findings"):
        sr.instances([])
    mask = Mask(data=np.ones((1, 2, 2), np.uint8), grid=Grid((1, 2, 2), np.eye(4)),
                segments=(Segment(1, "a"),))  # fmt: skip
    with pytest.raises(WriteError, match="holds no Mask"):
        sr.instances([mask])
    image = Image(np.zeros((1, 4, 4), np.int16), Grid((1, 4, 4), np.eye(4)), "CT")
    with pytest.raises(UnsupportedFormat, match="not a structured report"):
        sr.read(write.instances(image)[0])
    with pytest.raises(ReadError, match="cannot be read"):
        sr.read(b"no DICOM")
    dataset = dcmread(BytesIO(sr.instances(findings())[0]))
    del dataset.ContentSequence
    with pytest.raises(CorruptFile, match="says nothing"):
        sr.read(dataset)


def planted(change):
    dataset = dcmread(BytesIO(sr.instances(findings())[0]))
    change(dataset, dataset.ContentSequence[-1].ContentSequence)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return validate.check(buffer.getvalue())


def unclosed(group):
    region = next(i for i in group.ContentSequence if i.ValueType == "SCOORD3D")
    region.GraphicData = [*list(region.GraphicData)[:-3], 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d, _: d.pop("CompletionFlag"), "CompletionFlag is missing"),
        (lambda d, _: setattr(d, "VerificationFlag", "VERIFIED"), "VerifyingObserverSequence"),
        (lambda d, _: d.pop("CurrentRequestedProcedureEvidenceSequence"), "not in the evidence"),
        (lambda _, g: setattr(g[0], "RelationshipType", "HAS PROPERTIES"), "is not allowed"),
        (lambda _, g: g[0].ContentSequence[-2].pop("MeasuredValueSequence"), "in a NUM item"),
        (lambda _, g: g[0].pop("ContinuityOfContent"), "ContinuityOfContent is missing"),
        (lambda _, g: g[0].ContentSequence[0].pop("ConceptNameCodeSequence"), "Type 1C"),
        (lambda _, g: unclosed(g[3]), "is not closed"),
    ],
)
def test_planted_defects_are_found(change, said):
    assert any(said in line for line in planted(change))


def test_read_and_write_by_path(tmp_path):
    sio.write(findings(), tmp_path / "report.dcm")
    sio.write(findings()[0], tmp_path / "folder")
    sio.write(findings(), tmp_path / "report.json")
    read = sio.read_findings(tmp_path / "report.dcm")
    assert without_history(read) == without_history(findings())
    assert len(sio.read_findings(tmp_path / "folder")) == 1
    plain = json.loads((tmp_path / "report.json").read_text())
    assert [p["kind"] for p in plain] == ["measurement", "measurement", "label", "box", "box"]
    assert np.allclose(plain[3]["world"][0], GRID.to_world((1, 2, 3.25)))
    with pytest.raises(ReadError, match="5 finding"):
        sio.read(tmp_path / "report.dcm")
    with pytest.raises(ReadError, match="no finding"):
        sio.read_findings(tmp_path / "report.json")
    with pytest.raises(WriteError, match="cannot hold findings"):
        sio.write(findings(), tmp_path / "report.nii")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no shared data in {DATA}")
def test_real_reports():
    report = sio.read_all(DATA / "dcmqi_data/sr-example/sr.dcm")
    label, *numbers = report.findings
    assert isinstance(label, Label)
    assert label.concept.meaning.startswith("Neoplasm, Primary")
    said = {f.concept.meaning: (f.value, f.unit) for f in numbers if isinstance(f, Measurement)}
    assert said["SUVbw, Maximum"] == (10.3814, "{SUVbw}g/ml")
    assert said["Volume"] == (33.5824, "ml")
    assert len(said) == len(numbers) == 22
    assert any("Referenced Segment (IMAGE)" in reason for _, reason in report.problems)
    several = sio.read_all(DATA / "highdicom_test/sr_document_with_multiple_groups.dcm")
    values = [f.value for f in several.findings if isinstance(f, Measurement)]
    assert values == [pytest.approx(-119.07385253906), 10.0, 20.0, 200.0]
    assert all(f.on == ("1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322",)
               for f in several.findings)  # fmt: skip
    assert any("Image Region (SCOORD CIRCLE)" in reason for _, reason in several.problems)


def test_pydicoms_report_is_read():
    import pydicom

    path = Path(pydicom.__file__).parent / "data/test_files/test-SR.dcm"
    found = sr.read(path)
    assert [(f.value, f.unit) for f in found.findings] == [(3.0, "Length Unit")] * 2
    assert "Text Code (TEXT) is not read as a finding (4 times)" in found.notes


def test_the_page_on_findings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[3] / "docs/explanation/findings.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(code, "findings.md", "exec"), {"__name__": "page"})
    assert validate.check((tmp_path / "report.dcm").read_bytes()) == []
