"""Where the samples of an EPI readout lie when the receiver is open on the gradient's ramps."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Float

_FINE = 64
"""Steps per sample of the integral."""


def positions(
    count: int,
    *,
    up: float,
    flat: float,
    down: float,
    delay: float,
    duration: float,
    sine: bool = False,
) -> Float | None:
    """Positions ``(count,)`` in cycles per encoded field, DC in the middle; None for odd times.

    The integral of a trapezoid (or one with half-sine ramps), scaled so that all samples together
    span ``count`` cycles, as the scanner counts them.

    Parameters
    ----------
    up, flat, down
        Lengths of the ramps and the flat top.
    delay, duration
        When the receiver opens after the gradient begins, and for how long; all in one unit.
    """  # fmt: skip
    values = (up, flat, down, delay, duration)
    if not all(np.isfinite(v) and 0 <= v < 1e7 for v in values) or duration <= 0 or count < 2:
        return None
    edges = np.linspace(0, duration, count * _FINE + 1)
    time = delay + (edges[1:] + edges[:-1]) / 2
    rising = np.clip(time / up, 0, 1) if up > 0 else np.ones_like(time)
    falling = np.clip((up + flat + down - time) / down, 0, 1) if down > 0 else np.ones_like(time)
    gradient = np.minimum(rising, falling)
    if sine:
        gradient = np.sin(np.pi / 2 * gradient)
    moment = np.concatenate([[0.0], np.cumsum(gradient)])
    if moment[-1] <= 0:
        return None
    place = moment[_FINE // 2 :: _FINE][:count]
    return (place - (place[0] + place[-1]) / 2) / moment[-1] * count
