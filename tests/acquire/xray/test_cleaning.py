"""Grid lines, scatter and blades: planted, and taken away or found."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.xray.collimation import collimation
from somascope.acquire.xray.fields import Field, find_field
from somascope.acquire.xray.gridlines import find_lines, gridlines
from somascope.acquire.xray.present import present
from somascope.acquire.xray.radiograph import radiograph
from somascope.acquire.xray.scatter import ratio_from_blades, scatter, separated
from somascope.acquire.xray.scattering import Scatter
from somascope.acquire.xray.simulate import simulate
from somascope.core import Grid, Image
from somascope.core.errors import ParameterError
from tests.acquire.xray.conftest import SMALL

QUIET = {**SMALL, "noise": False, "blur": 0.0, "defects": 0.0, "gain_variation": 0.0}


@pytest.fixture(scope="module")
def clean(chest):
    return radiograph(simulate(chest, seed=1, **QUIET))


def amplitude(plane, frequency):
    """Of a sinusoid of that frequency along the rows, mean over the rows."""
    x = np.arange(plane.shape[1])
    window = np.hanning(len(x))
    carrier = window * np.exp(-2j * np.pi * frequency * x)
    return float(np.abs(plane @ carrier).mean() * 2 / window.sum())


@pytest.mark.parametrize("lines", [0.17, 1.55])
def test_grid_lines_are_gone_and_the_image_is_not(chest, clean, lines):
    with_lines = radiograph(simulate(chest, seed=1, grid_lines=lines, grid_contrast=0.06, **QUIET))
    folded = abs(lines * 2.2 - round(lines * 2.2))
    assert find_lines(with_lines.data[0].astype(float)) == pytest.approx(folded, abs=0.002)
    planted = with_lines.data[0] - clean.data[0]
    left = gridlines(with_lines).data[0] - clean.data[0]
    inner = np.s_[10:-10, 10:-10]
    assert amplitude(planted[inner], folded) == pytest.approx(0.06, rel=0.05)
    assert amplitude(left[inner], folded) < 0.03 * amplitude(planted[inner], folded)
    assert np.sqrt((left[inner] ** 2).mean()) < 0.1 * np.sqrt((planted[inner] ** 2).mean())


def test_an_image_without_lines_stays(clean, raw):
    np.testing.assert_array_equal(gridlines(clean).data, clean.data)
    noisy = radiograph(raw)
    np.testing.assert_array_equal(gridlines(noisy).data, noisy.data)


def test_lines_along_rows_and_in_counts_go_too():
    rng = np.random.default_rng(0)
    y = np.arange(128)[:, None]
    signal = 5000.0 * (1 + 0.05 * np.cos(2 * np.pi * 0.31 * y)) * np.ones((128, 160))
    counts = rng.poisson(signal).astype(np.float32)
    image = Image(counts[None], Grid.from_spacing((1, 128, 160), (1, 0.2, 0.2)), "DX", "{counts}")
    out = gridlines(image)
    assert out.unit == "{counts}"
    assert amplitude(out.data[0].T / 5000, 0.31) < 0.1 * amplitude(counts.T / 5000, 0.31)
    assert out.data.mean() == pytest.approx(counts.mean(), rel=1e-3)


def test_planted_scatter_is_taken_away(chest, clean):
    veiled = radiograph(simulate(chest, seed=1, scatter=0.3, **QUIET))
    planted = np.abs(veiled.data - clean.data)
    left = np.abs(scatter(veiled, ratio=0.3).data - clean.data)
    assert planted.mean() > 0.4
    assert left.mean() < 0.03 * planted.mean()
    # A kernel of the wrong width still takes most of it.
    other = np.abs(scatter(veiled, ratio=0.3, width=110.0).data - clean.data)
    assert other.mean() < 0.25 * planted.mean()
    half = scatter(veiled, ratio=0.3, keep=0.5).data
    assert (half <= scatter(veiled, ratio=0.3).data + 1e-5).all()


def test_scatter_is_measured_behind_the_blades(chest):
    veiled = radiograph(
        simulate(chest, seed=2, scatter=0.4, blades=(50.0, 60.0, 60.0, 55.0), **SMALL)
    )
    total = np.exp(-veiled.data[0].astype(float))
    assert ratio_from_blades(total, width=150.0, pitch=(2.2, 2.2)) == pytest.approx(0.4, rel=0.2)
    out = scatter(veiled, ratio=None)
    assert np.isfinite(out.data).all()
    with pytest.raises(ParameterError, match="no collimator blade"):
        scatter(radiograph(simulate(chest, seed=2, **SMALL)), ratio=None)


def test_primary_and_scatter_add_up():
    rng = np.random.default_rng(1)
    primary = np.exp(-3 * rng.random((60, 70)))
    model = Scatter(0.5, 40.0)
    total = primary + model.of(primary, np.ones_like(primary), (2.0, 2.0))
    p, s = separated(total, model, pitch=(2.0, 2.0), iterations=30)
    np.testing.assert_allclose(p, primary, rtol=0.01)
    np.testing.assert_allclose(p + s, total, rtol=1e-9)


def test_scatter_keeps_its_energy_and_needs_matter():
    model = Scatter(0.2, 30.0)
    primary = np.full((120, 120), np.exp(-1.0))
    inner = model.of(primary, np.ones_like(primary), (1.0, 1.0))[55:65, 55:65]
    np.testing.assert_allclose(inner, 0.2 * np.exp(-1.0), rtol=2e-3)
    assert model.of(np.ones((40, 40)), np.ones((40, 40)), (1.0, 1.0)).max() == 0


@pytest.mark.parametrize(
    "blades",
    [
        (50.0, 40.0, 45.0, 60.0),
        (30.0, 0.0, 70.0, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 99.0, 0.0, 33.0),
    ],
)
@pytest.mark.parametrize("veil", [0.0, 0.3])
def test_blades_are_found_within_a_pixel(chest, blades, veil):
    image = radiograph(simulate(chest, seed=3, scatter=veil, blades=blades, **SMALL))
    top, bottom, left, right = blades
    found = find_field(image.data[0])
    truth = Field(top / 2.2, 192 - bottom / 2.2, left / 2.2, 192 - right / 2.2)
    for side in ("top", "bottom", "left", "right"):
        assert getattr(found, side) == pytest.approx(getattr(truth, side), abs=1.0), side
    mask = collimation(image)
    assert mask.data.shape == image.data.shape
    wanted = truth.mask((192, 192))
    assert (mask.data[0].astype(bool) ^ wanted).sum() <= 2 * (192 + 192)
    assert mask.attributes["CollimatorShape"] == "RECTANGULAR"
    assert mask.attributes["CollimatorLeftVerticalEdge"] == pytest.approx(left / 2.2, abs=1.0)


def test_images_whose_dense_parts_are_low_are_cleaned_alike(chest):
    """Pixel Intensity Relationship Sign 1, or MONOCHROME1 without it."""
    image = radiograph(simulate(chest, seed=2, scatter=0.2, grid_lines=0.17, **QUIET))
    facts = {k: v for k, v in image.attributes.items() if "Relationship" not in k}
    for more in (
        {"PixelIntensityRelationshipSign": 1},
        {"PhotometricInterpretation": "MONOCHROME1"},
    ):
        low = replace(image, data=-image.data, attributes={**facts, **more})
        for function in (gridlines, scatter):
            np.testing.assert_allclose(function(low).data, -function(image).data, atol=1e-5)
        np.testing.assert_allclose(
            present(low).data.astype(int), present(image).data.astype(int), atol=1
        )


def test_cleaning_refuses_what_is_no_radiograph():
    volume = Image(np.zeros((3, 32, 32)), Grid.from_spacing((3, 32, 32), (1, 1, 1)), "DX")
    hole = Image(np.full((1, 32, 32), np.nan), Grid.from_spacing((1, 32, 32), (1, 1, 1)), "DX")
    for function in (gridlines, scatter, collimation):
        with pytest.raises(ParameterError, match="one radiograph"):
            function(volume)
        with pytest.raises(ParameterError, match="NaN"):
            function(hole)
