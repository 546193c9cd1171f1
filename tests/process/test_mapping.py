import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError, UnitError
from somascope.process.mapping import voi, window
from somascope.process.windows import CT_WINDOWS, automatic


def image(data, **more):
    data = np.asarray(data)
    return Image(data, Grid.from_spacing(data.shape[-3:], (1, 1, 1)), **more)


@pytest.mark.parametrize("function", ["linear", "linear_exact", "sigmoid"])
@pytest.mark.parametrize(("centre", "width"), [(40.0, 400.0), (-600.0, 1500.0), (0.0, 2.0)])
def test_equals_pydicom(function, centre, width):
    values = np.arange(-1024, 3072, dtype=np.int16).reshape(1, 64, 64)
    ds = Dataset()
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = centre, width, function.upper()
    ds.PhotometricInterpretation, ds.BitsStored, ds.PixelRepresentation = "MONOCHROME2", 16, 1
    # pydicom maps to the range of the stored bits
    with np.errstate(over="ignore"):
        truth = (apply_windowing(values.astype(np.float64), ds) + 32768.0) / 65535.0
    np.testing.assert_allclose(
        voi(values, centre, width, function=function), truth, atol=2e-6, rtol=0
    )


def test_the_worked_example_of_the_standard():
    # PS3.3 C.11.2.1.2.1: c=2048, w=4096 becomes: x <= 0 black, x > 4095 white, else x/4095
    x = np.asarray([-1.0, 0.0, 1.0, 2047.5, 4094.0, 4095.0, 4096.0])
    got = voi(x, 2048.0, 4096.0)
    np.testing.assert_allclose(got, np.clip(x / 4095.0, 0, 1), atol=1e-7)
    # c=2048, w=1: x <= 2047.5 is 0, else 1
    np.testing.assert_array_equal(voi(np.asarray([2047.0, 2047.5, 2048.0]), 2048, 1), [0, 0, 1])


def test_table_and_formula_agree_on_all_sixteen_bits():
    for dtype in (np.int16, np.uint16):
        info = np.iinfo(dtype)
        every = np.tile(np.arange(info.min, info.max + 1, dtype=dtype), 2).reshape(2, 256, 256)
        got = window(image(every), centre=1000.0, width=777.0, output="byte").data
        truth = np.rint(voi(every, 1000.0, 777.0) * np.float32(255)).astype(np.uint8)
        np.testing.assert_array_equal(got, truth)
        assert got.dtype == np.uint8
        assert (got.min(), got.max()) == (0, 255)


def test_unit_and_window_attributes_follow():
    out = window(image(np.zeros((1, 4, 4)), unit="[hnsf'U]", modality="CT"), preset="lung")
    assert out.unit == "1"
    assert out.data.dtype == np.float32
    assert (out.attributes["WindowCenter"], out.attributes["WindowWidth"]) == (0.5, 1.0)
    c, w = CT_WINDOWS["lung"]
    np.testing.assert_allclose(out.data, (0 - c + 0.5) / (w - 1) + 0.5, rtol=1e-6)


def test_automatic_takes_the_header_then_the_percentiles():
    ramp = np.linspace(0, 1000, 10_000).reshape(1, 100, 100)
    assert automatic(
        image(ramp, attributes={"WindowCenter": [40, 50], "WindowWidth": [80, 90]})
    ) == (40.0, 80.0)
    for function in ("linear", "linear_exact"):
        c, w = automatic(image(ramp), function=function)
        np.testing.assert_allclose(
            voi(np.asarray([5.0, 995.0]), c, w, function=function), [0, 1], atol=2e-4
        )
    flat = window(image(np.full((1, 2, 2), 7.0)))
    assert np.isfinite(flat.data).all()


def test_nan_is_black_and_leading_axes_stay():
    data = np.full((2, 3, 1, 4, 4), 10.0, np.float32)
    data[0, 0, 0, 0, 0] = np.nan
    axes = (Axis("t"), Axis("echo"))
    out = window(image(data, axes=axes), centre=10.0, width=10.0, function="linear_exact")
    assert out.shape == data.shape
    assert out.axes == axes
    assert out.data[0, 0, 0, 0, 0] == 0
    assert out.data[1, 2, 0, 3, 3] == 0.5


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"centre": 1.0}, ParameterError, "both"),
        ({"centre": 1.0, "width": 0.5}, ParameterError, "linear_exact"),
        ({"centre": 1.0, "width": 0.0, "function": "sigmoid"}, ParameterError, "above 0"),
        ({"preset": "lung"}, UnitError, "Hounsfield"),
        ({"preset": "knee"}, ParameterError, "choose one of"),
    ],
)
def test_refusals(params, error, words):
    with pytest.raises(error, match=words):
        window(image(np.zeros((1, 4, 4))), **params)


def test_colour_is_refused():
    rgb = image(np.zeros((3, 1, 4, 4), np.uint8), axes=(Axis("channel"),))
    with pytest.raises(ParameterError, match="colour"):
        window(rgb, centre=1.0, width=2.0)
