"""Noise removed where it is small: shrinking the details of a wavelet transform."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.choices import Dimensions, deep
from somascope.process.dwt import analyse, synthesise
from somascope.process.entries import each_volume, is_colour, like, real_values
from somascope.process.missing import filled, restored

Rule = Literal["bayes", "universal"]

MEDIAN = 0.6744897501960817
"""Of the magnitude of a standard normal number."""


def filters(wavelet: str) -> tuple[Array, Array]:
    """Low and high pass of an orthogonal wavelet, by PyWavelets' name."""
    import pywt

    known: Any = pywt  # its stubs name nothing
    if wavelet not in known.wavelist(kind="discrete") or not known.Wavelet(wavelet).orthogonal:
        raise ParameterError(f"wavelet {wavelet!r} is not known or not orthogonal; try 'sym4'")
    found = known.Wavelet(wavelet)
    return np.asarray(found.dec_lo, np.float64), np.asarray(found.dec_hi, np.float64)


def _depths(shape: tuple[int, ...], axes: tuple[int, ...], taps: int, wanted: int) -> list[int]:
    """Levels along each axis: fewer along short ones, 0 where nothing is to be done."""
    most = [int(np.log2(max(n / max(taps - 1, 1), 1))) for n in shape]
    return [max(1, min(wanted, m)) if a in axes else 0 for a, m in enumerate(most)]


def _blocks(shape: tuple[int, ...], depths: list[int]) -> list[tuple[slice, ...]]:
    return [
        tuple(slice(0, n >> min(level, d)) for n, d in zip(shape, depths, strict=True))
        for level in range(max(depths) + 1)
    ]


def _shrunk(coefficients: Array, threshold: float) -> Array:
    t = np.float32(threshold)
    return coefficients - np.clip(coefficients, -t, t)


