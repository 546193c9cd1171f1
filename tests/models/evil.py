"""Files that somebody would like a model reader to open: each made by the enemy's own tools."""

import io
import json
import os
import pickle  # noqa: TID251  the enemy
import tarfile
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.models import graphs

CANARY = Path(f"/tmp/canary-of-a-model-{os.getpid()}")
"""A file that is there once anything was executed."""


class Bomb:
    """Unpickling it touches a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def node(kind, *, inputs=("image",), outputs=("logits",), domain="", **attributes):
    made = graphs.model([helper.make_node(kind, inputs, outputs, domain=domain, **attributes)])
    return made.SerializeToString()


def external(path):
    made = graphs.segmenter()
    w = made.graph.initializer[0]
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    entry = w.external_data.add()
    entry.key, entry.value = "location", path
    return made.SerializeToString()


def huge():
    made = graphs.segmenter()
    made.graph.initializer[0].dims[:] = [1 << 20, 1 << 20, 1, 1, 1]
    return made.SerializeToString()


def negative():
    made = graphs.segmenter()
    made.graph.initializer[0].dims[0] = -2
    return made.SerializeToString()


def looped():
    body = graphs.segmenter().graph
    return node("If", then_branch=body, else_branch=body)


def functions():
    made = graphs.segmenter()
    made.functions.append(
        helper.make_function(
            "evil",
            "f",
            ["x"],
            ["y"],
            [helper.make_node("Relu", ["x"], ["y"])],
            [helper.make_opsetid("", 17)],
        )
    )
    return made.SerializeToString()


def constant_text():
    tensor = helper.make_tensor("t", TensorProto.STRING, [1], [b"x"])
    return node("Constant", inputs=(), value=tensor)


def sparse():
    made = graphs.segmenter()
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    index = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, index, [1000]))
    return made.SerializeToString()


def nested():
    inner = helper.make_tensor("v", TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)
    inner.dims[:] = [1 << 40]
    return node("Constant", inputs=(), value=inner)


def training():
    made = graphs.segmenter()
    made.training_info.add()
    return made.SerializeToString()


def many():
    nodes = [helper.make_node("Relu", [f"x{i}"], [f"x{i + 1}"]) for i in range(20_001)]
    return graphs.model(nodes).SerializeToString()


def constant_of(kind, *numbers, at=1, dtype=np.int64, slots=2):
    """A few bytes that ask for a tensor of terabytes."""
    inputs = ["image"] + [""] * (slots - 1)
    inputs[at] = "shape"
    shape = onnx.numpy_helper.from_array(np.asarray(numbers, dtype), "shape")
    made = graphs.model([helper.make_node(kind, inputs, ["logits"])], weights=[shape])
    return made.SerializeToString()


def constant_node(*numbers):
    """The same, the shape not among the weights but in a node of its own."""
    shape = helper.make_tensor("v", TensorProto.INT64, [len(numbers)], numbers)
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("ConstantOfShape", ["shape"], ["logits"]),
    ]
    return graphs.model(nodes).SerializeToString()


def sized(kind, before=(), *, inputs=("image", "shape"), weights=(), **attributes):
    """An operator that takes its size from what ``before`` says."""
    made = helper.make_node(kind, inputs, ["logits"], **attributes)
    return graphs.model([*before, made], weights=weights).SerializeToString()


def shaped(values, name="shape", dtype=np.int64):
    return onnx.numpy_helper.from_array(np.asarray(values, dtype), name)


def said_one_by_one(kind, **attributes):
    """A shape in the attributes of a constant, not in a tensor."""
    inputs = ("shape",) if kind == "ConstantOfShape" else ("image", "shape")
    return sized(kind, [helper.make_node("Constant", [], ["shape"], **attributes)], inputs=inputs)


def passed_on(*nodes, values=(1 << 20, 1 << 20), dtype=np.int64):
    """The shape behind other operators; each is a kind and its attributes."""
    names = [f"n{i}" for i in range(len(nodes))] + ["shape"]
    before = [
        helper.make_node(kind, [names[i]], [names[i + 1]], **more)
        for i, (kind, more) in enumerate(nodes)
    ]
    weight = shaped(values, "n0", dtype)
    return sized("ConstantOfShape", before, inputs=("shape",), weights=[weight])


def many_axes(count, *, packed):
    """Weights with a million axes, all that a reader would multiply."""
    made = graphs.segmenter()
    w = made.graph.initializer[0]
    w.ClearField("dims")
    data, mark = w.SerializeToString(), b"\x80\x80\x01"  # 16384
    dims = mark * count
    if packed:
        length, n = bytearray(), len(dims)
        while n > 127:
            length.append(n & 127 | 128)
            n >>= 7
        more = b"\x0a" + bytes([*length, n]) + dims
    else:
        more = (b"\x08" + mark) * count
    w.ParseFromString(data + more)
    return made.SerializeToString()


def twice():
    """One attribute with two tensors, which a reader merges."""
    made = graphs.model([
        helper.make_node("Constant", [], ["shape"], value=shaped([1 << 20, 1 << 20])),
        helper.make_node("ConstantOfShape", ["shape"], ["logits"]),
    ])  # fmt: skip
    attribute = made.graph.node[0].attribute[0]
    plain = onnx.AttributeProto(t=helper.make_tensor("v", TensorProto.INT64, [], [8]))
    data = attribute.SerializeToString() + plain.SerializeToString()
    made.graph.node[0].ClearField("attribute")
    # Wire form: an attribute (5) of the node, whose own fields are said one after the other.
    node = made.graph.node[0].SerializeToString() + b"\x2a" + bytes([len(data)]) + data
    graph = made.graph
    rest = graph.node[1].SerializeToString()
    graph.ClearField("node")
    body = b"".join(b"\x0a" + bytes([len(n)]) + n for n in (node, rest))
    body += graph.SerializeToString()
    made.ClearField("graph")
    return (
        made.SerializeToString() + b"\x3a" + bytes([len(body) & 127 | 128, len(body) >> 7]) + body
    )


def unfinished_number():
    return graphs.segmenter().SerializeToString() + b"\xff" * 12


GRAPHS = {
    "pickle": lambda: pickle.dumps(Bomb(CANARY)),
    "zip in place of a graph": lambda: b"PK\x03\x04" + b"\0" * 60,
    "empty": lambda: b"",
    "noise": lambda: np.random.default_rng(0).bytes(4096),
    "text": lambda: b"import os; os.system('true')",
    "cut": lambda: graphs.segmenter().SerializeToString()[:-7],
    "external": lambda: external("weights.bin"),
    "external above": lambda: external("../../../etc/passwd"),
    "external absolute": lambda: external("/etc/passwd"),
    "huge": huge,
    "negative": negative,
    "branch": looped,
    "functions": functions,
    "text constant": constant_text,
    "sparse": sparse,
    "nested tensor": nested,
    "training": training,
    "too many nodes": many,
    "unknown operator": lambda: node("Download"),
    "custom domain": lambda: node("PyOp", domain="ai.onnx.contrib"),
    "loop": lambda: node("Loop"),
    "scan": lambda: node("Scan"),
    "text operator": lambda: node("StringNormalizer"),
    "microsoft": lambda: node("FusedConv", domain="com.microsoft"),
    "giant constant": lambda: constant_of("ConstantOfShape", 1 << 20, 1 << 20, at=0, slots=1),
    "giant constant node": lambda: constant_node(1 << 20, 1 << 20),
    "giant expansion": lambda: constant_of("Expand", 1 << 16, 1 << 16, 8),
    "giant border": lambda: constant_of("Pad", *[0] * 9, 1 << 30),
    "giant scale": lambda: constant_of(
        "Resize", 1, 1, 1e3, 1e3, 1e3, at=2, slots=3, dtype=np.float32
    ),
    "giant size": lambda: constant_of("Resize", 1, 1, 4096, 4096, 4096, at=3, slots=4),
    "giant numbers": lambda: said_one_by_one("ConstantOfShape", value_ints=[1 << 20] * 2),
    "giant number": lambda: said_one_by_one("ConstantOfShape", value_int=1 << 40),
    "giant factors": lambda: said_one_by_one("Resize", value_floats=[1.0, 1.0, 1e3, 1e3, 1e3]),
    "shape of many axes": lambda: said_one_by_one("Expand", value_ints=[2] * 40),
    "weights of many numbers for a shape": lambda: constant_of("Expand", *[2] * 40),
    "giant behind identities": lambda: passed_on(("Identity", {}), ("Identity", {})),
    "giant behind a cast": lambda: passed_on(("Cast", {"to": TensorProto.INT64}), dtype=np.float32),
    "giant of half precision": lambda: passed_on(
        ("Cast", {"to": TensorProto.INT64}), values=[60000] * 2, dtype=np.float16
    ),
    "less than nothing, cast": lambda: passed_on(
        ("Cast", {"to": TensorProto.UINT32}), ("Cast", {"to": TensorProto.INT64}), values=[-1]
    ),
    "giant of small whole numbers": lambda: sized(
        "ConstantOfShape",
        [helper.make_node("Cast", ["n"], ["shape"], to=TensorProto.INT64)],
        inputs=("shape",),
        weights=[helper.make_tensor("n", TensorProto.INT32, [2], [1 << 20, 1 << 20])],
    ),
    "giant scale of old": lambda: constant_of(
        "Resize", 1, 1, 1e3, 1e3, 1e3, at=1, slots=2, dtype=np.float32
    ),
    "scale that is no number": lambda: constant_of(
        "Resize", 1, 1, np.nan, 1e3, 1e3, at=2, slots=3, dtype=np.float32
    ),
    "giant border of old": lambda: sized("Pad", inputs=("image",), pads=[0] * 9 + [1 << 30]),
    "shape said twice": twice,
    "many axes": lambda: many_axes(17, packed=False),
    "a million axes": lambda: many_axes(1 << 20, packed=False),
    "a million axes at once": lambda: many_axes(1 << 20, packed=True),
    "unfinished number": unfinished_number,
    "no output": lambda: onnx.ModelProto(ir_version=8).SerializeToString(),
}


def zipped(entries, *, more=()):
    """A ZIP file of names and bytes; ``more`` are ready entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [*entries, *more]:
            archive.writestr(name, data)
    return buffer.getvalue()


