import numpy as np
import pytest

from somascope.core import Axis, Grid, Image, Mask, Segment, Step
from somascope.core.errors import GeometryError, NotFound

GRID = Grid.from_spacing((3, 4, 5), (2.0, 1.0, 0.5), origin=(1, 2, 3))


def series():
    data = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    return Image(
        data, GRID, "MR", axes=(Axis("t", (0.0, 1.5), "s"),), attributes={"PatientID": "P"}
    )


def test_it_cannot_be_changed():
    data = np.zeros(GRID.shape)
    image = Image(data, GRID, attributes={"PatientID": "P"})
    with pytest.raises(ValueError, match="read-only"):
        image.data[0, 0, 0] = 1
    data[0, 0, 0] = 5  # the owner may; the view costs no copy
    with pytest.raises(TypeError):
        image.attributes["PatientID"] = "Q"


@pytest.mark.parametrize("ask", [lambda i: i[0], iter, np.asarray, list])
def test_the_ambiguous_is_refused_with_its_remedy(ask):
    with pytest.raises(GeometryError, match=r"image\.(data|at)"):
        ask(series())


def test_one_entry_of_an_axis():
    image = series()
    one = image.at(t=1)
    np.testing.assert_array_equal(one.data, image.data[1])
    assert one.axes == ()
    assert one.axis_names == ("z", "y", "x")
    assert image.axis_names == ("t", "z", "y", "x")
    with pytest.raises(NotFound, match="no axis 'echo'"):
        image.at(echo=0)
    for bad in (-1, 2):
        with pytest.raises(GeometryError, match=r"outside 0\.\.1"):
            image.at(t=bad)


def test_a_crop_stays_where_it_was():
    image = series()
    cut = image.crop(start=(1, 0, 1), stop=(3, 4, 5), step=(1, 2, 2))
    np.testing.assert_array_equal(cut.data, image.data[:, 1:3, 0:4:2, 1:5:2])
    for index in np.ndindex(*cut.grid.shape):
        source = np.asarray((1, 0, 1)) + np.asarray(index) * (1, 2, 2)
        np.testing.assert_allclose(cut.grid.to_world(index), GRID.to_world(source))
    for start, stop in [((0, 0, 0), (4, 4, 5)), ((2, 0, 0), (2, 4, 5)), ((-1, 0, 0), (1, 1, 1))]:
        with pytest.raises(GeometryError, match="leaves the grid"):
            image.crop(start=start, stop=stop)


def test_other_values_at_the_same_place():
    image = series()
    step = Step("x.y", {"a": 1})
    other = image.with_data(image.data * 2.0, step=step, unit="s")
    assert (other.unit, other.grid, other.axes) == ("s", image.grid, image.axes)
    assert other.provenance.steps == (step,)
    assert image.provenance.steps == ()
    assert other.attributes["PatientID"] == "P"
    assert "MR 2x3x4x5 (t z y x)" in repr(image)


@pytest.mark.parametrize(
    ("data", "axes", "words"),
    [
        (np.zeros((3, 4, 6)), (), "last three axes"),
        (np.zeros((2, 3, 4, 5)), (), "name each one"),
        (np.zeros((3, 4, 5)), (Axis("t"),), "name each one"),
        (np.zeros((2, 3, 4, 5)), (Axis("t", (1.0, 2.0, 3.0)),), "3 values for 2"),
        (np.full((3, 4, 5), "a"), (), "give numbers"),
        (np.empty((3, 4, 5), object), (), "give numbers"),
    ],
)
def test_refusals(data, axes, words):
    with pytest.raises(GeometryError, match=words):
        Image(data, GRID, axes=axes)


def test_masks():
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1] = 7
    mask = Mask(data=labels, grid=GRID, segments=(Segment(7, "a"),))
    assert mask.plane(7).sum() == 20
    assert not mask.fractional
    planes = np.zeros((2, *GRID.shape), np.float32)
    planes[1] = 0.25
    soft = Mask(data=planes, grid=GRID, segments=(Segment(3, "a"), Segment(9, "b")))
    assert soft.fractional
    assert soft.plane(9).mean() == 0.25
    for data, segments, words in [
        (np.zeros((2, 2, 2), np.uint8), (), "for a grid of"),
        (planes, (Segment(1, "a"),), "2 planes for 1"),
        (planes.astype(np.int16), (Segment(1, "a"), Segment(2, "b")), "bool or float32"),
        (labels.astype(np.int32), (), "uint8 or uint16"),
    ]:
        with pytest.raises(GeometryError, match=words):
            Mask(data=data, grid=GRID, segments=segments)
