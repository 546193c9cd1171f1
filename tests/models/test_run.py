"""Models on their cards: what they accept, where their answers lie, and in how much memory."""

import io
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from somascope.core import Axis, Grid, Image, Provenance, Source
from somascope.core.errors import ParameterError, Refused
from somascope.io.dicom.write import instances
from somascope.models import Network, Preparation, operations, package, tiles
from somascope.models.inputs import inputs
from somascope.models.prepare import oriented, padded, placed, scaled
from somascope.testing import check_model, check_operation
from tests.models import graphs

OBLIQUE = [[0, 0.28, 0.96], [0, 0.96, -0.28], [1, 0, 0]]


def volume(shape=(6, 20, 17), *, spacing=(2.0, 1.0, 1.0), seed=0, modality="MR"):
    values = np.random.default_rng(seed).random(shape).astype(np.float32)
    grid = Grid.from_spacing(shape, spacing, origin=(3, 4, 5), direction=OBLIQUE)
    return Image(values, grid, modality)


@pytest.fixture
def segmenter():
    return Network(graphs.packed(graphs.segmenter()), kind="onnxruntime", threads=1)


def test_segmenter_says_what_the_graph_says(segmenter):
    image = volume()
    (mask,) = segmenter(image)
    assert np.array_equal(mask.data == 1, image.data >= 0.5)
    assert mask.grid == image.grid
    assert mask.provenance.steps[-1].params["sha256"] == segmenter.card.sha256
    check_model(segmenter, image)


def test_flipped_and_turned_volumes_give_the_same_answer_in_the_patient(segmenter):
    image = volume()
    turned = image.data.transpose(2, 0, 1)[:, ::-1]
    affine = image.grid.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (turned.shape[1] - 1)
    affine[:3, 1] *= -1
    other = Image(turned, Grid(turned.shape, affine), "MR")
    (a,), (b,) = segmenter(image), segmenter(other)
    assert np.array_equal(b.data, a.data.transpose(2, 0, 1)[:, ::-1])


def test_resampled_answers_come_back_to_the_images_grid():
    how = Preparation(orient=True, spacing=(1.0, 1.0, 1.0), scaling="none")
    net = Network(graphs.packed(graphs.segmenter(), preparation=how), kind="onnxruntime", threads=1)
    z, y, x = np.meshgrid(*[np.arange(n) for n in (12, 24, 24)], indexing="ij")
    truth = ((z - 6) * 2.0) ** 2 + (y - 12.0) ** 2 + (x - 12.0) ** 2 < 8**2
    grid = Grid.from_spacing(truth.shape, (2, 1, 1), direction=OBLIQUE)
    (mask,) = net(Image(truth.astype(np.float32), grid, "MR"))
    assert mask.grid == grid
    both = (mask.data > 0) & truth
    assert 2 * both.sum() / ((mask.data > 0).sum() + truth.sum()) > 0.97


def wrong():
    good = volume()
    few = np.array(good.data)
    few[3] = np.nan
    yield "CT", replace(good, modality="CT")
    yield "OT", replace(good, modality="OT", provenance=Provenance((Source("dicom", "1.2"),)))
    yield "2-D", good.crop(start=(0, 0, 0), stop=(1, 20, 17))
    yield "0.5 to 2 mm", volume(spacing=(2.0, 0.2, 0.2))
    yield "0.5 to 2 mm", volume(spacing=(5.0, 1.0, 1.0))
    yield "values of -10 to 10", replace(good, data=good.data * 1000)
    yield "every value", replace(good, data=np.ones(good.shape, np.float32))
    yield "not finite", replace(good, data=few)
    yield "complex", replace(good, data=good.data.astype(np.complex64))
    many = np.stack([good.data] * 3)
    yield "along 't'", replace(good, data=many, axes=(Axis("t"),))


@pytest.mark.parametrize(("words", "image"), list(wrong()))
def test_wrong_input_is_refused_by_name(segmenter, words, image):
    with pytest.raises(Refused, match=words) as caught:
        segmenter(image)
    assert "segment.bright" in str(caught.value)


def test_files_that_say_no_modality_are_taken_as_the_models(segmenter):
    image = replace(volume(), modality="OT", provenance=Provenance((Source("file", "a.nii"),)))
    assert segmenter(image)[0].provenance.steps


def test_wrong_number_of_images_and_a_graph_that_does_not_fit(segmenter):
    with pytest.raises(Refused, match="1 image"):
        segmenter(volume(), volume())
    three = (*graphs.CARD.classes, *graphs.CARD.classes)
    net = Network(graphs.packed(graphs.segmenter(), classes=three), threads=1)
    with pytest.raises(Refused, match="do not belong together"):
        net(volume())


@pytest.mark.parametrize(
    ("shape", "tile", "overlap"), [((9, 20, 17), (4, 8, 8), 0.5), ((4, 8, 8), (4, 8, 8), 0.5),
                                   ((1, 33, 21), (1, 16, 16), 0.25)]
)  # fmt: skip
def test_tiles_blend_to_what_the_whole_gives(shape, tile, overlap):
    data = np.random.default_rng(2).random((2, *shape)).astype(np.float32)
    found = tiles.bands(data, lambda t: 3 * t[:1] + t[1:], tile=tile, overlap=overlap, classes=1)
    got = [(z, band.copy()) for z, band in found]
    assert [z for z, _ in got] == list(np.cumsum([0, *[b.shape[1] for _, b in got]])[:-1])
    whole = np.concatenate([b for _, b in got], axis=1)
    assert np.allclose(whole, 3 * data[:1] + data[1:], atol=1e-5)


