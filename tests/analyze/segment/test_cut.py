"""Graph cuts: SciPy's flow on small graphs, balls with noise, boxes, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_flow

from somascope.analyze.segment.cut import UNIT, minimum_cut, neighbours
from somascope.analyze.segment.graph_cut import graph_cut
from somascope.analyze.segment.models import fitted, log_density, noise
from somascope.core import Image, Progress
from somascope.core.errors import Cancelled, GeometryError, ParameterError
from somascope.testing import check_operation
from tests.analyze.segment.bodies import LONG, ROUND, apart, ball, dice, grid, noisy, scribbled


def scipys(terminal, values, unknown, spacing, *, sharp, strength, connectivity):
    """The same graph by SciPy: its flow, and what a labelling costs."""
    shape = values.shape
    steps, across = neighbours(shape, spacing, connectivity)
    wide = tuple(n + 2 for n in shape)
    inner = np.zeros(wide, bool)
    inner[1:-1, 1:-1, 1:-1] = unknown
    flat, u = np.pad(values, 1).reshape(-1).astype(float), inner.reshape(-1)
    pull = np.pad(np.where(unknown, terminal, 0), 1).reshape(-1)
    rows, columns, amounts = [], [], []
    for s, a in zip(steps, across, strict=True):
        v = np.flatnonzero(u)
        v = v[u[v + s]]
        c = np.rint(strength * UNIT * a * np.exp(-sharp * (flat[v + s] - flat[v]) ** 2))
        rows.append(v), columns.append(v + s), amounts.append(c)
    source, sink = flat.size, flat.size + 1
    up, down = np.flatnonzero(pull > 0), np.flatnonzero(pull < 0)
    rows += [np.full(up.size, source), down]
    columns += [up, np.full(down.size, sink)]
    amounts += [pull[up], -pull[down]]
    graph = coo_array(
        (np.concatenate(amounts).astype(np.int32), (np.concatenate(rows), np.concatenate(columns))),
        shape=(flat.size + 2,) * 2,
    ).tocsr()

    def costs(inside):
        side = np.zeros(flat.size + 2, bool)
        side[source] = True
        side[: flat.size] = np.pad(inside, 1).reshape(-1)
        made = graph.tocoo()
        return int(made.data[side[made.row] & ~side[made.col]].sum())

    return int(maximum_flow(graph, source, sink).flow_value), costs


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from([(1, 6, 7), (4, 5, 6), (3, 1, 8), (6, 7, 5)]),
    connectivity=st.sampled_from([6, 18, 26]),
    strength=st.floats(0.0, 5.0),
    seed=st.integers(0, 10_000),
)
def test_the_flow_is_scipys_and_the_cut_costs_as_much(shape, connectivity, strength, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape).astype(np.float32)
    terminal = rng.integers(-3000, 3000, shape).astype(np.int32)
    unknown = rng.random(shape) < 0.9
    settings_ = {"sharp": 0.5, "strength": strength, "connectivity": connectivity}
    flow, inside = minimum_cut(terminal, values, unknown, LONG, **settings_)
    theirs, costs = scipys(terminal, values, unknown, LONG, **settings_)
    assert flow == theirs
    assert costs(inside) == theirs
    assert not inside[~unknown].any()


@pytest.mark.parametrize("spacing", [ROUND, LONG])
def test_a_noisy_ball_is_found(spacing):
    at = grid((round(40 / spacing[0]), 40, 40), spacing)
    truth = ball(at, 12)
    image = noisy(at, truth, noise=30.0)
    mask = graph_cut(image, scribbled(at, ball(at, 4), ~ball(at, 19)))
    assert dice(mask.data, truth) > 0.97
    assert apart(mask.data, truth, spacing) < 0.4 * max(spacing)


def test_a_box_does_for_scribbles():
    at = grid((24, 36, 36))
    truth = ball(at, 8, (3, -2, 1)) | ball(at, 5, (-4, 4, 0))
    mask = graph_cut(noisy(at, truth, noise=20.0), box=(-11.0, -12.0, -9.0, 13.0, 11.0, 10.0))
    assert dice(mask.data, truth) > 0.96


def test_a_dark_core_is_kept_by_two_distributions():
    """One side may have several values, as GrabCut's colour models allow."""
    at = grid((1, 60, 60))
    outer, core = ball(at, 20), ball(at, 9)
    data = np.where(core, 0.0, np.where(outer, 200.0, 100.0))
    data += np.random.default_rng(1).normal(0, 12, data.shape)
    marks = scribbled(at, ball(at, 3) | (outer & ~ball(at, 17)), ~ball(at, 26))
    mask = graph_cut(Image(data.astype(np.float32), at), marks, components=2)
    assert dice(mask.data, outer) > 0.97


