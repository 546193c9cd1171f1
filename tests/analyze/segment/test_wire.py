"""Live wire: SciPy's shortest ways, circles, and lengths in millimetres."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from somascope.analyze.segment.live_wire import LiveWire, edge_cost, length, live_wire
from somascope.core import Image, Progress
from somascope.core.errors import Cancelled, ParameterError
from somascope.testing import check_operation
from tests.analyze.segment.bodies import ball, dice, grid, noisy


def test_costs_are_scipys():
    rng = np.random.default_rng(0)
    cost = rng.uniform(0.1, 2.0, (9, 11)).astype(np.float32)
    spacing = (1.5, 0.5)
    found = LiveWire(cost, spacing).ways((4, 3))
    index = np.arange(cost.size).reshape(cost.shape)
    rows, columns, weights = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = index[: 9 - dy, max(0, -dx) : 11 - max(0, dx)].ravel()
        b = a + dy * 11 + dx
        far = np.hypot(dy * spacing[0], dx * spacing[1])
        rows.append(a), columns.append(b)
        weights.append(0.5 * (cost.ravel()[a] + cost.ravel()[b]).astype(float) * far)
    graph = coo_array(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
        shape=(cost.size,) * 2,
    )
    truth = dijkstra(graph.tocsr(), directed=False, indices=index[4, 3]).reshape(cost.shape)
    np.testing.assert_allclose(found.cost[1:-1, 1:-1], truth, rtol=1e-5)
    way = found.to((0, 10))
    assert tuple(way[0]) == (4, 3)
    assert tuple(way[-1]) == (0, 10)
    assert np.abs(np.diff(way, axis=0)).max() == 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.6, 0.9)])
def test_four_points_on_a_circle_are_enough(spacing):
    at = grid((3, 110, 80), spacing)
    truth = ball(at, 24)
    z = 1
    image = noisy(at, truth, noise=8.0)
    corners = [(24, 0), (0, 24), (-24, 0), (0, -24)]
    points = [v for a, b in corners for v in (a * 0.98, b * 0.98, 0.0)]
    found = live_wire(image, points=tuple(points))
    mask, around, area = found
    assert not mask.data[[0, 2]].any()
    assert dice(mask.data[z], truth[z]) > 0.95
    assert around.value == pytest.approx(2 * np.pi * 24, rel=0.03)
    assert area.value == pytest.approx(np.pi * 24**2, rel=0.05)
    assert (around.unit, area.unit) == ("mm", "mm2")


def test_an_open_wire_follows_an_edge_and_tells_its_length():
    at = grid((1, 60, 60))
    image = noisy(at, ball(at, 20), noise=4.0)
    mask, way = live_wire(image, points=(20.0, 0.0, 0.0, 0.0, 20.0, 0.0), closed=False)
    assert way.value == pytest.approx(0.5 * np.pi * 20, rel=0.06)
    assert mask.data.sum() < 60
    straight = np.array([(0.0, k, 0.0) for k in range(11)])
    assert length(straight, closed=False) == pytest.approx(10.0)


def test_cost_is_low_on_edges_and_no_scale_counts():
    at = grid((1, 40, 40))
    values = noisy(at, ball(at, 12), noise=2.0).data
    cost = edge_cost(values, at.spacing, 1.0)
    assert cost[20, 8] < 0.3 * cost[20, 20]
    np.testing.assert_allclose(edge_cost(values * np.float32(50), at.spacing, 1.0), cost, atol=1e-4)


def test_what_it_refuses():
    at = grid((3, 20, 20))
    image = noisy(at, ball(at, 5))
    with pytest.raises(ParameterError, match="two or more"):
        live_wire(image, points=(0.0, 0.0, 0.0))
    with pytest.raises(ParameterError, match="set all in one"):
        live_wire(image, points=(0.0, 0.0, 0.0, 5.0, 0.0, 1.0))
    with pytest.raises(ParameterError, match="one pixel"):
        live_wire(image, points=(0.0, 0.0, 0.0, 0.1, 0.0, 0.0))
    with pytest.raises(ParameterError, match="lies outside"):
        live_wire(image, points=(0.0, 0.0, 0.0, 90.0, 0.0, 0.0))
    even = image.data.copy()
    even[1] = 5
    with pytest.raises(ParameterError, match="constant or empty"):
        live_wire(Image(even, at), points=(0.0, 0.0, 0.0, 5.0, 0.0, 0.0))
    with pytest.raises(Cancelled):
        live_wire(
            image, points=(0.0, 0.0, 0.0, 5.0, 0.0, 0.0), progress=Progress(None, lambda: True)
        )


def test_the_doors():
    at = grid((2, 24, 24))
    image = noisy(at, ball(at, 6))
    points = (6.0, 0.0, 0.5, 0.0, 6.0, 0.5, -6.0, 0.0, 0.5)
    check_operation("segment.live_wire", params={"points": points}, inputs=(image,))
