"""Slice timing, distortion, coregistration: what was put in comes out."""

import numpy as np
import pytest

from somascope.acquire import rigid, splines
from somascope.acquire.fmri import coregister
from somascope.acquire.fmri.simulate import simulate
from somascope.acquire.fmri.slicetiming import shift, slicetiming
from somascope.acquire.fmri.unwarp import displacement, unwarp
from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.phantoms import brain_grid, brain_mr
from somascope.testing import check_operation


def waves(times):
    return (
        100 + 3 * np.sin(2 * np.pi * times / 23) + 2 * np.cos(2 * np.pi * times / 9.7) + times / 9
    )


def test_a_course_is_shifted_by_a_part_of_a_scan():
    t = np.arange(120.0)
    moved = shift(waves(t)[:, None].astype(np.float32), 0.37)[:, 0]
    assert np.abs(moved - waves(t + 0.37))[4:-4].max() < 0.03
    assert np.abs(shift(moved[:, None], -0.37)[:, 0] - waves(t)).max() < 0.6


@pytest.fixture
def sliced():
    nz, tr = 6, 2.0
    times = np.array([0, 1, 2, 3, 4, 5]) * tr / nz
    t = np.arange(80)[:, None] * tr + times
    data = np.broadcast_to(waves(t)[:, :, None, None], (80, nz, 3, 4)).astype(np.float32)
    grid = Grid.from_spacing((nz, 3, 4), (4, 3, 3))
    axis = Axis("t", tuple(np.arange(80) * tr), "s")
    return Image(data, grid, "MR", axes=(axis,), attributes={"SliceTiming": times.tolist()})


def test_slices_come_to_one_moment(sliced):
    out = slicetiming(sliced, moment=0.5).data
    assert np.abs(out - waves(np.arange(80) * 2.0 + 1.0)[:, None, None, None])[5:-5].max() < 0.05
    assert np.allclose(slicetiming(sliced, order="ascending").data, out)
    assert "SliceTiming" not in slicetiming(sliced).attributes
    check_operation("acquire.fmri.slicetiming", inputs=(sliced,))


def test_interleaved_is_even_slices_first(sliced):
    given = (0, 3, 1, 4, 2, 5)
    times = tuple(g / 3 for g in given)
    a = slicetiming(sliced, order="interleaved").data
    assert np.array_equal(a, slicetiming(sliced, times=times).data)


def test_slice_times_that_cannot_be_are_refused(sliced):
    with pytest.raises(ParameterError, match="3 slice times for 6"):
        slicetiming(sliced, times=(0.0, 0.5, 1.0))
    with pytest.raises(ParameterError, match="give seconds"):
        slicetiming(sliced, times=(0.0, 300, 600, 900, 1200, 1500))
    bare = Image(sliced.data, sliced.grid, "MR", axes=sliced.axes)
    with pytest.raises(ParameterError, match="does not state"):
        slicetiming(bare)


def distorted(head, field, *, echo_spacing, axis, sign):
    """Every true place is put where its resonance says, brighter where places crowd."""
    move = displacement(field, head, echo_spacing=echo_spacing, axis=axis, sign=sign)
    nz, ny, nx = head.shape
    out = np.zeros(head.shape)
    n = head.shape[axis]
    fine = np.arange(0, n - 1, 0.05)
    for z in range(nz):
        for i in range(nx if axis == 1 else ny):
            row = head.data[z, :, i] if axis == 1 else head.data[z, i]
            by = move[z, :, i] if axis == 1 else move[z, i]
            to = fine + np.interp(fine, np.arange(n), by)
            value = np.interp(fine, np.arange(n), row) * 0.05
            i0 = np.floor(to).astype(int)
            for k, w in ((i0, 1 - (to - i0)), (i0 + 1, to - i0)):
                ok = (k >= 0) & (k < n)
                line = out[z, :, i] if axis == 1 else out[z, i]
                np.add.at(line, k[ok], (value * w)[ok])
    return out.astype(np.float32)


@pytest.mark.parametrize(("direction", "axis", "sign"), [("j", 1, 1), ("j-", 1, -1), ("i", 2, 1)])
def test_distortion_is_undone(direction, axis, sign):
    grid = Grid.from_spacing((3, 48, 44), (4, 3, 3), frame_of_reference="1.2.3")
    _, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    blob = (
        100 / (1 + np.exp((np.hypot(y - 24, x - 22) - 15) / 1.5)) + 20 * np.cos(x / 4 + y / 5) ** 2
    )
    head = Image(blob.astype(np.float32), grid, "MR")
    hertz = 40 * np.exp(-((y - 18) ** 2 + (x - 25) ** 2) / 120)
    field = Image((2 * np.pi * hertz).astype(np.float32), grid, "MR", "rad/s")
    seen = head.with_data(distorted(head, field, echo_spacing=1e-3, axis=axis, sign=sign))
    inner = np.s_[:, 6:-6, 6:-6]
    wrong = np.abs(seen.data - blob)[inner].mean()
    out = unwarp(seen, field, echo_spacing=1.0, direction=direction)
    assert np.abs(out.data - blob)[inner].mean() < 0.15 * wrong
    rough = unwarp(seen, field, echo_spacing=1.0, direction=direction, jacobian=False)
    assert np.abs(rough.data - blob)[inner].mean() > 2 * np.abs(out.data - blob)[inner].mean()


