"""SUV factors by hand: weight over the dose left at the reference time."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.core.errors import UnitError
from somascope.io.dicom.suv import (
    average_time,
    body_size,
    body_surface,
    lean_body_mass,
    reference,
    suv_factor,
)

F18 = 6586.2
HOUR = {
    "Units": "BQML",
    "PatientWeight": 70.0,
    "DecayCorrection": "START",
    "SeriesDate": "20260102",
    "SeriesTime": "110000",
    "AcquisitionDate": "20260102",
    "AcquisitionTime": "110000.50",
    "RadiopharmaceuticalInformationSequence": [
        {
            "RadionuclideTotalDose": 3.7e8,
            "RadionuclideHalfLife": F18,
            "RadiopharmaceuticalStartTime": "100000.00",
        }
    ],
}
LEFT = 3.7e8 * 0.5 ** (3600 / F18)


def with_agent(**facts):
    agent = dict(HOUR["RadiopharmaceuticalInformationSequence"][0]) | facts
    return HOUR | {
        "RadiopharmaceuticalInformationSequence": [{k: v for k, v in agent.items() if v}]
    }


def test_start_decays_the_dose_to_the_series():
    assert suv_factor(HOUR) == pytest.approx(70000 / LEFT, rel=1e-12)


def test_admin_takes_the_dose_as_given():
    assert suv_factor(HOUR | {"DecayCorrection": "ADMIN"}) == pytest.approx(70000 / 3.7e8)


def test_none_decays_the_dose_to_the_acquisition():
    facts = HOUR | {"DecayCorrection": "NONE", "AcquisitionTime": "120000"}
    assert suv_factor(facts) == pytest.approx(70000 / (3.7e8 * 0.5 ** (7200 / F18)))


def test_a_derived_series_is_referred_to_its_acquisition():
    assert suv_factor(
        HOUR | {"SeriesTime": "170000", "AcquisitionTime": "110000"}
    ) == pytest.approx(70000 / LEFT)


def test_given_before_midnight():
    facts = with_agent(RadiopharmaceuticalStartTime="233000") | {
        "SeriesTime": "003000",
        "AcquisitionTime": "003000",
    }
    assert suv_factor(facts) == pytest.approx(70000 / LEFT)
    facts = with_agent(RadiopharmaceuticalStartDateTime="20260101233000.00") | {
        "SeriesTime": "003000",
        "AcquisitionTime": "003000",
    }
    assert suv_factor(facts) == pytest.approx(70000 / LEFT)


def test_philips_counts_and_grams():
    assert suv_factor({"Units": "CNTS", "70531000": 0.00123}) == 0.00123
    assert suv_factor({"Units": "GML"}) == 1


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (HOUR | {"PatientWeight": None}, "PatientWeight"),
        (HOUR | {"RadiopharmaceuticalInformationSequence": []}, "Radiopharmaceutical"),
        (with_agent(RadionuclideTotalDose=None), "RadionuclideTotalDose"),
        (with_agent(RadionuclideHalfLife=None), "RadionuclideHalfLife"),
        (with_agent(RadiopharmaceuticalStartTime=None), "RadiopharmaceuticalStartTime"),
        (HOUR | {"DecayCorrection": "X"}, "DecayCorrection"),
        (HOUR | {"Units": "CNTS"}, "7053,1000"),
        (HOUR | {"Units": "PROPCPS"}, "PROPCPS"),
        (with_agent(RadiopharmaceuticalStartDateTime="20250101100000"), "time is wrong"),
    ],
)
def test_what_is_missing_is_named(facts, word):
    with pytest.raises(UnitError, match=word):
        suv_factor(facts)


def test_from_a_series(dicom):
    from pydicom.dataset import Dataset

    from somascope.io.dicom.series import volumes

    agent = Dataset()
    agent.RadionuclideTotalDose, agent.RadionuclideHalfLife = 3.7e8, F18
    agent.RadiopharmaceuticalStartTime = "100000"
    data = dicom(
        np.full((4, 4), 1000, np.uint16),
        Modality="PT",
        Units="BQML",
        DecayCorrection="START",
        PatientWeight=70,
        SeriesDate="20260102",
        SeriesTime="110000",
        AcquisitionDate="20260102",
        AcquisitionTime="110000",
        RadiopharmaceuticalInformationSequence=[agent],
        RescaleSlope=2.5,
        RescaleIntercept=0,
    )
    (image,), _ = volumes([data])
    assert image.unit == "Bq/ml"
    assert image.data.max() * suv_factor(image.attributes) == pytest.approx(2500 * 70000 / LEFT)


SIZE = {"PatientWeight": 80.0, "PatientSize": 1.80, "PatientSex": "M"}


def left(seconds, dose=3.7e8):
    return dose * 0.5 ** (seconds / F18)


@pytest.mark.parametrize(
    ("kind", "sex", "grams"),
    [
        ("BW", "O", 80000.0),
        ("LBMJANMA", "M", 1000 * 9270 * 80 / (6680 + 216 * 80 / 1.8**2)),
        ("LBMJANMA", "F", 1000 * 9270 * 80 / (8780 + 244 * 80 / 1.8**2)),
        ("LBMJAMES128", "M", 1000 * (1.10 * 80 - 128 * (80 / 180) ** 2)),
        ("LBMJAMES128", "F", 1000 * (1.07 * 80 - 148 * (80 / 180) ** 2)),
        ("IBW", "M", 1000 * (48.0 + 1.06 * 28)),
        ("IBW", "F", 1000 * (45.5 + 0.91 * 28)),
        ("BSA", "O", 1e4 * 0.007184 * 80**0.425 * 180**0.725),
    ],
)
def test_what_the_dose_is_spread_over(kind, sex, grams):
    facts = HOUR | SIZE | {"PatientSex": sex}
    assert body_size(facts, kind) == pytest.approx(grams, rel=1e-12)
    assert suv_factor(facts, kind=kind) == pytest.approx(grams / LEFT, rel=1e-12)


def test_published_lean_body_masses():
    """A man of 70 kg and 1.75 m, a woman of 60 kg and 1.65 m: tables of the two papers."""
    assert lean_body_mass(70, 1.75, sex="M") == pytest.approx(55.9, abs=0.1)
    assert lean_body_mass(60, 1.65, sex="F") == pytest.approx(39.3, abs=0.1)
    assert lean_body_mass(70, 1.75, sex="M", formula="LBMJAMES128") == pytest.approx(56.5, abs=0.1)
    assert body_surface(70, 1.75) == pytest.approx(1.85, abs=0.01)


def test_one_suv_becomes_another():
    facts = SIZE | {"Units": "GML"}
    assert suv_factor(facts | {"SUVType": "LBMJANMA"}, kind="LBMJANMA") == 1
    ratio = 80000 / body_size(SIZE, "LBMJANMA")
    assert suv_factor(facts | {"SUVType": "LBMJANMA"}) == pytest.approx(ratio)
    assert suv_factor(facts, kind="LBMJANMA") == pytest.approx(1 / ratio)
    area = body_size(SIZE, "BSA")
    assert suv_factor(SIZE | {"Units": "CM2ML"}) == pytest.approx(80000 / area)
    with pytest.raises(UnitError, match="unnamed formula"):
        suv_factor(facts | {"SUVType": "LBM"})


def test_philips_counts_with_the_factor_to_activity():
    facts = HOUR | {"Units": "CNTS", "70531009": 2.5}
    assert suv_factor(facts) == pytest.approx(2.5 * 70000 / LEFT)
    assert suv_factor(facts | {"70531000": 0.5}) == 0.5
    assert suv_factor(facts | {"Units": "PROPCPS"}) == pytest.approx(2.5 * 70000 / LEFT)
    lean = suv_factor(facts | SIZE | {"70531000": 0.5}, kind="LBMJANMA")
    assert lean == pytest.approx(0.5 * body_size(SIZE, "LBMJANMA") / 80000)


def test_a_derived_series_is_referred_to_its_scan_by_frame_reference_time():
    """The third bed of a scan that began at 10:50: its frame says when the scan began."""
    duration = 120.0
    inside = average_time(F18, duration)
    facts = HOUR | {
        "SeriesTime": "173000",
        "AcquisitionTime": "105600",
        "ActualFrameDuration": duration * 1000,
        "FrameReferenceTime": (360.0 + inside) * 1000,
    }
    assert reference(facts).rule == "frame"
    assert suv_factor(facts) == pytest.approx(70000 / left(3000), rel=1e-9)


def test_ge_private_scan_time_comes_before_it():
    facts = HOUR | {"SeriesTime": "173000", "0009100D": "20260102105000.00"}
    assert reference(facts).rule == "scan"
    assert suv_factor(facts) == pytest.approx(70000 / left(3000))


def test_values_without_decay_correction_are_of_the_middle_of_their_frame():
    facts = HOUR | {"DecayCorrection": "NONE", "AcquisitionTime": "120000"}
    facts |= {"ActualFrameDuration": 600000, "CorrectedImage": ["ATTN"]}
    inside = average_time(F18, 600)
    assert 296 < inside < 300
    assert suv_factor(facts) == pytest.approx(70000 / left(7200 + inside))
    assert suv_factor(facts, later=60) == pytest.approx(70000 / left(7260 + inside))


def test_the_average_time_is_when_the_activity_is_its_mean():
    for duration in (1e-3, 60.0, 3600.0, 40000.0):
        rate = np.log(2) / F18
        mean = -np.expm1(-rate * duration) / (rate * duration)
        assert np.exp(-rate * average_time(F18, duration)) == pytest.approx(mean, rel=1e-12)


def test_an_injection_during_a_dynamic_scan_is_no_day_before():
    facts = with_agent(RadiopharmaceuticalStartTime="110030.00")
    assert suv_factor(facts) == pytest.approx(70000 / left(-30))
    facts = with_agent(RadiopharmaceuticalStartDateTime="20260102110030.00")
    assert suv_factor(facts) == pytest.approx(70000 / left(-30))


def test_a_long_lived_tracer_of_the_day_before():
    half = 282276.0
    facts = with_agent(RadionuclideHalfLife=half, RadiopharmaceuticalStartTime="111000")
    expected = 70000 / (3.7e8 * 0.5 ** (85800 / half))
    assert suv_factor(facts) == pytest.approx(expected)
    facts = with_agent(RadionuclideHalfLife=half, RadiopharmaceuticalStartDateTime="20251230110000")
    assert suv_factor(facts) == pytest.approx(70000 / (3.7e8 * 0.5 ** (3 * 86400 / half)))


def test_time_zones():
    facts = with_agent(RadiopharmaceuticalStartDateTime="20260102090000.00+0000")
    assert suv_factor(facts | {"TimezoneOffsetFromUTC": "+0100"}) == pytest.approx(70000 / LEFT)
    facts = with_agent(RadiopharmaceuticalStartDateTime="20260102100000.25+0100")
    assert suv_factor(facts) == pytest.approx(70000 / left(3599.75))


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (HOUR | {"PatientWeight": 70000.0}, "70000 kg"),
        (HOUR | {"PatientWeight": "heavy"}, "PatientWeight is missing"),
        (with_agent(RadionuclideTotalDose=370.0), "MBq"),
        (with_agent(RadionuclideHalfLife=-5.0), "positive"),
        (with_agent(RadionuclideHalfLife=10.0), "half lives"),
        (HOUR | {"CorrectedImage": ["ATTN", "SCAT"]}, "no DECY"),
        (HOUR | {"DecayCorrection": "NONE", "AcquisitionTime": ""}, "AcquisitionTime"),
        (HOUR | {"SeriesTime": "", "AcquisitionTime": ""}, "SeriesTime and AcquisitionTime"),
        (HOUR | {"Units": "GML", "SUVType": "LBMJANMA"}, "PatientSize"),
    ],
)
def test_what_is_impossible_is_named(facts, word):
    with pytest.raises(UnitError, match=word):
        suv_factor(facts)


@pytest.mark.parametrize(
    ("more", "kind", "word"),
    [
        ({"PatientSize": None}, "LBMJANMA", "PatientSize is missing"),
        ({"PatientSize": 180.0}, "BSA", "not in cm"),
        ({"PatientSex": "O"}, "LBMJAMES128", "PatientSex"),
        ({"PatientSex": ""}, "IBW", "PatientSex"),
        ({"PatientWeight": 400.0, "PatientSex": "F"}, "LBMJAMES128", "use LBMJANMA"),
        ({}, "LBM", "'LBM'"),
    ],
)
def test_bodies_that_no_formula_fits(more, kind, word):
    with pytest.raises(UnitError, match=word):
        body_size(SIZE | more, kind)
