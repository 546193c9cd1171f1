"""Masks and landmarks where a dense map would go wrong without them."""

import numpy as np

from somascope.analyze.register import points, register
from somascope.core import Mask, Segment
from tests.analyze.register.pairs import pair


def test_what_lies_outside_the_mask_does_not_pull():
    # A bright ball that only the moving image has, next to one that only the fixed one has.
    bent = pair(bend=4.0, shape=(36, 40, 36), spacing=(3.5, 3.5, 3.5))
    z, y, x = np.meshgrid(*[np.arange(n) for n in bent.fixed.shape], indexing="ij")
    far = (z - 18) ** 2 + (y - 20) ** 2
    fixed = bent.fixed.with_data(np.where(far + (x - 22) ** 2 < 25, 3.0, bent.fixed.data))
    moving = bent.moving.with_data(np.where(far + (x - 14) ** 2 < 25, 3.0, bent.moving.data))
    counted = far + (x - 18) ** 2 > 10**2
    mask = Mask(
        data=counted.astype(np.uint8), grid=fixed.grid, segments=(Segment(1, "head without balls"),)
    )
    seen = counted[tuple(np.argwhere(bent.inside)[::7].T)]

    def missed(one, two, **more):
        warp = register(one, two, "deformable", **more)
        error = bent.error(lambda p: points(warp, p))
        return error[seen].mean()

    plain = missed(bent.fixed, bent.moving)
    fooled, masked = missed(fixed, moving), missed(fixed, moving, mask=mask)
    assert plain < 0.8  # a quarter of a voxel
    assert masked - plain < 0.5 * (fooled - plain), (plain, fooled, masked)


def test_landmarks_take_the_dense_part_along():
    # Nothing to see but a uniform ball, whose inside turns: the landmarks alone know.
    from somascope.core import Grid, Image

    n = 36
    grid = Grid.from_spacing((n, n, n), (3.0, 3.0, 3.0))
    z, y, x = np.meshgrid(*[np.arange(n) - 17.5] * 3, indexing="ij")
    ball = (1 / (1 + np.exp((np.sqrt(z**2 + y**2 + x**2) - 14) * 2))).astype(np.float32)
    rng = np.random.default_rng(0)
    fixed, moving = (
        Image((ball + 0.01 * rng.standard_normal(ball.shape)).astype(np.float32), grid, "MR")
        for _ in range(2)
    )
    marks = grid.to_world(np.array([[18, 18, 12], [18, 18, 24], [12, 18, 18], [24, 18, 18]]))
    push = np.array([[0, 6, 0], [0, -6, 0], [0, 0, 0], [0, 0, 0]], float)
    warp = register(fixed, moving, "deformable", landmarks=(marks, marks + push))
    assert warp.displacement is not None
    assert np.linalg.norm(points(warp, marks) - marks - push, axis=1).max() < 1.5
    assert warp.verdict.folding == 0
    plain = register(fixed, moving, "deformable")
    assert np.linalg.norm(points(plain, marks) - marks - push, axis=1).max() > 4
