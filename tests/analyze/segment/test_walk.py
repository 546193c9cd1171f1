"""The random walker: scikit-image's probabilities, closed forms, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.analyze.segment.knit import Knit, numbered, solved
from somascope.analyze.segment.random_walker import random_walker, walked
from somascope.analyze.segment.walk import Cycle, _free, edge_weights, levels_of
from somascope.analyze.segment.walk_kernels import grounded
from somascope.core import Axis, Image, Progress
from somascope.core.errors import Cancelled, GeometryError, ParameterError
from somascope.testing import check_operation
from tests.analyze.segment.bodies import LONG, ROUND, apart, ball, dice, grid, noisy, scribbled


def scene(shape=(10, 30, 34), seed=3):
    """Three regions, and a label in each."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.3, shape)
    values[:, :, shape[2] // 2 :] += 1
    values[:, shape[1] // 2 :] += 2
    labels = np.zeros(shape, np.int32)
    z = shape[0] // 2
    labels[z, 4:7, 4] = 1
    labels[z, 5, -6:-3] = 2
    labels[z, -5, -7:-4] = 3
    return values.astype(np.float32), labels


@pytest.mark.parametrize("shape", [(10, 30, 34), (1, 40, 52)])
def test_probabilities_are_scikit_images(shape):
    from skimage.segmentation import random_walker as peer

    values, labels = scene(shape)
    values = (values / values.std()).astype(np.float64)
    weights = edge_weights(
        values.astype(np.float32), np.ones(shape, bool), ROUND, beta=5.0, least=1e-10
    )
    numbers, ours, _ = walked(weights, labels, ROUND, tolerance=1e-6)
    given_, marks = (values, labels) if shape[0] > 1 else (values[0], labels[0])
    # Theirs has beta over ten standard deviations, and no standard deviation squared.
    theirs = peer(given_, marks, beta=50.0, mode="cg_j", tol=1e-8, return_full_prob=True)
    assert numbers == (1, 2, 3)
    assert np.abs(ours.reshape(theirs.shape) - theirs).max() < 2e-3
    agree = np.argmax(ours, axis=0).reshape(marks.shape) == np.argmax(theirs, axis=0)
    assert agree.mean() > 0.999


def test_the_cycle_is_symmetric_and_positive():
    """As conjugate gradients want their preconditioner."""
    values, labels = scene((5, 21, 18))
    inside = np.ones(labels.shape, bool)
    weights = edge_weights(values, inside, LONG, beta=10.0)
    diagonal, b = (np.empty(labels.shape, np.float32) for _ in range(2))
    grounded(weights, labels, 1, diagonal, b)
    grids = levels_of(_free(weights, labels), diagonal, LONG)
    assert len(grids) >= 2
    cycle = Cycle(grids)
    rng = np.random.default_rng(0)
    free = labels == 0
    for _ in range(3):
        u, v = (np.where(free, rng.normal(size=labels.shape), 0).astype(np.float32) for _ in "uv")
        one = float((u * cycle(v)).sum(dtype=np.float64))
        two = float((v * cycle(u)).sum(dtype=np.float64))
        assert one == pytest.approx(two, rel=1e-3, abs=1e-3)
        assert float((u * cycle(u)).sum(dtype=np.float64)) > 0


def test_an_even_plate_has_the_logarithmic_potential():
    """Between two circles the harmonic function is known; z is far and must not matter."""
    at = grid((1, 81, 61), (1.0, 0.75, 1.0))
    index = np.stack(np.meshgrid(*map(np.arange, at.shape), indexing="ij"), axis=-1)
    world = at.to_world(index)
    r = np.hypot(world[..., 0], world[..., 1])
    labels = np.where(r <= 5, 1, np.where(r >= 25, 2, 0)).astype(np.int32)
    values = np.random.default_rng(0).normal(size=at.shape).astype(np.float32)
    weights = edge_weights(values, np.ones(at.shape, bool), at.spacing, beta=0.0)
    _, chance, _ = walked(weights, labels, at.spacing, tolerance=1e-5)
    ring = (r > 7) & (r < 23)
    truth = np.log(25 / r[ring]) / np.log(5)
    assert np.abs(chance[0][ring] - truth).max() < 0.03


def hard(shape, seed=0, *, beta=200.0):
    """Noise under a large beta: weights from 1 to a millionth, anywhere."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape).astype(np.float32)
    labels = np.zeros(shape, np.int32)
    labels[0, :, 0], labels[-1, :, -1] = 1, 2
    labels[0, 0, shape[2] // 2] = 3
    return edge_weights(values, np.ones(shape, bool), ROUND, beta=beta), labels


def test_noise_under_a_large_beta_is_solved_exactly():
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import spsolve

    weights, labels = hard((6, 16, 14))
    n = labels.size
    index = np.arange(n).reshape(labels.shape)
    rows, columns, values = [], [], []
    for axis in range(3):
        a, b = (np.moveaxis(index, axis, 0)[s].ravel() for s in (slice(0, -1), slice(1, None)))
        w = np.moveaxis(weights[axis], axis, 0)[:-1].ravel().astype(float)
        rows += [a, b]
        columns += [b, a]
        values += [-w, -w]
    far = coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n)
    ).tocsr()
    matrix = far + coo_array((-far.sum(axis=1), (range(n), range(n))), shape=(n, n)).tocsr()
    marked, free = labels.ravel() > 0, labels.ravel() == 0
    ones = (labels.ravel() == 1).astype(float)
    truth = ones.copy()
    truth[free] = spsolve(matrix[free][:, free].tocsc(), -matrix[free][:, marked] @ ones[marked])
    _, chance, left = walked(weights, labels, ROUND, tolerance=1e-6)
    assert left <= 1e-6
    assert np.abs(chance[0].ravel() - truth).max() < 2e-2


def test_strong_links_take_few_steps_whatever_the_size():
    steps = []
    for shape in ((6, 20, 20), (10, 34, 34)):
        weights, labels = hard(shape, beta=4.0)
        unknown = labels == 0
        pull = np.full(int(unknown.sum()), 1e-3)
        free = _free(weights, labels)
        said = []
        _, left = solved(
            Knit(free, numbered(unknown), pull), pull, np.zeros(pull.size), tolerance=1e-6,
            iterations=60, progress=Progress(lambda _, m, s=said: s.append(m)),
        )  # fmt: skip
        assert left <= 1e-6
        steps.append(len(said))
    assert steps[1] < steps[0] + 10


def test_what_is_not_solved_is_said(monkeypatch):
    from somascope.analyze.segment import random_walker as module
    from somascope.analyze.segment.walk import potential

    at = grid((6, 24, 24))
    image = noisy(at, ball(at, 6), noise=80.0)
    marks = scribbled(at, ball(at, 2), ~ball(at, 10))
    full = random_walker(image, marks, background=2, beta=500.0)
    assert "stopped" not in full.segments[0].algorithm
    monkeypatch.setattr(module, "potential", lambda *a, **k: potential(*a, **k, iterations=2))
    short = random_walker(image, marks, background=2, beta=500.0)
    assert "stopped at an error of" in short.segments[0].algorithm


@pytest.mark.parametrize("spacing", [ROUND, LONG])
def test_a_noisy_ball_is_found(spacing):
    at = grid((round(40 / spacing[0]), 40, 40), spacing)
    truth = ball(at, 12)
    image = noisy(at, truth, noise=25.0)
    mask = random_walker(image, scribbled(at, ball(at, 4), ~ball(at, 18)), background=2, beta=30.0)
    assert dice(mask.data, truth) > 0.95
    assert apart(mask.data, truth, spacing) < 0.5 * max(spacing)
    assert len(mask.segments) == 1


def test_points_do_for_scribbles_and_probabilities_add_up():
    at = grid((12, 30, 30))
    truth = ball(at, 5, (-4, 0, 0))
    image = noisy(at, truth, noise=8.0)
    mask = random_walker(
        image, points=(-4.0, 0.0, 0.0), outside=(9.0, 9.0, 4.0, 9.0, -9.0, -4.0, -12.0, 10.0, 0.0)
    )
    assert dice(mask.data, truth) > 0.9
    marks = scribbled(at, ball(at, 2, (-4, 0, 0)), ~ball(at, 13))
    both = random_walker(image, marks, output="probability")
    assert both.fractional
    np.testing.assert_allclose(both.data.sum(axis=0), 1, atol=1e-4)
    assert [s.number for s in both.segments] == [1, 2]


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-3, 1e4), shift=st.floats(-1e3, 1e3), axis=st.integers(0, 2))
def test_scale_offset_and_flips_do_not_count(scale, shift, axis):
    at = grid((6, 20, 20))
    values = noisy(at, ball(at, 6)).data
    marks = scribbled(at, ball(at, 2), ~ball(at, 9))
    first = random_walker(Image(values, at), marks).data
    changed = Image((values.astype(float) * scale + shift * scale).astype(np.float64), at)
    again = random_walker(changed, marks).data
    assert (first == again).mean() > 0.995
    turned = Image(np.flip(values, axis).copy(), at)
    flipped = scribbled(at, *(np.flip(marks.data == k, axis) for k in (1, 2)))
    assert (random_walker(turned, flipped).data == np.flip(first, axis)).mean() > 0.995
    assert (first[marks.data == 1] == 1).all()


def test_missing_values_are_walls():
    at = grid((1, 20, 21))
    values = np.random.default_rng(0).normal(size=at.shape).astype(np.float32)
    values[..., 10] = np.nan
    marks = np.zeros(at.shape, bool)
    marks[0, 5, 3] = True
    other = np.zeros(at.shape, bool)
    other[0, 15, 6] = True
    found = random_walker(Image(values, at), scribbled(at, marks, other)).data
    assert (found[..., :10] > 0).all()
    assert not found[..., 10:].any()  # no way leads there


def test_what_it_refuses():
    at = grid((4, 12, 12))
    image = noisy(at, ball(at, 3))
    one, two = ball(at, 1.5), ~ball(at, 5)
    marks = scribbled(at, one, two)
    with pytest.raises(GeometryError, match="scribbles lie on a grid"):
        random_walker(image, scribbled(grid((4, 12, 12), LONG), one, two))
    with pytest.raises(ParameterError, match="scribbles are empty"):
        random_walker(image, scribbled(at, one & False, two & False))
    with pytest.raises(ParameterError, match="mark a second segment"):
        random_walker(image, scribbled(at, one))
    with pytest.raises(ParameterError, match="constant"):
        random_walker(Image(np.ones(at.shape), at), marks)
    with pytest.raises(ParameterError, match="no finite value"):
        random_walker(Image(np.full(at.shape, np.nan), at), marks)
    with pytest.raises(ParameterError, match="lies outside of the image"):
        random_walker(image, points=(500.0, 0.0, 0.0), outside=(0.0, 0.0, 0.0))
    with pytest.raises(ParameterError, match="three"):
        random_walker(image, points=(0.0, 0.0), outside=(0.0, 0.0, 0.0))
    with pytest.raises(ParameterError, match="inside and as outside"):
        random_walker(image, points=(0.5, 0.5, 0.5), outside=(0.5, 0.5, 0.5))
    holes = np.where(one, np.nan, image.data)
    with pytest.raises(ParameterError, match="without a value"):
        random_walker(Image(holes, at), marks)
    several = Image(np.stack([image.data] * 2), at, axes=(Axis("t"),))
    with pytest.raises(GeometryError, match=r"image\.at"):
        random_walker(several, marks)
    with pytest.raises(Cancelled):
        random_walker(image, marks, progress=Progress(None, lambda: True))


def test_the_doors():
    check_operation("segment.random_walker")
    check_operation("segment.random_walker", params={"output": "probability"})
