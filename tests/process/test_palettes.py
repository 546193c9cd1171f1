import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.pixels.processing import apply_color_lut

from somascope.core import Grid, Image
from somascope.core.errors import NotFound, ParameterError
from somascope.process.appearance import as_seen, colour_blind, look
from somascope.process.colour import pseudo_colour
from somascope.process.oklab import from_oklab, to_oklab
from somascope.process.palettes import PALETTES, as_json, palette
from somascope.testing import check_operation


@pytest.mark.parametrize("name", [n for n, p in PALETTES.items() if p.uid])
def test_well_known_palettes_are_the_standards(name):
    ours = palette(name).table().astype(int)
    theirs = apply_color_lut(np.arange(256, dtype=np.uint8), palette=palette(name).uid).astype(int)
    np.testing.assert_array_equal(ours, theirs)


def test_all_eight_of_the_standard_are_there():
    known = {p.uid for p in PALETTES.values() if p.uid}
    assert known == {f"1.2.840.10008.1.5.{n}" for n in range(1, 9)}


def test_the_viewer_has_this_table():
    """``python viewer/build_palettes.py`` makes it again."""
    script = Path(__file__).parents[2] / "viewer" / "build_palettes.py"
    spec = importlib.util.spec_from_file_location("build_palettes", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text(encoding="utf-8") == module.typescript()
    assert json.loads(json.dumps(as_json()))[0]["points"] == [[0.0, 0, 0, 0], [1.0, 255, 255, 255]]


def test_which_palettes_keep_their_order_for_everybody():
    safe = {n for n in PALETTES if look(n).monotone and all(look(n).in_order.values())}
    assert {"grey", "ember", "lagoon", "bone", "viridis", "magma", "hot_iron"} <= safe
    assert not safe & {"rainbow", "pet", "nih", "cardiac", "hot_metal_blue", "winter"}
    assert palette("rainbow").warning
    assert not palette("ember").warning


def test_colour_blind_images():
    image = pseudo_colour(
        Image(np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8),
              Grid.from_spacing((1, 8, 8), (1, 1, 1))), colours="rainbow", lower=0, upper=1,
    )  # fmt: skip
    seen = colour_blind(image, deficiency="protan")
    pixels = np.moveaxis(image.data, 0, -1).reshape(-1, 3)
    np.testing.assert_array_equal(
        np.moveaxis(seen.data, 0, -1).reshape(-1, 3), as_seen(pixels, "protan")
    )
    check_operation(colour_blind, inputs=(image,))
    with pytest.raises(ParameterError, match="RGB image of bytes"):
        colour_blind(image.at(channel=0))


def test_as_seen_leaves_grey_and_is_machados():
    """Red, green and blue at full severity, from the matrices of the paper in linear light."""
    seen = as_seen(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8), "deutan")
    linear = np.clip([[0.367322, 0.280085, -0.01182], [0.860646, 0.672501, 0.04294],
                      [-0.227968, 0.047413, 0.968881]], 0, 1)  # fmt: skip
    truth = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(seen, 255 * truth, atol=0.51)


def test_oklab_there_and_back():
    rgb = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    assert np.abs(from_oklab(to_oklab(rgb)).astype(int) - rgb).max() <= 1
    assert np.allclose(to_oklab(np.array([255, 255, 255])), (1, 0, 0), atol=1e-3)


@pytest.mark.parametrize("name", ["grey", "ember", "lagoon"])
def test_sequential_palettes_are_even_and_survive(name):
    found = look(name)
    assert found.monotone
    assert found.evenness > (0.2 if name == "grey" else 0.7)
    assert min(found.told_apart.values()) > 0.1


def test_the_rainbow_misleads():
    found = look("rainbow")
    assert not found.monotone
    assert found.evenness < 0.5


def test_diverging_palette_is_even_on_both_sides():
    light = to_oklab(palette("tide").table())[:, 0]
    assert np.argmax(light) == pytest.approx(127.5, abs=16)
    assert np.abs(light - light[::-1]).max() < 0.05
    ends = as_seen(palette("tide").table()[[0, 255]], "deutan").astype(int)
    assert np.abs(ends[0] - ends[1]).max() > 60


def test_the_colour_blind_see_no_red_in_green():
    seen = as_seen(np.array([[255, 0, 0], [0, 130, 0]], np.uint8), "deutan")
    gap = np.linalg.norm(np.diff(to_oklab(seen)[:, 1:], axis=0))
    assert gap < 0.4 * np.linalg.norm(np.diff(to_oklab([[255, 0, 0], [0, 130, 0]])[:, 1:], axis=0))
    grey = np.array([[90, 90, 90]], np.uint8)
    assert np.abs(as_seen(grey, "tritan").astype(int) - 90).max() <= 1


def test_tables_of_any_size_and_unknown_names():
    assert palette("hot_iron").table(4096).shape == (4096, 3)
    with pytest.raises(NotFound, match="there are grey"):
        palette("mauve")
