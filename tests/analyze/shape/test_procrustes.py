"""Alignment against SciPy, principal components against closed form, and what they may not see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from somascope.analyze.shape.model import principal
from somascope.analyze.shape.procrustes import aligned, size, superimposed
from somascope.analyze.shape.quality import quality
from somascope.core.errors import ParameterError


def turned(d: int, seed: int) -> np.ndarray:
    if d == 2:
        a = np.random.default_rng(seed).uniform(-np.pi, np.pi)
        return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return Rotation.random(random_state=seed).as_matrix()


@pytest.mark.parametrize("d", [2, 3])
def test_superimposed_is_as_good_as_scipy(d):
    rng = np.random.default_rng(d)
    a = rng.standard_normal((30, d))
    b = a @ turned(d, 1).T * 2.5 + 0.1 * rng.standard_normal((30, d)) + 4
    ours = superimposed(a, b)(a)
    _, theirs, disparity = procrustes(b, a)
    centred = b - b.mean(axis=0)
    assert ((ours - b) ** 2).sum() / (centred**2).sum() == pytest.approx(disparity, rel=1e-9)
    np.testing.assert_allclose((ours - b.mean(axis=0)) / np.linalg.norm(centred), theirs, atol=1e-9)


def test_the_rotation_is_scipys_and_weights_count():
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((20, 3)), rng.standard_normal((20, 3))
    w = rng.uniform(0.1, 2, 20)
    p, q = a - w @ a / w.sum(), b - w @ b / w.sum()
    theirs, _ = Rotation.align_vectors(q, p, weights=w)
    np.testing.assert_allclose(superimposed(a, b, w).rotation, theirs.as_matrix(), atol=1e-9)
    far = b.copy()
    far[0] += 1000
    w[0] = 0
    np.testing.assert_allclose(
        superimposed(a, far, w).rotation, superimposed(a, b, w).rotation, atol=1e-12
    )


def test_nothing_is_mirrored():
    a = np.random.default_rng(0).standard_normal((12, 3))
    found = superimposed(a, a * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)
    assert not np.allclose(found(a), a * [-1, 1, 1], atol=0.1)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6), scale=st.floats(0.2, 5), d=st.sampled_from([2, 3]),
    shift=st.floats(-100, 100),
)  # fmt: skip
def test_alignment_does_not_see_similarities(seed, scale, d, shift):
    """The same shapes each moved, turned and scaled give the same aligned shapes, but for unit."""
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((15, d)) * 10
    shapes = mean + rng.standard_normal((6, 15, d))
    moved = scale * shapes @ turned(d, seed).T + shift
    one, two = aligned(shapes), aligned(moved)
    ratio = size(two.mean) / size(one.mean)
    assert ratio == pytest.approx(scale, rel=1e-6)
    for a, b in zip(one.shapes, two.shapes, strict=True):
        np.testing.assert_allclose(superimposed(b, a)(b), a, atol=1e-5)
    spread = [np.linalg.svd((s.shapes - s.shapes.mean(axis=0)).reshape(6, -1))[1]
              for s in (one, two)]  # fmt: skip
    np.testing.assert_allclose(spread[1], scale * spread[0], rtol=1e-4, atol=1e-6 * scale)


def test_modes_of_an_ellipse_are_the_closed_form():
    """Points ``(a cos t, b sin t)`` with one free half axis: one mode, known to the last digit."""
    t = np.arange(40) * 2 * np.pi / 40
    a = 10 + np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    shapes = np.stack([np.stack([k * np.cos(t), np.full(40, 6.0) * np.sin(t)], 1) for k in a])
    mean, modes, variances, every = principal(shapes, kept=0.98)
    way = np.stack([np.cos(t), np.zeros(40)], axis=1)
    assert len(variances) == 1
    np.testing.assert_allclose(mean, shapes[2], atol=1e-12)
    np.testing.assert_allclose(np.abs(modes[0]), np.abs(way) / np.linalg.norm(way), atol=1e-12)
    assert variances[0] == pytest.approx(a.var(ddof=1) * (way**2).sum(), rel=1e-12)
    assert every[1:].max() < 1e-20


def test_kept_variance_decides_how_many_modes():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((60, 4)))[0].T.reshape(4, 20, 3)
    scores = rng.standard_normal((400, 4)) * [8, 4, 2, 1]
    shapes = rng.standard_normal((20, 3)) * 5 + np.tensordot(scores, basis, axes=1)
    own = np.sort(np.linalg.eigvalsh(np.cov(scores, rowvar=False)))[::-1]
    parts = np.cumsum(own) / own.sum()
    for count, part in enumerate(parts, start=1):
        _, modes, variances, _ = principal(shapes, kept=part - 0.002)
        assert len(modes) == count
        np.testing.assert_allclose(variances, own[:count], rtol=1e-9)
    with pytest.raises(ParameterError, match="equal"):
        principal(np.ones((5, 4, 2)), kept=0.9)
    with pytest.raises(ParameterError, match="kept is 0"):
        principal(shapes, kept=0.0)


def test_quality_agrees_with_models_made_one_by_one():
    rng = np.random.default_rng(3)
    shapes = rng.standard_normal((9, 12, 2)) * np.linspace(3, 0.3, 24).reshape(12, 2)
    told = quality(shapes, 5)
    left = np.zeros((9, 5))
    for i in range(9):
        rest = np.delete(shapes, i, axis=0)
        mean, modes, _, _ = principal(rest, kept=1.0)
        flat = modes.reshape(len(modes), -1)
        apart = (shapes[i] - mean).ravel()
        for m in range(1, 6):
            near = flat[:m].T @ (flat[:m] @ apart)
            left[i, m - 1] = np.sqrt(((apart - near) ** 2).sum() / 12)
    np.testing.assert_allclose(told.generalisation, left.mean(axis=0), rtol=1e-8)
    np.testing.assert_allclose(told.off, left[:, -1], rtol=1e-8)
    assert (np.diff(told.compactness) > 0).all()
    # Specificity with other random shapes, made and compared as points.
    mean, modes, variances, _ = principal(shapes, kept=1.0)
    draws = np.random.default_rng(11).standard_normal((600, 5)) * np.sqrt(variances[:5])
    made = mean + np.tensordot(draws, modes[:5], axes=1)
    far = np.sqrt(((made[:, None] - shapes) ** 2).sum(axis=(2, 3)) / 12).min(axis=1)
    assert told.specificity[4] == pytest.approx(far.mean(), rel=0.08)
    assert told.compactness[-1] < 1


def test_too_little_is_refused():
    with pytest.raises(ParameterError, match="two or more"):
        aligned(np.zeros((1, 4, 2)))
    with pytest.raises(ParameterError, match="one place"):
        aligned(np.zeros((3, 4, 2)))
    with pytest.raises(ParameterError, match="weight is 0"):
        superimposed(np.ones((4, 2)), np.ones((4, 2)), np.zeros(4))
