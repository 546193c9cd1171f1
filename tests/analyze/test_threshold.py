import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from somascope.analyze.threshold import classes_, threshold
from somascope.core import Axis, Grid, Image, Provenance, Source
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.components import fill_holes, label


def image(data, spacing=(2.0, 0.5, 0.5), **more):
    data = np.asarray(data)
    return Image(data, Grid.from_spacing(data.shape[-3:], spacing), **more)


def boxes():
    """Boxes of 100, 100, 60, 40 and 1 voxels, the first with a hole of 2; 0.5 mm3 per voxel."""
    data = np.zeros((10, 30, 30), np.int16)
    data[1:5, 1:6, 1:6] = 100
    data[2:4, 3, 3] = 0
    data[6:8, 10:20, 10:15] = 120
    data[6:8, 22:28, 22:27] = 140
    data[1:3, 22:27, 2:6] = 160
    data[9, 29, 0] = 200
    return image(data)


def test_volumes_are_exact():
    got = threshold(boxes(), lower=100.0)
    assert got.data.sum() == 98 + 100 + 60 + 40 + 1
    assert got.data.sum() * got.grid.voxel_volume == 149.5
    assert threshold(boxes(), lower=110.0, upper=140.0).data.sum() == 160
    assert threshold(boxes(), lower=100.0, fill_holes=True).data.sum() == 301


def test_small_components_go_and_the_largest_stay():
    assert threshold(boxes(), lower=1.0, minimum_volume=0.5).data.sum() == 299
    assert threshold(boxes(), lower=1.0, minimum_volume=0.51).data.sum() == 298
    assert threshold(boxes(), lower=1.0, minimum_volume=30.0).data.sum() == 258
    assert threshold(boxes(), lower=1.0, keep=1).data.sum() == 100
    assert threshold(boxes(), lower=1.0, keep=2).data.sum() == 198
    assert threshold(boxes(), lower=1.0, keep=1, minimum_volume=1e6).data.sum() == 0


def test_each_component_its_segment():
    mask = threshold(boxes(), lower=1.0, separate=True, label="Lesion")
    assert [s.number for s in mask.segments] == [1, 2, 3, 4, 5]
    assert [int((mask.data == n).sum()) for n in range(1, 6)] == [100, 98, 60, 40, 1]
    assert mask.segments[2].label == "Lesion 3"
    assert mask.data.dtype == np.uint8
    assert "1..inf" in mask.segments[0].algorithm
    none = threshold(boxes(), lower=1e6, separate=True)
    assert none.data.sum() == 0
    assert len(none.segments) == 1


def test_more_than_255_components_need_more_bits():
    data = np.zeros((1, 40, 60), np.uint8)
    data[0, ::2, ::2] = 1
    mask = threshold(image(data), lower=1.0, separate=True)
    assert len(mask.segments) == 600
    assert mask.data.dtype == np.uint16
    assert mask.data.max() == 600


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_labels_equal_scipys_and_come_by_size(connectivity):
    mask = np.random.default_rng(1).random((6, 20, 20)) < 0.2
    labels, counts = label(mask, connectivity=connectivity)
    rank = {6: 1, 18: 2, 26: 3}[connectivity]
    _, n = ndimage.label(mask, ndimage.generate_binary_structure(3, rank))
    assert len(counts) == n
    assert (np.diff(counts) <= 0).all()
    np.testing.assert_array_equal(np.bincount(labels.ravel())[1:], counts)
    np.testing.assert_array_equal(labels > 0, mask)


def test_connectivity_joins_across_corners_only_where_asked():
    data = np.zeros((3, 3, 3), np.uint8)
    data[0, 0, 0] = data[1, 1, 1] = data[1, 1, 2] = 1
    assert threshold(image(data), lower=1.0, keep=1, connectivity=26).data.sum() == 3
    assert threshold(image(data), lower=1.0, keep=1, connectivity=18).data.sum() == 2


def test_filling_equals_scipy_in_space_and_in_a_slice():
    mask = ndimage.binary_dilation(np.random.default_rng(2).random((8, 24, 24)) < 0.1)
    truth = ndimage.binary_fill_holes(mask)
    np.testing.assert_array_equal(fill_holes(mask), truth)
    ring = np.zeros((1, 9, 9), bool)
    ring[0, 2:7, 2:7] = True
    ring[0, 4, 4] = False
    assert fill_holes(ring).sum() == 25


def test_otsu_equals_scikit_image():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0, 1, 4000), rng.normal(8, 2, 2500)])
    cut = threshold_otsu(values)
    data = np.array(values[:6400].reshape(1, 80, 80))
    mask = threshold(image(data), method="otsu")
    np.testing.assert_array_equal(mask.data > 0, data > cut)
    assert "otsu" in mask.segments[0].algorithm


def test_missing_values_are_outside():
    data = np.full((1, 4, 4), 5.0)
    data[0, 0, 0] = np.nan
    data[0, 0, 1] = np.inf
    for limits in ({"lower": 1.0}, {"upper": 9.0}, {"lower": 1.0, "upper": 9.0}):
        assert threshold(image(data), **limits).data.sum() == 14


def test_the_mask_knows_where_it_comes_from():
    source = Source("dicom", "1.2.3", ("1.2.3.1", "1.2.3.2"))
    data = np.ones((2, 4, 4), np.int16)
    facts = {"PatientID": "P1", "StudyInstanceUID": "1.2"}
    mask = threshold(
        image(data, provenance=Provenance((source,)), attributes=facts), lower=0.5, label="Bone"
    )
    assert mask.on == ("1.2.3.1", "1.2.3.2")
    assert mask.provenance.steps[-1].inputs == ("1.2.3",)
    assert mask.attributes["PatientID"] == "P1"
    assert mask.grid == image(data).grid


def test_leading_axes():
    one = image(np.ones((1, 2, 3, 3)), axes=(Axis("t"),))
    assert threshold(one, lower=0.5).data.shape == (2, 3, 3)
    two = image(np.ones((2, 2, 3, 3)), axes=(Axis("t"),))
    with pytest.raises(GeometryError, match=r"image.at\(t=0\)"):
        threshold(two, lower=0.5)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "give lower, upper"),
        ({"lower": 2.0, "upper": 1.0}, "above upper"),
        ({"method": "otsu", "lower": 1.0}, "leave them out"),
        ({"method": "otsu"}, "constant"),
        ({"lower": 1.0, "connectivity": 8}, "choose one of"),
        ({"lower": 1.0, "minimum_volume": -1.0}, "mm3"),
    ],
)
def test_refusals(params, words):
    with pytest.raises(ParameterError, match=words):
        threshold(image(np.ones((1, 3, 3))), **params)


def test_classes_are_numbered_from_the_second_lowest():
    data = np.repeat(np.array([0, 10, 20, 40], np.float32), 6).reshape(1, 4, 6)
    data[0, 0, 0] = np.nan
    mask = classes_(image(data), classes=4)
    assert mask.data[0, :, 1].tolist() == [0, 1, 2, 3]
    assert mask.data[0, 0, 0] == 0
    assert [s.label for s in mask.segments] == ["Class 2", "Class 3", "Class 4"]
