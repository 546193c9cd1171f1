from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from somascope.core import Axis, Grid, Image, Provenance, Source, Step
from somascope.core.errors import UnsupportedFormat, WriteError
from somascope.io.dicom import pm, provenance, validate, write

SHAPE = (4, 5, 6)
GRID = Grid.from_spacing(SHAPE, (3.0, 1.0, 2.0), origin=(-5.0, 6.0, 7.25))
RECORD = Provenance((Source("dicom", "1.2.3", ("1.2.3.1", "1.2.3.2")),)).then(
    Step("process.adc", {"order": 1}, ("1.2.3",), "0.1")
)


def image(dtype, axes=()):
    rng = np.random.default_rng(4)
    data = (rng.normal(size=(*(3,) * len(axes), *SHAPE)) * 1000).astype(dtype)
    return Image(data, GRID, "MR", "mm2/s", axes=axes, provenance=RECORD)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", "i4"])
def test_values_are_exact(dtype):
    wanted = image(dtype)
    (file,) = pm.instances(wanted)
    assert validate.check(file) == []
    back = pm.read(file)
    assert np.array_equal(back.data, wanted.data)
    assert back.grid.allclose(GRID, tolerance_mm=1e-9)
    assert (back.unit, back.modality) == ("mm2/s", "MR")
    assert provenance.read(file) == RECORD
    raw = dcmread(BytesIO(file))
    assert ("DoubleFloatPixelData" in raw) == (dtype == "f8")


def test_values_that_are_not_finite_are_kept():
    wanted = image("f4")
    data = wanted.data.copy()
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    (file,) = pm.instances(wanted.with_data(data))
    assert np.array_equal(pm.read(file).data, data, equal_nan=True)


def test_time_comes_back():
    wanted = image("f4", (Axis("t", (0.0, 1.0, 2.5), "s"),))
    back = pm.read(pm.instances(wanted)[0])
    assert back.axes == wanted.axes
    assert np.array_equal(back.data, wanted.data)


def test_highdicom_reads_the_same_values_at_the_same_places():
    wanted = image("f4")
    other = hd.imread(BytesIO(pm.instances(wanted)[0]))
    volume = other.get_volume(apply_real_world_transform=True)
    for index in np.ndindex(*SHAPE):
        point = volume.affine[:3, :3] @ index + volume.affine[:3, 3]
        z, y, x = np.rint(GRID.to_index(point)).astype(int)
        assert np.abs(GRID.to_world((z, y, x)) - point).max() < 1e-6
        assert volume.array[index] == wanted.data[z, y, x]
    unit = other.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert unit.MeasurementUnitsCodeSequence[0].CodeValue == "mm2/s"


def test_wide_integers_need_double():
    data = np.zeros(SHAPE, np.int64)
    data[0, 0, 0] = 2**40 + 1
    (file,) = pm.instances(Image(data, GRID))
    assert dcmread(BytesIO(file)).BitsAllocated == 64
    data[0, 0, 0] = 2**60 + 1
    with pytest.raises(WriteError, match="2\\*\\*53"):
        pm.instances(Image(data, GRID))


def test_refusals():
    with pytest.raises(WriteError, match="magnitude"):
        pm.instances(Image(np.zeros(SHAPE, complex), GRID))
    other = write.instances(Image(np.zeros(SHAPE, np.int16), GRID, "CT"))[0]
    with pytest.raises(UnsupportedFormat, match="parametric map"):
        pm.read(other)