def test_marks_are_kept_whatever_the_values():
    at = grid((6, 24, 24))
    truth = ball(at, 6)
    lying = ball(at, 1.5, (9, 9, 0))
    mask = graph_cut(noisy(at, truth), scribbled(at, ball(at, 2) | lying, ~ball(at, 14)))
    assert mask.data[lying].all()
    assert not mask.data[~ball(at, 14)].any()


@settings(max_examples=6, deadline=None)
@given(scale=st.floats(1e-3, 1e4), axis=st.integers(0, 2))
def test_scale_and_flips_do_not_count(scale, axis):
    at = grid((6, 20, 20))
    values = noisy(at, ball(at, 6)).data
    marks = scribbled(at, ball(at, 2), ~ball(at, 9))
    first = graph_cut(Image(values, at), marks).data
    again = graph_cut(Image(values.astype(np.float64) * scale, at), marks).data
    assert (first == again).mean() > 0.99
    flipped = scribbled(at, *(np.flip(marks.data == k, axis) for k in (1, 2)))
    turned = graph_cut(Image(np.flip(values, axis).copy(), at), flipped).data
    assert (turned == np.flip(first, axis)).mean() > 0.99


def test_models_tell_the_noise_and_two_humps():
    rng = np.random.default_rng(0)
    values = rng.normal(50, 7.0, (8, 40, 40)).astype(np.float32)
    assert noise(values, np.ones(values.shape, bool)) == pytest.approx(7.0, rel=0.05)
    sample = np.concatenate([rng.normal(0, 5, 3000), rng.normal(60, 5, 1000)]).astype(np.float32)
    model = fitted(sample, 2, 0.1)
    assert model.means == pytest.approx((0, 60), abs=2)
    grid_ = np.linspace(-300, 300, 6001)
    total = np.exp(log_density(model, grid_, 600.0)).sum() * 0.1
    assert total == pytest.approx(1.0, abs=0.01)
    assert np.isfinite(log_density(model, np.array([1e9]), 1.0)).all()


def test_what_it_refuses():
    at = grid((4, 14, 14))
    image = noisy(at, ball(at, 3))
    with pytest.raises(ParameterError, match="nothing is marked as outside"):
        graph_cut(image, points=(0.0, 0.0, 0.0))
    with pytest.raises(ParameterError, match="nothing is marked as inside"):
        graph_cut(image)
    with pytest.raises(ParameterError, match="two corners"):
        graph_cut(image, box=(1.0, 2.0, 0.0))
    with pytest.raises(ParameterError, match="whole image"):
        graph_cut(image, box=(-6.5, -6.5, -1.5, 6.5, 6.5, 1.5))
    with pytest.raises(ParameterError, match="outside of the box"):
        graph_cut(image, box=(-3.0, -3.0, -1.0, 3.0, 3.0, 1.0), points=(5.0, 5.0, 0.5))
    with pytest.raises(GeometryError, match="scribbles lie"):
        graph_cut(image, scribbled(grid((4, 14, 14), LONG), ball(at, 1.5), ~ball(at, 5)))
    with pytest.raises(ParameterError, match="constant"):
        graph_cut(Image(np.zeros(at.shape), at), points=(0.0, 0.0, 0.0), outside=(5.0, 5.0, 0.0))
    with pytest.raises(Cancelled):
        graph_cut(
            image, scribbled(at, ball(at, 1.5), ~ball(at, 5)), progress=Progress(None, lambda: True)
        )


def test_the_doors():
    check_operation("segment.graph_cut")
