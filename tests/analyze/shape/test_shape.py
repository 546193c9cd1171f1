"""Models of bodies whose ways to vary are known; cleaning and checking that can fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from somascope.analyze.shape import mesh as meshes
from somascope.analyze.shape.bodies import surfaces, templates
from somascope.analyze.shape.check import checked, limits, points_of
from somascope.analyze.shape.clean import cleaned
from somascope.analyze.shape.correspond import Elastic, corresponding
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.model import fitted
from somascope.analyze.shape.train import build
from somascope.core import Grid, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.learn.metrics.regions import dice, hd95
from tests.analyze.shape.blobs import damaged, ellipse, ellipses, quadric, quadrics, seen


@pytest.fixture(scope="module")
def flat():
    return build(ellipses(16), name="ellipse", points=48)


@pytest.fixture(scope="module")
def solid():
    return build(quadrics(10), name="body", points=300)


@settings(max_examples=8, deadline=None)
@given(
    a=st.floats(12, 26), b=st.floats(10, 22), y=st.floats(40, 55), turn=st.floats(-0.4, 0.4),
)  # fmt: skip
def test_a_slice_to_points_and_back(flat, a, b, y, turn):
    mask = ellipse(a, b, at=(y, 47.3), turn=turn)
    points = points_of(flat, mask, (1,))
    back = meshes.filled(flat.mesh(points), Frame.of(mask.grid), mask.grid.shape)
    assert dice(back > 0, mask.data > 0) > 0.97
    area = meshes.content(points, flat.faces)
    assert area == pytest.approx(np.count_nonzero(mask.data), rel=0.04)


@settings(max_examples=4, deadline=None)
@given(
    a=st.floats(8, 13), b=st.floats(9, 14), c=st.floats(15, 25), shift=st.floats(-4, 4),
    power=st.floats(1.8, 3.0),
)  # fmt: skip
def test_a_volume_to_points_and_back(solid, a, b, c, shift, power):
    mask = quadric((a, b, c), power, shift=(shift, -shift, 1.0))
    points = points_of(solid, mask, (1,))
    back = meshes.filled(solid.mesh(points), Frame.of(mask.grid), mask.grid.shape)
    # The least body has half axes of 4, 4.5 and 7.5 voxels: an eighth of a voxel all around it.
    assert dice(back > 0, mask.data > 0) > 0.96


def test_a_mesh_is_filled_exactly():
    """A box of triangles has the voxels whose centres lie in it, none counted twice or left out."""
    low, high = np.array([1.5, 2.5, 3.5]), np.array([6.5, 7.5, 9.5])
    corners = np.array([[z, y, x] for z in (0, 1) for y in (0, 1) for x in (0, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))], np.int32)
    points = low + corners * (high - low)
    frame = Frame(np.eye(3), np.zeros(3), np.eye(3))
    mesh = meshes.Mesh(points, meshes.outward(points, faces), np.zeros(8, np.uint8))
    found = meshes.filled(mesh, frame, (9, 9, 12))
    wanted = np.zeros((9, 9, 12), bool)
    wanted[2:7, 3:8, 4:10] = True
    assert (found.astype(bool) == wanted).all()
    assert meshes.content(points, mesh.faces) == pytest.approx(5 * 5 * 6)
    out = meshes.normals(points, mesh.faces)
    assert (np.einsum("ij,ij->i", out, points - points.mean(axis=0)) > 0).all()


def test_modes_of_ellipses_are_their_axes(flat):
    """Two half axes vary and position and size do not count: nearly all variance is one mode.

    In the first mode the points move as cos 2t along the normals: the axes' ratio.
    """
    assert flat.card.compactness[0] > 0.85
    assert flat.modes[0].shape == (len(flat.mean), 2)
    angle = np.arctan2(flat.mean[:, 0] / 15, flat.mean[:, 1] / 22)
    along = (flat.modes[0] * flat.mean).sum(axis=1)
    wanted = 22**2 * np.cos(angle) ** 2 - 15**2 * np.sin(angle) ** 2
    assert abs(np.corrcoef(along, wanted)[0, 1]) > 0.95
    assert flat.card.log_size[0] == pytest.approx(0.0, abs=0.05)
    assert flat.card.generalisation[-1] < 0.3  # a third of a pixel


def test_a_solid_model_knows_few_modes(solid):
    assert sum(solid.card.compactness[:4]) / 4 > 0.6
    assert len(solid.variances) <= 10
    assert solid.card.generalisation[-1] < 1.0  # two thirds of a voxel
    assert np.linalg.norm(solid.modes.reshape(len(solid.modes), -1), axis=1) == pytest.approx(1.0)
    assert meshes.content(solid.mean, solid.faces) > 0


def test_turned_and_moved_bodies_give_the_same_model():
    """All shapes shifted by whole pixels: modes and variances stay."""
    masks = ellipses(6, seed=3)
    moved = [replace(m, data=np.roll(m.data, (4, -6), axis=(1, 2))) for m in masks]
    one, two = build(masks, points=40), build(moved, points=40)
    np.testing.assert_allclose(one.variances, two.variances, rtol=1e-6)
    np.testing.assert_allclose(one.mean, two.mean, atol=1e-6)


def test_bodies_any_way_round():
    rng = np.random.default_rng(2)
    masks = [
        ellipse(24 + rng.normal(), 12 + rng.normal(), turn=rng.uniform(0, np.pi)) for _ in range(6)
    ]
    model = build(masks, points=32, anyhow=True)
    assert model.card.compactness[0] > 0.7
    assert model.card.generalisation[-1] < 0.5


def test_correspondence_by_registration():
    masks = ellipses(5, seed=5)
    model = build(masks, points=40, by="registration")
    other = build(masks, points=40)
    # Where it begins may cost a pixel, not more: what is fitted to the surface comes after it.
    pixel = masks[0].grid.spacing[-1]
    assert model.card.generalisation[0] < other.card.generalisation[0] + pixel
    assert model.card.compactness[0] > 0.7


def test_two_bodies_in_one_model():
    def both(k: int) -> Mask:
        rng = np.random.default_rng(k)
        a = ellipse(12 + rng.normal(), 10, at=(48, 34)).data
        b = ellipse(9, 12 + rng.normal(), at=(48, 62)).data
        labels = np.where(a > 0, 1, np.where(b > 0, 5, 0)).astype(np.uint8)
        grid = Grid.from_spacing(labels.shape, (1, 1, 1))
        return Mask(data=labels, grid=grid, segments=(Segment(1, "left"), Segment(5, "right")))

    masks = [both(k) for k in range(5)]
    model = build(masks, points=64)
    assert model.mesh(model.mean).bodies == 2
    points = points_of(model, masks[0], (1, 5))
    found = meshes.filled(model.mesh(points), Frame.of(masks[0].grid), masks[0].grid.shape)
    for part, number in ((1, 1), (2, 5)):
        assert dice(found == part, masks[0].data == number) > 0.96


@pytest.mark.parametrize("which", ["slice", "volume"])
def test_cleaning_mends_what_is_damaged(flat, solid, which):
    """On bodies that the model has not seen: far better on the average, no case spoilt."""
    model = flat if which == "slice" else solid
    held = ellipses(5, seed=77) if which == "slice" else quadrics(2, seed=77)
    before, after, untouched = [], [], []
    for k, mask in enumerate(held):
        truth = mask.data > 0
        broken = damaged(mask, seed=k)
        _, found = cleaned(model, broken, (1,))
        before.append(hd95(broken.data > 0, truth, mask.grid.spacing))
        after.append(hd95(found > 0, truth, mask.grid.spacing))
        if k == 0:
            _, same = cleaned(model, mask, (1,))
            untouched.append(dice(same > 0, truth))
    edge = max(held[0].grid.spacing)
    assert np.median(before) > 2 * edge  # the damage is real
    assert np.mean(after) < 0.5 * np.mean(before)
    assert max(after) < 3.5 * edge
    assert min(untouched) > 0.96


def test_cleaning_keeps_the_voxels_that_were_right(flat):
    """A small bite, and a border finer than the model's points: what was right stays to a voxel."""
    mask = ellipses(1, seed=31)[0]
    truth = mask.data > 0
    broken = truth.copy()
    border = np.argwhere(truth)
    y, x = border[border[:, 1].argmin(), 1:]
    index = np.indices(truth.shape[1:])
    bite = (index[0] - y) ** 2 + (index[1] - x) ** 2 < 3.5**2
    broken[0][bite] = False
    _, found = cleaned(flat, replace(mask, data=broken.astype(np.uint8)), (1,))
    away = (index[0] - y) ** 2 + (index[1] - x) ** 2 > 10**2
    assert ((found[0] > 0) != truth[0])[away].sum() <= 2
    assert ((found[0] > 0) != truth[0]).sum() < (broken != truth).sum()


