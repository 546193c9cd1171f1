"""Classes with neighbours, watershed of marks, hysteresis."""

import numpy as np
import pytest
from skimage.filters import apply_hysteresis_threshold

from somascope.analyze.segment.mixture import mixture_
from somascope.analyze.segment.watershed import watershed
from somascope.analyze.threshold import classes_, hysteresis
from somascope.core import Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms.brain import CSF, GREY, WHITE, brain_grid, brain_labels, brain_mr
from somascope.testing import check_operation
from tests.analyze.segment.bodies import LONG, ball, dice, grid, noisy, scribbled


@pytest.mark.parametrize("method", ["mixture", "kmeans"])
def test_neighbours_take_the_specks_away(method):
    at = grid((16, 40, 40))
    truth = np.digitize(np.linalg.norm(np.indices(at.shape).T - (20, 20, 8), axis=-1).T, (12, 17))
    data = truth * 50 + np.random.default_rng(0).normal(0, 17, at.shape)
    image = Image(data.astype(np.float32), at)
    found = mixture_(image, method=method, smoothness=1.5).data - 1
    plain = mixture_(image, method=method, smoothness=0.0).data - 1
    assert (found == truth).mean() > 0.985
    assert (found == truth).mean() > (plain == truth).mean() + 0.05


def test_without_neighbours_it_is_the_histograms_mixture():
    at = grid((10, 40, 40))
    data = noisy(at, ball(at, 14), high=120.0, noise=12.0).data
    image = Image(data, at)
    ours = mixture_(image, classes=2, smoothness=0.0, rounds=100).data - 1
    theirs = classes_(image, classes=2, method="mixture").data
    assert (ours == theirs).mean() > 0.995


def test_three_tissues_of_a_brain():
    at = brain_grid((30, 50, 42), (5.6, 4.2, 4.0))
    truth = brain_labels(at)
    inside = np.isin(truth, (CSF, GREY, WHITE))
    image = brain_mr("T1", at, noise=0.03, bias=0.0)
    within = scribbled(image.grid, inside)
    found = mixture_(image, within, classes=3).data
    assert not found[~inside].any()
    for number, tissue in ((1, CSF), (2, GREY), (3, WHITE)):
        assert dice(found == number, truth == tissue) > 0.8
    chance = mixture_(image, within, classes=3, output="probability")
    np.testing.assert_allclose(chance.data.sum(axis=0)[inside], 1, atol=1e-4)
    with pytest.raises(ParameterError, match="mask is empty"):
        mixture_(image, scribbled(image.grid, inside & False))
    with pytest.raises(GeometryError, match="grid"):
        mixture_(image, scribbled(grid((4, 5, 6)), np.ones((4, 5, 6), bool)))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), LONG])
def test_marks_meet_on_the_edge(spacing):
    at = grid((round(36 / spacing[0]), 36, 36), spacing)
    truth = ball(at, 10)
    image = noisy(at, truth, noise=8.0)
    found = watershed(image, scribbled(at, ball(at, 4), ~ball(at, 15)), background=2, sigma=1.5)
    assert dice(found.data, truth) > 0.9
    pointed = watershed(image, points=(0.0, 0.0, 0.0), outside=(15.0, 15.0, 0.0), sigma=2.0)
    assert dice(pointed.data, truth) > 0.85
    with pytest.raises(ParameterError, match="mark a second segment"):
        watershed(image, points=(0.0, 0.0, 0.0))


@pytest.mark.parametrize("side", ["bright", "dark"])
def test_hysteresis_is_scikit_images(side):
    values = np.random.default_rng(0).normal(size=(6, 20, 20))
    image = Image(values, grid(values.shape))
    sign = 1 if side == "bright" else -1
    ours = hysteresis(image, low=sign * 0.8, high=sign * 2.0, side=side, connectivity=6)
    # Theirs is strictly above; none of these values is on a limit.
    assert np.array_equal(ours.data > 0, apply_hysteresis_threshold(sign * values, 0.8, 2.0))


def test_hysteresis_leaves_small_ones_out_and_missing_values():
    values = np.zeros((1, 10, 10))
    values[0, 1:4, 1:4] = 5
    values[0, 7, 7] = 9
    values[0, 2, 2] = 9
    values[0, 3, 3] = np.nan
    image = Image(values, grid(values.shape))
    assert hysteresis(image, low=4.0, high=8.0).data.sum() == 9
    assert hysteresis(image, low=4.0, high=8.0, minimum_volume=2.0).data.sum() == 8
    assert not hysteresis(image, low=4.0, high=99.0).data.any()
    with pytest.raises(ParameterError, match="above low"):
        hysteresis(image, low=4.0, high=3.0)
    with pytest.raises(ParameterError, match="below low"):
        hysteresis(image, low=3.0, high=4.0, side="dark")


def test_the_doors():
    check_operation("segment.hysteresis", params={"low": 100.0, "high": 300.0})
    check_operation("segment.mixture")
    check_operation("segment.mixture", params={"output": "probability", "method": "kmeans"})
