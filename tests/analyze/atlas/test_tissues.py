"""Tissues of a brain whose shares, shading and values are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from somascope.analyze.atlas import Atlas, mixing, save, segmented
from somascope.analyze.atlas.brain import SEGMENTS, tissue_of, tissues, weighting
from somascope.analyze.atlas.folder import priors_of
from somascope.core import Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError, Refused
from somascope.phantoms import brain_grid
from somascope.phantoms.partial import brain_fractions, brain_mixture, shading
from somascope.process.filters import smooth
from tests.analyze.atlas.people import dice

GRID = brain_grid((40, 52, 42), (4.1, 3.9, 3.9))


@pytest.fixture(scope="module")
def truth():
    shares = brain_fractions(GRID)
    return np.where(shares.sum(axis=0) >= 0.5, shares, 0)


@pytest.fixture(scope="module")
def brain(truth):
    return brain_mixture(truth, GRID, noise=0.03, bias=0.25, seed=1)


def labels_of(shares):
    return np.where(shares.sum(axis=0) > 0, shares.argmax(axis=0) + 1, 0)


def error(found: Mask, truth) -> float:
    """Root mean square of the shares' error in the brain."""
    inside = truth.sum(axis=0) > 0
    whole = truth / np.maximum(truth.sum(axis=0), 1e-6)
    return float(np.sqrt(((found.data - whole)[:, inside] ** 2).mean()))


@pytest.fixture(scope="module")
def found(brain):
    return tissues(brain)


def test_labels_are_the_truths(found, truth):
    for k in (1, 2, 3):
        assert dice(found.data, labels_of(truth), k) > 0.88
    assert [s.label for s in found.segments] == [s.label for s in SEGMENTS]
    assert (found.data > 0).sum() == (truth.sum(axis=0) > 0).sum()


def test_fractions_are_the_truths(brain, truth):
    found = tissues(brain, output="fractions")
    assert found.fractional
    assert found.data.sum(axis=0)[truth.sum(axis=0) > 0] == pytest.approx(1, abs=1e-4)
    hard = replace(found, data=np.stack([labels_of(truth) == k for k in (1, 2, 3)]).astype("f4"))
    # Even the best labels cannot tell what a voxel holds two of.
    assert error(found, truth) < error(hard, truth)
    for k in range(3):
        assert found.data[k].sum() == pytest.approx(truth[k].sum(), rel=0.12)


def test_shading_has_to_be_taken_out(truth):
    """The same image without its estimate: what it is for."""
    dark = brain_mixture(truth, GRID, noise=0.03, bias=0.4, seed=1)
    without, found = (tissues(dark, shading=how) for how in ("none", "n4"))
    marks = [np.mean([dice(m.data, labels_of(truth), k) for k in (1, 2, 3)])
             for m in (without, found)]  # fmt: skip
    assert marks[1] > marks[0] + 0.02


def test_noise_is_not_taken_for_shading(truth):
    """A quarter of the distance from tissue to tissue: a fine mesh bent by it once cost 0.18."""
    loud = brain_mixture(truth, GRID, noise=0.09, bias=0.2, seed=3)
    marks = [np.mean([dice(tissues(loud, shading=how).data, labels_of(truth), k)
                      for k in (1, 2, 3)]) for how in ("none", "n4")]  # fmt: skip
    assert marks[1] > marks[0] - 0.03


