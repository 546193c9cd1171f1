"""Small ONNX graphs by onnx.helper, the other implementation, and cards that fit them."""

import hashlib
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from somascope.models import ClassName, NetworkCard, Package, Preparation

CARD = NetworkCard(
    name="segment.bright", version="1", task="segment", summary="What is brighter than one half",
    modalities=("MR",), dimensions=3, spacing_mm=(0.5, 2.0), licence="Apache-2.0",
    training_data="none", classes=(ClassName.named("bright"),), channels=1,
    preparation=Preparation(orient=True, scaling="none"), patch=(4, 8, 8),
    intensity=(-10.0, 10.0), sha256="0" * 64,
)  # fmt: skip


def model(nodes, *, inputs=None, outputs=None, weights=(), opset=17, **more):
    axes = inputs or {"image": [1, 1, 4, 8, 8]}
    ends = outputs or {"logits": [1, 2, 4, 8, 8]}
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in axes.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends.items()],
        initializer=list(weights),
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more
    )


def weight(name, values):
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def segmenter(*, sharp=20.0):
    """Logits 0 and sharp * (x - 0.5): a 1 x 1 x 1 convolution."""
    w = weight("w", np.array([0, sharp]).reshape(2, 1, 1, 1, 1))
    b = weight("b", [0, -sharp / 2])
    return model([helper.make_node("Conv", ["image", "w", "b"], ["logits"])], weights=[w, b])


def classifier(*, size=8):
    """Logits 0 and the mean of the picture."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["logits"]),
    ]
    return model(nodes, inputs={"image": [1, 1, size, size]}, outputs={"logits": [1, 2]},
                 weights=[weight("w", [[0.0, 1.0]]), weight("b", [0.0, 0.0])])  # fmt: skip


def colours(*, size=16):
    """Logits 0 and how much red there is over blue, in each pixel."""
    w = weight("w", np.array([[0, 0, 0], [8, 0, -8]]).reshape(2, 3, 1, 1))
    shape = {"image": [1, 3, size, size]}, {"logits": [1, 2, size, size]}
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["logits"])]
    return model(nodes, inputs=shape[0], outputs=shape[1], weights=[w, weight("b", [0, 0])])


def detector():
    """Centres where cells of 4 x 4 pixels are brighter than one half; boxes of four cells."""
    w = weight("w", np.array([40, 0, 0, 0, 0]).reshape(5, 1, 1, 1))
    b = weight("b", [-20, 1, 1, 0, 0])
    nodes = [
        helper.make_node("AveragePool", ["image"], ["m"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["m", "w", "b"], ["maps"]),
    ]
    return model(nodes, inputs={"image": [1, 1, "h", "w"]}, outputs={"maps": [1, 5, "a", "b"]},
                 weights=[w, b])  # fmt: skip


def mover(*, shape=(8, 16, 16), flow=(0.0, 0.0, 1.5)):
    """The same displacement everywhere, in voxels z, y, x."""
    w, b = weight("w", np.zeros((3, 2, 1, 1, 1))), weight("b", flow)
    nodes = [
        helper.make_node("Concat", ["fixed", "moving"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "w", "b"], ["flow"]),
    ]
    one = [1, 1, *shape]
    return model(nodes, inputs={"fixed": one, "moving": one}, outputs={"flow": [1, 3, *shape]},
                 weights=[w, b])  # fmt: skip


def packed(made, card=CARD, **changes):
    data = made if isinstance(made, bytes) else made.SerializeToString()
    digest = hashlib.sha256(data).hexdigest()
    return Package(replace(card, sha256=digest, **changes), data)


__all__ = ["onnx"]
