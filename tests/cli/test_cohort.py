"""`somascope cohort` from the query to the report."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.analyze.cohort import read_table, write_table
from somascope.analyze.cohort.table import table_of
from somascope.archive import Archive
from somascope.cli.app import app
from somascope.core.errors import ParameterError
from tests.jobs.cohort.people import person, put


def call(*words):
    done = CliRunner().invoke(app, ["cohort", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def root(tmp_path):
    with Archive.open(tmp_path / "archive") as archive:
        for i in range(4):
            put(archive, person(i))
    return tmp_path / "archive"


def test_list_run_collect(root, tmp_path):
    listed = json.loads(call("list", "--archive", root, "--where", "PatientSex=F", "--json").stdout)
    assert [f["patient"] for f in listed] == ["P0", "P2"]
    pipe = tmp_path / "pipe.toml"
    pipe.write_text(
        '[[step]]\nname = "ball"\noperation = "segment.threshold"\nparams = { lower = 150.0 }\n'
        '[[step]]\noperation = "analyze.radiomics"\ninputs = ["image", "ball"]\n'
        'params = { families = "shape" }\n'
    )
    out = tmp_path / "t.csv"
    words = ["run", pipe, "--archive", root, "--where", "PatientAge=30-50", "-o", out, "--wide",
             "--json"]  # fmt: skip
    said = json.loads(call(*words).stdout)
    assert (said["cases"], said["done"], said["run"]) == (3, 3, 6)
    table = read_table(out)
    assert len(table) == 3
    assert {c.name: c.unit for c in table.columns}["shape VoxelVolume"] == "mm3"
    assert json.loads(call(*words).stdout)["run"] == 0
    key = tmp_path / "keys" / "key.txt"
    call("collect", "--archive", root, "-o", tmp_path / "p.csv", "--pseudonyms", key)
    text = (tmp_path / "p.csv").read_text()
    assert "P-" in text
    assert "Doe" not in text
    assert ",P0," not in text
    assert "20250" not in text
    assert "2.25." not in text
    assert key.stat().st_mode & 0o077 == 0
    failed = call("run", "analyze.radiomics", "--with", "mask", "--param", "families=shape",
                  "--archive", root, "-o", out, "--json")  # fmt: skip
    assert failed.exit_code == 1
    (failure,) = [r for r in read_table(out).records() if r["state"] == "failed"]
    assert failure["patient"] == "P3"  # the others have what the pipeline outlined


def test_compare_and_explain(tmp_path):
    rng = np.random.default_rng(0)
    write_table(table_of([
        {"patient": f"p{i}", "sex": "FM"[i % 2], "age": float(rng.uniform(20, 80)),
         "site": "AB"[i // 20], "Volume": float(100 + 5 * (i % 2) + rng.normal()),
         "Mean": float(rng.normal())}
        for i in range(40)
    ]), tmp_path / "t.csv")  # fmt: skip
    out = tmp_path / "r.html"
    said = json.loads(call("compare", tmp_path / "t.csv", "--by", "sex", "-o", out, "--explain",
                           "age", "--harmonise", "site", "--json").stdout)  # fmt: skip
    volume, mean = said["compared"]
    assert volume["adjusted"] < 1e-6
    assert mean["p"] > 0.001
    page = out.read_text()
    assert page.count("<img") == 2
    assert "Volume explained" in page
    assert "ComBat" in page
    with pytest.raises(ParameterError, match=r"-o NAME\.html"):
        call("compare", tmp_path / "t.csv", "--by", "sex", "-o", tmp_path / "r.pdf")


def lives(n=40):
    """Those of site B live half as long; the larger the volume the shorter the life."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(n):
        days = float(rng.exponential(800 if i % 2 else 60)) + 1
        rows.append({"patient": f"p{i}", "site": "BA"[i % 2], "days": min(days, 500.0),
                     "died": int(days < 500), "Volume": 1000 / days})  # fmt: skip
    return rows


def test_survival(tmp_path):
    rows = lives()
    write_table(table_of([*rows, *rows[:4]]), tmp_path / "t.csv")  # two examinations of some
    out = tmp_path / "r.html"
    words = ("compare", tmp_path / "t.csv", "--time", "days", "--event", "died", "-o", out)
    (said,) = json.loads(call(*words, "--by", "site", "--json").stdout)["survival"]
    assert said["p"] < 0.01
    assert [g["patients"] for g in said["groups"]] == [20, 20]
    assert said["groups"][0]["median"] is None or said["groups"][0]["median"] > 100
    page = out.read_text()
    assert "Log-rank" in page
    assert page.count("<img") == 1
    halves = json.loads(call(*words, "--by", "Volume", "--json").stdout)["survival"][0]
    assert [g["name"].split()[1] for g in halves["groups"]] == ["above", "up"]
    assert "log-rank p" in call(*words, "--by", "site", "--value", "Volume").stdout
    rows.append(rows[0] | {"days": 3.0})
    write_table(table_of(rows), tmp_path / "t.csv")
    for more, match in (
        (["--by", "site"], "'p0' has days"), (["--by", "patient"], "in another"),
        (["--by", "died"], "'p0' has days"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=match):
            call(*words, *more)
    with pytest.raises(ParameterError, match="--time and --event"):
        call("compare", tmp_path / "t.csv", "--time", "days", "--by", "site", "-o", out)


def test_qc_of_a_folder(root, tmp_path):
    out = tmp_path / "qc.html"
    said = json.loads(call("qc", "--archive", root, "-o", out, "--json").stdout)
    assert said["images"] == 4
    assert read_table(tmp_path / "qc.csv").numbers("snr").min() > 10
    with pytest.raises(ParameterError, match="a folder, or --archive"):
        call("qc", "-o", out)


def test_wrong_use_is_refused_by_name(root, tmp_path):
    for words, match in (
        (["run", "process.gaussian", "--archive", root, "-o", tmp_path / "t.txt"], "as .csv or"),
        (["run", "process.gaussian", "--archive", root, "-o", tmp_path / "t.csv", "--where",
          "Modality=PT"], "selects no series"),
        (["run", "process.gaussian", "--archive", root, "-o", tmp_path / "t.csv", "--param",
          "size=3"], "process.gaussian has sigma"),
        (["collect", "--archive", root, "-o", tmp_path / "t.csv"], "no report"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=match):
            call(*words)
