"""Convolutions of maps side by side, parted: the same sums, no copy; everything else as it was."""

import numpy as np
import onnx

from somascope.models import onnxfile
from somascope.models.engine import Runtime
from somascope.models.parting import parted
from tests.models import graphs

RNG = np.random.default_rng(0)


def node(kind, inputs, output, **more):
    return onnx.helper.make_node(kind, inputs, [output], **more)


def joined(*, axis=1, group=1, again=False):
    """Two convolutions of a picture, side by side, convolved."""
    weights = [
        graphs.weight("wa", RNG.normal(size=(4, 2, 3, 3))),
        graphs.weight("wb", RNG.normal(size=(6, 2, 3, 3))),
        graphs.weight("w", RNG.normal(size=(2, 10 // group, 3, 3))),
        graphs.weight("b", RNG.normal(size=2)),
    ]
    nodes = [
        node("Conv", ["image", "wa"], "a", pads=[1] * 4),
        node("Conv", ["image", "wb"], "b1", pads=[1] * 4),
        node("Concat", ["a", "b1"], "both", axis=axis),
        node("Conv", ["both", "w", "b"], "c", pads=[1] * 4, strides=[2, 2], group=group),
        node("Identity", ["c"], "logits"),
    ]
    if again:
        nodes[-1:] = [
            node("ReduceMean", ["both"], "m", keepdims=1),
            node("Add", ["c", "m"], "logits"),
        ]
    return graphs.model(nodes, inputs={"image": [1, 2, 8, 8]}, outputs={"logits": [1, 2, 4, 4]},
                        weights=weights).SerializeToString()  # fmt: skip


def said(graph):
    image = np.random.default_rng(1).normal(size=(1, 2, 8, 8)).astype(np.float32)
    return Runtime(graph, 1)({"image": image})[0]


def test_the_same_sums_without_the_copy():
    graph = joined()
    made = parted(graph)
    assert "Concat" in onnxfile.inspect(graph).operators
    assert "Concat" not in onnxfile.inspect(made).operators
    assert onnxfile.inspect(made).parameters == onnxfile.inspect(graph).parameters
    assert np.allclose(said(made), said(graph), atol=1e-4)
    assert parted(made) == made


def test_what_does_not_fit_is_left_as_it_is():
    for graph in (joined(group=2), joined(again=True), graphs.segmenter().SerializeToString()):
        assert parted(graph) == graph
