"""Tags, VRs, transfer syntaxes and image classes that the header pass knows (PS3.5, PS3.6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

Wanted = Mapping[int, tuple[str, str]]
"""Tag (group << 16 | element) to its keyword and VR."""

_INDEX = """
00080005 CS SpecificCharacterSet
00080008 CS ImageType
00080016 UI SOPClassUID
00080018 UI SOPInstanceUID
00080020 DA StudyDate
00080021 DA SeriesDate
00080022 DA AcquisitionDate
00080023 DA ContentDate
00080030 TM StudyTime
00080031 TM SeriesTime
00080033 TM ContentTime
00080050 SH AccessionNumber
00080060 CS Modality
00080070 LO Manufacturer
00080080 LO InstitutionName
00080090 PN ReferringPhysicianName
00080201 SH TimezoneOffsetFromUTC
00081010 SH StationName
00081030 LO StudyDescription
0008103E LO SeriesDescription
00081090 LO ManufacturerModelName
00100010 PN PatientName
00100020 LO PatientID
00100021 LO IssuerOfPatientID
00100030 DA PatientBirthDate
00100040 CS PatientSex
00101010 AS PatientAge
00180015 CS BodyPartExamined
00180050 DS SliceThickness
00181030 LO ProtocolName
00185100 CS PatientPosition
0020000D UI StudyInstanceUID
0020000E UI SeriesInstanceUID
00200010 SH StudyID
00200011 IS SeriesNumber
00200012 IS AcquisitionNumber
00200013 IS InstanceNumber
00200032 DS ImagePositionPatient
00200037 DS ImageOrientationPatient
00200052 UI FrameOfReferenceUID
00200060 CS Laterality
00280002 US SamplesPerPixel
00280004 CS PhotometricInterpretation
00280006 US PlanarConfiguration
00280008 IS NumberOfFrames
00280010 US Rows
00280011 US Columns
00280030 DS PixelSpacing
00280100 US BitsAllocated
00280101 US BitsStored
00280102 US HighBit
00280103 US PixelRepresentation
00280301 CS BurnedInAnnotation
00281050 DS WindowCenter
00281051 DS WindowWidth
00281052 DS RescaleIntercept
00281053 DS RescaleSlope
00287FE0 UR PixelDataProviderURL
00400244 DA PerformedProcedureStepStartDate
00400245 TM PerformedProcedureStepStartTime
"""


def _table(text: str) -> dict[int, tuple[str, str]]:
    rows = (line.split() for line in text.split("\n") if line)
    return {int(tag, 16): (keyword, vr) for tag, vr, keyword in rows}


INDEX: Wanted = MappingProxyType(_table(_INDEX))
"""What the archive's index, the acceptors and the series reader ask of every instance."""


def wanted(keywords: Iterable[str], *, base: Wanted = INDEX) -> Wanted:
    """``base`` and the attributes of these DICOM keywords (top level, no sequences)."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    table = dict(base)
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(f"{keyword!r} is no DICOM keyword (PS3.6 chapter 6)")
        table[int(tag)] = (keyword, dictionary_VR(tag)[:2])
    return MappingProxyType(table)


LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs with two reserved bytes and a 32-bit length (PS3.5 7.1.2)."""
ALL_VRS = LONG_VRS | frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
GE_PRIVATE = "1.2.840.113619.5.2"
"""Implicit little endian with big-endian pixels; stored as it is."""
RLE = "1.2.840.10008.1.2.5"

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_IMAGES = """
1 2 3 4 5 6 7 12 13 14 20 30 66.4 66.7 77 81.1 128 130 481.1 481.23 481.24 501.1 501.2 601
"""
_WITH = tuple(_STORAGE + root for root in _IMAGES.split())
_WITHOUT = (_STORAGE + "4.2", _STORAGE + "77.1.5.3")
"""MR spectroscopy and stereometric relationships, among images by their numbers only."""


def needs_pixels(sop_class: str) -> bool:
    """Whether an instance of this class has Pixel Data or refers to it (PS3.3 C.7.6.3).

    Only of classes that are known to be images: any other, a class that this version does not
    know among them, may do without.
    """
    return (
        any(sop_class == root or sop_class.startswith(root + ".") for root in _WITH)
        and sop_class not in _WITHOUT
    )