def link(target):
    """A ZIP entry that is a symbolic link."""
    entry = zipfile.ZipInfo("model.onnx")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    return entry, target


def tarred(name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def torch_script():
    """The layout of ``torch.save``: a ZIP with a pickle in it."""
    return zipped([("archive/data.pkl", pickle.dumps(Bomb(CANARY))), ("archive/version", b"3")])


def keras():
    layer = {"class_name": "Lambda", "config": {"function": f"open({str(CANARY)!r}, 'w')"}}
    return zipped([("config.json", json.dumps(layer).encode()), ("model.weights.h5", b"\x89HDF")])


def shorter(data):
    """A ZIP whose directory says that the graph is smaller than it is."""
    at = data.index(b"PK\x01\x02")
    changed = bytearray(data)
    changed[at + 24 : at + 28] = (16).to_bytes(4, "little")
    return bytes(changed)


def encrypted(data):
    changed = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[data.index(mark) + offset] |= 1
    return bytes(changed)


def flipped(method):
    """A ZIP file with the first byte of its packed data changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in PARTS:
            archive.writestr(name, data)
    changed = bytearray(buffer.getvalue())
    at = 30 + len(PARTS[0][0]) + (9 if method == zipfile.ZIP_LZMA else 0)
    changed[at] ^= 0xFF
    return bytes(changed)


GOOD = graphs.packed(graphs.segmenter())
CARD = GOOD.card.to_json().encode()
PARTS = [("model.onnx", GOOD.graph), ("card.json", CARD)]


def carded(old, new):
    """The good model, its card changed."""
    assert old in CARD, old
    return zipped([PARTS[0], ("card.json", CARD.replace(old, new, 1))])


def changed(**fields):
    """The good model, fields of its card replaced."""
    text = json.dumps({**json.loads(CARD), **fields})
    return zipped([PARTS[0], ("card.json", text.encode())])


def prepared_to(size):
    """A preparation in order but for its size."""
    how = replace(GOOD.card.preparation, size=size)
    return changed(preparation=asdict(how), preparation_digest=how.digest())


METRIC = {"name": "auc", "value": 0.5, "low": 0.4, "high": 0.6, "cases": 9, "on": "x"}
USUAL = {"names": ["a"], "mean": [0], "spread": [1], "precision": ["1"], "limit": 1}

FILES = {
    "pickle": lambda: pickle.dumps(Bomb(CANARY)),
    "torch.save": torch_script,
    "keras": keras,
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(64),
    "YAML with a tag": f"!!python/object/apply:open ['{CANARY}', w]".encode,
    "bundle with a target": lambda: json.dumps({"_target_": "open", "file": str(CANARY)}).encode(),
    "tar": lambda: tarred("model.onnx"),
    "tar that climbs": lambda: tarred("../../evil.py"),
    "zip that climbs": lambda: zipped(PARTS, more=[("../evil.py", b"x")]),
    "zip from the root": lambda: zipped(PARTS, more=[("/etc/cron.d/evil", b"x")]),
    "zip of another system": lambda: zipped(PARTS, more=[("..\\evil.py", b"x")]),
    "pickle beside": lambda: zipped(PARTS, more=[("data.pkl", pickle.dumps(Bomb(CANARY)))]),
    "script beside": lambda: zipped(PARTS, more=[("__init__.py", b"import os")]),
    "pickle for a graph": lambda: zipped([("model.onnx", pickle.dumps(Bomb(CANARY))), PARTS[1]]),
    "link for a graph": lambda: zipped([PARTS[1]], more=[link("/etc/passwd")]),
    "bomb": lambda: zipped([("model.onnx", bytes(1 << 24)), PARTS[1]]),
    "bomb of a card": lambda: zipped([PARTS[0], ("card.json", CARD + b" " * (1 << 20))]),
    "size that lies": lambda: shorter(zipped(PARTS)),
    "encrypted": lambda: encrypted(zipped(PARTS)),
    "cut": lambda: zipped(PARTS)[:-30],
    "flipped byte in the packed data": lambda: flipped(zipfile.ZIP_DEFLATED),
    "flipped byte in other packed data": lambda: flipped(zipfile.ZIP_LZMA),
    "no card": lambda: zipped(PARTS[:1]),
    "no graph": lambda: zipped(PARTS[1:]),
    "card of lists": lambda: zipped([PARTS[0], ("card.json", b"[" * 100_000)]),
    "other graph": lambda: zipped(
        [("model.onnx", graphs.classifier().SerializeToString()), PARTS[1]]
    ),
    "other digest": lambda: changed(sha256="0" * 64),
    "other task": lambda: changed(task="execute"),
    "other format": lambda: carded(b"somascope-model", b"bundle"),
    "unknown field": lambda: changed(onload="os.system"),
    "changed preparation": lambda: carded(b'"none"', b'"zscore"'),
    "voxels of no size": lambda: changed(spacing_mm=[float("nan"), None]),
    "values of no range": lambda: changed(intensity=[float("nan"), 3.0]),
    "threshold not a number": lambda: changed(threshold=float("nan")),
    "temperature of nothing": lambda: changed(temperature=0),
    "offsets of other classes": lambda: changed(offsets=[0.1] * 9),
    "offsets without end": lambda: changed(offsets=[1e9, -1e9]),
    "metric that is text": lambda: changed(metrics=[{**METRIC, "value": "<script>"}]),
    "metric of a list": lambda: changed(metrics=[{**METRIC, "name": ["auc"]}]),
    "metric with more": lambda: changed(metrics=[[1, 2, 3]]),
    "patch without end": lambda: changed(patch=[1 << 40] * 3),
    "patch of gibibytes": lambda: changed(patch=[2048] * 3),
    "size of gibibytes": lambda: prepared_to((8192, 8192, 8192)),
    "number without end": lambda: changed(stride=10**400),
    "conformal of three": lambda: changed(conformal=[0.1, 0.2, 0.3]),
    "usual that is not": lambda: changed(familiar={**USUAL, "precision": ["1 2"]}),
    "usual of no spread": lambda: changed(familiar={**USUAL, "spread": [0]}),
    "name that is no text": lambda: changed(name=["a"]),
}
