"""`somascope predict`: several models as one, and how unsure they are, as files."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.io import read, write
from somascope.models import Network, Preparation, package
from somascope.models.together import Together
from tests.models import graphs
from tests.models.test_run import volume
from tests.models.test_thinned import network as dropping
from tests.models.test_thinned import summed


def asked(*call):
    run = CliRunner().invoke(app, ["predict", *map(str, call)])
    assert run.exit_code == 0, (run.output, run.exception)
    return run


@pytest.fixture
def folds(tmp_path):
    """Two models as cross-validation leaves them."""
    for k, sharp in ((1, 20.0), (2, 2.0)):
        package.write(graphs.packed(graphs.segmenter(sharp=sharp)), tmp_path / f"folds/fold-{k}")
    return tmp_path / "folds"


def test_a_folder_of_folds_is_an_ensemble_and_tells_its_doubt(tmp_path, folds):
    image = volume()
    write(image, tmp_path / "a.nii.gz")
    asked(folds, tmp_path / "a.nii.gz", "-o", tmp_path / "out", "--uncertainty", "--mirror", "x")
    members = [Network(package.read(folds / f"fold-{k}"), threads=1) for k in (1, 2)]
    wanted = Together(members, mirror="x").look(read(tmp_path / "a.nii.gz"), anyway=True)
    for name in ("doubt", "quarrel"):
        found = read(tmp_path / "out" / f"a_{name}.nii.gz")
        assert np.allclose(found.data, getattr(wanted, name), atol=2e-3)
        assert found.grid.allclose(image.grid)
    assert np.array_equal(read(tmp_path / "out" / "a.nii.gz").data, wanted.mean[1] >= 0.5)
    told = asked(folds / "fold-1", tmp_path / "a.nii.gz", "--with", folds / "fold-2", "-o",
                 tmp_path / "two", "--mirror", "x", "--json")  # fmt: skip
    assert json.loads(told.output)["model"] == "segment.bright"
    one, two = (read(tmp_path / d / "a.nii.gz").data for d in ("out", "two"))
    assert np.array_equal(one, two)
    assert not list((tmp_path / "two").glob("*_doubt*"))


def test_of_dicom_the_doubt_is_a_parametric_map(tmp_path, folds):
    write(volume(), tmp_path / "mr")
    asked(folds, tmp_path / "mr", "-o", tmp_path / "out", "--uncertainty")
    (file,) = (tmp_path / "out").glob("*_doubt.dcm")
    assert b"1.2.840.10008.5.1.4.1.1.30" in file.read_bytes()  # Parametric Map Storage
    (plain,) = (tmp_path / "out").glob("*_doubt.nii.gz")
    ours, theirs = (np.sort(read(f).data.ravel()) for f in (file, plain))
    assert np.allclose(ours, theirs, atol=1e-6)


def test_of_pictures_it_is_a_picture(tmp_path):
    w = graphs.weight("w", np.array([0, 2.0]).reshape(2, 1, 1, 1))
    node = graphs.onnx.helper.make_node("Conv", ["image", "w", "b"], ["logits"])
    made = graphs.model([node], inputs={"image": [1, 1, 8, 8]}, outputs={"logits": [1, 2, 8, 8]},
                        weights=[w, graphs.weight("b", [0, -1.0])])  # fmt: skip
    how = Preparation(scaling="range", low=0.0, high=255.0)
    net = graphs.packed(made, patch=(8, 8), dimensions=2, modalities=(), spacing_mm=(0.0, np.inf),
                        preparation=how, intensity=(0.0, 255.0))  # fmt: skip
    package.write(net, tmp_path / "net")
    values = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    from PIL import Image as Picture

    Picture.fromarray(values).save(tmp_path / "ramp.png")
    asked(tmp_path / "net", tmp_path / "ramp.png", "-o", tmp_path / "out", "--uncertainty")
    doubt = np.asarray(Picture.open(tmp_path / "out" / "ramp_doubt.png")).astype(float)
    p = 1 / (1 + np.exp(-2 * (values / 255.0 - 0.5)))
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert np.abs(doubt / 255 - entropy).max() < 0.01


def test_of_classes_it_is_two_columns(tmp_path):
    package.write(dropping(summed(count=64, rate=0.5))._packed, tmp_path / "net")
    values = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", images=values)
    asked(tmp_path / "net", tmp_path / "x.npz", "-o", tmp_path / "out", "--uncertainty",
          "--dropout", "16", "--seed", "5")  # fmt: skip
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "p_bright", "p_other", "doubt", "quarrel"]
    for row, image in zip(rows, values, strict=True):
        wanted = Together([dropping(summed(count=64, rate=0.5))], dropout=16, seed=5)
        p = float(row["p_other"])
        assert 0 < float(row["quarrel"]) < float(row["doubt"]) <= 1
        assert p == pytest.approx(1 / (1 + np.exp(-image.mean())), abs=0.05)
        assert wanted.looks == 16


def test_wrong_wishes_are_refused_by_name(tmp_path, folds):
    write(volume(), tmp_path / "a.nii.gz")
    for more, said in (
        (["--dropout", "3"], "no dropout"), (["--mirror", "q"], "mirror is 'q'"),
        (["--engine", "magic"], "--engine"), (["--with", "nothing.zip"], "no model"),
        (["--sees", "all"], "--sees"),
        (["--first", str(folds / "fold-1"), "--dropout", "2"], "--first takes one"),
        (["--first", str(folds / "fold-1"), "--uncertainty"], "labels only"),
    ):  # fmt: skip
        call = ["predict", str(folds / "fold-1"), str(tmp_path / "a.nii.gz"), "-o",
                str(tmp_path / "out"), *more]  # fmt: skip
        run = CliRunner().invoke(app, call)
        assert run.exit_code != 0
        assert said in str(run.exception), (more, run.exception)
