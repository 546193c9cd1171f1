"""Lighter weights: the bytes they take, what they compute, and the refusal of what is worse."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core import Grid, Image
from somascope.core.errors import ParameterError, Refused
from somascope.learn.datasets import Case, Dataset
from somascope.learn.lighten import lightened
from somascope.models import Network, Preparation, load, onnxfile, package
from somascope.models.engine import Runtime
from somascope.models.lighter import eighths, lighter
from tests.models import graphs

SIZE = 32


def linear(weights):
    """Logits of pixels times ``weights`` ``(pixels, classes)``."""
    helper = graphs.onnx.helper
    nodes = [
        helper.make_node("Flatten", ["image"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["logits"]),
    ]
    shapes = {"image": [1, 1, SIZE, SIZE]}, {"logits": [1, weights.shape[1]]}
    return graphs.model(nodes, inputs=shapes[0], outputs=shapes[1],
                        weights=[graphs.weight("w", weights)])  # fmt: skip


def packed(weights):
    two = (graphs.CARD.classes[0], graphs.CARD.classes[0].named("other"))
    card = replace(
        graphs.CARD, name="classify.linear", task="classify", dimensions=2, patch=(),
        modalities=(), classes=two, spacing_mm=(0.0, np.inf),
        preparation=Preparation(size=(1, SIZE, SIZE), scaling="none"),
    )  # fmt: skip
    return graphs.packed(linear(weights), card)


def cases(truth, *, count=40, seed=0):
    """Noise, of the class that ``truth`` ``(pixels,)`` says."""
    rng = np.random.default_rng(seed)
    pictures = rng.normal(0, 1, (count, 1, SIZE, SIZE)).astype(np.float32)
    labels = (pictures.reshape(count, -1) @ truth > 0).astype(int)
    grid = Grid.from_spacing((1, SIZE, SIZE), (1.0, 1.0, 1.0))
    known = tuple(
        Case(str(i), str(i), lambda p=p: Image(p, grid, "DX"), label=int(k), split="test")
        for i, (p, k) in enumerate(zip(pictures, labels, strict=True))
    )
    return Dataset("noise", "classify", ("bright", "other"), known, "DX")


def weights(*, outlier=0.0):
    """Two columns; an outlier takes all the steps of eight bits."""
    w = np.random.default_rng(1).normal(0, 1, (SIZE * SIZE, 2)).astype(np.float32)
    w[:, 0] = 0
    w[0, 1] += outlier
    return w


@pytest.mark.parametrize(("how", "part", "error"), [("fp16", 0.55, 2e-3), ("int8", 0.35, 0.03)])
def test_fewer_bytes_nearly_the_same_answer(how, part, error):
    graph = linear(weights()).SerializeToString()
    light = lighter(graph, how)
    assert len(light) < part * len(graph)
    assert set(onnxfile.inspect(light).operators) <= onnxfile.OPERATORS
    image = np.random.default_rng(2).normal(size=(1, 1, SIZE, SIZE)).astype(np.float32)
    a, b = (Runtime(g, 1)({"image": image})[0] for g in (graph, light))
    assert 0 < np.abs(a - b).max() < error * np.linalg.norm(weights()[:, 1])
    assert lighter(graph, how) == light


def test_steps_are_at_most_a_half_of_the_scale_and_by_channel():
    values = np.random.default_rng(3).normal(size=(4, 3, 5)).astype(np.float32)
    values[2] *= 1000
    whole, scale = eighths(values, 0)
    assert whole.dtype == np.int8
    assert scale.shape == (4, 1, 1)
    assert (np.abs(values - whole * scale) <= scale * 0.5001).all()
    assert np.array_equal(eighths(np.zeros((2, 2), np.float32), 0)[0], np.zeros((2, 2)))


def test_convolutions_are_stored_by_output_channel():
    rng = np.random.default_rng(4)
    w = rng.normal(size=(8, 6, 3, 3, 3)).astype(np.float32) * 10.0 ** np.arange(8).reshape(
        8, 1, 1, 1, 1
    )
    node = graphs.onnx.helper.make_node("Conv", ["image", "w"], ["logits"], pads=[1] * 6)
    made = graphs.model(
        [node],
        inputs={"image": [1, 6, 4, 8, 8]},
        outputs={"logits": [1, 8, 4, 8, 8]},
        weights=[graphs.weight("w", w)],
    )
    graph = made.SerializeToString()
    image = rng.normal(size=(1, 6, 4, 8, 8)).astype(np.float32)
    a, b = (Runtime(g, 1)({"image": image})[0][0] for g in (graph, lighter(graph, "int8")))
    each = np.abs(a - b).max(axis=(1, 2, 3)) / np.abs(a).max(axis=(1, 2, 3))
    assert each.max() < 0.02  # the small channels are as good as the large ones


def test_no_worse_is_kept_and_said():
    w = weights()
    made = lightened(packed(w), "int8", cases(w[:, 1]))
    assert made.name == "auc"
    assert made.before == 1.0
    assert made.after >= 0.995
    assert made.cases == 40
    assert any("int8" in one and "40 cases" in one for one in made.package.card.limits)
    assert Network(made.package).card.sha256 == made.package.card.sha256


def test_worse_is_refused():
    w = weights(outlier=3e4)  # every other weight becomes 0
    truth = w[:, 1].copy()
    data = cases(truth)
    assert lightened(packed(w), "fp16", data).after >= 0.995
    few = replace(data, cases=tuple(_without_corner(c) for c in data.cases))
    with pytest.raises(Refused, match=r"falls by more than 0\.005"):
        lightened(packed(w), "int8", few)
    assert lightened(packed(w), "int8", few, tolerance=0.9).after < 0.9


def _without_corner(case):
    """The picture with 0 under the outlier; of the class that the other weights say."""
    image = case.image()
    values = np.array(image.data)
    values.reshape(-1)[0] = 0
    label = int(values.reshape(-1) @ weights(outlier=0.0)[:, 1] > 0)
    return replace(case, image=lambda: replace(image, data=values), label=label)


def test_what_cannot_be_judged(tmp_path):
    data = cases(weights()[:, 1])
    with pytest.raises(ParameterError, match="tolerance"):
        lightened(packed(weights()), "int8", data, tolerance=2.0)
    mover = graphs.packed(graphs.mover(), task="register", classes=())
    with pytest.raises(ParameterError, match="register"):
        lightened(mover, "int8", data)


def test_from_the_command_line(tmp_path):
    w = weights()
    package.write(packed(w), tmp_path / "net.zip")
    data = cases(w[:, 1])
    images = np.stack([c.image().data[0] for c in data.cases])
    labels = np.array([[c.label] for c in data.cases])
    arrays = {f"{s}_{k}": v for s in ("train", "val", "test")
              for k, v in (("images", images), ("labels", labels))}  # fmt: skip
    np.savez(tmp_path / "x.npz", **arrays)
    call = ["model", "export", str(tmp_path / "net.zip"), "-o", str(tmp_path / "light.zip"),
            "--quantise", "int8", "--cases", str(tmp_path / "x.npz"), "--json"]  # fmt: skip
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 0, (run.output, run.exception)
    said = json.loads(run.output)
    assert said["bytes_after"] < 0.35 * said["bytes_before"]
    assert load(tmp_path / "light.zip").card.task == "classify"
    for more, words in ((["--quantise", "int4"], "int4"), (["--quantise", "int8"], "--cases")):
        run = CliRunner().invoke(app, [*call[:5], *more])
        assert run.exit_code != 0
        assert words in str(run.exception)
