"""What a short burst of activity does to the signal: haemodynamic responses.

The canonical response is the difference of two gamma densities (Friston et al., NeuroImage 7 (1998)
30-40; the values of SPM's ``spm_hrf``: delays 6 and 16 s, dispersions 1, ratio 1/6, 32 s long). Its
temporal derivative is that of a shift by one second, its dispersion derivative that of a first
gamma wider by one per cent.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from somascope.core.grid import Float

Model: TypeAlias = Literal["canonical", "derivative", "dispersion", "fir"]
"""The canonical response alone, with its time derivative, with both derivatives; or a value per
scan after the event (finite impulse response)."""

LENGTH = 32.0


def canonical(t: Float, *, delay: float = 6.0, dispersion: float = 1.0) -> Float:
    """The response at ``t`` seconds after an impulse, area 1 over 32 s; zero before.

    ``delay`` and ``dispersion`` are those of the first gamma; the undershoot keeps 16 s and 1.
    """
    from scipy.special import gammainc

    values = _gamma(t, delay / dispersion, dispersion) - _gamma(t, 16.0, 1.0) / 6
    area = gammainc(delay / dispersion, LENGTH / dispersion) - gammainc(16.0, LENGTH) / 6
    return np.where(t <= LENGTH, values, 0.0) / area


def time_derivative(t: Float) -> Float:
    """How the response changes when it begins earlier, per second (difference over 1 s)."""
    return canonical(t) - canonical(t - 1.0)


def dispersion_derivative(t: Float) -> Float:
    """How the response changes with the width of its first gamma (difference over 0.01)."""
    return (canonical(t) - canonical(t, dispersion=1.01)) / 0.01


def _gamma(t: Float, shape: float, scale: float) -> Float:
    from scipy.special import gammaln

    x = np.maximum(np.asarray(t, np.float64), 1e-300) / scale
    log = (shape - 1) * np.log(x) - x - gammaln(shape) - np.log(scale)
    return np.where(np.asarray(t) > 0, np.exp(log), 0.0)


def basis(model: Model, dt: float) -> tuple[Float, tuple[str, ...]]:
    """Responses sampled every ``dt`` s ``(samples, k)``, and what to add to a condition's name."""
    t = np.arange(0.0, LENGTH + 1.0 + dt / 2, dt)
    columns, names = [canonical(t)], [""]
    if model in ("derivative", "dispersion"):
        columns.append(time_derivative(t))
        names.append("_derivative")
    if model == "dispersion":
        columns.append(dispersion_derivative(t))
        names.append("_dispersion")
    return np.stack(columns, axis=1), tuple(names)
