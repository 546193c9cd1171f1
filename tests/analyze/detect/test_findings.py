"""Tubes, asymmetry and nodules on bodies whose truth is known."""

import numpy as np
import pytest

from somascope.analyze.detect.nodules import lung_nodules
from somascope.analyze.detect.symmetry import Plane, asymmetry
from somascope.analyze.detect.vessels import centre_length, vessels
from somascope.core import Grid, Image, Label, Mask, Measurement
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms import thorax_ct, thorax_grid, thorax_mask
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.testing import check_operation
from tests.analyze.segment.bodies import ball, dice, grid, noisy, places

NODULE = 8


def by_name(findings):
    return {f.concept.meaning: f.value for f in findings if isinstance(f, Measurement)}


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.8, 1.0)])
def test_a_ring_and_a_rod_have_their_length_and_width(spacing):
    at = grid((round(30 / spacing[0]), round(64 / spacing[1]), 64), spacing)
    l, p, s = np.moveaxis(places(at), -1, 0)
    ring = np.hypot(np.hypot(l, p) - 20, s) < 3
    blob = ball(at, 5)
    image = noisy(at, ring, noise=6.0)
    found = vessels(image, smallest=3.0, largest=9.0)
    mask, radius = found[0], found[1]
    assert dice(mask.data[0], ring) > 0.9
    told = by_name(found)
    assert told["Length of centre lines"] == pytest.approx(2 * np.pi * 20, rel=0.08)
    assert told["Vessel lumen diameter, Mean"] == pytest.approx(6, abs=max(spacing))
    on_line = radius.data[mask.data[1]]
    assert on_line.size > 50
    assert np.median(on_line) == pytest.approx(3, abs=0.6 * max(spacing))
    assert not radius.data[~mask.data[1]].any()
    both = noisy(at, ring | blob, noise=6.0)
    again = vessels(both, smallest=3.0, largest=9.0, shortest=30.0)[0].data[0]
    assert not again[blob].any()
    dark = vessels(image.with_data(-image.data), smallest=3.0, largest=9.0, side="dark")
    assert np.array_equal(dark[0].data, mask.data)


def test_the_length_of_a_tree_counts_each_branch_once():
    lines = np.zeros((1, 12, 12), bool)
    lines[0, 5, 1:11] = True
    lines[0, 1:5, 5] = True
    assert centre_length(lines, np.diag([2.0, 0.5, 1.0, 1.0])) == pytest.approx(9 + 4 * 0.5)
    lines[:] = False
    lines[0, range(10), range(10)] = True
    assert centre_length(lines, np.eye(4)) == pytest.approx(9 * np.sqrt(2))


def test_vessels_refuse():
    at = grid((8, 20, 20))
    with pytest.raises(ParameterError, match="no tube"):
        vessels(noisy(at, ball(at, 4)), contrast=1e4)
    with pytest.raises(ParameterError, match="give a range"):
        vessels(noisy(at, ball(at, 4)), smallest=5.0, largest=4.0)


def head(tilt, shift, *, lesion=True):
    """Two like halves about a plane turned by ``tilt`` degrees and moved by ``shift`` mm."""
    at = grid((28, 60, 52), (4.0, 3.0, 3.0))
    a = np.deg2rad(tilt)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])

    def part(value, centre, radii):
        x, y, z = turn @ centre + turn @ (shift, 0, 0)
        return Ellipsoid(value, (float(x), float(y), float(z)), radii, (tilt, 0.0))

    shapes = [part(60, (0, 0, 0), (58, 76, 50)), part(100, (0, 0, 0), (52, 70, 45))]
    for s in (-1, 1):
        shapes += [
            part(30, (s * 14, -18, 4), (7, 22, 12)), part(140, (s * 26, 22, -8), (9, 13, 14)),
            part(70, (s * 33, -28, 12), (8, 10, 9)),
        ]  # fmt: skip
    if lesion:
        shapes.append(part(165, (30, -2, 8), (8, 8, 8)))
    data = draw(shapes, at, background=0.0)
    data = data + np.random.default_rng(0).normal(0, 3, at.shape)
    place = turn @ (30, -2, 8) + turn @ (shift, 0, 0)
    return Image(data.astype(np.float32), at, "CT", "[hnsf'U]"), turn[:, 0], place


