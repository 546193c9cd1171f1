"""Who is followed stays the same in reports and segmentations, on the way there and back."""

from dataclasses import replace
from io import BytesIO

import highdicom as hd
import numpy as np
from pydicom import dcmread

from somascope.core import (
    Box,
    Code,
    Grid,
    Label,
    Mask,
    Measurement,
    Provenance,
    Segment,
    Source,
    Tracking,
)
from somascope.io.dicom import seg, sr
from somascope.io.findings import plain

GRID = Grid.from_spacing((4, 6, 6), (2, 1, 1), frame_of_reference="1.2.3.9")
FACTS = {"PatientID": "7", "StudyInstanceUID": "1.2.44", "Modality": "CT"}
RECORD = Provenance((Source("phantom", "p"),))
WITH = {"provenance": RECORD, "attributes": FACTS}
ONE, TWO = Tracking("2.25.11", "Lesion A"), Tracking("2.25.12", "Lesion B")
VOLUME = Code("118565006", "SCT", "Volume")
GROWN = Code("GROWN", "99SOMASCOPE", "Grown")


def listed():
    return [
        Label(concept=GROWN, confidence=0.8, text="It is larger.", tracking=ONE, **WITH),
        Measurement(concept=VOLUME, value=10.0, unit="mm3", time_point="20260101", tracking=ONE,
                    **WITH),
        Measurement(concept=VOLUME, value=12.0, unit="mm3", time_point="20260601", tracking=ONE,
                    **WITH),
        Measurement(concept=GROWN, value=20.0, unit="%", tracking=ONE, time_point="20260601",
                    **WITH),
        Measurement(concept=VOLUME, value=5.0, unit="mm3", tracking=TWO, **WITH),
        Box(concept=GROWN, confidence=1.0, grid=GRID, lower=(1, 1, 1), upper=(2, 2, 2),
            tracking=TWO, **WITH),
        Measurement(concept=VOLUME, value=1.0, unit="mm3", **WITH),
    ]  # fmt: skip


def test_a_report_keeps_tracking_time_points_and_reasons():
    (file,) = sr.instances(listed())
    back = sr.read(file)
    assert back.notes == []
    assert back.findings == [replace(f, provenance=back.findings[0].provenance) for f in listed()]
    assert [f.tracking for f in back.findings[:6]] == [ONE] * 4 + [TWO] * 2
    assert back.findings[6].tracking is None  # the UID that the file has for it is made up
    (again,) = sr.instances(back.findings)
    assert [f.tracking for f in sr.read(again).findings] == [f.tracking for f in listed()]


def test_what_is_of_one_lesion_and_time_shares_a_group():
    (file,) = sr.instances(listed())
    groups = hd.sr.srread(BytesIO(file)).content.get_planar_roi_measurement_groups()
    assert groups == []
    report = dcmread(BytesIO(file))
    measured = next(
        i for i in report.ContentSequence if i.get("ConceptNameCodeSequence")
        and i.ConceptNameCodeSequence[0].CodeValue == "126010"
    )  # fmt: skip
    numbers = [
        sum(c.ValueType == "NUM" for c in group.ContentSequence)
        for group in measured.ContentSequence
    ]
    assert numbers == [0, 1, 2, 1, 0, 1]
    times = [
        [c.TextValue for c in g.ContentSequence
         if c.ConceptNameCodeSequence[0].CodeValue == "C2348792"]
        for g in measured.ContentSequence
    ]  # fmt: skip
    assert times == [[], ["20260101"], ["20260601"], [], [], []]


def test_a_segmentation_keeps_tracking_and_reads_foreign_ones():
    data = np.zeros(GRID.shape, np.uint8)
    data[1, 1:3, 1:3], data[2, 4, 4] = 1, 2
    mask = Mask(
        data=data, grid=GRID, segments=(Segment(1, "a", tracking=ONE), Segment(2, "b")), **WITH
    )
    (file,) = seg.instances(mask)
    described = dcmread(BytesIO(file)).SegmentSequence
    assert (described[0].TrackingUID, described[0].TrackingID) == ("2.25.11", "Lesion A")
    back = seg.read(file)
    assert back.segments[0].tracking == ONE
    assert back.segments[1].tracking == Tracking(described[1].TrackingUID, "b")
    again = seg.read(seg.instances(back)[0])
    assert [s.tracking for s in again.segments] == [s.tracking for s in back.segments]


def test_json_says_it():
    said = plain(listed()[0])
    assert said["tracking"] == {"uid": "2.25.11", "name": "Lesion A"}
    assert said["text"] == "It is larger."
    assert plain(listed()[1])["time_point"] == "20260101"
    assert "tracking" not in plain(listed()[6])
