"""How answers are made: what is missing, what contradicts itself, what stays open."""

import json
from dataclasses import replace
from statistics import NormalDist

import pytest

import somascope.io as sio
from somascope.analyze.rules import decide, load, parse
from somascope.analyze.rules.apply import apply_rules
from somascope.core import Code, Label, Measurement, Provenance, Source, Tracking
from somascope.core.errors import NotFound, ParameterError
from somascope.jobs.run import run_files
from somascope.testing import check_operation
from tests.analyze.rules.test_reading import GOOD

EF = Code("10230-1", "LN", "Left ventricular ejection fraction")
RULES = load("lv-ejection-fraction")


def ef(value, **more):
    return Measurement(concept=EF, value=value, unit="%", **more)


def one(findings, rules=RULES, **facts):
    (label,) = decide(rules, findings, attributes=facts)
    return label


def test_two_values_are_a_conflict_and_equal_ones_are_not():
    label = one([ef(40), ef(55)], PatientSex="M")
    assert label.concept.value == "CONFLICT"
    assert "ejection fraction is 40 and 55 %" in label.text
    assert one([ef(40), ef(40)], PatientSex="M").concept.value == "LVEF_MODERATE"


def test_the_latest_time_point_counts():
    findings = [ef(60, time_point="20250101"), ef(35, time_point="20260101")]
    assert one(findings, PatientSex="M").concept.value == "LVEF_MODERATE"
    assert one([*findings, ef(45)], PatientSex="M").concept.value == "LVEF_MILD"


def test_nothing_known_at_all():
    label = one([])
    assert label.concept.value == "CANNOT_SAY"
    assert "ejection fraction is missing" in label.text
    label = one([ef(float("nan"))], PatientSex="M")
    assert "not a finite number" in label.text


def test_uncertainty_becomes_the_chance_of_each_category():
    label = one([ef(53, uncertainty=3.0)], PatientSex="M")
    normal = 1 - NormalDist(53, 3).cdf(51.5)  # in whole per cent: 51.5 is 52
    assert label.concept.value == "LVEF_NORMAL"
    assert label.confidence == pytest.approx(normal, abs=0.01)
    assert sum(label.probabilities.values()) == pytest.approx(1)
    assert label.probabilities["Mildly abnormal ejection fraction"] == pytest.approx(
        1 - normal, abs=0.01
    )
    assert "also: Mildly abnormal" in label.text
    assert one([ef(60, uncertainty=0.5)], PatientSex="M").probabilities == {}


def test_what_is_drawn_lies_around_what_was_measured():
    """Fleischner's whole millimetres: 5.5 is 6 mm, and half of 5.5 +- 0.3 mm is 5 mm."""
    width = Measurement(
        concept=Code("MEAN_DIAMETER", "99SOMASCOPE", ""), value=5.5, unit="mm", uncertainty=0.3
    )
    label = one([width], load("fleischner-2017"))
    assert sorted(label.probabilities.values()) == pytest.approx([0.5, 0.5], abs=0.02)
    assert label.confidence == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("value", "unit", "answer"),
    [(1e30, "mm", "NODULE_LARGE"), (1e307, "m", "CANNOT_SAY"), (-1e300, "mm", "CANNOT_SAY")],
)
def test_numbers_beyond_all_measure_are_answered(value, unit, answer):
    concept = Code("MEAN_DIAMETER", "99SOMASCOPE", "")
    width = Measurement(concept=concept, value=value, unit=unit, uncertainty=0.1)
    label = one([width], load("fleischner-2017"))
    assert label.concept.value == answer
    assert ("too large a number in 'mm'" in label.text) is (unit == "m")


