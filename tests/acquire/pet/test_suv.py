"""SUV images: factors by hand, frames without decay correction, round trips, refusals."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest

from somascope import phantoms
from somascope.acquire.pet.suv import suv
from somascope.core import Axis, Grid, Image
from somascope.core.errors import UnitError
from somascope.io.dicom.series import volumes
from somascope.io.dicom.suv import average_time
from somascope.io.dicom.validate import check
from somascope.io.dicom.write import instances
from somascope.testing import check_operation

F18 = 6586.2
AGENT = {
    "RadionuclideTotalDose": 3.7e8,
    "RadionuclideHalfLife": F18,
    "RadiopharmaceuticalStartDateTime": "20260102100000.00",
    "RadionuclideCodeSequence": [
        {"CodeValue": "C-111A1", "CodingSchemeDesignator": "SRT", "CodeMeaning": "^18^Fluorine"}
    ],
}
FACTS = {
    "PatientName": "Test^SUV", "PatientID": "S1", "PatientSex": "M", "PatientWeight": 80.0,
    "PatientSize": 1.8, "DecayCorrection": "START", "CorrectedImage": ["DECY", "ATTN", "SCAT"],
    "SeriesDate": "20260102", "SeriesTime": "110000", "AcquisitionDate": "20260102",
    "AcquisitionTime": "110000", "ActualFrameDuration": 120000,
    "RadiopharmaceuticalInformationSequence": [AGENT],
}  # fmt: skip
LEFT = 3.7e8 * 0.5 ** (3600 / F18)


def pet(shape=(2, 3, 4), **more):
    data = np.random.default_rng(0).uniform(0, 2e4, shape).astype(np.float32)
    axes = more.pop("axes", ())
    grid = Grid.from_spacing(shape[-3:], (3, 2, 2), frame_of_reference="1.2.3.4")
    unit = more.pop("unit", "Bq/ml")
    return Image(data, grid, "PT", unit, axes=axes, attributes=FACTS | more)


def test_body_weight_and_lean_mass():
    image = pet()
    done = suv(image)
    assert done.unit == "g/ml"
    np.testing.assert_allclose(done.data, image.data * (80000 / LEFT), rtol=1e-6)
    lean = 9270 * 80 / (6680 + 216 * 80 / 1.8**2)
    made = suv(image, kind="LBMJANMA")
    assert made.unit == "g/ml{SUVlbm(Janma)}"
    np.testing.assert_allclose(made.data, image.data * (1000 * lean / LEFT), rtol=1e-6)
    np.testing.assert_allclose(suv(made).data, done.data, rtol=1e-5)


def test_kilobecquerels_and_what_the_caller_knows():
    image = pet(unit="kBq/ml")
    done = suv(image, weight=60.0, dose=2e8)
    left = 2e8 * 0.5 ** (3600 / F18)
    np.testing.assert_allclose(done.data, image.data * (1000 * 60000 / left), rtol=1e-6)
    assert done.attributes["PatientWeight"] == 60.0


def test_frames_without_decay_correction_have_a_factor_each():
    image = pet(
        (3, 2, 3, 4), axes=(Axis("t", (60.0, 360.0, 3660.0), "s"),), DecayCorrection="NONE",
        CorrectedImage=["ATTN"], ActualFrameDuration=[120000] * 3,
    )  # fmt: skip
    done = suv(image)
    ratio = done.data[:, 0, 0, 0] / image.data[:, 0, 0, 0]
    np.testing.assert_allclose(ratio / ratio[0], 2 ** (np.array([0, 300, 3600]) / F18), rtol=1e-5)


@pytest.mark.parametrize("kind", ["BW", "LBMJANMA", "LBMJAMES128", "IBW", "BSA"])
def test_round_trip_through_dicom(kind):
    done = suv(pet(), kind=kind)
    files = instances(done)
    dataset = pydicom.dcmread(BytesIO(files[0]))
    assert dataset.Units == ("CM2ML" if kind == "BSA" else "GML")
    assert dataset.SUVType == kind
    item = dataset.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0]
    code = str(item.get("CodeValue") or item.LongCodeValue)
    assert code.startswith("cm2/ml{SUVbsa" if kind == "BSA" else "g/ml{SUV")
    (back,), problems = volumes(files)
    assert not problems
    assert back.unit == done.unit
    np.testing.assert_allclose(back.data, done.data, atol=done.data.max() / 60000)
    again = suv(back, kind=kind)
    np.testing.assert_array_equal(again.data, back.data)


def test_the_nema_phantom_has_suv_of_its_dose():
    image = phantoms.nema_pet((3, 16, 16), (3, 8, 8), scale=0)
    known = replace(
        image, attributes={**image.attributes, "RadiopharmaceuticalInformationSequence": [AGENT]}
    )
    assert suv(known).data.max() > 0


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"CorrectedImage": ["DECY"]}, "no ATTN"),
        ({"PatientWeight": None}, "PatientWeight"),
        (
            {"RadiopharmaceuticalInformationSequence": [AGENT | {"RadionuclideHalfLife": 109.77}]},
            "F-18",
        ),
        ({"unit": "/cm"}, "'/cm'"),
    ],
)
def test_refusals(more, word):
    with pytest.raises(UnitError, match=word):
        suv(pet(**more))


def test_not_of_a_ct():
    with pytest.raises(UnitError, match="'CT'"):
        suv(replace(pet(), modality="CT"))


def test_uncorrected_on_demand():
    assert suv(pet(CorrectedImage=["DECY"]), uncorrected=True).unit == "g/ml"


def test_keeps_the_promises_of_an_operation():
    check_operation(suv, inputs=(pet(),))


def test_what_a_pet_series_says_of_itself_comes_back():
    said = {
        "PatientPosition": "FFP", "AttenuationCorrectionMethod": "CT, bilinear, 120 kV",
        "ScatterCorrectionMethod": "Single scatter simulation, scale 1.100",
        "RandomsCorrectionMethod": "DLYD", "ReconstructionMethod": "OSEM 4 iterations 8 subsets",
        "ScatterFractionFactor": 0.31, "DeadTimeFactor": 1.05, "DoseCalibrationFactor": 2.5,
        "DecayFactor": 1.0064, "FrameReferenceTime": 61000.0, "TimezoneOffsetFromUTC": "+0100",
    }  # fmt: skip
    files = instances(pet(**said))
    for file in files:
        assert check(file) == []
    dataset = pydicom.dcmread(BytesIO(files[0]))
    assert dataset.PatientOrientationCodeSequence[0].CodeMeaning == "recumbent"
    assert dataset.PatientGantryRelationshipCodeSequence[0].CodeMeaning == "feet-first"
    assert "PatientPosition" not in dataset  # PS3.3 C.7.3.1
    (back,), _ = volumes(files)
    assert {word: back.attributes.get(word) for word in said} == said
    agent = back.attributes["RadiopharmaceuticalInformationSequence"][0]
    assert agent["RadionuclideTotalDose"] == 3.7e8
    assert agent["RadionuclideCodeSequence"][0]["CodeValue"] == "C-111A1"


def test_frame_reference_time_of_a_static_image_is_its_average_time():
    later = pet(SeriesTime="105500")
    dataset = pydicom.dcmread(BytesIO(instances(later)[0]))
    assert float(dataset.FrameReferenceTime) == pytest.approx(
        1000 * (300 + average_time(F18, 120.0)), rel=1e-6
    )


def test_the_first_bed_of_several_is_the_reference():
    """Slices of two beds, the lower one acquired later: the series began with the upper one."""
    whole = pet((4, 3, 4))
    files = []
    for i, file in enumerate(instances(whole)):
        dataset = pydicom.dcmread(BytesIO(file))
        dataset.AcquisitionTime = "110300" if i < 2 else "110000"
        dataset.FrameReferenceTime = 240000 if i < 2 else 60000
        dataset.SeriesTime = "150000"  # of a derivation
        buffer = BytesIO()
        dataset.save_as(buffer)
        files.append(buffer.getvalue())
    (back,), _ = volumes(files)
    assert back.attributes["AcquisitionTime"].startswith("110000")
    assert back.attributes["FrameReferenceTime"] == 60000
    start = 3600 + average_time(F18, 120.0) - 60
    expected = 80000 / (3.7e8 * 0.5 ** (start / F18))
    ratio = suv(back).data.sum() / back.data.sum()
    assert ratio == pytest.approx(expected, rel=1e-5)
