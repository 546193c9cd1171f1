"""Evaluation: figures, a page with pictures, refusals told; on the command line."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core.errors import ParameterError
from somascope.learn.datasets import Dataset, open_dataset
from somascope.learn.evaluate import Evaluation, evaluate
from somascope.learn.report import page
from somascope.models import Network, package
from tests.learn import worlds
from tests.models import graphs


@pytest.fixture
def balls(tmp_path):
    root = worlds.decathlon(tmp_path / "Task99", count=5)
    # Bright is above 175 in these volumes: a convolution is a model.
    w = graphs.weight("w", np.array([0, 0.2]).reshape(2, 1, 1, 1, 1))
    b = graphs.weight("b", [0, -35.0])
    node = graphs.onnx.helper.make_node("Conv", ["image", "w", "b"], ["logits"])
    packed = graphs.packed(graphs.model([node], weights=[w, b]), intensity=(-1e3, 1e3))
    package.write(packed, tmp_path / "model")
    return root, Network(packed, kind="onnxruntime", threads=1), tmp_path / "model"


def test_segmentation_figures_and_page(balls):
    root, model, _ = balls
    data = open_dataset(root, "segment")
    result = evaluate(model, data, draws=50)
    dice = next(m for m in result.metrics if m.name == "dice bright")
    assert dice.value > 0.97
    assert dice.low <= dice.value <= dice.high
    assert dice.cases == 5
    assert result.value("auc") > 0.99
    assert result.value("hd95_mm bright") < 2.1
    text = page(result, model, data)
    assert text.count("data:image/png") == 9
    assert "Worst" in text
    assert "ball_00" in text
    assert "lesion_f1 bright" in text


def test_curves_are_drawn_with_their_axes(tmp_path):
    """A browser reads ``width=2/>`` as an element that is still open: what follows is not shown."""
    result = Evaluation("classify", "m 1", "d", ("a", "b"), "test", tables={
        "roc": [[0, 0], [0, 1], [1, 1]], "pr": [[0, 1], [1, 0.5]],
        "reliability": [[0.2, 0.25, 4], [0.8, 0.75, 4]], "confusion": [[1, 0], [0, 1]],
        "froc a": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]],
    })  # fmt: skip
    result.notes.append("taken in order")
    model = Network(graphs.packed(graphs.segmenter()), kind="onnxruntime", threads=1)
    text = page(result, model, Dataset("d", "classify", ("a", "b"), ()))
    assert not re.search(r"=[^'\"\s>]*/>", text)
    for said in ("sensitivity", "precision", "confidence", "taken in order", "CPM"):
        assert said in text
    for drawn in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        root = ET.fromstring(re.sub(r"=([^'\"\s>]+)", r"='\1'", drawn))
        assert len(root.findall("text")) == 2


def test_a_picture_of_nothing_is_right_only_where_nothing_is_said():
    from dataclasses import replace

    from somascope.core import Grid, Image
    from somascope.learn.datasets import Case, Dataset

    card = replace(graphs.CARD, name="detect.bright", task="detect", dimensions=2, stride=4,
                   patch=(), intensity=(-1.0, 2.0), modalities=("DX",),
                   preparation=replace(graphs.CARD.preparation, orient=False))  # fmt: skip
    grid = Grid.from_spacing((1, 32, 32), (1.0, 1.0, 1.0))
    ramp = np.linspace(0, 0.01, 32 * 32, dtype=np.float32).reshape(1, 32, 32)
    bright, faint = ramp.copy(), ramp.copy()
    bright[0, 8:12, 16:20] = 1.0  # score 1 / (1 + exp(-20))
    faint[0, 8:12, 16:20] = 0.45  # 0.12: looked at, but below the threshold
    none = np.zeros((0, 5))
    cases = tuple(
        Case(n, n, lambda v=v: Image(v, grid, "DX"), boxes=none)
        for n, v in (("bright", bright), ("faint", faint))
    )
    there = np.array([[6.0, 14.0, 14.0, 22.0, 0.0]])
    cases += (Case("true", "true", lambda: Image(bright, grid, "DX"), boxes=there),)
    model = Network(graphs.packed(graphs.detector(), card), threads=1)
    result = evaluate(model, Dataset("d", "detect", ("bright",), cases, "DX"), draws=5)
    rows = {r["id"]: (r["found"], r["quality"]) for r in result.rows}
    assert rows["bright"] == (1, 0.0)
    assert rows["faint"] == (0, 1.0)
    assert rows["true"][0] == 1


def test_another_task_is_refused(balls, tmp_path):
    _, model, _ = balls
    worlds.npz(tmp_path / "c.npz", count=4)
    with pytest.raises(ParameterError, match="a model to segment"):
        evaluate(model, open_dataset(tmp_path / "c.npz", "classify"))


def test_from_the_command_line(balls, tmp_path):
    root, _, path = balls
    run = CliRunner().invoke(
        app, ["evaluate", str(path), str(root), "-o", str(tmp_path / "r"), "--json"]
    )
    assert run.exit_code == 0, run.output
    said = json.loads(run.output)
    assert {m["name"] for m in said["metrics"]} >= {"dice", "dice bright"}
    assert (tmp_path / "r" / "report.html").is_file()
    file = root / "imagesTr" / "ball_000.nii.gz"
    run = CliRunner().invoke(app, ["predict", str(path), str(file), "-o", str(tmp_path / "p")])
    assert run.exit_code == 0, run.output
    assert (tmp_path / "p" / "ball_000.nii.gz").is_file()
    run = CliRunner().invoke(app, ["model", "info", str(path)])
    assert "segment.bright" in run.output


def test_slices_of_a_patient_are_judged_as_a_whole_too():
    from somascope.learn.evaluate import _pooled

    # Patient a: a large slice that is right and a small one missed; b: one slice, half right.
    found = _pooled([200, 0, 50], [200, 20, 100], ["a", "a", "b"])
    assert found.tolist() == pytest.approx([200 / 220, 200 / 220, 0.5])
    assert _pooled([0, 0], [0, 0], ["a", "a"]).tolist() == [1.0, 1.0]  # nothing there, nothing said
