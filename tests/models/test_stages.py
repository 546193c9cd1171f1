"""Two models in one package: what both say by hand, from one file, and nothing from a false one."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core import Grid, Image
from somascope.core.errors import CorruptFile, NotFound, ParameterError, Refused
from somascope.io import read, write
from somascope.learn.datasets import Case, Dataset
from somascope.learn.evaluate import evaluate
from somascope.learn.report import page
from somascope.models import ClassName, Network, NetworkCard, Preparation, load, package
from somascope.models.detect import boxes, streamed
from somascope.models.stages import Staged, join
from somascope.models.together import Together
from somascope.models.within import Within
from somascope.testing import check_model, check_operation
from tests.models import graphs
from tests.models.test_within import COARSE, ball

STRIDE, EDGE = 2, 8


def cells(*, classes=1, edge=EDGE):
    """Centres where cells of 2 x 2 x 2 voxels are bright; boxes of four cells a side."""
    w = np.zeros((classes + 6, 1, 1, 1, 1))
    w[0] = 40
    b = [-24.0, *[2.0] * 3, *[0.0] * 3]
    nodes = [
        graphs.onnx.helper.make_node("AveragePool", ["image"], ["m"], kernel_shape=[2] * 3,
                                     strides=[2] * 3),
        graphs.onnx.helper.make_node("Conv", ["m", "w", "b"], ["maps"]),
    ]  # fmt: skip
    n = edge // STRIDE
    return graphs.model(
        nodes, inputs={"image": [1, 1, edge, edge, edge]},
        outputs={"maps": [1, classes + 6, n, n, n]},
        weights=[graphs.weight("w", w), graphs.weight("b", b)],
    )  # fmt: skip


def detector(**more):
    how = {"name": "detect.bright", "task": "detect", "stride": STRIDE, "patch": (EDGE,) * 3,
           "preparation": Preparation(orient=True, scaling="none"), **more}  # fmt: skip
    return graphs.packed(cells(), **how)


def coarse(**more):
    return graphs.packed(graphs.segmenter(), name="segment.where", preparation=COARSE,
                         spacing_mm=(0.5, 8.0), **more)  # fmt: skip


def fine(**more):
    return graphs.packed(graphs.segmenter(), name="segment.fine", **more)


def run(packed):
    return Network(packed, kind="onnxruntime", threads=1)


@pytest.mark.parametrize("where", [coarse, detector])
def test_one_package_says_what_both_say_by_hand(tmp_path, where):
    image = ball(radius=9.0)
    made = join(where(), fine(), name="segment.both", margin_mm=4.0)
    package.write(made, tmp_path / "both.zip")
    model = load(tmp_path / "both.zip", kind="onnxruntime")
    assert isinstance(model, Staged)
    byhand, place = Within(run(where()), run(fine()), margin_mm=4.0).answer(image)
    assert place.found
    assert np.array_equal(model.labels(image), byhand)
    (mask,) = model(image)
    assert np.array_equal(mask.data, byhand)
    assert byhand.any()
    told = mask.provenance.steps[-1].params
    assert (told["model"], told["first"]) == ("segment.both", where().card.name)
    assert told["start"] == list(place.start)
    assert mask.segments[0].algorithm == "segment.both 1"
    check_model(model, image)
    check_operation("models.segment", inputs=(image,), params={"model": str(tmp_path / "both.zip")})


def test_the_command_joins_and_predicts_the_same(tmp_path):
    image = ball()
    write(image, tmp_path / "ball.nii.gz")
    for name, packed in (("a", detector()), ("b", fine())):
        package.write(packed, tmp_path / name)
    said = CliRunner().invoke(
        app, ["model", "join", str(tmp_path / "a"), str(tmp_path / "b"), "-o",
              str(tmp_path / "both.zip"), "--margin", "4"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    info = CliRunner().invoke(app, ["model", "info", str(tmp_path / "both.zip")])
    assert "4 mm around what the first finds" in info.output
    for out, model in (("one", ["both.zip"]), ("two", ["b", "--first", str(tmp_path / "a"),
                                                       "--margin", "4"])):  # fmt: skip
        done = CliRunner().invoke(
            app, ["predict", str(tmp_path / model[0]), str(tmp_path / "ball.nii.gz"), *model[1:],
                  "-o", str(tmp_path / out)],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    one, two = (read(tmp_path / d / "ball.nii.gz").data for d in ("one", "two"))
    assert one.any()
    assert np.array_equal(one, two)


def test_it_is_judged_as_a_whole(tmp_path):
    image = ball()
    package.write(join(coarse(), fine(), name="both", margin_mm=4.0), tmp_path / "both")
    model = load(tmp_path / "both")
    truth = model.labels(image).astype(np.uint8)
    cases = tuple(Case(n, n, lambda: image, mask=lambda: truth) for n in ("a", "b"))
    data = Dataset("balls", "segment", ("bright",), cases, "MR")
    result = evaluate(model, data, draws=5)
    assert result.value("dice") == 1.0
    assert "Dice 1.000" in page(result, model, data, shown=1)
    with pytest.raises(ParameterError, match="two stages"):
        Together([model])


def test_cards_keep_the_stages_and_tell_what_both_bear(tmp_path):
    made = join(coarse(), fine(), name="both", margin_mm=7.5, sees="region")
    card = package.write(made, tmp_path / "both")
    assert type(card).from_json(card.to_json()) == card
    assert (card.stages.margin_mm, card.stages.sees) == (7.5, "region")
    assert card.spacing_mm == (0.5, 2.0)
    assert (card.metrics, card.familiar) == ((), None)
    with pytest.raises(Refused, match="MR"):
        load(tmp_path / "both")(replace(ball(), modality="CT"))


@pytest.mark.parametrize("which", ["first.onnx", "first.json", "second.json", "card.json"])
def test_parts_that_do_not_belong_together_are_refused(tmp_path, which):
    made = join(coarse(), fine(), name="both")
    package.write(made, tmp_path / "both.zip")
    with zipfile.ZipFile(tmp_path / "both.zip") as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    if which == "card.json":
        record = json.loads(files[which])
        record["stages"] = None
        files[which] = json.dumps(record).encode()
    elif which == "first.onnx":
        files[which] = graphs.segmenter(sharp=3.0).SerializeToString()
    else:
        files[which] = files[which].replace(b"Apache-2.0", b"none known")
    with zipfile.ZipFile(tmp_path / "false.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(CorruptFile, match=r"made for|two stages"):
        package.read(tmp_path / "false.zip")
    del files["first.onnx"]
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises((NotFound, CorruptFile)):
        package.read(tmp_path / "half.zip")


def test_what_cannot_be_joined_is_said(tmp_path):
    both = join(coarse(), fine(), name="both")
    with pytest.raises(ParameterError, match="two stages"):
        join(both, fine(), name="three")
    with pytest.raises(ParameterError, match="segments"):
        join(coarse(), detector(), name="x")
    with pytest.raises(ParameterError, match="no image"):
        join(coarse(modalities=("CT",)), fine(), name="x")
    with pytest.raises(ParameterError, match="no image"):
        join(coarse(), fine(spacing_mm=(9.0, 12.0)), name="x")


def test_tiles_find_what_one_look_finds():
    rng = np.random.default_rng(2)
    data = rng.uniform(0, 0.3, (1, 24, 32, 28)).astype(np.float32)
    for z, y, x in ((2, 4, 6), (14, 20, 22), (8, 14, 12), (22, 30, 0)):
        data[0, z : z + 2, y : y + 2, x : x + 2] = rng.uniform(0.7, 1.0)

    def look(part):  # what every cell says of itself alone
        c, *shape = part.shape
        s = [v for n in shape for v in (n // 2, 2)]
        mean = part.reshape(c, *s).mean(axis=(2, 4, 6))
        maps = np.zeros((7, *mean.shape[1:]), np.float32)
        maps[0], maps[1:4] = 40 * mean[0] - 20, 2.0
        return maps

    settings = {"classes": 1, "stride": 2, "threshold": 0.6}
    whole = streamed(data, look, tile=data.shape[1:], **settings)
    assert len(whole[0]) == 4
    for tile, part in (((8, 8, 8), 0.5), ((2, 8, 8), 0.25), ((24, 8, 12), 0.0), ((6, 32, 28), 0.3)):
        some = streamed(data, look, tile=tile, overlapping=part, **settings)
        for a, b in zip(whole, some, strict=True):
            assert np.allclose(a, b, atol=1e-4)


def test_scores_are_calibrated_and_thresholds_follow():
    image = ball(radius=9.0)
    plain = detector(threshold=0.4)
    raw = boxes(plain.card, run(plain).engine, image, threshold=0.01)
    sure = detector(temperature=2.0, offsets=(-1.0,), threshold=0.4)
    corners, score, _ = boxes(sure.card, run(sure).engine, image, threshold=0.01)
    z = np.log(raw[1] / (1 - raw[1]))
    wanted = 1 / (1 + np.exp(1.0 - z / 2.0))
    assert np.allclose(score, wanted[wanted >= 0.01], atol=1e-6)
    assert np.array_equal(corners, raw[0][wanted >= 0.01])
    found = run(sure)(image)
    assert len(found) == (wanted >= 0.4).sum()


def test_graphs_and_cards_of_volumes_belong_together():
    image = ball()
    for wrong in ({"stride": 4}, {"patch": (8, 8)}, {"patch": (8, 8, 7)},
                  {"classes": (ClassName.named("a"), ClassName.named("b"))}):  # fmt: skip
        with pytest.raises(Refused, match="bright"):
            run(detector(**wrong))(image)


def test_a_box_is_a_voxel_or_more_whatever_the_slices():
    values = np.zeros((6, 16, 16), np.float32)
    values[2, 6:8, 6:8] = 1.0
    image = Image(values, Grid.from_spacing(values.shape, (2.0, 1.0, 1.0)), "MR")
    (box,) = run(detector(threshold=0.0001, preparation=Preparation(orient=True, scaling="none")))(
        image
    )[:1]
    assert all(u - l >= 0 for l, u in zip(box.lower, box.upper, strict=True))
    assert isinstance(detector().card, NetworkCard)
