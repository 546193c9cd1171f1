"""How values are spread in an object and outside of it: mixtures of normal distributions."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Array, Float
from somascope.process.histogram import of_values
from somascope.process.thresholds import Mixture, mixture

STRAY = 1e-3
"""Share of voxels that may have any value: none is impossible."""


def noise(values: Array, inside: Array) -> float:
    """Standard deviation of the noise, told from differences of neighbours along x (or y)."""
    axis = 2 if values.shape[2] > 1 else (1 if values.shape[1] > 1 else 0)
    both = np.logical_and(np.moveaxis(inside, axis, 0)[1:], np.moveaxis(inside, axis, 0)[:-1])
    steps = np.abs(np.diff(np.moveaxis(values, axis, 0), axis=0))[both]
    found = 1.4826 / np.sqrt(2) * float(np.median(steps)) if steps.size else 0.0
    low, high = (float(f(values[inside])) for f in (np.min, np.max))
    return max(found, (high - low) / 512)


def fitted(sample: Array, components: int, least: float) -> Mixture:
    """A mixture of at most ``components`` for the values ``(n,)``, none narrower than ``least``."""
    distinct = np.unique(sample).size
    wanted = min(components, distinct, max(sample.size // 8, 1))
    if wanted < 2 or float(np.ptp(sample)) < least:
        mean, sd = float(sample.mean(dtype=np.float64)), float(sample.std(dtype=np.float64))
        return Mixture((1.0,), (mean,), (max(sd, least),))
    counted = of_values(np.ascontiguousarray(sample))
    wanted = min(wanted, int(np.count_nonzero(counted.counts)))
    found = mixture(counted, classes=wanted, iterations=200)
    return Mixture(found.weights, found.means, tuple(max(s, least) for s in found.sds))


def log_density(model: Mixture, values: Array, width: float) -> Float:
    """Logarithm of the density at ``values``; `STRAY` of all is spread over ``width``."""
    total = np.full(values.shape, STRAY / width)
    for w, m, s in zip(model.weights, model.means, model.sds, strict=True):
        t = (values - m) / s
        total += (1 - STRAY) * w / (s * np.sqrt(2 * np.pi)) * np.exp(-0.5 * t * t)
    return np.log(total)
