"""Packages round trip; whatever is not a plain graph and card is refused and never run."""

import io
import json
import pickle  # noqa: TID251  the enemy
import tarfile
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from somascope.core.errors import Conflict, CorruptFile, NotFound, Refused, SomascopeError
from somascope.models import installed, load, onnxfile, package
from tests.models import graphs


class Bomb:
    def __reduce__(self):
        return (open, ("/tmp/somascope_was_here", "w"))


def test_walk_agrees_with_onnx_itself():
    made = graphs.segmenter()
    seen = onnxfile.inspect(made.SerializeToString())
    assert seen.inputs == ("image",)
    assert seen.outputs == ("logits",)
    assert seen.operators == tuple(sorted({n.op_type for n in made.graph.node}))
    assert seen.parameters == sum(numpy_helper.to_array(w).size for w in made.graph.initializer)


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_round_trip_as_folder_and_zip(tmp_path, suffix):
    packed = graphs.packed(graphs.segmenter())
    path = tmp_path / f"model{suffix}"
    package.write(packed, path)
    back = package.read(path)
    assert back.card == packed.card
    assert back.graph == packed.graph
    with pytest.raises(Conflict):
        package.write(packed, path)
    package.write(packed, path, overwrite=True)


def test_zip_is_the_same_bytes_each_time(tmp_path):
    packed = graphs.packed(graphs.segmenter())
    for name in ("a.zip", "b.zip"):
        package.write(packed, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


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


GRAPHS = {
    "pickle": lambda: pickle.dumps(Bomb()),
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
    "no output": lambda: onnx.ModelProto(ir_version=8).SerializeToString(),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_bad_graphs_are_refused_before_anything_runs(name, tmp_path, monkeypatch):
    data = GRAPHS[name]()
    packed = graphs.packed(data)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_bytes(data)
    (tmp_path / "m" / "card.json").write_text(packed.card.to_json())

    def never(*_, **__):
        raise AssertionError("a graph was started")

    monkeypatch.setattr("somascope.models.run.start", never)
    with pytest.raises((Refused, CorruptFile)):
        load(tmp_path / "m")
    with pytest.raises((Refused, CorruptFile)):
        package.write(packed, tmp_path / "n")


def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def test_bad_packages_are_refused(tmp_path, monkeypatch):
    good = graphs.packed(graphs.segmenter())
    card = good.card.to_json().encode()
    parts = [("model.onnx", good.graph), ("card.json", card)]
    cases = {
        "climbs": [*parts, ("../evil.py", b"x")],
        "pickle beside": [*parts, ("data.pkl", pickle.dumps(Bomb()))],
        "no card": parts[:1],
        "no graph": parts[1:],
        "other graph": [("model.onnx", graphs.classifier().SerializeToString()), parts[1]],
        "card of lists": [parts[0], ("card.json", b"[" * 100_000)],
        "card too long": [parts[0], ("card.json", card + b" " * (1 << 20))],
        "other task": [parts[0], ("card.json", card.replace(b'"segment"', b'"execute"'))],
        "other format": [parts[0], ("card.json", card.replace(b"somascope-model", b"bundle"))],
        "unknown field": [parts[0], ("card.json", card.replace(b'"stride"', b'"onload"'))],
        "changed preparation": [parts[0], ("card.json", card.replace(b'"none"', b'"zscore"'))],
    }
    for i, entries in enumerate(cases.values()):
        path = zipped(tmp_path / f"{i}.zip", entries)
        with pytest.raises(SomascopeError):
            package.read(path)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("model.onnx"))
    (tmp_path / "t.zip").write_bytes(buffer.getvalue())
    with pytest.raises(CorruptFile):
        package.read(tmp_path / "t.zip")
    with pytest.raises(NotFound):
        load(tmp_path / "nothing")
    folder = tmp_path / "linked"
    package.write(good, folder)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("/etc/passwd")
    with pytest.raises(Refused):
        package.read(folder)


def test_cards_keep_everything(tmp_path):
    packed = graphs.packed(graphs.segmenter(), temperature=1.5, conformal=(0.1, 0.2), limits=("a",))
    record = json.loads(packed.card.to_json())
    assert record["preparation_digest"] == packed.card.preparation.digest()
    assert type(packed.card).from_json(packed.card.to_json()) == packed.card


def test_models_come_and_go_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMASCOPE_MODELS", str(tmp_path / "own"))
    package.write(graphs.packed(graphs.segmenter()), tmp_path / "new.zip")
    installed.add(tmp_path / "new.zip")
    assert "segment.bright" in installed.models()
    assert load("segment.bright").card.name == "segment.bright"
    installed.take("segment.bright", tmp_path / "out")
    assert package.read(tmp_path / "out").card == load("segment.bright").card
    package.write(graphs.packed(graphs.segmenter(), name="../up"), tmp_path / "bad.zip")
    with pytest.raises(Refused):
        installed.add(tmp_path / "bad.zip")
    with pytest.raises(NotFound, match="segment"):
        load("segment.dark")
