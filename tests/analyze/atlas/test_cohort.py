"""Where a person stands in a cohort: closed forms, tables, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from somascope.analyze.atlas import Cohort, gathered, load_cohort, save_cohort
from somascope.analyze.atlas.cohort import parse, text_of
from somascope.analyze.atlas.report import CENTILE, EXPECTED, Z_SCORE, age_of, region_report
from somascope.analyze.measure import codes
from somascope.core import Grid, Mask, Segment
from somascope.core.errors import CorruptFile, NotFound, ParameterError, Refused
from somascope.io import write

N = 60


def cohort(n=N, seed=0) -> Cohort:
    rng = np.random.default_rng(seed)
    age, sex = rng.uniform(20, 80, n), rng.integers(0, 2, n).astype(float)
    volume = 4.0 - 0.02 * age + 0.3 * sex + rng.normal(0, 0.25, n)
    return Cohort({"Hippocampus": volume}, {"age": age, "sex": sex})


def test_without_covariates_it_is_crawford_and_howell():
    known = cohort()
    y = known.columns["Hippocampus"]
    at = known.standing("Hippocampus", 2.1, about={})
    t = (2.1 - y.mean()) / (y.std(ddof=1) * np.sqrt(1 + 1 / N))
    assert at.t == pytest.approx(t)
    assert at.centile == pytest.approx(100 * stats.t.cdf(t, N - 1))
    assert at.z == pytest.approx(stats.norm.ppf(stats.t.cdf(t, N - 1)))


def test_with_age_and_sex_it_is_the_prediction_of_least_squares():
    known = cohort()
    about = {"age": 70.0, "sex": 1.0}
    at = known.standing("Hippocampus", 2.4, about=about)
    x = np.stack([np.ones(N), known.covariates["age"], known.covariates["sex"]], axis=1)
    y = known.columns["Hippocampus"]
    row = np.array([1, 70.0, 1.0])
    inverse = np.linalg.inv(x.T @ x)
    weights = inverse @ x.T @ y
    s2 = ((y - x @ weights) ** 2).sum() / (N - 3)
    assert at.expected == pytest.approx(row @ weights)
    assert at.spread == pytest.approx(np.sqrt(s2 * (1 + row @ inverse @ row)))
    assert at.freedom == N - 3


def test_centiles_of_new_people_are_even():
    """A new person's centile is uniform: what makes it a centile, at any size of the cohort."""
    found = []
    for seed in range(400):
        known = cohort(31, seed)
        y = known.columns["Hippocampus"]
        fewer = Cohort({"Hippocampus": y[1:]}, {k: v[1:] for k, v in known.covariates.items()})
        about = {k: float(v[0]) for k, v in known.covariates.items()}
        try:
            found.append(fewer.standing("Hippocampus", y[0], about=about).centile)
        except Refused:
            continue
    assert len(found) > 300
    assert stats.kstest(np.array(found) / 100, "uniform").pvalue > 0.01


def test_far_out_z_stays_finite():
    at = cohort(400).standing("Hippocampus", -60.0, about={})
    assert -40 < at.z < -20


def test_a_bent_course_of_age_is_followed():
    age = np.linspace(20, 80, 80)
    noise = np.random.default_rng(0).normal(0, 1e-3, 80)
    known = Cohort({"A": 5 - ((age - 20) / 40) ** 2 + noise}, {"age": age})
    straight, bent = (known.standing("A", 4.0, about={"age": 60.0}, curve=c) for c in (1, 2))
    assert bent.expected == pytest.approx(4.0, abs=2e-3)
    assert abs(straight.expected - 4.0) > 0.1


@pytest.mark.parametrize(
    ("known", "value", "about", "error", "said"),
    [
        (cohort(29), 3.0, {"age": 50.0, "sex": 0.0}, Refused, "30 are needed"),
        (cohort(19), 3.0, {}, Refused, "20 are needed"),
        (cohort(), 3.0, {"age": 90.0}, Refused, "outside the cohort"),
        (cohort(), 3.0, {"head_ml": 1500.0}, ParameterError, "no column 'head_ml'"),
    ],
)
def test_what_a_cohort_cannot_tell_is_refused(known, value, about, error, said):
    with pytest.raises(error, match=said):
        known.standing("Hippocampus", value, about=about)


def test_other_refusals():
    known = cohort()
    with pytest.raises(ParameterError, match="no region 'Amygdala'"):
        known.standing("Amygdala", 1.0, about={})
    women = Cohort(known.columns, {**known.covariates, "sex": np.zeros(N)})
    with pytest.raises(Refused, match="0 cases of sex M"):
        women.standing("Hippocampus", 3.0, about={"sex": 1.0})
    with pytest.raises(Refused, match="do not vary apart"):
        women.standing("Hippocampus", 3.0, about={"sex": 0.0})
    with pytest.raises(Refused, match="nothing varies"):
        Cohort({"A": np.full(30, 2.0)}, {}).standing("A", 2.0, about={})


