"""Voxels that are not finite are missing data, not values."""

import numpy as np
import pytest

from somascope.analyze.register import points, register
from somascope.analyze.register.levels import at, mended
from somascope.core.errors import GeometryError
from tests.analyze.register.pairs import pair

HEAD = {"angles": (5, -6, 8), "shift": (6, -4, 5), "bend": 5.0}
SLICE = {
    "angles": (0, 0, 14), "shift": (6, -5, 0), "bend": 3.0, "shape": (1, 96, 88),
    "spacing": (5.0, 1.5, 1.5),
}  # fmt: skip


def _other(values):
    return np.where(values > 0.1, 1.3 - values, values)


def _holes(made, flat):
    fixed, moving = made.fixed.data.copy(), made.moving.data.copy()
    if flat:
        fixed[:, 40:48] = np.nan
        moving[:, :, 20:30] = np.inf
    else:
        fixed[20:24] = np.nan
        moving[:, 10:16] = np.nan
        moving[30, 30, 20] = -np.inf
    return made.fixed.with_data(fixed), made.moving.with_data(moving)


@pytest.mark.parametrize("preset", ["rigid", "affine", "deformable", "multimodal"])
@pytest.mark.parametrize("flat", [False, True])
def test_slices_without_values_change_little(preset, flat):
    made = pair(**(SLICE if flat else HEAD), contrast=_other if preset == "multimodal" else None)
    whole = register(made.fixed, made.moving, preset)
    torn = register(*_holes(made, flat), preset)
    best, got = (made.error(lambda x, w=w: points(w, x)).mean() for w in (whole, torn))
    assert got < best + 0.2  # mm; a tenth of a voxel
    had, has = (w.verdict.after["local_correlation"] for w in (whole, torn))
    assert has > had - 0.03
    assert torn.verdict.trusted == whole.verdict.trusted, torn.verdict.words
    fixed, moving = torn.verdict.notes[:2]
    assert ("704 voxels (8.3%)" if flat else "7,680 voxels (9.1%)") in fixed
    assert "of the moving image are not finite" in moving


def test_a_background_without_values():
    made = pair(**HEAD)
    fixed, moving = (
        i.with_data(np.where(i.data < 0.1, np.nan, i.data)) for i in (made.fixed, made.moving)
    )
    for a, b in ((fixed, moving), (made.fixed, moving), (fixed, made.moving)):
        warp = register(a, b, "deformable")
        assert warp.verdict.trusted, warp.verdict.words
        assert made.error(lambda x, w=warp: points(w, x)).mean() < 0.8


def test_single_voxels_are_filled_from_beside_them():
    made = pair(**HEAD)
    rng = np.random.default_rng(0)
    fixed, moving = (
        i.with_data(np.where(rng.random(i.shape) < 0.05, np.nan, i.data))
        for i in (made.fixed, made.moving)
    )
    warp = register(fixed, moving, "deformable")
    assert warp.verdict.trusted, warp.verdict.words
    assert made.error(lambda x: points(warp, x)).mean() < 0.9
    holed = np.ones((9, 9, 9), np.float32)
    holed[4, 4, 4] = holed[7] = np.nan
    out = mended(holed)
    assert out[4, 4, 4] == 1
    assert np.isnan(out[7]).all()
    coarse, _ = at(holed, made.fixed.grid.__class__.from_spacing((9, 9, 9), (1, 1, 1)), 3.0)
    assert np.isfinite(coarse).all()  # two thirds of each coarse voxel are known


def test_too_little_is_refused():
    made = pair(**HEAD)
    nothing = made.moving.with_data(np.full(made.moving.shape, np.nan, np.float32))
    with pytest.raises(GeometryError, match="0 of 84,480 voxels of the moving image are finite"):
        register(made.fixed, nothing)
    few = nothing.data.copy()
    few[:2] = 1.0
    with pytest.raises(GeometryError, match="at least 5% are needed"):
        register(made.moving.with_data(few), made.fixed)
