"""What nobody should feed: every operation of mapping, colour and geometry answers it in words.

A defined result (of the promised shape, missing values no wider than they came) or an error of the
house that names the operation or the thing; never a bare NumPy error, never a warning.
"""

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import SomascopeError
from somascope.core.registry import get_operation

IMAGES = {
    "window": {}, "modality_lut": {"slope": 2.0}, "voi_lut": {"table": (0.0, 100.0, 255.0)},
    "p_values": {}, "gsdf": {}, "zscore": {}, "white_stripe": {}, "nyul_standard": {},
    "nyul": {"landmarks": tuple(float(v) for v in range(11))}, "dsc_perfusion": {},
    "ct_perfusion": {}, "tofts": {}, "dsa": {}, "pseudo_colour": {}, "legend": {},
    "transfer": {"values": (0.0, 1.0), "colours": (0.0, 0, 0, 255, 255, 255)}, "merge": {},
    "presentation_state": {}, "colour_map": {}, "statistics": {}, "crop": {},
    "pad": {"before": (1.0, 1.0, 1.0)}, "flip": {}, "reorient": {"axes": "RAS"}, "reslice": {},
    "curved_reslice": {"points": (0.0, 0, 0, 0, 0, 3.0)}, "colour_blind": {},
    "combat": {"sites": (0.0,)},
}  # fmt: skip
PAIRS = ("subtract", "divide", "compare", "mutual_information", "fuse")
POINTWISE = ("window", "modality_lut", "zscore", "nyul", "colour_map", "flip", "reorient")


def made(kind: str) -> Image:
    r = np.random.default_rng(0)
    shape, axes = (3, 6, 8), ()
    if kind == "one voxel":
        shape = (1, 1, 1)
    elif kind == "one row":
        shape = (1, 1, 9)
    elif kind == "four dimensions":
        axes = (Axis("t", (0.0, 1.0), "s"),)
    data = r.normal(50, 10, (*([2] if axes else []), *shape)).astype(np.float32)
    if kind == "constant":
        data[:] = 7.0
    elif kind == "missing":
        data[..., 1, 2, 3] = np.nan
    elif kind == "all missing":
        data[:] = np.nan
    elif kind == "infinite":
        data[..., 1, 2, 3], data[..., 0, 0, 0] = np.inf, -np.inf
    elif kind == "complex":
        data = data.astype(np.complex64)
    grid = Grid.from_spacing(shape, (1, 1, 1), frame_of_reference="1.2.3")
    return Image(data, grid, "CT", "[hnsf'U]", axes)


KINDS = ("constant", "missing", "all missing", "infinite", "one voxel", "one row",
         "four dimensions", "complex")  # fmt: skip


def answered(run):
    """The results, or None where it said why not."""
    said, found = "", None
    try:
        found = run()
    except SomascopeError as error:
        said = str(error)
    if found is None:
        assert len(said) > 20, "an error that says nothing"
        return None
    return list(found) if isinstance(found, (list, tuple)) else [found]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(IMAGES))
def test_one_image(name, kind):
    given = made(kind)
    operation = get_operation(f"process.{name}")
    results = answered(lambda: operation(given, **IMAGES[name]))
    for one in results or []:
        if isinstance(one, Image):
            assert one.data.shape[-3:] == one.grid.shape
            if name in POINTWISE and given.data.dtype.kind == "f":
                assert np.isnan(one.data).sum() <= np.isnan(given.data).sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PAIRS)
def test_two_images(name, kind):
    operation = get_operation(f"process.{name}")
    given, good = made(kind), made("plain")
    answered(lambda: operation(given, given))
    answered(lambda: operation(good, given))
    answered(lambda: operation(given, good))


@pytest.mark.parametrize("name", ["zscore", "white_stripe", "statistics", "crop", "compare"])
def test_masks_on_another_grid_are_refused(name):
    image = made("plain")
    mask = Mask(data=np.ones((2, 2, 2), np.uint8), segments=(Segment(1, "x"),),
                grid=Grid.from_spacing((2, 2, 2), (1, 1, 1)))  # fmt: skip
    operation = get_operation(f"process.{name}")
    inputs = (image, image, mask) if name == "compare" else (image, mask)
    params = {"mode": "mask"} if name == "crop" else {}
    with pytest.raises(SomascopeError, match="grid"):
        operation(*inputs, **params)
