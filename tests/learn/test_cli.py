"""`somascope train`: a data set in, a model out; what it says when something is missing."""

import json

import pytest
from typer.testing import CliRunner

from somascope.cli import learning
from somascope.cli.app import app
from somascope.core.errors import MissingExtra, ParameterError
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
    assert load(tmp_path / "more.zip").card.preparation == load(model).card.preparation


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
        learning._needs_torch("train")
