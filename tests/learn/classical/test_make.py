"""From pictures to a model like any other: predicted, evaluated, explained, without PyTorch."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core.errors import Conflict, CorruptFile, MissingExtra, ParameterError, Refused
from somascope.learn.classical import make, make_classical
from somascope.learn.classical.explain import explain
from somascope.learn.datasets import open_dataset
from somascope.models import load, package
from somascope.models.classical import Features
from somascope.models.inputs import picture
from somascope.testing import check_model
from tests.learn import worlds


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One disc or two: a shape and a texture tell, no single pixel does."""
    root = tmp_path_factory.mktemp("classical")
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 40), ("val", 20), ("test", 10)):
        labels = np.arange(n) % 2
        images = [worlds.discs(rng, size=32, objects=1 + int(k))[0] for k in labels]
        arrays |= {f"{split}_images": np.stack(images), f"{split}_labels": labels[:, None]}
    np.savez(root / "discs.npz", **arrays)
    dataset = open_dataset(root / "discs.npz", "classify")
    made = make_classical(dataset, root / "model.zip", kinds=["logistic"], scales=(2.0,), folds=3,
                          modality="US")  # fmt: skip
    return root, dataset, made, arrays


def test_the_card_tells_how_it_came_to_be(trained):
    root, _, made, _ = trained
    card = load(root / "model.zip").card
    assert card == made.card
    figures = {m.name: m for m in card.metrics}
    assert figures["auc"].value > 0.9
    assert figures["auc"].low <= figures["auc"].value <= figures["auc"].high
    assert "3 folds by patient" in figures["auc"].on
    assert figures["auc"].cases == 40  # neither val nor test
    assert "logistic regression" in card.summary
    assert card.conformal
    assert card.familiar is not None
    packed = package.read(root / "model.zip")
    assert json.loads(packed.extras["plan.json"])["method"] == "radiomics"
    assert made.importance
    assert next(iter(made.importance.values())) > 0.001


def test_it_is_a_model(trained):
    root, _, _, arrays = trained
    network = load(root / "model.zip")
    check_model(network, network.card.declared(picture(arrays["test_images"][0], "0")))
    other = picture(np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8), "noise")
    with pytest.raises(Refused, match="unlike those"):
        network(other)


def test_the_verbs_from_the_command_line(trained, tmp_path):
    root, _, _, arrays = trained
    model = str(root / "model.zip")
    np.savez(tmp_path / "new.npz", images=arrays["test_images"])
    run = CliRunner().invoke(
        app, ["predict", model, str(tmp_path / "new.npz"), "-o", str(tmp_path)]
    )
    assert run.exit_code == 0, run.output
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    said = np.array([float(r["p_1"]) > 0.5 for r in rows])
    assert (said == arrays["test_labels"][:, 0]).mean() >= 0.9
    run = CliRunner().invoke(app, ["evaluate", model, str(root / "discs.npz"), "--split", "val",
                                   "-o", str(tmp_path / "e"), "--json"])  # fmt: skip
    assert run.exit_code == 0, run.output
    told = {m["name"]: m["value"] for m in json.loads(run.output)["metrics"]}
    assert told["auc"] > 0.9
    assert "Reliability" in (tmp_path / "e" / "report.html").read_text()


