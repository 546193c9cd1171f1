import json

import numpy as np
import pytest

from somascope.analyze.register import compose, invert, points, register
from somascope.analyze.register.evidence import home, jacobian
from somascope.analyze.register.landmarks import fit
from somascope.analyze.register.transform import transform
from somascope.core import Grid, Image, Mask, Segment, Warp
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation
from tests.analyze.register.pairs import head, pair, turned


@pytest.fixture(scope="module")
def bent():
    made = pair(angles=(5, -6, 8), shift=(6, -4, 5), bend=5.0)
    return made, register(made.fixed, made.moving)


def test_a_bent_head_is_found_to_a_fraction_of_a_voxel(bent):
    made, warp = bent
    start = made.error(lambda x: x)
    missed = made.error(lambda x: points(warp, x))
    assert start.mean() > 7
    assert missed.mean() < 0.9  # under a third of a voxel
    assert np.percentile(missed, 95) < 2.2
    assert warp.verdict.trusted, warp.verdict.words
    assert warp.verdict.after["local_correlation"] > warp.verdict.before["local_correlation"]


def test_it_does_not_fold_and_comes_back(bent):
    made, warp = bent
    assert jacobian(warp).min() > 0
    assert warp.verdict.folding == 0
    x = made.fixed.grid.to_world(np.argwhere(made.inside)[::50])
    there = points(warp, x)
    assert np.abs(home(warp, there) - x).max() < 0.15  # linear between voxels of 3 mm
    assert np.abs(points(invert(warp), there) - x).max() < 0.2


def test_applied_to_image_label_and_planes(bent):
    made, warp = bent
    moved = warp.apply(made.moving, like=made.fixed)
    assert moved.grid == made.fixed.grid
    before = np.corrcoef(made.moving.data[made.inside], made.fixed.data[made.inside])[0, 1]
    after = np.corrcoef(moved.data[made.inside], made.fixed.data[made.inside])[0, 1]
    assert after > 0.97 > 0.6 > before
    labels = np.where(made.moving.data > 0.5, 7, 0).astype(np.uint8)
    carried = warp.apply(made.moving.with_data(labels), like=made.fixed, label=True)
    assert set(np.unique(carried.data)) == {0, 7}
    assert carried.data.dtype == np.uint8
    mask = Mask(data=labels, grid=made.moving.grid, segments=(Segment(7, "seven"),))
    assert np.array_equal(warp.apply(mask, like=made.fixed).data, carried.data)
    planes = Mask(data=(labels > 0)[None], grid=mask.grid, segments=(Segment(1, "one"),))
    assert np.array_equal(warp.apply(planes, like=made.fixed).data[0], carried.data > 0)


def test_rigid_motion_and_composition():
    made = pair(angles=(12, -8, 10), shift=(9, -7, 6), noise=0.02)
    warp = register(made.fixed, made.moving, "rigid")
    truth = np.linalg.inv(turned(made.fixed.grid, (12, -8, 10), (9, -7, 6)))
    assert warp.displacement is None
    assert made.error(lambda x: points(warp, x)).max() < 0.3
    assert np.abs(warp.matrix - truth)[:3, :3].max() < 2e-3
    loop = compose(warp, invert(warp))
    assert np.allclose(loop.matrix, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_wide_starts_are_caught(seed):
    rng = np.random.default_rng(seed)
    axis = rng.standard_normal(3)
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.deg2rad(29))
    shift = rng.standard_normal(3)
    shift *= 38 / np.linalg.norm(shift)
    made = pair(angles=turn.as_euler("xyz", degrees=True), shift=shift, seed=seed)
    warp = register(made.fixed, made.moving, "rigid")
    assert np.median(made.error(lambda x: points(warp, x))) < 0.5
    assert warp.verdict.trusted, warp.verdict.words


def test_another_contrast():
    made = pair(
        angles=(10, 5, -8), shift=(5, 8, -6), contrast=lambda v: np.where(v > 0.1, 1.3 - v, v)
    )
    warp = register(made.fixed, made.moving, "multimodal")
    assert np.median(made.error(lambda x: points(warp, x))) < 0.6


@pytest.mark.parametrize("shape", [(40, 44, 36), (1, 96, 88)])
def test_a_similarity_has_one_scale(shape):
    """A slice seen at another size has the scale of its plane, and none across."""
    made = pair(shape=shape, spacing=(3.5, 3.0, 3.0))
    flat = shape[0] == 1
    grid = made.fixed.grid
    scale, turn = 1.12, (0, 0, 9) if flat else (5, -4, 9)
    shift = np.array([6, -5, 0 if flat else 4])
    back = turned(grid, turn, shift)
    middle = grid.to_world((np.array(shape) - 1) / 2)
    size = np.diag([scale, scale, 1.0 if flat else scale])
    back[:3, :3] = back[:3, :3] @ size
    back[:3, 3] = middle + shift - back[:3, :3] @ middle
    from somascope.analyze.register import apply

    moving = apply(made.fixed, Warp(matrix=back), grid, order="cubic")
    warp = register(made.fixed, moving, "similarity")
    assert warp.displacement is None
    gram = warp.matrix[:3, :3].T @ warp.matrix[:3, :3]
    wanted = np.diag([scale**-2, scale**-2, 1.0 if flat else scale**-2])
    assert np.abs(gram - wanted).max() < 0.01
    x = grid.to_world(np.argwhere(made.inside)[::11])
    truth = (x - back[:3, 3]) @ np.linalg.inv(back[:3, :3]).T
    assert np.median(np.linalg.norm(points(warp, x) - truth, axis=1)) < 0.4