def test_bands_hold_no_more_than_a_tile_of_slices():
    data = np.zeros((1, 200, 32, 32), np.float32)
    classes, depth = 8, 8
    tracemalloc.start()
    for _ in tiles.bands(data, lambda t: np.zeros((classes, *t.shape[1:]), np.float32),
                         tile=(depth, 32, 32), overlap=0.5, classes=classes):  # fmt: skip
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    band = classes * depth * 32 * 32 * 4
    assert peak < 3 * band < classes * data.nbytes / 8


def test_orientation_keeps_every_voxel_in_its_place():
    image = volume((5, 6, 7))
    affine = image.grid.affine[:, [1, 2, 0, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * 5
    affine[:3, 0] *= -1
    turned = Image(image.data.transpose(1, 2, 0)[::-1], Grid((6, 7, 5), affine), "MR")
    back = oriented(turned)
    assert back.grid.allclose(oriented(image).grid)
    assert np.array_equal(back.data, oriented(image).data)


def test_scaling_and_sizes():
    grid = Grid.from_spacing((1, 6, 8), (1, 1, 1))
    flat = Image(np.arange(48, dtype=np.uint8).reshape(1, 6, 8), grid)
    made = placed(flat, Preparation(size=(1, 4, 4)))
    assert made.shape == (1, 4, 4)
    assert made.grid.spacing[1:] == (2.0, 2.0)
    assert placed(flat, Preparation(longest=4)).shape == (1, 3, 4)
    z = scaled(flat.data, Preparation(scaling="zscore"))
    assert abs(float(z.mean())) < 1e-6
    assert abs(float(z.std()) - 1) < 1e-6
    for scaling in ("none", "range", "zscore", "percentile"):
        for kind in (np.uint8, np.float32, np.float64):
            how = Preparation(scaling=scaling)
            assert scaled(flat.data.astype(kind), how).dtype == np.float32
    r = scaled(flat.data, Preparation(scaling="range", low=10, high=20))
    assert (float(r.min()), float(r.max())) == (0.0, 1.0)
    wide = padded(flat, (1, 8, 12), edge=True)
    assert np.array_equal(wide.data[0, 1:7, 2:10], flat.data[0])
    assert np.allclose(wide.grid.to_world((0, 1, 2)), flat.grid.origin)


def test_engines_agree():
    pytest.importorskip("openvino")
    image = volume()
    packed = graphs.packed(graphs.segmenter())
    a, b = (Network(packed, kind=k, threads=1)(image)[0] for k in ("onnxruntime", "openvino"))
    assert (a.data == b.data).mean() > 0.999


def test_operations_take_a_model_by_name(tmp_path):
    path = tmp_path / "m"
    package.write(graphs.packed(graphs.segmenter()), path)
    check_operation("models.segment", params={"model": str(path)}, inputs=(volume(),))
    flat = Image(np.arange(64, dtype=np.float32).reshape(1, 8, 8) / 64,
                 Grid.from_spacing((1, 8, 8), (1, 1, 1)), "DX")  # fmt: skip
    two = (graphs.CARD.classes[0], graphs.CARD.classes[0].named("other"))
    how = Preparation(size=(1, 8, 8), scaling="none")
    card = replace(graphs.CARD, name="classify.mean", task="classify", dimensions=2, patch=(),
                   modalities=("DX",), classes=two, preparation=how)  # fmt: skip
    package.write(graphs.packed(graphs.classifier(), card), tmp_path / "c.zip")
    check_operation("models.classify", params={"model": str(tmp_path / "c.zip")}, inputs=(flat,))
    label = operations.classify(flat, model=str(tmp_path / "c.zip"))
    mean = float(flat.data.mean())
    assert label.probabilities["other"] == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-6)
    with pytest.raises(ParameterError, match="not to segment"):
        operations.segment(volume(), model=str(tmp_path / "c.zip"))


def test_running_a_model_imports_no_pytorch(tmp_path):
    package.write(graphs.packed(graphs.segmenter()), tmp_path / "m")
    np.savez(tmp_path / "x.npz", images=volume((4, 8, 8)).data[None])
    code = (
        "import sys; from somascope.models import load; from somascope.models.inputs import inputs;"
        "from somascope.models.predict import predict;"
        "d = predict(load(sys.argv[1]), inputs([sys.argv[2]]), sys.argv[3]);"
        "assert d.files and 'torch' not in sys.modules, sorted(sys.modules)"
    )
    args = [str(tmp_path / n) for n in ("m", "x.npz", "out")]
    subprocess.run([sys.executable, "-c", code, *args], check=True, timeout=120)
    assert (tmp_path / "out" / "0.nii.gz").is_file()


def test_no_series_names_a_file_outside_its_folder(tmp_path):
    grid = Grid.from_spacing((2, 8, 8), (3, 1, 1))
    files = instances(Image(np.arange(128, dtype=np.int16).reshape(2, 8, 8), grid, "CT"))
    uid = str(pydicom.dcmread(io.BytesIO(files[0])).SeriesInstanceUID).encode()
    evil = b"../../" + b"1" * (len(uid) - 6)
    for wanted, found in ((["0", "1"], evil), ([uid.decode()], uid)):
        for n, data in enumerate(files):
            (tmp_path / f"{n}.dcm").write_bytes(data.replace(uid, found))
        assert [i.name for i in inputs([str(tmp_path)])] == wanted
    (tmp_path / "1.dcm").unlink()  # a file alone lends its own name
    assert [i.name for i in inputs([str(tmp_path)])] == ["0"]
