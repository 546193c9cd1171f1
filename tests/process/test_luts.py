"""Tables and windows of DICOM against pydicom, and what happens at their ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_presentation_lut, apply_voi

from somascope.core import Axis, Grid, Image
from somascope.core.errors import NotFound, ParameterError, UnitError
from somascope.process.gsdf import gsdf
from somascope.process.luts import look_up, modality_lut, p_values, presentation, voi_lut
from somascope.process.mapping import voi, window
from somascope.process.windows import PRESETS, automatic, chosen, presets_for
from somascope.testing import check_operation

R = np.random.default_rng(5)


def image(data, **more):
    data = np.asarray(data)
    return Image(data, Grid.from_spacing(data.shape[-3:], (1, 1, 1)), **more)


def lut(values, first, bits, word):
    item = Dataset()
    item.add_new(0x00283002, "US" if first >= 0 else "SS", [len(values), first, bits])
    item.add_new(0x00283006, "US", [int(v) for v in values])
    ds = Dataset()
    setattr(ds, word, [item])
    ds.BitsStored, ds.BitsAllocated, ds.PixelRepresentation = 16, 16, int(first < 0)
    return ds


@pytest.mark.parametrize("first", [0, 37])
def test_modality_and_voi_tables_are_pydicoms(first):
    values = np.arange(0, 400, dtype=np.uint16).reshape(1, 20, 20)
    table = R.integers(0, 4096, 256)
    ds = lut(table, first, 16, "ModalityLUTSequence")
    np.testing.assert_array_equal(
        modality_lut(image(values), table=tuple(map(float, table)), first=float(first)).data,
        apply_modality_lut(values, ds),
    )
    ds = lut(table, first, 16, "VOILUTSequence")
    got = voi_lut(image(values), table=tuple(map(float, table)), first=float(first), bits=16)
    np.testing.assert_allclose(got.data, apply_voi(values, ds) / 65535, atol=1e-7)


def test_rescale_is_pydicoms():
    values = R.integers(-500, 500, (2, 8, 8)).astype(np.int16)
    ds = Dataset()
    ds.RescaleSlope, ds.RescaleIntercept = 2.5, -1024
    got = modality_lut(image(values), slope=2.5, intercept=-1024.0, unit="[hnsf'U]")
    np.testing.assert_allclose(got.data, apply_modality_lut(values, ds))
    assert got.unit == "[hnsf'U]"


def test_presentation_shapes_and_table_are_pydicoms():
    shown = np.linspace(0, 1, 256)
    ds = Dataset()
    ds.PresentationLUTShape = "INVERSE"
    stored = np.rint(shown * 255).astype(np.uint8)
    np.testing.assert_allclose(
        presentation(shown, shape="inverse") * 255, apply_presentation_lut(stored, ds), atol=1e-6
    )
    table = np.sort(R.integers(0, 1024, 256))
    item = Dataset()
    item.add_new(0x00283002, "US", [256, 0, 10])
    item.add_new(0x00283006, "US", [int(v) for v in table])
    ds = Dataset()
    ds.PresentationLUTSequence = [item]
    np.testing.assert_allclose(
        presentation(shown, table=table / 1023) * 1023, apply_presentation_lut(stored, ds),
        atol=1e-3,
    )  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(
    centre=st.floats(-1e4, 1e4), width=st.floats(1.0, 1e5),
    function=st.sampled_from(["linear", "linear_exact", "sigmoid"]),
)  # fmt: skip
def test_windows_never_fall_and_stay_inside(centre, width, function):
    x = np.sort(R.uniform(-2e4, 2e4, 500))
    y = voi(x, centre, width, function=function)
    assert (np.diff(y) >= 0).all()
    assert y.min() >= 0
    assert y.max() <= 1
    # negating values and centre turns the curve upside down (linear has its half grey off centre)
    if function != "linear":
        np.testing.assert_allclose(voi(-x, -centre, width, function=function), 1 - y, atol=2e-6)


def test_window_is_simpleitks():
    sitk = pytest.importorskip("SimpleITK")
    data = R.normal(40, 300, (3, 9, 7)).astype(np.float32)
    theirs = sitk.IntensityWindowing(sitk.GetImageFromArray(data), -160, 240, 0, 1)
    ours = window(image(data), centre=40.0, width=400.0, function="linear_exact").data
    np.testing.assert_allclose(ours, sitk.GetArrayFromImage(theirs), atol=1e-6)


def test_ends_between_and_missing():
    table = (5.0, 6.0, 9.0)
    x = np.array([-np.inf, -9, 0.4, 0.6, 1.4, 2, 7, np.inf, np.nan])
    assert look_up(x, table)[:-1].tolist() == [5, 5, 5, 6, 6, 9, 9, 9]
    assert np.isnan(look_up(x, table)[-1])
    with pytest.raises(ParameterError, match="0 entries"):
        look_up(x, ())
    with pytest.raises(ParameterError, match="finite"):
        look_up(x, (0.0, np.nan))


def test_p_values_reach_the_display():
    ramp = image(np.arange(-100, 156, dtype=np.int16).reshape(1, 16, 16), unit="[hnsf'U]")
    up = p_values(ramp, centre=28.0, width=256.0, bits=12)
    assert (up.data.dtype, up.data.min(), up.data.max()) == (np.uint16, 0, 4095)
    down = p_values(ramp, centre=28.0, width=256.0, bits=12, shape="inverse")
    np.testing.assert_array_equal(up.data.astype(int) + down.data, 4095)
    light = gsdf(up, minimum=1.0, maximum=300.0, ambient=0.0)
    assert light.data.ravel()[[0, -1]] == pytest.approx([1.0, 300.0], rel=3e-3)


@pytest.mark.parametrize(
    ("name", "params"),
    [("modality_lut", {"slope": 2.0}), ("voi_lut", {"table": [0.0, 128.0, 255.0]}),
     ("p_values", {"preset": "lung"}), ("gsdf", {}), ("window", {"preset": "full"})],
)  # fmt: skip
def test_operations_keep_their_contract(name, params):
    check_operation(f"process.{name}", params=params)


def test_presets_fit_their_unit():
    suv = image(np.linspace(0, 30, 64).reshape(1, 8, 8), modality="PT", unit="g/ml")
    assert chosen(suv, "suv_10") == (5.0, 10.0)
    assert {p.name for p in presets_for("PT", "g/ml")} == {"suv_5", "suv_10", "suv_20"}
    adc = image(np.linspace(0, 3e-3, 64).reshape(1, 8, 8), modality="MR", unit="mm2/s")
    np.testing.assert_allclose(
        window(adc, preset="adc").data.ravel(), np.linspace(0, 1, 64), atol=1e-4
    )
    with pytest.raises(UnitError, match="g/ml"):
        window(adc, preset="suv_5")
    with pytest.raises(NotFound, match="there are auto"):
        chosen(adc, "knee")
    assert all(p.width > 0 for p in PRESETS.values())


def test_automatic_windows_by_modality():
    body = np.concatenate([np.full(5000, -1000.0), R.normal(40, 20, 5000)])
    c, w = automatic(image(body.reshape(1, 100, 100), modality="CT", unit="[hnsf'U]"))
    assert c - w / 2 > -50
    assert c + w / 2 < 150
    pet = np.concatenate([np.zeros(9000), R.exponential(3, 1000)]).reshape(1, 100, 100)
    c, w = automatic(image(pet, modality="PT", unit="g/ml"), function="linear_exact")
    assert c - w / 2 == 0
    burnt = R.uniform(1000, 2000, 10_000)
    burnt[:2000], burnt[2000:3000] = 0, 4095
    c, w = automatic(image(burnt.reshape(1, 100, 100), modality="DX"), function="linear_exact")
    assert c - w / 2 == pytest.approx(1010, abs=10)
    assert c + w / 2 == pytest.approx(1990, abs=10)
    echo = image(np.zeros((1, 4, 4), np.uint8), modality="US")
    assert automatic(echo, function="linear_exact") == (127.5, 255.0)


@pytest.mark.parametrize("width", [0.0, -5.0, np.nan])
def test_windows_of_no_width_in_a_header_are_no_windows(width):
    given = image(np.arange(16.0).reshape(1, 4, 4),
                  attributes={"WindowCenter": 5.0, "WindowWidth": width})  # fmt: skip
    _, w = automatic(given, function="linear_exact")
    assert w > 10


@pytest.mark.parametrize("value", [0.0, -7.0, np.nan, np.inf])
def test_constant_and_empty_images_have_a_window(value):
    for kind in ("OT", "CT", "MR", "PT", "DX"):
        flat = image(np.full((1, 4, 4), value), modality=kind, unit="[hnsf'U]")
        for name in ("auto", "full"):
            c, w = chosen(flat, name)
            assert np.isfinite(c)
            assert w >= 1
        assert np.isfinite(window(flat).data).all()


@pytest.mark.parametrize("name", ["modality_lut", "p_values", "gsdf"])
def test_colour_and_complex_are_refused(name):
    from somascope.core.registry import get_operation

    rgb = image(np.zeros((3, 1, 4, 4), np.uint8), axes=(Axis("channel"),))
    with pytest.raises(ParameterError, match="colour"):
        get_operation(f"process.{name}")(rgb)
    with pytest.raises(ParameterError, match="complex"):
        get_operation(f"process.{name}")(image(np.zeros((1, 4, 4), np.complex64)))


def test_refusals():
    flat = image(np.zeros((1, 4, 4)))
    with pytest.raises(ParameterError, match="one or the other"):
        modality_lut(flat, slope=2.0, table=(1.0,))
    with pytest.raises(ParameterError, match="no image"):
        modality_lut(flat, slope=0.0)
    with pytest.raises(ParameterError, match="say bits"):
        voi_lut(flat, table=(0.0, 300.0))
    with pytest.raises(ParameterError, match="both"):
        p_values(flat, centre=3.0)
    with pytest.raises(ParameterError, match="shares"):
        p_values(flat, table=(0.0, 2.0))
    with pytest.raises(ParameterError, match="missing"):
        gsdf(image(np.full((1, 4, 4), np.nan)))
