"""What a registration is worth: right maps are trusted, planted wrong ones are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.analyze.register import Registered, Verdict, compose, invert, points
from somascope.analyze.register.evidence import judge
from somascope.analyze.register.landscape import landscape, shifts
from somascope.core import Warp
from tests.analyze.register.pairs import head, pair, turned

ANGLES, SHIFT = (6, -5, 8), (7, -5, 4)


@pytest.fixture(scope="module")
def made():
    return pair(angles=ANGLES, shift=SHIFT, noise=0.03)


def truth(made):
    back = turned(made.fixed.grid, ANGLES, SHIFT)
    return Registered(matrix=np.linalg.inv(back))


def wrong(made, angles=(0, 0, 0), shift=(0, 0, 0)):
    step = Warp(matrix=turned(made.fixed.grid, angles, shift))
    return Registered(matrix=compose(step, truth(made)).matrix)


def test_the_truth_is_trusted(made):
    verdict = judge(made.fixed, made.moving, truth(made))
    assert verdict.trusted, verdict.words
    assert verdict.words == "trusted"
    assert verdict.peak > 0.8
    assert verdict.after["local_correlation"] > verdict.before["local_correlation"] + 0.3


@pytest.mark.parametrize("noise", [0.05, 0.1])  # the body is 0.5 bright, its texture 0.07
def test_noise_alone_raises_no_alarm(noise):
    noisy = pair(angles=ANGLES, shift=SHIFT, noise=noise)
    verdict = judge(noisy.fixed, noisy.moving, truth(noisy))
    assert verdict.trusted, verdict.words


def test_nor_does_another_contrast():
    other = pair(angles=ANGLES, shift=SHIFT, contrast=lambda v: np.where(v > 0.1, 1.3 - v, v))
    verdict = judge(other.fixed, other.moving, truth(other))
    assert verdict.trusted, verdict.words


def test_nor_a_scan_that_misses_a_quarter_of_the_body(made):
    shape = made.moving.grid.shape
    part = made.moving.crop(start=(shape[0] // 4, 0, 0), stop=shape)
    verdict = judge(made.fixed, part, truth(made))
    assert verdict.trusted, verdict.words
    assert verdict.overlap < 0.95


@pytest.mark.parametrize(
    ("angles", "shift"),
    [((10, 0, 0), (0, 0, 0)), ((0, -9, 6), (0, 0, 0)), ((0, 0, 0), (9, 0, 0)),
     ((0, 0, 0), (0, 6, 7)), ((4, 4, -4), (5, 5, 0)), ((0, 0, 90), (0, 0, 0))],
)  # fmt: skip
def test_near_is_not_there(made, angles, shift):
    verdict = judge(made.fixed, made.moving, wrong(made, angles, shift))
    assert not verdict.trusted
    assert "of the structure agrees better when shifted by" in verdict.words


def test_a_folded_map(made):
    rng = np.random.default_rng(1)
    field = np.stack([gaussian_filter(rng.standard_normal(made.fixed.grid.shape), 2)] * 3)
    field *= 15 / np.abs(field).max()
    bent = replace(truth(made), grid=made.fixed.grid, displacement=field.astype(np.float32))
    verdict = judge(made.fixed, made.moving, bent)
    assert "the map folds at" in verdict.words
    assert verdict.folding > 1e-3


def test_another_size_and_another_place(made):
    small = np.diag([0.6, 0.6, 0.6, 1.0])
    assert (
        "changes volumes by a factor of 0.22"
        in judge(made.fixed, made.moving, Registered(matrix=small)).words
    )
    away = judge(made.fixed, made.moving, wrong(made, shift=(500, 0, 0)))
    assert "only 0% of the fixed image's structure has a counterpart" in away.words


def test_another_body(made):
    volume, _ = head(seed=9)
    other = replace(made.moving, data=np.roll(volume, 9, axis=0)[:, ::-1])
    assert not judge(made.fixed, other, truth(made)).trusted


def test_the_mirror_image_agrees_better(made):
    flipped = replace(made.fixed, data=made.fixed.data[..., ::-1].copy())
    verdict = judge(made.fixed, flipped, Registered(matrix=np.eye(4)))
    assert "a mirror image agrees better" in verdict.words


def test_landmarks_that_lie_further_apart(made):
    x = made.fixed.grid.to_world([[10, 10, 10], [30, 12, 20], [20, 40, 14]])
    verdict = judge(made.fixed, made.moving, truth(made), landmarks=(x, x))
    assert "the landmarks lie further apart than before" in verdict.words


def test_a_map_whose_way_back_is_wrong(made):
    grid = made.fixed.grid
    rng = np.random.default_rng(2)
    field = np.stack([gaussian_filter(rng.standard_normal(grid.shape), 6) for _ in range(3)])
    field = (3 * field / np.abs(field).max()).astype(np.float32)
    bent = Registered(matrix=np.eye(4), grid=grid, displacement=field, backward=-8 * field)
    assert "there and back misses by" in judge(made.fixed, made.fixed, bent).words
    true_back = np.asarray(invert(bent, grid=grid).displacement)
    fine = judge(made.fixed, made.fixed, replace(bent, backward=true_back))
    assert "there and back" not in fine.words


def test_what_the_mask_leaves_out_is_not_held_against_it(made):
    """Half of the moving image shows something else; the other half is what was asked for."""
    data = made.moving.data.copy()
    half = data.shape[1] // 2
    data[:, half:] = (
        np.random.default_rng(3).permutation(data[:, half:].ravel()).reshape(data[:, half:].shape)
    )
    other = made.moving.with_data(data)
    x = made.fixed.grid.to_world(np.stack(np.indices(made.fixed.shape), axis=-1))
    y = points(truth(made), x)
    inside = made.fixed.grid.to_index(y)[..., 1] < half - 4
    whole = judge(made.fixed, other, truth(made))
    asked = judge(made.fixed, other, truth(made), mask=inside.astype(np.float32))
    assert not whole.trusted
    assert asked.trusted, asked.words
    # A wrong map stays wrong where it was looked at.
    assert not judge(
        made.fixed, other, wrong(made, shift=(0, 0, 9)), mask=inside.astype(np.float32)
    ).trusted


def textures(seed, shape=(40, 44, 36)):
    rng = np.random.default_rng(seed)
    one = gaussian_filter(rng.standard_normal(shape), [2 if n > 1 else 0 for n in shape])
    return (0.5 + 0.2 * one / one.std()).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 44, 36), (1, 90, 80)])
def test_landscape_of_the_same_of_strangers_and_beside(shape):
    one = textures(1, shape)
    same = landscape(one, 1 - 0.5 * one)
    assert same.here > 0.99
    assert same.peak > 0.99
    strangers = landscape(one, textures(2, shape))
    assert len(shifts(shape)) == (8 if shape[0] == 1 else 26)
    # By chance a place is best here once in as many places as are looked at.
    assert strangers.peak < 4 / (len(shifts(shape)) + 1)
    beside = landscape(one, np.roll(one, 2, axis=2))
    assert beside.peak < 0.1


def test_what_has_no_value_is_left_out():
    one = textures(1)
    half = one.copy()
    half[:20] = np.nan
    seen = landscape(one, half)
    assert seen.here > 0.99
    assert seen.peak > 0.95
    assert landscape(one, np.full_like(one, np.nan)).peak == 0
    assert landscape(np.ones_like(one), one).peak == 0


def test_text_is_words_then_numbers():
    verdict = Verdict(trusted=False, reasons=("one", "two"), notes=("three",))
    lines = verdict.text.splitlines()
    assert lines[0] == verdict.words == "do not trust: one; two"
    assert lines[-1] == "three"
