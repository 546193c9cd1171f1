from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from somascope.core.errors import ParameterError
from somascope.core.finding import Code
from somascope.io.dicom.encode import Encoder, clean, coded, dataset, element, number

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(FINITE)
def test_decimal_strings_are_short_and_near(value):
    text = number(value)
    assert len(text) <= 16
    # sign, leading digit, point and an exponent such as e-308 leave nine digits
    assert float(text) == pytest.approx(value, rel=1e-8, abs=5e-324)


def test_decimal_strings_that_are_exact():
    for value in (0.0, 1.0, -1024.0, 0.5, 0.1, 100.00000000000003 - 3e-14, 123456789012345.0):
        assert float(number(value)) == pytest.approx(value, rel=1e-15)
    assert number(100.00000000000003) == "100"  # the 17 characters of a naive rounding


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("LO", "a\\b\n" + "x" * 80, "a/b" + "x" * 61),
        ("CS", "axial", None),
        ("CS", "AXIAL", "AXIAL"),
        ("DA", "20240230", "20240230"),
        ("DA", "2024-01-01", None),
        ("TM", "235959.123456", "235959.123456"),
        ("TM", "256060", None),
        ("UI", "1.02", "1.02"),  # foreign, and no reason to tear a study apart
        ("UI", "5", None),
        ("FL", 1e300, None),
        ("IS", "12.0", 12),
        ("IS", 2**31, None),
        ("US", -1, None),
        ("DS", "abc", None),
        ("DS", float("nan"), None),
        ("DS", [1, 2], None),
        ("FD", "1.5", 1.5),
        ("AS", "042Y", "042Y"),
        ("PN", "Doe^Jane=日本^語", "Doe^Jane=日本^語"),
    ],
)
def test_values_are_made_to_fit_or_left_out(vr, value, expected):
    assert clean(value, vr) == expected


def test_multiplicity_follows_the_dictionary():
    assert element("PatientID", ["a", "b"]).value == "a"
    assert list(element("ImageType", "DERIVED\\SECONDARY").value) == ["DERIVED", "SECONDARY"]
    assert element("ImageType", ["DERIVED", "", "X"]).value[1] == ""
    with pytest.raises(ParameterError, match="Nonsense"):
        element("Nonsense", 1)


def test_file_is_read_by_pydicom_and_own_elements_win():
    shared = dataset(
        {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
            "SOPInstanceUID": "1.2.3",
            "PatientName": "Müller^Jürgen",
            "SpecificCharacterSet": "ISO_IR 192",
            "BitsAllocated": 8,
            "AnatomicRegionSequence": [coded(Code("10200004", "SCT", "Liver"))],
        }
    )
    own = dataset({"SOPInstanceUID": "1.2.4", "InstanceNumber": 7})
    file = Encoder(shared).part10(own, [b"\x01\x02", b"\x03"])
    read = dcmread(BytesIO(file))
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.4" == read.SOPInstanceUID
    assert str(read.PatientName) == "Müller^Jürgen"
    assert read.AnatomicRegionSequence[0].CodeMeaning == "Liver"
    assert read.PixelData == b"\x01\x02\x03\x00"
    assert len(file) % 2 == 0


def test_long_codes_use_long_code_value():
    long = coded(Code("1234567890.1234567", "99X", "x"))
    assert "CodeValue" not in long
    assert long.LongCodeValue == "1234567890.1234567"


def test_sequences_from_mappings():
    item = dataset({"MeasurementUnitsCodeSequence": {"CodeValue": "mm", "CodeMeaning": "mm"}})
    assert item.MeasurementUnitsCodeSequence[0].CodeValue == "mm"
    assert np.isclose(float(element("SliceThickness", np.float32(1.5)).value), 1.5)
