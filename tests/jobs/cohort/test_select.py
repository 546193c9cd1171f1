"""Which series a query selects."""

import pytest

from somascope.core.errors import ParameterError
from somascope.jobs.cohort import selected
from somascope.jobs.cohort.select import _matches, conditions, mask_of
from somascope.jobs.run import execute
from tests.jobs.cohort.people import outline, person, put


def of(archive, *texts, **more):
    return [c.series for c in selected(archive, conditions(texts), **more)]


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (["Modality=MR"], [0, 1, 2, 3, 4]),
        (["Modality=MR", "PatientSex=F"], [0, 2, 4]),
        (["Modality=MR", "PatientAge=040Y-060Y"], [1, 2, 3]),
        (["Modality=MR", "PatientAge=60-"], [3, 4]),
        (["Modality=MR", "PatientAge=-35", "PatientAge=70"], [0, 4]),
        (["Modality=MR", "InstitutionName=B"], [3, 4]),
        (["Modality=MR", "StudyDate=20250102-20250103"], [1, 2]),
        (["Modality=MR", "StudyDate=20250101", "StudyDate=20250105"], [0, 4]),
        (["Modality=MR", "RepetitionTime=501-502.5"], [1, 2]),
        (["Modality=MR", "RepetitionTime=503"], [3]),
        (["Modality=MR", "RepetitionTime=501..502.5"], [1, 2]),
        (["Modality=MR", "RepetitionTime=..501"], [0, 1]),
        (["Modality=MR", "RepetitionTime=-500..501"], [0, 1]),
        (["Modality=MR", "RepetitionTime=-503"], []),
        (["Modality=MR", "PatientAge=60.."], [3, 4]),
        (["SeriesDescription=T*", "Modality=MR", "PatientID=P1", "PatientID=P3"], [1, 3]),
        (["Modality=PT"], []),
    ],
)  # fmt: skip
def test_attributes_select(archive, people, where, wanted):
    assert of(archive, *where) == [people[i] for i in wanted]


def test_facts_and_order(archive, people):
    cases = selected(archive)
    assert len(cases) == 6  # the CT too
    facts = selected(archive, {"PatientID": ["P2"]})[0].facts
    told = [facts[n] for n in ("age", "sex", "site", "scanner")]
    assert told == [50, "F", "A", "ACME One"]
    assert [c.facts["patient"] for c in cases] == ["P0", "P0", "P1", "P2", "P3", "P4"]
    assert len(selected(archive, limit=2)) == 2


def test_age_is_told_from_the_date_of_birth(archive):
    uid = put(archive, person(1, PatientAge="", PatientBirthDate="19500101"))
    assert of(archive, "PatientAge=74-76") == [uid]
    assert of(archive, "PatientAge=20-40") == []


def test_what_operations_made_is_no_case_of_its_own(archive, people):
    (made,) = execute(archive, "process.gaussian", [people[0]], {"sigma": 1.0})
    assert made not in of(archive, "Modality=MR")
    assert made in of(archive, "Modality=MR", results=True)


def test_the_last_outline_of_a_series(archive, people):
    case = selected(archive, {"PatientID": ["P0"], "Modality": ["MR"]})[0]
    assert mask_of(archive, case) is None
    uid = outline(archive, people[0])
    assert mask_of(archive, case) == uid
    assert mask_of(archive, selected(archive, {"PatientID": ["P1"]})[0]) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("-5", [-5]), ("..-5", [-20, -5]), ("-5..", [-5, 0, 7]), ("-20..-5", [-20, -5]),
     ("0-7", [0, 7]), ("1-", [7]), ("7e0", [7])],
)  # fmt: skip
def test_negative_numbers_are_no_ranges(text, wanted):
    there = (-20, -5, 0, 7)
    assert [v for v in there if _matches("SliceLocation", v, text)] == wanted


def test_a_text_is_no_number():
    with pytest.raises(ParameterError, match="SliceLocation is a number"):
        _matches("SliceLocation", 3.0, "apex")


def test_wrong_queries_are_refused_by_name(archive):
    for text, words in (
        ("Modality", "KEYWORD=VALUE"), ("PatientAge=old", "040Y-070Y"),
        ("Weight=3", "no DICOM keyword"), ("PatientAge=-", "040Y-070Y"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=words):
            of(archive, text)
