"""A fitted classifier as an ONNX graph of plain operators: no trees, no pickle, nothing of its own.

Trees become three products of matrices (Nakandala et al., A Tensor Compiler for Unified Machine
Learning Prediction Serving, OSDI 2020, section 4): which decisions are yes, which leaf has them
all, what the leaf says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.core.errors import WriteError
from somascope.core.grid import Array, Float
from somascope.learn.classical.fit import LEAST, RATE, Fitted

OPSET = 17


class _Writer:
    """Nodes and weights of a graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, values: Array, kind: type = np.float32) -> str:
        """A constant; its name."""
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def put(self, operator: str, *inputs: str, name: str = "", **more: Any) -> str:
        """A node; the name of its output."""
        from onnx import helper

        out = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [out], **more))
        return out


def to_onnx(fitted: Fitted, count: int) -> bytes:
    """The graph ``image (1, count) -> logits (1, classes)``, float32."""
    from onnx import TensorProto, helper

    w = _Writer()
    chosen = w.put("Gather", "image", w.weight(fitted.columns, np.int64), axis=1)
    if fitted.kind == "forest":
        _forest(w, fitted, chosen)
    elif fitted.kind == "boosting":
        _boosting(w, fitted, chosen)
    else:
        centred = w.put("Sub", chosen, w.weight(fitted.mean[None]))
        z = w.put("Div", centred, w.weight(fitted.sd[None]))
        _linear(w, fitted, z) if fitted.kind == "logistic" else _machine(w, fitted, z)
    graph = helper.make_graph(
        w.nodes, fitted.kind,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, count])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, fitted.classes])],
        initializer=w.weights,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return made.SerializeToString()


def _both(rows: Float) -> Float:
    """A zero row before the only one of two classes."""
    return np.concatenate([np.zeros_like(rows), rows]) if len(rows) == 1 else rows


def _linear(w: _Writer, fitted: Fitted, z: str) -> None:
    weights = _both(np.asarray(fitted.estimator.coef_, np.float64))
    bias = _both(np.asarray(fitted.estimator.intercept_, np.float64)[:, None])[:, 0]
    w.put("Gemm", z, w.weight(weights), w.weight(bias), name="logits", transB=1)


def _machine(w: _Writer, fitted: Fitted, z: str) -> None:
    """``sum_i a_i exp(-gamma |z - s_i|^2) + b`` for each class."""
    several = fitted.estimator
    machines = list(getattr(several, "estimators_", [several]))
    outs: list[str] = []
    for one in machines:
        support = np.asarray(one.support_vectors_, np.float64)
        # Differences first: squares of large numbers would cancel in float32.
        apart = w.put("Sub", z, w.weight(support))
        squared = w.put("Mul", apart, apart)
        axes = w.weight(np.array([1]), np.int64)
        distance = w.put("ReduceSum", squared, axes, keepdims=0)
        kernel = w.put("Exp", w.put("Mul", distance, w.weight(np.array(-one.gamma))))
        column = w.put("Unsqueeze", kernel, w.weight(np.array([1]), np.int64))
        total = w.put("MatMul", w.weight(np.asarray(one.dual_coef_)), column)
        outs.append(w.put("Add", total, w.weight(np.asarray(one.intercept_)[None])))
    if len(outs) == 1:
        outs = [w.weight(np.zeros((1, 1))), *outs]
    w.put("Concat", *outs, name="logits", axis=1)


def _forest(w: _Writer, fitted: Fitted, chosen: str) -> None:
    trees = [e.tree_ for e in fitted.estimator.estimators_]
    said = [np.asarray(t.value)[:, 0] for t in trees]
    said = [v / v.sum(axis=1, keepdims=True) for v in said]
    total = _trees(w, chosen, trees, said)
    mean = w.put("Div", total, w.weight(np.array(float(len(trees)))))
    least, most = w.weight(np.array(LEAST)), w.weight(np.array(1.0))
    w.put("Log", w.put("Clip", mean, least, most), name="logits")


def _boosting(w: _Writer, fitted: Fitted, chosen: str) -> None:
    stages = fitted.estimator.estimators_  # (stages, outputs)
    outputs = stages.shape[1]
    trees, said = [], []
    for row in stages:
        for k, one in enumerate(row):
            values = np.zeros((one.tree_.node_count, outputs))
            values[:, k] = RATE * np.asarray(one.tree_.value)[:, 0, 0]
            trees.append(one.tree_)
            said.append(values)
    total = _trees(w, chosen, trees, said)
    # Where all trees say nothing the decision is the start.
    point = np.zeros((1, len(fitted.columns)), np.float32)
    grown = sum(v[t.apply(point)[0]] for t, v in zip(trees, said, strict=True))
    start = np.atleast_1d(fitted.estimator.decision_function(point)[0]) - grown
    made = w.put("Add", total, w.weight(start[None]))
    if outputs == 1:
        w.put("Concat", w.weight(np.zeros((1, 1))), made, name="logits", axis=1)
    else:
        w.put("Identity", made, name="logits")


def _trees(w: _Writer, chosen: str, trees: list[Any], said: list[Float]) -> str:
    """The sum over trees of what the leaf says that the input falls into, ``(1, k)``."""
    inner = [np.flatnonzero(t.children_left >= 0) for t in trees]
    leaves = [np.flatnonzero(t.children_left < 0) for t in trees]
    n, m = max(1, *map(len, inner)), max(map(len, leaves))
    count, outputs = len(trees), said[0].shape[1]
    feature = np.zeros((count, n), np.int64)
    cut = np.zeros((count, n), np.float32)
    path = np.zeros((count, n, m), np.float32)
    wanted = np.full((count, 1, m), -2.0 * n - 2, np.float32)
    value = np.zeros((count, m, outputs), np.float32)
    for k, tree in enumerate(trees):
        feature[k, : len(inner[k])] = tree.feature[inner[k]]
        cut[k, : len(inner[k])] = _below(tree.threshold[inner[k]])
        number = {int(node): i for i, node in enumerate(inner[k])}
        place = {int(node): i for i, node in enumerate(leaves[k])}
        stack: list[tuple[int, list[tuple[int, float]]]] = [(0, [])]
        while stack:
            node, way = stack.pop()
            if node in place:
                for i, side in way:
                    path[k, i, place[node]] = side
                wanted[k, 0, place[node]] = sum(side for _, side in way if side > 0)
                value[k, place[node]] = said[k][node]
                continue
            stack.append((int(tree.children_left[node]), [*way, (number[node], 1.0)]))
            stack.append((int(tree.children_right[node]), [*way, (number[node], -1.0)]))
    if path.size > 1 << 26:
        raise WriteError(f"{count} trees of up to {m} leaves are too large for a graph")
    flat = w.put("Gather", chosen, w.weight(feature.reshape(-1), np.int64), axis=1)
    yes = w.put("LessOrEqual", flat, w.weight(cut.reshape(1, -1)))
    number_ = w.put("Cast", yes, to=1)
    shaped = w.put("Reshape", number_, w.weight(np.array([count, 1, n]), np.int64))
    came = w.put("MatMul", shaped, w.weight(path))
    leaf = w.put("Cast", w.put("Equal", came, w.weight(wanted)), to=1)
    each = w.put("MatMul", leaf, w.weight(value))
    return w.put("ReduceSum", each, w.weight(np.array([0]), np.int64), keepdims=0)


def _below(cuts: Float) -> Array:
    """The largest float32 not above each threshold: an input of float32 falls on the same side."""
    near = np.asarray(cuts, np.float64).astype(np.float32)
    high = near.astype(np.float64) > cuts
    return np.where(high, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)
