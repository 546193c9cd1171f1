"""Curves of tracers: an arterial input, and what tissue of two compartments makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.acquire.pet.decay import Frames
from somascope.core.errors import ParameterError
from somascope.core.grid import Float


@dataclass(frozen=True)
class Rates:
    """Rate constants: ``K1`` in ml/cm3/min, ``k2``, ``k3``, ``k4`` in 1/min; ``vb`` blood share."""

    k1: float
    k2: float
    k3: float = 0.0
    k4: float = 0.0
    vb: float = 0.0

    @property
    def ki(self) -> float:
        """Net influx ``K1 k3 / (k2 + k3)`` of an irreversible tracer, ml/cm3/min."""
        return self.k1 * self.k3 / (self.k2 + self.k3)

    @property
    def vt(self) -> float:
        """Total distribution volume ``K1/k2 (1 + k3/k4)`` of a reversible tracer, ml/cm3."""
        if self.k3 == 0:
            return self.k1 / self.k2
        if self.k4 == 0:
            raise ParameterError("k4 is 0: an irreversible tracer has no distribution volume")
        return self.k1 / self.k2 * (1 + self.k3 / self.k4)


def feng_input(minutes: Float, *, scale: float = 1.0, delay: float = 0.0) -> Float:
    """Arterial FDG after a bolus: Feng, Huang and Wang, Int J Biomed Comput 32:95 (1993), model 4.

    ``minutes`` since the injection, any shape; the values with ``scale`` 1 are those of the paper.
    """
    t = np.maximum(np.asarray(minutes, np.float64) - delay, 0.0)
    a = (851.1225, 21.8798, 20.8113)
    rates = (-4.133859, -0.1191, -0.01043449)
    first = (a[0] * t - a[1] - a[2]) * np.exp(rates[0] * t)
    return scale * (first + a[1] * np.exp(rates[1] * t) + a[2] * np.exp(rates[2] * t))


def two_tissue(minutes: Float, plasma: Float, rates: Rates) -> Float:
    """Concentration in tissue at even ``minutes`` ``(n,)`` from 0, for ``plasma`` at the same.

    The response ``K1 / (b - a) ((k3 + k4 - a) e^{-a t} + (b - k3 - k4) e^{-b t})`` (Phelps 1979)
    is convolved with the plasma taken as linear between its samples, exactly; ``vb`` of the volume
    is blood, of the plasma's activity.

    Raises
    ------
    ParameterError
        Times that are not even or do not begin at 0.
    """
    minutes = np.asarray(minutes, np.float64)
    step = float(minutes[1] - minutes[0]) if len(minutes) > 1 else 0.0
    if len(minutes) < 2 or minutes[0] != 0 or np.abs(np.diff(minutes) - step).max() > 1e-6 * step:
        raise ParameterError("times must begin at 0 and be even, like np.arange(0, 90, 0.05)")
    k2, k3, k4 = rates.k2, rates.k3, rates.k4
    total = k2 + k3 + k4
    root = np.sqrt(max(total**2 - 4 * k2 * k4, 0.0))
    slow, fast = (total - root) / 2, (total + root) / 2
    if root < 1e-12:
        raise ParameterError(f"{rates} has two equal time constants; change one of them a little")
    weights = ((k3 + k4 - slow) / root, (fast - k3 - k4) / root)
    out = np.zeros(len(minutes))
    for rate, weight in zip((slow, fast), weights, strict=True):
        out += weight * _exponential(np.asarray(plasma, np.float64), rate, step)
    return (1 - rates.vb) * rates.k1 * out + rates.vb * np.asarray(plasma, np.float64)


def _exponential(values: Float, rate: float, step: float) -> Float:
    """``exp(-rate t)`` convolved with a function linear between ``values``, at its samples."""
    x = rate * step
    if x < 1e-9:
        ends = np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2)])
        return ends * step
    decay = np.exp(-x)
    # Integral of exp(-rate (step - u)) times a line from f0 to f1 over one step.
    late = (1 - (1 - decay) / x) / rate
    early = (1 - decay) / rate - late
    from scipy.signal import lfilter

    drive = np.concatenate([[0.0], early * values[:-1] + late * values[1:]])
    return np.asarray(lfilter([1.0], [1.0, -decay], drive))


def frame_means(minutes: Float, values: Float, frames: Frames) -> Float:
    """Means over frames ``(frames,)`` of a curve that is linear between its samples."""
    seconds = np.asarray(minutes, np.float64) * 60.0
    area = np.concatenate([[0.0], np.cumsum(np.diff(seconds) * (values[1:] + values[:-1]) / 2)])

    def until(t: Float) -> Float:
        i = np.clip(np.searchsorted(seconds, t, side="right") - 1, 0, len(seconds) - 2)
        u = t - seconds[i]
        slope = (values[i + 1] - values[i]) / (seconds[i + 1] - seconds[i])
        return area[i] + values[i] * u + slope * u * u / 2

    return (until(frames.end) - until(frames.start)) / frames.duration
