"""Explanations: parts that add up, the bright disc found, faithful beyond a random map."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core.errors import NotFound, ParameterError
from somascope.io import write
from somascope.learn import explain as why
from somascope.learn.datasets import open_dataset
from somascope.learn.layers import layers, page
from somascope.learn.make import make, planned
from somascope.learn.networks import LeNet, build
from somascope.learn.plan import Machine
from somascope.models import package
from tests.learn import worlds


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("explain")
    worlds.npz(root / "discs.npz", count=48)
    data = open_dataset(root / "discs.npz", "classify")
    plan = planned(data, budget_minutes=1, machine=Machine(1, "", 8.0))
    plan = replace(plan, network={**plan.network, "widths": [6, 12], "blocks": 1}, batch=16,
                   rate=5e-3, average=0.9)  # fmt: skip
    _, done = make(data, root / "model", chosen=plan, steps=60)
    assert done.history[-1]["auc"] > 0.95
    return root / "model", data


def test_integrated_gradients_add_up_to_the_change(trained):
    path, data = trained
    card, _, network = why.opened(path)
    x, _ = why.input_of(card, [data.of("test")[1].image()])
    score = why.score_of(card, network, 1)
    parts = why.gradients(score, x, steps=256)
    with torch.inference_mode():
        change = float(score(x)[0]) - float(score(why.nothing(x))[0])
    assert parts.sum() == pytest.approx(change, rel=0.05, abs=0.05)


@pytest.mark.parametrize("method", ["gradcam", "gradients", "occlusion"])
def test_the_disc_is_what_speaks_for_a_disc(trained, method):
    path, data = trained
    inside: list[float] = []
    for case in data.of("test")[1:12:2]:
        image = case.image()
        found = why.explain(path, image, method=method, target="1")
        assert found.map.grid == image.grid
        disc = image.data[0] > 130
        values = np.maximum(found.map.data[0], 0)
        inside.append(values[disc].mean() / max(values.mean(), 1e-9))
        assert np.isfinite((found.deletion, found.insertion)).all()
    assert np.median(inside) > 1.5


def test_faithfulness_of_a_sum_whose_parts_are_known():
    rng = np.random.default_rng(8)
    x = torch.from_numpy(rng.normal(size=(1, 1, 12, 12)).astype(np.float32))
    w = torch.from_numpy(rng.random((12, 12)).astype(np.float32))

    def score(values):
        return (values[:, 0] * w).sum(dim=(1, 2))

    parts = ((x - why.nothing(x))[0, 0] * w).numpy()
    true = why.faithfulness(score, x, parts)
    chance = why.faithfulness(score, x, rng.random((12, 12)))
    wrong = why.faithfulness(score, x, -parts)
    sign = np.sign(parts.sum())
    assert sign * true[0] < sign * chance[0] < sign * wrong[0]
    assert sign * true[1] > sign * chance[1] > sign * wrong[1]


@pytest.mark.parametrize(
    ("task", "described", "shape"),
    [
        ("segment", {"kind": "unet", "inputs": 1, "outputs": 2, "dimensions": 3, "widths": [4, 8]},
         (1, 1, 8, 8, 8)),
        ("detect", {"kind": "unet", "inputs": 1, "outputs": 5, "dimensions": 2, "widths": [4, 8],
                    "finest": 1}, (1, 1, 16, 16)),
        ("register", {"kind": "voxelmorph", "dimensions": 3, "widths": [4, 8]}, (1, 2, 8, 8, 8)),
    ],
)  # fmt: skip
def test_every_task_and_dimension_is_explained(trained, task, described, shape):
    card = replace(package.read(trained[0]).card, task=task)
    torch.manual_seed(1)
    network = build(described).eval()
    x = torch.randn(shape)
    score = why.score_of(card, network, 0)
    assert why.gradcam(network, score, x).shape == shape[2:]
    assert why.gradients(score, x, steps=2).shape == shape[1:]
    assert why.occlusion(score, x, parts=2).shape == shape[2:]


def test_lenet_layer_by_layer():
    found = layers(LeNet(), torch.randn(1, 1, 28, 28))
    assert [f.name for f in found] == ["c1", "s2", "c3", "s4", "c5", "f6", "output"]
    assert [f.shape for f in found] == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,),
    ]  # fmt: skip
    text = page(found, title="LeNet")
    assert text.count("<details") == 7
    assert text.count("data:image/png") == 8  # and the kernels of the first


def test_unknown_class_and_missing_weights(trained, tmp_path):
    path, data = trained
    image = data.cases[0].image()
    with pytest.raises(ParameterError, match="no class"):
        why.explain(path, image, target="cat")
    packed = package.read(path)
    package.write(replace(packed, extras={}), tmp_path / "bare")
    with pytest.raises(NotFound, match="without"):
        why.explain(tmp_path / "bare", image)


def test_from_the_command_line(trained, tmp_path):
    path, data = trained
    write(data.of("test")[1].image(), tmp_path / "one.png")
    run = CliRunner().invoke(
        app, ["explain", str(path), str(tmp_path / "one.png"), "-o", str(tmp_path / "o"), "--json"]
    )
    assert run.exit_code == 0, run.output
    assert json.loads(run.output)[0]["id"] == "one"
    assert (tmp_path / "o" / "one_gradcam.png").is_file()
    assert (tmp_path / "o" / "one_layers.html").is_file()
