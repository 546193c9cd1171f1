"""A cohort is run once, goes on where it stopped, and tells what failed."""

import time

import numpy as np
import pytest

from somascope.core import Grid, Image, Progress
from somascope.core.errors import Cancelled, CorruptFile, NotFound, ParameterError
from somascope.jobs.cohort import Step, pipeline, rows_of, run, selected, stored
from tests.jobs.cohort.people import outline, put

STEPS = (
    Step("ball", "segment.threshold", ("image",), {"lower": 150.0, "label": "Ball"}),
    Step("size", "analyze.radiomics", ("image", "ball"), {"families": "shape"}),
)


def cases_of(archive):
    return selected(archive, {"Modality": ["MR"]})


def ended(jobs):
    counts = jobs.counts()
    return counts["done"] + counts["failed"]


def test_a_pipeline_over_a_query_gives_one_table(archive, jobs, people, working):
    ran = run(jobs, STEPS, cases_of(archive), workers=0)
    assert [r.state for r in ran] == ["done"] * 5
    assert ended(jobs) == 10
    table = rows_of(archive, ran)
    told = {(r["patient"], r["finding"]): r for r in table.records() if r["kind"]}
    for i in range(5):
        row = told[f"P{i}", "shape VoxelVolume"]
        _, y, x = np.meshgrid(*[np.arange(n) for n in (4, 20, 24)], indexing="ij")
        voxels = ((y - 10) ** 2 + (x - 12) ** 2 <= (5 + i / 4) ** 2).sum()
        assert row["value"] == pytest.approx(voxels * 3.0 * 1.5 * 1.5)
        assert (row["unit"], row["region"], row["age"]) == ("mm3", "Ball", 30 + 10 * i)
        assert (row["site"], row["state"], row["step"]) == ("AAABB"[i], "done", "size")
    assert sum(r["step"] == "ball" for r in table.records()) == 5  # a row without a finding
    again = run(jobs, STEPS, cases_of(archive), workers=0)
    assert sum(r.fresh for r in again) == 0
    assert ended(jobs) == 10
    assert rows_of(archive, again).rows == table.rows
    reports = stored(archive, cases_of(archive))
    ours = {(r["patient"], r["finding"]): r["value"] for r in reports.records()}
    assert ours == {k: r["value"] for k, r in told.items()}
    assert set(reports.values("operation")) == {"analyze.radiomics"}
    assert len(stored(archive, selected(archive, {"PatientID": ["P3"]}))) == len(ours) / 5


def test_failures_are_rows_with_their_reason(archive, jobs, people, working):
    outline(archive, people[1])
    empty = Image(np.zeros((2, 8, 8), np.int16), Grid.from_spacing((2, 8, 8), (1, 1, 1)), "MR",
                  attributes={"PatientID": "P9"})  # fmt: skip
    put(archive, empty)
    ran = run(jobs, [Step("f", "analyze.radiomics", ("image", "mask"), {"families": "shape"})],
              cases_of(archive), workers=0)  # fmt: skip
    states = {r.case.facts["patient"]: r.state for r in ran}
    assert states == {f"P{i}": "done" if i == 1 else "failed" for i in (0, 1, 2, 3, 4, 9)}
    rows = [r for r in rows_of(archive, ran).records() if r["state"] == "failed"]
    assert len(rows) == 5
    assert all("no Segmentation" in r["reason"] for r in rows)
    ran = run(jobs, [Step("f", "segment.threshold", params={"method": "otsu"})],
              selected(archive, {"PatientID": ["P9"]}), workers=0)  # fmt: skip
    assert ran[0].state == "failed"
    assert "constant" in ran[0].reason
    before = ended(jobs)
    once_more = run(jobs, [Step("f", "segment.threshold", params={"method": "otsu"})],
                    selected(archive, {"PatientID": ["P9"]}), workers=0)  # fmt: skip
    assert (once_more[0].reason, ended(jobs)) == (ran[0].reason, before)
    run(jobs, [Step("f", "segment.threshold", params={"method": "otsu"})],
        selected(archive, {"PatientID": ["P9"]}), workers=0, again=True)  # fmt: skip
    assert ended(jobs) == before + 1


def test_a_stopped_run_cancels_what_waits_and_goes_on_later(archive, jobs, people, working):
    seen = []

    def stop():
        seen.append(len(working))
        return seen[-1] >= 2

    with pytest.raises(Cancelled):
        run(jobs, STEPS, cases_of(archive), workers=0, progress=Progress(None, stop))
    while jobs.counts()["running"]:  # the one that was at work when it was stopped
        time.sleep(0.02)
    assert jobs.counts()["queued"] == 0
    done = jobs.counts()["done"]
    assert done >= 2
    ran = run(jobs, STEPS, cases_of(archive), workers=0)
    assert [r.state for r in ran] == ["done"] * 5
    assert sum(r.fresh for r in ran) == 10 - done


def test_a_killed_run_goes_on_where_it_was(archive, jobs, people, working):
    """What it has left: some jobs done, one in the queue, the others not yet asked for."""
    run(jobs, STEPS, cases_of(archive)[:2], workers=0)
    jobs.submit("segment.threshold", [people[2]], {"lower": 150.0, "label": "Ball"})
    ran = run(jobs, STEPS, cases_of(archive), workers=0)
    assert [r.state for r in ran] == ["done"] * 5
    assert ended(jobs) == 10


def test_pipelines_are_read_and_refused(tmp_path):
    good = tmp_path / "p.toml"
    good.write_text(
        '[[step]]\nname = "ball"\noperation = "segment.threshold"\nparams = { lower = 150.0 }\n'
        '[[step]]\noperation = "analyze.radiomics"\ninputs = ["image", "ball"]\n'
    )
    steps = pipeline(good)
    assert [s.name for s in steps] == ["ball", "step2"]
    assert steps[0].params["lower"] == 150.0
    smooth = "[[step]]\noperation = 'process.gaussian'"
    for text, error, words in (
        ("step = 3", CorruptFile, "no list of steps"),
        ("[[step]]\nname = 'a'", CorruptFile, "no operation"),
        ("[[step]]\noperation = 'segment.nothing'", NotFound, "no operation"),
        (f"{smooth}\ninputs = ['b']", ParameterError, "earlier step"),
        (f"{smooth}\nparams = {{ size = 1 }}", ParameterError, "'size'"),
        (f"{smooth}\nspeed = 1", CorruptFile, "speed"),
        ("[[step]", CorruptFile, "neither"),
    ):  # fmt: skip
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(error, match=words):
            pipeline(tmp_path / "bad.toml")
    with pytest.raises(NotFound):
        pipeline(tmp_path / "none.json")


def test_inputs_for_all_cases_must_be_there(archive, jobs, people):
    step = Step("r", "analyze.register", ("1.2.3.4", "image"))
    with pytest.raises(NotFound, match=r"1\.2\.3\.4"):
        run(jobs, [step], cases_of(archive), workers=0)
    with pytest.raises(ParameterError, match="takes 2 input"):
        run(jobs, [Step("r", "analyze.register")], cases_of(archive), workers=0)
    with pytest.raises(ParameterError, match="a step"):
        run(jobs, [], cases_of(archive), workers=0)
