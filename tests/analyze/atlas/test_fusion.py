"""Votes of atlases: the kernels against plain NumPy, the weights against the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.analyze.atlas import fused, majority, patches
from somascope.core.errors import GeometryError, ParameterError
from tests.analyze.atlas.people import GRID, dice, person

PATCH, FAR = (1, 2, 1), (1, 1, 2)
MARGIN = (2, 3, 3)
ALPHA, BETA = 0.1, 2.0


def texture(seed, shape=(9, 11, 10)):
    rng = np.random.default_rng(seed)
    return gaussian_filter(rng.normal(size=shape), 0.7).astype(np.float32)


def standard(volume):
    """Padded and made comparable, as the paper has its patches; plain float64."""
    values = (volume - volume.mean(dtype=float)) / volume.std(dtype=float)
    return np.pad(values.astype(float), [(m, m) for m in MARGIN], mode="edge")


def patch(values, place):
    part = values[tuple(slice(p - r, p + r + 1) for p, r in zip(place, PATCH, strict=True))]
    return ((part - part.mean()) / max(part.std(), patches.FLOOR**0.5)).reshape(-1)


def offsets():
    return patches.shifts(FAR, (1.0, 1.0, 1.0))


def found(target, values):
    ready = [patches.prepared(v, PATCH, MARGIN) for v in [target, *values]]
    return patches.search(ready[0], ready[1:], patch=PATCH, margin=MARGIN, offsets=offsets())


def test_the_search_finds_the_patch_that_plain_comparison_finds():
    target, atlas = texture(1), texture(2)
    best, which = found(target, [atlas])
    t, a = standard(target), standard(atlas)
    for place in [(0, 0, 0), (4, 5, 6), (8, 10, 9), (3, 0, 9)]:
        inside = np.add(place, MARGIN)
        alike = [float(patch(t, inside) @ patch(a, inside + o)) for o in offsets()]
        size = patch(t, inside).size
        assert best[(0, *place)] == pytest.approx(max(alike) / size, abs=2e-4)
        assert alike[which[(0, *place)]] == pytest.approx(max(alike), abs=1e-3 * size)


def test_a_shifted_copy_is_found_where_it_is():
    target = texture(5, (14, 14, 14))
    moved = np.roll(target, (1, -1, 2), axis=(0, 1, 2))
    _, which = found(target, [moved])
    at = offsets()[which[0, 4:-4, 5:-5, 5:-5]]
    assert (at == (1, -1, 2)).all()


def test_joint_weights_are_the_papers():
    target = texture(1)
    values = [texture(1) + 0.4 * texture(k) for k in (2, 3, 4)]
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 3, target.shape).astype(np.uint8) for _ in values]
    # A patch and search of whole voxels; in a box of labels everything is disputed.
    made = fused(
        target, values, labels, (1.0, 1.0, 1.0), patch=1.0, search=0.0, alpha=ALPHA, beta=BETA,
        planes=True,
    )  # fmt: skip
    assert made.planes is not None
    pad = [np.pad(((v - v.mean(dtype=float)) / v.std(dtype=float)), 1, mode="edge")
           for v in [target, *values]]  # fmt: skip
    for place in [(0, 0, 0), (4, 5, 6), (8, 10, 9)]:
        window = tuple(slice(p, p + 3) for p in place)
        parts = [p[window].reshape(-1) for p in pad]
        parts = [(p - p.mean()) / p.std() for p in parts]
        apart = np.abs(np.array(parts[1:]) - parts[0])
        m = (apart @ apart.T / 27) ** BETA + ALPHA * np.eye(3)
        w = np.linalg.inv(m) @ np.ones(3)
        w /= w.sum()
        votes = np.zeros(3)
        for weight, one in zip(w, labels, strict=True):
            votes[one[place]] += weight
        if len({int(one[place]) for one in labels}) > 1:
            shares = made.planes[(slice(None), *place)]
            assert shares == pytest.approx(np.clip(votes, 0, 1), abs=1e-3)
            assert made.labels[place] == votes.argmax()


def test_two_of_one_kind_share_one_vote():
    """The joint weights see that a copy says nothing new; equal votes do not."""
    target = texture(1)
    good, bad = target + 0.3 * texture(7), target + 0.32 * texture(8)
    one, two = (np.full(target.shape, k, np.uint8) for k in (1, 2))
    args = {"patch": 1.0, "search": 0.0, "alpha": 1e-6, "planes": True}
    pair = fused(target, [good, bad], [one, two], (1.0, 1.0, 1.0), **args)
    with_copy = fused(target, [good, bad, bad], [one, two, two], (1.0, 1.0, 1.0), **args)
    assert pair.planes is not None
    assert with_copy.planes is not None
    assert np.abs(pair.planes - with_copy.planes).mean() < 0.005
    assert (majority([one, two, two]).labels == 2).all()


def damaged():
    """A target, and five atlases of which three are the same two voxels aside."""
    target = person(0)
    atlases = [person(k, size=0.8) for k in (1, 2)]
    atlases += [person(k, size=0.8, shift=(0, 2.5, 2.5)) for k in (3, 4, 5)]
    return target, [a.image.data for a in atlases], [a.labels.data for a in atlases]


@pytest.mark.parametrize("method", ["joint", "weighted"])
def test_likeness_beats_equal_votes_on_damaged_atlases(method):
    target, values, labels = damaged()
    truth = target.labels.data
    made = fused(target.image.data, values, labels, GRID.spacing, method=method, search=1.0)
    plain = majority(labels)
    for number in (1, 2):
        assert dice(made.labels, truth, number) > dice(plain.labels, truth, number) + 0.05


def test_equal_votes_by_hand():
    stack = [np.array([[[a, b, c]]], np.uint8) for a, b, c in [(1, 2, 0), (1, 1, 3), (2, 3, 3)]]
    made = majority(stack, planes=True)
    assert made.labels.tolist() == [[[1, 1, 3]]]  # of three ones the smallest number
    assert made.share == pytest.approx(np.array([[[2 / 3, 1 / 3, 2 / 3]]]))
    assert made.planes is not None
    assert made.planes.sum(axis=0) == pytest.approx(np.ones((1, 1, 3)))


def test_what_all_say_stays_and_shares_add_up():
    target, values, labels = damaged()
    made = fused(target.image.data, values, labels, GRID.spacing, planes=True)
    same = (np.array(labels) == labels[0]).all(axis=0)
    deep = same & (gaussian_filter(same.astype(float), 3) > 0.999)
    assert deep.any()
    assert (made.labels[deep] == labels[0][deep]).all()
    assert (made.share[deep] == 1).all()


def test_it_repeats_to_the_bit():
    target, values, labels = damaged()
    one, two = (fused(target.image.data, values, labels, GRID.spacing) for _ in range(2))
    assert one.labels.tobytes() == two.labels.tobytes()
    assert one.share.tobytes() == two.share.tobytes()


def test_wrong_use_is_refused():
    target, values, labels = damaged()
    with pytest.raises(GeometryError, match="bring them to"):
        fused(target.image.data, [v[:-1] for v in values], labels, GRID.spacing)
    with pytest.raises(GeometryError, match="different shapes"):
        majority([labels[0], labels[1][:-1]])
    with pytest.raises(ParameterError, match="no atlas"):
        majority([])
    with pytest.raises(ParameterError, match="no neighbour"):
        fused(target.image.data, values, labels, GRID.spacing, patch=0.1)
