"""Registrations by hand: pairs of points, and an image that is pushed into place."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.rigid import centre_of, matrix
from somascope.analyze.register import points
from somascope.analyze.register.manual import nudge, register_landmarks
from somascope.core import Warp
from somascope.core.errors import ParameterError
from somascope.testing import check_operation
from tests.analyze.register.pairs import pair, turned

SMALL = {"shape": (30, 32, 28), "spacing": (4.5, 4.5, 4.5)}
ANGLES, SHIFT = (0, 25, 0), (14, -9, 6)
MARKS = [[8, 8, 8], [22, 10, 14], [12, 24, 10], [18, 14, 22], [10, 18, 20]]


@pytest.fixture(scope="module")
def made():
    return pair(angles=ANGLES, shift=SHIFT, **SMALL)


def marks(made, noise=0.0):
    here = made.fixed.grid.to_world(np.array(MARKS))
    truth = Warp(matrix=np.linalg.inv(turned(made.fixed.grid, ANGLES, SHIFT)))
    rng = np.random.default_rng(4)
    there = points(truth, here) + noise * rng.standard_normal(here.shape)
    return tuple(here.ravel().tolist()), tuple(there.ravel().tolist())


def test_pairs_of_points_make_the_map_and_say_what_to_expect(made):
    here, there = marks(made, noise=0.6)
    warp = register_landmarks(made.fixed, made.moving, fixed_points=here, moving_points=there)
    assert made.error(lambda x: points(warp, x)).mean() < 1.5
    assert warp.verdict.trusted, warp.verdict.words
    text = warp.verdict.text
    for said in (
        "fiducial registration error (rigid): ", " of 5 pairs", "localisation error: ",
        "expected target error in the middle", "a pair that is left out is missed by",
    ):  # fmt: skip
        assert said in text


def test_refined_by_content(made):
    here, there = marks(made, noise=2.0)
    rough = register_landmarks(made.fixed, made.moving, fixed_points=here, moving_points=there)
    fine = register_landmarks(
        made.fixed, made.moving, fixed_points=here, moving_points=there, refine="rigid"
    )
    before, after = (made.error(lambda x, w=w: points(w, x)).mean() for w in (rough, fine))
    assert after < 0.4 < before
    assert "expected target error" in fine.verdict.text


def test_points_that_do_not_pair_are_refused(made):
    here, there = marks(made)
    with pytest.raises(ParameterError, match="give L, P and S of each point"):
        register_landmarks(
            made.fixed, made.moving, fixed_points=here[:-1], moving_points=there[:-1]
        )
    with pytest.raises(ParameterError, match="as many points"):
        register_landmarks(made.fixed, made.moving, fixed_points=here[:-3], moving_points=there)


def test_a_push_undoes_a_known_motion():
    moved = pair(shift=(9, -6, 5), **SMALL)
    # What lies at x of the moving image was seen at x + shift of the fixed one.
    right = nudge(moved.fixed, moved.moving, shift=(9, -6, 5))
    assert moved.error(lambda x: points(right, x)).max() < 1e-3
    assert right.verdict.trusted, right.verdict.words
    wrong = nudge(moved.fixed, moved.moving, shift=(-9, 6, -5))
    assert not wrong.verdict.trusted
    assert right.verdict.notes[-1] == "pushed by hand: +9.0, -6.0, +5.0 mm (L, P, S)"


def test_a_turn_is_about_the_middle_of_the_first_image():
    moved = pair(angles=(0, 0, 12), **SMALL)
    right = nudge(moved.fixed, moved.moving, turn=(0.0, 0.0, 12.0))
    assert moved.error(lambda x: points(right, x)).max() < 1e-3


def test_a_push_goes_on_from_a_registration(made):
    grid = made.fixed.grid
    rng = np.random.default_rng(0)
    field = rng.standard_normal((3, 4, 4, 4)).astype(np.float32)
    from somascope.core import Grid

    lattice = Grid.from_spacing((4, 4, 4), (40.0, 40.0, 40.0), origin=grid.origin)
    start = Warp(
        matrix=turned(grid, (3, 0, 4), (1, 2, 3)), grid=lattice, displacement=field,
        fixed_frame="1.2.3", moving_frame="1.2.4",
    )  # fmt: skip
    warp = nudge(made.fixed, made.moving, start, shift=(2.0, 0.0, -3.0), turn=(0.0, 5.0, 0.0))
    x = grid.to_world(np.array([[10, 12, 9], [20, 16, 18], [15, 15, 15]]))
    back = np.linalg.inv(matrix(np.array([2.0, 0, -3, 0, 5, 0]), centre_of(grid)))
    wanted = points(
        replace(start, fixed_frame="", moving_frame=""), x @ back[:3, :3].T + back[:3, 3]
    )
    assert np.abs(points(warp, x) - wanted).max() < 0.05  # sampled anew on the turned lattice
    with pytest.raises(ParameterError, match="give one, or none"):
        nudge(made.fixed, made.moving, start, start)


def test_five_doors(made):
    here, there = marks(made)
    check_operation(
        "analyze.register_landmarks", inputs=(made.fixed, made.moving),
        params={"fixed_points": here, "moving_points": there},
    )  # fmt: skip
    check_operation(
        "analyze.nudge", inputs=(made.fixed, made.moving), params={"shift": (3.0, 0.0, 0.0)}
    )
