"""What a SPECT reconstruction starts from: checked counts, their scan, their background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from somascope.acquire.spect.camera import Window
from somascope.acquire.spect.facts import camera_facts, decay_factor, examination, rotation
from somascope.core import Acquisition, Image, Operator, Scan
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array

SCATTER = "scatter"
"""Key in `calibration`: expected scatter per count of the photopeak, ``(views, rows, columns)``."""
SENSITIVITY = "sensitivity"
"""Key in `calibration`: cps/MBq the camera was calibrated with; without it nothing is in Bq/ml."""

_TISSUE = 0.001
"""1/mm from which on it is tissue, lung included, that attenuates; less is air."""
_OUTSIDE = 0.1
"""Of the activity inside, what is expected outside the body before anything is known."""


@dataclass(frozen=True, eq=False)
class System:
    """A scan of one energy window, its counts and what else was counted, ready for a solver.

    ``counts`` and ``background`` are ``(views, rows, columns)`` float32.
    """

    acquisition: Acquisition
    scan: Any
    counts: Array
    background: Array | None

    def subsets(self, number: int) -> tuple[list[Operator], list[Array], list[Array | float]]:
        """Operators, counts and backgrounds of ``number`` interleaved parts of the views."""
        views = len(self.counts)
        if number > views:
            raise ParameterError(f"{number} subsets of {views} views; give at most one per view")
        parts = [np.arange(views)[k::number] for k in order(number)]
        operators: list[Operator] = [
            self.scan if number == 1 else self.scan.with_changes(views=p) for p in parts
        ]
        added: list[Array | float] = [
            0.0 if self.background is None else np.ascontiguousarray(self.background[p])
            for p in parts
        ]
        return operators, [np.ascontiguousarray(self.counts[p]) for p in parts], added

    def start(self, operators: Sequence[Operator], counts: Sequence[Array]) -> Array | None:
        """An even body from which to iterate, ``(nz, ny, nx)``; None where none is known.

        Activity is where tissue is: from there, the border of the body need not be found first. A
        tenth of it is left around, from which expectation maximisation can still raise activity
        that lies outside the attenuation map.
        """
        if self.scan.mu is None or not (self.scan.mu > _TISSUE).any():
            return None
        inside = np.where(self.scan.mu > _TISSUE, np.float32(1), np.float32(_OUTSIDE))
        expected = float(operators[0].forward(inside).sum(dtype=np.float64))
        counted = max(float(counts[0].sum(dtype=np.float64)), 1e-12)
        return None if expected <= 0 else inside * np.float32(counted / expected)

    def image(self, activity: Array, *, name: str, smooth: float, decay: str) -> Image:
        """``activity`` in the operator's Bq/ml as the calibrated image of this acquisition.

        Without a calibration of the camera the unit is counts per second and ml.
        """
        attributes = self.acquisition.attributes
        data = np.asarray(activity, np.float32) * np.float32(decay_factor(attributes, decay))
        grid = self.scan.grid
        if smooth > 0:
            data = smoothed(data, grid.spacing, smooth)
        unit = "Bq/ml"
        if SENSITIVITY not in self.acquisition.calibration:
            data = data * np.float32(self.scan.camera.cps_per_mbq * 1e-6)
            unit = "{counts}/s/ml"
        return Image(
            data=np.ascontiguousarray(data, np.float32),
            grid=grid,
            modality="NM",
            unit=unit,
            provenance=self.acquisition.provenance,
            attributes={
                **attributes,
                **self._turned(),
                **camera_facts(self.scan.camera),
                "ReconstructionMethod": name,
            },
        )

    def _turned(self) -> dict[str, Any]:
        """The rotation, where DICOM can say it."""
        scan = self.scan
        try:
            return {
                "RotationInformationSequence": [rotation(scan.angles, scan.radius, scan.duration)]
            }
        except ParameterError:
            return {}


def order(number: int) -> list[int]:
    """Subsets in an order that keeps neighbours in angle apart (Herman and Meyer 1993)."""
    left, found = list(range(number)), [0]
    left.remove(0)
    while left:
        gaps = [
            min(
                min((k - f) % number, (f - k) % number) * (1 + i) for i, f in enumerate(found[::-1])
            )
            for k in left
        ]
        found.append(left.pop(int(np.argmax(gaps))))
    return found


def smoothed(data: Array, spacing: tuple[float, ...], fwhm: float) -> Array:
    """``(nz, ny, nx)`` through a Gaussian of ``fwhm`` mm."""
    from scipy.ndimage import gaussian_filter

    from somascope.acquire.spect.camera import FWHM

    return gaussian_filter(data, [fwhm / FWHM / s for s in spacing], mode="nearest", truncate=4.0)


def scan_of(acquisition: Acquisition, name: str) -> Any:
    """The acquisition's operator, which must be a SPECT scan."""
    scan = acquisition.operator
    if not isinstance(scan, Scan) or not scan.kind.startswith("spect."):
        kind = getattr(scan, "kind", type(scan).__name__)
        raise GeometryError(
            f"{name} takes SPECT scans (spect.parallel, spect.pinhole); this acquisition was made "
            f"by {kind}"
        )
    return scan


