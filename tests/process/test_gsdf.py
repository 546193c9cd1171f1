"""The standard display function against PS3.14's table and against DCMTK."""

import shutil
import subprocess

import numpy as np
import pytest

from somascope.core import Grid, Image
from somascope.core.errors import ParameterError
from somascope.process.gsdf import gsdf, jnd_index, luminance, p_value_luminance


# PS3.14 annex B: j and L(j) in cd/m2.
@pytest.mark.parametrize(
    ("index", "published"),
    [(1, 0.0500), (2, 0.0547), (3, 0.0594), (4, 0.0643), (512, 130.0653), (1023, 3993.4040)],
)
def test_luminance_is_the_standards(index, published):
    assert float(luminance(index)) == pytest.approx(published, rel=3e-3 if index < 5 else 2e-5)


def test_two_values_of_another_implementation():
    """colour-science's documentation of its ``eotf_DICOMGSDF`` and the inverse of it."""
    assert float(luminance(512)) == pytest.approx(130.0652840, abs=1e-6)
    assert float(jnd_index(130.065284012159790)) == pytest.approx(511.9964806, abs=1e-6)


def test_the_standards_inverse_inverts():
    j = np.arange(1, 1024)
    np.testing.assert_allclose(jnd_index(luminance(j)), j, atol=0.1)
    assert (np.diff(luminance(j)) > 0).all()


@pytest.mark.dcmtk
@pytest.mark.skipif(shutil.which("dcmdspfn") is None, reason="DCMTK is not installed")
def test_a_calibrated_display_is_dcmtks(tmp_path):
    out = tmp_path / "curve.txt"
    subprocess.run(
        ["dcmdspfn", "+Il", "0.8", "400", "+Cd", "256", "+Og", str(out)],
        check=True, capture_output=True,
    )  # fmt: skip
    rows = [line.split() for line in out.read_text().splitlines()]
    curve = np.array([float(r[1]) for r in rows if len(r) == 2 and r[0].isdigit()])
    assert curve.size == 256
    ours = p_value_luminance(np.arange(256), bits=8, minimum=0.8, maximum=400.0)
    np.testing.assert_allclose(ours, curve, rtol=2e-3)


def test_equal_steps_are_equal_numbers_of_just_noticeable_differences():
    shown = p_value_luminance(np.arange(0, 4096, 273), bits=12, minimum=0.5, maximum=350.0)
    steps = np.diff(jnd_index(shown))
    np.testing.assert_allclose(steps, steps.mean(), rtol=2e-3)


def test_an_image_on_a_display():
    grid = Grid.from_spacing((1, 1, 256), (1, 1, 1))
    facts = {"WindowCenter": 128.0, "WindowWidth": 256.0}
    ramp = Image(np.arange(256, dtype=np.uint8).reshape(1, 1, 256), grid, "DX", attributes=facts)
    shown = gsdf(ramp, minimum=0.8, maximum=400.0, ambient=0.2)
    assert shown.unit == "cd/m2"
    assert shown.data[0, 0, [0, -1]] == pytest.approx([1.0, 400.2], rel=3e-3)
    driven = gsdf(ramp, minimum=0.8, maximum=400.0, ambient=0.2, output="driving_level", gamma=2.2)
    assert driven.data.dtype == np.uint8
    assert (np.diff(driven.data[0, 0].astype(int)) >= 0).all()
    emitted = 0.8 + (driven.data[0, 0] / 255.0) ** 2.2 * (400 - 0.8) + 0.2
    np.testing.assert_allclose(emitted[30:], shown.data[0, 0, 30:], rtol=0.04)
    inverse = Image(ramp.data[..., ::-1], grid, "DX",
                    attributes={**facts, "PhotometricInterpretation": "MONOCHROME1"})  # fmt: skip
    np.testing.assert_allclose(gsdf(inverse).data, gsdf(ramp).data, rtol=1e-6)


def test_outside_the_function_is_refused():
    with pytest.raises(ParameterError, match="1 to 1023"):
        luminance(0.5)
    with pytest.raises(ParameterError, match="cd/m2"):
        jnd_index(1e5)
    with pytest.raises(ParameterError, match="darker"):
        p_value_luminance(0, bits=8, minimum=100.0, maximum=50.0)