def test_the_plane_and_what_differs():
    image, normal, place = head(7.0, 4.0)
    # At the default of 10 (9 HU of a contrast of 65) the tails of the smoothing are marked as well:
    # twice as many voxels.
    found = asymmetry(image, threshold=20.0)
    map_, mask = found[0], found[1]
    told = by_name(found)
    assert told["Angle of the plane of symmetry to the sagittal"] == pytest.approx(7.0, abs=1.0)
    at_middle = 4.0 / normal[0]
    assert told["Plane of symmetry, L at the image's middle"] == pytest.approx(at_middle, abs=1.5)
    assert told["Correlation of both halves"] > 0.9
    assert not [f for f in found if isinstance(f, Label)]
    z, y, x = np.rint(image.grid.to_index(place)).astype(int)
    assert mask.data[z, y, x] == 1
    assert map_.data[z, y, x] > 20
    truth = np.linalg.norm(places(image.grid) - place, axis=-1) < 8
    assert mask.data[truth].mean() > 0.9
    assert (mask.data == 1).sum() < 3 * truth.sum()  # the width of the smoothing is added
    assert (mask.data == 2).any()  # its counterpart


def test_without_a_lesion_nothing_is_marked():
    image, _, _ = head(-5.0, -3.0, lesion=False)
    found = asymmetry(image, smallest=300.0)
    assert (found[1].data > 0).mean() < 1e-3


def test_a_mirror_comes_back_to_itself():
    plane = Plane(np.array([0.8, 0.6, 0.0]), 12.0)
    np.testing.assert_allclose(plane.mirror @ plane.mirror, np.eye(4), atol=1e-12)
    on_it = np.array([*(plane.normal * 12), 1.0])
    np.testing.assert_allclose(plane.mirror @ on_it, on_it, atol=1e-12)


def test_noise_has_no_plane_and_is_called_so():
    at = grid((12, 24, 24))
    image = Image(np.random.default_rng(0).normal(size=at.shape).astype(np.float32), at)
    found = asymmetry(image, sigma=1.0)
    (label,) = [f for f in found if isinstance(f, Label)]
    assert "no symmetric body" in label.text
    thin = Grid.from_spacing((12, 24, 4), (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="right to left"):
        asymmetry(Image(np.random.default_rng(0).normal(size=thin.shape), thin))


@pytest.fixture(scope="module")
def chest():
    at = thorax_grid((90, 110, 128), (2.5, 3.0, 3.0))
    return thorax_ct(at), thorax_mask(at)


def test_the_nodule_of_the_chest_is_found_measured_and_judged(chest):
    ct, truth = chest
    found = lung_nodules(ct, smallest=8.0, largest=30.0)
    mask = found[0]
    assert isinstance(mask, Mask)
    inside = truth.data == NODULE
    # The largest overlap is the first nodule's.
    best = int(np.bincount(mask.data[inside], minlength=2)[1:].argmax()) + 1
    assert dice(mask.data == best, inside) > 0.85
    tracking = mask.segments[best - 1].tracking
    own = [f for f in found if getattr(f, "tracking", None) == tracking]
    size = next(f for f in own if f.concept.meaning == "Mean of long and short axis")
    assert size.value == pytest.approx(19, abs=3)
    labels = {f.concept.value: f for f in own if isinstance(f, Label)}
    assert {"NODULE_SOLID", "LESION_BASELINE", "LUNG_RADS_4B"} <= set(labels)
    assert "Lung-RADS" in labels["LUNG_RADS_4B"].text
    out = [f for f in found if isinstance(f, Label) and f.concept.value == "CANDIDATE_OUT"]
    assert len(mask.segments) <= 2
    assert all("mm:" in f.text for f in out)


def test_nodules_refuse(chest):
    ct, _ = chest
    with pytest.raises(ParameterError, match="Hounsfield"):
        lung_nodules(ct.with_data(ct.data, unit="1"))
    with pytest.raises(ParameterError, match="no lungs"):
        lung_nodules(ct.with_data(np.clip(ct.data, 0, None)))
    with pytest.raises(ParameterError, match="candidates is a nodule"):
        lung_nodules(ct, contrast=2000.0)


def test_the_doors(chest):
    ct, _ = chest
    check_operation("detect.lung_nodules", inputs=(ct,), params={"smallest": 8.0})
    image, _, _ = head(3.0, 2.0)
    check_operation("detect.asymmetry", inputs=(image,))
    at = grid((10, 30, 30))
    _, p, s = np.moveaxis(places(at), -1, 0)
    rod = noisy(at, np.hypot(p, s) < 2.5, noise=4.0)
    check_operation("detect.vessels", inputs=(rod,))