def shrunk(
    volume: Array,
    *,
    sigma: float | None = None,
    wavelet: str = "sym4",
    levels: int = 4,
    rule: Rule = "bayes",
    strength: float = 1.0,
    shifts: int = 4,
    flat: bool = False,
) -> Array:
    """Soft thresholds on the details of a wavelet transform, averaged over shifts of the image.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; computed in float32. Missing voxels are stood in for and stay missing.
    sigma
        Standard deviation of the noise; none: median magnitude of the finest diagonal details
        over 0.6745 (Donoho and Johnstone, Biometrika 81, 1994).
    wavelet, levels
        PyWavelets' name of an orthogonal one; fewer levels where the volume is small.
    rule
        ``bayes``: in each band ``sigma^2 / s``, with ``s`` what it has beyond noise (Chang, Yu and
        Vetterli, IEEE TIP 9, 2000). ``universal``: ``sigma sqrt(2 log n)`` (VisuShrink).
    strength
        Thresholds times this.
    shifts
        Cycle spinning (Coifman and Donoho 1995): so many shifts along the diagonal; 1 is none.
    """
    low, high = filters(wavelet)
    values, known = filled(volume)
    axes = tuple(a for a in ((1, 2) if flat else (0, 1, 2)) if volume.shape[a] > 1)
    if not axes:
        return np.array(volume, np.float32)
    depths = _depths(volume.shape, axes, low.size, levels)
    # Mirrored beyond its end to whole blocks and a margin: the transform takes it for periodic.
    pad = [(0, 0)] * 3
    for a in axes:
        step = 2 ** depths[a]
        margin = max(low.size // 4, 1) * step  # where the seam is felt
        pad[a] = (margin, margin + -(volume.shape[a] + 2 * margin) % step)
    padded = np.pad(values, pad, mode="symmetric")
    inner = tuple(slice(p[0], p[0] + n) for p, n in zip(pad, volume.shape, strict=True))
    blocks = _blocks(padded.shape, depths)
    total = np.zeros(padded.shape, np.float32)
    for k in range(shifts):
        shift = tuple(k if a in axes else 0 for a in range(3))
        work = np.roll(padded, shift, (0, 1, 2)) if k else padded.copy()
        for depth, block in enumerate(blocks[:-1]):
            part = work[block]
            for axis in (a for a in axes if depths[a] > depth):
                part = analyse(part, axis, low, high)
            work[block] = part
        level = sigma if sigma is not None else _noise(work, blocks, axes, flat=flat)
        if not level > 0:
            return restored(values.copy() if known is None else values, volume, known)
        for band, own in _bands(blocks, inner):
            details = work[band]
            threshold = strength * _threshold(details[own], level, rule, volume.size)
            work[band] = _shrunk(details, threshold)
        for depth, block in reversed(list(enumerate(blocks[:-1]))):
            part = work[block]
            for axis in (a for a in reversed(axes) if depths[a] > depth):
                part = synthesise(part, axis, low, high)
            work[block] = part
        total += np.roll(work, [-s for s in shift], (0, 1, 2)) if k else work
    return restored(np.ascontiguousarray(total[inner]) / np.float32(shifts), volume, known)


def _bands(
    blocks: list[tuple[slice, ...]], inside: tuple[slice, ...]
) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """The bands of details, and where in each the image is: its seams beyond tell of no noise."""
    found: list[tuple[tuple[slice, ...], tuple[slice, ...]]] = []
    for outer, inner in pairwise(blocks):
        parted = [a for a in range(3) if outer[a].stop > inner[a].stop]
        shares = [blocks[0][a].stop // inner[a].stop for a in range(3)]
        own = tuple(
            slice(i.start // s, max(i.stop // s, i.start // s + 1))
            for i, s in zip(inside, shares, strict=True)
        )
        for code in range(1, 2 ** len(parted)):
            band = list(inner)
            for k, a in enumerate(parted):
                if code >> k & 1:
                    band[a] = slice(inner[a].stop, outer[a].stop)
            found.append((tuple(band), own))
    return found


def _noise(
    work: Array, blocks: list[tuple[slice, ...]], axes: tuple[int, ...], *, flat: bool
) -> float:
    # Diagonal within slices: neighbouring slices may be far apart, or overlap.
    within = [a for a in axes if a > 0] or list(axes)
    band = tuple(
        slice(blocks[1][a].stop, blocks[0][a].stop) if a in within else blocks[0 if flat else 1][a]
        for a in range(3)
    )
    size = np.abs(work[band])
    return float(np.median(size)) / MEDIAN if size.size else 0.0


def _threshold(details: Array, sigma: float, rule: Rule, size: int) -> float:
    if rule == "universal":
        return sigma * float(np.sqrt(2 * np.log(max(size, 2))))
    power = float(np.mean(details * details, dtype=np.float64)) if details.size else 0.0
    signal = max(power - sigma**2, 0.0)
    if signal <= 0:
        return float(np.abs(details).max(initial=0.0))
    return sigma**2 / float(np.sqrt(signal))


@operation("process.wavelet")
def wavelet(
    image: Image,
    *,
    rule: Annotated[
        Rule, Param("Thresholds by each band's own signal, or one for all (smoother)")
    ] = "bayes",
    strength: Annotated[
        float, Param("Thresholds times this", minimum=0.0, maximum=10.0, step=0.1)
    ] = 1.0,
    sigma: Annotated[
        float | None,
        Param("Standard deviation of the noise, in the image's unit; none: estimated", minimum=0.0),
    ] = None,
    basis: Annotated[
        Literal["haar", "db2", "db4", "sym4", "sym8", "coif2"], Param("Wavelet", advanced=True)
    ] = "sym4",
    levels: Annotated[int, Param("Of decomposition", minimum=1, maximum=8, advanced=True)] = 4,
    shifts: Annotated[
        int, Param("Shifts averaged over, against patterns", minimum=1, maximum=16)
    ] = 4,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Remove noise by shrinking wavelet details (BayesShrink or VisuShrink).

    Shape ``(*leading, nz, ny, nx)`` as it came, float32 out (colour keeps its type). Missing
    values stay missing.
    """
    real_values(image, "process.wavelet")
    flat = not deep(image, dimensions)
    data = each_volume(
        image, lambda v: shrunk(
            v, sigma=sigma, wavelet=basis, levels=levels, rule=rule, strength=strength,
            shifts=shifts, flat=flat,
        ),
        progress=progress, message="shrinking details",
    )  # fmt: skip
    return image.with_data(like(data, image.data.dtype) if is_colour(image) else data)
