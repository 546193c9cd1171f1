"""Draws of dropout: the mean and spread of what theory says, and nothing where nothing is drawn."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.core.errors import ParameterError
from somascope.models import Network, Preparation, thinned
from somascope.models.together import Together
from tests.models import graphs
from tests.models.test_run import volume

RATE, COUNT = 0.25, 4000


def summed(*, count=COUNT, rate=RATE):
    """Logits 0 and the mean of ``count`` equal features (each the picture's mean), some dropped."""
    helper, name = graphs.onnx.helper, thinned.named(0, rate)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Gemm", ["f", "spread"], ["many"]),
        helper.make_node("Mul", ["many", name], ["kept"]),
        helper.make_node("Gemm", ["kept", "w"], ["logits"]),
    ]
    last = np.zeros((count, 2), np.float32)
    last[:, 1] = 1.0 / count
    weights = [
        graphs.weight("spread", np.ones((1, count))), graphs.weight("w", last),
        graphs.weight(name, np.ones((1, count))),
    ]  # fmt: skip
    made = graphs.model(nodes, inputs={"image": [1, 1, 8, 8]}, outputs={"logits": [1, 2]},
                        weights=weights)  # fmt: skip
    made.graph.input.append(helper.make_tensor_value_info(name, 1, [1, count]))
    return made


def network(made=None):
    two = (graphs.CARD.classes[0], graphs.CARD.classes[0].named("other"))
    card = replace(
        graphs.CARD, name="classify.mean", task="classify", dimensions=2, patch=(),
        modalities=(), classes=two, preparation=Preparation(size=(1, 8, 8), scaling="none"),
    )  # fmt: skip
    return Network(graphs.packed(made or summed(), card), kind="onnxruntime", threads=1)


def picture():
    return volume((1, 8, 8), spacing=(1.0, 1.0, 1.0))


def logits(engine, image):
    return engine({"image": np.ascontiguousarray(image.data[None, :, :])})[0][0]


def test_left_out_the_factor_is_one():
    image = picture()
    assert logits(network().engine, image)[1] == pytest.approx(float(image.data.mean()), rel=1e-5)
    pytest.importorskip("openvino")
    other = Network(network()._packed, kind="openvino", threads=1)
    assert logits(other.engine, image)[1] == pytest.approx(float(image.data.mean()), rel=1e-5)


def test_draws_have_the_mean_and_spread_of_inverted_dropout():
    """Of n features kept with probability q and divided by q: mean 1, variance (1 - q) / (q n)."""
    image, net = picture(), network()
    mean = float(image.data.mean())
    said = np.array([logits(net.thinned(s), image)[1] for s in range(200)]) / mean
    deviation = np.sqrt(RATE / (1 - RATE) / COUNT)
    assert abs(said.mean() - 1) < 5 * deviation / np.sqrt(200)
    assert said.std() == pytest.approx(deviation, rel=0.25)
    assert np.array_equal(logits(net.thinned(3), image), logits(net.thinned(3), image))
    assert logits(net.thinned(3), image)[1] != logits(net.thinned(4), image)[1]


def test_draws_make_opinions_that_quarrel():
    image = picture()
    few = summed(count=256, rate=0.5)
    found = Together([network(few)], dropout=8).look(image)
    assert found.quarrel > 0
    again = Together([network(few)], dropout=8).look(image)
    assert np.array_equal(found.mean, again.mean)
    other = Together([network(few)], dropout=8, seed=100).look(image)
    assert not np.array_equal(found.mean, other.mean)
    (label,) = Together([network(few)], dropout=8, mirror="x")(image)
    assert label.provenance.steps[-1].params["looks"] == 16


def test_what_cannot_be_drawn_is_said_at_once():
    plain = Network(graphs.packed(graphs.segmenter()), threads=1)
    with pytest.raises(ParameterError, match="no dropout"):
        Together([plain], dropout=2)
    with pytest.raises(ParameterError, match="0 to 1000"):
        Together([network()], dropout=2000)


def test_only_factors_of_that_name_are_drawn():
    found = thinned.gates({"keep_0_0.500000": (1, 4), "keep_x": (1, 4), "other": (1,),
                           "keep_1_0.1": (1, 0)})  # fmt: skip
    assert [(g.name, g.shape, g.rate) for g in found] == [("keep_0_0.500000", (1, 4), 0.5)]