def test_a_table_comes_back_and_cells_are_named(tmp_path):
    known = cohort()
    again = parse(text_of(known))
    assert again.columns["Hippocampus"] == pytest.approx(known.columns["Hippocampus"], abs=0)
    assert again.covariates["sex"].tolist() == known.covariates["sex"].tolist()
    save_cohort(known, tmp_path / "cohort")
    assert load_cohort(tmp_path / "cohort").size == N
    table = tmp_path / "cohort" / "table.csv"
    table.write_text(table.read_text().replace("F", "M", 1))
    with pytest.raises(CorruptFile, match="SHA-256"):
        load_cohort(tmp_path / "cohort")
    assert load_cohort(table).size == N  # a plain table vouches for nothing
    with pytest.raises(NotFound, match="no cohort"):
        load_cohort(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age,sex\n50,F\n", "no column of a region"),
        ("age,A\n50,1,2\n", "row 2: 3 cells"),
        ("age,A\n50,much\n", "row 2: A is 'much'"),
        ("sex,A\nfemale,1\n", "write F, M"),
        ("A,A\n1,2\n", "no name of their own"),
        ("A\n-1\n", "give 0 or more"),
        ("A\n", "no rows"),
    ],
)
def test_damaged_tables_are_refused(text, said):
    with pytest.raises(CorruptFile, match=said):
        parse(text)


def drawn(*, side=10, age="070Y", sex="M", name="Hippocampus") -> Mask:
    """A cube of ``side`` mm, and one voxel of another structure."""
    grid = Grid.from_spacing((20, 20, 20), (1.0, 1.0, 1.0))
    data = np.zeros(grid.shape, np.uint8)
    data[2 : 2 + side, 2 : 2 + side, 2 : 2 + side] = 1
    data[19, 19, 19] = 2
    segments = (Segment(1, name), Segment(2, "Other"))
    return Mask(
        data=data, grid=grid, segments=segments, attributes={"PatientAge": age, "PatientSex": sex}
    )


def told(findings):
    return {(f.tracking.name, f.concept): f for f in findings}


def test_a_report_tells_volumes_and_standing(tmp_path):
    known = cohort()
    (tmp_path / "cohort.csv").write_text(text_of(known))
    found = told(region_report(drawn(), cohort=str(tmp_path / "cohort.csv")))
    assert found["Hippocampus", codes.VOLUME].value == pytest.approx(1.0)
    assert found["Hippocampus", codes.VOLUME].unit == "ml"
    at = known.standing("Hippocampus", 1.0, about={"age": 70.0, "sex": 1.0})
    assert found["Hippocampus", Z_SCORE].value == pytest.approx(at.z)
    assert found["Hippocampus", CENTILE].value == pytest.approx(at.centile)
    assert found["Hippocampus", EXPECTED].uncertainty == pytest.approx(at.spread)
    assert ("Other", codes.VOLUME) in found
    assert ("Other", Z_SCORE) not in found  # the cohort does not know it
    write(list(found.values()), tmp_path / "report.dcm")


def test_fractions_are_added_up():
    mask = drawn()
    planes = np.stack([(mask.data == 1) * 0.25, mask.data == 2]).astype(np.float32)
    with_more = planes.copy()
    with_more[0, 2:12, 2:12, 2:12] = 0.75
    found = told(region_report(replace(mask, data=with_more)))
    assert found["Hippocampus", codes.VOLUME].value == pytest.approx(0.75)


def test_reports_that_cannot_be_compared_are_refused(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text(text_of(cohort()))
    with pytest.raises(ParameterError, match="the age of the person is not known"):
        region_report(drawn(age=""), cohort=str(path))
    with pytest.raises(ParameterError, match="none of the regions"):
        region_report(drawn(name="Spleen"), cohort=str(path))
    with pytest.raises(ParameterError, match="use age, sex and head"):
        region_report(drawn(), cohort=str(path), by="weight")
    with pytest.raises(Refused, match="outside the cohort"):
        region_report(drawn(age="009Y"), cohort=str(path))


def test_what_is_no_table_is_refused(tmp_path):
    """A cell beyond what CSV reads; and files of another name are not read, let alone quoted."""
    with pytest.raises(CorruptFile, match="is no table"):
        parse("age,Hippocampus\n" + "1" * 200_000 + ",2\n")
    (tmp_path / "passwords").write_text("root,secret\n1,2\n")
    with pytest.raises(NotFound, match=r"a file named \.csv"):
        load_cohort(tmp_path / "passwords")


def test_many_reports_make_a_cohort():
    sides = [8, 9, 10, 11]
    reports = [(region_report(drawn(side=s)), 50.0 + s, "F") for s in sides]
    made = gathered(reports)
    assert made.columns["Hippocampus"] == pytest.approx([s**3 / 1000 for s in sides])
    assert made.covariates["age"].tolist() == [58, 59, 60, 61]
    with pytest.raises(ParameterError, match="no volume"):
        gathered([([], 50.0, "F")])


def test_ages_are_read_as_dicom_writes_them():
    years = [age_of({"PatientAge": t}) for t in ("063Y", "018M", "026W", "", "old")]
    assert years[:3] == pytest.approx([63, 1.5, 26 * 7 / 365.25])
    assert years[3:] == [None, None]