def test_cleaning_a_probability(flat):
    from scipy.ndimage import gaussian_filter

    mask = ellipses(1, seed=9)[0]
    broken = damaged(mask, seed=2)
    soft = gaussian_filter((broken.data > 0).astype(np.float32), (0, 1, 1))[None]
    fractional = replace(mask, data=soft)
    _, found = cleaned(flat, fractional, (1,))
    assert dice(found > 0, mask.data > 0) > dice(soft[0] >= 0.5, mask.data > 0)


def test_plausible_and_not(flat):
    """Fresh shapes of the same kind pass, one with a corner does not, and the words say where."""
    level = 0.99
    passed = 0
    for mask in ellipses(10, seed=41):
        passed += checked(flat, points_of(flat, mask, (1,)), level=level).plausible
    assert passed >= 8
    long = checked(flat, points_of(flat, ellipse(34, 10), (1,)), level=level)
    assert not long.plausible
    assert long.distance > long.limit
    assert "mode 1 at" in long.words()
    mask = ellipse(22, 15)
    data = mask.data.copy()
    data[0, 26:44, 40:56] = 1
    odd = checked(flat, points_of(flat, replace(mask, data=data), (1,)), level=level)
    assert not odd.plausible
    assert odd.off > odd.off_limit
    assert "beyond" in odd.words()


