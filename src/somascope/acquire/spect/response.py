"""The camera's blur as a walk towards it: a small kernel per layer, a wide one at the end.

The response to a point is a Gaussian whose width grows with distance. From layer to layer it grows
by a variance that is known; five symmetric taps have exactly that variance and the fourth moment
of a Gaussian, so that the composition of any number of them does too (incremental convolution:
McCarthy and Miller 1991; Zeng and Gullberg 1992). What the nearest layer already has is one wide
kernel at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.acquire.spect.camera import Camera
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float

LARGEST = 1.2
"""Variance in pixels that five taps can hold; more is made in several passes."""
_NARROW = 0.3
"""Below this variance in pixels a sampled Gaussian is none any more; three taps are exact."""


def taps(variance: Float) -> Float:
    """Taps ``(..., 3)``: centre, first and second neighbours, for variances in pixels squared.

    ``2 c1 + 8 c2 = v`` and ``2 c1 + 32 c2 = 3 v^2``; the sum is 1.
    """
    v = np.asarray(variance, np.float64)
    second = (3 * v * v - v) / 24
    first = (4 * v - 3 * v * v) / 6
    return np.stack([1 - 2 * first - 2 * second, first, second], axis=-1)


def gaussian(variance: float, radius: int) -> Float:
    """Taps ``(radius + 1,)`` from the centre outwards of a normalised kernel of that variance."""
    out = np.zeros(radius + 1)
    if variance < _NARROW:
        out[0] = 1 - variance
        if radius > 0:
            out[1] = variance / 2
        return out
    out[:] = np.exp(-0.5 * np.arange(radius + 1) ** 2 / variance)
    return out / (2 * out.sum() - out[0])


@dataclass(frozen=True, eq=False)
class Walk:
    """Kernels of every view, from the farthest layer to the nearest.

    ``steps`` ``(views, layers, 2, 3)``: taps along u and v that take the sum from the layer before
    to this one, ``passes`` times each; ``last`` ``(views, 2, radius + 1)`` at the end.
    """

    steps: Array
    last: Array
    passes: int


def walk(
    camera: Camera | None,
    distance: Float,
    count: Array,
    *,
    pixel: tuple[float, float],
) -> Walk:
    """The kernels for layers whose ``distance`` ``(views, layers)`` to the camera falls.

    ``count`` is how many layers of a view there are; ``pixel`` ``(v, u)`` in mm. Without a
    camera nothing is blurred.
    """
    views, layers = distance.shape
    steps = np.zeros((views, layers, 2, 3), np.float32)
    steps[..., 0] = 1
    if camera is None:
        last = np.ones((views, 2, 1), np.float32)
        return Walk(steps, last, 1)
    variance = camera.sigma(distance) ** 2
    near = variance[np.arange(views), count - 1]
    grown = np.maximum(variance[:, :-1] - variance[:, 1:], 0.0)
    widest = 0.0 if grown.size == 0 else float(grown.max()) / min(pixel) ** 2
    passes = max(1, int(np.ceil(widest / LARGEST)))
    if passes > 64:
        raise GeometryError(
            f"the collimator's response grows by {widest:.0f} pixels per layer; pixels of {pixel} "
            "mm are too small for it"
        )
    radius = int(np.ceil(3.5 * float(np.sqrt(near.max())) / min(pixel)))
    last = np.zeros((views, 2, radius + 1), np.float32)
    for axis, size in enumerate(pixel[::-1]):
        steps[:, 1:, axis] = taps(grown / (size * size * passes))
        for v in range(views):
            last[v, axis] = gaussian(float(near[v]) / size**2, radius)
    return Walk(steps, last, passes)
