"""Search for shapes in images of phantoms: learned border, profiles, appearance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from somascope.analyze.shape import kernels, texture
from somascope.analyze.shape.evidence import told
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.mesh import filled, normals
from somascope.analyze.shape.model import ShapeModel
from somascope.analyze.shape.procrustes import Similarity
from somascope.analyze.shape.search import refined, search
from somascope.analyze.shape.train import build
from somascope.core import Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.learn.metrics.regions import dice
from tests.analyze.shape.blobs import ellipse, ellipses, quadrics, seen


@pytest.fixture(scope="module")
def flat() -> ShapeModel:
    masks = ellipses(16)
    images = [seen(m, seed=k) for k, m in enumerate(masks)]
    return build(masks, images, name="ellipse", appearance=True)


@pytest.fixture(scope="module")
def solid() -> ShapeModel:
    masks = quadrics(9)
    return build(masks, [seen(m, seed=k) for k, m in enumerate(masks)], name="body", points=200)


def scores(model, masks, kind) -> list[float]:
    out = []
    for k, mask in enumerate(masks):
        found = search(model, seen(mask, seed=900 + k), kind=kind)
        voxels = filled(model.mesh(found.points), Frame.of(mask.grid), mask.grid.shape)
        out.append(dice(voxels > 0, mask.data > 0))
    return out


@pytest.mark.parametrize("kind", ["boundary", "profile", "both"])
def test_unseen_slices_are_found(flat, kind):
    held = ellipses(5, seed=61)
    found = scores(flat, held, kind)
    begin = [dice(ellipse(22, 15).data > 0, m.data > 0) for m in held]
    assert np.mean(found) > 0.95
    assert min(found) > 0.92
    assert np.mean(found) > np.mean(begin) + 0.04  # the mean shape at its usual place is no answer


@pytest.mark.parametrize("kind", ["boundary", "profile"])
def test_unseen_volumes_are_found(solid, kind):
    found = scores(solid, quadrics(2, seed=62), kind)
    assert min(found) > 0.9


def test_appearance_finds_slices(flat):
    fit = texture.Appearance(flat)
    for k, mask in enumerate(ellipses(3, seed=63)):
        image = seen(mask, seed=700 + k)
        begin = texture.begun(flat, search(flat, image, kind="profile"))
        # Begun beside it: 3 pixels off, and 8 % too small.
        pose = Similarity(begin.pose.scale * 0.92, begin.pose.rotation, begin.pose.shift + 3)
        start = flat.posed(pose, np.zeros(len(flat.variances)))
        found, left = fit.fit(image, start)
        voxels = filled(flat.mesh(found.points), Frame.of(mask.grid), mask.grid.shape)
        first = filled(flat.mesh(start.points), Frame.of(mask.grid), mask.grid.shape)
        assert dice(voxels > 0, mask.data > 0) > 0.94
        assert dice(voxels > 0, mask.data > 0) > dice(first > 0, mask.data > 0)
        assert left < 0.6


def test_a_centre_is_believed(flat):
    """The same ellipse twice in one slice: the one that is pointed at is outlined."""
    one, two = ellipse(18, 12, at=(30, 30)), ellipse(18, 12, at=(68, 66))
    both = np.maximum(one.data, two.data)
    image = seen(replace(one, data=both), seed=3)
    for mask, at in ((one, (30, 30)), (two, (68, 66))):
        found = search(flat, image, centre=(at[1], at[0], 0.0))
        voxels = filled(flat.mesh(found.points), Frame.of(mask.grid), mask.grid.shape)
        assert dice(voxels > 0, mask.data > 0) > 0.85


def test_lines_are_scipys_interpolation():
    rng = np.random.default_rng(0)
    volume = rng.standard_normal((5, 7, 9)).astype(np.float32)
    at, along = rng.uniform(1, 3.5, (6, 3)), rng.uniform(-0.3, 0.3, (6, 3))
    out = np.empty((6, 5), np.float32)
    kernels.lines(volume, at, along, out)
    where = at[:, None] + np.arange(-2, 3)[:, None] * along[:, None]
    wanted = map_coordinates(volume, where.reshape(-1, 3).T, order=1, mode="nearest")
    np.testing.assert_allclose(out.ravel(), wanted, atol=1e-5)


def test_profiles_cost_their_mahalanobis_distance():
    rng = np.random.default_rng(1)
    lines = rng.standard_normal((3, 14)).astype(np.float32)
    mean = rng.standard_normal((3, 5)).astype(np.float32) * 0.1
    root = rng.standard_normal((3, 5, 5))
    inverse = (root @ np.swapaxes(root, 1, 2)).astype(np.float32)
    out = np.empty((3, 8), np.float32)
    kernels.mahalanobis(lines, mean, inverse, out)
    slopes = lines[:, 2:] - lines[:, :-2]
    for i in range(3):
        for t in range(8):
            g = slopes[i, t : t + 5]
            g = g / (np.abs(g).sum() + 1e-3) - mean[i]
            assert out[i, t] == pytest.approx(g @ inverse[i] @ g, rel=1e-3)


def test_what_is_unsure_has_no_weight():
    cost = np.zeros((2, 13), np.float32)
    cost[1] = 20
    cost[1, 9] = 0
    offset, sure = told(cost)
    assert offset == pytest.approx([0.0, 3.0], abs=1e-6)
    assert sure[0] == pytest.approx(0.0, abs=1e-9)
    assert sure[1] > 3


def test_a_step_solves_for_pose_and_modes(solid):
    """Offsets made by a known change along the normals are undone by a few steps."""
    rng = np.random.default_rng(4)
    b = 1.5 * solid.deviations * np.sign(rng.standard_normal(len(solid.variances)))
    none = solid.posed(Similarity.identity(3), np.zeros(len(b)))
    goal = solid.posed(Similarity(1.04, np.eye(3), np.array([2.0, -1.0, 3.0])), b)
    now = none
    for _ in range(12):
        out = normals(now.points, solid.faces)
        offset = ((goal.points - now.points) * out).sum(axis=1)
        now = refined(solid, now, offset, np.full(len(offset), 1e4), limit=3.0)
    assert np.abs(now.points - goal.points).mean() < 0.4
    assert now.pose.scale == pytest.approx(1.04, abs=0.02)


def test_wrong_images_are_refused(flat, solid):
    slice_, volume = seen(ellipse(20, 14), seed=0), seen(quadrics(1)[0], seed=0)
    with pytest.raises(GeometryError, match="is 2-D and the image is 3-D"):
        search(flat, volume)
    with pytest.raises(GeometryError, match="outside of the image"):
        search(flat, slice_, centre=(500, 0, 0))
    with pytest.raises(ParameterError, match="three numbers"):
        search(flat, slice_, centre=(1, 2))
    with pytest.raises(ParameterError, match="one value everywhere"):
        search(flat, Image(np.ones(slice_.grid.shape, np.float32), slice_.grid))
    with pytest.raises(ParameterError, match="made of masks alone"):
        search(build(ellipses(5), points=30), slice_)
    with pytest.raises(ParameterError, match="knows no appearance"):
        texture.Appearance(solid)
