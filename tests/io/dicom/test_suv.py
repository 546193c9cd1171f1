"""SUV factors by hand: weight over the dose left at the reference time."""

from __future__ import annotations

import pytest

from somascope.core.errors import UnitError
from somascope.io.dicom.rescale import suv_factor

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
    import numpy as np
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
