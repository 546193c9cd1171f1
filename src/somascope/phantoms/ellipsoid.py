"""Ellipsoids: the shapes phantoms are made of, with closed forms of what scanners measure.

Two ways to combine them. *Painted*: where shapes overlap the later one counts (organs inside a
body). *Summed*: values add up (Shepp and Logan), which makes Radon and Fourier transforms sums of
closed forms. `line_integrals` is exact for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float, Grid


@dataclass(frozen=True)
class Ellipsoid:
    """A solid ellipsoid in LPS millimetres.

    Parameters
    ----------
    value
        What it is made of: HU, activity, spin density...
    centre
        ``(L, P, S)`` in mm.
    radii
        Half axes in mm along its own three axes.
    angles
        Turns in degrees, right-handed, about S, then about the turned L axis.
    label
        Number of the structure it belongs to; 0 for none.
    """

    value: float
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angles: tuple[float, float] = (0.0, 0.0)
    label: int = 0

    def __post_init__(self) -> None:
        if min(self.radii) <= 0:
            raise ParameterError(f"Ellipsoid.radii is {self.radii}; give three positive lengths")

    @property
    def axes(self) -> Float:
        """3x3 rotation whose columns are the ellipsoid's own axes in LPS."""
        s, l = np.deg2rad(self.angles)
        about_s = np.array([[np.cos(s), -np.sin(s), 0], [np.sin(s), np.cos(s), 0], [0, 0, 1]])
        about_l = np.array([[1, 0, 0], [0, np.cos(l), -np.sin(l)], [0, np.sin(l), np.cos(l)]])
        return about_s @ about_l

    @property
    def to_unit(self) -> Float:
        """3x3 that maps an offset from the centre in mm into the unit ball."""
        return self.axes.T / np.asarray(self.radii)[:, None]

    @property
    def volume(self) -> float:
        """Volume in mm3."""
        return 4 / 3 * math.pi * math.prod(self.radii)


def _packed(shapes: Sequence[Ellipsoid]) -> tuple[Float, Float, Float]:
    units = np.array([s.to_unit for s in shapes]).reshape(-1, 3, 3)
    centres = np.array([s.centre for s in shapes], np.float64).reshape(-1, 3)
    return units, centres, np.array([s.value for s in shapes], np.float64)


def draw(
    shapes: Sequence[Ellipsoid],
    grid: Grid,
    *,
    background: float = 0.0,
    summed: bool = False,
    values: Sequence[float] | None = None,
    dtype: type = np.float32,
) -> Array:
    """Sample the shapes at the voxel centres of ``grid``, shape ``(nz, ny, nx)``.

    Parameters
    ----------
    shapes
        In painting order.
    grid
        Any grid, oblique and sheared ones too.
    background
        Where no shape is.
    summed
        Add the values instead of painting over.
    values
        One value per shape in place of its own, such as its label.
    dtype
        Of the result.
    """
    from somascope.phantoms.kernels import paint

    units, centres, own = _packed(shapes)
    chosen = own if values is None else np.asarray(values, np.float64)
    out = np.full(grid.shape, background, np.float32)
    paint(out, grid.affine, units, centres, chosen, summed)
    return out.astype(dtype, copy=False)


def draw_labels(shapes: Sequence[Ellipsoid], grid: Grid) -> Array:
    """Labels of the painted shapes, uint8; label 0 paints nothing and keeps what lies below."""
    named = [s for s in shapes if s.label]
    return draw(named, grid, values=[s.label for s in named], dtype=np.uint8)


def line_integrals(
    shapes: Sequence[Ellipsoid],
    starts: Float,
    ends: Float,
    *,
    summed: bool = False,
    background: float = 0.0,
) -> Float:
    """Exact integrals of the value along straight lines, in value times mm.

    For one ellipsoid and the line ``a + t (b - a)``: with ``u`` and ``v`` the start and direction
    in its unit ball, the chord is ``2 sqrt((u.v)^2 - v.v (u.u - 1)) / v.v`` of ``|b - a|``.

    Parameters
    ----------
    shapes
        In painting order.
    starts, ends
        LPS mm, shape ``(..., 3)``; they broadcast.
    summed
        Whether values add up where shapes overlap; otherwise the later shape counts.
    background
        Value outside all shapes, when painting; only inside the segment.

    Returns
    -------
    array
        Shape ``(...)``, float64.
    """
    from somascope.phantoms.kernels import integrate

    starts, ends = np.broadcast_arrays(np.asarray(starts, np.float64), np.asarray(ends, np.float64))
    units, centres, values = _packed(shapes)
    flat = integrate(
        np.ascontiguousarray(starts.reshape(-1, 3)),
        np.ascontiguousarray(ends.reshape(-1, 3)),
        units, centres, values, summed, background,
    )  # fmt: skip
    return flat.reshape(starts.shape[:-1])


