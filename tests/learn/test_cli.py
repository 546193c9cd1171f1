"""`somascope train`: a data set in, a model out; what it says when something is missing."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from somascope.cli import learning
from somascope.cli.app import app
from somascope.core.errors import MissingExtra, ParameterError
from somascope.learn.datasets import open_dataset
from somascope.learn.make import planned
from somascope.learn.plan import Machine
from somascope.models import load
from tests.learn import worlds


def test_train_predict_from_the_command_line(tmp_path):
    worlds.npz(tmp_path / "discs.npz", count=16)
    model = tmp_path / "model"
    call = ["train", "classify", str(tmp_path / "discs.npz"), "-o", str(model), "--budget", "1s"]
    run = CliRunner().invoke(app, [*call, "--json"])
    assert run.exit_code == 0, run.output
    said = json.loads(run.output)
    assert said["steps"] >= 8
    assert load(model).card.task == "classify"
    assert not model.with_name("model.training").exists()
    again = CliRunner().invoke(app, call)
    assert again.exit_code != 0  # a model is never replaced unasked
    run = CliRunner().invoke(
        app, ["train", "classify", str(tmp_path / "discs.npz"), "-o", str(tmp_path / "more.zip"),
              "--plan", str(model / "plan.json"), "--from", str(model), "--json"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    more = load(tmp_path / "more.zip").card
    assert more.preparation == load(model).card.preparation
    assert any("larger budget" in limit for limit in more.limits)


def test_folds_and_two_models_from_the_command_line(tmp_path):
    arrays = worlds.npz(tmp_path / "discs.npz", count=20)
    plan = planned(
        open_dataset(tmp_path / "discs.npz", "classify"), budget_minutes=0.05,
        machine=Machine(1, "", 8.0),
    )  # fmt: skip
    network = {"kind": "lenet", "inputs": 1, "outputs": 2, "size": 28}
    (tmp_path / "plan.json").write_text(
        replace(plan, network=network, batch=4, most_steps=10).to_json()
    )
    out = tmp_path / "folds"
    call = ["train", "classify", str(tmp_path / "discs.npz"), "-o", str(out), "--folds", "2",
            "--plan", str(tmp_path / "plan.json"), "--json"]  # fmt: skip
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 0, run.output
    said = json.loads(run.output)
    assert [load(m).card.task for m in said["models"]] == ["classify"] * 2
    assert 0 <= said["figures"]["auc"]["mean"] <= 1
    seen = [row["id"] for row in json.loads((out / "folds.json").read_text())["cases"]]
    usable = [f"{s}_{i:06d}" for s in ("train", "val") for i in range(len(arrays[f"{s}_labels"]))]
    assert sorted(seen) == sorted(usable)  # each once, none of the test part
    run = CliRunner().invoke(app, call)  # what is there is not trained again
    assert json.loads(run.output)["figures"] == said["figures"]
    one, two = said["models"]
    run = CliRunner().invoke(
        app, ["evaluate", one, str(tmp_path / "discs.npz"), "-o", str(tmp_path / "r"),
              "--against", two, "--json"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    (found,) = json.loads(run.output)["against"].values()
    assert [d["name"] for d in found] == ["auc", "accuracy"]
    assert "Against other models" in (tmp_path / "r" / "report.html").read_text()
    assert CliRunner().invoke(app, [*call, "--fold", "1"]).exit_code != 0


@pytest.mark.parametrize(
    ("text", "minutes"), [("30m", 30), ("2h", 120), ("90s", 1.5), ("7", 7), ("", None)]
)
def test_budgets(text, minutes):
    assert learning._minutes(text) == minutes


def test_what_is_missing_is_said(monkeypatch):
    with pytest.raises(ParameterError, match="30m"):
        learning._minutes("soon")
    monkeypatch.setattr(learning, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"somascope\[learn\]"):
        learning.needs_torch("train")


def test_a_committee_from_the_command_line(tmp_path):
    worlds.npz(tmp_path / "discs.npz", count=16)
    plan = planned(
        open_dataset(tmp_path / "discs.npz", "classify"), budget_minutes=0.05,
        machine=Machine(1, "", 8.0),
    )  # fmt: skip
    network = {"kind": "resnet", "inputs": 1, "outputs": 2, "dimensions": 2, "widths": [4, 8],
               "blocks": 1}  # fmt: skip
    (tmp_path / "plan.json").write_text(
        replace(plan, network=network, batch=4, most_steps=10).to_json()
    )
    call = ["train", "classify", str(tmp_path / "discs.npz"), "-o", str(tmp_path / "m.zip"),
            "--plan", str(tmp_path / "plan.json"), "--committee", "2"]  # fmt: skip
    run = CliRunner().invoke(app, [*call, "--apart", "folds", "--json"])
    assert run.exit_code == 0, run.output
    said = json.loads(run.output)
    assert said["members"] == 2
    assert {m["name"] for m in said["metrics"]} >= {"auc", "ece", "ece_if_calibrated"}
    assert (tmp_path / "m.zip").is_file()
    run = CliRunner().invoke(app, [*call, "--fold", "1"])
    assert isinstance(run.exception, ParameterError)
    run = CliRunner().invoke(app, [*call[:-2], "--mirrored"])
    assert isinstance(run.exception, ParameterError)
