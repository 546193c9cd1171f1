"""What is compiled for speed gives what the plain forms give."""

from types import SimpleNamespace

import numpy as np
import pytest

from somascope.acquire.mri import lanes
from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.descent import PlaneTV, conjugate
from somascope.acquire.mri.normal import back_projected, normal_operators
from somascope.acquire.operators import Identity, Scale, Sum
from somascope.acquire.priors import TV
from somascope.acquire.solvers import cg
from somascope.core import Grid
from somascope.core.errors import ParameterError


def noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def scan(shape, coils, *, slices=1, leading=None, lines=False):
    grid = Grid.from_spacing((slices, *shape), (3.0, 1.0, 1.0))
    repeats = tuple(len(v) for v in (leading or {}).values())
    rng = np.random.default_rng(1)
    mask = rng.random((*repeats, slices, *shape)) < 0.4
    if lines:
        mask = np.broadcast_to(mask[..., :1], mask.shape)
    return CartesianScan(
        grid, sensitivities=noise((coils, slices, *shape), 2) / np.sqrt(coils), mask=mask,
        dimensions=2, leading=leading,
    )  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12, 48, 60, 64])
def test_filtering_is_transform_product_transform(n):
    line = np.random.default_rng(n).standard_normal((n, 2, lanes.LANES)).astype(np.float32)
    factor = np.random.default_rng(n + 1).random(n).astype(np.float32)
    ours = line.copy()
    lanes.filtered(ours, n, factor[lanes.order(n)], *lanes.plan(n))
    values = line[:, 0] + 1j * line[:, 1]
    truth = np.fft.ifft(np.fft.fft(values, axis=0) * factor[:, None], axis=0) * n
    np.testing.assert_allclose(ours[:, 0] + 1j * ours[:, 1], truth, atol=2e-5 * n)


@pytest.mark.parametrize(
    ("shape", "coils", "more"),
    [
        ((32, 48), 8, {}),
        ((40, 30), 5, {"slices": 3}),
        ((24, 24), 11, {"leading": {"echo": [5.0, 10.0]}}),
        ((24, 27), 3, {}),  # odd: the plain way
        ((24, 32), 4, {"lines": True}),  # lines: the plain way
    ],
)
def test_back_projection_is_the_adjoint(shape, coils, more):
    one = scan(shape, coils, **more)
    y = noise(one.range, 3)
    ours = back_projected(y, one, normal_operators(one))
    truth = one.adjoint(y)
    assert ours.dtype == np.complex64
    assert np.linalg.norm(ours - truth) < 2e-6 * np.linalg.norm(truth)


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_conjugate_gradients_are_those_of_the_solvers(damping):
    one = scan((32, 32), 8)
    (gram,) = normal_operators(one)
    back = one.adjoint(noise(one.range, 3)).astype(np.complex64)
    system = Sum(gram, Scale(Identity(gram.domain), damping)) if damping else gram
    truth = cg(system, back, iterations=12)
    ours = conjugate(gram, back, iterations=12, damping=damping)
    assert np.linalg.norm(ours.x - truth.x) < 1e-4 * np.linalg.norm(truth.x)
    np.testing.assert_allclose(ours.residuals, truth.residuals, rtol=1e-3)
    stopped = conjugate(gram, back, iterations=200, damping=1.0, tolerance=1e-3)
    assert stopped.stopped == "tolerance"
    assert stopped.residuals[-1] <= 1e-3 < stopped.residuals[-2]


def test_conjugate_gradients_refuse_what_they_cannot_solve():
    back = noise((1, 8, 8))
    downwards = SimpleNamespace(forward=lambda x: -x)
    with pytest.raises(ParameterError, match="not positive"):
        conjugate(downwards, back, iterations=3)
    back[0, 0, 0] = np.nan
    with pytest.raises(ParameterError, match="not finite"):
        conjugate(SimpleNamespace(forward=lambda x: x), back, iterations=3)


@pytest.mark.parametrize("spacing", [None, (1.0, 2.5)])
def test_plane_tv_is_tv(spacing):
    x = noise((2, 33, 40), 5)
    x[:, 8:20, 10:30] += 4
    facts = {"ndim": 2, "spacing": spacing, "iterations": 8, "warm": True}
    ours, plain = PlaneTV(0.7, **facts), TV(0.7, **facts)
    for step in (1.0, 0.5):  # the second call starts from the dual of the first
        np.testing.assert_allclose(ours.prox(x, step), plain.prox(x, step), atol=2e-5)
    assert np.array_equal(PlaneTV(0.0, **facts).prox(x, 1.0), x)
    long = {**facts, "iterations": 40}  # more inner steps: with the stopping rule of the plain one
    assert np.array_equal(PlaneTV(0.7, **long).prox(x, 1.0), TV(0.7, **long).prox(x, 1.0))