def fourier(shapes: Sequence[Ellipsoid], k: Float) -> Array:
    """Fourier transform of the summed shapes, ``F(k) = int f(x) exp(-2 pi i k.x) dx``.

    One ellipsoid with half axes along the columns of ``R`` gives, with
    ``q = |diag(radii) R^T k|``, ``value * radii product * (sin 2 pi q - 2 pi q cos 2 pi q) /
    (2 pi^2 q^3) * exp(-2 pi i k.centre)`` (Koay, Sarlls, Ozarslan 2007).

    Parameters
    ----------
    shapes
        Taken as summed.
    k
        Spatial frequencies in cycles per mm along L, P, S; shape ``(..., 3)``.

    Returns
    -------
    array
        Complex128, shape ``(...)``, in value times mm3.
    """
    k = np.asarray(k, np.float64)
    total = np.zeros(k.shape[:-1], np.complex128)
    for shape in shapes:
        q = np.linalg.norm((k @ shape.axes) * shape.radii, axis=-1)
        x = 2 * np.pi * q
        small = x < 1e-2
        safe = np.where(small, 1.0, x)
        # Near zero the quotient loses its digits; its series is 4 pi (1/3 - x^2/30 + x^4/840).
        ball = np.where(
            small,
            4 * np.pi * (1 / 3 - x**2 / 30 + x**4 / 840),
            4 * np.pi * (np.sin(safe) - safe * np.cos(safe)) / safe**3,
        )
        phase = np.exp(-2j * np.pi * (k @ np.asarray(shape.centre)))
        total += shape.value * math.prod(shape.radii) * ball * phase
    return total


def ellipse_radon(shapes: Sequence[Ellipsoid], theta: Float, s: Float) -> Float:
    """Radon transform of the summed ellipses where the plane S = 0 cuts the shapes.

    ``p(theta, s)`` integrates along the line ``L cos(theta) + P sin(theta) = s``; an ellipse with
    half axes a, b turned by alpha has ``A^2 = a^2 cos^2(theta - alpha) + b^2 sin^2(theta - alpha)``
    and ``p = 2 a b sqrt(A^2 - s'^2) / A^2`` (Kak and Slaney 1988, 3.1). Shapes must not be tilted.

    Parameters
    ----------
    shapes
        Taken as summed.
    theta
        Angles in radians.
    s
        Distances from the origin in mm; broadcasts with ``theta``.
    """
    theta, s = np.broadcast_arrays(np.asarray(theta, np.float64), np.asarray(s, np.float64))
    total = np.zeros(theta.shape)
    for value, (x, y), (a, b), alpha in _cuts(shapes):
        squared = (a * np.cos(theta - alpha)) ** 2 + (b * np.sin(theta - alpha)) ** 2
        offset = s - (x * np.cos(theta) + y * np.sin(theta))
        total += value * 2 * a * b * np.sqrt(np.maximum(squared - offset**2, 0.0)) / squared
    return total


def ellipse_fourier(shapes: Sequence[Ellipsoid], k: Float) -> Array:
    """2-D Fourier transform of the summed ellipses in the plane S = 0.

    ``F(k) = value a b J1(2 pi q) / q exp(-2 pi i k.c)``, ``q = |(a k1', b k2')|`` (Van de Walle et
    al. 2000). ``k`` has shape ``(..., 2)``, cycles per mm along L and P; result complex128.
    """
    from scipy.special import j1

    k = np.asarray(k, np.float64)
    total = np.zeros(k.shape[:-1], np.complex128)
    for value, centre, (a, b), alpha in _cuts(shapes):
        turn = np.array([[np.cos(alpha), -np.sin(alpha)], [np.sin(alpha), np.cos(alpha)]])
        q = np.linalg.norm((k @ turn) * (a, b), axis=-1)
        safe = np.where(q < 1e-9, 1.0, q)
        disk = np.where(q < 1e-9, np.pi, j1(2 * np.pi * safe) / safe)
        total += value * a * b * disk * np.exp(-2j * np.pi * (k @ np.asarray(centre)))
    return total


def _cuts(
    shapes: Sequence[Ellipsoid],
) -> list[tuple[float, tuple[float, float], tuple[float, float], float]]:
    """Value, centre, half axes and turn of each ellipse in the plane S = 0."""
    found: list[tuple[float, tuple[float, float], tuple[float, float], float]] = []
    for shape in shapes:
        if shape.angles[1] != 0:
            raise ParameterError(
                f"the ellipsoid at {shape.centre} is tilted by {shape.angles[1]} degrees; its cut "
                "with S = 0 has no closed form here; use line_integrals"
            )
        left = 1 - (shape.centre[2] / shape.radii[2]) ** 2
        if left > 0:
            scale = math.sqrt(left)
            a, b = shape.radii[0] * scale, shape.radii[1] * scale
            turn = math.radians(shape.angles[0])
            found.append((shape.value, shape.centre[:2], (a, b), turn))
    return found
