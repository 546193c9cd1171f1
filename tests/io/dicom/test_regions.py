"""Where the pixels of an ultrasound picture lie: films there and back, regions of other makers."""

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from somascope.core import Axis, Grid, Image
from somascope.io.dicom.series import volumes
from somascope.io.dicom.validate import check
from somascope.io.dicom.write import instances

UPRIGHT = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
OBLIQUE = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]


def film(direction, *, times=(0.0, 0.04, 0.08), origin=(-5.7, 8.25, 12.0)):
    grid = Grid.from_spacing((1, 12, 16), (1.0, 0.15, 0.3), origin=origin, direction=direction)
    data = np.random.default_rng(1).integers(0, 256, (3, 1, 12, 16)).astype(np.uint8)
    return Image(data, grid, "US", axes=(Axis("t", times, "s"),))


@pytest.mark.parametrize("direction", [UPRIGHT, OBLIQUE], ids=["upright", "oblique"])
@pytest.mark.parametrize("times", [(0.0, 0.04, 0.08), (0.0, 0.04, 0.2)], ids=["even", "uneven"])
def test_a_film_comes_back_where_it_was(direction, times):
    image = film(direction, times=times)
    (part,) = instances(image)
    assert check(part) == []
    assert dcmread(BytesIO(part)).SOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"
    (back,), problems = volumes([part])
    assert problems == []
    np.testing.assert_array_equal(back.data, image.data)
    assert back.axes[0].values == pytest.approx(times)
    corners = [(0, 0, 0), (0, 11, 0), (0, 0, 15)]
    np.testing.assert_allclose(back.grid.to_world(corners), image.grid.to_world(corners), atol=1e-6)


def as_others_write(**region):
    """A film without Image Plane attributes, its region as scanners fill it in."""
    (part,) = instances(film(UPRIGHT, origin=(0.0, 0.0, 0.0)))
    ds = dcmread(BytesIO(part))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if keyword in ds:
            del ds[keyword]
    for keyword, value in region.items():
        if value is None:
            del ds.SequenceOfUltrasoundRegions[0][keyword]
        else:
            setattr(ds.SequenceOfUltrasoundRegions[0], keyword, value)
    out = BytesIO()
    ds.save_as(out)
    (back,), _ = volumes([out.getvalue()])
    return back.grid


def test_the_reference_pixel_is_the_face_of_the_probe():
    """The probe stands over column 8 of a region that begins at column 2 and row 1."""
    grid = as_others_write(
        RegionLocationMinX0=2, RegionLocationMinY0=1, ReferencePixelX0=6, ReferencePixelY0=3,
        PhysicalDeltaX=0.02, PhysicalDeltaY=0.05, ReferencePixelPhysicalValueX=0.0,
        ReferencePixelPhysicalValueY=0.0,
    )  # fmt: skip
    assert grid.spacing[1:] == pytest.approx((0.5, 0.2))
    assert grid.to_world((0, 4, 8))[:2] == pytest.approx([0, 0])


def test_physical_values_shift_it_and_silence_leaves_it():
    told = {"ReferencePixelX0": 0, "ReferencePixelY0": 0, "ReferencePixelPhysicalValueX": -1.5}
    deeper = as_others_write(**told, ReferencePixelPhysicalValueY=2.0)
    assert deeper.origin[:2] == pytest.approx((-15.0, 20.0))
    silent = as_others_write(**dict.fromkeys(told), ReferencePixelPhysicalValueY=None)
    assert silent.origin == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("across", ["PhysicalDeltaX", "PhysicalDeltaY"])
def test_a_region_counted_against_the_pixels_gives_no_place(across):
    """Its axis runs the other way than the picture's: sizes are taken, the place is not."""
    grid = as_others_write(
        PhysicalDeltaX=0.02, PhysicalDeltaY=0.05, ReferencePixelX0=6, ReferencePixelY0=3,
        ReferencePixelPhysicalValueX=7.978,
    )  # fmt: skip
    assert grid.origin != (0.0, 0.0, 0.0)
    negative = {"PhysicalDeltaX": 0.02, "PhysicalDeltaY": 0.05}
    negative[across] *= -1
    against = as_others_write(
        **negative, ReferencePixelX0=6, ReferencePixelY0=3, ReferencePixelPhysicalValueX=7.978
    )
    assert against.origin == (0.0, 0.0, 0.0)
    assert against.spacing[1:] == pytest.approx((0.5, 0.2))