def checked_counts(acquisition: Acquisition, name: str) -> Array:
    """The samples as float32 counts ``(windows, views, rows, columns)``."""
    if acquisition.unit != "{counts}":
        raise UnitError(
            f"{name} needs counts ({{counts}}), the samples are in {acquisition.unit!r}; "
            "reconstruct what the camera counted, uncorrected"
        )
    samples = np.asarray(acquisition.samples)
    if samples.dtype.kind not in "fiu":
        raise UnitError(f"{name}: counts are real numbers; these are {samples.dtype}")
    if not np.isfinite(samples).all():
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        raise UnitError(f"{name}: {bad} counts are NaN or infinite; mend the projections first")
    if float(samples.min()) < 0:
        raise UnitError(
            f"{name}: counts are negative (down to {float(samples.min()):g}); give raw counts, "
            "and estimates of scatter beside them (acquire.spect.scatter)"
        )
    values = samples.astype(np.float32, copy=False)
    return values[None] if values.ndim == 3 else values


def prepare(
    acquisition: Acquisition,
    *,
    name: str,
    attenuation: bool = True,
    resolution: bool = True,
    scatter: bool = True,
) -> System:
    """Check an acquisition, keep the photopeak, switch corrections off that are not wanted.

    Raises
    ------
    GeometryError
        Not a SPECT scan; scatter of another shape.
    UnitError
        Not counts, negative or not finite.
    """
    scan = scan_of(acquisition, name)
    counts = checked_counts(acquisition, name)
    peaks = np.flatnonzero(scan.camera.shares > 0)
    if len(peaks) == 0:
        raise ParameterError(
            f"{name}: all energy windows are for scatter (share 0); name one as the photopeak"
        )
    windows = scan.camera.windows
    seen = Window(
        windows[peaks[0]].name, windows[peaks[0]].low, windows[peaks[0]].high,
        min(1.0, float(scan.camera.shares[peaks].sum())),
    )  # fmt: skip
    one = scan.with_changes(
        camera=scan.camera.with_changes(windows=(seen,)),
        resolution=scan.resolution and resolution,
    )
    if not attenuation and one.mu is not None:
        one = one.with_attenuation(None)
    kept = np.ascontiguousarray(counts[peaks].sum(axis=0))
    background = acquisition.calibration.get(SCATTER) if scatter else None
    if background is not None:
        background = np.asarray(background, np.float32)
        if background.shape != kept.shape:
            raise GeometryError(
                f"{name}: the estimate of scatter has shape {background.shape}, the photopeak "
                f"{kept.shape}; estimate it again (acquire.spect.scatter)"
            )
    facts = examination(acquisition.attributes)
    return System(replace(acquisition, attributes=facts), one, kept, background)
