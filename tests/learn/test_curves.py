"""Curves of a run: told while it goes on, to those who are asked and installed."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core.errors import MissingExtra, ParameterError
from somascope.learn import curves
from somascope.learn.datasets import open_dataset
from somascope.learn.make import make, planned
from somascope.learn.plan import Machine
from tests.learn import worlds


@pytest.fixture
def data(tmp_path):
    worlds.npz(tmp_path / "discs.npz", count=16)
    return open_dataset(tmp_path / "discs.npz", "classify")


def small(data):
    plan = planned(data, budget_minutes=0.05, machine=Machine(1, "", 8.0))
    network = {"kind": "lenet", "inputs": 1, "outputs": 2, "size": 28}
    return replace(plan, network=network, batch=4)


def test_every_step_and_every_validation_are_told(data, tmp_path):
    told = []
    _, trained = make(data, tmp_path / "m", chosen=small(data), steps=12,
                      watch=lambda step, figures: told.append((step, dict(figures))))  # fmt: skip
    losses = [(s, f) for s, f in told if set(f) == {"training_loss"}]
    assert [s for s, _ in losses] == list(range(1, 13))
    checks = [(s, f) for s, f in told if "auc" in f]
    assert [s for s, _ in checks] == [h["step"] for h in trained.history]
    assert checks[-1][1]["auc"] == trained.history[-1]["auc"]
    assert "step" not in checks[-1][1]


def test_nobody_asked_nobody_told():
    with curves.watching(name="run") as watch:
        assert watch is None


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_what_is_not_installed_is_said_before_the_work(kind, data, tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda _: None)
    call = ["train", "classify", str(tmp_path / "discs.npz"), "-o", str(tmp_path / "m")]
    done = CliRunner().invoke(app, [*call, f"--{kind}", str(tmp_path / "log")])
    assert isinstance(done.exception, MissingExtra)
    assert kind in str(done.exception)
    assert not (tmp_path / "m.training").exists()
    done = CliRunner().invoke(app, [*call, f"--{kind}", "x", "--folds", "2"])
    assert isinstance(done.exception, ParameterError)


def test_mlflow_goes_on_with_a_run_that_was_cut_off(monkeypatch):
    said = []
    module = ModuleType("mlflow")
    module.set_tracking_uri = lambda uri: said.append(("uri", uri))
    module.set_experiment = lambda name: said.append(("experiment", name))
    module.search_runs = lambda **more: (
        said.append(("search", more["filter_string"])),
        [SimpleNamespace(info=SimpleNamespace(run_id="7"))],
    )[1]
    module.start_run = lambda **more: (said.append(("run", more)), nullcontext())[1]
    module.log_metrics = lambda figures, step: said.append((step, figures))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(curves, "find_spec", lambda _: object())
    with curves.watching(name="it's", mlflow="sqlite:///x.db") as watch:
        watch(3, {"training_loss": 0.5, "ap50 RBC": 0.25})
    assert said[0] == ("uri", "sqlite:///x.db")
    assert said[2] == ("search", "attributes.run_name = 'its' and attributes.status = 'RUNNING'")
    assert said[3] == ("run", {"run_id": "7", "run_name": "it's"})
    assert said[4] == (3, {"training_loss": 0.5, "ap50 RBC": 0.25})


def test_tensorboard_reads_what_was_told(data, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    call = ["train", "classify", str(tmp_path / "discs.npz"), "-o", str(tmp_path / "m.zip")]
    (tmp_path / "plan.json").write_text(replace(small(data), most_steps=12).to_json())
    done = CliRunner().invoke(
        app, [*call, "--plan", str(tmp_path / "plan.json"), "--tensorboard", str(tmp_path / "log")]
    )
    assert done.exit_code == 0, done.output
    found = events.EventAccumulator(str(tmp_path / "log" / "m"))
    found.Reload()
    assert {"training_loss", "auc", "score"} <= set(found.Tags()["scalars"])
    steps = {e.step for e in found.Scalars("training_loss")}
    assert steps == set(range(1, max(steps) + 1))
