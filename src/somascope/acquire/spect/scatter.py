"""`acquire.spect.scatter`: scatter in the photopeak, estimated from the windows beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.spect.camera import Window
from somascope.acquire.spect.system import SCATTER, checked_counts, scan_of, smoothed
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

_NEAR = 0.02
"""Share of the photopeak's energy by which a window may be off its edge to stand beside it."""


def beside(windows: Sequence[Window], peak: int) -> tuple[int | None, int | None]:
    """The scatter windows just below and just above window ``peak``."""
    p = windows[peak]
    slack = _NEAR * (p.low + p.high) / 2
    below = [i for i, w in enumerate(windows) if w.share == 0 and abs(w.high - p.low) <= slack]
    above = [i for i, w in enumerate(windows) if w.share == 0 and abs(w.low - p.high) <= slack]
    return (below[0] if below else None), (above[0] if above else None)


def triple(counts: Array, windows: Sequence[Window], peak: int) -> Array:
    """TEW: the trapezoid under the peak, ``(C_low / w_low + C_up / w_up) w_peak / 2``.

    ``counts`` is ``(windows, views, rows, columns)``; without an upper window its counts are 0
    (Ogawa, Harata, Ichihara, Kubo and Hashimoto 1991).
    """
    low, high = beside(windows, peak)
    assert low is not None
    density = counts[low] / np.float32(windows[low].width)
    if high is not None:
        density = density + counts[high] / np.float32(windows[high].width)
    return density * np.float32(windows[peak].width / 2)


def without_spill(estimate: Array, peak: Array, share: float) -> Array:
    """Scatter ``s`` of ``estimate = s + share (peak - s)``: what primary photons put into it."""
    return (estimate - np.float32(share) * peak) / np.float32(1 - share)


@operation("acquire.spect.scatter")
def scatter(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Literal["TEW", "DEW"],
        Param("Triple energy window: narrow ones on both sides (or below); dual energy window: a "
              "wide one below, times a factor"),
    ] = "TEW",
    factor: Annotated[
        float, Param("Scatter of the photopeak per count of the wide window (DEW)", minimum=0.01,
                     maximum=5.0, step=0.05)
    ] = 0.5,
    smooth: Annotated[
        float, Param("Full width at half maximum of the smoothing of the estimate, which would "
                     "else bring its noise along", unit="mm", minimum=0.0, maximum=100.0)
    ] = 20.0,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Estimate the scatter in the photopeak of a SPECT scan from its other energy windows.

    The counts stay as they are: the estimate goes beside them, and the reconstructions take it as a
    background (iterative ones) or subtract it (FBP).
    """
    name = "acquire.spect.scatter"
    scan = scan_of(acquisition, name)
    counts = checked_counts(acquisition, name)
    windows: Sequence[Window] = scan.camera.windows
    total = np.zeros(counts.shape[1:], np.float32)
    peaks = [i for i, w in enumerate(windows) if w.share > 0]
    progress(0.1, "estimating scatter")
    listed = ", ".join(f"{w.name} {w.low:g}-{w.high:g} keV" for w in windows)
    for peak in peaks:
        if method == "TEW":
            if beside(windows, peak)[0] is None:
                raise ParameterError(
                    f"{name}: no scatter window ends where the photopeak "
                    f"{windows[peak].low:g}-{windows[peak].high:g} keV begins; the scan has "
                    f"{listed}. Measure one, or choose DEW with a factor"
                )
            leak = scan.camera.spill(peak)[:, None, None, None]
            total += without_spill(
                triple(counts, windows, peak), counts[peak],
                float(triple(leak, windows, peak)[0, 0, 0]),
            )  # fmt: skip
        else:
            below = [
                i for i, w in enumerate(windows)
                if w.share == 0 and w.high <= windows[peak].low + 1e-3
            ]  # fmt: skip
            if not below:
                raise ParameterError(
                    f"{name}: DEW needs a window below the photopeak; the scan has {listed}"
                )
            wide = max(below, key=lambda i: windows[i].width)
            spilt = factor * float(scan.camera.spill(peak)[wide])
            total += without_spill(np.float32(factor) * counts[wide], counts[peak], spilt)
    progress(0.5, "smoothing")
    if smooth > 0:
        dz, _, dx = scan.grid.spacing
        views = [smoothed(view[:, None], (dz, 1e9, dx), smooth)[:, 0] for view in total]
        total = np.stack(views)
    total = np.maximum(total, 0)
    progress(1.0, "scatter")
    return replace(acquisition, calibration={**acquisition.calibration, SCATTER: total})