def test_a_known_deviation_is_told(flat):
    b = np.zeros(len(flat.variances))
    b[0] = 2 * flat.deviations[0]
    told = checked(flat, flat.shape(b) * 1.1 + 30)
    assert told.deviations[0] == pytest.approx(2.0, abs=0.05)
    assert told.distance == pytest.approx(2.0, abs=0.05)
    assert told.off < 0.05


def test_the_limit_is_chi_squared_for_many_shapes():
    limit, _ = limits(7, 10**7, level=0.95)
    assert limit**2 == pytest.approx(stats.chi2.ppf(0.95, 7), rel=1e-5)
    # Of few shapes: draws from a Gaussian, mean and variances estimated from as many.
    rng = np.random.default_rng(0)
    limit, _ = limits(4, 20, level=0.95)
    beyond = 0
    for _ in range(3000):
        known = rng.standard_normal((20, 4))
        apart = rng.standard_normal(4) - known.mean(axis=0)
        cov = np.cov(known, rowvar=False)
        beyond += apart @ np.linalg.solve(cov, apart) > limit**2
    assert beyond / 3000 == pytest.approx(0.05, abs=0.015)


def test_a_fit_is_bounded_and_ignores_what_has_no_weight(flat):
    b = np.zeros(len(flat.variances))
    b[0] = 6 * flat.deviations[0]
    far = flat.shape(b)
    assert abs(fitted(flat, far, limit=2.0).b[0]) <= 2.0 * flat.deviations[0] * (1 + 1e-9)
    spoilt = flat.shape(b / 3).copy()
    spoilt[:6] += 40
    w = np.ones(len(spoilt))
    w[:6] = 0
    found = fitted(flat, spoilt, weights=w, noise=0.0)
    assert found.b[0] == pytest.approx(b[0] / 3, rel=1e-3)
    np.testing.assert_allclose(found.points, flat.shape(b / 3), atol=0.05)


def test_points_follow_the_body(solid):
    """The same body elsewhere has its points moved along with it."""
    elastic = Elastic(solid.mesh(solid.mean))
    one = corresponding(elastic, surfaces(quadric((10, 12, 20), 2.2), (1,)))
    two = corresponding(elastic, surfaces(quadric((10, 12, 20), 2.2, shift=(4, -4, 2)), (1,)))
    np.testing.assert_allclose(two - one, np.broadcast_to([4, -4, 2], one.shape), atol=1e-3)


def test_a_template_has_the_points_asked_for():
    found = surfaces(quadric((10, 12, 20)), (1,))
    mesh = templates(found, 300)
    assert abs(len(mesh.points) - 300) < 40
    assert np.abs(found[0].field.at(mesh.points)[0]).max() < 0.3
    sides = mesh.points[mesh.faces] - mesh.points[np.roll(mesh.faces, 1, axis=1)]
    length = np.linalg.norm(sides, axis=2)
    assert length.max() / np.median(length) < 2.5


def test_wrong_use_is_refused_by_name(flat, solid):
    masks = ellipses(5)
    with pytest.raises(ParameterError, match="4 shapes are given"):
        build(masks[:4])
    with pytest.raises(GeometryError, match="mask 5 is 3-D"):
        build([*masks[:4], quadric((8, 8, 8))])
    empty = replace(masks[2], data=np.zeros_like(masks[2].data))
    with pytest.raises(ParameterError, match="mask 3: segment 1 is empty"):
        build([*masks[:2], empty, *masks[3:]])
    image = seen(masks[0], seed=0)
    off = replace(image, grid=Grid.from_spacing(image.grid.shape, (1, 1, 1), origin=(9, 0, 0)))
    with pytest.raises(GeometryError, match="another place"):
        build(masks, [off] * 5)
    with pytest.raises(ParameterError, match="2 images are given for 5 masks"):
        build(masks, [image] * 2)
    with pytest.raises(ParameterError, match="has no segment 4"):
        build(masks, segments=(4,))
    with pytest.raises(ParameterError, match="needs images"):
        build(masks, appearance=True)
    with pytest.raises(GeometryError, match="is 2-D and the mask is 3-D"):
        points_of(flat, quadric((8, 8, 8)), (1,))
    with pytest.raises(GeometryError, match="is 3-D and the mask is 2-D"):
        cleaned(solid, masks[0], (1,))
    with pytest.raises(ParameterError, match="segment 1 of the mask is empty"):
        cleaned(flat, empty, (1,))
    dot = np.zeros_like(masks[0].data)
    dot[0, 40, 40] = 1
    with pytest.raises(GeometryError, match="too few"):
        points_of(flat, replace(masks[0], data=dot), (1,))
    with pytest.raises(ParameterError, match="is of 1 segments and 2"):
        points_of(flat, masks[0], (1, 1))