def test_two_contrasts_without_a_name_are_told_from_one_either_way():
    """T1 and FLAIR of a brain without its skull, and T1 twice with noise and another bias."""
    from somascope.analyze.register import affine
    from somascope.analyze.register.levels import scaled
    from somascope.phantoms import brain_grid, brain_mr
    from somascope.phantoms.brain import CSF, brain_labels

    grid = brain_grid((36, 44, 36), (4.8, 4.8, 4.8))
    brain = brain_labels(grid) >= CSF

    def seen(weighting, **more):
        return scaled(np.where(brain, brain_mr(weighting, grid, **more).data, 0)), grid

    one, again, other = seen("T1"), seen("T1", bias=0.0, noise=0.03, seed=9), seen("FLAIR")
    for a, b, differ in ((one, other, True), (other, one, True), (one, again, False),
                         (again, one, False)):  # fmt: skip
        assert affine.unlike(affine.stage(a, b, 4.8), np.eye(4)) is differ


def test_two_slices():
    made = pair(
        angles=(0, 0, 14), shift=(6, -5, 0), bend=3.0, shape=(1, 96, 88), spacing=(5.0, 1.5, 1.5)
    )
    warp = register(made.fixed, made.moving)
    missed = made.error(lambda x: points(warp, x))
    assert missed.mean() < 0.5
    assert np.allclose((points(warp, made.fixed.grid.to_world([[0, 40, 40]])))[0, 2], -65.0)


def test_grids_of_their_own():
    # The moving image oblique, anisotropic and cut: the answer is told in mm all the same.
    from somascope.process.resample import resample_to

    made = pair(angles=(4, 0, 6), shift=(4, 3, -3))
    turn = turned(made.fixed.grid, (20, 10, 0), (0, 0, 0))
    base = Grid.from_spacing((36, 50, 44), (4.0, 2.5, 3.0), origin=(-64.0, -66.0, -70.0))
    other = resample_to(made.moving, Grid(base.shape, turn @ base.affine))
    warp = register(made.fixed, other, "rigid")
    assert np.median(made.error(lambda x: points(warp, x))) < 0.4


def test_wrong_use_is_refused():
    volume, grid = head()
    image = Image(volume, grid, "MR")
    plane = image.crop(start=(20, 0, 0), stop=(21, 48, 40))
    with pytest.raises(GeometryError, match="two volumes or two slices"):
        register(image, plane)
    with pytest.raises(ParameterError, match="preset is 'magic'"):
        register(image, image, "magic")
    with pytest.raises(GeometryError, match="one value everywhere"):
        register(image, image.with_data(np.zeros_like(volume)))
    off = Mask(
        data=np.ones((4, 4, 4), np.uint8), grid=Grid.from_spacing((4, 4, 4), (1, 1, 1)),
        segments=(Segment(1, "x"),),
    )  # fmt: skip
    with pytest.raises(GeometryError, match="bring it there first"):
        register(image, image, mask=off)
    with pytest.raises(ParameterError, match="at least 3"):
        register(image, image, landmarks=([[0, 0, 0]], [[0, 0, 0]]))
    there = Warp(matrix=np.eye(4), moving_frame="1.2.3")
    placed = Image(volume, Grid(grid.shape, grid.affine, "1.2.4"), "MR")
    with pytest.raises(GeometryError, match="frame of reference"):
        there.apply(placed, like=image)


def test_strangers_are_not_trusted():
    fixed = pair(seed=1).fixed
    rng = np.random.default_rng(5)
    from scipy.ndimage import gaussian_filter

    other = gaussian_filter(rng.standard_normal(fixed.shape), 3)
    warp = register(fixed, fixed.with_data(other.astype(np.float32)), "affine")
    assert not warp.verdict.trusted
    assert warp.verdict.words.startswith("do not trust: ")
    assert warp.confidence < 0.5
    json.dumps(warp.verdict.plain())


def test_landmarks_begin_and_judge():
    made = pair(angles=(0, 60, 0), shift=(10, 0, 0))
    truth = Warp(matrix=np.linalg.inv(turned(made.fixed.grid, (0, 60, 0), (10, 0, 0))))
    marks = made.fixed.grid.to_world([[10, 10, 10], [30, 12, 20], [20, 40, 14], [14, 20, 34]])
    seen = points(truth, marks)
    assert np.allclose(fit(marks, seen).matrix, truth.matrix)
    warp = register(made.fixed, made.moving, "rigid", landmarks=(marks, seen))
    assert warp.verdict.landmarks is not None
    assert warp.verdict.landmarks[0] > 10 > 0.4 > warp.verdict.landmarks[1]


def test_five_doors():
    made = pair(shift=(4, 0, 0), shape=(20, 24, 22), spacing=(6.0, 6.0, 6.0))
    check_operation(
        "analyze.register", inputs=(made.fixed, made.moving), params={"preset": "rigid"}
    )


def test_a_map_of_other_images_is_refused_by_the_operation():
    """What a request asks for is checked as what the command line asks for."""
    grid = Grid.from_spacing((4, 8, 8), (2.0, 1.0, 1.0))
    image = Image(np.ones(grid.shape, np.float32), grid, "MR", "1")
    far = np.eye(4)
    far[0, 3] = 500.0
    with pytest.raises(GeometryError, match="do not overlap"):
        transform(image, Warp(matrix=far), image)
    slices = Grid.from_spacing((1, 8, 8), (2.0, 1.0, 1.0))
    flat = Warp(matrix=np.eye(4), grid=slices, displacement=np.zeros((3, 1, 8, 8), np.float32))
    with pytest.raises(GeometryError, match="volume of 4"):
        transform(image, flat, image)
    moved = transform(image, Warp(matrix=np.eye(4)), image)
    assert np.array_equal(moved.data, image.data)
