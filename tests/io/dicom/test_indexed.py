"""Palette Color out: numbers and a table that give every colour back, as pydicom reads them too."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut

from somascope.core import Axis, Grid, Image
from somascope.io.dicom import lut, validate, write
from somascope.io.dicom.indexed import indexed
from somascope.io.dicom.series import volumes


def palette_of(image, table):
    return replace(image, attributes=lut.colours_of(table))


def painted(colours, shape=(3, 5, 7), leading=(), seed=0):
    rng = np.random.default_rng(seed)
    table = rng.permutation(1 << 12)[:colours]
    table = np.stack([table >> 8 << 4, (table >> 4 & 15) << 4, (table & 15) << 4], -1)
    table = (table + 3).astype(np.uint8)
    data = np.moveaxis(table[rng.integers(0, colours, (*leading, *shape))], -1, -4)
    axes = (*(Axis("t", (0.0, 1.0), "s") for _ in leading), Axis("channel"))
    grid = Grid.from_spacing(shape, (2, 1, 1))
    return Image(np.ascontiguousarray(data), grid, "OT", axes=axes), table


@pytest.mark.parametrize(("colours", "bits"), [(2, 8), (201, 8), (256, 8), (257, 16), (3001, 16)])
def test_every_colour_comes_back(colours, bits):
    image, table = painted(colours, leading=(2,))
    files = write.instances(palette_of(image, table))
    for file in (files[0], files[-1]):
        assert not validate.check(file)
    datasets = [pydicom.dcmread(io.BytesIO(f)) for f in files]
    one = datasets[0]
    assert one.PhotometricInterpretation == "PALETTE COLOR"
    assert (one.SamplesPerPixel, one.BitsAllocated) == (1, bits)
    entries = colours + (bits == 8 and colours % 2)
    assert list(one.RedPaletteColorLookupTableDescriptor) == [entries, 0, bits]
    assert "PlanarConfiguration" not in one
    theirs = np.stack([apply_color_lut(d.pixel_array, d) for d in datasets])
    ours = np.moveaxis(image.data, 1, -1).reshape(theirs.shape)
    assert np.array_equal(theirs, ours.astype(theirs.dtype) * (1 if bits == 8 else 257))
    (back,), problems = volumes(files)
    assert not problems
    assert back.axis_names == image.axis_names
    assert np.array_equal(back.data, image.data)


def test_numbers_are_places_in_the_table():
    table = np.array([[0, 0, 0], [9, 8, 7], [255, 0, 1], [9, 8, 7]], np.uint8)
    data = np.moveaxis(table[[[[2, 1, 0, 3]]]], -1, 0)
    image = Image(data, Grid.from_spacing((1, 1, 4), (1, 1, 1)), axes=(Axis("channel"),))
    stored = indexed(image, table)
    assert stored is not None
    assert stored.values.tolist() == [[[2, 1, 0, 1]]]
    assert indexed(image, table[:2]) is None
    assert indexed(image, None) is None
    assert indexed(image.with_data(data.astype(np.uint16)), table) is None


def test_a_colour_that_is_not_in_the_palette_makes_it_rgb():
    image, table = painted(20)
    data = image.data.copy()
    data[:, 0, 0, 0] = 1
    files = write.instances(palette_of(image.with_data(data), table))
    one = pydicom.dcmread(io.BytesIO(files[0]))
    assert one.PhotometricInterpretation == "RGB"
    assert np.array_equal(one.pixel_array, np.moveaxis(data[:, 0], 0, -1))


def test_palettes_of_equal_numbers_are_different_instances():
    image, table = painted(9)
    other = 255 - table
    made = [
        write.instances(palette_of(i, t))[0]
        for i, t in ((image, table), (image.with_data(255 - image.data), other))
    ]
    uids = {pydicom.dcmread(io.BytesIO(m)).SOPInstanceUID for m in made}
    assert len(uids) == 2


def test_the_rules_want_the_tables():
    image, table = painted(9)
    file = write.instances(palette_of(image, table))[0]
    dataset = pydicom.dcmread(io.BytesIO(file))
    del dataset.GreenPaletteColorLookupTableData
    out = io.BytesIO()
    dataset.save_as(out)
    assert any("GreenPalette" in line for line in validate.check(out.getvalue()))
