"""The field map B0 from the phase of echoes, unwrapped in space."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.series import map_image, points


@operation("acquire.mri.b0")
def b0(
    image: Image,
    *,
    unwrap: Annotated[bool, Param("Undo wraps of the phase in space")] = True,
    threshold: Annotated[
        float,
        Param("Voxels below this share of the greatest signal are 0", minimum=0.0, maximum=1.0),
    ] = 0.1,
    progress: Progress = QUIET,
) -> Image:
    """Off-resonance in Hz from complex images along the axis ``echo`` (ms).

    The phase from the first echo to the next is unwrapped in space by a path through the most
    reliable voxels first (Herraez et al. 2002; as `skimage.restoration.unwrap_phase`); later echoes
    are unwrapped along time with it and all enter a fit of the slope, weighted by their magnitude.
    The whole map may be off by a multiple of ``1 / (TE2 - TE1)``; the median is put nearest to 0.
    """
    x, values = points(image, "echo", "acquire.mri.b0", least=2)
    if values.dtype.kind != "c":
        raise ParameterError(
            f"acquire.mri.b0 needs complex images, and these are {values.dtype}; reconstruct with "
            "part complex"
        )
    order = np.argsort(x)
    seconds, values = x[order] / 1000, values[order]
    magnitude = np.abs(values).min(axis=0)
    mask = magnitude > threshold * max(float(np.quantile(magnitude, 0.995)), 1e-30)
    if not mask.any():
        raise ParameterError("acquire.mri.b0: no voxel has signal; lower the threshold")
    progress(0.1, "unwrap")
    first = np.angle(values[1] * values[0].conj())
    if unwrap:
        first = _unwrapped(first, mask)
    step = seconds[1] - seconds[0]
    field = first / (2 * np.pi * step)
    progress(0.7, "fit")
    if len(seconds) > 2:
        field = _slope(values, seconds, field)
    if unwrap:
        field = field - np.round(np.median(field[mask]) * step) / step
    progress(1.0, "fitted")
    return map_image(
        image, "echo", field[mask], mask.ravel(), unit="Hz", description="B0", drop=("EchoTime",)
    )


def _unwrapped(phase: Array, mask: Array) -> Array:
    """Each volume (z, y, x) of ``phase`` without wraps inside the mask."""
    from skimage.restoration import unwrap_phase

    out = np.zeros_like(phase)
    shape = phase.shape[-3:]
    volumes = zip(
        phase.reshape(-1, *shape), mask.reshape(-1, *shape), out.reshape(-1, *shape), strict=True
    )
    for given, inside, found in volumes:
        hidden = np.ma.masked_array(given, ~inside)
        if not inside.any():
            continue
        flat = unwrap_phase(hidden[0] if shape[0] == 1 else hidden, rng=0)
        found[:] = np.ma.filled(flat, 0.0).reshape(shape)
    return out


def _slope(values: Array, seconds: Array, field: Array) -> Array:
    """Weighted slope of the phase over time in Hz; each echo is unwrapped by the field so far."""
    phases = [np.zeros_like(field)]
    for i in range(1, len(seconds)):
        span = seconds[i] - seconds[0]
        seen = np.angle(values[i] * values[0].conj())
        expected = 2 * np.pi * field * span
        phases.append(seen + 2 * np.pi * np.round((expected - seen) / (2 * np.pi)))
        time = (seconds[: i + 1] - seconds[0]).reshape(-1, *[1] * field.ndim)
        weight = np.abs(values[: i + 1]) ** 2
        total = weight.sum(axis=0) + 1e-30
        phase = np.stack(phases)
        mean_t, mean_p = (weight * time).sum(0) / total, (weight * phase).sum(0) / total
        over = (weight * (time - mean_t) * (phase - mean_p)).sum(0)
        field = over / ((weight * (time - mean_t) ** 2).sum(0) + 1e-30) / (2 * np.pi)
    return field
