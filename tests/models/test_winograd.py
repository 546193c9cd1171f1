"""Convolutions with fewer multiplications say what plain ones say."""

import numpy as np
import pytest

from somascope.models import winograd
from somascope.models.engine import start
from tests.models import graphs

SHAPE = (16, 6, 5)


def weights(name, *shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return graphs.weight(name, values / np.sqrt(np.prod(shape[1:])))


def graph(*, depth=SHAPE[0], stride=1, channels=16, bias=True):
    """Two convolutions side by side, added; then one more."""
    node, c = graphs.onnx.helper.make_node, channels
    plain = {"pads": [1] * 6, "kernel_shape": [3] * 3}
    nodes = [
        node("Conv", ["image", "w0"], ["a"], **plain),
        node("Relu", ["a"], ["left"]),
        node("Mul", ["a", "two"], ["right"]),
        node("Conv", ["left", "w1", "bias"] if bias else ["left", "w1"], ["x"], **plain),
        node("Conv", ["right", "w2"], ["y"], **plain),
        node("Add", ["x", "y"], ["z"]),
        node("Conv", ["z", "w3"], ["logits"], strides=[stride] * 3, **plain),
    ]
    given = [
        weights("w0", c, 1, 3, 3, 3), *(weights(f"w{k}", c, c, 3, 3, 3, seed=k) for k in (1, 2, 3)),
        graphs.weight("two", [2.0]), *([weights("bias", c)] if bias else []),
    ]  # fmt: skip
    size = [1, 1, depth, *SHAPE[1:]]
    ends = [1, c, *(-(-n // stride) for n in size[2:])]
    made = graphs.model(nodes, inputs={"image": size}, outputs={"logits": ends}, weights=given)
    return made.SerializeToString()


def read(data):
    return pytest.importorskip("openvino").Core().read_model(data)


def answers(data, image):
    return [
        start(data, kind=k, threads=1)({"image": image})[0] for k in ("onnxruntime", "openvino")
    ]


@pytest.mark.parametrize(
    ("depth", "room", "bias"),
    [(16, 1 << 30, False), (8, 1, True), (12, 60_000, False), (4, 1, False)],
)
def test_answers_are_those_of_plain_convolutions(monkeypatch, depth, room, bias):
    monkeypatch.setattr(winograd, "WORK", 0.0)
    monkeypatch.setattr(winograd, "ROOM", room)
    data = graph(depth=depth, bias=bias)
    assert winograd.quicker(read(data)) == 3  # not the one that reads one channel
    image = np.random.default_rng(9).normal(size=(1, 1, depth, *SHAPE[1:])).astype(np.float32)
    wanted, found = answers(data, image)
    assert np.abs(found - wanted).max() < 1e-3 * wanted.std()


def test_what_does_not_fit_is_left_alone(monkeypatch):
    assert winograd.quicker(read(graph())) == 0  # little work
    monkeypatch.setattr(winograd, "WORK", 0.0)
    assert winograd.quicker(read(graph(depth=10))) == 0  # no whole number of four slices
    assert winograd.quicker(read(graph(channels=8))) == 0
    data = graph(stride=2)
    assert winograd.quicker(read(data)) == 2
    image = np.random.default_rng(9).normal(size=(1, 1, *SHAPE)).astype(np.float32)
    wanted, found = answers(data, image)
    assert found.shape == wanted.shape == (1, 16, 8, 3, 3)
    assert np.abs(found - wanted).max() < 1e-3 * wanted.std()


def test_fewer_multiplications_by_the_definition():
    """Six products are a filter of three taps at four places."""
    rng = np.random.default_rng(0)
    line, taps = rng.normal(size=6), rng.normal(size=3)
    products = (winograd.WEIGHTS.astype(float) @ taps) * (winograd.BEFORE @ line)
    wanted = [line[i : i + 3] @ taps for i in range(4)]
    assert np.allclose(winograd.BEHIND @ products, wanted, atol=1e-6)