def test_two_uncertain_inputs_are_drawn_together():
    rules = load("evans-index")
    widths = [
        Measurement(concept=Code(c, "99SOMASCOPE", ""), value=v, unit="mm", uncertainty=u)
        for c, v, u in (("FRONTAL_HORNS", 30.0, 1.0), ("INNER_SKULL", 100.0, 2.0))
    ]
    label = one(widths, rules)
    # horns - 0.3 skull has mean 0 and is as likely above as below.
    assert label.probabilities["Enlarged lateral ventricles"] == pytest.approx(0.5, abs=0.02)


def test_rules_that_contradict_each_other_are_named():
    made = json.loads(json.dumps(GOOD))
    slim = {"value": "SLIM", "scheme": "99X", "meaning": "Slim"}
    when = {"input": "w", "at_most": 5}
    made["rule"].append({**made["rule"][0], "when": when, "category": slim})
    width = Measurement(concept=Code("W", "99X", "w"), value=4.0, unit="mm")
    rules = parse(json.dumps(made).encode(), "mine.json")
    label = one([width], rules)
    assert label.concept.value == "CONFLICT"
    assert "'Wide' and 'Slim'" in label.text
    first = parse(json.dumps({**made, "decide": "first"}).encode(), "mine.json")
    assert one([width], first).concept.value == "WIDE"
    narrow = replace(width, value=2.0)
    assert one([narrow], rules).concept.value == "SLIM"
    only = parse(json.dumps(GOOD).encode(), "mine.json")
    assert "no rule fits width 2 mm" in one([narrow], only).text


def test_each_lesion_has_its_answer_and_shares_what_is_of_all():
    rules = load("deauville-suv")
    whole = [
        Measurement(concept=Code(c, "99SOMASCOPE", c), value=v, unit="g/ml")
        for c, v in (("SUV_MAX_BLOOD", 1.5), ("SUV_MAX_LIVER", 2.0))
    ]
    own = [
        Measurement(concept=Code("SUV_MAX", "99SOMASCOPE", ""), value=v, unit="g/ml",
                    tracking=Tracking(f"2.25.{i}", f"Lesion {i}"), on=(f"1.2.{i}",))
        for i, v in enumerate((1.0, 3.0, 9.0))
    ]  # fmt: skip
    labels = decide(rules, [*own, *whole])
    assert [label.concept.value for label in labels] == ["UPTAKE_1_2", "UPTAKE_4", "UPTAKE_5"]
    assert [label.tracking.name for label in labels if label.tracking] == [
        f"Lesion {i}" for i in range(3)
    ]
    assert labels[1].on == ("1.2.1",)


def listed():
    record = Provenance((Source("phantom", "heart"),))
    facts = {"PatientSex": "F", "PatientID": "7", "StudyInstanceUID": "1.2.3"}
    return [
        ef(53.0, provenance=record, attributes=facts),
        ef(53.0, provenance=record, attributes=facts),
    ]


def test_the_operation_keeps_its_promises():
    check_operation(
        "analyze.apply_rules", params={"rules": "lv-ejection-fraction"}, inputs=tuple(listed())
    )
    with pytest.raises(ParameterError, match="rules is empty"):
        apply_rules(*listed(), rules=" , ")
    with pytest.raises(ParameterError, match="no findings"):
        apply_rules(rules="recist-1.1")
    with pytest.raises(NotFound, match="evans-index"):
        apply_rules(*listed(), rules="evans")


def test_a_report_goes_in_and_a_report_comes_out(tmp_path):
    sio.write(listed(), tmp_path / "measured.dcm")
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(GOOD))
    (out,) = run_files(
        "analyze.apply_rules", [tmp_path / "measured.dcm"], tmp_path / "answers.dcm",
        {"rules": f"lv-ejection-fraction,{mine}"},
    )  # fmt: skip
    answers = sio.read_findings(out)
    assert [type(a) for a in answers] == [Label, Label]
    assert answers[0].concept.meaning == "Mildly abnormal ejection fraction"
    assert "Table 4" in answers[0].text
    assert answers[1].concept.value == "CANNOT_SAY"
    assert answers[0].attributes["PatientID"] == "7"
