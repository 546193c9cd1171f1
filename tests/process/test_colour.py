from typing import get_args

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.colour import Name, coloured, fuse, pseudo_colour
from somascope.process.palettes import PALETTES, palette
from somascope.testing import check_operation


def image(data, spacing=(1, 1, 1), unit="Bq/ml", origin=(0, 0, 0)):
    grid = Grid.from_spacing(data.shape[-3:], spacing, origin=origin)
    return Image(data, grid, "PT", unit)


def test_every_palette_can_be_chosen():
    assert set(get_args(Name)) == set(PALETTES)


def test_ends_middle_and_missing():
    values = np.array([-5.0, 0.0, 50.0, 100.0, 1e9, np.nan, np.inf], np.float32)
    found = coloured(values, "hot_iron", 0, 100).T
    table = palette("hot_iron").table(4097)
    assert found[0].tolist() == found[1].tolist() == table[0].tolist()
    assert np.abs(found[2].astype(int) - table[2048]).max() <= 1
    assert found[3].tolist() == found[4].tolist() == found[6].tolist() == [255, 255, 255]
    assert found[5].tolist() == [0, 0, 0]
    with pytest.raises(ParameterError, match="below upper"):
        coloured(values, "grey", 3, 3)


def test_slices_have_one_colour_each():
    found = coloured(np.linspace(0, 1, 1000, dtype=np.float32), "ember", 0, 1, slices=5)
    assert len(np.unique(found, axis=1).T) == 5


def test_operation_tells_its_legend_in_the_unit():
    check_operation(pseudo_colour)
    data = np.linspace(0, 200, 60, dtype=np.float32).reshape(2, 1, 5, 6)
    given = Image(data, Grid.from_spacing((1, 5, 6), (1, 1, 1)), "PT", "Bq/ml",
                  (Axis("t", (0, 1), "s"),))  # fmt: skip
    found = pseudo_colour(given, colours="pet", lower=0, upper=100)
    assert found.shape == (2, 3, 1, 5, 6)
    assert found.axis_names == ("t", "channel", "z", "y", "x")
    assert found.attributes["SeriesDescription"] == "PET 0..100 Bq/ml"
    with pytest.raises(ParameterError, match="already"):
        pseudo_colour(found)


@pytest.mark.parametrize(
    ("colours", "slices", "most"), [("pet", 0, 4096), ("grey", 0, 256), ("hot_iron", 7, 8)]
)
def test_palette_color_is_the_same_picture_in_numbers_that_grow(colours, slices, most, tmp_path):
    from pydicom import dcmread

    from somascope.io import read, write

    data = np.linspace(0, 200, 3000, dtype=np.float32).reshape(1, 50, 60)
    data[0, 0, 0] = np.nan
    given = Image(data, Grid.from_spacing((1, 50, 60), (1, 1, 1)), "CT", "[hnsf'U]")
    settings = {"colours": colours, "lower": 10.0, "upper": 150.0, "slices": slices}
    found = pseudo_colour(given, stored="palette", **settings)
    assert np.array_equal(found.data, pseudo_colour(given, **settings).data)
    write(found, tmp_path / "out")
    (file,) = (tmp_path / "out").iterdir()
    one = dcmread(file)
    assert one.PhotometricInterpretation == "PALETTE COLOR"
    assert 2 <= one.RedPaletteColorLookupTableDescriptor[0] <= most
    numbers = one.pixel_array.reshape(-1)[1:].astype(int)
    if colours != "pet":  # where one colour may come back
        assert (np.diff(numbers) >= 0).all()
    back = read(tmp_path / "out")
    assert np.array_equal(back.data, found.data)


def test_fusion_shows_the_overlay_where_it_is():
    base = np.full((2, 8, 8), 100, np.int16)
    base[:, :, 0] = 0
    hot = np.zeros((2, 4, 4), np.float32)
    hot[:, 1, 2] = 10
    over = image(hot, spacing=(1, 2, 2), origin=(0.5, 0.5, 0))
    check_operation(fuse)
    found = fuse(image(base, unit="1"), over, lower=0, upper=10, threshold=6.0, opacity=1.0).data
    assert found.shape == (3, 2, 8, 8)
    assert found[:, 0, 2:4, 4:6].min() > 0
    away = found[:, 0, 6, 6]
    assert away[0] == away[1] == away[2]
    with pytest.raises(GeometryError, match="one volume"):
        fuse(Image(np.zeros((2, 1, 4, 4)), Grid.from_spacing((1, 4, 4), (1, 1, 1)), "PT", "1",
                   (Axis("t"),)), over)  # fmt: skip
