"""Whatever is not a plain graph and card is refused in words, and nothing of it is ever run."""

import json

import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core.errors import CorruptFile, NotFound, Refused, SomascopeError
from somascope.models import installed, load, onnxfile, package
from tests.models import evil, graphs


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch, tmp_path):
    """No graph reaches a runtime, no bomb goes off, and nothing is installed."""

    def never(*_, **__):
        raise AssertionError("a graph was started")

    monkeypatch.setattr("somascope.models.run.start", never)
    monkeypatch.setenv("SOMASCOPE_MODELS", str(tmp_path / "own"))
    assert not evil.CANARY.exists()
    yield
    assert not evil.CANARY.exists()
    assert not (tmp_path / "own").exists()


def test_a_bomb_would_be_heard():
    import pickle  # noqa: TID251  the enemy

    try:
        pickle.loads(pickle.dumps(evil.Bomb(evil.CANARY))).close()
        assert evil.CANARY.exists()
    finally:
        evil.CANARY.unlink(missing_ok=True)


def test_there_are_more_than_twenty_five():
    assert len(evil.GRAPHS) > 25
    assert len(evil.FILES) > 25


@pytest.mark.parametrize("name", evil.GRAPHS)
def test_graphs(name, tmp_path):
    data = evil.GRAPHS[name]()
    packed = graphs.packed(data)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_bytes(data)
    (tmp_path / "m" / "card.json").write_text(packed.card.to_json())
    for door in (load, package.read, installed.add):
        with pytest.raises(SomascopeError) as caught:
            door(tmp_path / "m")
        assert len(str(caught.value)) > 20
    with pytest.raises(SomascopeError):
        package.write(packed, tmp_path / "n")
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("name", evil.FILES)
@pytest.mark.parametrize("suffix", [".zip", ".onnx", ".pt"])
def test_files(name, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(evil.FILES[name]())
    for door in (load, package.read, installed.add):
        with pytest.raises(SomascopeError) as caught:
            door(path)
        assert len(str(caught.value)) > 20
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_good_one_among_them_is_read(tmp_path):
    (tmp_path / "good.zip").write_bytes(evil.zipped(evil.PARTS))
    assert package.read(tmp_path / "good.zip").card == evil.GOOD.card
    (tmp_path / "good.zip").write_bytes(evil.changed(metrics=[evil.METRIC], familiar=evil.USUAL))
    assert package.read(tmp_path / "good.zip").card.metrics[0].value == 0.5


def test_links_and_what_is_not_there(tmp_path):
    folder = tmp_path / "linked"
    package.write(evil.GOOD, folder)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("/etc/passwd")
    with pytest.raises(Refused, match="link"):
        package.read(folder)
    with pytest.raises(NotFound):
        load(tmp_path / "nothing")
    bundle = tmp_path / "bundle" / "configs"
    bundle.mkdir(parents=True)
    (bundle / "inference.json").write_text(
        json.dumps({"network_def": {"_target_": "builtins.open", "file": str(evil.CANARY)}})
    )
    with pytest.raises(NotFound, match=r"model\.onnx"):
        load(tmp_path / "bundle")


def test_the_command_line_refuses_too(tmp_path):
    for i, name in enumerate(("pickle", "torch.save", "zip that climbs", "bomb")):
        path = tmp_path / f"{i}.zip"
        path.write_bytes(evil.FILES[name]())
        for call in (["model", "import", str(path)], ["model", "info", str(path)],
                     ["predict", str(path), str(path), "-o", str(tmp_path / "out")]):  # fmt: skip
            run = CliRunner().invoke(app, call)
            assert run.exit_code != 0
            assert isinstance(run.exception, (SomascopeError, SystemExit)), run.exception


def test_sizes_that_are_in_order_are_let_pass():
    """The same forms as the giants, of sizes that networks have."""
    for data in (
        evil.said_one_by_one("ConstantOfShape", value_ints=[1, 64, 64]),
        evil.said_one_by_one("Resize", value_floats=[1.0, 1.0, 2.0, 2.0, 2.0]),
        evil.passed_on(("Identity", {}), ("Cast", {"to": 7}), values=[4, 4], dtype="int32"),
        evil.constant_of("Resize", 1, 1, 2, 2, 2, at=1, slots=2, dtype="float32"),
        evil.sized("Pad", inputs=("image",), pads=[0] * 9 + [3]),
    ):
        assert onnxfile.inspect(data).nodes >= 1


def test_a_ring_of_names_ends():
    data = evil.sized(
        "Expand",
        [evil.helper.make_node("Identity", ["shape"], ["other"]),
         evil.helper.make_node("Identity", ["other"], ["shape"])],
    )  # fmt: skip
    assert onnxfile.inspect(data).nodes == 3


@pytest.mark.parametrize("packed", [False, True])
def test_axes_are_counted_before_they_are_multiplied(packed, monkeypatch):
    def never(numbers):
        assert len(list(numbers)) <= 16
        return 1

    monkeypatch.setattr(onnxfile.math, "prod", never)
    with pytest.raises(Refused, match="axes"):
        onnxfile.inspect(evil.many_axes(1 << 12, packed=packed))


def test_damaged_packed_data_is_called_damaged(tmp_path):
    for name in ("flipped byte in the packed data", "flipped byte in other packed data"):
        (tmp_path / "m.zip").write_bytes(evil.FILES[name]())
        with pytest.raises(CorruptFile, match="damaged"):
            package.read(tmp_path / "m.zip")
