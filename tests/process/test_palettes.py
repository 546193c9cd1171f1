import numpy as np
import pytest
from pydicom.pixels.processing import apply_color_lut

from somascope.core.errors import NotFound
from somascope.process.palettes import PALETTES, as_seen, from_oklab, look, palette, to_oklab


@pytest.mark.parametrize("name", [n for n, p in PALETTES.items() if p.uid])
def test_well_known_palettes_are_the_standards(name):
    ours = palette(name).table().astype(int)
    theirs = apply_color_lut(np.arange(256, dtype=np.uint8), palette=palette(name).uid).astype(int)
    assert np.abs(ours - theirs).max() <= (0 if palette(name).stepped else 3)
    assert np.abs(ours - theirs).mean() < 0.6


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
