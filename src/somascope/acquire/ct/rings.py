"""`acquire.ct.remove_rings`: stripes of the sinogram, which become rings, taken away three ways."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.ct.fbp import line_integrals
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array


def by_mean(sinogram: Array, *, width: int) -> Array:
    """Subtract what the mean view differs from its own smoothed self (Boin and Haibel 2006).

    ``sinogram`` is ``(views, bins)``. The mean is smoothed by a median and a mean of ``width``
    bins: what is narrower is taken for the detector's.
    """
    from scipy.ndimage import median_filter, uniform_filter1d

    mean = sinogram.mean(axis=0, dtype=np.float64)
    smooth = uniform_filter1d(median_filter(mean, width, mode="nearest"), 3, mode="nearest")
    return sinogram - (mean - smooth).astype(sinogram.dtype)


def by_sorting(sinogram: Array, *, width: int, threshold: float = 6.0) -> Array:
    """Sort each bin's values, repair across bins what stands out, sort back (Vo et al. 2018).

    Neighbouring bins have nearly the same distribution of values; a bin whose sorted values leave
    the middle of its neighbours' by more than ``threshold`` times what is usual around it is a
    stripe, for all views or for some, and takes theirs. Whatever depends on the angle is kept.
    """
    from scipy.ndimage import median_filter

    order = np.argsort(sinogram, axis=0, kind="stable")
    ranked = np.take_along_axis(sinogram, order, axis=0)
    half = width // 2
    padded = np.pad(ranked, ((0, 0), (half, half)), mode="reflect", reflect_type="odd")
    bins = ranked.shape[1]
    # Means of pairs left and right are right to second order, where the profile is steep too.
    pairs = np.stack([
        0.5 * (padded[:, half - k : half - k + bins] + padded[:, half + k : half + k + bins])
        for k in range(1, half + 1)
    ])  # fmt: skip
    middle = np.median(pairs, axis=0)
    # The plain median is right where the profile has a kink: of both, what changes less.
    plain = median_filter(ranked, (1, 2 * half + 1), mode="nearest")
    middle = np.where(np.abs(middle - ranked) < np.abs(plain - ranked), middle, plain)
    score = np.sqrt(np.mean((ranked - middle) ** 2, axis=0, dtype=np.float64))
    usual = median_filter(score, 3 * width, mode="nearest")
    stripe = score > threshold * usual + 1e-6 * float(np.abs(sinogram).max())
    repaired = np.where(stripe, middle, ranked)
    out = np.empty_like(sinogram)
    np.put_along_axis(out, order, repaired.astype(sinogram.dtype), axis=0)
    return out


def by_wavelet(sinogram: Array, *, width: int, damping: float = 1.5) -> Array:
    """Damp the low angular frequencies of the bands that hold vertical detail (Münch et al. 2009).

    Wavelet ``db5``; in every band of horizontal detail the Fourier transform along the views is
    multiplied with ``1 - exp(-f^2 / (2 damping^2))``. As many levels as ``width`` bins need: more
    would take the outline of round bodies for stripes.
    """
    import pywt

    known = vars(pywt)
    views, bins = sinogram.shape
    deepest = max(1, round(np.log2(width / 4)))
    pad = ((0, -views % 2**deepest), (0, -bins % 2**deepest))
    work = np.pad(sinogram, pad, mode="edge")
    details = []
    for _ in range(deepest):
        work, (h, v, d) = known["dwt2"](work, "db5", mode="symmetric")
        spectrum = np.fft.rfft(v, axis=0)
        f = np.arange(spectrum.shape[0])[:, None]
        spectrum *= 1 - np.exp(-(f**2) / (2 * damping**2))
        details.append((h, np.fft.irfft(spectrum, v.shape[0], axis=0), d))
    for h, v, d in reversed(details):
        work = work[: h.shape[0], : h.shape[1]]
        work = known["idwt2"]((work, (h, v, d)), "db5", mode="symmetric")
    return np.asarray(work[:views, :bins]).astype(sinogram.dtype)


@operation("acquire.ct.remove_rings")
def remove_rings(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Literal["mean", "sorting", "wavelet"],
        Param("The mean view (whole stripes), sorting (partial ones too), wavelets and Fourier"),
    ] = "mean",
    width: Annotated[
        int | None, Param("Widest stripe, in bins, times three or so; a fortieth of the detector, "
                          "at least 9, if not given", minimum=3, maximum=301)
    ] = None,
    damping: Annotated[
        float, Param("Angular frequencies that count as constant (wavelet)", minimum=0.1,
                     maximum=50.0, advanced=True)
    ] = 1.5,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Remove stripes of unequal detector elements from a sinogram: no rings in the image.

    Works on line integrals of any CT scan, detector row by detector row. The mean view finds
    stripes that last, and takes little else for one; edges of round bodies about the axis are the
    exception. For stripes of some views only, take sorting.
    """
    samples = line_integrals(acquisition, operation_name="acquire.ct.remove_rings")
    if width is None:
        width = min(max(9, samples.shape[-1] // 40 | 1), 301)
    if samples.shape[-1] < width:
        raise GeometryError(
            f"a stripe filter of {width} bins on a detector of {samples.shape[-1]}; take less"
        )
    rows = samples.reshape(samples.shape[0], -1, samples.shape[-1])
    out = np.empty_like(rows)
    for k in progress.over(range(rows.shape[1]), "removing stripes"):
        one = rows[:, k]
        if method == "sorting":
            out[:, k] = by_sorting(one, width=width)
        elif method == "mean":
            out[:, k] = by_mean(one, width=width)
        else:
            out[:, k] = by_wavelet(one, width=width, damping=damping)
    return acquisition.with_samples(out.reshape(samples.shape))
