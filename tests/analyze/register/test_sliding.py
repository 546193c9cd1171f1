"""A core that slides along its shell, and a pair that is far apart."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.analyze.register import points, register
from somascope.analyze.register.evidence import home
from somascope.analyze.register.sliding import register_sliding
from somascope.core import Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError
from somascope.testing import check_operation
from tests.analyze.register.pairs import pair

SLIDE = 9.0
"""mm by which the core has moved along the axis of the shell."""


@pytest.fixture(scope="module")
def slid():
    """A textured cylinder of radius 30 mm that slides in a textured body; its mask."""
    shape = (44, 40, 40)
    grid = Grid.from_spacing(shape, (3.0, 3.0, 3.0))
    rng = np.random.default_rng(2)
    core, shell = (gaussian_filter(rng.standard_normal((72, 40, 40)), 1.6) for _ in range(2))
    y, x = np.meshgrid(*[3.0 * (np.arange(40) - 19.5)] * 2, indexing="ij")
    inside = np.broadcast_to(y**2 + x**2 < 30.0**2, shape)
    still = 1.0 + 0.3 * (shell / shell.std())[10:54]
    body = 2.5 + 0.3 * core / core.std()
    step = round(SLIDE / 3)
    body_then, body_now = body[10:54], body[10 - step : 54 - step]
    fixed = np.where(inside, body_then, still).astype(np.float32)
    moving = np.where(inside, body_now, still).astype(np.float32)
    mask = Mask(data=inside.astype(np.uint8), grid=grid, segments=(Segment(1, "core"),))
    return Image(fixed, grid, "CT"), Image(moving, grid, "CT"), mask


def missed(warp, slid):
    """mm by which places within 8 mm of the sliding border are missed, inside and outside."""
    fixed, _, mask = slid
    inside = mask.data > 0
    near = gaussian_filter(inside.astype(float), (0, 1.5, 1.5))
    near = (near > 0.06) & (near < 0.94)
    near[:7] = near[-7:] = False
    out = []
    for region, shift in ((inside & near, SLIDE), (~inside & near, 0.0)):
        x = fixed.grid.to_world(np.argwhere(region))
        away = points(warp, x) - x - np.array([0.0, 0.0, shift])
        out.append(float(np.linalg.norm(away, axis=1).mean()))
    return out


def test_what_slides_is_not_dragged_along(slid):
    fixed, moving, mask = slid
    smooth = register(fixed, moving, "lung")
    glued = register_sliding(fixed, moving, mask, "lung")
    assert max(missed(glued, slid)) < 0.7  # voxels of 3 mm
    assert max(missed(glued, slid)) < 0.5 * max(missed(smooth, slid))
    assert glued.verdict.trusted, glued.verdict.words
    assert "2 parts that slide" in glued.verdict.notes[-1]
    x = fixed.grid.to_world(np.argwhere(mask.data > 0)[::97])
    x = x[(x[:, 2] > 25) & (x[:, 2] < 100)]
    assert np.median(np.linalg.norm(home(glued, points(glued, x)) - x, axis=1)) < 0.3


def test_parts_must_lie_on_the_fixed_image_and_be_two(slid):
    fixed, moving, mask = slid
    small = mask.data[:20]
    grid = Grid(small.shape, mask.grid.affine)
    with pytest.raises(GeometryError, match="bring them there first"):
        register_sliding(fixed, moving, Mask(data=small, grid=grid, segments=mask.segments))
    whole = Mask(data=np.ones_like(mask.data), grid=mask.grid, segments=mask.segments)
    with pytest.raises(GeometryError, match="two are needed"):
        register_sliding(fixed, moving, whole)


def test_large_motion_is_followed():
    """A bend of up to 15 mm that changes within 17 mm (a standard deviation)."""
    made = pair(bend=15.0, seed=2, shape=(40, 44, 36), spacing=(3.5, 3.5, 3.5))
    start = made.error(lambda x: x)
    warp = register(made.fixed, made.moving, "lung")
    left = made.error(lambda x: points(warp, x))
    assert start.max() > 2.5 * 3.5
    assert left.mean() < 0.5 * 3.5  # half a voxel
    assert left.mean() < 0.5 * start.mean()
    assert warp.verdict.folding == 0
    assert warp.verdict.trusted, warp.verdict.words


def test_five_doors(slid):
    small = [one.crop(start=(0, 0, 0), stop=(44, 40, 40), step=(2, 2, 2)) for one in slid[:2]]
    data = np.ascontiguousarray(slid[2].data[::2, ::2, ::2])
    mask = Mask(data=data, grid=small[0].grid, segments=slid[2].segments)
    check_operation("analyze.register_sliding", inputs=(*small, mask), params={"preset": "rigid"})
