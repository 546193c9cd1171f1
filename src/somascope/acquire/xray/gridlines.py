"""`acquire.xray.gridlines`: the shadow of a stationary anti-scatter grid is taken away.

The lines are multiplicative, so additive in the logarithm: a sinusoid of constant frequency (often
folded down by the pixels) whose phase and amplitude change slowly. It is demodulated and smoothed,
much more along the lines than across, and subtracted; nothing else of the image has that form.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from somascope.acquire.xray.facts import one_plane
from somascope.acquire.xray.present import densities, direction
from somascope.core import Image, Param, operation
from somascope.core.grid import Array, Float

PROMINENCE = 12.0
"""How far a line's peak stands above the spectrum around it."""


@operation("acquire.xray.gridlines")
def gridlines(
    image: Image,
    *,
    frequency: Annotated[
        float | None,
        Param(
            "Of the lines in the image, as a share of the sampling; none: found",
            minimum=0.05,
            maximum=0.5,
        ),
    ] = None,
    harmonics: Annotated[int, Param("How many multiples too", minimum=1, maximum=4)] = 2,
) -> Image:
    """Suppress the lines of a stationary grid in a radiograph.

    Lines along columns or rows are found by their peak in the averaged spectrum; where there is
    none the image comes back as it is. One plane, float32, unit kept; counts stay counts.
    """  # fmt: skip
    one_plane(image, "acquire.xray.gridlines")
    linear = image.unit == "{counts}"
    log = densities(image)
    plane = log.astype(np.float64)
    for axis in (1, 0):
        turned = plane if axis == 1 else plane.T
        found = find_lines(turned) if frequency is None else frequency
        if found is None or (frequency is not None and axis == 0):
            continue
        lines = line_pattern(turned, found)
        frequencies, _, ratio = line_spectrum(turned)
        for k in range(2, harmonics + 1):
            folded = _folded(k * found)
            # Only a multiple that shows is taken away: elsewhere it would be the image's own.
            here = np.abs(frequencies - folded) < 2 * frequencies[1]
            if folded > 0.05 and abs(folded - found) > 0.02 and ratio[here].max() > PROMINENCE:
                lines += line_pattern(turned - lines, folded)
        plane = plane - (lines if axis == 1 else lines.T)
    change = plane - log
    if linear:
        data = image.data[0] * np.exp(-change)
    else:
        data = image.data[0] + direction(image) * change
    return image.with_data(data[None].astype(np.float32))


def find_lines(plane: Float, *, prominence: float = PROMINENCE) -> float | None:
    """Frequency (per pixel) of lines along the columns of ``plane``, or None.

    A peak above 0.08 counts when it stands ``prominence`` times above its surroundings.
    """
    frequencies, power, ratio = line_spectrum(plane)
    at = int(np.argmax(np.where(frequencies > 0.08, ratio, 0.0)))
    if ratio[at] < prominence:
        return None
    if at + 1 >= len(power):
        return float(frequencies[at])
    a, b, c = np.log(np.maximum(power[at - 1 : at + 2], 1e-300))
    curve = a - 2 * b + c
    shift = 0.5 * (a - c) / curve if curve < 0 else 0.0
    return float(frequencies[at] + shift * frequencies[1])


def line_spectrum(plane: Float) -> tuple[Float, Float, Float]:
    """Frequencies per pixel, power along the rows, and its ratio to the median of its surroundings.

    The rows' power spectra, after their slow part is removed, are averaged in four bands of rows;
    the smallest of the four counts, because lines show in all of them.
    """
    from scipy.ndimage import gaussian_filter1d, median_filter

    ny, nx = plane.shape
    slow = gaussian_filter1d(plane, 4.0, axis=1, mode="nearest")
    spectrum = np.abs(np.fft.rfft((plane - slow) * np.hanning(nx), 4 * nx, axis=1)) ** 2
    bands = [spectrum[k * ny // 4 : (k + 1) * ny // 4] for k in range(4)]
    power = np.min([np.median(b, axis=0) for b in bands if len(b)], axis=0)
    around = median_filter(power, size=4 * max(nx // 12, 9) + 1, mode="reflect")
    frequencies = np.arange(len(power)) / (4.0 * nx)
    return frequencies, power, power / np.maximum(around, 1e-300)


def line_pattern(
    plane: Float, frequency: float, *, across: float = 10.0, along: float = 24.0
) -> Float:
    """The sinusoid of that frequency along the rows, its envelope smooth over ``across`` pixels
    along the rows and ``along`` pixels along the columns (standard deviations).
    """
    from scipy.ndimage import gaussian_filter

    x = np.arange(plane.shape[1])
    smooth: Any = gaussian_filter
    width = max(1.5, 0.6 / frequency)
    slow = smooth(plane, (0.0, width), mode="nearest")
    passed = 1.0 - np.exp(-2.0 * (np.pi * width * frequency) ** 2)
    carrier = np.exp(-2j * np.pi * frequency * x)[None, :]
    base = (plane - slow) / passed * carrier
    sizes = (along, across)

    def weighted(values: Array) -> Array:
        return smooth(values, sizes, mode="constant", truncate=3.0)

    weight = weighted(np.ones(plane.shape))
    envelope = (weighted(base.real) + 1j * weighted(base.imag)) / weight
    return (envelope * carrier.conj()).real * (1.0 if frequency > 0.4999 else 2.0)


def _folded(frequency: float) -> float:
    """Where the pixels put a frequency: within 0 to 0.5."""
    f = frequency % 1.0
    return min(f, 1.0 - f)
