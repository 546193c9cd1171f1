"""What nobody should feed: every operation of the room answers it in words.

A defined result (of the promised shape, missing values no wider than they came) or an error of the
house that names the operation or the thing; never a bare NumPy error, never a warning.
"""

import inspect

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import SomascopeError
from somascope.core.registry import get_operation, operation_names

SETTINGS = {
    "modality_lut": {"slope": 2.0}, "voi_lut": {"table": (0.0, 100.0, 255.0)},
    "nyul": {"landmarks": tuple(float(v) for v in range(11))},
    "transfer": {"values": (0.0, 1.0), "colours": (0.0, 0, 0, 255, 255, 255)},
    "pad": {"before": (1.0, 1.0, 1.0)}, "reorient": {"axes": "RAS"},
    "curved_reslice": {"points": (0.0, 0, 0, 0, 0, 3.0)}, "combat": {"sites": (0.0,)},
    "coherence": {"iterations": 2},
    "resample": {"spacing": (1.5,)}, "resample_mask": {"spacing": (1.5,)},
}  # fmt: skip
"""What an operation asks for, or what keeps it short."""
SIDES = {"coherence": "volume", "clahe": "volume"}
"""Operations that go slice by slice unless told otherwise."""
MOVED = ("pad", "crop", "flip", "reorient", "reslice", "curved_reslice", "resample")
NAMES = [n.removeprefix("process.") for n in operation_names() if n.startswith("process.")]


def nouns(name):
    """What an operation is given: the annotations of its positional parameters."""
    found = get_operation(f"process.{name}").function
    every = inspect.signature(found).parameters.values()
    single = [p for p in every if p.kind == p.POSITIONAL_OR_KEYWORD]
    several = [p for p in every if p.kind == p.VAR_POSITIONAL]
    return [str(p.annotation) for p in single], [str(p.annotation) for p in several]


ALONE = [n for n in NAMES if nouns(n)[0] in (["Image"], [])]
PAIRS = [n for n in NAMES if nouns(n)[0] == ["Image", "Image"]]
MASKED = [n for n in NAMES if "Mask" in nouns(n)[1] or nouns(n)[0] == ["Image", "Mask"]]
MASKS = [n for n in NAMES if nouns(n)[0] == ["Mask"]]


def test_no_operation_is_left_out():
    assert len(NAMES) > 75
    assert set(ALONE) | set(PAIRS) | set(MASKED) | set(MASKS) == set(NAMES)


def made(kind: str) -> Image:
    r = np.random.default_rng(0)
    shape, axes = (3, 6, 8), ()
    if kind == "one voxel":
        shape = (1, 1, 1)
    elif kind == "one row":
        shape = (1, 1, 9)
    elif kind == "four dimensions":
        axes = (Axis("t", (0.0, 1.0), "s"),)
    elif kind == "colour":
        axes = (Axis("channel"),)
    leading = {"four dimensions": [2], "colour": [3]}.get(kind, [])
    data = r.normal(50, 10, (*leading, *shape)).astype(np.float32)
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
    elif kind in ("colour", "integers"):
        data = data.astype(np.uint8 if kind == "colour" else np.int16)
    grid = Grid.from_spacing(shape, (1, 1, 1), frame_of_reference="1.2.3")
    return Image(data, grid, "CT", "[hnsf'U]", axes)


def cover(kind: str, grid: Grid) -> Mask:
    data = np.zeros(grid.shape, np.uint8)
    many = {"empty": 0, "one voxel": 1, "some": data.size // 2, "full": data.size}
    data.reshape(-1)[: many[kind]] = 1
    return Mask(data=data, segments=(Segment(1, "x"),), grid=grid)


KINDS = ("constant", "missing", "all missing", "infinite", "one voxel", "one row", "integers",
         "four dimensions", "colour", "complex")  # fmt: skip
COVERS = ("empty", "one voxel", "some", "full")


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


def judged(results, given, name):
    """Results have the shape their grid promises, and no missing value that did not come."""
    for one in results or []:
        if not isinstance(one, Image):
            continue
        assert one.data.shape[-3:] == one.grid.shape
        alike = one.data.shape == given.data.shape and name not in MOVED
        if alike and one.data.dtype.kind == given.data.dtype.kind == "f":
            assert not np.isnan(one.data[np.isfinite(given.data)]).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALONE)
def test_one_image(name, kind):
    given = made(kind)
    operation = get_operation(f"process.{name}")
    settings = SETTINGS.get(name, {})
    judged(answered(lambda: operation(given, **settings)), given, name)
    if name in SIDES:
        deep = {**settings, "dimensions": SIDES[name]}
        judged(answered(lambda: operation(given, **deep)), given, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PAIRS)
def test_two_images(name, kind):
    operation = get_operation(f"process.{name}")
    given, good = made(kind), made("plain")
    for one, two in ((given, given), (good, given), (given, good)):
        results = answered(lambda one=one, two=two: operation(one, two))
        if one.data.shape == two.data.shape and two.data.dtype.kind == "f":
            one = one.with_data(np.where(np.isfinite(two.data), one.data, np.nan))  # noqa: PLW2901
        judged(results, one, name)


@pytest.mark.parametrize("kind", ["plain", *KINDS])
@pytest.mark.parametrize("name", MASKED)
def test_images_with_masks(name, kind):
    operation = get_operation(f"process.{name}")
    given = made(kind)
    several = (given,) * nouns(name)[0].count("Image")
    for covered in COVERS:
        mask = cover(covered, given.grid)
        answered(lambda mask=mask: operation(*several, mask, **SETTINGS.get(name, {})))


@pytest.mark.parametrize("covered", COVERS)
@pytest.mark.parametrize("kind", ["plain", "one voxel", "one row"])
@pytest.mark.parametrize("name", MASKS)
def test_masks_alone(name, kind, covered):
    mask = cover(covered, made(kind).grid)
    operation = get_operation(f"process.{name}")
    for one in answered(lambda: operation(mask, **SETTINGS.get(name, {}))) or []:
        assert one.data.shape[-3:] == one.grid.shape


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
