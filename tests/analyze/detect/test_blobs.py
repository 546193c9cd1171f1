"""Blobs: places and sizes of balls, SciPy's and scikit-image's answers, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from somascope.analyze.detect.blobs import Blobs, blobs, find, response, widths_for
from somascope.core import Box, Image, Measurement, Progress
from somascope.core.errors import Cancelled, GeometryError, ParameterError
from somascope.testing import check_operation
from tests.analyze.segment.bodies import LONG, ROUND, ball, grid, noisy, places, scribbled

BALLS = (((-12.0, -10.0, -6.0), 4.0), ((10.3, 8.4, 3.7), 6.0), ((-9.0, 12.0, 8.0), 3.0))


def soft_balls(at, *, contrast=100.0, noise=4.0):
    """Balls whose border voxels have the share that they hold."""
    data = np.zeros(at.shape)
    for centre, radius in BALLS:
        away = np.linalg.norm(places(at) - centre, axis=-1)
        data += contrast * np.clip((radius - away) / min(at.spacing) + 0.5, 0, 1)
    data += np.random.default_rng(0).normal(0, noise, at.shape)
    return Image(data.astype(np.float32), at, "CT", "[hnsf'U]")


def told(findings):
    boxes = [f for f in findings if isinstance(f, Box)]
    numbers = [f for f in findings if isinstance(f, Measurement)]
    return boxes, [m.value for m in numbers[0::2]], [m.value for m in numbers[1::2]]


def matched(boxes, truth):
    """For each ball the number of the box whose middle is nearest, and how far that is."""
    middles = np.array([b.grid.to_world((np.array(b.lower) + b.upper) / 2) for b in boxes])
    away = [np.linalg.norm(middles - c, axis=1) for c, _ in truth]
    return [int(a.argmin()) for a in away], [float(a.min()) for a in away]


@pytest.mark.parametrize("spacing", [ROUND, (2.0, 1.0, 1.0)])
@pytest.mark.parametrize("method", ["log", "dog", "hessian"])
def test_balls_are_found_in_place_and_size(method, spacing):
    at = grid((round(36 / spacing[0]), 44, 44), spacing)
    found = blobs(soft_balls(at), smallest=5.0, largest=16.0, contrast=50.0, method=method)
    boxes, diameters, contrasts = told(found)
    assert len(boxes) == 3
    which, away = matched(boxes, BALLS)
    assert sorted(which) == [0, 1, 2]
    assert max(away) < 0.35 * max(spacing)
    for k, (_, radius) in zip(which, BALLS, strict=True):
        assert diameters[k] == pytest.approx(2 * radius, rel=0.12 if spacing == ROUND else 0.2)
        assert contrasts[k] == pytest.approx(100, rel=0.2)
    assert boxes[0].confidence == 1
    assert all(b.tracking == f.tracking for b, f in zip(boxes, found[1::3], strict=True))


def test_a_disk_of_one_slice_and_a_dark_one():
    at = grid((1, 60, 60), (5.0, 1.0, 1.0))
    image = noisy(at, ball(at, 7, (4.0, -6.0, 0)), noise=3.0)
    for side, given_ in (("bright", image), ("dark", image.with_data(-image.data))):
        boxes, (diameter, *_), (contrast, *_) = told(
            blobs(given_, smallest=6.0, largest=30.0, side=side)
        )
        assert diameter == pytest.approx(14, rel=0.1)
        assert contrast == pytest.approx(100, rel=0.15)
        assert matched(boxes[:1], [((4.0, -6.0, 0.0), 7)])[1][0] < 0.3


def test_the_strongest_of_many_are_the_strongest_of_all():
    """What is told does not depend on where the search ends."""
    rng = np.random.default_rng(2)
    values = ndimage.gaussian_filter(rng.normal(size=(20, 40, 40)), 1.0).astype(np.float32)
    limits = {"smallest": 4.0, "largest": 9.0, "contrast": 0.0}
    every = find(values, ROUND, **limits)
    few = find(values, ROUND, most=7, **limits)
    assert len(every) > 40
    np.testing.assert_array_equal(few.index, every.index[:7])
    assert (np.diff(every.contrast) <= 0).all()
    # Of those that are told none covers another.
    away = np.linalg.norm(every.index[:, None] - every.index, axis=-1)
    reach = 0.5 * np.maximum(every.diameter[:, None], every.diameter)
    assert (away[~np.eye(len(every), dtype=bool)] >= reach[~np.eye(len(every), dtype=bool)]).all()


def test_the_laplacian_is_scipys():
    at = grid((20, 30, 30))
    values = soft_balls(at, noise=20.0).data
    ours = response(values, ROUND, 2.5, method="log", step=1.25)
    theirs = -ndimage.gaussian_laplace(values.astype(float), 2.5, mode="reflect") * 2.5**2
    inner = (slice(3, -3),) * 3
    full = 2 * 1.5**1.5 * math.exp(-1.5) / math.gamma(1.5)
    # Differences of the smoothed volume in place of sampled derivatives.
    assert np.abs(ours - theirs / full)[inner].max() < 0.06 * np.abs(theirs).max()


def test_scikit_image_finds_the_same():
    from skimage.feature import blob_log

    at = grid((32, 44, 44))
    image = soft_balls(at)
    theirs = blob_log(image.data.astype(float), min_sigma=1.4, max_sigma=5, num_sigma=12,
                      threshold=30)  # fmt: skip
    strong = theirs[np.argsort(-theirs[:, 3])][:3, :3]
    ours = find(image.data, ROUND, smallest=5.0, largest=16.0, contrast=50.0).index
    for row in ours:
        assert np.linalg.norm(strong - row, axis=1).min() < 1.0


@settings(max_examples=6, deadline=None)
@given(scale=st.floats(1e-2, 1e3), axis=st.integers(0, 2))
def test_scale_changes_the_contrast_alone_and_flips_the_place(scale, axis):
    at = grid((18, 22, 22))
    values = noisy(at, ball(at, 4, (2, 1, 1)), noise=2.0).data
    limits = {"smallest": 5.0, "largest": 12.0}
    first = find(values, ROUND, contrast=40.0, **limits)
    again = find(values * np.float32(scale), ROUND, contrast=40.0 * scale, **limits)
    assert len(first) == len(again) == 1
    np.testing.assert_allclose(again.index, first.index, atol=0.02)
    np.testing.assert_allclose(again.diameter, first.diameter, rtol=0.02)
    np.testing.assert_allclose(again.contrast, first.contrast * scale, rtol=1e-2)
    turned = find(np.flip(values, axis).copy(), ROUND, contrast=40.0, **limits)
    mirrored = first.index.copy()
    mirrored[:, axis] = values.shape[axis] - 1 - mirrored[:, axis]
    np.testing.assert_allclose(turned.index, mirrored, atol=0.02)


def test_of_two_that_overlap_the_stronger_stays():
    from somascope.analyze.detect.blobs import _apart

    index = np.array([(5.0, 5, 5), (5, 5, 7), (5, 5, 20)])
    both = Blobs(index, np.array([8.0, 4, 8]), np.array([90.0, 60, 50]))
    assert _apart(both, ROUND).tolist() == [0, 2]


def test_scales_reach_beyond_both_ends():
    widths = widths_for(4.0, 16.0, 1.25, 3) * 2 * math.sqrt(3)
    assert widths[0] < 4 <= widths[1] * 1.0001
    assert widths[-2] >= 16 * 0.9999


def test_only_within_the_mask_and_none_is_no_error():
    at = grid((24, 44, 44))
    image = soft_balls(at)
    within = scribbled(at, ball(at, 10, BALLS[1][0]))
    boxes, diameters, _ = told(blobs(image, within, smallest=5.0, largest=16.0))
    assert len(boxes) == 1
    assert diameters[0] == pytest.approx(12, rel=0.15)
    assert blobs(image, smallest=5.0, largest=16.0, contrast=1e6) == []
    assert len(told(blobs(image, smallest=5.0, largest=16.0, most=2))[0]) == 2


def test_what_it_refuses():
    at = grid((8, 16, 16))
    image = noisy(at, ball(at, 3))
    with pytest.raises(ParameterError, match="give a range"):
        blobs(image, smallest=9.0, largest=8.0)
    with pytest.raises(ParameterError, match="too small for voxels"):
        blobs(image, smallest=0.5, largest=1.0)
    with pytest.raises(ParameterError, match="constant"):
        blobs(Image(np.ones(at.shape), at))
    with pytest.raises(GeometryError, match="grid"):
        blobs(image, scribbled(grid((8, 16, 16), LONG), ball(at, 3)))
    with pytest.raises(Cancelled):
        blobs(image, progress=Progress(None, lambda: True))


def test_the_doors():
    check_operation("detect.blobs", params={"smallest": 5.0})
