"""Packages round trip, as folders and as ZIP files, and come and go by name."""

import json

import pytest
from onnx import numpy_helper

from somascope.core.errors import Conflict, NotFound, Refused
from somascope.models import installed, load, onnxfile, package
from tests.models import graphs


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
