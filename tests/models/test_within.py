"""A model within what another one finds: the same outline, wherever the first one looks right."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core import Grid, Image
from somascope.core.errors import ParameterError, Refused
from somascope.models import Network, Preparation, package
from somascope.models.prepare import levels_of, scaled
from somascope.models.within import Within, widened
from somascope.testing import check_model, check_operation
from tests.models import graphs
from tests.models.test_run import OBLIQUE

COARSE = Preparation(orient=True, spacing=(4.0, 4.0, 4.0), scaling="none")


def ball(shape=(24, 48, 40), *, centre=(14, 30, 12), radius=7.0, spacing=(2.0, 1.0, 1.0)):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    far = np.linalg.norm((index - centre) * spacing, axis=-1)
    noise = np.random.default_rng(0).normal(0, 0.05, shape)
    values = ((far < radius) + noise).astype(np.float32)
    values[-1, -1, -1] = -1.0
    return Image(
        values, Grid.from_spacing(shape, spacing, origin=(3, 4, 5), direction=OBLIQUE), "MR"
    )


def first(**more):
    how = {"preparation": COARSE, "name": "segment.where", "spacing_mm": (0.5, 8.0), **more}
    return Network(graphs.packed(graphs.segmenter(), **how), kind="onnxruntime", threads=1)


def second(**more):
    return Network(graphs.packed(graphs.segmenter(), **more), kind="onnxruntime", threads=1)


def test_the_same_outline_from_a_small_part_of_the_volume():
    image = ball()
    alone = second()(image)[0].data
    pair = Within(first(), second(), margin_mm=4.0)
    labels, place = pair.answer(image)
    assert place.found
    size = np.prod([b - a for a, b in zip(place.start, place.stop, strict=True)])
    assert size < 0.2 * image.data.size
    inside = alone > 0
    assert np.array_equal(labels[place.slices], alone[place.slices])
    assert labels.sum() == inside[place.slices].sum() > 0.99 * inside.sum()
    (mask,) = pair(image)
    told = mask.provenance.steps[-1].params
    assert (told["start"], told["stop"]) == (list(place.start), list(place.stop))
    check_model(pair, image)


@pytest.mark.parametrize("scaling", ["zscore", "percentile", "minmax"])
def test_a_region_has_the_shades_of_the_whole(scaling):
    image = ball()
    how = Preparation(orient=True, scaling=scaling)
    part = image.crop(start=(4, 4, 4), stop=(20, 40, 30))
    whole = scaled(image.data, how)[4:20, 4:40, 4:30]
    assert np.array_equal(scaled(part.data, how, levels=levels_of(image.data, how)), whole)
    assert np.abs(scaled(part.data, how) - whole).max() > 0.01
    cut = {"preparation": how, "intensity": (-np.inf, np.inf)}
    alone = second(**cut)(image)[0].data
    labels, place = Within(first(), second(**cut), margin_mm=4.0).answer(image)
    assert np.array_equal(labels[place.slices], alone[place.slices])


def test_levels_are_those_of_numpy():
    values = np.random.default_rng(1).normal(3, 2, (5, 6, 7)).astype(np.float32)
    plain = levels_of(values, Preparation(scaling="zscore"))
    assert plain.mean == pytest.approx(values.mean(), rel=1e-6)
    assert plain.deviation == pytest.approx(values.std(), rel=1e-6)
    cut = levels_of(values, Preparation(scaling="percentile"))
    low, high = np.percentile(values, (0.5, 99.5))
    assert (cut.low, cut.high) == (pytest.approx(low), pytest.approx(high))
    assert cut.deviation == pytest.approx(values.clip(low, high).std(), rel=1e-5)


def test_where_the_first_finds_nothing_the_whole_is_looked_at():
    image = ball()
    blind = first(threshold=1.0)
    labels, place = Within(blind, second()).answer(image)
    assert (place.start, place.stop, place.found) == ((0, 0, 0), image.grid.shape, False)
    assert np.array_equal(labels, second()(image)[0].data)


def test_a_detector_says_where_too():
    values = np.zeros((1, 64, 64), np.uint8)
    values[0, 8:12, 40:44] = 255
    image = Image(values, Grid.from_spacing(values.shape, (1.0, 1.0, 1.0)), "DX")
    how = Preparation(scaling="range", low=0.0, high=255.0)
    flat = {"dimensions": 2, "modalities": ("DX",), "preparation": how, "intensity": (0.0, 255.0)}
    where = Network(graphs.packed(graphs.detector(), task="detect", stride=4, patch=(), **flat),
                    kind="onnxruntime", threads=1)  # fmt: skip
    w = graphs.weight("w", np.array([0, 20.0]).reshape(2, 1, 1, 1))
    node = graphs.onnx.helper.make_node("Conv", ["image", "w", "b"], ["logits"])
    made = graphs.model([node], inputs={"image": [1, 1, 8, 8]}, outputs={"logits": [1, 2, 8, 8]},
                        weights=[w, graphs.weight("b", [0, -10.0])])  # fmt: skip
    fine = Network(graphs.packed(made, patch=(8, 8), **flat), kind="onnxruntime", threads=1)
    labels, place = Within(where, fine, margin_mm=2.0).answer(image)
    assert place.start[0] == 0
    assert place.start[1] <= 8
    assert place.stop[2] >= 44
    assert place.stop[2] - place.start[2] < 24
    assert np.array_equal(labels, values > 0)


def test_corners_are_widened_by_millimetres_and_cut_at_the_edge():
    grid = Grid.from_spacing((10, 20, 30), (2.0, 1.0, 0.5))
    place = widened((np.array([3.5, 4.5, 5.5]), np.array([4.5, 6.5, 7.5])), grid, margin_mm=2.0)
    assert (place.start, place.stop) == ((3, 3, 2), (6, 9, 12))
    place = widened((np.array([-0.5] * 3), np.array([9.5, 19.5, 29.5])), grid, margin_mm=50.0)
    assert (place.start, place.stop) == ((0, 0, 0), (10, 20, 30))


def test_what_does_not_go_together_is_refused():
    picture = Network(graphs.packed(graphs.classifier(), task="classify"), threads=1)
    with pytest.raises(ParameterError, match="where to look"):
        Within(picture, second())
    with pytest.raises(ParameterError, match="the second one segments"):
        Within(first(), picture)
    with pytest.raises(ParameterError, match="2-D"):
        Within(first(dimensions=2), second())
    with pytest.raises(ParameterError, match="margin is -1"):
        Within(first(), second(), margin_mm=-1.0)
    with pytest.raises(Refused, match="this image is CT"):
        Within(first(), second())(replace(ball(), modality="CT"))
    with pytest.raises(Refused, match=r"segment\.where"):
        Within(first(spacing_mm=(3.0, 4.0)), second())(ball())


def test_one_pipeline_by_every_door(tmp_path):
    from somascope.io import read, write

    image = ball()
    for name, net in (("where", first()), ("fine", second())):
        package.write(net._packed, tmp_path / name)
    params = {"first": str(tmp_path / "where"), "second": str(tmp_path / "fine"), "margin": 4.0}
    check_operation("models.focus", inputs=(image,), params=params)
    write(image, tmp_path / "ball.nii.gz")
    call = ["predict", params["second"], str(tmp_path / "ball.nii.gz"), "-o", str(tmp_path / "out"),
            "--first", params["first"], "--margin", "4"]  # fmt: skip
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 0, run.output
    labels = read(tmp_path / "out" / "ball.nii.gz")
    wanted = Within(first(), second(), margin_mm=4.0)(image)[0]
    assert (labels.data > 0).sum() == (wanted.data > 0).sum()
    bad = CliRunner().invoke(app, [*call, "--mirror", "x"])
    assert bad.exit_code != 0
    assert "--first" in str(bad.exception)