def test_bad_field_maps_are_refused(sliced):
    flat = Image(np.zeros(sliced.grid.shape, np.float32), sliced.grid, "MR", "Hz")
    check_operation("acquire.fmri.unwarp", inputs=(sliced, flat))
    with pytest.raises(UnitError, match="Hz or rad/s"):
        unwarp(sliced, Image(flat.data, flat.grid, "MR", "1"))
    steep = np.zeros(sliced.grid.shape, np.float32)
    steep[:, 1] = 5000
    with pytest.raises(ParameterError, match="folds"):
        unwarp(sliced, flat.with_data(steep))
    a = Image(sliced.data, Grid(sliced.grid.shape, sliced.grid.affine, "1.2"), axes=sliced.axes)
    b = Image(flat.data, Grid(flat.grid.shape, flat.grid.affine, "1.3"), "MR", "Hz")
    with pytest.raises(GeometryError, match="frame of reference"):
        unwarp(a, b)


def test_splines_are_those_of_scipy(rng):
    from scipy.ndimage import map_coordinates

    data = rng.normal(size=(7, 9, 11)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] += 0.05 * rng.normal(size=(3, 3))
    affine[:3, 3] = 1.2, 1.4, 0.9
    ours = splines.resample(splines.coefficients(data), affine, (4, 5, 6))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (4, 5, 6)], indexing="ij"))
    at = np.einsum("ij,jzyx->izyx", affine[:3, :3], index) + affine[:3, 3, None, None, None]
    theirs = map_coordinates(data.astype(float), at, order=3, mode="mirror")
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.fixture(scope="module")
def pair():
    """A T1 and a T2 of one head that has turned and moved between."""
    grid = brain_grid((36, 48, 40), (4.5, 4.3, 4.2))
    t1 = brain_mr("T1", grid, noise=0.01)
    run = simulate(brain_mr("T2", brain_grid((54, 72, 60), (3, 2.9, 2.8)), noise=0), scans=8,
                   voxel=(4.5, 4.0, 4.0), noise=0.5)  # fmt: skip
    motion = np.array([4.0, -3.0, 2.5, 3.0, -2.0, 4.0])
    moved = rigid.matrix(motion, np.zeros(3))
    grid = Grid(run.grid.shape, moved @ run.grid.affine, run.grid.frame_of_reference)
    return t1, Image(run.data, grid, "MR", axes=run.axes), moved


def test_a_turned_head_is_brought_back(pair):
    t1, run, moved = pair
    warp = coregister.register(run, t1)
    places = np.array([[50, 0, 0], [-50, 20, 10], [0, -60, 30], [0, 0, -40], [10, 50, 40]], float)
    away = places @ warp.matrix[:3, :3].T + warp.matrix[:3, 3]
    truth = places @ moved[:3, :3].T + moved[:3, 3]
    assert np.linalg.norm(away - truth, axis=1).max() < 2.0
    before = np.linalg.norm(places - truth, axis=1).max()
    assert before > 7


def test_an_affine_finds_a_scaled_head(pair):
    t1, _, _ = pair
    scaled = np.diag([1.06, 0.95, 1.04, 1.0])
    grid = Grid(t1.grid.shape, scaled @ t1.grid.affine, "")
    warp = coregister.register(Image(t1.data, grid, "MR"), t1, kind="affine")
    places = np.array([[50, 0, 0], [-50, 20, 10], [0, -60, 30], [0, 0, -40], [10, 50, 40]], float)
    away = places @ warp.matrix[:3, :3].T + warp.matrix[:3, 3]
    assert np.linalg.norm(away - places * np.diag(scaled)[:3], axis=1).max() < 2.0


def test_a_map_follows_its_run(pair):
    t1, run, moved = pair
    from somascope.core import Warp

    out = coregister.apply(run, Warp(matrix=moved), t1)
    assert out.grid == t1.grid
    assert out.shape == (8, *t1.grid.shape)
    head = t1.data > 0.1 * t1.data.max()
    assert out.data[0][head].mean() > 5 * out.data[0][~head].mean()
    small = [
        one.crop(start=(0, 0, 0), stop=one.shape[-3:], step=(2, 2, 2)) for one in (run.at(t=0), t1)
    ]
    check_operation("acquire.fmri.coregister", inputs=tuple(small))
