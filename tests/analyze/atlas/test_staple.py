"""STAPLE: against ITK's, against raters whose performance is known, and its fixed point."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from somascope.analyze.atlas import staple
from somascope.analyze.atlas.staple import _patterns
from somascope.core.errors import GeometryError, ParameterError


def raters(sensitivity, specificity, *, size=(30, 40, 40), seed=0):
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
    truth = z**2 + y**2 + x**2 < 0.6
    drawn = []
    for p, q in zip(sensitivity, specificity, strict=True):
        said = np.where(truth, rng.random(size) < p, rng.random(size) > q)
        drawn.append(said.astype(np.uint8))
    return truth, drawn


P, Q = (0.95, 0.9, 0.85, 0.7), (0.99, 0.9, 0.95, 0.8)


def test_known_raters_are_estimated():
    truth, drawn = raters(P, Q)
    made = staple(drawn)
    told = made.performance
    assert told.sensitivity[:, 1] == pytest.approx(P, abs=0.02)
    assert told.specificity[:, 1] == pytest.approx(Q, abs=0.02)
    assert told.frequency[1] == pytest.approx(truth.mean(), abs=0.01)
    best = max((d == truth).mean() for d in drawn)
    assert ((made.labels == 1) == truth).mean() > best


def test_it_is_itks_for_two_labels():
    _, drawn = raters(P, Q, size=(12, 20, 20), seed=1)
    made = staple(drawn)
    itk = SimpleITK.STAPLEImageFilter()
    itk.SetForegroundValue(1.0)
    itk.SetMaximumIterations(10000)
    image = itk.Execute([SimpleITK.GetImageFromArray(d) for d in drawn])
    assert made.performance.sensitivity[:, 1] == pytest.approx(itk.GetSensitivity(), abs=1e-6)
    assert made.performance.specificity[:, 1] == pytest.approx(itk.GetSpecificity(), abs=1e-6)
    theirs = SimpleITK.GetArrayFromImage(image)
    assert made.planes()[1] == pytest.approx(theirs, abs=1e-5)


def test_it_is_itks_for_many_labels():
    rng = np.random.default_rng(2)
    truth = np.repeat(np.arange(4), 600).reshape(4, 20, 30)
    drawn = []
    for right in (0.95, 0.9, 0.85, 0.8, 0.75):
        wrong = rng.integers(0, 4, truth.shape)
        drawn.append(np.where(rng.random(truth.shape) < right, truth, wrong).astype(np.uint8))
    made = staple(drawn)
    itk = SimpleITK.MultiLabelSTAPLEImageFilter()
    itk.SetTerminationUpdateThreshold(1e-9)
    itk.SetMaximumNumberOfIterations(5000)
    theirs = SimpleITK.GetArrayFromImage(
        itk.Execute([SimpleITK.GetImageFromArray(d) for d in drawn])
    )
    assert (made.labels == theirs).mean() > 0.999
    for r in range(5):
        matrix = np.array(itk.GetConfusionMatrix(r)).reshape(-1, 4)[:4]
        # Theirs has a row for what the rater said and a column for what is true.
        assert pytest.approx(matrix, abs=1e-4) == made.performance.confusion[r].T


def test_the_end_is_a_fixed_point_over_all_voxels():
    """Warfield's equations (15), (18), (19) written out voxel by voxel."""
    _, drawn = raters(P[:3], Q[:3], size=(8, 12, 12), seed=4)
    made = staple(drawn)
    d = np.array(drawn).reshape(3, -1).astype(float)
    p, q = made.performance.sensitivity[:, 1], made.performance.specificity[:, 1]
    prior = d.mean()
    a = prior * np.prod(np.where(d == 1, p[:, None], 1 - p[:, None]), axis=0)
    b = (1 - prior) * np.prod(np.where(d == 0, q[:, None], 1 - q[:, None]), axis=0)
    w = a / (a + b)
    assert made.planes()[1].reshape(-1) == pytest.approx(w, abs=1e-6)
    assert p == pytest.approx((w * d).sum(axis=1) / w.sum(), abs=1e-6)
    assert q == pytest.approx(((1 - w) * (1 - d)).sum(axis=1) / (1 - w).sum(), abs=1e-6)


def test_raters_that_agree_are_right():
    truth, drawn = raters((1, 1, 1), (1, 1, 1), size=(6, 8, 8))
    made = staple(drawn)
    assert ((made.labels == 1) == truth).all()
    assert made.performance.confusion == pytest.approx(np.array([np.eye(2)] * 3), abs=1e-9)


def test_many_raters_are_counted_as_few_are():
    """More answers than fit into a number take another way to the same patterns."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, 9, (22, 300))
    index[:, 150:] = index[:, :150]
    answers, pattern, counts = _patterns(index)
    assert (answers[:, pattern] == index).all()
    assert counts.sum() == 300
    few = _patterns(index[:4])
    assert (few[0][:, few[1]] == index[:4]).all()
    assert few[2] == pytest.approx(np.bincount(few[1]))


def test_disputed_voxels_alone():
    """A wide background that all see says nothing then about who is right elsewhere."""
    _, drawn = raters(P, Q, size=(12, 20, 20), seed=1)
    wide = [np.pad(d, 30) for d in drawn]
    assert staple(wide).performance.specificity[:, 1].min() > 0.99
    near, far = (staple(d, disputed=True) for d in (drawn, wide))
    assert near.performance.confusion == pytest.approx(far.performance.confusion, abs=1e-9)
    assert (far.labels[30:-30, 30:-30, 30:-30] == near.labels).all()
    assert (far.labels[:30] == 0).all()


def test_wrong_use_is_refused():
    empty = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(ParameterError, match="two raters"):
        staple([empty])
    with pytest.raises(ParameterError, match="no rater"):
        staple([empty, empty])
    with pytest.raises(GeometryError, match="one grid"):
        staple([empty, empty[1:]])
