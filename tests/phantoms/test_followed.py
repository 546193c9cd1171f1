"""The phantom of two examinations: volumes, places and motion are what they claim."""

import numpy as np
import pytest

from somascope.core.errors import ParameterError
from somascope.phantoms import Motion, thorax_follow_up, thorax_grid
from somascope.phantoms.followed import BIRTHPLACES, SITES

GRID = thorax_grid((40, 56, 72), (5.0, 4.0, 4.0))


def test_motion_has_an_inverse():
    motion = Motion(bend=6.0, turn=5.0, seed=4)
    x = np.random.default_rng(0).uniform(-150, 150, (200, 3))
    assert np.abs(motion.to_prior(motion.to_current(x)) - x).max() < 2e-3
    assert np.linalg.norm(motion.to_prior(x) - x, axis=1).max() > 5
    with pytest.raises(ParameterError, match="folds"):
        Motion(bend=90.0, length=60.0).to_current(x)


def test_lesions_grow_go_and_come_where_they_should():
    made = thorax_follow_up(GRID, growth=(0.5, -1, 0.0), new=1, radius=12.0, noise_hu=0.0)
    assert made.after[1] is None
    assert made.after[0].volume == pytest.approx(1.5 * made.before[0].volume)
    assert made.after[2].volume == pytest.approx(made.before[2].volume)
    for then, now in zip(made.before, made.after, strict=True):
        if now is not None:
            assert np.allclose(made.motion.to_prior(np.array(now.centre)), then.centre, atol=2e-3)
    voxel = made.current.grid.voxel_volume
    counted = [(made.current_lesions.data == n).sum() * voxel for n in (1, 2, 3)]
    truth = [made.after[0].volume, made.after[2].volume, made.born[0].volume]
    assert counted == pytest.approx(truth, rel=0.15)
    assert made.current.data[made.current_lesions.data > 0].min() > -5
    assert made.prior.attributes["PatientID"] == made.current.attributes["PatientID"]
    assert made.prior.attributes["StudyDate"] < made.current.attributes["StudyDate"]
    assert made.prior.grid.frame_of_reference != made.current.grid.frame_of_reference


def test_the_body_has_moved_as_the_motion_says():
    made = thorax_follow_up(GRID, growth=(), noise_hu=0.0)
    grid = made.current.grid
    index = np.argwhere(made.current.data > 200)
    there = np.rint(made.prior.grid.to_index(made.motion.to_prior(grid.to_world(index)))).astype(
        int
    )
    inside = ((there >= 0) & (there < grid.shape)).all(axis=1)
    was = made.prior.data[tuple(there[inside].T)]
    assert (was > 0).mean() > 0.8  # bone of 4 mm voxels, interpolated
    assert made.prior_lesions.data.max() == 0


def test_places_lie_in_the_lungs_and_apart():
    made = thorax_follow_up(GRID, growth=(0.0,) * len(SITES), noise_hu=0.0)
    bare = thorax_follow_up(GRID, growth=(), noise_hu=0.0)
    inside = made.prior_lesions.data > 0
    assert (bare.prior.data[inside] < -800).mean() > 0.97
    places = np.array(SITES)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(len(SITES), 1)]
    assert apart.min() > 34
    assert len(BIRTHPLACES) == 3
    with pytest.raises(ParameterError, match="room for"):
        thorax_follow_up(GRID, growth=(0.0,) * 9)
    with pytest.raises(ParameterError, match="room for"):
        thorax_follow_up(GRID, growth=(-2.0,))
