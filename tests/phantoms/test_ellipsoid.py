"""Closed forms against numeric integration, and painting against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from somascope.core import Grid
from somascope.core.errors import ParameterError
from somascope.phantoms import (
    Ellipsoid,
    draw,
    draw_labels,
    ellipse_fourier,
    ellipse_radon,
    fourier,
    line_integrals,
)

ONE = Ellipsoid(2.0, (5.0, -3.0, 4.0), (20.0, 12.0, 8.0), (30.0, 20.0), label=1)
TWO = Ellipsoid(-0.5, (8.0, 0.0, 2.0), (9.0, 7.0, 6.0), (-50.0, 0.0), label=2)
FLAT = [
    Ellipsoid(1.0, (3.0, -4.0, 0.0), (20.0, 12.0, 30.0), (35.0, 0.0)),
    Ellipsoid(-0.4, (8.0, 2.0, 5.0), (7.0, 5.0, 9.0), (-20.0, 0.0)),
]


def inside(shape: Ellipsoid, points: np.ndarray) -> np.ndarray:
    """The definition, in another way than the code: distance in the turned, scaled frame."""
    s, l = np.deg2rad(shape.angles)
    offset = points - shape.centre
    x = np.cos(s) * offset[..., 0] + np.sin(s) * offset[..., 1]
    y = -np.sin(s) * offset[..., 0] + np.cos(s) * offset[..., 1]
    z = offset[..., 2]
    y, z = np.cos(l) * y + np.sin(l) * z, -np.sin(l) * y + np.cos(l) * z
    a, b, c = shape.radii
    return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 <= 1


def test_painting_is_the_definition() -> None:
    direction = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    steps = direction * [2, 1.7, 1.5]
    steps[:, 0] += 0.3 * steps[:, 1]  # sheared too
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = np.array([6, -2, 3]) - steps @ [11.5, 14.5, 17.5]
    grid = Grid((24, 30, 36), affine)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    world = grid.to_world(index)
    first, second = inside(ONE, world), inside(TWO, world)
    assert first.sum() > 100
    assert second.sum() > 50
    painted = np.where(second, -0.5, np.where(first, 2.0, -9.0))
    assert np.array_equal(draw([ONE, TWO], grid, background=-9), painted.astype(np.float32))
    summed = 2.0 * first - 0.5 * second
    assert np.allclose(draw([ONE, TWO], grid, summed=True), summed)
    labels = np.where(second, 2, np.where(first, 1, 0))
    assert np.array_equal(draw_labels([ONE, TWO], grid), labels)
    assert draw_labels([ONE, TWO], grid).dtype == np.uint8


def test_volume() -> None:
    grid = Grid.from_spacing((60, 60, 60), (0.8, 0.8, 0.8), origin=(-18, -27, -19))
    found = (draw([ONE], grid) > 0).sum() * grid.voxel_volume
    assert found == pytest.approx(ONE.volume, rel=0.01)


@pytest.mark.parametrize("summed", [True, False])
def test_line_integrals_against_sampling(summed: bool) -> None:
    rng = np.random.default_rng(1)
    starts = rng.uniform(-60, 60, (40, 3))
    ends = 2 * np.array([5.0, -2.0, 3.0]) - starts + rng.uniform(-8, 8, (40, 3))
    exact = line_integrals([ONE, TWO], starts, ends, summed=summed, background=0.25)
    t = (np.arange(40000) + 0.5) / 40000
    for a, b, found in zip(starts, ends, exact, strict=True):
        points = a + t[:, None] * (b - a)
        first, second = inside(ONE, points), inside(TWO, points)
        values = 2.0 * first - 0.5 * second
        if not summed:
            values = np.where(second, -0.5, np.where(first, 2.0, 0.25))
        assert found == pytest.approx(values.mean() * np.linalg.norm(b - a), abs=0.02)
    assert (exact != 0).sum() > 20


def test_a_segment_that_ends_inside() -> None:
    ball = Ellipsoid(3.0, (0, 0, 0), (10, 10, 10))
    assert line_integrals([ball], np.zeros(3), np.array([0, 0, 50.0])) == pytest.approx(30)
    assert line_integrals([ball], np.array([20.0, 0, 0]), np.array([50.0, 0, 0])) == pytest.approx(
        0
    )


def test_fourier_against_a_sum_over_voxels() -> None:
    shapes = [ONE, TWO]
    n, step = 96, 0.6
    origin = [-(n - 1) / 2 * step + c for c in (6, -2, 3)]
    grid = Grid.from_spacing((n, n, n), (step, step, step), origin=origin)
    data = draw(shapes, grid, summed=True).astype(np.float64)
    axes = [origin[i] + step * np.arange(n) for i in range(3)]
    rng = np.random.default_rng(2)
    for k in [np.zeros(3), *rng.uniform(-0.05, 0.05, (6, 3))]:
        l, p, s = (np.exp(-2j * np.pi * k[i] * axes[i]) for i in range(3))
        numeric = np.einsum("zyx,z,y,x", data, s, p, l) * step**3
        assert abs(fourier(shapes, k) - numeric) < 0.004 * abs(fourier(shapes, np.zeros(3)))


def test_fourier_near_zero_is_smooth() -> None:
    k = np.outer(np.linspace(0, 1e-3, 400), [1.0, 0.5, -0.2])
    values = fourier([ONE], k).real
    assert values[0] == pytest.approx(2.0 * ONE.volume)
    assert np.abs(np.diff(values, 3)).max() < 1e-5 * values[0]


def test_radon_against_quadrature() -> None:
    def value(x: float, y: float) -> float:
        point = np.array([x, y, 0.0])
        return sum(s.value * float(inside(s, point)) for s in FLAT)

    for theta, s in [(0.0, 2.0), (0.7, -3.0), (1.9, 5.0), (3.0, 0.0)]:
        exact = ellipse_radon(FLAT, np.array(theta), np.array(s))
        t = np.linspace(-60, 60, 60001)
        line = [
            value(s * np.cos(theta) - u * np.sin(theta), s * np.sin(theta) + u * np.cos(theta))
            for u in t[::10]
        ]
        assert exact == pytest.approx(integrate.trapezoid(line, t[::10]), abs=0.05)


def test_radon_is_the_line_integral() -> None:
    theta, s = np.meshgrid(np.linspace(0, np.pi, 9), np.linspace(-25, 25, 11))
    normal = np.stack([np.cos(theta), np.sin(theta), 0 * theta], -1)
    along = np.stack([-np.sin(theta), np.cos(theta), 0 * theta], -1)
    middle = s[..., None] * normal
    exact = line_integrals(FLAT, middle - 100 * along, middle + 100 * along, summed=True)
    assert np.allclose(ellipse_radon(FLAT, theta, s), exact, atol=1e-9)


def test_central_slice_theorem() -> None:
    """The Fourier transform of a projection is a line of the two-dimensional transform."""
    s = np.linspace(-60, 60, 24001)
    for theta in (0.0, 0.6, 2.2):
        p = ellipse_radon(FLAT, np.array(theta), s)
        for rho in (0.0, 0.01, 0.035):
            numeric = integrate.trapezoid(p * np.exp(-2j * np.pi * rho * s), s)
            k = rho * np.array([np.cos(theta), np.sin(theta)])
            assert ellipse_fourier(FLAT, k) == pytest.approx(numeric, abs=0.01)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ParameterError, match="positive"):
        Ellipsoid(1.0, (0, 0, 0), (1, 0, 1))
    with pytest.raises(ParameterError, match="line_integrals"):
        ellipse_radon([ONE], np.zeros(1), np.zeros(1))