def test_neighbours_help_against_noise():
    """Three nested balls in noise of a quarter of their differences."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 28)] * 3, indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    labels = np.digitize(-radius, [-0.9, -0.75, -0.55])
    noise = 0.08 * np.random.default_rng(0).normal(size=labels.shape)
    loud = np.array([0, 0.4, 0.7, 1.0])[labels] + noise
    marks = [
        np.mean([
            dice(segmented(loud, labels > 0, (1, 1, 1), mrf=m).labels, labels, k)
            for k in (1, 2, 3)
        ])
        for m in (0.0, 0.3)
    ]  # fmt: skip
    assert marks[1] > marks[0] + 0.01


def test_other_contrasts_are_told_by_their_names(truth, brain):
    dark = brain_mixture(truth, GRID, means=(0.9, 0.6, 0.4), noise=0.02, bias=0.0)
    named = replace(dark, attributes={**dark.attributes, "SeriesDescription": "T2 brain"})
    assert weighting(named) == "T2"
    found = tissues(named, shading="none")
    for k in (1, 2, 3):
        assert dice(found.data, labels_of(truth), k) > 0.75
    assert weighting(brain) == "T1"


def priors(truth) -> Mask:
    planes = np.stack([smooth(t, (1.0, 1.0, 1.0)) for t in truth])
    return Mask(data=np.clip(planes, 0, 1).astype(np.float32), grid=GRID, segments=SEGMENTS)


def test_priors_on_the_grid(brain, truth):
    """They say where the brain is: its values may lie in a head."""
    head = brain.with_data(np.where(brain.data > 0, brain.data, np.float32(0.4)))
    with pytest.raises(Refused, match="skull"):
        tissues(head)
    found = tissues(head, priors(truth))
    for k in (1, 2, 3):
        assert dice(found.data, labels_of(truth), k) > 0.85


def test_an_atlas_is_registered(brain, truth, tmp_path):
    grid = Grid(GRID.shape, GRID.affine + _moved((6.0, -5.0, 4.0)))
    template = Image(brain_mixture(truth, GRID, noise=0.02, bias=0.0).data, grid, "MR")
    planes = replace(priors(truth), grid=grid)
    atlas = Atlas(template, priors_of(template, planes.data, SEGMENTS), SEGMENTS, 12)
    save(atlas, tmp_path / "atlas")
    found = tissues(brain, atlas=str(tmp_path / "atlas"), preset="affine")
    beside = tissues(brain, template, planes, preset="affine")
    for k in (1, 2, 3):
        assert dice(found.data, labels_of(truth), k) > 0.82
    assert (found.data == beside.data).mean() > 0.999


def _moved(by):
    shift = np.zeros((4, 4))
    shift[:3, 3] = by
    return shift


def test_a_mixtures_likelihood_is_its_closed_form():
    """Of equal deviations: a box from mean to mean, blurred by the noise."""
    places = np.linspace(0, 1, 201)
    means, sds = np.array([0.2, 0.5, 0.8]), np.full(3, 0.04)
    likelihood, share = mixing.tables(places, means, sds)
    box = (norm.cdf((places - 0.2) / 0.04) - norm.cdf((places - 0.5) / 0.04)) / 0.3
    near = (places > 0.25) & (places < 0.45)
    assert likelihood[3][near] == pytest.approx(box[near], rel=0.02)
    middle = np.argmin(np.abs(places - 0.35))
    assert share[0, 3, middle] == pytest.approx(0.5, abs=1e-3)
    assert share[:, 3].sum(axis=0) == pytest.approx(np.ones(201), abs=1e-6)


def test_shares_of_the_phantom_are_counted():
    grid = brain_grid((12, 16, 13), (13.6, 12.8, 12.4))
    shares = brain_fractions(grid, parts=2)
    assert set(np.unique(shares * 8)) <= set(range(9))
    assert shares.sum(axis=0).max() <= 1
    fine = brain_fractions(grid, parts=4)
    assert shares.sum() == pytest.approx(fine.sum(), rel=0.05)
    assert np.log(shading(grid, size=0.2)).max() <= 0.2 + 1e-6


def test_wrong_use_is_refused(brain, truth):
    with pytest.raises(GeometryError, match="a mask lies on"):
        tissues(
            brain, replace(priors(truth), grid=Grid(GRID.shape, GRID.affine + _moved((9, 0, 0))))
        )
    lacking = Mask(data=priors(truth).data[:2], grid=GRID, segments=(SEGMENTS[0], SEGMENTS[1]))
    with pytest.raises(ParameterError, match="grey and white matter"):
        tissues(brain, brain, lacking)
    few = np.zeros(GRID.shape, np.uint8)
    few[20:22, 25:27, 20:22] = 1
    small = Mask(data=few, grid=GRID, segments=(Segment(1, "Brain"),))
    with pytest.raises(ParameterError, match="or more"):
        tissues(brain, small, shading="none")
    assert tissue_of(Segment(4, "Right cerebral white matter")) == 2
    assert tissue_of(Segment(4, "Amygdala")) is None