def test_train_and_explain_from_the_command_line(trained, tmp_path):
    root, _, _, arrays = trained
    out = tmp_path / "model"
    words = ["train", "classify", str(root / "discs.npz"), "-o", str(out), "--method", "radiomics",
             "--classifier", "svm", "--folds", "2", "--json"]  # fmt: skip
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    told = json.loads(run.output)
    assert told["classifier"] == "svm"
    assert told["validation"]["auc"] > 0.8
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, Conflict)
    np.savez(tmp_path / "one.npz", images=arrays["test_images"][:1])
    run = CliRunner().invoke(app, ["explain", str(out), str(tmp_path / "one.npz"), "-o",
                                   str(tmp_path / "why"), "--json"])  # fmt: skip
    assert run.exit_code == 0, run.output
    (one,) = json.loads(run.output)
    assert sum(one["adds"].values()) == pytest.approx(one["logit"] - one["usual"], abs=1e-4)
    names = {p.name for p in (tmp_path / "why").iterdir()}
    assert names == {"0_features.png", "0_features.csv", "0_features.json"}
    with (tmp_path / "why" / "0_features.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(one["adds"])
    for more, match in (
        (["--classifier", "tree"], "auto or"), (["--budget", "5m"], "--budget"),
        (["--from", "x"], "--from"),
    ):  # fmt: skip
        run = CliRunner().invoke(app, [*words[:4], str(tmp_path / "m"), *words[5:7], *more])
        assert isinstance(run.exception, ParameterError), run.output
        assert match in str(run.exception)
    run = CliRunner().invoke(app, ["train", "segment", *words[2:7]])
    assert isinstance(run.exception, (ParameterError, MissingExtra))


def test_a_class_without_cases_is_named(trained, tmp_path):
    _, dataset, *_ = trained
    with pytest.raises(ParameterError, match="no case of three"):
        make_classical(replace(dataset, classes=("0", "1", "three")), tmp_path / "model")


def test_contributions_of_a_linear_model_are_its_terms(trained):
    """Of a linear model Shapley's values are coefficient times (value - usual), in closed form."""
    root, _, _, arrays = trained
    network = load(root / "model.zip")
    image = picture(arrays["test_images"][1], "1")
    found = explain(network, image, target="1")
    card = network.card
    at = {n: i for i, n in enumerate(card.features.names)}
    name = next(iter(found.adds))
    base = np.asarray(card.features.usual, np.float32)
    moved = base.copy()
    moved[at[name]] = np.arcsinh(found.values[name])
    low, high = (network.engine({"image": v[None]})[0][0] for v in (base, moved))
    alone = (high[1] - high[0]) - (low[1] - low[0])
    assert found.adds[name] == pytest.approx(alone, abs=1e-3)
    assert list(map(abs, found.adds.values())) == sorted(map(abs, found.adds.values()))[::-1]
    with pytest.raises(ParameterError, match="no class 'x'"):
        explain(network, image, target="x")


def test_no_pytorch_is_loaded(trained, tmp_path):
    root, *_ = trained
    code = (
        "import sys\n"
        "from somascope.learn.classical import make_classical\n"
        "from somascope.learn.datasets import open_dataset\n"
        "from somascope.learn.evaluate import evaluate\n"
        "from somascope.learn.classical.explain import explain\n"
        "from somascope.models import load\n"
        f"d = open_dataset({str(root / 'discs.npz')!r}, 'classify')\n"
        f"m = load({str(root / 'model.zip')!r})\n"
        "evaluate(m, d, split='test', draws=5)\n"
        "explain(m, d.of('test')[0].image())\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_wrong_use_is_refused_by_name(trained, tmp_path, monkeypatch):
    root, dataset, _, _ = trained
    with pytest.raises(Conflict, match="is there already"):
        make_classical(dataset, root / "model.zip")
    with pytest.raises(ParameterError, match="20 at least"):
        make_classical(dataset.only(dataset.cases[:10]), tmp_path / "m")
    with pytest.raises(ParameterError, match="choose of logistic"):
        make_classical(dataset, tmp_path / "m", kinds=["tree"])
    with pytest.raises(ParameterError, match="two or more"):
        make_classical(dataset, tmp_path / "m", folds=1)
    worlds.pairs(tmp_path / "pairs", count=3)
    with pytest.raises(ParameterError, match="radiomics classifies"):
        make_classical(open_dataset(tmp_path / "pairs", "segment"), tmp_path / "m")
    monkeypatch.setattr(make, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"scikit-learn and onnx.*somascope\[classical\]"):
        make_classical(dataset, tmp_path / "m")


def test_a_card_that_lies_is_refused(trained):
    root, _, made, _ = trained
    record = made.card.features.to_record()
    for key, value in (("place", "x"), ("usual", [0.0]), ("levels", 1), ("scales", [1e9]),
                       ("families", ["x"])):  # fmt: skip
        with pytest.raises(CorruptFile, match="features"):
            Features.from_record(record | {key: value})
    packed = package.read(root / "model.zip")
    text = json.loads(packed.card.to_json())
    text["features"]["names"] = text["features"]["names"][:-1]
    with pytest.raises(CorruptFile):
        type(packed.card).from_json(json.dumps(text))
